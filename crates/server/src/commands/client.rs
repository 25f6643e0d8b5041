//! Calls to a server: one function, and every way in which no good answer comes told apart.

use std::{net::IpAddr, time::Duration};

use axum::body::Bytes;
use clap::Args;
use http::{HeaderMap, Method, header};
use reqwest::Url;

use super::{
    failure::{Exit, Failure},
    problem,
};

/// How long an answer may take that nobody asked to be held.
const PATIENCE: Duration = Duration::from_secs(30);
const CONNECT: Duration = Duration::from_secs(10);

/// Which server, and as whom.
#[derive(Args, Clone)]
pub(crate) struct Connection {
    /// The server.
    #[arg(long, env = "RINGBACK_URL", default_value = "http://127.0.0.1:8202", value_name = "URL")]
    url: Url,
    /// The API key; better in RINGBACK_API_KEY, since other users of this machine see the command line.
    #[arg(long, env = "RINGBACK_API_KEY", hide_env_values = true, value_name = "KEY")]
    key: Option<String>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("url", &self.url.as_str()).finish_non_exhaustive()
    }
}

impl Connection {
    /// A client, which does not connect yet. Needs a key.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        if self.key.as_deref().unwrap_or_default().is_empty() {
            return Err(Failure::new(
                Exit::Auth,
                "no API key. Set RINGBACK_API_KEY, or --key; `ringback dev` keeps its own in ringback-dev.keys.",
            ));
        }
        self.anonymous()
    }

    /// Whether a key was given.
    pub(crate) fn has_key(&self) -> bool {
        self.key.is_some()
    }

    /// A client for what needs no key.
    pub(crate) fn anonymous(&self) -> Result<Client, Failure> {
        if !matches!(self.url.scheme(), "http" | "https") {
            return Err(Failure::usage(format!("--url {}: give an http:// or https:// URL", self.url)));
        }
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            // A key is sent to nobody but the server that was named.
            .redirect(reqwest::redirect::Policy::none());
        if is_here(&self.url) {
            builder = builder.no_proxy();
        }
        let http =
            builder.build().map_err(|error| Failure::failed(format!("cannot make a client: {error}")))?;
        Ok(Client { http, base: self.url.as_str().trim_end_matches('/').to_owned(), key: self.key.clone() })
    }
}

/// Proxies are for the way out; this machine is not out there.
fn is_here(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// One call.
pub(crate) struct Call<'a> {
    method: Method,
    path: String,
    query: Vec<(&'a str, String)>,
    headers: Vec<(&'static str, String)>,
    body: String,
    held: Duration,
}

impl<'a> Call<'a> {
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    pub(crate) fn post(path: impl Into<String>) -> Self {
        Self::new(Method::POST, path)
    }

    pub(crate) fn patch(path: impl Into<String>) -> Self {
        Self::new(Method::PATCH, path)
    }

    pub(crate) fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path)
    }

    fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            query: vec![],
            headers: vec![],
            body: String::new(),
            held: Duration::ZERO,
        }
    }

    pub(crate) fn query(mut self, name: &'a str, value: Option<impl ToString>) -> Self {
        self.query.extend(value.map(|value| (name, value.to_string())));
        self
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn json(mut self, body: impl Into<String>) -> Self {
        self.body = body.into();
        self.header("content-type", "application/json")
    }

    /// The server may hold the answer for this long.
    pub(crate) fn held(mut self, span: Duration) -> Self {
        self.held = span;
        self
    }
}

/// A server and a key.
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    key: Option<String>,
}

impl Client {
    /// Where the server is.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// An answer, whatever its status.
    pub(crate) async fn answer(&self, call: &Call<'_>) -> Result<Answer, Failure> {
        let mut request = self
            .http
            .request(call.method.clone(), self.target(call)?)
            .timeout(PATIENCE + call.held)
            .header(header::USER_AGENT, concat!("ringback-cli/", env!("CARGO_PKG_VERSION")));
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        if matches!(call.method, Method::POST | Method::PATCH) {
            request = request.body(call.body.clone());
        }
        let whole = async {
            let answer = request.send().await?;
            Ok(Answer {
                status: answer.status().as_u16(),
                headers: answer.headers().clone(),
                body: answer.bytes().await?,
            })
        };
        whole.await.map_err(|error| self.unanswered(&error))
    }

    /// An answer that says yes (2xx); any other is a failure that says why.
    pub(crate) async fn call(&self, call: &Call<'_>) -> Result<Answer, Failure> {
        let answer = self.answer(call).await?;
        if (200..300).contains(&answer.status) { Ok(answer) } else { Err(problem::failure(&answer)) }
    }

    fn target(&self, call: &Call<'_>) -> Result<Url, Failure> {
        let mut url = Url::parse(&format!("{}{}", self.base, call.path))
            .map_err(|error| Failure::usage(format!("{}{}: {error}", self.base, call.path)))?;
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&call.query);
        }
        Ok(url)
    }

    fn unanswered(&self, error: &reqwest::Error) -> Failure {
        let base = &self.base;
        let why = innermost(error);
        let text = if error.is_builder() {
            return Failure::usage(format!(
                "the request cannot be made: {why}. Look for line breaks in the key."
            ));
        } else if error.is_connect() {
            format!(
                "cannot reach {base}: {why}. Is it running? Start it with `ringback serve`, or name another with \
                 --url or RINGBACK_URL."
            )
        } else if error.is_timeout() {
            format!("{base} did not answer in time. Its log and {base}/readyz say what it waits for.")
        } else {
            format!("{base} broke off: {why}. Try again; `ringback doctor` looks for the cause.")
        };
        Failure { unsure: !error.is_connect(), ..Failure::new(Exit::Unreachable, text) }
    }
}

/// The text that says most: libraries wrap it in sentences that say nothing.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// One piece of a path, which an id from a command line may not leave.
pub(crate) fn segment(text: &str) -> Result<&str, Failure> {
    let fits =
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if fits {
        Ok(text)
    } else {
        Err(Failure::usage(format!("{text:?} is not an id; ids look like job_01kaqd…")))
    }
}

/// An answer with everything in it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// The body as text; all bodies but results are.
    pub(crate) fn text(&self) -> Result<&str, Failure> {
        std::str::from_utf8(&self.body)
            .map_err(|_| Failure::failed("the answer is not UTF-8. Is --url right?"))
    }

    /// A header's text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// `Retry-After` in seconds.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        self.header("retry-after")?.parse().ok().map(Duration::from_secs)
    }
}
