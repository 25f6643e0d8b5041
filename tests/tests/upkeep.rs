//! `ringback storage …`: copies that can be gone back to, made while the node goes on, and never over anything.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use ringback_tests::{Config, Engine, Peer, Ringback, wait};
use serde_json::json;

fn backup(server: &Ringback, to: &str) -> Result<String, String> {
    server.run(&["storage", "backup", to])
}

/// A node on a copy: the same keys, another file.
async fn on_copy(original: &Ringback, copy: &str) -> Ringback {
    let mut other = Ringback::prepare(Config::sqlite());
    let place = other.directory().join("ringback.db");
    fs::copy(original.directory().join(copy), place).expect("the copy can be read");
    other.launch().await;
    other
}

#[tokio::test]
async fn a_copy_is_made_while_the_node_goes_on_and_can_be_gone_back_to() {
    let receiver = Peer::start().await;
    let server = Ringback::sqlite().await;
    let api = server.api();
    let before =
        api.accepted(&json!({ "task": "echo", "input": "before", "callback": receiver.url("/hook") })).await;
    api.delivery_is(&before, "succeeded").await;
    let waiting = json!({ "task": "echo", "input": "waiting", "delay": "1h" });
    let waiting = api.accepted(&waiting).await;

    // Submissions go on all the while: a copy of one moment is not torn by them.
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let load = {
        let (api, stop) = (api.clone(), stop.clone());
        tokio::spawn(async move {
            let mut accepted = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                api.accepted(&json!({ "task": "echo", "input": "x".repeat(10_000) })).await;
                accepted += 1;
            }
            accepted
        })
    };
    let server = std::sync::Arc::new(server);
    for n in 0..3 {
        let server = server.clone();
        let said = tokio::task::spawn_blocking(move || backup(&server, &format!("copy{n}.db"))).await;
        said.expect("no panic").unwrap_or_else(|said| panic!("{said}"));
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(load.await.expect("no panic") > 0);

    for n in 0..3 {
        let path = server.directory().join(format!("copy{n}.db"));
        assert_eq!(fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o600);
        assert!(!Path::new(&format!("{}.partial", path.display())).exists());
        assert!(!Path::new(&format!("{}-wal", path.display())).exists());
    }
    let copy = on_copy(&server, "copy0.db").await;
    assert_eq!(copy.api().job(&before).await["result"], "before");
    assert_eq!(copy.api().job(&waiting).await["status"], "queued");
    assert_eq!(copy.api().signing_secret().await, server.api().signing_secret().await);
    copy.api().accepted(&json!({ "task": "echo" })).await;
}

#[tokio::test]
async fn a_copy_is_made_while_no_node_runs() {
    let mut server = Ringback::sqlite().await;
    let id = server.api().accepted(&json!({ "task": "echo", "input": 1 })).await;
    server.api().job_is(&id, "succeeded").await;
    // As a crash leaves it, with all there is in the log.
    server.kill();
    backup(&server, "copy.db").unwrap_or_else(|said| panic!("{said}"));
    let copy = on_copy(&server, "copy.db").await;
    assert_eq!(copy.api().job(&id).await["status"], "succeeded");
    // The original is none the worse.
    server.launch().await;
    assert_eq!(server.api().job(&id).await["status"], "succeeded");
}

#[track_caller]
fn refused(done: Result<String, String>, status: i32, wanted: &[&str]) {
    let said = done.expect_err("refused");
    assert!(said.starts_with(&format!("exit status: {status}:")), "{said}");
    wanted.iter().for_each(|text| assert!(said.contains(text), "no {text:?} in: {said}"));
}

