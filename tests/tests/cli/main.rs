//! The command line, as a shell sees it: data on standard output, people on standard error, a status for each end.

mod endpoints;

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use ringback_tests::{Config, Peer, Ringback, binary, config, wait};
use serde_json::{Value, json};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// The binary with nothing of this machine's own environment.
fn command(directory: &Path) -> Command {
    let mut command = Command::new(binary::path());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("RINGBACK_") {
            command.env_remove(name);
        }
    }
    command.current_dir(directory).stdin(Stdio::null());
    command
}

/// A shell that knows where the server is, and its key.
struct Shell<'a> {
    server: &'a Ringback,
}

impl Shell<'_> {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command(self.server.directory());
        command
            .env("RINGBACK_URL", self.server.api().base())
            .env("RINGBACK_API_KEY", config::KEY)
            .args(arguments);
        command
    }

    /// Runs to its end beside the server's own tasks.
    async fn run(&self, arguments: &[&str]) -> Done {
        ended(self.command(arguments)).await
    }
}

/// What became of a command.
#[derive(Debug)]
struct Done {
    status: i32,
    out: String,
    err: String,
}

async fn ended(mut command: Command) -> Done {
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic");
    Done::of(output.expect("the binary runs"))
}

impl Done {
    fn of(output: Output) -> Self {
        Self {
            status: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).expect("UTF-8"),
            err: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }

    #[track_caller]
    fn expect(self, status: i32) -> Self {
        assert_eq!(self.status, status, "{self:#?}");
        self
    }

