//! Reads request bodies within bounds, and lets a client whose request was refused early read its answer.

use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use tokio::time::timeout;

use crate::{
    object,
    problem::{Faults, Problem, table},
};

/// How long a body may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(30);

/// How much is read and thrown away after an early refusal, and for how long. A connection closed over unread bytes is
/// reset, and the client would see that instead of the answer.
const DISCARD: usize = 1024 * 1024;
const DISCARD_FOR: Duration = Duration::from_secs(2);

/// A body that is exactly one JSON value.
pub(crate) struct Json(Bytes);

impl Json {
    /// The value's text.
    pub(crate) fn text(&self) -> &str {
        // Nothing else is ever put inside (`json`).
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// A JSON body: checked to be of that type, within `most` bytes, and exactly one JSON value.
pub(crate) async fn json(headers: &HeaderMap, body: Body, most: usize) -> Result<Json, Problem> {
    if let Err(problem) = is_json(headers) {
        discard(headers, body);
        return Err(problem);
    }
    let bytes = read(headers, body, most).await?;
    if let Err(malformed) = domain::json::check(&bytes) {
        return Err(Problem::new(
            &table::MALFORMED_JSON,
            format!("The body is not one JSON value: {malformed}."),
        ));
    }
    Ok(Json(bytes))
}

/// The body of a call that may go without one: `None` if it does.
pub(crate) async fn optional_json(
    headers: &HeaderMap,
    body: Body,
    most: usize,
) -> Result<Option<Json>, Problem> {
    let typed = headers.contains_key(header::CONTENT_TYPE) || headers.contains_key(header::CONTENT_ENCODING);
    if body.is_end_stream() || (!typed && headers.get(header::CONTENT_LENGTH).is_some_and(|n| n == "0")) {
        return Ok(None);
    }
    if !typed {
        // It may still turn out to be empty, when it comes in chunks.
        let bytes = read(headers, body, most).await?;
        return if bytes.is_empty() { Ok(None) } else { Err(wrong_type()) };
    }
    json(headers, body, most).await.map(Some)
}

/// The body of a call that has nothing to say: none, or an object without members.
pub(crate) async fn empty_object(
    headers: &HeaderMap,
    body: Body,
    most: usize,
) -> Result<Option<Json>, Problem> {
    let json = optional_json(headers, body, most).await?;
    if let Some(json) = &json {
        let mut faults = Faults::default();
        object::members(json.text(), &[], "", &mut faults);
        faults.finish()?;
    }
    Ok(json)
}

fn wrong_type() -> Problem {
    Problem::new(&table::UNSUPPORTED_MEDIA_TYPE, "Send “Content-Type: application/json”.")
}

/// `application/json`, in UTF-8, as it is.
fn is_json(headers: &HeaderMap) -> Result<(), Problem> {
    if headers.contains_key(header::CONTENT_ENCODING) {
        return Err(Problem::new(
            &table::UNSUPPORTED_MEDIA_TYPE,
            "Send the body without a Content-Encoding.",
        ));
    }
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    match (types.next().map(|value| value.as_bytes()), types.next()) {
        (Some(b"application/json"), None) => Ok(()),
        (Some(other), None) if names_json(other) => Ok(()),
        _ => Err(wrong_type()),
    }
}

fn names_json(content_type: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(content_type) else { return false };
    let mut parts = text.split(';').map(str::trim);
    parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"))
        && parts.filter(|parameter| !parameter.is_empty()).all(|parameter| {
            parameter.split_once('=').is_some_and(|(name, value)| {
                name.trim().eq_ignore_ascii_case("charset")
                    && value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
            })
        })
}

/// All of a body, if it is within `most` bytes and arrives in time.
async fn read(headers: &HeaderMap, mut body: Body, most: usize) -> Result<Bytes, Problem> {
    // hyper has made sure that there is one length and that the body keeps to it.
    let announced = body.size_hint().lower();
    if announced > most as u64 {
        discard(headers, body);
        return Err(too_large(most));
    }
    match timeout(ARRIVAL, gather(&mut body, announced as usize, most)).await {
        Ok(Gathered::All(bytes)) => Ok(bytes),
        Ok(Gathered::TooLarge) => {
            spawn_discard(body);
            Err(too_large(most))
        }
        Ok(Gathered::Broken) => Err(Problem::new(&table::BAD_REQUEST, "The body broke off.")),
        Err(_) => Err(Problem::new(&table::REQUEST_TIMEOUT, "The body did not arrive within 30 s.")),
    }
}

fn too_large(most: usize) -> Problem {
    Problem::new(&table::PAYLOAD_TOO_LARGE, format!("A body may have {most} bytes here."))
}

enum Gathered {
    All(Bytes),
    TooLarge,
    Broken,
}

async fn gather(body: &mut Body, announced: usize, most: usize) -> Gathered {
    // Most bodies come whole in the first frame and are not copied.
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Gathered::Broken };
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + all.len() + data.len() > most {
            return Gathered::TooLarge;
        }
        if first.is_empty() && all.is_empty() {
            first = data;
            continue;
        }
        if all.is_empty() {
            all.reserve(announced.max(first.len() + data.len()));
            all.extend_from_slice(&std::mem::take(&mut first));
        }
        all.extend_from_slice(&data);
    }
    Gathered::All(if all.is_empty() { first } else { all.freeze() })
}

