//! What we send: every event as a webhook of the document, and the same as a callback of the calls that can ask for it.

#![expect(dead_code, reason = "shapes of the document: their fields are read by the derive alone")]

use std::borrow::Cow;

use domain::event::EventKind;
use serde_json::json;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        Components, ContentBuilder, HttpMethod, Object, PathItem, Paths, Ref, RefOr, Required, Response,
        Responses, Schema, Type,
        path::{Callback, OperationBuilder, Parameter, ParameterBuilder, ParameterIn},
        request_body::RequestBodyBuilder,
    },
};

use super::{
    delivery::DeliverySummary,
    endpoint::EndpointFacts,
    job::{JobFacts, JobUnderWay},
    shape::{EventType, Time},
};

/// A webhook's body: built once, when the event happens, and byte for byte the same on every attempt. Within v1 fields
/// are only added.
#[derive(ToSchema)]
struct JobEvent {
    #[schema(rename = "type", value_type = EventType)]
    kind: String,
    /// When it happened.
    #[schema(value_type = Time)]
    timestamp: String,
    data: JobEventData,
}

#[derive(ToSchema)]
struct JobEventData {
    job: JobFacts,
}

/// The same about how far the work is.
#[derive(ToSchema)]
struct ProgressEvent {
    #[schema(rename = "type", value_type = EventType)]
    kind: String,
    /// When it happened.
    #[schema(value_type = Time)]
    timestamp: String,
    data: ProgressEventData,
}

#[derive(ToSchema)]
struct ProgressEventData {
    job: JobUnderWay,
}

/// The same about an endpoint.
#[derive(ToSchema)]
struct EndpointEvent {
    #[schema(rename = "type", value_type = EventType)]
    kind: String,
    /// When it happened.
    #[schema(value_type = Time)]
    timestamp: String,
    data: EndpointEventData,
}

#[derive(ToSchema)]
struct EndpointEventData {
    endpoint: EndpointFacts,
}

/// The same about a delivery.
#[derive(ToSchema)]
struct DeliveryEvent {
    #[schema(rename = "type", value_type = EventType)]
    kind: String,
    /// When it happened.
    #[schema(value_type = Time)]
    timestamp: String,
    data: DeliveryEventData,
}

#[derive(ToSchema)]
struct DeliveryEventData {
    delivery: DeliverySummary,
}

/// What its body is.
fn shape(kind: EventKind) -> Cow<'static, str> {
    match kind {
        EventKind::JobStarted | EventKind::JobSucceeded | EventKind::JobFailed | EventKind::JobCanceled => {
            JobEvent::name()
        }
        EventKind::JobProgress => ProgressEvent::name(),
        EventKind::EndpointPing | EventKind::EndpointDisabled => EndpointEvent::name(),
        EventKind::DeliveryFailed => DeliveryEvent::name(),
    }
}

/// Name, what it says, example.
const SIGNED: [(&str, &str, &str); 3] = [
    (
        "webhook-id",
        "The event's id: the same on every attempt. Tells a repetition.",
        "evt_01kaqdc2q5fbz8b6q8m1h3x9wz",
    ),
    (
        "webhook-timestamp",
        "Of this attempt, in seconds since 1970. Refuse what is over five minutes old.",
        "1763899200",
    ),
    (
        "webhook-signature",
        "`v1,` and the base64 of HMAC-SHA256 over `{webhook-id}.{webhook-timestamp}.{body}` (Standard Webhooks 1.0); \
         several, with spaces between, while a rotated secret overlaps.",
        "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
    ),
];

fn says(kind: EventKind) -> &'static str {
    match kind {
        EventKind::JobStarted => "A job's first attempt began. Sent only to who asked for it.",
        EventKind::JobProgress => {
            "The work said how far it is. The latest of a second, tried once, to who asked for it."
        }
        EventKind::JobSucceeded => "A job ended well.",
        EventKind::JobFailed => "A job ended for good without a result.",
        EventKind::JobCanceled => "A job was canceled.",
        EventKind::EndpointPing => "Somebody asked the endpoint to answer.",
        EventKind::EndpointDisabled => "The endpoint was taken out of service.",
        EventKind::DeliveryFailed => {
            "A delivery failed for good. To endpoints that ask for it, never for its own."
        }
    }
}

/// Each event, by its name.
pub(super) fn all() -> Paths {
    let mut paths = Paths::new();
    for kind in EventKind::ALL {
        let operation = operation(shape(*kind))
            .summary(Some(says(*kind)))
            .operation_id(Some(kind.name().replace('.', "-")));
        paths.paths.insert(kind.name().to_owned(), PathItem::new(HttpMethod::Post, operation));
    }
    paths
}

/// What a callback hears whose URL stands at one of these places of the request's body.
pub(super) fn callback<'a>(pointers: impl Iterator<Item = &'a str>) -> Callback {
    pointers
        .map(|pointer| {
            let item = PathItem::new(
                HttpMethod::Post,
                operation(JobEvent::name()).summary(Some("An event of this job")),
            );
            (format!("{{$request.body#{pointer}}}"), RefOr::T(item))
        })
        .collect()
}

fn operation(event: Cow<'static, str>) -> OperationBuilder {
    let body = ContentBuilder::new().schema(Some(Ref::from_schema_name(event))).build();
    let body =
        RequestBodyBuilder::new().content("application/json", body).required(Some(Required::True)).build();
    let answers = [
        ("2XX", "Received. Whatever the body does after the head, it is not sent again."),
        ("410", "Gone: it is not sent again, and the delivery fails."),
        ("429", "Later: not before Retry-After, at most 24 h."),
        ("503", "Later: not before Retry-After, at most 24 h."),
        (
            "default",
            "Not received: it is sent again, as the retry policy has it. Redirects are not followed.",
        ),
    ];
    let answers = answers.into_iter().map(|(status, says)| (status, Response::new(says)));
    let signed = SIGNED.into_iter().fold(OperationBuilder::new(), |operation, (name, says, example)| {
        operation.parameter(header(name, says, example))
    });
    signed.request_body(Some(body)).responses(Responses::from_iter(answers)).securities(Some([]))
}

fn header(name: &str, says: &str, example: &str) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(Required::True)
        .description(Some(says))
        .schema(Some(Object::with_type(Type::String)))
        .example(Some(json!(example)))
        .build()
}

/// The shapes that only webhooks bear.
pub(super) fn components(components: &mut Components) {
    let mut shapes: Vec<(String, RefOr<Schema>)> = vec![
        (JobEvent::name().into_owned(), JobEvent::schema()),
        (ProgressEvent::name().into_owned(), ProgressEvent::schema()),
        (EndpointEvent::name().into_owned(), EndpointEvent::schema()),
        (DeliveryEvent::name().into_owned(), DeliveryEvent::schema()),
    ];
    JobEvent::schemas(&mut shapes);
    ProgressEvent::schemas(&mut shapes);
    EndpointEvent::schemas(&mut shapes);
    DeliveryEvent::schemas(&mut shapes);
    components.schemas.extend(shapes);
}
