//! What each header of an answer means: said once, here; a call names those that its answers bear.

use serde_json::json;
use utoipa::openapi::{Header, Object, RefOr, Response, Type, header::HeaderBuilder};

/// On every answer.
const ALWAYS: &str = "ringback-request-id";

/// Name, whether it is a whole number, what it says, example.
const HEADERS: &[(&str, Type, &str, &str)] = &[
    ("Allow", Type::String, "The methods of this URL.", "GET,HEAD"),
    ("Cache-Control", Type::String, "What caches may do with it (RFC 9111).", "no-store"),
    (
        "Content-Location",
        Type::String,
        "The job that the body shows.",
        "/v1/jobs/job_01kaqdc2q5fbz8b6q8m1h3x9wz",
    ),
    (
        "Content-Security-Policy",
        Type::String,
        "What the bytes may do if a browser shows them.",
        "default-src 'none'; sandbox",
    ),
    ("ETag", Type::String, "For If-None-Match.", "W/\"6f2a1c09b3d4e5f8\""),
    ("Idempotency-Replayed", Type::String, "`true` if the Idempotency-Key had made this job before.", "true"),
    (
        "Link",
        Type::String,
        "The job, as `rel=\"status\"` (RFC 8631).",
        "</v1/jobs/job_01kaqdc2q5fbz8b6q8m1h3x9wz>; rel=\"status\"",
    ),
    (
        "Location",
        Type::String,
        "Where to look. Absolute if the server has a `public_url`.",
        "/v1/jobs/job_01kaqdc2q5fbz8b6q8m1h3x9wz",
    ),
    ("Preference-Applied", Type::String, "The wait that was held (RFC 7240).", "wait=5"),
    ("Retry-After", Type::Integer, "When to ask again, in whole seconds.", "1"),
    (
        "RateLimit",
        Type::String,
        "What is left of the tenant's limit (IETF RateLimit headers).",
        "\"default\";r=9;t=1",
    ),
    ("RateLimit-Policy", Type::String, "The limit.", "\"default\";q=10;w=1"),
    (
        "ringback-request-id",
        Type::String,
        "Finds the request in the server's log.",
        "req_01kaqdc2q5fbz8b6q8m1h3x9wz",
    ),
    ("Vary", Type::String, "What of the request the answer depends on.", "Prefer, Authorization"),
    ("WWW-Authenticate", Type::String, "How to authenticate (RFC 9110 section 11.6.1).", "Bearer"),
    ("X-Content-Type-Options", Type::String, "`nosniff`: the type is as it says.", "nosniff"),
];

/// A header by its name. One that is not in the dictionary has no description, and a test says so.
pub(super) fn named(name: &str) -> Header {
    let Some((_, of, says, example)) = HEADERS.iter().find(|(known, ..)| known.eq_ignore_ascii_case(name))
    else {
        return Header::new(Object::with_type(Type::String));
    };
    let example = match of {
        Type::Integer => json!(example.parse::<u64>().unwrap_or_default()),
        _ => json!(example),
    };
    HeaderBuilder::new()
        .schema(Some(Object::with_type(of.clone())))
        .description(Some(*says))
        .example(Some(example))
        .build()
}

/// Says what the headers mean that a call named, and adds what every answer bears.
pub(super) fn describe(response: &mut Response) {
    response.headers.insert(ALWAYS.to_owned(), RefOr::T(Header::default()));
    for (name, header) in &mut response.headers {
        *header = RefOr::T(named(name));
    }
}
