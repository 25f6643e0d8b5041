//! Webhooks judged by foreigners: `standardwebhooks` in Rust, Python and JavaScript, none of which shares code with ours.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderName};
use serde_json::json;
use standardwebhooks::Webhook;

use crate::{Request, ask, binary};

/// Whether the Rust library accepts this request under this secret.
pub fn accepts(secret: &str, request: &Request) -> bool {
    let mut headers = HeaderMap::new();
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        let value = request.header(name).parse().expect("a header value");
        headers.insert(HeaderName::from_static(name), value);
    }
    Webhook::new(secret).expect("a secret").verify(&request.body, &headers).is_ok()
}

/// Asserts that the Rust library accepts this webhook, that its timestamp is that of its arrival, and notes it for the
/// Python library's judgement of the whole run.
#[track_caller]
pub fn assert_genuine(secret: &str, request: &Request) {
    assert!(accepts(secret, request), "not signed under the expected secret: {request:#?}");
    let stamp: u64 = request.header("webhook-timestamp").parse().expect("whole seconds");
    assert!(
        stamp.abs_diff(request.wall.as_secs()) <= 2,
        "webhook-timestamp {stamp}, arrived {:?}",
        request.wall
    );
    note(secret, std::slice::from_ref(request));
}

/// Where this run's webhooks are noted, one JSON object a line, for `verify_webhooks` in Python and JavaScript.
pub fn notes() -> PathBuf {
    binary::target().join("ringback-webhooks")
}

/// Notes webhooks for the foreign verifier; gives the file.
pub fn note(secret: &str, requests: &[Request]) -> PathBuf {
    static FILES: AtomicU32 = AtomicU32::new(0);
    let directory = notes();
    fs::create_dir_all(&directory).expect("the target directory can be written");
    let number = FILES.fetch_add(1, Ordering::Relaxed);
    let path = directory.join(format!("{}-{number}.jsonl", std::process::id()));
    let mut file = fs::File::create(&path).expect("the target directory can be written");
    for request in requests {
        let line = json!({
            "secret": secret,
            "received_at": request.wall.as_secs_f64(),
            "headers": request.headers,
            "body": BASE64_STANDARD.encode(&request.body),
        });
        writeln!(file, "{line}").expect("the target directory can be written");
    }
    path
}

/// The Python that has the foreign verifier: `tests/run` makes it.
pub fn python() -> PathBuf {
    let own = || Some(binary::target().join("python/bin/python"));
    let found = ask::path("RINGBACK_TEST_PYTHON").or_else(own).filter(|path| path.exists());
    found.unwrap_or_else(|| {
        panic!("no Python with the packages of tests/python/requirements.txt: tests/run installs it")
    })
}

/// What the Python library says of every webhook noted in these files: `Err` if it refuses one.
pub fn python_judges(files: &[&Path]) -> Result<String, String> {
    let script = binary::workspace().join("tests/python/verify_webhooks.py");
    said(Command::new(python()).arg(script).args(files))
}

/// The npm packages of `tests/javascript/package.json`: `tests/run` installs them.
pub fn node_modules() -> PathBuf {
    let own = binary::target().join("javascript/node_modules");
    let found = ask::path("RINGBACK_TEST_NODE_MODULES").unwrap_or(own);
    assert!(
        found.join("standardwebhooks").exists(),
        "no npm packages in {}: tests/run installs them",
        found.display()
    );
    found
}

/// What the JavaScript library says of every webhook noted in these files: `Err` if it refuses one.
pub fn javascript_judges(files: &[&Path]) -> Result<String, String> {
    let script = binary::workspace().join("tests/javascript/verify_webhooks.cjs");
    said(Command::new("node").env("NODE_PATH", node_modules()).arg(script).args(files))
}

fn said(judge: &mut Command) -> Result<String, String> {
    let output = judge.output().unwrap_or_else(|error| panic!("{judge:?}: {error}"));
    let said = [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat();
    if output.status.success() { Ok(said) } else { Err(said) }
}

/// Asserts that the Python library accepts every webhook noted in these files.
#[track_caller]
pub fn assert_python_accepts(files: &[&Path]) {
    if let Err(said) = python_judges(files) {
        panic!("{said}");
    }
}
