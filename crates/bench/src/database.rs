//! The PostgreSQL that both services record in: the one that was named, or one of its own for this run.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use testkit::postgres::Cluster;
use tokio_postgres::{NoTls, SimpleQueryMessage};

use crate::{Outcome, process::Usage};

pub(crate) struct Database {
    /// Kept for its end, which stops the server.
    _own: Option<Cluster>,
    url: String,
    made: AtomicU32,
    /// The server's first process, where it runs on this machine and may be looked at.
    server: Option<u32>,
}

impl Database {
    /// The server at `url`, or a new one.
    pub(crate) fn open(url: Option<&str>) -> Outcome<Self> {
        let own = match url {
            Some(_) => None,
            None => Some(Cluster::start().map_err(|failure| failure.to_string())?),
        };
        let url = match (&own, url) {
            (Some(cluster), _) => aged(cluster.url("postgres"))?,
            (None, url) => url.unwrap_or_default().to_owned(),
        };
        let directory = first_value(&url, "SHOW data_directory").unwrap_or_default();
        let server = std::fs::read_to_string(format!("{directory}/postmaster.pid")).ok();
        let server = server.and_then(|file| file.lines().next()?.trim().parse().ok());
        Ok(Self { _own: own, url, made: AtomicU32::new(0), server })
    }

    /// The URL of an empty database; nothing that was written before is still on its way to the disk.
    pub(crate) fn fresh(&self) -> Outcome<String> {
        let name = format!("bench_{}_{}", std::process::id(), self.made.fetch_add(1, Relaxed));
        query(&self.url, &format!("CREATE DATABASE {name}"))?;
        self.checkpoint()?;
        with_name(&self.url, &name)
    }

    /// Nothing that was written before is still on its way to the disk.
    pub(crate) fn checkpoint(&self) -> Outcome<()> {
        query(&self.url, "CHECKPOINT").map(drop)
    }

    /// Drops what [`Database::fresh`] made.
    pub(crate) fn drop(&self, url: &str) -> Outcome<()> {
        let name = url.rsplit('/').next().and_then(|n| n.split('?').next()).unwrap_or_default();
        query(&self.url, &format!("DROP DATABASE {name} WITH (FORCE)")).map(drop)
    }

    /// Bytes of write-ahead log since the server was made.
    pub(crate) fn log_bytes(&self) -> Outcome<u64> {
        Ok(first_value(&self.url, "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')")?.parse()?)
    }

    /// What the server's processes have used.
    pub(crate) fn usage(&self) -> Option<Usage> {
        self.server.map(Usage::of_family)
    }
}

/// A server that has run for a while has the files of its log, and uses them again. A new one makes one, of 16 MiB, each
/// time that it needs one, every second or two here, and all who commit wait for it.
fn aged(url: String) -> Outcome<String> {
    for setting in ["min_wal_size = '1GB'", "max_wal_size = '4GB'"] {
        query(&url, &format!("ALTER SYSTEM SET {setting}"))?;
    }
    query(&url, "SELECT pg_reload_conf()")?;
    for _ in 0..64 {
        query(&url, "SELECT pg_logical_emit_message(false, '', ''); SELECT pg_switch_wal()")?;
    }
    query(&url, "CHECKPOINT")?;
    Ok(url)
}

/// A transaction that sees everything as it was when this was opened, until it is dropped.
pub(crate) struct Held {
    _client: tokio_postgres::Client,
    /// Drives its connection.
    _runtime: tokio::runtime::Runtime,
}

impl Held {
    pub(crate) fn open(url: &str) -> Outcome<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let client = runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
            tokio::spawn(connection);
            client
                .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM tenants")
                .await?;
            Ok::<_, tokio_postgres::Error>(client)
        })?;
        Ok(Self { _client: client, _runtime: runtime })
    }
}

/// One number, from the database at `url`.
pub(crate) fn number(url: &str, text: &str) -> Outcome<u64> {
    Ok(first_value(url, text)?.parse()?)
}

fn with_name(url: &str, name: &str) -> Outcome<String> {
    let (base, options) = url.split_once('?').map_or((url, String::new()), |(b, o)| (b, format!("?{o}")));
    let after_scheme =
        base.find("://").ok_or("the database's URL is not of the form postgres://user@host/db")? + 3;
    let server = base[after_scheme..].find('/').map_or(base, |slash| &base[..after_scheme + slash]);
    Ok(format!("{server}/{name}{options}"))
}

fn first_value(url: &str, text: &str) -> Outcome<String> {
    let rows = query(url, text)?;
    let value = rows.iter().find_map(|row| match row {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    value.ok_or_else(|| format!("`{text}` gave no row").into())
}

fn query(url: &str, text: &str) -> Outcome<Vec<SimpleQueryMessage>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        tokio::spawn(connection);
        Ok(client.simple_query(text).await?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_another_database_of_the_same_server() {
        for (url, expected) in [
            ("postgres://u@h:5/db", "postgres://u@h:5/x"),
            ("postgres://u@h", "postgres://u@h/x"),
            ("postgres://u@h/db?sslmode=disable", "postgres://u@h/x?sslmode=disable"),
        ] {
            assert_eq!(with_name(url, "x").unwrap(), expected);
        }
        assert!(with_name("host=h", "x").is_err());
    }
}
