//! One attempt's request: the stored bytes, and the headers of Standard Webhooks 1.0 around them.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use domain::{header_rule::CustomHeaders, time::Timestamp, trace};
use http::{
    HeaderMap, HeaderName, HeaderValue, Uri,
    header::{CONTENT_TYPE, InvalidHeaderName, InvalidHeaderValue, USER_AGENT},
    uri::InvalidUri,
};
use storage::ClaimedDelivery;

use crate::Request;

const AGENT: &str = concat!("Ringback/", env!("CARGO_PKG_VERSION"));
const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const WEBHOOK_SEQUENCE: HeaderName = HeaderName::from_static("webhook-sequence");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// A stored row holds what was never accepted. None of these shows a value.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unsendable {
    #[error("the URL cannot be sent: {0}")]
    Url(#[from] InvalidUri),
    #[error("a header's name cannot be sent: {0}")]
    Name(#[from] InvalidHeaderName),
    #[error("a header's value cannot be sent: {0}")]
    Value(#[from] InvalidHeaderValue),
}

/// What differs from attempt to attempt.
pub(crate) struct Stamp {
    /// `webhook-id`, which does not.
    pub(crate) id: String,
    /// The wall clock of this attempt.
    pub(crate) wall: Timestamp,
    pub(crate) signature: String,
    /// The callback's own, opened.
    pub(crate) headers: CustomHeaders,
    /// Our span in the submission's trace.
    pub(crate) span: u64,
    pub(crate) timeout: Duration,
}

/// The request, complete.
pub(crate) fn build(delivery: &ClaimedDelivery, stamp: Stamp) -> Result<Request, Unsendable> {
    let target = &delivery.target;
    let own = stamp.headers;
    let mut headers = HeaderMap::with_capacity(7 + own.iter().len());
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    headers.insert(WEBHOOK_ID, text(stamp.id)?);
    headers.insert(WEBHOOK_TIMESTAMP, stamp.wall.seconds().into());
    headers.insert(WEBHOOK_SIGNATURE, text(stamp.signature)?);
    if let Some(sequence) = delivery.endpoint.as_ref().and_then(|endpoint| endpoint.sequence) {
        headers.insert(WEBHOOK_SEQUENCE, sequence.into());
    }
    if let Some(trace) = &delivery.traceparent {
        headers.insert(TRACEPARENT, text(trace::child(trace, stamp.span))?);
    }
    for (name, value) in own.iter() {
        // A custom `user-agent` or `traceparent` is the client's choice; none of ours that matter passes the rule.
        headers.insert(HeaderName::from_bytes(name.as_bytes())?, HeaderValue::from_str(value)?);
    }
    Ok(Request {
        uri: Uri::try_from(target.url.as_str())?,
        headers,
        body: Bytes::from_owner(Stored(delivery.body.clone())),
        timeout: stamp.timeout,
    })
}

fn text(value: String) -> Result<HeaderValue, InvalidHeaderValue> {
    HeaderValue::from_maybe_shared(Bytes::from(value))
}

/// Lends the stored text's bytes, so that no attempt copies them.
struct Stored(Arc<str>);

impl AsRef<[u8]> for Stored {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}
