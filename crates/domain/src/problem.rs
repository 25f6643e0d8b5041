//! Problem details (RFC 9457), as a failed job bears one in `error`. The HTTP answers' problems are built in `api` on
//! the same slugs.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Why a job failed: a problem object, kept as JSON text so that an upstream's own problem comes through untouched.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobError(Box<RawValue>);

#[derive(Serialize)]
struct Members<'a> {
    r#type: String,
    title: &'a str,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
}

impl JobError {
    /// A problem of ours: `/problems/{slug}`, a title that never varies and a detail that says what happened here.
    pub fn new(slug: &str, title: &str, detail: &str) -> Self {
        Self::build(slug, title, detail, None)
    }

    /// The same, with the HTTP status that the work answered with.
    pub fn with_status(slug: &str, title: &str, detail: &str, status: u16) -> Self {
        Self::build(slug, title, detail, Some(status))
    }

    fn build(slug: &str, title: &str, detail: &str, status: Option<u16>) -> Self {
        let members = Members { r#type: format!("/problems/{slug}"), title, detail, status };
        // Strings and a number always make JSON.
        Self(serde_json::value::to_raw_value(&members).unwrap_or_default())
    }

    /// What the work itself sent; `None` if it is not a JSON object.
    pub fn from_upstream(body: &[u8]) -> Option<Self> {
        let text = crate::json::check(body).ok()?.trim();
        text.starts_with('{').then(|| RawValue::from_string(text.to_owned()).ok().map(Self)).flatten()
    }

    /// The same with a `log`: the end of what the work said while it ran. Nothing changes if that is empty.
    #[must_use]
    pub fn with_log(self, log: &str) -> Self {
        let Some(members) = self.0.get().strip_suffix('}').filter(|_| !log.is_empty()) else { return self };
        let text = format!("{members},\"log\":{}}}", serde_json::Value::from(log));
        // An object with members and one more is an object.
        RawValue::from_string(text).map_or(self, Self)
    }

    /// As stored. The text must be JSON that [`JobError::as_json`] once gave.
    pub fn stored(text: String) -> Result<Self, serde_json::Error> {
        RawValue::from_string(text).map(Self)
    }

    /// The object's text.
    pub fn as_json(&self) -> &str {
        self.0.get()
    }

    /// The job waited past its `expires_at`.
    pub fn expired() -> Self {
        Self::new("expired", "The job expired", "It was not started before its expires_at.")
    }

    /// The work's process died or lost its lease in every attempt it had.
    pub fn lost() -> Self {
        Self::new(
            "lost",
            "The work was lost",
            "Its last attempt ended without an answer: the node that ran it died or lost its lease. No attempts are left.",
        )
    }

    /// An attempt took longer than the job's timeout.
    pub fn timed_out(limit: std::time::Duration) -> Self {
        Self::new(
            "timeout",
            "The work took too long",
            &format!("An attempt may take {}.", crate::duration::show(limit)),
        )
    }

    /// The work answered with more than the task's `max_result`.
    pub fn result_too_large(limit: u64) -> Self {
        Self::new(
            "result-too-large",
            "The result is too large",
            &format!("This task's max_result is {limit} bytes."),
        )
    }
}
