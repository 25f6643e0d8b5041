//! The configuration of a server under test: what a test needs by default, and what a story changes.

use std::path::Path;

use toml::{Table, Value};

/// Which storage engine a story runs on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Engine {
    /// A file in the server's own temporary directory.
    Sqlite,
    /// A fresh database in this test process's own PostgreSQL.
    Postgres,
}

/// The bootstrap key of every server under test.
pub const KEY: &str = "rbk_test0000test0000_a-key-that-only-the-tests-use-0123456789";

/// A `ringback.toml` in the making. By default: a free port on loopback, receivers on loopback allowed, a quick retry
/// policy (0.2 s, 0.4 s, 0.8 s; four attempts), and the tasks `echo`, `sleep` and `fail`.
#[derive(Clone, Debug)]
pub struct Config {
    /// The engine it runs on.
    pub engine: Engine,
    table: Table,
}

impl Config {
    /// The usual configuration on this engine.
    pub fn on(engine: Engine) -> Self {
        let table = format!(
            r#"
            [server]
            listen = "127.0.0.1:0"
            [auth]
            bootstrap_key = "{KEY}"
            [node]
            lease = "5s"
            drain = "20s"
            [secrets]
            master_key = "cmluZ2JhY2sgdGVzdHMnIG93biBtYXN0ZXIga2V5IC4="
            [delivery]
            allow_http = true
            allow_cidrs = ["127.0.0.0/8"]
            timeout = "5s"
            connect_timeout = "2s"
            retry = {{ schedule = ["200ms", "400ms", "800ms"], jitter = 0.0 }}
            [tasks.echo]
            run = "echo"
            [tasks.sleep]
            run = "sleep"
            [tasks.fail]
            run = "fail"
            retry = {{ initial = "100ms", multiplier = 2, max_interval = "1s", max_attempts = 3, jitter = 0.0 }}
            "#
        );
        Self { engine, table: table.parse().expect("the default configuration is TOML") }
    }

    /// The usual configuration on SQLite.
    pub fn sqlite() -> Self {
        Self::on(Engine::Sqlite)
    }

    /// Sets a key, written with dots, to a TOML value: `with("delivery.timeout", r#""2s""#)`.
    pub fn with(mut self, key: &str, value: &str) -> Self {
        let parsed: Table = format!("value = {value}").parse().expect("the value is TOML");
        let mut at = &mut self.table;
        let mut names = key.split('.').peekable();
        while let Some(name) = names.next() {
            if names.peek().is_none() {
                at.insert(name.to_owned(), parsed["value"].clone());
                break;
            }
            at = at
                .entry(name)
                .or_insert_with(|| Value::Table(Table::new()))
                .as_table_mut()
                .expect("the key's parents are tables");
        }
        self
    }

    /// Takes a key out.
    pub fn without(mut self, key: &str) -> Self {
        let (section, name) = key.rsplit_once('.').expect("a key has a section");
        let section = section.split('.').fold(&mut self.table, |at, part| {
            at.get_mut(part).and_then(Value::as_table_mut).expect("the section is there")
        });
        section.remove(name);
        self
    }

    /// Adds or replaces a task: `task("report", r#"run = "http", url = "…""#)`.
    pub fn task(self, name: &str, spec: &str) -> Self {
        self.with(&format!("tasks.{name}"), &format!("{{ {spec} }}"))
    }

    /// An `http` task whose attempts repeat quickly: 0.1 s, 0.2 s, at most three.
    pub fn http_task(self, name: &str, url: &str) -> Self {
        self.task(
            name,
            &format!(
                r#"run = "http", url = "{url}", timeout = "2s", retry = {{ initial = "100ms", multiplier = 2, max_interval = "1s", max_attempts = 3, jitter = 0.0 }}"#
            ),
        )
    }

    /// Writes it to `path`, with the storage it is to use.
    pub fn write(&self, path: &Path, storage: &str) {
        let mut whole = self.clone().with("storage.url", &Value::from(storage).to_string());
        whole.engine = self.engine;
        let text = toml::to_string(&whole.table).expect("a table is TOML");
        std::fs::write(path, text).expect("the temporary directory can be written");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_set_taken_out_and_nested() {
        let config = Config::sqlite()
            .with("delivery.timeout", r#""2s""#)
            .with("server.public_url", r#""https://a.example""#)
            .without("delivery.allow_cidrs")
            .task("report", r#"run = "http", url = "http://127.0.0.1:9/""#);
        assert_eq!(config.table["delivery"]["timeout"].as_str(), Some("2s"));
        assert_eq!(config.table["server"]["public_url"].as_str(), Some("https://a.example"));
        assert!(config.table["delivery"].get("allow_cidrs").is_none());
        assert_eq!(config.table["tasks"]["report"]["run"].as_str(), Some("http"));
    }
}
