//! Problem documents (RFC 9457) for people: title, detail, each pointer, and what to do next.

use serde::Deserialize;

use super::{
    client::Answer,
    failure::{Exit, Failure},
};

#[derive(Deserialize, Default)]
#[serde(default)]
struct Problem {
    r#type: String,
    title: String,
    detail: String,
    request_id: String,
    errors: Vec<Fault>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Fault {
    pointer: String,
    parameter: String,
    detail: String,
}

/// The failure that an answer is which does not say yes.
pub(crate) fn failure(answer: &Answer) -> Failure {
    let status = answer.status;
    let is_problem =
        answer.header("content-type").is_some_and(|kind| kind.starts_with("application/problem+json"));
    let problem = serde_json::from_slice::<Problem>(&answer.body).ok().filter(|_| is_problem);
    let Some(problem) = problem else {
        return Failure::new(
            exit(status, ""),
            format!("the answer is {status}, and not one that Ringback gives. Is --url right?"),
        );
    };
    let slug = problem.r#type.rsplit('/').next().unwrap_or_default();
    let mut text = format!("{} ({status} {slug})", problem.title);
    for line in std::iter::once(problem.detail.clone()).chain(problem.errors.iter().map(Fault::line)) {
        if !line.is_empty() {
            text.push_str("\n  ");
            text.push_str(&line);
        }
    }
    if let Some(next) = next(status, slug, answer) {
        text.push_str("\n  ");
        text.push_str(&next);
    }
    if status >= 500 && !problem.request_id.is_empty() {
        text.push_str(&format!("\n  The server's log knows it as {}.", problem.request_id));
    }
    // Of all refusals, only this one can come after the commit.
    Failure { unsure: slug == "storage-unavailable", ..Failure::new(exit(status, slug), text) }
}

impl Fault {
    fn line(&self) -> String {
        let place = if self.pointer.is_empty() { &self.parameter } else { &self.pointer };
        if place.is_empty() { self.detail.clone() } else { format!("{place}: {}", self.detail) }
    }
}

/// The exit status for an answer.
fn exit(status: u16, slug: &str) -> Exit {
    match status {
        401 | 403 => Exit::Auth,
        404 | 410 => Exit::NotFound,
        409 => Exit::Conflict,
        _ if slug == "idempotency-key-reused" => Exit::Conflict,
        // Repeating the same call is no use.
        400 | 405 | 411..=415 | 422 | 431 => Exit::Usage,
        // A gateway's, or a server that cannot answer just now.
        502..=504 => Exit::Unreachable,
        _ => Exit::Failed,
    }
}

/// What to do about it.
fn next(status: u16, slug: &str, answer: &Answer) -> Option<String> {
    let fixed = match slug {
        "unauthorized" => "Set RINGBACK_API_KEY (or --key) to a key of this server.",
        "forbidden" => "Use a key with a larger role.",
        "not-found" => "`list` of `ringback job`, `delivery` and `endpoint` shows what there is.",
        "job-finished" => "`ringback job get` shows how it ended.",
        "job-not-finished" => "Wait for it with `ringback job wait`, or stop it with `ringback job cancel`.",
        "job-not-succeeded" => "`ringback job get` shows its error; `ringback job rerun` tries again.",
        "resend-in-flight" => "`ringback delivery get` shows when that attempt has ended.",
        "idempotency-key-reused" => "Give another --idempotency-key, or none.",
        "unknown-task" => "`ringback config show` lists the tasks of a configuration.",
        "callback-url-invalid" | "callback-url-forbidden" | "callback-address-blocked" => {
            "`ringback doctor --callback URL` judges a URL under a configuration."
        }
        _ => {
            let after = answer.retry_after().filter(|_| status == 429 || status == 503)?;
            return Some(format!("Try again in {} s.", after.as_secs()));
        }
    };
    Some(fixed.to_owned())
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;

    fn answer(status: u16, kind: &'static str, body: &str) -> Answer {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static(kind));
        headers.insert("retry-after", HeaderValue::from_static("7"));
        Answer { status, headers, body: body.to_owned().into() }
    }

    #[test]
    fn each_status_has_its_exit() {
        for (status, slug, expected) in [
            (400, "malformed-json", Exit::Usage),
            (400, "idempotency-key-invalid", Exit::Usage),
            (401, "unauthorized", Exit::Auth),
            (403, "forbidden", Exit::Auth),
            (404, "not-found", Exit::NotFound),
            (408, "request-timeout", Exit::Failed),
            (409, "job-finished", Exit::Conflict),
            (409, "resend-in-flight", Exit::Conflict),
            (410, "pruned", Exit::NotFound),
            (413, "payload-too-large", Exit::Usage),
            (422, "validation-failed", Exit::Usage),
            (422, "callback-address-blocked", Exit::Usage),
            (422, "idempotency-key-reused", Exit::Conflict),
            (429, "rate-limited", Exit::Failed),
            (500, "internal", Exit::Failed),
            (502, "", Exit::Unreachable),
            (503, "overloaded", Exit::Unreachable),
            (301, "", Exit::Failed),
        ] {
            assert_eq!(exit(status, slug), expected, "{status} {slug}");
        }
    }

    #[test]
    fn says_title_detail_and_each_pointer() {
        let body = r#"{"type":"/problems/validation-failed","title":"The request has invalid fields","status":422,
            "detail":"2 fields are invalid.","instance":"/v1/jobs","request_id":"req_1",
            "errors":[{"pointer":"/callback/url","detail":"is not a URL"},{"pointer":"","detail":"no object"}]}"#;
        let failure = failure(&answer(422, "application/problem+json", body));
        assert_eq!(
            failure.text,
            "The request has invalid fields (422 validation-failed)\n  2 fields are invalid.\n  \
             /callback/url: is not a URL\n  no object"
        );
        assert_eq!(failure.exit, Exit::Usage);
    }

    #[test]
    fn says_what_to_do_next() {
        for (status, slug, expected) in [
            (401, "unauthorized", "  Set RINGBACK_API_KEY"),
            (503, "overloaded", "  Try again in 7 s.\n  The server's log knows it as req_1."),
            (429, "rate-limited", "  Try again in 7 s."),
        ] {
            let body =
                format!(r#"{{"type":"/problems/{slug}","title":"T","detail":"D","request_id":"req_1"}}"#);
            let text = failure(&answer(status, "application/problem+json", &body)).text;
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn tells_other_servers_apart() {
        for (kind, body) in
            [("text/html", "<h1>"), ("application/problem+json", "{"), ("application/json", "{}")]
        {
            let failure = failure(&answer(404, kind, body));
            assert_eq!(failure.exit, Exit::NotFound);
            assert!(failure.text.contains("Is --url right?"), "{}", failure.text);
        }
    }
}
