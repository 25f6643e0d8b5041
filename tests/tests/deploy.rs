//! What `deploy/` holds is checked, not only shown: as far as that goes without Docker and without being systemd.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    os::unix::net::UnixDatagram,
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use ringback_tests::{Config, Ringback, binary, verify};
use serde_json::Value;

fn read(name: &str) -> String {
    fs::read_to_string(binary::workspace().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn said(output: &Output) -> String {
    [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat()
}

/// `ringback` with the example configuration, secrets in files of this folder, and this environment beside.
fn configured(folder: &Path, arguments: &[&str], environment: &BTreeMap<String, String>) -> Output {
    let secret = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).expect("a file in it");
        path
    };
    Command::new(binary::path())
        .args(arguments)
        .arg("--config")
        .arg(binary::workspace().join("deploy/ringback.toml"))
        .current_dir(folder)
        .env_clear()
        .envs(environment)
        .env("RINGBACK_SECRETS__MASTER_KEY_FILE", secret("master", &format!("{}=\n", "A".repeat(43))))
        .env("RINGBACK_AUTH__BOOTSTRAP_KEY_FILE", secret("bootstrap", &format!("rbk_{}\n", "k".repeat(32))))
        .output()
        .expect("the binary runs")
}

#[test]
fn the_example_configuration_is_fine() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = configured(folder.path(), &["config", "check"], &BTreeMap::new());
    assert!(output.status.success(), "{}", said(&output));
}

/// systemd itself reads the unit, and says how much of the machine it could reach.
#[test]
fn the_unit_is_sound_and_hardened() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        let said = "SKIPPED: there is no systemd-analyze: deploy/ringback.service was not read\n";
        std::io::stderr().write_all(said.as_bytes()).expect("there is a standard error");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let unit = folder.path().join("ringback.service");
    // Where the binary will be is not where it is now.
    let binary = binary::path().display().to_string();
    fs::write(&unit, read("deploy/ringback.service").replace("/usr/local/bin/ringback", &binary))
        .expect("a file");
    // 0 is a service that can do nothing, 100 one that can do everything: most that are shipped have over 90.
    for arguments in [&["verify", "--man=no"][..], &["security", "--offline=true", "--threshold=20"]] {
        let output = Command::new("systemd-analyze").args(arguments).arg(&unit).output().expect("it runs");
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        assert!(arguments[0] != "verify" || said(&output).is_empty(), "{}", said(&output));
    }
}

/// `Type=notify`: ready once it is, stopping once it was asked to.
#[tokio::test]
async fn the_service_manager_is_told() {
    let mut server = Ringback::prepare(Config::sqlite());
    let path = server.directory().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a time");
    let heard = || {
        let mut message = [0; 256];
        let length = socket.recv(&mut message).expect("it tells in time");
        String::from_utf8_lossy(&message[..length]).trim_end().to_owned()
    };
    server.wrap(&["env", &format!("NOTIFY_SOCKET={}", path.display())]);
    server.launch().await;
    assert_eq!(heard(), "READY=1");
    server.api().get("/readyz").await.expect(200);
    server.terminate();
    assert_eq!(heard(), "STOPPING=1");
    let (status, _) = server.ends_within(Duration::from_secs(40)).await;
    assert!(status.success(), "{status}");
}

/// A start that fails has not said that it is ready.
#[tokio::test]
async fn a_start_that_fails_tells_nothing() {
    let mut server = Ringback::prepare(Config::sqlite().with("secrets.master_key", r#""""#));
    let path = server.directory().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    server.wrap(&["env", &format!("NOTIFY_SOCKET={}", path.display())]);
    server.spawn();
    let (status, _) = server.ends_within(Duration::from_secs(30)).await;
    assert_eq!(status.code(), Some(2));
    socket.set_nonblocking(true).expect("a mode");
    assert!(socket.recv(&mut [0; 256]).is_err());
}

/// The instructions of a Dockerfile, each on one line.
fn instructions(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    let text = lines.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
    text.lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|l| !l.is_empty())
        .collect()
}

fn those<'a>(all: &'a [String], name: &str) -> Vec<&'a str> {
    all.iter().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).collect()
}

#[test]
fn the_image_is_made_of_what_is_there() {
    let all = instructions(&read("deploy/Dockerfile"));
    let ignored = read(".dockerignore");
    let sent: Vec<_> = ignored.lines().filter_map(|line| line.strip_prefix('!')).collect();
    let mut copied = Vec::new();
    for copy in those(&all, "COPY") {
        let mut words: Vec<_> = copy.split(' ').collect();
        let target = words.pop().expect("a target");
        if words[0] == "--from=build" {
            assert_eq!(words[1..], ["/src/target/dist/ringback"]);
            assert_eq!(target, "/usr/local/bin/ringback");
            continue;
        }
        for source in words {
            assert!(binary::workspace().join(source).exists(), "COPY {source}: it is not there");
            assert!(sent.contains(&source), "COPY {source}: .dockerignore keeps it back");
            copied.push(source.to_owned());
        }
    }
    // What the build reads beside the crates: without them it would build something else, or nothing.
    for needed in [".cargo", "Cargo.toml", "Cargo.lock", "crates", "tests"] {
        assert!(copied.iter().any(|source| source == needed), "{needed} is not copied");
    }
    assert_eq!(those(&all, "USER"), ["ringback"], "not root");
    assert_eq!(those(&all, "FROM").len(), 2, "what builds it is not in it");

    // The build's own words, in the profile and the directory of this test.
    let build = those(&all, "RUN").into_iter().find(|run| run.starts_with("cargo ")).expect("a build");
    let profile = if binary::target().join("debug").exists() { "dev" } else { "release" };
    let words = build.replace("--profile dist", &format!("--profile {profile} --offline"));
    let output = Command::new("bash")
        .args(["-c", &format!("{words} --quiet")])
        .env("CARGO_TARGET_DIR", binary::target())
        .current_dir(binary::workspace())
        .output()
        .expect("bash runs");
    assert!(output.status.success(), "{words}: {}", said(&output));
}

