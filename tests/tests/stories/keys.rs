//! API keys: made once, shown once, good for what their role says, worthless when revoked.

use std::time::Duration;

use http::Method;
use ringback_tests::{Api, Config, Engine, Ringback, both_engines, clock, wait};
use serde_json::{Value, json};

use super::{assert_time, errors::alike};

both_engines!(
    a_held_answer_is_not_for_a_revoked_key,
    a_key_works_until_it_is_revoked,
    a_server_needs_no_bootstrap_key_once_it_has_an_administrator
);

/// Whoever waits for an answer with a key hears nothing once it is revoked.
async fn a_held_answer_is_not_for_a_revoked_key(engine: Engine) {
    let server = Ringback::on(engine).await;
    let api = server.api();
    let slow = api.accepted(&json!({ "task": "sleep", "input": { "for": "3s" } })).await;
    let (key, id) = make(api, json!({ "role": "viewer" })).await;
    let mut held = tokio::task::JoinSet::new();
    for path in [format!("/v1/jobs/{slow}?wait=30"), "/v1/events?wait=30".to_owned()] {
        let viewer = api.with_key(Some(&key));
        held.spawn(async move { viewer.get(&path).await });
    }
    // Whichever comes first, it is 401; that they are held by then is what this is about.
    tokio::time::sleep(Duration::from_millis(300)).await;
    revoke(api, &id).await;
    while let Some(answer) = held.join_next().await {
        answer.expect("no panic").problem(401, "unauthorized");
    }
    assert_eq!(api.job(&slow).await["status"], "succeeded", "they were held");
}

/// A client with a new key of this role.
pub(crate) async fn bearer(api: &Api, role: &str) -> Api {
    api.with_key(Some(&make(api, json!({ "role": role })).await.0))
}

/// Makes a key: its text, and its id.
pub(crate) async fn make(api: &Api, key: Value) -> (String, String) {
    let made = api.post("/v1/keys", key.to_string()).await.expect(201).json();
    let text = |name: &str| made[name].as_str().unwrap_or_else(|| panic!("{name} of {made}")).to_owned();
    (text("key"), text("id"))
}

async fn revoke(api: &Api, id: &str) {
    let answer = api.send(Method::DELETE, &format!("/v1/keys/{id}"), &[], "").await.expect(204);
    assert!(answer.body.is_empty());
}

