use std::time::Duration;

use domain::{
    callback::Sealed,
    callback_url::UrlPolicy,
    chance::Moment,
    id::{JobId, RequestId, Tenant},
    retry::RetryPolicy,
    task::{Run, TaskSpec},
    time::Timestamp,
};
use serde_json::{Value, json};

use super::{
    callback::{Confidential, Rules},
    fields::{self, Draft, Origin, Terms},
    schema::Schemas,
};

const WALL: Timestamp = Timestamp::from_micros(1_767_225_600_000_000); // 2026-01-01T00:00:00Z

fn tasks() -> Vec<TaskSpec> {
    let task = |name: &str, input_schema| TaskSpec {
        name: name.parse().unwrap(),
        run: Run::Echo,
        timeout: Duration::from_secs(60),
        retry: RetryPolicy::default_task(),
        concurrency: 1,
        input_schema,
        max_result: 1 << 20,
    };
    let schema = json!({
        "type": "object",
        "required": ["pages"],
        "properties": {"pages": {"type": "integer", "minimum": 1}, "list": {"items": {"type": "string"}}}
    });
    vec![task("echo", None), task("strict", Some(schema))]
}

fn read_at(body: &str, at: Moment) -> Result<Draft, (String, Vec<(String, String)>)> {
    let tasks = tasks();
    let schemas = Schemas::compile(&tasks).unwrap();
    let seal = |_: Confidential<'_>| Sealed(b"sealed".to_vec());
    let urls = UrlPolicy::default();
    let terms = Terms { tasks: &tasks, schemas: &schemas, callback: Rules { urls: &urls, seal: &seal } };
    let origin = Origin { id: JobId::from_u128(1), tenant: Tenant::DEFAULT, traceparent: None, at };
    domain::json::check(body.as_bytes()).expect("the table holds JSON");
    fields::read(body, &origin, &terms).map_err(|problem| {
        let (_, text) = problem.answer("/v1/jobs", RequestId::from_u128(0));
        let shown: Value = serde_json::from_slice(&text).unwrap();
        let errors = shown["errors"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let slug = text(&shown["type"]).replace("/problems/", "");
        (slug, errors.iter().map(|error| (text(&error["pointer"]), text(&error["detail"]))).collect())
    })
}

fn read(body: &str) -> Result<Draft, (String, Vec<(String, String)>)> {
    read_at(body, Moment { now: WALL, wall: WALL })
}

#[track_caller]
fn refused(body: &str, slug: &str, pointers: &[&str]) {
    let (got, errors) = read(body).map(|draft| format!("{draft:?}")).expect_err(body);
    let mut found: Vec<_> = errors.iter().map(|(pointer, _)| pointer.as_str()).collect();
    let mut expected = pointers.to_vec();
    found.sort();
    expected.sort();
    assert_eq!((got.as_str(), found), (slug, expected), "{body}: {errors:?}");
}

/// One member beside a good task.
#[track_caller]
fn refused_field(member: &str, slug: &str, pointers: &[&str]) {
    refused(&format!(r#"{{"task":"echo",{member}}}"#), slug, pointers);
}

const PLAIN: &str = "validation-failed";

#[test]
fn a_task_alone_is_enough() {
    let Draft { job, input, due } = read(r#"{"task":"echo"}"#).unwrap();
    assert_eq!((job.task.as_str(), &*input, due), ("echo", "null", WALL));
    assert_eq!((job.priority.get(), job.timeout, job.max_attempts), (5, Duration::from_secs(60), 3));
    assert_eq!((job.metadata.get(), job.callbacks.as_text(), job.created_at), ("{}", "[]", WALL));
}

#[test]
fn the_input_is_kept_as_written() {
    for input in
        ["1.10", "1e999", " { \"a\" : [ 1.0, \"\\u00e9\" ] }", "\"x\"", "null", "false", &"9".repeat(100)]
    {
        let draft = read(&format!(r#"{{"task":"echo","input":{input}}}"#)).unwrap();
        assert_eq!(&*draft.input, input.trim());
    }
}

#[test]
fn the_body_is_an_object_with_known_members() {
    for body in ["[]", "\"echo\"", "1", "null"] {
        refused(body, PLAIN, &[""]);
    }
    refused("{}", PLAIN, &["/task"]);
    for task in ["1", "[]", "{}", "null"] {
        refused(&format!(r#"{{"task":{task}}}"#), PLAIN, &["/task"]);
    }
    for task in ["", "nope", "Echo", "echo "] {
        refused(&format!(r#"{{"task":"{task}"}}"#), "unknown-task", &["/task"]);
    }
    refused_field(r#""tsk":1,"a/b~c":2"#, PLAIN, &["/tsk", "/a~1b~0c"]);
    for later in ["ordering_key", "fairness_key", "rerun_of", "id", "tenant"] {
        refused_field(&format!(r#""{later}":"x""#), PLAIN, &[&format!("/{later}")]);
    }
    refused_field(
        r#""callback":{"endpoint":"ep_1","url":"https://hooks.example.com/"}"#,
        PLAIN,
        &["/callback/endpoint", "/callback/url"],
    );
}

#[test]
fn several_faults_are_told_at_once() {
    refused(
        r#"{"task":"nope","callback":"ftp://x","priority":10,"delay":"soon","what":1}"#,
        PLAIN,
        &["/what", "/task", "/callback", "/delay", "/priority"],
    );
}

#[test]
fn numbers_within_what_the_task_allows() {
    for priority in ["-1", "10", "1.5", "\"5\"", "5.0", "1e0", "true"] {
        refused_field(&format!(r#""priority":{priority}"#), PLAIN, &["/priority"]);
    }
    for attempts in ["0", "4", "-1", "1.5", "\"1\"", "99999999999"] {
        refused_field(&format!(r#""max_attempts":{attempts}"#), PLAIN, &["/max_attempts"]);
    }
    for timeout in ["\"0s\"", "\"61s\"", "60", "\"1.5s\"", "\"\"", "\"forever\""] {
        refused_field(&format!(r#""timeout":{timeout}"#), PLAIN, &["/timeout"]);
    }
    let draft = read(r#"{"task":"echo","priority":0,"max_attempts":1,"timeout":"1m"}"#).unwrap();
    assert_eq!((draft.job.priority.get(), draft.job.max_attempts), (0, 1));
    assert_eq!(draft.job.timeout, Duration::from_secs(60));
}

#[test]
fn times_are_in_order() {
    let second = Duration::from_secs(1);
    for (members, run_at, expires_at) in [
        (r#""delay":"10s""#, Some(WALL + 10 * second), None),
        (r#""delay":"0s""#, None, None),
        (r#""run_at":"2026-01-01T01:00:10+01:00""#, Some(WALL + 10 * second), None),
        (r#""run_at":"2020-01-01T00:00:00Z""#, None, None),
        (r#""ttl":"10s""#, None, Some(WALL + 10 * second)),
        (r#""expires_at":"2026-01-01T00:00:10Z""#, None, Some(WALL + 10 * second)),
        (r#""delay":"10s","ttl":"11s""#, Some(WALL + 10 * second), Some(WALL + 11 * second)),
        (r#""run_at":null,"delay":"1s""#, Some(WALL + second), None),
    ] {
        let draft =
            read(&format!(r#"{{"task":"echo",{members}}}"#)).unwrap_or_else(|e| panic!("{members}: {e:?}"));
        let domain::job::State::Queued { run_at: shown, .. } = draft.job.state else { panic!() };
        assert_eq!((shown, draft.job.expires_at), (run_at, expires_at), "{members}");
        assert_eq!(draft.due, run_at.unwrap_or(WALL), "{members}");
    }
    for (members, pointers) in [
        (r#""delay":"1s","run_at":"2026-01-02T00:00:00Z""#, &["/run_at"][..]),
        (r#""ttl":"1s","expires_at":"2026-01-02T00:00:00Z""#, &["/ttl"]),
        (r#""ttl":"0s""#, &["/ttl"]),
        (r#""expires_at":"2025-12-31T23:59:59Z""#, &["/expires_at"]),
        (r#""delay":"10s","ttl":"10s""#, &["/ttl"]),
        (r#""delay":"10s","expires_at":"2026-01-01T00:00:10Z""#, &["/expires_at"]),
        (r#""delay":"4000d""#, &["/delay"]),
        (r#""delay":10"#, &["/delay"]),
        (r#""run_at":"tomorrow""#, &["/run_at"]),
        (r#""run_at":1767225600"#, &["/run_at"]),
        (r#""expires_at":"2026-01-02""#, &["/expires_at"]),
    ] {
        refused_field(members, PLAIN, pointers);
    }
}

#[test]
fn a_wall_clock_that_was_set_moves_what_is_shown_and_not_what_is_due() {
    let hour = Duration::from_secs(3_600);
    let draft = read_at(r#"{"task":"echo","delay":"10s"}"#, Moment { now: WALL, wall: WALL + hour }).unwrap();
    assert_eq!(draft.due, WALL + Duration::from_secs(10));
    assert_eq!(draft.job.created_at, WALL + hour);
}

#[test]
fn metadata_is_text_within_bounds() {
    let draft = read(r#"{"task":"echo","metadata": { "b" : "2" , "a\n" : "\u00e9" }}"#).unwrap();
    assert_eq!(draft.job.metadata.get(), r#"{"b":"2","a\n":"é"}"#);
    for (metadata, pointers) in [
        ("[]", &["/metadata"][..]),
        ("\"x\"", &["/metadata"]),
        (r#"{"a":1,"b":"x","c":null}"#, &["/metadata/a", "/metadata/c"]),
    ] {
        refused_field(&format!(r#""metadata":{metadata}"#), PLAIN, pointers);
    }
    let pairs = |n: usize| (0..n).map(|n| format!(r#""k{n}":"v""#)).collect::<Vec<_>>().join(",");
    assert!(read(&format!(r#"{{"task":"echo","metadata":{{{}}}}}"#, pairs(50))).is_ok());
    refused_field(&format!(r#""metadata":{{{}}}"#, pairs(51)), PLAIN, &["/metadata"]);
    assert!(read(&format!(r#"{{"task":"echo","metadata":{{"k":"{}"}}}}"#, "v".repeat(4_095))).is_ok());
    refused_field(&format!(r#""metadata":{{"k":"{}"}}"#, "v".repeat(4_096)), PLAIN, &["/metadata"]);
}

#[test]
fn inputs_meet_the_tasks_schema() {
    assert!(read(r#"{"task":"strict","input":{"pages":1}}"#).is_ok());
    for (input, pointers) in [
        ("{}", &["/input"][..]),
        ("null", &["/input"]),
        (r#"{"pages":0}"#, &["/input/pages"]),
        (r#"{"pages":"many"}"#, &["/input/pages"]),
        (r#"{"pages":1,"list":["a",1,2]}"#, &["/input/list/1", "/input/list/2"]),
        (r#"{"pages":1e999}"#, &["/input"]),
    ] {
        refused(&format!(r#"{{"task":"strict","input":{input}}}"#), "input-invalid", pointers);
    }
    refused(r#"{"task":"strict"}"#, "input-invalid", &["/input"]);
    let (_, errors) = read(r#"{"task":"strict","input":{"pages":"hush"}}"#).unwrap_err();
    assert!(errors.iter().all(|(_, detail)| !detail.contains("hush")), "{errors:?}");
}

#[test]
fn a_callback_is_a_url_or_an_object_with_one() {
    let url = "https://hooks.example.com/x";
    let draft = read(&format!(r#"{{"task":"echo","callback":"{url}"}}"#)).unwrap();
    assert_eq!(
        draft.job.callbacks.as_text(),
        format!(r#"[{{"url":"{url}","events":["job.succeeded","job.failed","job.canceled"]}}]"#)
    );
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let full = format!(
        r#"{{"task":"echo","callback":{{"url":"{url}","events":["job.started"],"headers":{{"X-A":"b"}},
            "secret":"{secret}","retry":{{"schedule":["1s"]}},"timeout":"60s"}}}}"#
    );
    let draft = read(&full).unwrap();
    let text = draft.job.callbacks.as_text();
    assert!(text.contains(r#""events":["job.started"]"#) && text.contains(r#""timeout":"60s""#), "{text}");
    assert!(!text.contains("MfKQ9"), "sealed: {text}");

    let blocked = "callback-address-blocked";
    let (invalid, forbidden) = ("callback-url-invalid", "callback-url-forbidden");
    for (callback, slug, pointers) in [
        ("1", PLAIN, &["/callback"][..]),
        ("[]", PLAIN, &["/callback"]),
        ("{}", PLAIN, &["/callback/url"]),
        (r#"{"url":null}"#, PLAIN, &["/callback/url"]),
        (r#"{"url":1}"#, PLAIN, &["/callback/url"]),
        (r#""""#, invalid, &["/callback"]),
        (r#"{"url":""}"#, invalid, &["/callback/url"]),
        (r#""ftp://hooks.example.com/""#, invalid, &["/callback"]),
        (r#""http://hooks.example.com/""#, forbidden, &["/callback"]),
        (r#""https://127.0.0.1/""#, blocked, &["/callback"]),
        (r#"{"url":"https://10.0.0.1/"}"#, blocked, &["/callback/url"]),
    ] {
        refused_field(&format!(r#""callback":{callback}"#), slug, pointers);
    }
}

#[test]
fn a_callbacks_members_are_judged() {
    for (member, slug, pointers) in [
        (r#""events":[]"#, PLAIN, &["/callback/events"][..]),
        (r#""events":"job.failed""#, PLAIN, &["/callback/events"]),
        (r#""events":["job.failed","job.done",1]"#, PLAIN, &["/callback/events/1", "/callback/events/2"]),
        (r#""headers":[]"#, PLAIN, &["/callback/headers"]),
        (r#""headers":{"x":1}"#, PLAIN, &["/callback/headers/x"]),
        (r#""headers":{"Host":"x"}"#, "header-forbidden", &["/callback/headers/Host"]),
        (r#""headers":{"webhook-id":"x"}"#, "header-forbidden", &["/callback/headers/webhook-id"]),
        (r#""headers":{"x":"a\r\nb"}"#, "header-forbidden", &["/callback/headers/x"]),
        (r#""headers":{"x/y":"a"}"#, "header-forbidden", &["/callback/headers/x~1y"]),
        (r#""secret":1"#, PLAIN, &["/callback/secret"]),
        (r#""secret":"whsec_short""#, PLAIN, &["/callback/secret"]),
        (r#""secret":"MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw""#, PLAIN, &["/callback/secret"]),
        (r#""retry":[]"#, PLAIN, &["/callback/retry"]),
        (
            r#""retry":{"schedule":["1s","x"],"jitter":2}"#,
            PLAIN,
            &["/callback/retry/schedule/1", "/callback/retry/jitter"],
        ),
        (r#""retry":{"schedule":["1s"],"initial":"1s"}"#, PLAIN, &["/callback/retry/initial"]),
        (r#""retry":{"multiplier":1e999}"#, PLAIN, &["/callback/retry"]),
        (r#""timeout":"61s""#, PLAIN, &["/callback/timeout"]),
        (r#""timeout":"0s""#, PLAIN, &["/callback/timeout"]),
        (r#""timeout":5"#, PLAIN, &["/callback/timeout"]),
        (r#""what":5"#, PLAIN, &["/callback/what"]),
    ] {
        refused_field(
            &format!(r#""callback":{{"url":"https://hooks.example.com/",{member}}}"#),
            slug,
            pointers,
        );
    }
    let many = (0..21).map(|n| format!(r#""x-{n}":"v""#)).collect::<Vec<_>>().join(",");
    let member = format!(r#""callback":{{"url":"https://hooks.example.com/","headers":{{{many}}}}}"#);
    refused_field(&member, "header-forbidden", &["/callback/headers"]);
}

#[test]
fn secrets_are_never_echoed() {
    for secret in ["whsec_c2VjcmV0", "whsec_!!not-base64!!", "hushhushhush"] {
        let body =
            format!(r#"{{"task":"echo","callback":{{"url":"https://h.example.com/","secret":"{secret}"}}}}"#);
        let told = format!("{:?}", read(&body).unwrap_err());
        assert!(!told.contains(&secret[6..]), "{told}");
    }
    let (_, errors) =
        read(r#"{"task":"echo","callback":{"url":"https://h.example.com/","headers":{"x":"hush\nhush"}}}"#)
            .unwrap_err();
    assert!(!format!("{errors:?}").contains("hush"), "{errors:?}");
}
