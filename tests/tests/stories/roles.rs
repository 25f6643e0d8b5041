//! Roles: every call, made by every role. The role `receiver` has stories of its own.

use http::Method;
use ringback_tests::Ringback;

use super::{described, keys};

const ROLES: [&str; 5] = ["viewer", "submitter", "worker", "admin", "operator"];
const READ: &[&str] = &["viewer", "submitter", "admin"];
const SUBMIT: &[&str] = &["submitter", "admin"];
const ADMIN: &[&str] = &["admin"];
const TASKS: &[&str] = &["viewer", "submitter", "admin", "operator"];
const KEYS: &[&str] = &["admin", "operator"];
const OPERATE: &[&str] = &["operator"];

#[rustfmt::skip]
const CALLS: &[(Method, &str, &[&str])] = &[
    (Method::GET,    "/v1/jobs",                         READ),
    (Method::POST,   "/v1/jobs",                         SUBMIT),
    (Method::GET,    "/v1/jobs/{id}",                    READ),
    (Method::DELETE, "/v1/jobs/{id}",                    ADMIN),
    (Method::GET,    "/v1/jobs/{id}/input",              READ),
    (Method::GET,    "/v1/jobs/{id}/result",             READ),
    (Method::POST,   "/v1/jobs/{id}/callbacks",          SUBMIT),
    (Method::POST,   "/v1/jobs/{id}/cancel",             SUBMIT),
    (Method::POST,   "/v1/jobs/{id}/rerun",              SUBMIT),
    (Method::GET,    "/v1/deliveries",                   READ),
    (Method::GET,    "/v1/deliveries/{id}",              READ),
    (Method::POST,   "/v1/deliveries/{id}/resend",       ADMIN),
    (Method::POST,   "/v1/deliveries/{id}/cancel",       ADMIN),
    (Method::GET,    "/v1/endpoints",                    READ),
    (Method::POST,   "/v1/endpoints",                    ADMIN),
    (Method::GET,    "/v1/endpoints/{id}",               READ),
    (Method::PATCH,  "/v1/endpoints/{id}",               ADMIN),
    (Method::DELETE, "/v1/endpoints/{id}",               ADMIN),
    (Method::GET,    "/v1/endpoints/{id}/feed",          READ),
    (Method::GET,    "/v1/endpoints/{id}/secret",        ADMIN),
    (Method::POST,   "/v1/endpoints/{id}/rotate-secret", ADMIN),
    (Method::POST,   "/v1/endpoints/{id}/ping",          ADMIN),
    (Method::POST,   "/v1/endpoints/{id}/recover",       ADMIN),
    (Method::GET,    "/v1/endpoints/{id}/recoveries/{recovery}", READ),
    (Method::DELETE, "/v1/endpoints/{id}/recoveries/{recovery}", ADMIN),
    (Method::GET,    "/v1/events",                       READ),
    (Method::GET,    "/v1/signing-secret",               ADMIN),
    (Method::POST,   "/v1/signing-secret/rotate",        ADMIN),
    (Method::GET,    "/v1/tasks",                        TASKS),
    (Method::GET,    "/v1/tasks/{name}",                 TASKS),
    (Method::POST,   "/v1/tasks/{name}/pause",           OPERATE),
    (Method::POST,   "/v1/tasks/{name}/resume",          OPERATE),
    (Method::GET,    "/v1/keys",                         KEYS),
    (Method::POST,   "/v1/keys",                         KEYS),
    (Method::DELETE, "/v1/keys/{id}",                    KEYS),
    (Method::GET,    "/v1/tenants",                      OPERATE),
    (Method::POST,   "/v1/tenants",                      OPERATE),
    (Method::DELETE, "/v1/tenants/{id}",                 OPERATE),
    (Method::GET,    "/v1/nodes",                        OPERATE),
    (Method::GET,    "/v1/nodes/{id}",                   OPERATE),
    (Method::POST,   "/v1/nodes/{id}/drain",             OPERATE),
    (Method::POST,   "/v1/secrets/reseal",               OPERATE),
];

/// With an id that nobody has, and no body: what is allowed does nothing, and is not refused with 403.
fn filled(path: &str) -> String {
    let prefix = match path.split('/').nth(2) {
        Some("jobs") => "job_",
        Some("deliveries") => "dlv_",
        Some("endpoints") => "ep_",
        Some("tenants") => "ten_",
        _ => "",
    };
    let nobodys = "01jdxyzxyzxyzxyzxyzxyzxyzx";
    path.replace("{id}", &format!("{prefix}{nobodys}"))
        .replace("{recovery}", &format!("rec_{nobodys}"))
        .replace("{name}", "none")
}

#[tokio::test]
async fn each_role_may_what_the_contract_says() {
    let server = Ringback::sqlite().await;
    let api = server.api();
    described::assert_all(api, CALLS.iter().map(|(method, path, _)| (method, *path))).await;
    for role in ROLES {
        let bearer = keys::bearer(api, role).await;
        for (method, path, may) in CALLS {
            let path = filled(path);
            let answer = bearer.send(method.clone(), &path, &[], "").await;
            if may.contains(&role) {
                assert!(![401, 403, 405].contains(&answer.status), "{role}: {method} {path}: {answer:?}");
            } else {
                answer.problem(403, "forbidden");
            }
            // Whoever may GET may have the head of it.
            if method == Method::GET {
                let head = bearer.send(Method::HEAD, &path, &[], "").await;
                assert_eq!(head.status, answer.status, "{role}: HEAD {path}");
            }
        }
        // What is not there is not there for anybody.
        bearer.get("/v1/nothing").await.problem(404, "not-found");
        bearer.send(Method::DELETE, "/v1/jobs", &[], "").await.problem(405, "method-not-allowed");
    }
}
