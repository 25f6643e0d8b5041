//! What can be done to a fleet, and undone.

use std::time::Duration;

use testkit::postgres::{Cluster, Mode};
use tokio_postgres::{Client, NoTls};

/// The database's name in its URL.
pub(crate) fn name(url: &str) -> &str {
    url.rsplit('/').next().and_then(|rest| rest.split('?').next()).expect("a URL has a database")
}

/// Ends every session of the nodes on one database.
pub(crate) const END_SESSIONS: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
     WHERE application_name = 'ringback' AND datname = current_database()";

/// Ends every session of the nodes.
pub(crate) fn end_sessions(cluster: &Cluster, url: &str) {
    cluster.sql(name(url), END_SESSIONS);
}

/// The server, broken off as by a crash and back again after so long.
pub(crate) async fn restart(cluster: &Cluster, away: Duration) {
    cluster.stop(Mode::Immediate);
    tokio::time::sleep(away).await;
    cluster.resume();
}

pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("the database is there");
    tokio::spawn(connection);
    client
}

/// Locks the first row of a query's answer until the client is dropped.
pub(crate) async fn lock(url: &str, query: &str) -> Client {
    let client = connect(url).await;
    client.batch_execute("BEGIN").await.expect("a transaction begins");
    client.query(&format!("{query} FOR UPDATE"), &[]).await.expect("the row is locked");
    client
}

/// Takes every connection that the server has left to give; they are given back when the clients are dropped.
pub(crate) async fn exhaust(url: &str) -> Vec<Client> {
    let mut held = Vec::new();
    loop {
        match tokio_postgres::connect(url, NoTls).await {
            Ok((client, connection)) => {
                tokio::spawn(connection);
                held.push(client);
            }
            Err(_) => return held,
        }
    }
}
