//! A PostgreSQL that belongs to the test process: its own data directory, port and socket, gone with the process.

mod pooler;
mod watchdog;

use std::{
    fmt, fs,
    io::{self, Write},
    net::TcpListener,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

pub use pooler::Pooler;
use watchdog::Watchdog;

/// How a server is stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Sessions are broken off, the data is written out.
    Fast,
    /// As a crash: what was not on stable storage is gone, and the next start recovers from the log.
    Immediate,
}

impl Mode {
    const fn name(self) -> &'static str {
        match self {
            Mode::Fast => "fast",
            Mode::Immediate => "immediate",
        }
    }
}

/// A running server. It syncs like a real one. Stopped and removed when dropped, and when the process dies.
pub struct Cluster {
    binaries: PathBuf,
    home: PathBuf,
    port: u16,
    /// `setpriv …` when the tests run as root: PostgreSQL refuses to.
    run_as: Vec<String>,
    /// `name=value`, beside what every one of them has.
    settings: Vec<String>,
    databases: AtomicU32,
    _watchdog: Watchdog,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgreSQL at port {} in {}", self.port, self.home.display())
    }
}

impl Cluster {
    /// The one of this process, started when first asked for.
    ///
    /// # Panics
    /// If PostgreSQL is not installed or does not start: a test that needs it must not pass without it.
    pub fn shared() -> &'static Cluster {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(|| Cluster::start().unwrap_or_else(|error| panic!("{error}")))
    }

    /// Starts one of its own, for a test that restarts it.
    pub fn start() -> Result<Cluster, Failure> {
        Self::start_with(|_| Ok(Vec::new()))
    }

    /// Starts one that speaks TLS, too, with this certificate and key (PEM).
    pub fn encrypted(certificate: &Path, key: &Path) -> Result<Cluster, Failure> {
        Self::start_with(|cluster| {
            // Its own copies: it must own its key, and nobody else may read it.
            for (from, to) in [(certificate, "server.crt"), (key, "server.key")] {
                let to = cluster.data().join(to);
                fs::copy(from, &to)?;
                fs::set_permissions(&to, fs::Permissions::from_mode(0o600))?;
                let owner = fs::metadata(cluster.data())?;
                std::os::unix::fs::chown(&to, Some(owner.uid()), Some(owner.gid()))?;
            }
            Ok(vec!["ssl=on".into()])
        })
    }

    /// Starts one that listens at this address of the machine's, too, and trusts whoever reaches it there.
    pub fn listening(address: &str) -> Result<Cluster, Failure> {
        Self::start_with(|cluster| {
            let mut rules = fs::OpenOptions::new().append(true).open(cluster.data().join("pg_hba.conf"))?;
            writeln!(rules, "host all all {address}/30 trust")?;
            Ok(vec![format!("listen_addresses=127.0.0.1,{address}")])
        })
    }

    fn start_with(
        settings: impl FnOnce(&Cluster) -> Result<Vec<String>, Failure>,
    ) -> Result<Cluster, Failure> {
        let binaries = find_binaries()?;
        let home = make_home()?;
        let run_as = become_unprivileged(&home)?;
        let watchdog = Watchdog::start(&run_as, &binaries, &home)?;
        let mut cluster = Cluster {
            binaries,
            home,
            port: free_port()?,
            run_as,
            settings: Vec::new(),
            databases: AtomicU32::new(0),
            _watchdog: watchdog,
        };
        let data = cluster.data();
        // Nothing is at stake before the first test, so that the new directory itself need not be synced.
        cluster.run("initdb", |c| {
            c.args([
                "--no-sync",
                "--auth=trust",
                "--username=postgres",
                "--encoding=UTF8",
                "--locale=C",
                "-D",
            ])
            .arg(&data)
        })?;
        cluster.settings = settings(&cluster)?;
        cluster.go_up()?;
        Ok(cluster)
    }

    /// The URL of a new, empty database.
    ///
    /// # Panics
    /// If the server does not make one.
    pub fn fresh_database(&self) -> String {
        let name = format!("fresh_{}", self.databases.fetch_add(1, Ordering::SeqCst));
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        self.url(&name)
    }

    /// The URL of a database by name.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Runs SQL as the superuser and returns its rows, columns parted by `|`.
    ///
    /// # Panics
    /// If it fails.
    pub fn sql(&self, database: &str, text: &str) -> String {
        let url = self.url(database);
        let output = self.run("psql", |c| {
            c.args([
                "--no-psqlrc",
                "--quiet",
                "--tuples-only",
                "--no-align",
                "--set=ON_ERROR_STOP=1",
                "-c",
                text,
            ])
            .arg(&url)
        });
        match output {
            Ok(output) => String::from_utf8_lossy(&output.stdout).trim_end().to_owned(),
            Err(error) => panic!("{error}"),
        }
    }

    /// Stops the server and starts it again, at the same address.
    ///
    /// # Panics
    /// If it does not come back.
    pub fn restart(&self, mode: Mode) {
        self.stop(mode);
        self.resume();
    }

    /// Stops the server.
    ///
    /// # Panics
    /// If it does not stop.
    pub fn stop(&self, mode: Mode) {
        let data = self.data();
        if let Err(error) = self.run("pg_ctl", |c| c.args(["stop", "-w", "-m", mode.name(), "-D"]).arg(&data))
        {
            panic!("{error}");
        }
    }

    /// Starts it again, at the same address.
    ///
    /// # Panics
    /// If it does not come back.
    pub fn resume(&self) {
        if let Err(error) = self.go_up() {
            panic!("{error}");
        }
    }

    /// Stops the server and all of its sessions where they stand, until this is dropped: connections stay open, and
    /// nobody answers.
    ///
    /// # Panics
    /// If its processes cannot be found.
    pub fn freeze(&self) -> Frozen {
        let pid_file = fs::read_to_string(self.data().join("postmaster.pid"));
        let server = pid_file.ok().and_then(|text| text.lines().next()?.trim().parse().ok());
        let server: u32 = server.unwrap_or_else(|| panic!("{self:?} is not running"));
        // It first, so that it begins no more.
        let mut frozen = Frozen(vec![server]);
        signal("STOP", &frozen.0);
        let children = children(server);
        signal("STOP", &children);
        frozen.0.extend(children);
        frozen
    }

    fn data(&self) -> PathBuf {
        self.home.join("data")
    }

    fn go_up(&self) -> Result<(), Failure> {
        let (data, log) = (self.data(), self.home.join("log"));
        let options = format!(
            "-p {} -k {} -c listen_addresses=127.0.0.1 -c max_connections=300 -c shared_buffers=128MB \
             -c max_wal_size=4GB -c log_min_messages=warning{}",
            self.port,
            self.home.display(),
            self.settings.iter().map(|setting| format!(" -c {setting}")).collect::<String>()
        );
        let up = self.run("pg_ctl", |c| {
            c.args(["start", "-w", "-t", "60", "-o", &options, "-l"]).arg(&log).arg("-D").arg(&data)
        });
        up.map(drop)
            .map_err(|failure| Failure(format!("{failure}\n{}", fs::read_to_string(log).unwrap_or_default())))
    }

    fn run(
        &self,
        program: &str,
        arguments: impl FnOnce(&mut Command) -> &mut Command,
    ) -> Result<Output, Failure> {
        let mut command = unprivileged(&self.run_as, &self.binaries.join(program));
        // `pg_ctl start` leaves a server behind that would hold an inherited pipe open for ever.
        command.current_dir(&self.home).stdin(Stdio::null());
        let output = arguments(&mut command).output()?;
        if output.status.success() {
            return Ok(output);
        }
        let said = [output.stdout, output.stderr].concat();
        Err(Failure(format!("{program}: {}: {}", output.status, String::from_utf8_lossy(&said).trim_end())))
    }
}