/// The image's health check, as it would be run in it.
#[tokio::test]
async fn the_health_check_asks_the_server() {
    let all = instructions(&read("deploy/Dockerfile"));
    let check = those(&all, "HEALTHCHECK")[0].split_once(" CMD ").expect("a command").1;
    let words: Vec<String> = serde_json::from_str(check).expect("the exec form");
    assert_eq!(words[0], "ringback");
    let health = |url: String| {
        let words = words.clone();
        let run = move || Command::new(binary::path()).args(&words[1..]).env("RINGBACK_URL", url).output();
        async { tokio::task::spawn_blocking(run).await.expect("no panic").expect("it runs") }
    };
    let mut server = Ringback::sqlite().await;
    let url = server.api().base().to_owned();
    let well = health(url.clone()).await;
    assert!(well.status.success(), "{}", said(&well));
    server.kill();
    let gone = health(url).await;
    assert_eq!(gone.status.code(), Some(1), "{}", said(&gone));
}

fn yaml(name: &str) -> Value {
    let read = "import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout)";
    let path = binary::workspace().join(name);
    let output = Command::new(verify::python()).args(["-c", read]).arg(path).output().expect("Python runs");
    assert!(output.status.success(), "{}", said(&output));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn the_compose_file_fits_the_binary_and_the_image() {
    let compose = yaml("deploy/compose.yaml");
    let service = &compose["services"]["ringback"];
    let deploy = binary::workspace().join("deploy");
    assert!(deploy.join(service["build"]["context"].as_str().unwrap()).join("crates").is_dir());
    let dockerfile = service["build"]["dockerfile"].as_str().unwrap();
    assert!(deploy.join("..").join(dockerfile).is_file());
    assert!(
        service["volumes"][1].as_str().unwrap().starts_with("./ringback.toml:/etc/ringback/ringback.toml")
    );
    assert_eq!(service["command"][2], "/etc/ringback/ringback.toml");
    for secret in service["secrets"].as_array().unwrap() {
        assert!(compose["secrets"][secret.as_str().unwrap()]["file"].is_string(), "{secret}");
    }

    // Every variable is one that the binary reads, with a value that it takes; the files of secrets are others here.
    let mut environment = BTreeMap::new();
    for (name, value) in service["environment"].as_object().unwrap() {
        let value = value.as_str().unwrap_or_else(|| panic!("{name} is text"));
        match value.strip_prefix("/run/secrets/") {
            Some(secret) => assert!(compose["secrets"][secret].is_object(), "{name}: {value}"),
            None => drop(environment.insert(name.clone(), value.to_owned())),
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    let checked = configured(folder.path(), &["config", "check"], &environment);
    assert!(checked.status.success(), "{}", said(&checked));
    let shown = configured(folder.path(), &["config", "show", "-o", "json"], &environment);
    let shown: Value = serde_json::from_slice(&shown.stdout).expect("JSON");
    let setting = |key: &str| {
        let all = shown["items"].as_array().unwrap();
        all.iter().find(|item| item["key"] == key).unwrap_or_else(|| panic!("{key}: {shown:#}"))["value"]
            .to_string()
    };
    // What is opened for receivers is this network and no other.
    let subnet = compose["networks"]["jobs"]["ipam"]["config"][0]["subnet"].as_str().unwrap();
    assert!(setting("delivery.allow_cidrs").contains(subnet), "{}", setting("delivery.allow_cidrs"));
    assert!(setting("delivery.allow_hosts").contains("app"));
    assert!(setting("delivery.allow_http").contains("true"));
}

/// Judged by `kubernetes-validate`, which brings Kubernetes' schemas; then the binary is given what they give it.
#[test]
fn manifests_are_valid_and_their_nodes_would_start() {
    let deploy = binary::workspace().join("deploy");
    let output = Command::new(verify::python())
        .arg(binary::workspace().join("tests/python/check_deploy.py"))
        .arg(&deploy)
        .output()
        .expect("Python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).expect("it prints JSON");
    let folder = tempfile::tempdir().expect("a folder");
    let key = |name: &str| match name {
        _ if name.contains("MASTER_KEY") => format!("{}=", "A".repeat(43)),
        _ if name.contains("BOOTSTRAP_KEY") => format!("rbk_{}", "k".repeat(32)),
        _ if name.contains("STORAGE__URL") => "postgres://ringback@postgres/ringback".to_owned(),
        _ => panic!("{name} is not known to be secret"),
    };
    for way in ["kubernetes", "compose"] {
        let config = folder.path().join(format!("{way}.toml"));
        fs::write(&config, found[way]["config"].as_str().expect("a configuration")).expect("a file in it");
        let mut command = Command::new(binary::path());
        command.args(["config", "check", "--config"]).arg(&config).env_clear();
        let environment = &found[way]["environment"];
        for name in environment.as_array().into_iter().flatten().filter_map(Value::as_str) {
            let value = if name.ends_with("_FILE") {
                let path = folder.path().join(name);
                fs::write(&path, key(name)).expect("a file in it");
                path.display().to_string()
            } else {
                key(name)
            };
            command.env(name, value);
        }
        for (name, value) in environment.as_object().into_iter().flatten() {
            let value = value.as_str().expect("text");
            command.env(name, if value.starts_with("${") { key(name) } else { value.to_owned() });
        }
        let checked = command.output().expect("the binary runs");
        assert!(checked.status.success(), "{way}: {}", String::from_utf8_lossy(&checked.stderr));
    }
}
