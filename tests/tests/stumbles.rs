//! What goes wrong when a node is started, and what its user is told: what happened, and what to do next.

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
};

use ringback_tests::{Config, Ringback, binary};

const MASTER: &str = "cmluZ2JhY2sgdGVzdHMnIG93biBtYXN0ZXIga2V5IC4=";
const BOOTSTRAP: &str = "rbk_test0000test0000_a-key-that-only-the-tests-use-0123456789";

/// `ringback` in a folder, with both keys in the environment.
fn ringback(folder: &Path) -> Command {
    let mut command = Command::new(binary::path());
    command
        .current_dir(folder)
        .env_clear()
        .env("RINGBACK_SECRETS__MASTER_KEY", MASTER)
        .env("RINGBACK_AUTH__BOOTSTRAP_KEY", BOOTSTRAP)
        .stdin(Stdio::null());
    command
}

/// Runs to its end, which must be this, and say this.
#[track_caller]
fn ends(command: &mut Command, status: i32, wanted: &[&str]) {
    let output = command.output().expect("it runs");
    let said = [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat();
    assert_eq!(output.status.code(), Some(status), "{command:?}: {said}");
    for text in wanted {
        assert!(said.contains(text), "{command:?}: no {text:?} in: {said}");
    }
    for shame in ["panicked", MASTER, BOOTSTRAP] {
        assert!(!said.contains(shame), "{command:?}: {said}");
    }
}

#[test]
fn a_configuration_that_cannot_be() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let file = |name: &str, text: &str| fs::write(folder.join(name), text).expect("a file");
    file("torn.toml", "[server\n");
    file("unknown.toml", "[server]\nport = 1\n");
    file("type.toml", "[delivery]\nallow_http = \"perhaps\"\n");
    file("authority.toml", "[delivery]\nca_file = \"nowhere.pem\"\n");
    fs::create_dir(folder.join("folder.toml")).expect("a folder");
    let with = |name: &str| {
        let mut command = ringback(folder);
        command.args(["serve", "--listen", "127.0.0.1:0", "--config", name]);
        command
    };
    ends(&mut with("nowhere.toml"), 2, &["cannot read nowhere.toml", "--config"]);
    ends(&mut with("torn.toml"), 2, &["torn.toml: TOML parse error at line 1"]);
    ends(&mut with("folder.toml"), 2, &["folder.toml"]);
    ends(&mut with("unknown.toml"), 2, &["no key `port`", "it has listen", "unknown.toml"]);
    ends(&mut with("type.toml"), 2, &["delivery.allow_http", "type.toml"]);
    ends(&mut with("authority.toml"), 2, &["delivery.ca_file names nowhere.pem"]);
    ends(ringback(folder).args(["config", "check", "--config", "authority.toml"]), 2, &["nowhere.pem"]);

    let name = "RINGBACK_SECRETS__MASTER_KEY";
    ends(ringback(folder).arg("serve").env_remove(name), 2, &["openssl rand", "ringback init"]);
    ends(ringback(folder).arg("serve").env(name, "short"), 2, &["secrets.master_key", "openssl rand"]);
    let missing = format!("{name}_FILE");
    ends(ringback(folder).arg("serve").env(&missing, "nowhere.key"), 2, &[&missing, "nowhere.key"]);
    assert!(!folder.join("ringback.db").exists(), "nothing was touched");
}

#[test]
fn a_place_that_cannot_be_had() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    fs::write(
        folder.join("text.db"),
        "a text, and long enough to be looked at as a database file: ".repeat(20),
    )
    .expect("a file");
    let at = |storage: &str| {
        let mut command = ringback(folder);
        command.args(["serve", "--listen", "127.0.0.1:0", "--storage", storage]);
        command
    };
    ends(&mut at("mysql://x"), 2, &["sqlite:", "postgres://", "storage.url"]);
    ends(&mut at("sqlite:no/folder/x.db"), 1, &["no/folder/x.db", "storage.url", "folder must be there"]);
    ends(&mut at("sqlite:text.db"), 1, &["not a database", "storage.url"]);
    ends(&mut at("postgres://nobody@127.0.0.1:1/x"), 1, &["refused", "Is it running", "storage.url"]);
    ends(ringback(folder).arg("migrate").env("RINGBACK_STORAGE__URL", "mysql://x"), 2, &["postgres://"]);

    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().map(|address| (taken, address.to_string())).expect("an address");
    ends(ringback(folder).args(["serve", "--listen", &taken.1]), 1, &[&taken.1, "in use", "--listen"]);
    let listen = ["listen", "--secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "--listen", &taken.1];
    ends(ringback(folder).args(listen), 1, &[&taken.1, "in use", "--listen"]);

    // A limit on the size of files is what a process can be given of a full disk without one.
    let mut full = Command::new("prlimit");
    full.args(["--fsize=20000", "sh", "-c", "trap '' XFSZ; exec \"$@\"", "limited"])
        .arg(binary::path())
        .args(["serve", "--listen", "127.0.0.1:0"])
        .current_dir(folder)
        .env("RINGBACK_SECRETS__MASTER_KEY", MASTER)
        .env("RINGBACK_AUTH__BOOTSTRAP_KEY", BOOTSTRAP)
        .stdin(Stdio::null());
    ends(&mut full, 1, &["room on the disk"]);
}

#[tokio::test]
async fn a_database_that_is_somebody_elses() {
    let mut server = Ringback::start(Config::sqlite()).await;
    let storage = server.storage().to_owned();
    let folder = server.directory().to_owned();
    let serve = || {
        let mut command = ringback(&folder);
        command.args(["serve", "--listen", "127.0.0.1:0", "--config", "none.toml", "--storage", &storage]);
        command
    };
    fs::write(folder.join("none.toml"), "").expect("a file");
    ends(&mut serve(), 1, &[&format!("in use by process {}", server.pid()), "name another file"]);
    server.stop().await;
    let other = "b3RoZXIgdGhhbiB0aGUgb25lIGl0IHdhcyBtYWRlIHU=";
    ends(serve().env("RINGBACK_SECRETS__MASTER_KEY", other), 2, &["secrets.master_key"]);
}