/// The processes of a server that does nothing ([`Cluster::freeze`]).
#[derive(Debug)]
pub struct Frozen(Vec<u32>);

impl Drop for Frozen {
    fn drop(&mut self) {
        signal("CONT", &self.0);
    }
}

fn children(of: u32) -> Vec<u32> {
    let parent = |pid: u32| -> Option<u32> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // Behind the name, which may hold anything: state and parent.
        stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
    };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| parent(*pid) == Some(of)).collect()
}

/// One that is gone already needs none.
fn signal(name: &str, to: &[u32]) {
    let pids = to.iter().map(|pid| format!(" {pid}")).collect::<String>();
    let _ = Command::new("sh").args(["-c", &format!("kill -{name}{pids}")]).stderr(Stdio::null()).status();
}

fn unprivileged(run_as: &[String], program: &Path) -> Command {
    match run_as {
        [] => Command::new(program),
        [first, rest @ ..] => {
            let mut command = Command::new(first);
            command.args(rest).arg(program);
            command
        }
    }
}

/// PostgreSQL could not be had.
#[derive(Debug)]
pub struct Failure(String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgreSQL for tests: {}", self.0)
    }
}

impl std::error::Error for Failure {}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

/// Where `initdb` is: where Debian keeps it, there the newest, or in PATH.
#[allow(clippy::disallowed_methods, reason = "PATH is where programs are, and no configuration of ours")]
fn find_binaries() -> Result<PathBuf, Failure> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut debian: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .map(|versions| versions.filter_map(|v| Some(v.ok()?.path().join("bin"))).collect())
        .unwrap_or_default();
    debian.sort_by_key(|bin| bin.parent().and_then(Path::file_name)?.to_str()?.parse::<u32>().ok());
    let newest_first = debian.into_iter().rev();
    newest_first.chain(std::env::split_paths(&path)).find(|dir| dir.join("initdb").is_file()).ok_or_else(|| {
        Failure("it is not installed. `tests/run` installs it (Debian: the package `postgresql`), then runs the tests.".into())
    })
}

