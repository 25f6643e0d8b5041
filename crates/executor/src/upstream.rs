//! The call to an operator's upstream: a small trait, so that a seeded world can answer in its place, and reqwest
//! behind it.

use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, LOCATION, RETRY_AFTER};

/// A call that did not bring a body we keep whole brings at most so much of it: a problem (RFC 9457) is small.
const MAX_PROBLEM: u64 = 64 * 1024;

/// Name look-up, TCP and TLS together.
const CONNECT: Duration = Duration::from_secs(5);

/// Upstreams commonly drop idle connections after a minute: ours are gone before.
const IDLE: Duration = Duration::from_secs(50);

/// What a request does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// Asks for the work.
    Post,
    /// Asks how it stands.
    Get,
}

/// One request to an upstream.
#[derive(Clone, Debug)]
pub struct Request {
    /// What it does.
    pub method: Method,
    /// The operator's, dialled as written.
    pub url: url::Url,
    /// Names in lower case.
    pub headers: Vec<(&'static str, String)>,
    /// The input's exact bytes; empty with GET.
    pub body: Bytes,
    /// The most of a 2xx body that is read, in bytes.
    pub max_result: u64,
}

/// What came back.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// `content-type`, if it is text.
    pub content_type: Option<String>,
    /// `retry-after`, as sent.
    pub retry_after: Option<Vec<u8>>,
    /// `location`, if it is text.
    pub location: Option<String>,
    /// The body, decoded by nobody; `None` if it is larger than we read.
    pub body: Option<Bytes>,
}

/// No complete answer came: the name, the connection, TLS, or a break in the middle. The text says which, without the
/// URL.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unreachable(pub String);

/// Who answers for `http` tasks. Dropping the call drops the request.
#[async_trait]
pub trait Upstream: Send + Sync + 'static {
    /// Sends a request and reads its answer. The caller bounds the time.
    async fn call(&self, request: Request) -> Result<Answer, Unreachable>;
}

/// The client could not be made: the system's TLS roots cannot be read, for one.
#[derive(Debug, thiserror::Error)]
#[error("the client for http tasks cannot be made")]
pub struct Setup(#[from] reqwest::Error);

/// Over the network: kept connections, no redirects, no proxy from the environment, no decompression.
pub struct HttpUpstream(reqwest::Client);

impl HttpUpstream {
    /// `version` is ours, for `user-agent`.
    pub fn new(version: &str) -> Result<Self, Setup> {
        let client = reqwest::Client::builder()
            .user_agent(format!("Ringback/{version}"))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .referer(false)
            .http1_only()
            .connect_timeout(CONNECT)
            .pool_idle_timeout(IDLE)
            .tcp_nodelay(true)
            .build()?;
        Ok(Self(client))
    }
}

#[async_trait]
impl Upstream for HttpUpstream {
    async fn call(&self, request: Request) -> Result<Answer, Unreachable> {
        let max_result = request.max_result;
        let mut call = match request.method {
            Method::Post => self.0.post(request.url).body(request.body),
            Method::Get => self.0.get(request.url),
        };
        for (name, value) in request.headers {
            call = call.header(HeaderName::from_static(name), value);
        }
        let response = call.send().await.map_err(unreachable)?;
        let status = response.status();
        let text = |headers: &HeaderMap, name| Some(headers.get(name)?.to_str().ok()?.to_owned());
        let headers = response.headers();
        let answer = Answer {
            status: status.as_u16(),
            content_type: text(headers, CONTENT_TYPE),
            retry_after: headers.get(RETRY_AFTER).map(|value| value.as_bytes().to_vec()),
            location: text(headers, LOCATION),
            body: None,
        };
        let limit = if status.is_success() { max_result } else { MAX_PROBLEM };
        Ok(Answer { body: read(response, limit).await?, ..answer })
    }
}

/// The whole body, or `None` as soon as it is known to be larger.
async fn read(mut response: reqwest::Response, limit: u64) -> Result<Option<Bytes>, Unreachable> {
    if response.content_length().is_some_and(|length| length > limit) {
        return Ok(None);
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if (body.len() + chunk.len()) as u64 > limit {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body.freeze()))
}

/// The innermost cause says what happened ("Connection refused"); the outer ones only that something did.
fn unreachable(error: reqwest::Error) -> Unreachable {
    let error = error.without_url();
    if error.is_timeout() {
        return Unreachable("no connection within the time it may take".into());
    }
    let mut cause: &dyn std::error::Error = &error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    Unreachable(cause.to_string())
}

#[cfg(test)]
mod tests;