async fn a_key_works_until_it_is_revoked(engine: Engine) {
    let mut server = Ringback::on(engine).await;
    let api = server.api().clone();
    let answer = api.post("/v1/keys", r#"{"role":"submitter","name":"the shop"}"#).await.expect(201);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let made = answer.json();
    let (key, id) = (made["key"].as_str().unwrap(), made["id"].as_str().unwrap());
    assert_eq!((&made["role"], &made["name"]), (&json!("submitter"), &json!("the shop")));
    assert_time(&made["created_at"]);
    let (prefix, rest) = key.split_at(4);
    let (named, secret) = rest.split_once('_').unwrap();
    assert_eq!((prefix, named, named.len(), secret.len()), ("rbk_", id, 16, 43));

    let shop = api.with_key(Some(key));
    shop.accepted(&json!({ "task": "echo" })).await;
    let listed = api.get("/v1/keys").await.expect(200);
    assert!(!listed.text().contains(secret), "it is shown once");
    let items = listed.json()["items"].clone();
    let mut shown = made.clone();
    shown.as_object_mut().unwrap().remove("key");
    assert_eq!(items, json!([shown]));

    // Neither half of a key is any good with another half, and each refusal is like every other.
    let (other, _) = make(&api, json!({ "role": "submitter" })).await;
    let none = api.with_key(None).get("/v1/jobs").await.problem(401, "unauthorized");
    for wrong in [
        format!("rbk_{id}_{}", &other[21..]),
        format!("rbk_{}_{secret}", "0".repeat(16)),
        format!("{key}A"),
        key.to_uppercase(),
        key[..63].to_owned(),
        secret.to_owned(),
    ] {
        let answer = api.with_key(Some(&wrong)).get("/v1/jobs").await;
        assert_eq!(alike(&answer.problem(401, "unauthorized")), alike(&none));
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }

    server.crash().await;
    let (api, shop) = (server.api().clone(), server.api().with_key(Some(key)));
    shop.get("/v1/jobs").await.expect(200);
    revoke(&api, id).await;
    let answer = shop.get("/v1/jobs").await;
    assert_eq!(alike(&answer.problem(401, "unauthorized")), alike(&none), "at once");
    api.send(Method::DELETE, &format!("/v1/keys/{id}"), &[], "").await.problem(404, "not-found");
    api.with_key(Some(&other)).get("/v1/jobs").await.expect(200);
    assert!(!server.log().contains(secret) && !server.log().contains(&other[21..]));
}

#[tokio::test]
async fn another_node_forgets_a_revoked_key_within_a_second() {
    let one = Ringback::on(Engine::Postgres).await;
    let config = Config::on(Engine::Postgres);
    let mut two = Ringback::prepare(config.clone());
    config.write(two.config_file(), one.storage());
    two.launch().await;
    let (key, id) = make(one.api(), json!({ "role": "viewer" })).await;
    let there = two.api().with_key(Some(&key));
    there.get("/v1/jobs").await.expect(200);
    revoke(one.api(), &id).await;
    let revoked = clock::now();
    wait::until("the key is refused", || async { (there.get("/v1/jobs").await.status == 401).then_some(()) })
        .await;
    let took = revoked.elapsed();
    assert!(took < Duration::from_millis(1_900), "{took:?}: a second, and some for a busy machine");
}

async fn a_server_needs_no_bootstrap_key_once_it_has_an_administrator(engine: Engine) {
    let mut server = Ringback::on(engine).await;
    let (key, id) = make(server.api(), json!({ "role": "admin" })).await;
    server.stop().await;
    server.reconfigure(&Config::on(engine).without("auth.bootstrap_key"));
    server.launch().await;
    server.api().get("/v1/jobs").await.problem(401, "unauthorized");
    let admin = server.api().with_key(Some(&key));
    admin.accepted(&json!({ "task": "echo" })).await;
    make(&admin, json!({ "role": "viewer" })).await;
    revoke(&admin, &id).await;
    server.stop().await;
    // A viewer cannot make keys: nobody could.
    server.spawn();
    let (status, _) = server.ends_within(wait::PATIENCE).await;
    assert!(!status.success());
    assert!(server.log().contains("openssl rand"), "the line that makes one: {}", server.log());
}

#[tokio::test]
async fn nobody_gives_more_than_they_have() {
    let server = Ringback::sqlite().await;
    let api = server.api();
    let admin = bearer(api, "admin").await;
    for role in ["viewer", "submitter", "worker", "admin"] {
        bearer(&admin, role).await;
    }
    for body in [
        json!({ "role": "operator" }),
        json!({ "role": "viewer", "tenant": "ten_00000000000000000000000000" }),
    ] {
        admin.post("/v1/keys", body.to_string()).await.problem(403, "forbidden");
    }
    admin.get("/v1/keys?tenant=ten_00000000000000000000000000").await.problem(403, "forbidden");

    // Who operates the installation is no matter of a tenant's.
    let (operator, id) = make(api, json!({ "role": "operator" })).await;
    let listed = |list: Value| list["items"].as_array().unwrap().iter().any(|key| key["id"] == *id);
    assert!(!listed(admin.get("/v1/keys?limit=100").await.json()));
    assert!(listed(api.get("/v1/keys?limit=100").await.json()));
    let path = format!("/v1/keys/{id}");
    admin.send(Method::DELETE, &path, &[], "").await.problem(404, "not-found");
    let operator = api.with_key(Some(&operator));
    operator.get("/v1/tenants").await.expect(200);
    operator.get("/v1/jobs").await.problem(403, "forbidden");
    operator.send(Method::DELETE, &path, &[], "").await.expect(204);
    operator.get("/v1/tenants").await.problem(401, "unauthorized");
}

#[tokio::test]
async fn what_a_key_must_be() {
    let server = Ringback::sqlite().await;
    let api = server.api();
    for (body, pointer) in [
        (json!({}), "/role"),
        (json!({ "role": null }), "/role"),
        (json!({ "role": "root" }), "/role"),
        (json!({ "role": 1 }), "/role"),
        (json!({ "role": "viewer", "name": "" }), "/name"),
        (json!({ "role": "viewer", "name": "a\nb" }), "/name"),
        (json!({ "role": "viewer", "name": "x".repeat(101) }), "/name"),
        (json!({ "role": "viewer", "tenant": "default" }), "/tenant"),
        (json!({ "role": "viewer", "tenant": "ten_00000000000000000000000000" }), "/tenant"),
        (json!({ "role": "viewer", "scopes": [] }), "/scopes"),
    ] {
        api.post("/v1/keys", body.to_string()).await.problem_at(422, "validation-failed", pointer);
    }
    api.get("/v1/keys?tenant=ten_00000000000000000000000000").await.problem_at(
        422,
        "validation-failed",
        "/tenant",
    );
    api.get("/v1/keys?role=viewer").await.problem_at(422, "validation-failed", "/role");
    api.post("/v1/keys", "{").await.problem(400, "malformed-json");
    api.call("/v1/keys").await.problem(415, "unsupported-media-type");
    let put = api.send(Method::PUT, "/v1/keys", &[], "").await;
    put.problem(405, "method-not-allowed");
    assert_eq!(put.header("allow"), Some("GET,HEAD,POST"));
}

#[tokio::test]
async fn keys_are_listed_newest_first() {
    let server = Ringback::sqlite().await;
    let api = server.api();
    let mut made = Vec::new();
    for n in 0..5 {
        made.insert(0, make(api, json!({ "role": "viewer", "name": format!("{n}") })).await.1);
    }
    let (mut seen, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let after = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        let page = api.get(&format!("/v1/keys?limit=2{after}")).await.expect(200).json();
        seen.extend(
            page["items"].as_array().unwrap().iter().map(|key| key["id"].as_str().unwrap().to_owned()),
        );
        match page["next_cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    // Those of one millisecond have no order.
    seen.sort();
    made.sort();
    assert_eq!(seen, made);
}
