//! What an upstream's answer means.

use std::{sync::Arc, time::Duration};

use domain::{job::is_json, problem::JobError, retry_after, time::Timestamp};
use url::Url;

use super::Ran;
use crate::upstream::{Answer, Unreachable};

/// What a body without a content type is (RFC 9110 §8.3).
const UNKNOWN: &str = "application/octet-stream";

/// What was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Asked {
    /// The work, by POST.
    Work,
    /// How it stands, by GET.
    Status,
}

/// What follows an answer.
#[derive(Debug)]
pub(super) enum Verdict {
    /// The attempt is over.
    Ran(Ran),
    /// The work goes on there.
    Poll { url: Url, after: Option<Duration> },
}

/// Maps an answer from `url` as the contract says. A 2xx without a body is an empty result, which a job shows as null
/// with a `result_info` of size 0.
pub(super) fn judge(asked: Asked, answer: Answer, url: &Url, max_result: u64, wall: Timestamp) -> Verdict {
    let after = answer.retry_after.as_deref().and_then(|value| retry_after::parse(value, wall));
    let ran = match answer.status {
        202 => return accepted(asked, &answer, url, after),
        200..=299 => match answer.body {
            Some(body) => {
                let content_type = answer.content_type.map_or(UNKNOWN.into(), Into::into);
                Ran::Done { content_type, bytes: Arc::from(&*body) }
            }
            None => Ran::Failed(JobError::result_too_large(max_result)),
        },
        408 | 425 | 429 | 500..=599 => Ran::Retry { error: error(&answer), after },
        _ => Ran::Failed(error(&answer)),
    };
    Verdict::Ran(ran)
}

/// The connection brought no answer: the same again may do better.
pub(super) fn unreachable(why: &Unreachable) -> Ran {
    let error = JobError::new("upstream-unreachable", "The upstream could not be reached", &why.to_string());
    Ran::Retry { error, after: None }
}

fn accepted(asked: Asked, answer: &Answer, url: &Url, after: Option<Duration>) -> Verdict {
    let failed =
        |slug, title, detail| Verdict::Ran(Ran::Failed(JobError::with_status(slug, title, detail, 202)));
    let next = match (&answer.location, asked) {
        (Some(location), _) => url.join(location),
        // A status that is not there yet need not name itself.
        (None, Asked::Status) => Ok(url.clone()),
        (None, Asked::Work) => {
            return failed(
                "upstream-location-missing",
                "The upstream took the work without saying where it goes on",
                "It answered 202 without Location. Finishing a job later through a lease is not supported.",
            );
        }
    };
    match next {
        // The origin, so that an upstream cannot send us, with our signature, to somebody else.
        Ok(next) if next.origin() == url.origin() => Verdict::Poll { url: next, after },
        _ => failed(
            "upstream-location-forbidden",
            "The upstream sent the work elsewhere",
            "It answered 202 with a Location that is not of its own origin.",
        ),
    }
}

/// The upstream's own problem (RFC 9457), or ours about its status.
fn error(answer: &Answer) -> JobError {
    let status = answer.status;
    let own = answer.content_type.as_deref().filter(|of| is_problem(of)).and(answer.body.as_deref());
    own.and_then(JobError::from_upstream).unwrap_or_else(|| {
        let (title, detail) = match status {
            300..=399 => {
                ("The upstream redirects", format!("It answered {status}; redirects are not followed."))
            }
            _ => ("The upstream failed", format!("It answered {status}.")),
        };
        JobError::with_status("upstream-failed", title, &detail, status)
    })
}