/// A directory of our own. Its name is short, for a socket's path has 107 bytes.
fn make_home() -> io::Result<PathBuf> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    loop {
        let n = COUNT.fetch_add(1, Ordering::SeqCst);
        let home = std::env::temp_dir().join(format!("rb-pg-{}-{n}", std::process::id()));
        match fs::create_dir(&home) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made.map(|()| home),
        }
    }
}

/// As root: gives the directory to an unprivileged user and says how to become that user.
fn become_unprivileged(home: &Path) -> Result<Vec<String>, Failure> {
    if fs::metadata("/proc/self")?.uid() != 0 {
        return Ok(Vec::new());
    }
    let passwd = fs::read_to_string("/etc/passwd")?;
    let user = ["postgres", "nobody"].into_iter().find_map(|name| {
        let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2).map(str::parse::<u32>);
        Some((fields.next()?.ok()?, fields.next()?.ok()?))
    });
    let (uid, gid) =
        user.ok_or_else(|| Failure("it does not run as root, and there is no user `nobody`".into()))?;
    std::os::unix::fs::chown(home, Some(uid), Some(gid))?;
    let ids = [format!("--reuid={uid}"), format!("--regid={gid}")];
    Ok(["setpriv".into(), "--clear-groups".into()].into_iter().chain(ids).chain(["--".into()]).collect())
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_recovers_from_a_crash_and_goes_away() {
        let cluster = Cluster::start().unwrap();
        let url = cluster.fresh_database();
        let name = url.rsplit('/').next().unwrap().to_owned();
        cluster.sql(&name, "CREATE TABLE t (n int); INSERT INTO t VALUES (7)");
        cluster.restart(Mode::Immediate);
        assert_eq!(cluster.sql(&name, "SELECT n, current_setting('fsync') FROM t"), "7|on");
        let home = cluster.home.clone();
        drop(cluster);
        assert!(!home.exists());
    }
}
