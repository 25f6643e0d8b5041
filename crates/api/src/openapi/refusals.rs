//! Which problems a call can answer: those of every call, read off its description, and its own, which it names in
//! `x-problems`.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use utoipa::openapi::{
    Components, ContentBuilder, HttpMethod, Ref, RefOr, Response, example::ExampleBuilder,
    extensions::Extensions, path::Operation,
};

use super::headers;
use crate::problem::table::{self, Kind};

/// Where an operation names the problems that are its own.
const OWN: &str = "x-problems";

const CONTENT_TYPE: &str = "application/problem+json";

/// Every problem of this call, by status.
pub(super) fn of(path: &str, method: HttpMethod, operation: &Operation) -> Vec<&'static Kind> {
    let mut kinds =
        vec![&table::BAD_REQUEST, &table::URI_TOO_LONG, &table::HEADERS_TOO_LARGE, &table::REQUEST_TIMEOUT];
    if path.starts_with("/v1/") {
        kinds.extend([
            &table::UNAUTHORIZED,
            &table::FORBIDDEN,
            &table::VALIDATION_FAILED,
            &table::INTERNAL,
            &table::STORAGE_UNAVAILABLE,
        ]);
        // What only reads waits for no writer.
        if method != HttpMethod::Get {
            kinds.push(&table::OVERLOADED);
        }
    }
    if path.contains('{') {
        kinds.push(&table::NOT_FOUND);
    }
    // Of a job that was there there is something left.
    if path.starts_with("/v1/jobs/{id}") {
        kinds.push(&table::PRUNED);
    }
    if operation.request_body.is_some() {
        kinds.extend([&table::MALFORMED_JSON, &table::PAYLOAD_TOO_LARGE, &table::UNSUPPORTED_MEDIA_TYPE]);
    }
    kinds.extend(own(operation));
    kinds.sort_by_key(|kind| (kind.status, kind.slug));
    kinds.dedup();
    kinds
}

fn own(operation: &Operation) -> impl Iterator<Item = &'static Kind> {
    let named = operation.extensions.as_ref().and_then(|all| all.get(OWN)).and_then(Value::as_array);
    named.into_iter().flatten().filter_map(|slug| table::find(slug.as_str()?))
}

/// Writes them down.
pub(super) fn describe(operation: &mut Operation, kinds: &[&'static Kind]) {
    let slugs: Vec<_> = kinds.iter().map(|kind| kind.slug).collect();
    operation.extensions.get_or_insert_with(Extensions::default).insert(OWN.into(), json!(slugs));
    let mut by_status: BTreeMap<u16, Vec<&Kind>> = BTreeMap::new();
    for kind in kinds {
        by_status.entry(kind.status.unwrap_or_default()).or_default().push(kind);
    }
    for (status, kinds) in by_status {
        let response = match kinds[..] {
            [only] => RefOr::Ref(Ref::from_response_name(only.slug)),
            _ => RefOr::T(response(&kinds)),
        };
        operation.responses.responses.insert(status.to_string(), response);
    }
}

/// An answer that is one of these.
fn response(kinds: &[&Kind]) -> Response {
    let lines: Vec<_> = kinds.iter().map(|kind| format!("`{}`: {}", kind.slug, kind.title)).collect();
    let mut response = Response::new(lines.join("  \n"));
    for name in
        ["Cache-Control"].into_iter().chain(kinds.iter().flat_map(|kind| kind.headers().iter().copied()))
    {
        response.headers.insert(name.to_owned(), RefOr::T(headers::named(name)));
    }
    headers::describe(&mut response);
    let examples = kinds
        .iter()
        .map(|kind| (kind.slug, RefOr::Ref(Ref::new(format!("#/components/examples/{}", kind.slug)))));
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Problem")))
        .examples_from_iter(examples)
        .build();
    response.content.insert(CONTENT_TYPE.to_owned(), content.into());
    response
}

/// An example of each problem, and each as an answer of its own.
pub(super) fn components(components: &mut Components) {
    for kind in table::ANSWERS {
        components.responses.insert(kind.slug.to_owned(), RefOr::T(response(&[kind])));
        let example = json!({
            "type": format!("/problems/{}", kind.slug), "title": kind.title, "status": kind.status,
            "detail": kind.text, "instance": "/v1/jobs", "request_id": "req_01kaqdc2q5fbz8b6q8m1h3x9wz",
        });
        let example = ExampleBuilder::new().summary(kind.title).value(Some(example)).build();
        components.examples.insert(kind.slug.to_owned(), example.into());
    }
}
