//! The small shapes: ids, times, durations and the words of the contract, each with its pattern and an example.

use std::borrow::Cow;

use domain::{
    access::Role,
    delivery::{Outcome, Reason, Status as DeliveryStatus, Trigger},
    endpoint::{DisabledReason as Disabled, RecoveryState as Recovering},
    event::{EVERY, EventKind},
    job::Status as JobStatus,
    secret::Scheme,
};
use serde_json::{Value, json};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        Object, ObjectBuilder, RefOr, Schema, SchemaFormat, Type,
        schema::{AdditionalProperties, SchemaType},
    },
};

/// A text of one form, or one of some words. The names of the shapes are those of the document.
macro_rules! shapes {
    ($($(#[doc = $doc:literal])* $name:ident = $build:expr;)*) => {$(
        $(#[doc = $doc])*
        pub(crate) enum $name {}

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let object: ObjectBuilder = $build;
                object.description(Some(concat!($($doc),*).trim())).build().into()
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                stringify!($name).into()
            }
        }
    )*};
}

shapes! {
    /// A job's id: a TypeID.
    JobId = id("job");
    /// A delivery's id: a TypeID.
    DeliveryId = id("dlv");
    /// An event's id: a TypeID. The `webhook-id` of everything that carries it.
    EventId = id("evt");
    /// A tenant's id: a TypeID.
    TenantId = id("ten");
    /// An API key's id: not the key.
    KeyId = text("0123456789abcdef").min_length(Some(1));
    /// What a key may do.
    RoleName = words(Role::ALL.iter().map(|role| role.name()));
    /// A name for people.
    LabelText = text("the shop").min_length(Some(1));
    /// A batch's id: a TypeID.
    BatchId = id("bat");
    /// A registered endpoint's id: a TypeID.
    EndpointId = id("ep");
    /// A recovery's id: a TypeID.
    RecoveryId = id("rec");
    /// Finds one request in the server's log: a TypeID.
    RequestId = id("req");
    /// RFC 3339, UTC, with microseconds.
    Time = text("2026-11-23T11:12:13.123456Z").format(Some(SchemaFormat::Custom("date-time".into())));
    /// A whole number and a unit, several from large to small: `ms`, `s`, `m`, `h`, `d`.
    Span = text("2m30s").min_length(Some(2)).pattern(Some(SPAN));
    /// How many, and in how many whole seconds: at most 24 hours, and a million a second.
    RateText = text("100/1s").min_length(Some(4));
    /// A whole number of seconds, however large.
    Seconds = Object::builder().schema_type(Type::Integer).minimum(Some(0)).examples([json!(5)]);
    /// The name of a task that the operator configured.
    TaskName = text("echo").min_length(Some(1));
    /// A link: absolute if the server has a `public_url`.
    Link = text("/v1/jobs/job_01kaqdc2q5fbz8b6q8m1h3x9wz");
    /// A signing secret: `whsec_` and the base64 of 24 to 64 bytes, or an endpoint's Ed25519 pair: `whsk_` and that of its key.
    SigningSecret = text("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD").pattern(Some("^wh(sec|sk)_[A-Za-z0-9+/]+={0,2}$"));
    /// What verifies `v1a` signatures: `whpk_` and the base64 of an Ed25519 public key.
    PublicKey = text("whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=").pattern(Some("^whpk_[A-Za-z0-9+/]{43}=$"));
    /// How webhooks to an endpoint are signed: `v1` under a secret that both sides know, or `v1a` by a key of ours alone.
    SignatureScheme = words(Scheme::ALL.iter().map(|scheme| scheme.name()));
    /// Of your own: strings that come back everywhere; at most 50 pairs and 4 KiB.
    Metadata = Object::builder()
        .schema_type(Type::Object)
        .additional_properties(Some(Object::builder().schema_type(Type::String)))
        .max_properties(Some(50))
        .examples([json!({"order": "7"})]);
    /// A problem object (RFC 9457): of ours, or the upstream's own.
    JobError = Object::builder().schema_type(Type::Object).additional_properties(Some(AdditionalProperties::FreeForm(true))).examples([json!({
        "type": "/problems/upstream-failed", "title": "The upstream failed", "detail": "It answered 500.", "status": 500
    })]);
    /// `https://`, a full host name or an address, and a path; no credentials, no fragment.
    CallbackUrl = text("https://partner.example/hooks").min_length(Some(1)).max_length(Some(2_048));
    /// Where a job stands. The last three are never left.
    Status = words(JobStatus::ALL.into_iter().map(JobStatus::name));
    /// Where a delivery stands. `failed` is the dead letter.
    DeliveryState = words(DeliveryStatus::ALL.iter().map(|word| word.name()));
    /// Why a delivery failed for good.
    DeadLetter = words(Reason::ALL.iter().map(|word| word.name()));
    /// What started an attempt.
    AttemptTrigger = words(Trigger::ALL.iter().map(|word| word.name()));
    /// How an attempt went.
    AttemptOutcome = words(Outcome::ALL.iter().map(|word| word.name()));
    /// What happened.
    EventType = words(EventKind::ALL.iter().map(|kind| kind.name()));
    /// What a job's own callback can ask to hear.
    JobEventType = words(EventKind::ALL.iter().filter(|kind| kind.is_of_job()).map(|kind| kind.name()));
    /// What an endpoint can ask to hear; `*` is everything, that of later versions, too.
    Wanted = words([EVERY].into_iter().chain(EventKind::ALL.iter().map(|kind| kind.name())));
    /// Where a recovery stands. The last two are never left.
    RecoveryState = words(Recovering::ALL.iter().map(|word| word.name()));
    /// Whether an endpoint is sent to.
    EndpointState = words(["enabled", "disabled"].into_iter());
    /// Why it is not.
    DisabledReason = words(Disabled::ALL.iter().map(|word| word.name()));
    /// Nothing to say: an object without members.
    Nothing = Object::builder().schema_type(Type::Object).additional_properties(Some(AdditionalProperties::FreeForm(false))).examples([json!({})]);
    /// Any JSON value.
    Anything = Object::builder().schema_type(SchemaType::AnyValue).examples([json!({"price": 1.10})]);
    /// Continues a list where another page ended. Opaque.
    Cursor = text("agGQ_t9hP0i8b6q8m1h3x9w");
}

/// What `domain::duration` reads.
const SPAN: &str = r"^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$";

fn text(example: &str) -> ObjectBuilder {
    Object::builder().schema_type(Type::String).examples([Value::from(example)])
}

fn words(words: impl Iterator<Item = &'static str>) -> ObjectBuilder {
    Object::builder().schema_type(Type::String).enum_values(Some(words))
}

fn id(prefix: &str) -> ObjectBuilder {
    let pattern = format!("^{prefix}_[0-7][0-9a-hjkmnp-tv-z]{{25}}$");
    text(&format!("{prefix}_01kaqdc2q5fbz8b6q8m1h3x9wz")).pattern(Some(pattern))
}