/// Throws an unread body away, behind the answer's back.
pub(crate) fn discard(headers: &HeaderMap, body: Body) {
    // A client that waits for “100 Continue” sends nothing when it is refused: asking for its body would be wrong.
    if !body.is_end_stream() && !headers.contains_key(header::EXPECT) {
        spawn_discard(body);
    }
}

fn spawn_discard(mut body: Body) {
    tokio::spawn(timeout(DISCARD_FOR, async move {
        let mut left = DISCARD;
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                break;
            }
        }
    }));
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt, stream};

    use super::*;

    #[test]
    fn takes_json_in_utf_8_only() {
        for (content_type, taken) in [
            ("application/json", true),
            ("Application/JSON", true),
            ("application/json;charset=utf-8", true),
            ("application/json; charset=UTF-8", true),
            ("application/json; charset=\"utf-8\"", true),
            ("application/json;", true),
            ("application/json; charset=latin1", false),
            ("application/json; version=1", false),
            ("application/problem+json", false),
            ("application/jsonx", false),
            ("text/json", false),
            ("text/plain", false),
            ("application/x-www-form-urlencoded", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, content_type.parse().unwrap());
            assert_eq!(is_json(&headers).is_ok(), taken, "{content_type}");
            headers.insert(header::CONTENT_ENCODING, "identity".parse().unwrap());
            assert!(is_json(&headers).is_err());
        }
        assert!(is_json(&HeaderMap::new()).is_err());
    }

    async fn read_frames(
        frames: &[&'static str],
        endless: bool,
        most: usize,
    ) -> Result<String, &'static str> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
        let sent = stream::iter(
            frames.iter().map(|text| Ok::<_, std::convert::Infallible>(*text)).collect::<Vec<_>>(),
        );
        // Without an end it is still open when everything was sent.
        let body =
            if endless { Body::from_stream(sent.chain(stream::pending())) } else { Body::from_stream(sent) };
        let json = json(&headers, body, most).await.map_err(|problem| problem.kind().slug)?;
        Ok(json.text().to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn reads_frame_by_frame_within_bounds_and_in_time() {
        for (frames, endless, most, expected) in [
            (&["[1,2]"][..], false, 5, Ok("[1,2]")),
            (&["[1", ",", "2]"], false, 5, Ok("[1,2]")),
            (&["", "[1", "", ",2]"], false, 5, Ok("[1,2]")),
            (&["[1", ",2 ]"], false, 5, Err("payload-too-large")),
            (&["[1,2 ]"], true, 5, Err("payload-too-large")),
            (&["[1,2"], true, 5, Err("request-timeout")),
            (&[], true, 5, Err("request-timeout")),
            (&["[1,2"], false, 5, Err("malformed-json")),
            (&[], false, 5, Err("malformed-json")),
        ] {
            let read = read_frames(frames, endless, most).await;
            assert_eq!(read, expected.map(str::to_owned), "{frames:?}");
        }
    }

    #[tokio::test]
    async fn a_body_may_be_left_out_where_there_is_nothing_to_say() {
        let typed = |content_type: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.extend(content_type.map(|of| (header::CONTENT_TYPE, of.parse().unwrap())));
            headers
        };
        for (content_type, body, expected) in [
            (None, "", Ok(false)),
            (Some("application/json"), "", Ok(false)),
            (Some("application/json"), "{}", Ok(true)),
            (Some("application/json"), " { } ", Ok(true)),
            (Some("application/json"), "{\"a\":1}", Err("validation-failed")),
            (Some("application/json"), "[]", Err("validation-failed")),
            (Some("application/json"), "{", Err("malformed-json")),
            (Some("text/plain"), "{}", Err("unsupported-media-type")),
            (None, "{}", Err("unsupported-media-type")),
        ] {
            let read = empty_object(&typed(content_type), Body::from(body), 100).await;
            let read = read.map(|json| json.is_some()).map_err(|problem| problem.kind().slug);
            assert_eq!(read, expected, "{content_type:?} {body}");
        }
    }
}
