//! One running server: the real binary as a child process, killed, stopped and started again on the same storage.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{Api, Config, Engine, binary, clock, config, wait};

/// Everything the server wrote to standard error, over all its lives.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn add(&self, line: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A server under test. Dropping it kills the process; if the test is panicking, its log is shown and its directory
/// kept.
pub struct Ringback {
    directory: Option<TempDir>,
    config: PathBuf,
    storage: String,
    wrapper: Vec<String>,
    process: Option<Process>,
    log: Log,
    api: Api,
}

struct Process {
    child: Child,
    address: SocketAddr,
    reader: Option<JoinHandle<()>>,
}

impl Ringback {
    /// Starts a server on fresh storage and waits until it is ready.
    pub async fn start(config: Config) -> Self {
        let mut server = Self::prepare(config);
        server.launch().await;
        server
    }

    /// The usual server on SQLite.
    pub async fn sqlite() -> Self {
        Self::start(Config::sqlite()).await
    }

    /// The usual server on this engine.
    pub async fn on(engine: Engine) -> Self {
        Self::start(Config::on(engine)).await
    }

    /// Fresh storage and a written configuration, nothing started yet.
    pub fn prepare(config: Config) -> Self {
        match config.engine {
            Engine::Sqlite => {
                let directory = directory();
                let storage = format!("sqlite:{}", directory.path().join("ringback.db").display());
                Self::in_directory(config, directory, storage)
            }
            Engine::Postgres => {
                let server = Self::over(config, &testkit::postgres::Cluster::shared().fresh_database());
                server.run(&["migrate"]).expect("ringback migrate");
                server
            }
        }
    }

    /// A written configuration over storage that is there, nothing started yet.
    pub fn over(config: Config, storage: &str) -> Self {
        Self::in_directory(config, directory(), storage.to_owned())
    }

    /// Starts another node beside this one, over the same storage.
    pub async fn beside(&self, config: Config) -> Self {
        let mut other = Self::over(config, &self.storage);
        other.launch().await;
        other
    }

    fn in_directory(config: Config, directory: TempDir, storage: String) -> Self {
        let path = directory.path().join("ringback.toml");
        config.write(&path, &storage);
        Self {
            directory: Some(directory),
            config: path,
            storage,
            wrapper: Vec::new(),
            process: None,
            log: Log::default(),
            api: Api::new("http://127.0.0.1:1", None),
        }
    }

    /// Writes another configuration for the next start, on the same storage.
    pub fn reconfigure(&self, config: &Config) {
        config.write(&self.config, &self.storage);
    }

    /// From the next start on, runs the server under this command (`strace …`), which must stay its parent or become it.
    pub fn wrap(&mut self, wrapper: &[&str]) {
        self.wrapper = wrapper.iter().map(|&word| word.to_owned()).collect();
    }

    /// Runs another command of the binary with this configuration to its end: its standard output, or its error.
    pub fn run(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(binary::path());
        let output = clean(&mut command)
            .args(arguments)
            .arg("--config")
            .arg(&self.config)
            .current_dir(self.directory())
            .output()
            .expect("the binary runs");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if output.status.success() {
            Ok(out.into_owned())
        } else {
            Err(format!("{}: {out}{err}", output.status))
        }
    }

    /// Starts the process and waits until it is ready. Gives how long that took.
    pub async fn launch(&mut self) -> Duration {
        let start = clock::now();
        self.spawn();
        self.address_known().await;
        self.ready().await;
        start.elapsed()
    }

