//! Every key with its value and where that came from, and no secret.

use std::collections::BTreeMap;

use figment::Figment;
use serde::Serialize;

use super::{
    Auth, Config, ConfigError, Delivery, Limits, Node, Retention, Secrets, Server, Sources, Storage,
    TaskConfig,
    load::{self, SECRETS},
};

/// What stands for a secret.
const HIDDEN: &str = "(hidden)";

/// One key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// `section.name`.
    pub key: String,
    /// As TOML or JSON would write it; a secret is `(hidden)`, or empty if it is not set.
    pub value: String,
    /// `default`, a file, a variable or a flag.
    pub source: String,
}

/// Every key of the configuration, in the order of the sections.
///
/// # Errors
/// If it cannot be read; what is read but cannot work is shown.
pub fn settings(sources: &Sources) -> Result<Vec<Setting>, ConfigError> {
    let figment = load::gather(sources)?;
    let config = load::extract(&figment)?;
    let origin = |key: &str| origin(&figment, sources, key);
    let with_origin = |(key, value): (String, String)| Setting { source: origin(&key), key, value };
    Ok(values(&config).into_iter().map(with_origin).collect())
}

/// Taken apart field by field, so that a key which is added and not shown does not compile.
fn values(config: &Config) -> Vec<(String, String)> {
    let Config { server, storage, auth, node, secrets, limits, retention, delivery, tasks } = config;
    let mut all = Vec::new();
    let mut set = |key: &str, value: String| all.push((key.to_owned(), value));

    let Server { listen, public_url, max_body, admin_listen, cors_origins } = server;
    set("server.listen", json(&listen));
    set("server.public_url", json(&public_url));
    set("server.max_body", max_body.0.to_string());
    set("server.admin_listen", admin_listen.as_ref().map(json).unwrap_or_default());
    set("server.cors_origins", json(cors_origins));
    let Storage { url: _, connections, pooled } = storage;
    set("storage.url", json(&storage.shown()));
    set("storage.connections", json(connections));
    set("storage.pooled", json(pooled));
    let Auth { bootstrap_key } = auth;
    set("auth.bootstrap_key", hidden(bootstrap_key));
    let Node { lease, drain } = node;
    set("node.lease", json(lease));
    set("node.drain", json(drain));
    let Secrets { master_key, previous_master_key } = secrets;
    set("secrets.master_key", hidden(master_key));
    set("secrets.previous_master_key", hidden(previous_master_key));
    let Limits { submit_per_tenant, waiting_per_tenant, endpoints_per_tenant } = limits;
    set("limits.submit_per_tenant", json(&submit_per_tenant.to_string()));
    set("limits.waiting_per_tenant", json(waiting_per_tenant));
    set("limits.endpoints_per_tenant", json(endpoints_per_tenant));
    let Retention { history, tombstones } = retention;
    set("retention.history", json(history));
    set("retention.tombstones", json(tombstones));
    let Delivery {
        allow_http,
        allow_ports,
        allow_cidrs,
        allow_hosts,
        timeout,
        connect_timeout,
        max_in_flight,
        per_lane_in_flight,
        ca_file,
        retry,
    } = delivery;
    set("delivery.allow_http", json(allow_http));
    set("delivery.allow_ports", json(allow_ports));
    set("delivery.allow_cidrs", json(&allow_cidrs.iter().map(ToString::to_string).collect::<Vec<_>>()));
    set("delivery.allow_hosts", json(allow_hosts));
    set("delivery.timeout", json(timeout));
    set("delivery.connect_timeout", json(connect_timeout));
    set("delivery.max_in_flight", json(max_in_flight));
    set("delivery.per_lane_in_flight", json(per_lane_in_flight));
    set("delivery.ca_file", ca_file.as_ref().map(json).unwrap_or_default());
    set("delivery.retry", json(retry));
    for (name, task) in tasks {
        all.extend(task_values(task).into_iter().map(|(key, value)| (format!("tasks.{name}.{key}"), value)));
    }
    all
}

