//! `[tasks.NAME]`

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use domain::{
    duration::Span,
    retry::RetryPolicy,
    secret::Secret,
    task::{CommandRun, HttpRun, Run, TaskSpec},
};
use serde::Deserialize;

use super::{ConfigError, Size, load};

/// How `concurrency` starts out for work that waits for somebody else.
const HTTP_CONCURRENCY: u32 = 64;
/// … and for what is built in.
const BUILT_IN_CONCURRENCY: u32 = 1024;

/// The kinds of `run`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// POST to `url`.
    Http,
    /// Return the input.
    Echo,
    /// Wait.
    Sleep,
    /// Fail.
    Fail,
    /// Start `argv`.
    Command,
}

/// One task as it is written.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskConfig {
    /// What runs it.
    pub run: Kind,
    /// `http`: where to.
    pub url: Option<String>,
    /// `http`: signs the requests, `whsec_…`.
    pub secret: Option<String>,
    /// `command`: the program and its arguments. A program without a slash is looked for on the server's `PATH`.
    pub argv: Option<Vec<String>>,
    /// `command`: its environment beside `RINGBACK_…`; there is nothing else in it.
    pub env: Option<BTreeMap<String, String>>,
    /// `command`: the directory it starts in, instead of the server's own.
    pub cwd: Option<PathBuf>,
    /// The most that one attempt may take.
    pub timeout: Option<Span>,
    /// When to try again.
    pub retry: Option<RetryPolicy>,
    /// How many run at once in the whole installation.
    pub concurrency: Option<u32>,
    /// What an input must look like: a JSON Schema as a table, or the path of a file that holds one.
    pub input_schema: Option<Schema>,
    /// The largest result kept.
    pub max_result: Option<Size>,
    /// How long input, result and bodies are kept after the end, where that is to be shorter than `retention.history`.
    pub payload_retention: Option<Span>,
}

impl std::fmt::Debug for TaskConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TaskConfig").field("run", &self.run).finish_non_exhaustive()
    }
}

/// A JSON Schema, here or in a file.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Schema {
    /// A file, relative to the working directory.
    File(PathBuf),
    /// The schema itself.
    Table(serde_json::Value),
}

impl Schema {
    /// As JSON would write it: the schema, or the path of its file.
    pub(super) fn shown(&self) -> String {
        match self {
            Schema::Table(value) => value.to_string(),
            Schema::File(path) => serde_json::Value::from(path.to_string_lossy()).to_string(),
        }
    }

    fn read(&self) -> Result<serde_json::Value, String> {
        match self {
            Schema::Table(value) => Ok(value.clone()),
            Schema::File(path) => {
                let text =
                    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
                serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
            }
        }
    }
}

impl TaskConfig {
    /// A task that has nothing set but how it runs.
    pub fn built_in(run: Kind) -> Self {
        Self {
            run,
            url: None,
            secret: None,
            argv: None,
            env: None,
            cwd: None,
            timeout: None,
            retry: None,
            concurrency: None,
            input_schema: None,
            max_result: None,
            payload_retention: None,
        }
    }

    /// What the rest of the system works with.
    pub fn spec(&self, name: &str) -> Result<TaskSpec, Vec<ConfigError>> {
        let mut errors = Vec::new();
        let mut wrong =
            |key: &str, why: String| errors.push(ConfigError::value(&format!("tasks.{name}{key}"), why));

        let parsed = name.parse();
        if let Err(error) = &parsed {
            wrong("", format!("{error}"));
        }
        let run = self.run(&mut wrong);
        let input_schema = self.input_schema.as_ref().map(Schema::read).transpose();
        if let Err(error) = &input_schema {
            wrong(".input_schema", error.clone());
        }
        if let Ok(Some(schema)) = &input_schema
            && let Err(error) = api::check_schema(schema)
        {
            wrong(".input_schema", error);
        }
        let timeout = self.timeout.map_or(Duration::from_secs(60), |span| span.0);
        if timeout.is_zero() {
            wrong(".timeout", "must not be 0".into());
        }
        let concurrency = self.concurrency.unwrap_or(match self.run {
            Kind::Http => HTTP_CONCURRENCY,
            Kind::Command => cpus(),
            Kind::Echo | Kind::Sleep | Kind::Fail => BUILT_IN_CONCURRENCY,
        });
        if concurrency == 0 {
            wrong(".concurrency", "must be more than 0".into());
        }
        match (parsed, run, input_schema) {
            (Ok(name), Some(run), Ok(input_schema)) if errors.is_empty() => Ok(TaskSpec {
                name,
                run,
                timeout,
                retry: self.retry.clone().unwrap_or_else(RetryPolicy::default_task),
                concurrency,
                input_schema,
                max_result: self.max_result.map_or(16 << 20, |size| size.0),
            }),
            _ => Err(errors),
        }
    }

