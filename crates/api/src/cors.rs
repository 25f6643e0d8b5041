//! Which pages a browser lets call the API (the Fetch standard's CORS protocol). Keys travel in a header and never in a
//! cookie, so that nothing is sent along that a page does not have itself.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Method, header};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::{
    prefer::{PREFER, PREFERENCE_APPLIED},
    request::REQUEST_ID,
    submit::{IDEMPOTENCY_KEY, IDEMPOTENCY_REPLAYED, TRACEPARENT},
};

/// How long a browser remembers what it was told. Those that forget sooner have a bound of their own.
const REMEMBERED: Duration = Duration::from_secs(60 * 60);

/// `None`: no page may call, and nothing is said of it.
pub(crate) fn layer(origins: &[String]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let allowed = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        // The configuration has been checked: an origin is visible ASCII.
        AllowOrigin::list(origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()))
    };
    let layer = CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::PATCH, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::IF_NONE_MATCH,
            IDEMPOTENCY_KEY,
            PREFER,
            TRACEPARENT,
            HeaderName::from_static("last-event-id"),
        ])
        .expose_headers([
            header::CONTENT_LOCATION,
            header::ETAG,
            header::LINK,
            header::LOCATION,
            header::RETRY_AFTER,
            IDEMPOTENCY_REPLAYED,
            PREFERENCE_APPLIED,
            REQUEST_ID,
            HeaderName::from_static("ratelimit"),
        ])
        .max_age(REMEMBERED);
    Some(layer)
}