fn task_values(task: &TaskConfig) -> Vec<(&'static str, String)> {
    let TaskConfig {
        run,
        url,
        secret,
        argv,
        env,
        cwd,
        timeout,
        retry,
        concurrency,
        input_schema,
        max_result,
        payload_retention,
    } = task;
    let mut all = vec![("run", json(&format!("{run:?}").to_lowercase()))];
    let mut set = |key, value: Option<String>| all.extend(value.map(|value| (key, value)));
    set("url", url.as_deref().map(|url| json(&without_password(url))));
    set("secret", secret.as_deref().map(hidden));
    set("argv", argv.as_ref().map(json));
    // The usual way to give a program its password.
    set(
        "env",
        env.as_ref().map(|env| json(&env.keys().map(|name| (name, HIDDEN)).collect::<BTreeMap<_, _>>())),
    );
    set("cwd", cwd.as_ref().map(json));
    set("timeout", timeout.as_ref().map(json));
    set("retry", retry.as_ref().map(json));
    set("concurrency", concurrency.as_ref().map(json));
    set("input_schema", input_schema.as_ref().map(|schema| schema.shown()));
    set("max_result", max_result.map(|size| size.0.to_string()));
    set("payload_retention", payload_retention.as_ref().map(json));
    all
}

fn json(value: &impl Serialize) -> String {
    // Texts, numbers and lists of them always make JSON.
    serde_json::to_string(value).unwrap_or_default()
}

fn hidden(secret: &str) -> String {
    if secret.is_empty() { String::new() } else { HIDDEN.to_owned() }
}

/// An upstream's URL may carry credentials.
fn without_password(url: &str) -> String {
    match url::Url::parse(url) {
        Ok(mut parsed) if parsed.password().is_some() => {
            // A URL that has a password takes another one.
            let _ = parsed.set_password(Some("hidden"));
            parsed.to_string()
        }
        _ => url.to_owned(),
    }
}

fn origin(figment: &Figment, sources: &Sources, key: &str) -> String {
    if sources.flags.iter().any(|(flag, _)| *flag == key) {
        return format!("--{}", key.rsplit('.').next().unwrap_or(key).replace("url", "storage"));
    }
    let from_file = |(variable, of): &&(&str, &str)| *of == key && load::is_set(&format!("{variable}_FILE"));
    if let Some((variable, _)) = SECRETS.iter().find(from_file) {
        return format!("{variable}_FILE");
    }
    let Some(metadata) = figment.find_metadata(key) else { return "default".to_owned() };
    match &metadata.source {
        Some(figment::Source::File(path)) => path.display().to_string(),
        // Below every other source stands what a command such as `dev` sets.
        _ if metadata.name.starts_with("TOML") => "default".to_owned(),
        _ => format!("RINGBACK_{}", key.to_uppercase().replace('.', "__")),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn settings_of(toml: &str, flags: Vec<(&'static str, String)>) -> Vec<Setting> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(toml.as_bytes()).unwrap();
        let mut all =
            settings(&Sources { file: Some(file.path().to_owned()), flags, ..Sources::default() }).unwrap();
        let path = file.path().display().to_string();
        for setting in all.iter_mut().filter(|setting| setting.source == path) {
            setting.source = "FILE".into();
        }
        all
    }

    #[test]
    fn says_where_each_value_came_from() {
        let all = settings_of(
            r#"
            [storage]
            url = "postgres://me:hunter2@host/db"
            [auth]
            bootstrap_key = "hunter2"
            [delivery]
            allow_cidrs = ["127.0.0.0/8"]
            [tasks.report]
            run = "http"
            url = "http://me:hunter2@127.0.0.1/x"
            secret = "hunter2"
            timeout = "90s"
            "#,
            vec![("server.listen", "127.0.0.1:1".into())],
        );
        for (key, value, source) in [
            ("server.listen", r#""127.0.0.1:1""#, "--listen"),
            ("server.max_body", "262144", "default"),
            ("storage.url", r#""postgres://me:%E2%80%A6@host/db""#, "FILE"),
            ("auth.bootstrap_key", "(hidden)", "FILE"),
            ("secrets.master_key", "", "default"),
            ("node.lease", r#""30s""#, "default"),
            ("delivery.allow_cidrs", r#"["127.0.0.0/8"]"#, "FILE"),
            ("delivery.ca_file", "", "default"),
            ("tasks.report.run", r#""http""#, "FILE"),
            ("tasks.report.url", r#""http://me:hidden@127.0.0.1/x""#, "FILE"),
            ("tasks.report.secret", "(hidden)", "FILE"),
            ("tasks.report.timeout", r#""90s""#, "FILE"),
        ] {
            let found =
                all.iter().find(|setting| setting.key == key).map(|s| (s.value.as_str(), s.source.as_str()));
            assert_eq!(found, Some((value, source)), "{key}");
        }
        assert!(!format!("{all:?}").contains("hunter2"));
    }
}