    fn run(&self, wrong: &mut impl FnMut(&str, String)) -> Option<Run> {
        let mut only = |kind: Kind, name: &str, keys: &[(&str, bool)]| {
            for (key, _) in keys.iter().filter(|(_, set)| *set && self.run != kind) {
                wrong(key, format!("is read only with run = \"{name}\"; take it out"));
            }
        };
        only(Kind::Http, "http", &[(".url", self.url.is_some()), (".secret", self.secret.is_some())]);
        let keys =
            [(".argv", self.argv.is_some()), (".env", self.env.is_some()), (".cwd", self.cwd.is_some())];
        only(Kind::Command, "command", &keys);
        match self.run {
            Kind::Echo => Some(Run::Echo),
            Kind::Sleep => Some(Run::Sleep),
            Kind::Fail => Some(Run::Fail),
            Kind::Command => self.command(wrong).map(Run::Command),
            Kind::Http => {
                let url = self.url.as_deref().and_then(|text| url::Url::parse(text).ok());
                let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
                if url.is_none() {
                    wrong(".url", "run = \"http\" needs a URL such as http://127.0.0.1:9000/report".into());
                }
                let secret = match self.secret.as_deref().map(Secret::parse).transpose() {
                    Ok(secret) => secret.map(Arc::new),
                    Err(error) => {
                        wrong(".secret", error.to_string());
                        return None;
                    }
                };
                Some(Run::Http(HttpRun { url: url?, secret }))
            }
        }
    }

    fn command(&self, wrong: &mut impl FnMut(&str, String)) -> Option<CommandRun> {
        let mut fine = true;
        let mut unless = |ok: bool, key: &str, why: &str| {
            if !ok {
                wrong(key, why.to_owned());
                fine = false;
            }
        };
        let mut argv = self.argv.clone().unwrap_or_default();
        let named = argv.first().is_some_and(|program| !program.is_empty());
        unless(named, ".argv", "run = \"command\" needs it: [\"/usr/local/bin/report\", \"--json\"]");
        unless(argv.iter().all(|word| !word.contains('\0')), ".argv", "must not contain NUL");
        if let Some(program) = argv.first_mut().filter(|program| named && !program.contains('/')) {
            let found = on_path(program);
            unless(found.is_some(), ".argv", "names a program that is not on PATH; give its path");
            *program = found.unwrap_or_default();
        }
        let env = self.env.clone().unwrap_or_default();
        let name = |name: &String| !name.is_empty() && !name.contains(['=', '\0']);
        unless(env.keys().all(name), ".env", "has a name that no variable can have");
        unless(env.values().all(|value| !value.contains('\0')), ".env", "must not contain NUL");
        let ours = env.keys().any(|name| name.starts_with("RINGBACK_"));
        unless(!ours, ".env", "must not set RINGBACK_ variables: those are the server's");
        let there = self.cwd.as_deref().is_none_or(Path::is_dir);
        unless(there, ".cwd", "must be a directory that exists");
        fine.then(|| CommandRun { argv, env, cwd: self.cwd.clone() })
    }
}

/// Work that keeps a processor busy.
fn cpus() -> u32 {
    std::thread::available_parallelism().ok().and_then(|cpus| u32::try_from(cpus.get()).ok()).unwrap_or(1)
}

/// Where a program is, as a shell would find it; once, at the start, since a command has no `PATH`.
fn on_path(program: &str) -> Option<String> {
    let directories = load::variable("PATH")?;
    let mut files = std::env::split_paths(&directories).map(|directory| directory.join(program));
    files.find(|file| file.is_absolute() && file.is_file())?.into_os_string().into_string().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(toml: &str) -> String {
        let task: TaskConfig = toml::from_str(toml).unwrap();
        match task.spec("t") {
            Ok(TaskSpec { run: Run::Command(run), concurrency, .. }) => {
                assert_eq!(concurrency, cpus());
                format!("{:?} {:?}", run.argv, run.env)
            }
            Ok(_) => "another kind".into(),
            Err(errors) => errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
        }
    }

    #[test]
    fn commands() {
        for (toml, expected) in [
            (r#"argv = ["/bin/x", "a b", "$HOME"]"#, r#"["/bin/x", "a b", "$HOME"] {}"#),
            (
                r#"argv = ["./x"]
                env = { A = "1=2" }"#,
                r#"["./x"] {"A": "1=2"}"#,
            ),
            ("", "tasks.t.argv run = \"command\" needs it"),
            ("argv = []", "tasks.t.argv run = \"command\" needs it"),
            (r#"argv = [""]"#, "tasks.t.argv run = \"command\" needs it"),
            (r#"argv = ["no-such-program-anywhere"]"#, "tasks.t.argv names a program that is not on PATH"),
            (r#"argv = ["/bin/x", "a\u0000b"]"#, "tasks.t.argv must not contain NUL"),
            (
                r#"argv = ["/bin/x"]
                env = { RINGBACK_JOB_ID = "1" }"#,
                "tasks.t.env must not set RINGBACK_",
            ),
            (
                r#"argv = ["/bin/x"]
                env = { "A=B" = "1" }"#,
                "tasks.t.env has a name",
            ),
            (
                r#"argv = ["/bin/x"]
                cwd = "/no/such/place""#,
                "tasks.t.cwd must be a directory",
            ),
            (
                r#"argv = ["/bin/x"]
                url = "http://a""#,
                "tasks.t.url is read only with run = \"http\"",
            ),
        ] {
            let shown = spec(&format!("run = \"command\"\n{toml}"));
            assert!(shown.starts_with(expected), "{toml}: {shown}");
        }
        assert!(spec("run = \"command\"\nargv = [\"sh\"]").contains("/sh\"]"));
        assert!(spec("run = \"echo\"\nargv = [\"sh\"]").starts_with("tasks.t.argv is read only with run"));
    }
}