    #[track_caller]
    fn says(self, text: &str) -> Self {
        assert!(self.err.contains(text), "no {text:?} in {self:#?}");
        self
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

async fn server() -> Ringback {
    Ringback::start(Config::sqlite()).await
}

#[tokio::test]
async fn a_job_from_submission_to_result() {
    let server = server().await;
    let shell = Shell { server: &server };

    let submitted =
        shell.run(&["job", "submit", "--task", "echo", "--input", r#"{"price": 1.10}"#, "-q"]).await;
    let submitted = submitted.expect(0);
    let id = submitted.out.trim();
    assert!(submitted.err.is_empty(), "progress is for terminals: {submitted:?}");

    let waited = shell.run(&["job", "wait", id, "-o", "jsonl"]).await.expect(0);
    assert_eq!(waited.out.lines().count(), 1);
    assert_eq!(waited.json()["status"], "succeeded");
    assert!(waited.out.contains(r#""result":{"price":1.10}"#), "tokens stay as they were: {}", waited.out);

    let pretty = shell.run(&["job", "get", id, "-o", "json"]).await.expect(0);
    assert!(pretty.out.contains("\n  \"status\": \"succeeded\",\n"), "{}", pretty.out);
    assert_eq!(pretty.json(), waited.json());
    let table = shell.run(&["job", "get", id]).await.expect(0);
    assert!(table.out.contains(&format!("id             {id}\n")) || table.out.contains(id), "{}", table.out);
    assert!(table.out.lines().any(|line| line.starts_with("status ") && line.ends_with(" succeeded")));

    assert_eq!(shell.run(&["job", "result", id]).await.expect(0).out, r#"{"price": 1.10}"#);

    let again = shell.run(&["job", "rerun", id, "-o", "jsonl"]).await.expect(0);
    assert_eq!(again.json()["rerun_of"], id);
}

#[tokio::test]
async fn the_input_comes_from_a_file_or_standard_input() {
    let server = server().await;
    let shell = Shell { server: &server };
    std::fs::write(server.directory().join("input.json"), "[1, 2]\n").expect("a file");
    let submit = |input| ["job", "submit", "--task", "echo", "--input", input, "--wait=20s", "-o", "jsonl"];
    assert_eq!(shell.run(&submit("@input.json")).await.expect(0).json()["result"], json!([1, 2]));

    let mut child = shell
        .command(&submit("-"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("runs");
    child.stdin.take().expect("piped").write_all(b"\"from a pipe\"").expect("written");
    let done = tokio::task::spawn_blocking(|| child.wait_with_output()).await.expect("no panic");
    assert_eq!(Done::of(done.expect("ends")).expect(0).json()["result"], "from a pipe");
}

#[tokio::test]
async fn each_end_has_its_status_and_says_what_to_do() {
    let server = server().await;
    let shell = Shell { server: &server };
    let run = |arguments: &'static [&'static str]| shell.run(arguments);

    run(&["job", "submit", "--task", "fail", "--input", r#"{"permanent":true}"#, "--wait"])
        .await
        .expect(1)
        .says("failed");
    run(&["job", "submit"]).await.expect(2).says("--task");
    run(&["job", "submit", "--task", "echo", "--input", "text"]).await.expect(2).says("'\"text\"'");
    let refused = run(&["job", "submit", "--task", "echo", "--callback", "http://10.0.0.1/"]).await.expect(2);
    refused.says("422 callback-address-blocked").says("/callback").says("ringback doctor");
    run(&["job", "get", "job_nope"]).await.expect(3).says("404 not-found");
    run(&["delivery", "get", "../jobs"]).await.expect(2).says("not an id");
    run(&["job", "list", "--key", "wrong"]).await.expect(4).says("RINGBACK_API_KEY");
    ended(command(server.directory())).await.expect(2);
    let mut without_key = shell.command(&["job", "list"]);
    without_key.env_remove("RINGBACK_API_KEY");
    ended(without_key).await.expect(4).says("no API key");
    run(&["job", "list", "--url", "http://127.0.0.1:1"]).await.expect(6).says("ringback serve");

    let sleeping =
        run(&["job", "submit", "--task", "sleep", "--input", r#"{"for":"30s"}"#, "-q"]).await.expect(0);
    let id = sleeping.out.trim();
    shell.run(&["job", "wait", id, "--timeout", "200ms"]).await.expect(124).says("job wait");
    shell.run(&["job", "result", id]).await.expect(5).says("has not ended");
    shell.run(&["job", "rerun", id]).await.expect(5).says("409 job-not-finished");
    shell.run(&["job", "cancel", id]).await.expect(0);
    shell.run(&["job", "wait", id]).await.expect(1).says("canceled");
    shell.run(&["job", "cancel", id]).await.expect(5).says("409 job-finished");

    let one = ["job", "submit", "--task", "echo", "--idempotency-key", "k1", "-o", "jsonl", "--input", "1"];
    let (first, replayed) = (shell.run(&one).await.expect(0).json(), shell.run(&one).await.expect(0).json());
    assert_eq!(first["id"], replayed["id"]);
    run(&["job", "submit", "--task", "echo", "--idempotency-key", "k1"])
        .await
        .expect(5)
        .says("idempotency-key-reused");
}

#[tokio::test]
async fn lists_go_over_pages() {
    let server = server().await;
    let shell = Shell { server: &server };
    for n in 0..103 {
        server.api().accepted(&json!({ "task": "echo", "input": n })).await;
    }
    let ids = |done: &Done| {
        done.out
            .lines()
            .map(|line| line.split_whitespace().next().unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
    };
    let all = shell.run(&["job", "list", "--all"]).await.expect(0);
    assert_eq!((ids(&all).len(), ids(&all)[0].as_str()), (104, "ID"));
    assert_eq!(
        shell.run(&["job", "list", "--limit", "101", "-o", "jsonl"]).await.expect(0).out.lines().count(),
        101
    );

    let some = shell.run(&["job", "list", "--limit", "2", "-o", "json"]).await.expect(0).json();
    let cursor = some["next_cursor"].as_str().expect("there is more");
    let rest = shell.run(&["job", "list", "--limit", "1", "--cursor", cursor]).await.expect(0);
    assert_eq!(ids(&rest)[1], ids(&all)[3]);
    assert_eq!(shell.run(&["job", "list", "--status", "canceled", "-o", "jsonl"]).await.expect(0).out, "");
}

#[tokio::test]
async fn whoever_has_read_enough_is_left_alone() {
    let server = server().await;
    let shell = Shell { server: &server };
    server.api().accepted(&json!({ "task": "echo" })).await;
    let mut child = shell
        .command(&["job", "list", "-o", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("runs");
    drop(child.stdout.take());
    let done =
        tokio::task::spawn_blocking(|| child.wait_with_output()).await.expect("no panic").expect("ends");
    let done = Done::of(done);
    assert_eq!((done.status, done.err.as_str()), (0, ""));
}

#[tokio::test]
async fn ctrl_c_ends_a_wait_with_130() {
    let server = server().await;
    let shell = Shell { server: &server };
    let id = server.api().accepted(&json!({ "task": "sleep", "input": { "for": "30s" } })).await;
    let mut child = shell.command(&["job", "wait", &id]).stderr(Stdio::null()).spawn().expect("runs");
    // A signal that comes before it is awaited ends the process as well, but by the signal.
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    interrupt(&child);
    let status = tokio::task::spawn_blocking(move || child.wait()).await.expect("no panic").expect("ends");
    assert_eq!(status.code(), Some(130), "{status}");
}

fn interrupt(child: &Child) {
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(sent.is_ok_and(|status| status.success()), "SIGINT could not be sent");
}

/// `ringback listen` at work, and where.
struct Listening {
    child: Child,
    url: String,
}

impl Listening {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("runs");
        let mut line = String::new();
        let mut errors = BufReader::new(child.stderr.take().expect("piped"));
        errors.read_line(&mut line).expect("a line");
        let url = line.trim().strip_prefix("Listening on ").unwrap_or_else(|| panic!("{line}")).to_owned();
        Self { child, url: url.trim_end_matches('/').to_owned() }
    }

    async fn end(self) -> Done {
        let child = self.child;
        Done::of(
            tokio::task::spawn_blocking(|| child.wait_with_output()).await.expect("no panic").expect("ends"),
        )
    }
}

#[tokio::test]
async fn listen_verifies_what_arrives() {
    let server = server().await;
    let shell = Shell { server: &server };
    let listening = Listening::start(shell.command(&[
        "listen",
        "--listen",
        "127.0.0.1:0",
        "--count",
        "2",
        "-o",
        "jsonl",
    ]));
    let hook = format!("{}/hooks", listening.url);
    let id = server.api().accepted(&json!({ "task": "echo", "input": "é </>", "callback": hook })).await;
    wait::until("it is delivered", || async {
        let deliveries = server.api().deliveries(&id).await;
        deliveries.first().filter(|delivery| delivery["status"] == "succeeded").map(drop)
    })
    .await;
    // The secret is asked for again when a webhook is signed under another.
    server.api().post("/v1/signing-secret/rotate", r#"{"overlap":"1s"}"#).await.expect(200);
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    server.api().accepted(&json!({ "task": "echo", "callback": hook })).await;

    let done = listening.end().await.expect(0);
    let lines: Vec<Value> = done.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 2);
    for line in &lines {
        assert_eq!((&line["verified"], &line["failed"]), (&json!(true), &Value::Null), "{line}");
        let event: Value = serde_json::from_str(line["body"].as_str().expect("text")).expect("JSON");
        assert_eq!(event["type"], "job.succeeded");
    }
}

#[tokio::test]
async fn listen_refuses_what_is_not_genuine() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut listen = command(directory.path());
    listen.args(["listen", "--listen", "127.0.0.1:0", "--count", "1", "--secret", SECRET]);
    let listening = Listening::start(listen);
    let answer =
        ringback_tests::Api::new(&listening.url, None).post("/hooks", r#"{"type":"job.succeeded"}"#).await;
    assert_eq!(answer.status, 401);
    let done = listening.end().await.expect(7);
    assert!(done.out.contains("NOT VERIFIED") && done.out.contains("webhook-id is empty"), "{done:?}");
}

#[tokio::test]
async fn verify_agrees_with_sign_and_names_the_step() {
    let directory = tempfile::tempdir().expect("a directory");
    let run = |arguments: Vec<String>| {
        let mut command = command(directory.path());
        ended({
            command.args(arguments);
            command
        })
    };
    let words = |text: &[&str]| text.iter().map(ToString::to_string).collect::<Vec<_>>();
    let body = r#"{"a":1.10,"b":"é"}"#;
    std::fs::write(directory.path().join("body.json"), body).expect("a file");
    let signed = run(words(&["sign", "--secret", SECRET, "@body.json"])).await.expect(0);
    let headers: Vec<&str> = signed.out.lines().collect();
    assert_eq!(headers.len(), 3, "{signed:?}");

    let verify = |secret: &str, body: &str| {
        let mut all = words(&["verify", "-o", "jsonl", "--secret", secret, body]);
        all.extend(headers.iter().flat_map(|header| ["-H".to_owned(), header.to_string()]));
        run(all)
    };
    assert_eq!(verify(SECRET, "@body.json").await.expect(0).json()["verified"], true);
    for (secret, body, step) in [
        (SECRET, r#"{"a": 1.10, "b": "\u00e9"}"#, "body"),
        (SECRET, "{\n  \"a\": 1.10,\n  \"b\": \"é\"\n}\n", "body"),
        (SECRET, r#"{"a":1.1}"#, "signature"),
        ("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", body, "signature"),
        ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", body, "secret prefix"),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS", body, "secret base64"),
    ] {
        let judged = verify(secret, body).await.expect(7);
        assert_eq!(judged.json()["failed"], step, "{judged:?}");
        assert!(!judged.out.contains(&secret[10..]), "a secret is shown: {judged:?}");
    }

    // A fixed webhook of the standard's own reference, far too old by now.
    let old = [
        "verify",
        "--secret",
        SECRET,
        "--id",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "--timestamp",
        "1614265330",
        "--signature",
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        r#"{"test": 2432232314}"#,
    ];
    let judged = run(words(&old)).await.expect(7);
    assert!(judged.out.contains("fail  timestamp") && judged.out.contains("All else is right"), "{judged:?}");
    let mut tolerant = words(&old);
    tolerant.extend(words(&["--tolerance", "36500d"]));
    run(tolerant).await.expect(0);
    run(words(&["verify", "--secret", SECRET, "--id", "x", "{}"])).await.expect(2).says("webhook-timestamp");
}

#[tokio::test]
async fn deliveries_are_shown_and_sent_again() {
    let server = server().await;
    let shell = Shell { server: &server };
    let receiver = Peer::start().await;
    let id = server.api().accepted(&json!({ "task": "echo", "callback": receiver.url("/hook") })).await;
    server.api().delivery_is(&id, "succeeded").await;

    let list = shell.run(&["delivery", "list", "--job", &id, "-o", "jsonl"]).await.expect(0);
    let delivery = list.json()["id"].as_str().expect("an id").to_owned();
    let shown = shell.run(&["delivery", "get", &delivery]).await.expect(0);
    assert!(shown.out.contains("ATTEMPT") && shown.out.contains("delivered"), "{}", shown.out);
    shell.run(&["delivery", "resend", &delivery]).await.expect(0);
    wait::until("it is sent again", || async {
        (server.api().delivery(&delivery).await["attempts"].as_array().expect("attempts").len() == 2)
            .then_some(())
    })
    .await;
    shell.run(&["delivery", "resend", "dlv_nope"]).await.expect(3);
}

#[tokio::test]
async fn a_configuration_is_made_checked_and_shown_without_its_secrets() {
    let directory = tempfile::tempdir().expect("a directory");
    let run = |arguments: &'static [&'static str]| {
        let mut command = command(directory.path());
        command.args(arguments).env("RINGBACK_NODE__DRAIN", "5s");
        ended(command)
    };
    run(&["config", "check"]).await.expect(2).says("secrets.master_key is not set");
    run(&["init"]).await.expect(0).says("ringback serve");
    run(&["init"]).await.expect(1).says("is there already");
    run(&["config", "check"]).await.expect(0).says("fine");

    let written = std::fs::read_to_string(directory.path().join("ringback.toml")).expect("a file");
    let key = written
        .lines()
        .find_map(|line| line.strip_prefix("bootstrap_key = "))
        .expect("a key")
        .trim_matches('"');
    let shown = run(&["config", "show"]).await.expect(0);
    assert!(!shown.out.contains(key), "{shown:?}");
    let jsonl = run(&["config", "show", "-o", "jsonl"]).await.expect(0);
    for (key, value, source) in [
        ("node.drain", "\"5s\"", "RINGBACK_NODE__DRAIN"),
        ("node.lease", "\"30s\"", "default"),
        ("auth.bootstrap_key", "(hidden)", "ringback.toml"),
    ] {
        let mut all = jsonl.out.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let setting = all.find(|setting| setting["key"] == key).expect("every key is shown");
        assert_eq!(setting["value"], value, "{setting}");
        assert!(setting["source"].as_str().is_some_and(|from| from.ends_with(source)), "{setting}");
    }
    run(&["completion", "bash"]).await.expect(0);
    run(&["config", "show", "--config", "nowhere.toml"]).await.expect(2).says("nowhere.toml");
}

#[tokio::test]
async fn the_doctor_finds_what_is_in_the_way() {
    let server = server().await;
    let shell = Shell { server: &server };
    let config = server.config_file().display().to_string();
    let receiver = Peer::start().await;
    let url = receiver.url("/hook");
    let found = |done: &Done| -> Vec<(String, String)> {
        let lines = done.out.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let text = |line: &Value, name: &str| line[name].as_str().unwrap_or_default().to_owned();
        lines.map(|line| (text(&line, "check"), text(&line, "status"))).collect()
    };

    let well = shell.run(&["doctor", "--config", &config, "-o", "jsonl"]).await.expect(0);
    assert!(found(&well).iter().all(|(_, status)| status == "ok"), "{well:?}");
    assert!(well.out.contains(&format!("held by process {}", server.pid())), "{well:?}");

    // Whoever takes a POST without a signature is warned of.
    let open = shell.run(&["doctor", "--config", &config, "--callback", &url, "-o", "jsonl"]).await.expect(1);
    assert!(found(&open).contains(&("receiver".into(), "fail".into())), "{open:?}");
    let private = ["doctor", "--config", &config, "--callback", "http://10.0.0.1/", "-o", "jsonl"];
    let private = shell.run(&private).await.expect(1);
    assert!(private.out.contains("delivery.allow_cidrs"), "{private:?}");
    let wrong = shell.run(&["doctor", "--config", &config, "--key", "wrong", "-o", "jsonl"]).await.expect(1);
    assert!(found(&wrong).contains(&("key".into(), "fail".into())), "{wrong:?}");
    let gone = shell
        .run(&["doctor", "--config", &config, "--url", "http://127.0.0.1:1", "-o", "jsonl"])
        .await
        .expect(1);
    assert!(found(&gone).contains(&("server".into(), "fail".into())), "{gone:?}");
}

#[tokio::test]
async fn keys_are_made_listed_and_revoked() {
    let server = server().await;
    let shell = Shell { server: &server };
    let quiet = shell.run(&["key", "create", "--role", "viewer", "-q"]).await.expect(0);
    let key = quiet.out.trim();
    assert!(key.starts_with("rbk_") && quiet.err.is_empty(), "{quiet:?}");
    let id = &key[4..20];
    let as_viewer = |arguments: &[&str]| {
        let mut command = shell.command(arguments);
        command.env("RINGBACK_API_KEY", key);
        ended(command)
    };
    as_viewer(&["job", "list"]).await.expect(0);
    as_viewer(&["key", "list"]).await.expect(4).says("larger role");
    let named = ["key", "create", "--role", "submitter", "--name", "the shop", "-o", "jsonl"];
    let named = shell.run(&named).await.expect(0).json();
    assert_eq!((&named["role"], &named["name"]), (&json!("submitter"), &json!("the shop")));
    let listed = shell.run(&["key", "list"]).await.expect(0);
    assert!(listed.out.starts_with("ID ") && listed.out.contains("the shop") && listed.out.contains(id));
    assert!(!listed.out.contains(&key[21..]), "{listed:?}");
    shell.run(&["key", "revoke", id]).await.expect(0);
    shell.run(&["key", "revoke", id]).await.expect(3);
    as_viewer(&["job", "list"]).await.expect(4).says("RINGBACK_API_KEY");
    shell.run(&["key", "create", "--role", "root"]).await.expect(2).says("/role");
    shell.run(&["key", "create", "--role", "receiver"]).await.expect(2).says("/endpoint");
    shell.run(&["key", "revoke", "../jobs"]).await.expect(2);
}

#[tokio::test]
async fn a_receivers_key_is_made_for_its_endpoint() {
    let server = server().await;
    let shell = Shell { server: &server };
    let made =
        server.api().post("/v1/endpoints", r#"{"url":"http://127.0.0.1:9999/hook"}"#).await.expect(201);
    let endpoint = made.json()["id"].as_str().unwrap().to_owned();
    let create = ["key", "create", "--role", "receiver", "--endpoint", &endpoint, "-o", "jsonl"];
    let key = shell.run(&create).await.expect(0).json();
    assert_eq!((&key["role"], &key["endpoint"]), (&json!("receiver"), &json!(endpoint)));
    let listed = shell.run(&["key", "list"]).await.expect(0);
    assert!(listed.out.contains("ENDPOINT") && listed.out.contains(&endpoint), "{listed:?}");
    let as_receiver = |arguments: &[&str]| {
        let mut command = shell.command(arguments);
        command.env("RINGBACK_API_KEY", key["key"].as_str().unwrap());
        ended(command)
    };
    as_receiver(&["delivery", "list"]).await.expect(0);
    as_receiver(&["job", "list"]).await.expect(4).says("larger role");
    let config = server.config_file().display().to_string();
    let well = as_receiver(&["doctor", "--config", &config, "-o", "jsonl"]).await.expect(0);
    assert!(well.out.contains("the server knows it"), "{well:?}");
}
