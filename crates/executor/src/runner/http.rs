//! `http`: POSTs the input to the operator's upstream; its answer is the result.
//!
//! The request is the same on every attempt but for its number, deadline, time and span, so an upstream that keeps
//! `Idempotency-Key` does the work once. An upstream that takes its time answers 202 with a `Location` of its own
//! origin; that is asked again at its `Retry-After` until it ends or the attempt's time is over.

mod judge;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use domain::{job::Job, signature, task::HttpRun, time::Timestamp, trace};
use url::Url;

use self::judge::{Asked, Verdict, judge, unreachable};
use super::{JSON, Ran};
use crate::{
    executor::Executor,
    upstream::{Method, Request},
};

/// When a status is asked for again if the upstream does not say.
const POLL: Duration = Duration::from_secs(1);

/// No sooner than this, whatever it says.
const POLL_SOONEST: Duration = Duration::from_millis(100);

/// So many polls in a row may fail for a passing reason; the next failure ends the attempt, which is then retried.
const POLL_FAILURES: u32 = 5;

/// One attempt at an upstream.
pub(crate) struct Call<'a> {
    pub(crate) executor: &'a Executor,
    pub(crate) upstream: &'a HttpRun,
    pub(crate) job: &'a Job,
    pub(crate) input: &'a Arc<str>,
    /// When the attempt's time is over, on the wall clock: what the upstream is told.
    pub(crate) deadline: Timestamp,
    pub(crate) max_result: u64,
}

impl Call<'_> {
    pub(crate) async fn run(self) -> Ran {
        let body = Bytes::copy_from_slice(self.input.as_bytes());
        let (mut status, mut after) = match self.ask(Asked::Work, &self.upstream.url, body).await {
            Verdict::Ran(ran) => return ran,
            Verdict::Poll { url, after } => (url, after),
        };
        let mut failures = 0;
        loop {
            let pause = after.unwrap_or(POLL).max(POLL_SOONEST);
            self.executor.sleep_until(self.executor.now() + pause).await;
            after = match self.ask(Asked::Status, &status, Bytes::new()).await {
                Verdict::Poll { url, after } => {
                    (status, failures) = (url, 0);
                    after
                }
                Verdict::Ran(Ran::Retry { after, .. }) if failures < POLL_FAILURES => {
                    failures += 1;
                    after
                }
                Verdict::Ran(ran) => return ran,
            };
        }
    }

    async fn ask(&self, asked: Asked, url: &Url, body: Bytes) -> Verdict {
        let method = match asked {
            Asked::Work => Method::Post,
            Asked::Status => Method::Get,
        };
        let headers = self.headers(&body);
        let request = Request { method, url: url.clone(), headers, body, max_result: self.max_result };
        match self.executor.upstream().call(request).await {
            Ok(answer) => judge(asked, answer, url, self.max_result, self.executor.moment().wall),
            Err(error) => Verdict::Ran(unreachable(&error)),
        }
    }

    fn headers(&self, body: &[u8]) -> Vec<(&'static str, String)> {
        let job = self.job.id.to_string();
        let mut headers = vec![
            ("content-type", JSON.to_owned()),
            ("idempotency-key", format!("\"{job}\"")),
            ("ringback-attempt", self.job.attempt().to_string()),
            ("ringback-deadline", self.deadline.to_string()),
        ];
        if let Some(traceparent) = &self.job.traceparent {
            headers.push(("traceparent", trace::child(traceparent, self.executor.dice().bits() as u64)));
        }
        if let Some(secret) = &self.upstream.secret {
            let timestamp = self.executor.moment().wall.seconds();
            headers.push(("webhook-id", job.clone()));
            headers.push(("webhook-timestamp", timestamp.to_string()));
            headers.push(("webhook-signature", signature::sign(&job, timestamp, body, &[secret])));
        }
        headers.push(("ringback-job-id", job));
        headers
    }
}
