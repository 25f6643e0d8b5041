//! The API's own description (OpenAPI 3.1), judged by foreigners: a validator of the standard, and schemathesis, which calls
//! the real server with everything that the description allows and much that it does not.

use std::process::Command;

use ringback_tests::{Config, Ringback, config::KEY, verify};
use serde_json::{Value, json};

fn tool(name: &str) -> Command {
    let python = verify::python();
    Command::new(python.with_file_name(name))
}

fn run(command: &mut Command) {
    let output =
        command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; tests/run installs it"));
    let said = [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat();
    assert!(output.status.success(), "{said}");
}

#[test]
fn it_is_openapi() {
    let server =
        Ringback::prepare(Config::sqlite().with("server.public_url", r#""https://jobs.example.com""#));
    let text = server.run(&["openapi"]).expect("it is printed");
    let document: Value = serde_json::from_str(&text).expect("it is JSON");
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["servers"][0]["url"], "https://jobs.example.com");
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    // What we send is in it, too.
    for event in ["job.started", "job.succeeded", "job.failed", "job.canceled"] {
        assert!(document["webhooks"][event]["post"].is_object(), "{event}");
    }
    let callbacks =
        document["paths"]["/v1/jobs"]["post"]["callbacks"].as_object().expect("a submission calls back");
    assert!(callbacks.values().all(|callback| callback["{$request.body#/callback}"]["post"].is_object()));
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, call) in item.as_object().unwrap() {
            for member in ["operationId", "summary"] {
                assert!(call[member].is_string(), "{method} {path} has no {member}");
            }
            let open = !path.starts_with("/v1/");
            assert_eq!(call["security"] == json!([]), open, "{method} {path}");
        }
    }
    let path = server.directory().join("openapi.json");
    std::fs::write(&path, &text).expect("the directory can be written");
    run(tool("openapi-spec-validator").arg("--schema").arg("3.1").arg(&path));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_is_described() {
    let server = Ringback::sqlite().await;
    let url = server.api().base().to_owned();
    let mut schemathesis = tool("schemathesis");
    schemathesis
        .arg("--config-file")
        .arg(ringback_tests::binary::workspace().join("tests/python/schemathesis.toml"))
        .args(["run", &format!("{url}/openapi.json"), "--no-color"])
        .env("RINGBACK_URL", &url)
        .env("RINGBACK_API_KEY", KEY)
        .current_dir(server.directory());
    tokio::task::spawn_blocking(move || run(&mut schemathesis)).await.expect("it was judged");
    assert!(!server.log().contains("request failed"), "an answer was 500");
    server.api().submit(&json!({ "task": "echo" })).await.expect(202);
}