#[tokio::test]
async fn nothing_is_overwritten_and_every_refusal_says_what_to_do() {
    let mut server = Ringback::sqlite().await;
    let folder = server.directory().to_owned();
    let file = |name: &str| folder.join(name);
    fs::write(file("there.db"), "somebody's").expect("a file");
    refused(backup(&server, "there.db"), 5, &["there.db is there already", "Name another file"]);
    assert_eq!(fs::read(file("there.db")).expect("kept"), b"somebody's");
    fs::write(file("left.db.partial"), "half").expect("a file");
    refused(backup(&server, "left.db"), 5, &["left.db.partial is there already", "Delete it"]);
    assert_eq!(fs::read(file("left.db.partial")).expect("kept"), b"half");
    refused(backup(&server, "no/such/folder.db"), 1, &["no/such/folder.db.partial", "No such file", "room"]);
    refused(server.run(&["storage", "vacuum"]), 5, &["in use by process", &server.pid().to_string()]);

    server.stop().await;
    let elsewhere = |url: &str, arguments: &[&str]| {
        let path = file("elsewhere.toml");
        fs::write(&path, format!("[storage]\nurl = {url:?}\n")).expect("a file");
        let output = std::process::Command::new(ringback_tests::binary::path())
            .args(arguments)
            .arg("--config")
            .arg(path)
            .env_clear()
            .output()
            .expect("it runs");
        let said = [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat();
        if output.status.success() { Ok(said) } else { Err(format!("{}: {said}", output.status)) }
    };
    refused(
        elsewhere("sqlite:nowhere.db", &["storage", "backup", "x.db"]),
        3,
        &["nowhere.db is not there", "storage.url"],
    );
    assert!(!Path::new("nowhere.db").exists() && !Path::new("nowhere.db.lock").exists());
    let foreign = format!("sqlite:{}", file("there.db").display());
    refused(elsewhere(&foreign, &["storage", "backup", "x.db"]), 1, &["no database of Ringback"]);
    refused(elsewhere("mysql://x", &["storage", "vacuum"]), 2, &["storage.url", "sqlite:"]);
    let postgres = "postgres://ringback:hidden@db.example/jobs";
    refused(
        elsewhere(postgres, &["storage", "backup", "x.dump"]),
        2,
        &["pg_dump", "--file=x.dump", "db.example/jobs"],
    );
    refused(elsewhere(postgres, &["storage", "vacuum"]), 2, &["vacuumdb"]);
    let shown = elsewhere(postgres, &["storage", "backup", "x.dump"]).expect_err("refused");
    assert!(!shown.contains("hidden"), "{shown}");
}

#[tokio::test]
async fn vacuum_gives_space_back_once_the_node_is_stopped() {
    let mut server = Ringback::sqlite().await;
    let id = server.api().accepted(&json!({ "task": "echo", "input": "x".repeat(50_000) })).await;
    server.api().job_is(&id, "succeeded").await;
    server.stop().await;
    server.run(&["storage", "vacuum"]).unwrap_or_else(|said| panic!("{said}"));
    server.launch().await;
    assert_eq!(server.api().job(&id).await["status"], "succeeded");
}

/// A disk that is full while the copy is made: it says so, and leaves nothing behind.
#[tokio::test]
async fn a_full_disk_leaves_nothing_behind() {
    let server = Ringback::sqlite().await;
    for _ in 0..20 {
        server.api().accepted(&json!({ "task": "echo", "input": "x".repeat(100_000), "delay": "1h" })).await;
    }
    // A limit on the size of files is what a process can be given of a full disk without one.
    let output = std::process::Command::new("prlimit")
        .args(["--fsize=1000000", "sh", "-c", "trap '' XFSZ; exec \"$@\"", "limited"])
        .arg(ringback_tests::binary::path())
        .args(["storage", "backup", "copy.db", "--config"])
        .arg(server.config_file())
        .current_dir(server.directory())
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("room on the disk"), "{said}");
    for left in ["copy.db", "copy.db.partial"] {
        assert!(!server.directory().join(left).exists(), "{left}");
    }
}

/// Ctrl-C in the middle of a copy.
#[tokio::test]
async fn ctrl_c_leaves_nothing_behind() {
    let server = Ringback::sqlite().await;
    for _ in 0..300 {
        server.api().accepted(&json!({ "task": "echo", "input": "x".repeat(200_000), "delay": "1h" })).await;
    }
    let mut child = std::process::Command::new(ringback_tests::binary::path())
        .args(["storage", "backup", "copy.db", "--config"])
        .arg(server.config_file())
        .current_dir(server.directory())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("it runs");
    let half = server.directory().join("copy.db.partial");
    wait::until("the copy has begun", || async { half.exists().then_some(()) }).await;
    let sent = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(sent.is_ok_and(|status| status.success()), "SIGINT could not be sent");
    let status = tokio::task::spawn_blocking(move || child.wait()).await.expect("no panic").expect("ends");
    // It may have been quicker than we were.
    let whole = server.directory().join("copy.db").exists();
    assert_eq!(status.code(), Some(if whole { 0 } else { 130 }), "{status}");
    assert!(!half.exists());
}

#[tokio::test]
async fn a_copy_is_refused_where_it_cannot_be_and_says_what_to_do() {
    let (old, other) = (Ringback::sqlite().await, Ringback::on(Engine::Postgres).await);
    let file = old.directory().join("copy.db");
    backup(&old, "copy.db").unwrap_or_else(|said| panic!("{said}"));
    let from = format!("sqlite:{}", file.display());
    let copy = |from: &str, to: &str| old.run(&["storage", "copy", "--from", from, "--to", to]);
    refused(copy("postgres://db.example/jobs", other.storage()), 2, &["--from", "sqlite:PATH"]);
    refused(copy(&from, "sqlite:other.db"), 2, &["--to", "postgres://", "storage backup"]);
    refused(copy("sqlite:nowhere.db", other.storage()), 3, &["nowhere.db is not there", "--from"]);
    refused(copy(&from, "postgres://127.0.0.1:1/jobs"), 1, &["cannot be used", "Is it running"]);
    refused(copy(old.storage(), other.storage()), 5, &["in use by process", &old.pid().to_string()]);
    // Somebody's database, while a node runs on it and when none does.
    refused(copy(&from, other.storage()), 5, &["node 1 (", "runs on the database", "Stop every node"]);
    let mut other = other;
    other.stop().await;
    let new_one = ["rows in tenants", "CREATE DATABASE", "ringback migrate"];
    refused(copy(&from, other.storage()), 5, &new_one);
    other.launch().await;
}