    /// Starts the process and waits for nothing.
    pub fn spawn(&mut self) {
        assert!(self.process.is_none(), "it is already running");
        let mut words = self.wrapper.clone();
        words.push(binary::path().display().to_string());
        let mut command = Command::new(&words[0]);
        let mut child = clean(&mut command)
            .args(&words[1..])
            .args(["serve", "--config"])
            .arg(&self.config)
            .current_dir(self.directory())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("cannot run {words:?}: {e}"));
        let errors = child.stderr.take().expect("standard error is piped");
        let log = self.log.clone();
        log.add("--- started ---".into());
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(errors).lines().map_while(Result::ok) {
                log.add(line);
            }
        });
        let address = ([0, 0, 0, 0], 0).into();
        self.process = Some(Process { child, address, reader: Some(reader) });
    }

    /// Waits for the line `listening` with its `addr`, the one way to learn which free port was taken.
    async fn address_known(&mut self) {
        let deadline = clock::now() + wait::PATIENCE;
        let address = loop {
            if let Some(address) = listening(&self.log.lines()) {
                break address;
            }
            if let Some(status) = self.process().child.try_wait().expect("a child can be waited for") {
                panic!("the server ended before it listened: {status}\n{}", self.log());
            }
            assert!(clock::now() < deadline, "the server did not say where it listens:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        self.process().address = address;
        self.api = Api::new(&format!("http://{address}"), Some(config::KEY));
    }

    async fn ready(&mut self) {
        let deadline = clock::now() + wait::PATIENCE;
        loop {
            let answer = self.api.attempt(http::Method::GET, "/readyz", &[], "").await;
            if answer.as_ref().is_ok_and(|answer| answer.status == 200) {
                return;
            }
            if let Some(status) = self.process().child.try_wait().expect("a child can be waited for") {
                panic!("the server ended before it was ready: {status}\n{}", self.log());
            }
            assert!(clock::now() < deadline, "the server is not ready: {answer:?}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("the server is running")
    }

    /// A client with the bootstrap key.
    pub fn api(&self) -> &Api {
        &self.api
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.process.as_ref().expect("the server is running").address
    }

    /// Its process id. Under a wrapper, the wrapper's.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("the server is running").child.id()
    }

    /// Its working directory, with its configuration and a SQLite file.
    pub fn directory(&self) -> &Path {
        self.directory.as_ref().expect("kept until the drop").path()
    }

    /// Its configuration file.
    pub fn config_file(&self) -> &Path {
        &self.config
    }

    /// The storage's URL.
    pub fn storage(&self) -> &str {
        &self.storage
    }

    /// All it has logged, over all its lives.
    pub fn log(&self) -> String {
        self.log.lines().join("\n")
    }

    /// `kill -9`, and waits for the end.
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("the server is running");
        // It may have ended by itself; a test that minds sees that in what follows.
        let _ = process.child.kill();
        let _ = process.child.wait();
        self.finish_log(process);
    }

    /// `kill -9`, and starts again on the same storage.
    pub async fn crash(&mut self) -> Duration {
        self.kill();
        self.launch().await
    }

    /// Sends SIGTERM and waits for nothing.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends a signal by its name, and waits for nothing.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.pid())]).status();
        assert!(sent.is_ok_and(|status| status.success()), "SIG{name} could not be sent");
    }

    /// Waits for the process to end by itself.
    pub async fn ends_within(&mut self, limit: Duration) -> (ExitStatus, Duration) {
        let start = clock::now();
        loop {
            if let Some(status) = self.process().child.try_wait().expect("a child can be waited for") {
                let took = start.elapsed();
                let process = self.process.take().expect("it was running");
                self.finish_log(process);
                return (status, took);
            }
            assert!(start.elapsed() < limit, "still running after {limit:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// SIGTERM, and waits until it has ended with status 0. Gives how long that took.
    pub async fn stop(&mut self) -> Duration {
        self.terminate();
        let (status, took) = self.ends_within(Duration::from_secs(40)).await;
        assert!(status.success(), "after SIGTERM: {status}");
        took
    }

    fn finish_log(&self, mut process: Process) {
        if let Some(reader) = process.reader.take() {
            // Ends with the pipe; the process is gone.
            let _ = reader.join();
        }
        self.log.add("--- ended ---".into());
    }
}

impl Drop for Ringback {
    fn drop(&mut self) {
        if self.process.is_some() {
            self.kill();
        }
        if std::thread::panicking()
            && let Some(directory) = self.directory.take()
        {
            eprintln!("the server's log (its files stay in {}):\n{}", directory.keep().display(), self.log());
        }
    }
}

fn directory() -> TempDir {
    tempfile::Builder::new().prefix("ringback-story-").tempdir().expect("a temporary directory")
}

/// The address in the last line `listening` of the last life.
fn listening(lines: &[String]) -> Option<SocketAddr> {
    let life = lines.iter().rposition(|line| line == "--- started ---")?;
    lines[life..].iter().find_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        (line["message"] == "listening").then(|| line["addr"].as_str()?.parse().ok())?
    })
}

/// Nothing of the machine's own environment may reach the server under test.
fn clean(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("RINGBACK_") {
            command.env_remove(name);
        }
    }
    command
}
