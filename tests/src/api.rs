//! A client of the contract: it sends what it is told and keeps the answer whole.

use std::{process::Command, sync::LazyLock, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::Value;
use testkit::described::{Description, Exchange};

use crate::{binary, wait};

/// An answer with everything in it.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// All headers.
    pub headers: HeaderMap,
    /// The body, read to its end.
    pub body: Bytes,
}

impl Answer {
    /// A header that must be there once at most; its text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let all: Vec<_> = self.headers.get_all(name).iter().collect();
        assert!(all.len() <= 1, "header {name} came {} times: {all:?}", all.len());
        all.first().map(|value| value.to_str().expect("the header is text"))
    }

    /// Asserts that the server's own description (`ringback openapi`) has this answer.
    fn is_as_described(&self, method: &Method, path: &str, sent: Option<&Value>) {
        static DESCRIPTION: LazyLock<Description> = LazyLock::new(|| {
            let mut command = Command::new(binary::path());
            let output =
                command.arg("openapi").current_dir(std::env::temp_dir()).output().expect("the binary runs");
            Description::new(&String::from_utf8_lossy(&output.stdout))
        });
        let (status, headers, body) = (self.status, &self.headers, &*self.body);
        // A preflight is CORS's; and outside of /v1 a page may be served at the operator's address alone.
        if *method == Method::OPTIONS || (status == 404 && !path.starts_with("/v1/")) {
            return;
        }
        if let Err(why) = DESCRIPTION.judge(&Exchange { method, path, sent, status, headers, body }) {
            panic!("not as described: {why}");
        }
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is UTF-8")
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// Asserts the status; the whole answer is shown if it is another.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}\n{:?}", String::from_utf8_lossy(&self.body), self.headers);
        self
    }

    /// Asserts a complete problem (RFC 9457) of this status and slug, and gives it.
    #[track_caller]
    pub fn problem(&self, status: u16, slug: &str) -> Value {
        let body = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status, status, "wanted {slug}: {body}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{body}");
        let problem = self.json();
        assert_eq!(problem["type"], format!("/problems/{slug}"), "{body}");
        assert_eq!(problem["status"], status, "{body}");
        for member in ["title", "detail", "instance", "request_id"] {
            assert!(
                problem[member].as_str().is_some_and(|text| !text.is_empty()),
                "{member} is missing: {body}"
            );
        }
        problem
    }

    /// [`Answer::problem`] whose `errors` point exactly here.
    #[track_caller]
    pub fn problem_at(&self, status: u16, slug: &str, pointer: &str) -> Value {
        let problem = self.problem(status, slug);
        let pointers: Vec<_> =
            problem["errors"].as_array().into_iter().flatten().map(|e| &e["pointer"]).collect();
        assert!(pointers.iter().any(|p| *p == pointer), "no {pointer} among {pointers:?}: {problem}");
        problem
    }
}

/// A client with a key.
#[derive(Clone)]
pub struct Api {
    base: String,
    key: Option<String>,
    http: reqwest::Client,
}

impl Api {
    /// A client of the server at `base` (`http://host:port`).
    pub fn new(base: &str, key: Option<&str>) -> Self {
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(90))
            .build()
            .expect("a client needs nothing from the machine");
        Self { base: base.to_owned(), key: key.map(str::to_owned), http }
    }

    /// The same client with another key, or none.
    pub fn with_key(&self, key: Option<&str>) -> Self {
        Self { key: key.map(str::to_owned), ..self.clone() }
    }

    /// `http://host:port`.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Any request; the error where no complete answer came.
    pub async fn attempt(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> reqwest::Result<Answer> {
        let url = if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.base) };
        let mut request = self.http.request(method, url).body(body);
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.build()?;
        let (method, path) = (request.method().clone(), request.url().path().to_owned());
        let sent = request
            .body()
            .and_then(reqwest::Body::as_bytes)
            .and_then(|body| serde_json::from_slice(body).ok());
        let answer = self.http.execute(request).await?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let answer = Answer { status, headers, body: answer.bytes().await? };
        answer.is_as_described(&method, &path, sent.as_ref());
        Ok(answer)
    }

    /// Any request that must be answered.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> Answer {
        let shown = format!("{method} {path}");
        self.attempt(method, path, headers, body).await.unwrap_or_else(|e| panic!("{shown}: {e:?}"))
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], "").await
    }

    /// GET with headers.
    pub async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(Method::GET, path, headers, "").await
    }

    /// POST of this text as JSON, with more headers.
    pub async fn post_with(&self, path: &str, headers: &[(&str, &str)], json: impl Into<String>) -> Answer {
        let headers: Vec<_> =
            [("content-type", "application/json")].into_iter().chain(headers.iter().copied()).collect();
        self.send(Method::POST, path, &headers, json.into()).await
    }

    /// POST of this text as JSON.
    pub async fn post(&self, path: &str, json: impl Into<String>) -> Answer {
        self.post_with(path, &[], json).await
    }

    /// POST without a body.
    pub async fn call(&self, path: &str) -> Answer {
        self.send(Method::POST, path, &[], "").await
    }

    /// Submits; the raw answer.
    pub async fn submit(&self, job: &Value) -> Answer {
        self.post("/v1/jobs", job.to_string()).await
    }

    /// Submits a job that must be accepted; its id.
    pub async fn accepted(&self, job: &Value) -> String {
        let answer = self.submit(job).await.expect(202);
        answer.json()["id"].as_str().expect("a job has an id").to_owned()
    }

    /// The job now.
    pub async fn job(&self, id: &str) -> Value {
        self.get(&format!("/v1/jobs/{id}")).await.expect(200).json()
    }

    /// Waits until the job has this status.
    pub async fn job_is(&self, id: &str, status: &str) -> Value {
        wait::until(&format!("{id} is {status}"), || async {
            let job = self.job(id).await;
            (job["status"] == status).then_some(job)
        })
        .await
    }

    /// Waits until the job has ended.
    pub async fn ended(&self, id: &str) -> Value {
        wait::until(&format!("{id} has ended"), || async {
            let job = self.job(id).await;
            job["finished_at"].is_string().then_some(job)
        })
        .await
    }

    /// The deliveries of a job, newest first, with attempts and body.
    pub async fn deliveries(&self, job: &str) -> Vec<Value> {
        let list = self.get(&format!("/v1/deliveries?job={job}")).await.expect(200).json();
        let mut whole = Vec::new();
        for item in list["items"].as_array().expect("a list has items") {
            whole.push(self.delivery(item["id"].as_str().expect("a delivery has an id")).await);
        }
        whole
    }

    /// One delivery with its attempts and body.
    pub async fn delivery(&self, id: &str) -> Value {
        self.get(&format!("/v1/deliveries/{id}")).await.expect(200).json()
    }

    /// Waits until the job's only delivery has this status; the delivery.
    pub async fn delivery_is(&self, job: &str, status: &str) -> Value {
        self.delivery_where(job, &format!("is {status}"), |delivery| delivery["status"] == status).await
    }

    /// Waits until the job's only delivery is as `wanted`; the delivery.
    pub async fn delivery_where(&self, job: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        wait::until(&format!("the delivery of {job} {what}"), || async {
            let mut all = self.deliveries(job).await;
            assert!(all.len() <= 1, "one delivery: {all:#?}");
            all.pop().filter(|delivery| wanted(delivery))
        })
        .await
    }

    /// The tenant's signing secret.
    pub async fn signing_secret(&self) -> String {
        let answer = self.get("/v1/signing-secret").await.expect(200).json();
        answer["secret"].as_str().expect("there is a secret").to_owned()
    }
}
