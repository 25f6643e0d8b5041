//! Two tenants: nothing of one is there for the other, whatever is called. The calls are those of the description, so
//! that a new one is not forgotten.

use http::Method;
use ringback_tests::{Api, Engine, Peer, Ringback, both_engines, wait};
use serde_json::{Value, json};

use super::{described, errors::alike, tenants::tenant};

both_engines!(nothing_of_one_tenant_is_there_for_another);

/// What a call is about.
enum About {
    /// An object of a tenant, which its path names: the body that it takes.
    One(Object, &'static str),
    /// Objects of a tenant: with these parameters, too.
    Many(&'static [&'static str]),
    /// What is the caller's own, or becomes it.
    Own,
    /// What belongs to no tenant.
    Shared,
    /// The operator's.
    Operated,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Object {
    Job,
    Running,
    Delivery,
    Endpoint,
    Recovery,
    Key,
}

use About::{Many, One, Operated, Own, Shared};
use Object::{Delivery, Endpoint, Job, Key, Recovery, Running};

/// Where a callback or an endpoint may lead to.
const LEADS: &str = r#"{"url":"http://127.0.0.1:9999/"}"#;

#[rustfmt::skip]
const CALLS: &[(Method, &str, About)] = &[
    (Method::GET,    "/v1/jobs",                         Many(&["status=running", "task=echo", "cursor={job}"])),
    (Method::POST,   "/v1/jobs",                         Own),
    (Method::GET,    "/v1/jobs/{id}",                    One(Job, "")),
    (Method::DELETE, "/v1/jobs/{id}",                    One(Job, "")),
    (Method::GET,    "/v1/jobs/{id}/input",              One(Job, "")),
    (Method::GET,    "/v1/jobs/{id}/result",             One(Job, "")),
    (Method::POST,   "/v1/jobs/{id}/cancel",             One(Running, "")),
    (Method::POST,   "/v1/jobs/{id}/rerun",              One(Job, "")),
    (Method::POST,   "/v1/jobs/{id}/callbacks",          One(Job, LEADS)),
    (Method::GET,    "/v1/deliveries",                   Many(&["job={job}", "endpoint={ep}", "event={evt}", "status=succeeded"])),
    (Method::GET,    "/v1/deliveries/{id}",              One(Delivery, "")),
    (Method::POST,   "/v1/deliveries/{id}/resend",       One(Delivery, "")),
    (Method::POST,   "/v1/deliveries/{id}/cancel",       One(Delivery, "")),
    (Method::GET,    "/v1/endpoints",                    Many(&[])),
    (Method::POST,   "/v1/endpoints",                    Own),
    (Method::GET,    "/v1/endpoints/{id}",               One(Endpoint, "")),
    (Method::PATCH,  "/v1/endpoints/{id}",               One(Endpoint, r#"{"state":"disabled"}"#)),
    (Method::DELETE, "/v1/endpoints/{id}",               One(Endpoint, "")),
    (Method::GET,    "/v1/endpoints/{id}/secret",        One(Endpoint, "")),
    (Method::POST,   "/v1/endpoints/{id}/rotate-secret", One(Endpoint, "")),
    (Method::POST,   "/v1/endpoints/{id}/ping",          One(Endpoint, "")),
    (Method::GET,    "/v1/endpoints/{id}/feed",          One(Endpoint, "")),
    (Method::POST,   "/v1/endpoints/{id}/recover",       One(Endpoint, "{}")),
    (Method::GET,    "/v1/endpoints/{id}/recoveries/{recovery}", One(Recovery, "")),
    (Method::DELETE, "/v1/endpoints/{id}/recoveries/{recovery}", One(Recovery, "")),
    (Method::GET,    "/v1/events",                       Many(&[])),
    (Method::GET,    "/v1/signing-secret",               Own),
    (Method::POST,   "/v1/signing-secret/rotate",        Own),
    (Method::GET,    "/v1/keys",                         Many(&["cursor={key}"])),
    (Method::POST,   "/v1/keys",                         Own),
    (Method::DELETE, "/v1/keys/{id}",                    One(Key, "")),
    (Method::GET,    "/v1/tasks",                        Shared),
    (Method::GET,    "/v1/tasks/{name}",                 Shared),
    (Method::POST,   "/v1/tasks/{name}/pause",           Operated),
    (Method::POST,   "/v1/tasks/{name}/resume",          Operated),
    (Method::GET,    "/v1/tenants",                      Operated),
    (Method::POST,   "/v1/tenants",                      Operated),
    (Method::DELETE, "/v1/tenants/{id}",                 Operated),
    (Method::GET,    "/v1/nodes",                        Operated),
    (Method::GET,    "/v1/nodes/{id}",                   Operated),
    (Method::POST,   "/v1/nodes/{id}/drain",             Operated),
    (Method::POST,   "/v1/secrets/reseal",               Operated),
];

/// What one tenant has, as others may know it.
struct Estate {
    job: String,
    running: String,
    delivery: String,
    event: String,
    endpoint: String,
    recovery: String,
    key: String,
}

impl Estate {
    async fn of(api: &Api, receiver: &Peer, path: &str) -> Self {
        let url = receiver.url(path);
        let endpoint = json!({ "url": url, "events": ["job.succeeded"], "description": "ours" }).to_string();
        let endpoint = text(&api.post("/v1/endpoints", endpoint).await.expect(201).json()["id"]);
        let job = api.accepted(&json!({ "task": "echo", "input": "ours", "callback": url })).await;
        // The job's own, and the endpoint's.
        let delivery = wait::until("both were delivered", || async {
            let deliveries = api.deliveries(&job).await;
            let all = deliveries.len() == 2 && deliveries.iter().all(|one| one["status"] == "succeeded");
            deliveries.into_iter().find(|one| all && one["endpoint"] == *endpoint)
        })
        .await;
        let running = api.accepted(&super::sleep("60s")).await;
        wait::until("it runs", || async { (api.job(&running).await["status"] == "running").then_some(()) })
            .await;
        let recovery = api.call(&format!("/v1/endpoints/{endpoint}/recover")).await.expect(202).json();
        let keys = api.get("/v1/keys").await.expect(200).json();
        Self {
            job,
            running,
            delivery: text(&delivery["id"]),
            event: text(&delivery["event"]),
            endpoint,
            recovery: text(&recovery["id"]),
            key: text(&keys["items"][0]["id"]),
        }
    }

    fn id(&self, object: Object) -> &str {
        match object {
            Job => &self.job,
            Running => &self.running,
            Delivery => &self.delivery,
            Endpoint => &self.endpoint,
            Recovery => &self.recovery,
            Key => &self.key,
        }
    }

    /// Everything that tells of it: none of this is in an answer to others.
    fn traces(&self) -> [&str; 7] {
        [&self.job, &self.running, &self.delivery, &self.event, &self.endpoint, &self.recovery, &self.key]
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

async fn nothing_of_one_tenant_is_there_for_another(engine: Engine) {
    let receiver = Peer::start().await;
    let server = Ringback::on(engine).await;
    let api = server.api();
    described::assert_all(api, CALLS.iter().map(|(method, path, _)| (method, *path))).await;
    let (_, ours) = tenant(api, "ours").await;
    let (_, theirs) = tenant(api, "theirs").await;
    let estate = Estate::of(&ours, &receiver, "/ours").await;
    let before = everything(&ours, &estate).await;
    let own = Estate::of(&theirs, &receiver, "/theirs").await;

    for (method, path, about) in CALLS {
        match about {
            One(object, body) => {
                let id = estate.id(*object);
                // Whoever operates the installation revokes keys of any tenant, and has no say in the rest.
                let others = if *object == Key { vec![&theirs] } else { vec![&theirs, api] };
                for other in others {
                    let path = if *object == Recovery {
                        path.replace("{id}", &estate.endpoint).replace("{recovery}", "{id}")
                    } else {
                        (*path).to_owned()
                    };
                    is_nobodys(other, &ours, method, &path, id, body).await;
                }
            }
            Many(parameters) => {
                shows_nothing(&theirs, path, &estate).await;
                for parameters in *parameters {
                    shows_nothing(&theirs, &format!("{path}?{}", filled(parameters, &estate)), &estate).await;
                }
            }
            Operated => {
                let path = path.replace("{id}", "1").replace("{name}", "echo");
                theirs.send(method.clone(), &path, &[], "").await.problem(403, "forbidden");
            }
            Own | Shared => {}
        }
    }
    names_nothing(&theirs, &estate, &own).await;
    assert_eq!(everything(&ours, &estate).await, before, "all of it is as it was");
    own_is_own(&ours, &theirs).await;
}

/// Answered as for an id that nobody has.
async fn is_nobodys(other: &Api, ours: &Api, method: &Method, path: &str, id: &str, body: &str) {
    let unknown = match id.split_once('_') {
        Some((prefix, _)) => format!("{prefix}_01jdxyzxyzxyzxyzxyzxyzxyzx"),
        None => "0".repeat(16),
    };
    let headers: &[_] = if body.is_empty() { &[] } else { &[("content-type", "application/json")] };
    let of = |id: &str| path.replace("{id}", id);
    let foreign =
        other.send(method.clone(), &of(id), headers, body.to_owned()).await.problem(404, "not-found");
    let nobodys =
        ours.send(method.clone(), &of(&unknown), headers, body.to_owned()).await.problem(404, "not-found");
    assert_eq!(alike(&foreign), alike(&nobodys), "{method} {path}");
}

fn filled(parameters: &str, estate: &Estate) -> String {
    let names = [
        ("{job}", &estate.job),
        ("{ep}", &estate.endpoint),
        ("{evt}", &estate.event),
        ("{key}", &estate.key),
    ];
    names.into_iter().fold(parameters.to_owned(), |text, (name, id)| text.replace(name, id))
}

async fn shows_nothing(theirs: &Api, path: &str, estate: &Estate) {
    let answer = theirs.get(path).await;
    // A cursor of another's list is none, or one like every other.
    if path.contains("cursor=") && answer.status == 422 {
        return;
    }
    let shown = answer.expect(200);
    for trace in estate.traces() {
        assert!(!shown.text().contains(trace), "{path} tells of {trace}: {}", shown.text());
    }
    if path.contains("{") || path.contains(&estate.job) || path.contains(&estate.endpoint) {
        assert_eq!(shown.json()["items"], json!([]), "{path}");
    }
}

/// Names in bodies are no way in, nor are those behind a name of one's own.
async fn names_nothing(theirs: &Api, estate: &Estate, own: &Estate) {
    let crossed = format!("/v1/endpoints/{}/recoveries/{}", own.endpoint, estate.recovery);
    theirs.get(&crossed).await.problem(404, "not-found");
    theirs.send(Method::DELETE, &crossed, &[], "").await.problem(404, "not-found");
    let callback = json!({ "task": "echo", "callback": { "endpoint": estate.endpoint } });
    theirs.submit(&callback).await.problem_at(422, "validation-failed", "/callback/endpoint");
    let key = json!({ "role": "receiver", "endpoint": estate.endpoint }).to_string();
    theirs.post("/v1/keys", key).await.problem_at(422, "validation-failed", "/endpoint");
}

/// What is each tenant's own, under whatever name.
async fn own_is_own(ours: &Api, theirs: &Api) {
    // One key, two tenants, two jobs.
    let idempotent = [("idempotency-key", "the-same")];
    let body = json!({ "task": "echo" }).to_string();
    let one = ours.post_with("/v1/jobs", &idempotent, body.clone()).await.expect(202).json();
    let two = theirs.post_with("/v1/jobs", &idempotent, body).await.expect(202).json();
    assert_ne!(one["id"], two["id"]);
    let before = ours.signing_secret().await;
    assert_ne!(before, theirs.signing_secret().await);
    theirs.call("/v1/signing-secret/rotate").await.expect(200);
    assert_eq!(ours.signing_secret().await, before);
}

/// All that could be changed from outside.
async fn everything(ours: &Api, estate: &Estate) -> Value {
    let mut seen = Vec::new();
    for path in [
        format!("/v1/jobs/{}", estate.job),
        format!("/v1/jobs/{}/result", estate.job),
        format!("/v1/deliveries/{}", estate.delivery),
        format!("/v1/endpoints/{}", estate.endpoint),
        format!("/v1/endpoints/{}/secret", estate.endpoint),
        format!("/v1/deliveries?endpoint={}", estate.endpoint),
        format!("/v1/deliveries?job={}", estate.job),
    ] {
        seen.push(ours.get(&path).await.expect(200).json());
    }
    let running = ours.job(&estate.running).await;
    seen.push(json!([running["status"], running["cancel_requested_at"]]));
    let feed = ours.get(&format!("/v1/endpoints/{}/feed", estate.endpoint)).await.expect(200).json();
    seen.push(feed["items"][0].clone());
    let keys = ours.get("/v1/keys").await.expect(200).json();
    seen.push(json!(keys["items"].as_array().unwrap().iter().any(|key| key["id"] == *estate.key)));
    Value::Array(seen)
}
