//! `ringback dev`: the whole story on one terminal. Everything that `serve` is, on a local SQLite file, with loopback
//! receivers allowed, keys made and kept beside the file, and a first job of its own whose webhook it verifies.

use std::{fmt::Write as _, io::Write as _, net::SocketAddr, os::unix::fs::OpenOptionsExt, path::Path};

use crate::{
    ambient::SystemDice,
    config::{self, Config, ConfigError, Sources},
    fresh,
    node::{self, NodeError},
    play::tell,
};

/// Below every other source.
const DEFAULTS: &str = include_str!("dev.toml");

/// Where the keys are kept that `dev` made, so that the next `dev` can read the same database.
const KEYS: &str = "ringback-dev.keys";

/// Runs until it is told to stop.
pub(crate) fn run(sources: Sources) -> Result<(), NodeError> {
    let sources = Sources { defaults: DEFAULTS, ..sources };
    let mut config = config::load(&sources)?;
    give_keys(&mut config)?;
    let key = config.auth.bootstrap_key.clone();
    node::serve_with(config, sources, |node| node.play(), |address| story(address, key))
}

/// Keys that are not set come from the file, which is made if it is not there.
fn give_keys(config: &mut Config) -> Result<(), ConfigError> {
    if !config.secrets.master_key.is_empty() && !config.auth.bootstrap_key.is_empty() {
        return Ok(());
    }
    let path = Path::new(KEYS);
    let failed = |error| {
        ConfigError::value(
            KEYS,
            format!("cannot be kept here: {error}. Start `ringback dev` in a folder of yours."),
        )
    };
    if !path.exists() {
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(failed)?;
        file.write_all(fresh_keys().as_bytes()).map_err(failed)?;
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    let mut lines = text.lines();
    for key in [&mut config.auth.bootstrap_key, &mut config.secrets.master_key] {
        let kept = lines.next().unwrap_or_default();
        if key.is_empty() {
            *key = kept.to_owned();
        }
    }
    Ok(())
}

/// The bootstrap key, then the master key, a line each.
fn fresh_keys() -> String {
    format!("{}\n{}\n", fresh::bootstrap_key(&SystemDice), fresh::master_key(&SystemDice))
}

/// What is told once it listens, and the first job.
async fn story(address: SocketAddr, key: String) {
    let url = format!("http://{address}");
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "\nRingback is ready.\n");
    let _ = writeln!(text, "  API   {url}");
    let _ = writeln!(text, "  Key   {key}");
    let _ = writeln!(text, "  Tasks echo, sleep, fail\n");
    let _ = writeln!(text, "Submit a job and hear back; paste this into another terminal:\n");
    let _ = writeln!(
        text,
        "  curl -i {url}/v1/jobs -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \\\n    \
         -d '{{\"task\":\"sleep\",\"input\":{{\"for\":\"2s\"}},\"callback\":\"http://localhost:{}/play/mine\"}}'\n",
        address.port()
    );
    let _ = writeln!(text, "Here is one of its own:\n");
    tell(text.trim_end_matches('\n'));
    tell("");
    if let Err(error) = first_job(&url, address.port(), &key).await {
        tell(&format!("  The first job could not be submitted: {error}"));
    }
}

async fn first_job(url: &str, port: u16, key: &str) -> reqwest::Result<()> {
    let job = serde_json::json!({
        "task": "echo",
        "input": { "hello": "world" },
        "callback": format!("http://localhost:{port}/play/first"),
    });
    let answer = reqwest::Client::builder()
        .no_proxy()
        .build()?
        .post(format!("{url}/v1/jobs"))
        .bearer_auth(key)
        .header("content-type", "application/json")
        .body(job.to_string())
        .send()
        .await?
        .error_for_status()?;
    let status = answer.status();
    let location = answer.headers().get("location").and_then(|value| value.to_str().ok()).unwrap_or_default();
    tell(&format!("  POST /v1/jobs  {status}  Location: {location}"));
    Ok(())
}