fn is_problem(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    is_json(content_type) && essence.eq_ignore_ascii_case("application/problem+json")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn line(asked: Asked, answer: Answer) -> String {
        let url = "http://up.example:9000/report".parse().unwrap();
        match judge(asked, answer, &url, 100, Timestamp::from_micros(0)) {
            Verdict::Ran(ran) => ran.line(),
            Verdict::Poll { url, after } => format!("poll {url} {after:?}"),
        }
    }

    fn answer(status: u16, content_type: &str, body: &'static str) -> Answer {
        let content_type = Some(content_type.to_owned()).filter(|text| !text.is_empty());
        Answer { status, content_type, body: Some(Bytes::from_static(body.as_bytes())), ..Answer::default() }
    }

    #[test]
    fn a_body_is_the_result() {
        for (status, content_type, body, expected) in [
            (200, "application/json", "{\"price\": 1.10}", "done application/json {\"price\": 1.10}"),
            (201, "text/csv; charset=utf-8", "a,b", "done text/csv; charset=utf-8 a,b"),
            (200, "", "raw", "done application/octet-stream raw"),
            (204, "", "", "done application/octet-stream "),
            (200, "application/json", "", "done application/json "),
        ] {
            assert_eq!(line(Asked::Work, answer(status, content_type, body)), expected);
            assert_eq!(line(Asked::Status, answer(status, content_type, body)), expected);
        }
        assert_eq!(line(Asked::Work, Answer { status: 200, ..Answer::default() }), "failed result-too-large");
    }

    #[test]
    fn failures_pass_or_stay() {
        for status in [408, 425, 429, 500, 502, 503, 504, 599] {
            assert_eq!(line(Asked::Work, answer(status, "", "")), format!("retry upstream-failed {status}"));
        }
        for status in [101, 300, 301, 302, 303, 304, 307, 308, 400, 401, 404, 409, 410, 422, 499, 600] {
            assert_eq!(line(Asked::Work, answer(status, "", "")), format!("failed upstream-failed {status}"));
        }
        for (status, wish, expected) in [
            (503, "7", "retry upstream-failed 503 after 7s"),
            (429, "Thu, 01 Jan 1970 00:01:00 GMT", "retry upstream-failed 429 after 60s"),
            (500, "soon", "retry upstream-failed 500"),
            (400, "7", "failed upstream-failed 400"),
        ] {
            let answer = Answer { retry_after: Some(wish.into()), ..answer(status, "", "") };
            assert_eq!(line(Asked::Work, answer), expected);
        }
    }

    #[test]
    fn an_upstreams_own_problem_is_the_error() {
        let problem = r#"{"type":"/problems/no-paper","status":422}"#;
        for (status, content_type, body, expected) in [
            (422, "application/problem+json", problem, "failed no-paper 422"),
            (503, "Application/Problem+JSON; charset=utf-8", problem, "retry no-paper 422"),
            (422, "application/json", problem, "failed upstream-failed 422"),
            (422, "application/problem+json", "[1]", "failed upstream-failed 422"),
            (422, "application/problem+json", "{", "failed upstream-failed 422"),
        ] {
            assert_eq!(line(Asked::Work, answer(status, content_type, body)), expected);
        }
        let large = Answer { body: None, ..answer(400, "application/problem+json", "") };
        assert_eq!(line(Asked::Work, large), "failed upstream-failed 400");
    }

    #[test]
    fn accepted_work_is_followed_on_its_own_origin_only() {
        let forbidden = "failed upstream-location-forbidden 202";
        for (asked, location, retry_after, expected) in [
            (Asked::Work, Some("/jobs/7?x=1"), None, "poll http://up.example:9000/jobs/7?x=1 None"),
            (Asked::Work, Some("7"), Some("3"), "poll http://up.example:9000/7 Some(3s)"),
            (Asked::Work, Some("http://UP.example:9000/7"), None, "poll http://up.example:9000/7 None"),
            (Asked::Status, Some("/other"), None, "poll http://up.example:9000/other None"),
            (Asked::Status, None, Some("2"), "poll http://up.example:9000/report Some(2s)"),
            (Asked::Work, None, None, "failed upstream-location-missing 202"),
            (Asked::Work, Some("http://up.example/7"), None, forbidden),
            (Asked::Work, Some("https://up.example:9000/7"), None, forbidden),
            (Asked::Work, Some("//evil.example/7"), None, forbidden),
            (Asked::Status, Some("http://evil.example:9000/7"), None, forbidden),
            (Asked::Work, Some("data:,x"), None, forbidden),
            (Asked::Work, Some("http://"), None, forbidden),
        ] {
            let retry_after = retry_after.map(|text: &str| text.into());
            let answer = Answer { location: location.map(Into::into), retry_after, ..answer(202, "", "") };
            assert_eq!(line(asked, answer), expected, "{location:?}");
        }
    }
}
