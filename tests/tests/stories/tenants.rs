//! Tenants: made, used and deleted.

use http::Method;
use ringback_tests::{Api, Engine, Peer, Reply, Ringback, both_engines, verify};
use serde_json::{Value, json};

use super::{assert_id, assert_time, echo, keys};

both_engines!(a_tenant_is_made_used_and_deleted);

/// A new tenant's id, and its admin.
pub(crate) async fn tenant(api: &Api, name: &str) -> (String, Api) {
    let made = api.post("/v1/tenants", json!({ "name": name }).to_string()).await.expect(201).json();
    let id = made["id"].as_str().unwrap().to_owned();
    let (key, _) = keys::make(api, json!({ "role": "admin", "tenant": id })).await;
    (id, api.with_key(Some(&key)))
}

async fn delete(api: &Api, id: &str) -> ringback_tests::Answer {
    api.send(Method::DELETE, &format!("/v1/tenants/{id}"), &[], "").await
}

async fn a_tenant_is_made_used_and_deleted(engine: Engine) {
    let receiver = Peer::start().await;
    let server = Ringback::on(engine).await;
    let api = server.api();
    let made = api.post("/v1/tenants", r#"{"name":"Büro Nord"}"#).await.expect(201).json();
    assert_id(&made["id"], "ten");
    assert_time(&made["created_at"]);
    api.post("/v1/tenants", r#"{"name":"Büro Nord"}"#).await.problem_at(422, "validation-failed", "/name");
    for (body, pointer) in [("{}", "/name"), (r#"{"name":" "}"#, "/name"), (r#"{"name":"a","b":1}"#, "/b")] {
        api.post("/v1/tenants", body).await.problem_at(422, "validation-failed", pointer);
    }
    let items = api.get("/v1/tenants").await.expect(200).json()["items"].clone();
    assert_eq!((&items[0], &items[1]["name"]), (&made, &json!("default")));

    let id = made["id"].as_str().unwrap();
    let (key, _) = keys::make(api, json!({ "role": "admin", "tenant": id })).await;
    let north = api.with_key(Some(&key));
    assert_eq!(north.get("/v1/keys").await.expect(200).json()["items"][0]["tenant"], id);
    receiver.script("/hook", [Reply::status(500)]);
    let job = north.accepted(&echo(json!(1), &receiver)).await;
    let secret = north.signing_secret().await;
    verify::assert_genuine(&secret, &receiver.first("/hook").await);
    assert_ne!(secret, api.signing_secret().await);

    // What it still has to do, it does; nobody deletes it meanwhile.
    delete(api, id).await.problem(409, "tenant-in-use");
    receiver.script("/hook", [Reply::ok()]);
    north.delivery_is(&job, "succeeded").await;
    let link = north.job(&job).await["links"]["result"].as_str().unwrap().to_owned();
    north.get(&link).await.expect(200);
    delete(api, id).await.expect(204);
    north.get(&format!("/v1/jobs/{job}")).await.problem(401, "unauthorized");
    delete(api, id).await.problem(404, "not-found");
    api.post("/v1/keys", json!({ "role": "admin", "tenant": id }).to_string()).await.problem_at(
        422,
        "validation-failed",
        "/tenant",
    );
    // The link in its webhook would be good for days.
    let event: Value = receiver.first("/hook").await.json();
    let link = event["data"]["job"]["links"]["result"].as_str().unwrap().to_owned();
    assert!(link.contains("sig="), "{link}");
    api.with_key(None).get(&link).await.problem(404, "not-found");

    // A new tenant of that name inherits nothing.
    let (_, again) = tenant(api, "Büro Nord").await;
    assert_eq!(again.get("/v1/jobs").await.expect(200).json()["items"], json!([]));
    again.get(&format!("/v1/jobs/{job}")).await.problem(404, "not-found");
    let default = items[1]["id"].as_str().unwrap();
    delete(api, default).await.problem(409, "tenant-in-use");
}
