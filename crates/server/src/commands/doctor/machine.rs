//! This machine: configuration, storage, descriptors.

use std::{
    fs::{File, TryLockError},
    io::{self, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use super::Finding;
use crate::config::{Config, ConfigError};

/// Below this, a few hundred receivers and clients are too many.
const DESCRIPTORS: u64 = 4_096;

/// A database that answers at all answers sooner.
const CONNECT: Duration = Duration::from_secs(5);

pub(super) fn configuration(config: &Result<Config, ConfigError>) -> Finding {
    const CHECK: &str = "configuration";
    let config = match config {
        Ok(config) => config,
        Err(error) => return Finding::fail(CHECK, error.to_string()),
    };
    if let Err(errors) = config.check() {
        return Finding::fail(CHECK, errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "));
    }
    match config.vault() {
        Ok(_) => {}
        Err(ConfigError::Missing { key, .. }) => {
            let detail = format!("{key} is not set: `serve` will not start. `ringback init` makes one.");
            return Finding::fail(CHECK, detail);
        }
        Err(other) => return Finding::fail(CHECK, other.to_string()),
    }
    let tasks = config.tasks.len();
    match config.bootstrap_key() {
        Ok(Some(_)) => Finding::ok(CHECK, format!("{tasks} tasks")),
        // Whether there is another key only the storage knows.
        Ok(None) => Finding::ok(CHECK, format!("{tasks} tasks; auth.bootstrap_key is not set")),
        Err(error) => Finding::fail(CHECK, error.to_string()),
    }
}

pub(super) async fn storage(url: &str) -> Finding {
    match url.strip_prefix("sqlite:") {
        Some(path) => sqlite(Path::new(path.strip_prefix("//").unwrap_or(path))),
        None => postgres(url).await,
    }
}

/// Does not open the file: another process may have it.
fn sqlite(path: &Path) -> Finding {
    const CHECK: &str = "storage";
    let shown = path.display();
    if !path.exists() {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        return if folder.is_dir() {
            Finding::ok(CHECK, format!("{shown} is not there yet; `serve` makes it"))
        } else {
            Finding::fail(
                CHECK,
                format!("the folder {} is not there; make it, or set storage.url", folder.display()),
            )
        };
    }
    if let Err(error) = File::options().read(true).write(true).open(path) {
        return Finding::fail(CHECK, format!("{shown} cannot be opened: {error}; whose is it?"));
    }
    match holder(path) {
        Ok(None) => Finding::ok(CHECK, format!("{shown}, held by nobody")),
        Ok(Some(process)) => Finding::ok(CHECK, format!("{shown}, held by process {process}")),
        Err(error) => Finding::fail(CHECK, format!("{shown}.lock cannot be read: {error}; whose is it?")),
    }
}

/// Who has the lock beside the file: the number that it wrote into it.
fn holder(path: &Path) -> io::Result<Option<String>> {
    let mut lock = path.as_os_str().to_owned();
    lock.push(".lock");
    let mut file = match File::open(PathBuf::from(lock)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    match file.try_lock_shared() {
        // Given back at once, with the file.
        Ok(()) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
        Err(TryLockError::WouldBlock) => {
            let mut process = String::new();
            file.read_to_string(&mut process)?;
            Ok(Some(process.trim().to_owned()))
        }
    }
}

/// Looks the server up and connects; a login is the server's business, and its `readyz` tells of it.
async fn postgres(url: &str) -> Finding {
    const CHECK: &str = "storage";
    let Some((host, port)) = url::Url::parse(url)
        .ok()
        .filter(|url| matches!(url.scheme(), "postgres" | "postgresql"))
        .and_then(|url| Some((url.host_str()?.to_owned(), url.port().unwrap_or(5432))))
    else {
        return Finding::fail(CHECK, "storage.url is neither sqlite:PATH nor postgres://user@host/db");
    };
    let host = host.trim_matches(['[', ']']);
    match tokio::time::timeout(CONNECT, tokio::net::TcpStream::connect((host, port))).await {
        Ok(Ok(_)) => Finding::ok(CHECK, format!("PostgreSQL at {host}:{port} takes connections")),
        Ok(Err(error)) => Finding::fail(
            CHECK,
            format!("{host}:{port}: {error}; is PostgreSQL running there, and storage.url right?"),
        ),
        Err(_) => Finding::fail(CHECK, format!("{host}:{port} does not answer; is a firewall in between?")),
    }
}

pub(super) fn descriptors() -> Finding {
    const CHECK: &str = "descriptors";
    match rlimit::getrlimit(rlimit::Resource::NOFILE) {
        // A node raises the soft limit to the hard one.
        Ok((_, most)) if most >= DESCRIPTORS => {
            Finding::ok(CHECK, format!("up to {most} files and connections"))
        }
        Ok((_, most)) => {
            let what = "raise it: `ulimit -Hn`, LimitNOFILE= in a systemd unit, or nofile in limits.conf";
            Finding::fail(
                CHECK,
                format!("{most} files and connections are few ({DESCRIPTORS} or more); {what}"),
            )
        }
        Err(error) => Finding::skip(CHECK, format!("the limit cannot be read: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Status, *};

    #[test]
    fn says_who_holds_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db");
        assert!(sqlite(&path).detail.contains("`serve` makes it"));
        assert_eq!(sqlite(&directory.path().join("b/a.db")).status, Status::Fail);

        std::fs::write(&path, "").unwrap();
        assert!(sqlite(&path).detail.ends_with("held by nobody"));
        let lock = directory.path().join("a.db.lock");
        std::fs::write(&lock, "4711\n").unwrap();
        assert!(sqlite(&path).detail.ends_with("held by nobody"));
        let held = File::open(&lock).unwrap();
        held.try_lock().unwrap();
        assert!(sqlite(&path).detail.ends_with("held by process 4711"));
    }

    #[test]
    fn names_what_is_missing() {
        let finding = configuration(&Ok(Config::default()));
        assert_eq!(finding.status, Status::Fail);
        assert!(finding.detail.starts_with("secrets.master_key is not set"));
    }
}
