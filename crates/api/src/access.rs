//! Who may call what under `/v1`: one table, a line for every method of every route.
//!
//! A call that is not in it is refused to everybody, so that a new route cannot be open by mistake. Whose objects a call
//! sees is no matter of the table: every handler asks storage for the caller's tenant alone.

use axum::http::Method;
use domain::access::{
    Role::{Admin, Operator, Receiver, Submitter, Viewer},
    Roles,
};

/// Sees what there is, but no secret.
const READ: Roles = Roles::of(&[Viewer, Submitter, Admin]);
/// The same, of one endpoint alone where the key is bound to it.
const WATCH: Roles = Roles::of(&[Viewer, Submitter, Admin, Receiver]);
/// Asks an endpoint to answer, of one alone where the key is bound to it.
const ASK: Roles = Roles::of(&[Admin, Receiver]);
/// Makes jobs, ends them, and says who hears of them.
const SUBMIT: Roles = Roles::of(&[Submitter, Admin]);
/// Everything else of a tenant.
const ADMIN: Roles = Roles::of(&[Admin]);
/// What there is to submit: whoever pauses it sees it too.
const TASKS: Roles = Roles::of(&[Viewer, Submitter, Admin, Operator]);
/// Keys: an admin's are those of its tenant, an operator's are all.
const KEYS: Roles = Roles::of(&[Admin, Operator]);
/// The installation.
const OPERATE: Roles = Roles::of(&[Operator]);

#[rustfmt::skip]
static TABLE: &[(Method, &str, Roles)] = &[
    (Method::GET,    "/v1/jobs",                   READ),
    (Method::POST,   "/v1/jobs",                   SUBMIT),
    (Method::GET,    "/v1/jobs/{id}",              READ),
    (Method::GET,    "/v1/jobs/{id}/input",        READ),
    (Method::GET,    "/v1/jobs/{id}/result",       READ),
    (Method::DELETE, "/v1/jobs/{id}",              ADMIN),
    (Method::POST,   "/v1/jobs/{id}/callbacks",    SUBMIT),
    (Method::POST,   "/v1/jobs/{id}/cancel",       SUBMIT),
    (Method::POST,   "/v1/jobs/{id}/rerun",        SUBMIT),
    (Method::GET,    "/v1/deliveries",             WATCH),
    (Method::GET,    "/v1/deliveries/{id}",        WATCH),
    (Method::POST,   "/v1/deliveries/{id}/resend", ASK),
    (Method::POST,   "/v1/deliveries/{id}/cancel", ADMIN),
    (Method::GET,    "/v1/tasks",                  TASKS),
    (Method::GET,    "/v1/tasks/{name}",           TASKS),
    (Method::POST,   "/v1/tasks/{name}/pause",     OPERATE),
    (Method::POST,   "/v1/tasks/{name}/resume",    OPERATE),
    (Method::GET,    "/v1/endpoints",              READ),
    (Method::POST,   "/v1/endpoints",              ADMIN),
    (Method::GET,    "/v1/endpoints/{id}",         READ),
    (Method::PATCH,  "/v1/endpoints/{id}",         ADMIN),
    (Method::DELETE, "/v1/endpoints/{id}",         ADMIN),
    (Method::GET,    "/v1/endpoints/{id}/feed",    WATCH),
    (Method::GET,    "/v1/endpoints/{id}/secret",  ADMIN),
    (Method::POST,   "/v1/endpoints/{id}/rotate-secret", ADMIN),
    (Method::POST,   "/v1/endpoints/{id}/ping",    ASK),
    (Method::POST,   "/v1/endpoints/{id}/recover", ADMIN),
    (Method::GET,    "/v1/endpoints/{id}/recoveries/{recovery}", READ),
    (Method::DELETE, "/v1/endpoints/{id}/recoveries/{recovery}", ADMIN),
    (Method::GET,    "/v1/events",                 READ),
    (Method::GET,    "/v1/signing-secret",         ADMIN),
    (Method::POST,   "/v1/signing-secret/rotate",  ADMIN),
    (Method::GET,    "/v1/keys",                   KEYS),
    (Method::POST,   "/v1/keys",                   KEYS),
    (Method::DELETE, "/v1/keys/{id}",              KEYS),
    (Method::GET,    "/v1/tenants",                OPERATE),
    (Method::POST,   "/v1/tenants",                OPERATE),
    (Method::DELETE, "/v1/tenants/{id}",           OPERATE),
    (Method::GET,    "/v1/nodes",                  OPERATE),
    (Method::GET,    "/v1/nodes/{id}",             OPERATE),
    (Method::POST,   "/v1/nodes/{id}/drain",       OPERATE),
    (Method::POST,   "/v1/secrets/reseal",         OPERATE),
];

/// Who may make this call, by the route's pattern. `None`: it is not in the table.
pub(crate) fn may(method: &Method, route: &str) -> Option<Roles> {
    // Whoever may GET may have the head of it.
    let method = if *method == Method::HEAD { &Method::GET } else { method };
    TABLE.iter().find(|(m, r, _)| m == method && *r == route).map(|(_, _, roles)| *roles)
}

/// What `auth.bootstrap_key` is.
pub(crate) const BOOTSTRAP: Roles = Roles::of(&[Operator, Admin]);

#[cfg(test)]
mod tests {
    use domain::access::Role::{self, Worker};

    use super::*;

    #[test]
    fn every_role_may_what_the_contract_says() {
        for (method, route, who) in [
            (Method::GET, "/v1/jobs/{id}", &[Viewer, Submitter, Admin][..]),
            (Method::HEAD, "/v1/jobs/{id}", &[Viewer, Submitter, Admin]),
            (Method::POST, "/v1/jobs", &[Submitter, Admin]),
            (Method::GET, "/v1/signing-secret", &[Admin]),
            (Method::GET, "/v1/deliveries", &[Viewer, Submitter, Receiver, Admin]),
            (Method::POST, "/v1/deliveries/{id}/resend", &[Receiver, Admin]),
            (Method::POST, "/v1/keys", &[Admin, Operator]),
            (Method::GET, "/v1/tenants", &[Operator]),
        ] {
            let roles = may(&method, route).unwrap();
            for role in Role::ALL {
                assert_eq!(roles.has(*role), who.contains(role), "{method} {route} {role}");
            }
        }
        assert_eq!(may(&Method::DELETE, "/v1/jobs"), None);
        assert_eq!(may(&Method::GET, "/v1/jobs/job_1"), None, "patterns, not paths");
        assert!(TABLE.iter().all(|(_, route, _)| route.starts_with("/v1/")));
        assert!(!BOOTSTRAP.has(Worker) && BOOTSTRAP.has(Operator));
    }
}
