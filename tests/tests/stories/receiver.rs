//! The role `receiver`: a key that is bound to one endpoint, tried on every call that there is.

use http::Method;
use ringback_tests::{Api, Engine, Peer, Ringback, both_engines, verify, wait};
use serde_json::{Value, json};

use super::{described, errors::alike, keys, tenants::tenant};

both_engines!(
    a_receiver_has_its_own_endpoint_alone,
    its_keys_go_with_an_endpoint,
    nobody_makes_a_key_for_what_is_gone
);

/// All that it may call.
#[rustfmt::skip]
const ITS: &[(Method, &str)] = &[
    (Method::GET,  "/v1/deliveries"),
    (Method::GET,  "/v1/deliveries/{id}"),
    (Method::POST, "/v1/deliveries/{id}/resend"),
    (Method::GET,  "/v1/endpoints/{id}/feed"),
    (Method::POST, "/v1/endpoints/{id}/ping"),
];

async fn registered(api: &Api, receiver: &Peer, path: &str) -> (String, String) {
    let endpoint = json!({ "url": receiver.url(path), "events": ["job.succeeded"] }).to_string();
    let made = api.post("/v1/endpoints", endpoint).await.expect(201).json();
    (text(&made["id"]), text(&made["secret"]))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// A client whose key is bound to this endpoint, and the key's id.
async fn bound_to(api: &Api, endpoint: &str) -> (Api, String) {
    let (key, id) = keys::make(api, json!({ "role": "receiver", "endpoint": endpoint })).await;
    (api.with_key(Some(&key)), id)
}

/// Of a job that goes to a callback and to endpoints, the delivery to this endpoint; `None`: to the callback.
async fn delivered(api: &Api, job: &str, to: Option<&str>) -> String {
    wait::until("it is delivered", || async {
        let all = api.deliveries(job).await;
        let one = all.into_iter().find(|one| one["endpoint"].as_str() == to && one["status"] == "succeeded");
        one.map(|one| text(&one["id"]))
    })
    .await
}

async fn a_receiver_has_its_own_endpoint_alone(engine: Engine) {
    let receiver = Peer::start().await;
    let server = Ringback::on(engine).await;
    let api = server.api();
    let (own, secret) = registered(api, &receiver, "/own").await;
    let (other, _) = registered(api, &receiver, "/other").await;
    let (_, theirs) = tenant(api, "theirs").await;
    let (foreign, _) = registered(&theirs, &receiver, "/foreign").await;
    let submission = json!({ "task": "echo", "callback": receiver.url("/callback") });
    let (job, foreign_job) = (api.accepted(&submission).await, theirs.accepted(&submission).await);
    let delivery = delivered(api, &job, Some(&own)).await;
    let others = [
        delivered(api, &job, Some(&other)).await,
        delivered(api, &job, None).await,
        delivered(&theirs, &foreign_job, Some(&foreign)).await,
        "dlv_01jdxyzxyzxyzxyzxyzxyzxyzx".to_owned(),
    ];
    let endpoints = [&other, &foreign, "ep_01jdxyzxyzxyzxyzxyzxyzxyzx"];
    let (bound, key) = bound_to(api, &own).await;

    let recovery = api.call(&format!("/v1/endpoints/{own}/recover")).await.expect(202).json();
    let recovery = text(&recovery["id"]);

    // Whatever there is beside that is refused, also of what is its own.
    for call in described::calls(api).await {
        let (method, path) = call.split_once(' ').unwrap();
        if ITS.iter().any(|(its, of)| its == method && *of == path) {
            continue;
        }
        let id = match path.split('/').nth(2) {
            Some("jobs") => &job,
            Some("deliveries") => &delivery,
            Some("endpoints") => &own,
            Some("keys") => &key,
            _ => "1",
        };
        let path = path.replace("{id}", id).replace("{name}", "echo").replace("{recovery}", &recovery);
        bound.send(method.parse().unwrap(), &path, &[], "").await.problem(403, "forbidden");
    }

    // Its own: the feed, what it was sent, once more, and a ping.
    let feed = bound.get(&format!("/v1/endpoints/{own}/feed")).await.expect(200).json();
    assert_eq!((feed["items"].as_array().unwrap().len(), &feed["last"]), (1, &json!(1)));
    bound.send(Method::HEAD, "/v1/deliveries", &[], "").await.expect(200);
    assert_eq!(bound.delivery(&delivery).await["endpoint"], *own);
    bound.call(&format!("/v1/deliveries/{delivery}/resend")).await.expect(202);
    verify::assert_genuine(&secret, &receiver.wait_for("/own", 2).await[1]);
    let ping = bound.call(&format!("/v1/endpoints/{own}/ping")).await.expect(202);
    verify::assert_genuine(&secret, &receiver.wait_for("/own", 3).await[2]);
    bound.get(ping.header("location").unwrap()).await.expect(200);

    // Others' are answered as those that nobody has.
    for (method, path, ids) in [
        (Method::GET, "/v1/deliveries/{id}", others.each_ref().map(|id| &**id).as_slice()),
        (Method::POST, "/v1/deliveries/{id}/resend", &others.each_ref().map(|id| &**id)),
        (Method::GET, "/v1/endpoints/{id}/feed", &endpoints),
        (Method::GET, "/v1/endpoints/{id}/feed?wait=30", &endpoints),
        (Method::POST, "/v1/endpoints/{id}/ping", &endpoints),
    ] {
        let mut answers = Vec::new();
        for id in ids {
            let answer = bound.send(method.clone(), &path.replace("{id}", id), &[], "").await;
            answers.push(alike(&answer.problem(404, "not-found")));
        }
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{method} {path}: {answers:?}");
    }
    lists_its_own(&bound, &own, &[&other, &foreign], &job).await;
    assert_eq!(receiver.requests("/other").len(), 1, "nothing was sent again");
    assert_eq!(receiver.requests("/callback").len(), 2);
}

async fn lists_its_own(bound: &Api, own: &str, others: &[&str], job: &str) {
    let mut cursor = String::new();
    let mut seen = 0;
    loop {
        let page = bound.get(&format!("/v1/deliveries?limit=1{cursor}")).await.expect(200).json();
        for item in page["items"].as_array().unwrap() {
            assert_eq!(item["endpoint"], own, "{item}");
            seen += 1;
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, 2, "its event and its ping");
    let of = async |query: String| {
        bound.get(&format!("/v1/deliveries?{query}")).await.expect(200).json()["items"].clone()
    };
    assert_eq!(of(format!("job={job}")).await.as_array().unwrap().len(), 1);
    assert_eq!(of(format!("endpoint={own}")).await.as_array().unwrap().len(), 2);
    for other in others {
        assert_eq!(of(format!("endpoint={other}")).await, json!([]));
    }
}

async fn its_keys_go_with_an_endpoint(engine: Engine) {
    let receiver = Peer::start().await;
    let mut server = Ringback::on(engine).await;
    let api = server.api().clone();
    let (own, _) = registered(&api, &receiver, "/own").await;
    let (other, _) = registered(&api, &receiver, "/other").await;
    let (key, id) = keys::make(&api, json!({ "role": "receiver", "endpoint": own })).await;
    let (stays, _) = keys::make(&api, json!({ "role": "receiver", "endpoint": other })).await;
    let listed = api.get("/v1/keys").await.expect(200).json();
    let shown: Vec<_> = listed["items"].as_array().unwrap().iter().map(|key| &key["endpoint"]).collect();
    assert!(shown.contains(&&json!(own)) && shown.contains(&&json!(other)), "{listed}");

    let bound = api.with_key(Some(&key));
    bound.get("/v1/deliveries").await.expect(200);
    api.send(Method::DELETE, &format!("/v1/endpoints/{own}"), &[], "").await.expect(204);
    bound.get("/v1/deliveries").await.problem(401, "unauthorized");
    bound.call(&format!("/v1/endpoints/{own}/ping")).await.problem(401, "unauthorized");
    let listed = api.get("/v1/keys").await.expect(200);
    assert!(!listed.text().contains(&id), "{}", listed.text());
    api.send(Method::DELETE, &format!("/v1/keys/{id}"), &[], "").await.problem(404, "not-found");
    server.crash().await;
    server.api().with_key(Some(&key)).get("/v1/deliveries").await.problem(401, "unauthorized");
    server.api().with_key(Some(&stays)).get("/v1/deliveries").await.expect(200);
}

async fn nobody_makes_a_key_for_what_is_gone(engine: Engine) {
    let receiver = Peer::start().await;
    let server = Ringback::on(engine).await;
    let api = server.api();
    for _ in 0..8 {
        let (endpoint, _) = registered(api, &receiver, "/hook").await;
        let key = json!({ "role": "receiver", "endpoint": endpoint }).to_string();
        let path = format!("/v1/endpoints/{endpoint}");
        let (made, deleted) =
            tokio::join!(api.post("/v1/keys", key), api.send(Method::DELETE, &path, &[], ""),);
        deleted.expect(204);
        if made.status == 201 {
            let bound = api.with_key(made.json()["key"].as_str());
            bound.get("/v1/deliveries").await.problem(401, "unauthorized");
        } else {
            made.problem_at(422, "validation-failed", "/endpoint");
        }
    }
    let listed = api.get("/v1/keys").await.expect(200).json();
    assert_eq!(listed["items"], json!([]));
}

#[tokio::test]
async fn what_a_receivers_key_must_be() {
    let receiver = Peer::start().await;
    let server = Ringback::sqlite().await;
    let api = server.api();
    let (own, _) = registered(api, &receiver, "/own").await;
    let (id, theirs) = tenant(api, "theirs").await;
    for body in [
        json!({ "role": "receiver" }),
        json!({ "role": "receiver", "endpoint": null }),
        json!({ "role": "receiver", "endpoint": "" }),
        json!({ "role": "receiver", "endpoint": 1 }),
        json!({ "role": "receiver", "endpoint": "job_01jdxyzxyzxyzxyzxyzxyzxyzx" }),
        json!({ "role": "receiver", "endpoint": "ep_01jdxyzxyzxyzxyzxyzxyzxyzx" }),
        json!({ "role": "receiver", "endpoint": own, "tenant": id }),
        json!({ "role": "admin", "endpoint": own }),
        json!({ "role": "viewer", "endpoint": own }),
    ] {
        api.post("/v1/keys", body.to_string()).await.problem_at(422, "validation-failed", "/endpoint");
    }
    let key = json!({ "role": "receiver", "endpoint": own }).to_string();
    theirs.post("/v1/keys", key.clone()).await.problem_at(422, "validation-failed", "/endpoint");
    let made = api.post("/v1/keys", key).await.expect(201).json();
    assert_eq!((&made["role"], &made["endpoint"]), (&json!("receiver"), &json!(own)));
    let viewer = api.post("/v1/keys", r#"{"role":"viewer"}"#).await.expect(201).json();
    assert_eq!(viewer["endpoint"], Value::Null);
}
