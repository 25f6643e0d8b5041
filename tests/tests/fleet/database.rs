//! How a node reaches its database, and what it must find there.

use std::{path::Path, process::Command};

use ringback_tests::Ringback;
use serde_json::json;
use testkit::postgres::Cluster;

use super::{config, faults::name};

/// What `serve` says when it refuses.
fn refused(url: &str) -> String {
    let said = Ringback::over(config(), url).run(&["serve"]);
    said.expect_err("it refuses")
}

#[tokio::test]
async fn settings_that_would_lose_or_refuse_are_named_with_what_to_do() {
    let cluster = Cluster::shared();
    let url = cluster.fresh_database();
    let node = Ringback::over(config(), &url);
    node.run(&["migrate"]).expect("ringback migrate");
    let database = name(&url);
    let set = |what: &str| cluster.sql("postgres", &format!("ALTER DATABASE {database} SET {what}"));
    set("default_transaction_isolation = 'serializable'");
    let said = refused(&url);
    assert!(said.contains("default_transaction_isolation is serializable"), "{said}");
    assert!(said.contains("ALTER ROLE CURRENT_USER SET default_transaction_isolation"), "{said}");
    set("default_transaction_isolation = 'read committed'");
    set("synchronous_commit = off");
    let said = {
        let pooled = Ringback::over(config().with("storage.pooled", "true"), &url);
        pooled.run(&["serve"]).expect_err("it refuses")
    };
    assert!(said.contains("ALTER ROLE CURRENT_USER SET synchronous_commit = on"), "{said}");
    // With sessions of its own it mends that itself, and says so.
    let mut node = node;
    node.launch().await;
    let id = node.api().accepted(&json!({ "task": "echo" })).await;
    node.api().ended(&id).await;
    assert!(node.log().contains("synchronous_commit is off"), "{}", node.log());
}

#[tokio::test]
async fn migrate_prints_what_it_would_run() {
    let cluster = Cluster::shared();
    let url = cluster.fresh_database();
    let node = Ringback::over(config(), &url);
    let sql = node.run(&["migrate", "sql"]).expect("it prints");
    assert!(sql.contains("CREATE TABLE job_queue") && sql.ends_with("COMMIT;\n"), "{sql}");
    assert_eq!(cluster.sql(name(&url), "SELECT count(*) FROM pg_tables WHERE tablename = 'jobs'"), "0");
    // A person runs it, and that was the migration.
    cluster.sql(name(&url), &sql);
    assert_eq!(node.run(&["migrate", "sql"]).expect("it prints"), "");
    node.run(&["migrate"]).expect("there is nothing to do");
    let mut node = node;
    node.launch().await;
}

fn openssl(directory: &Path, arguments: &str) {
    let done = Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(directory)
        .output()
        .expect("openssl is installed");
    assert!(done.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&done.stderr));
}

/// An authority of its own, and a certificate of its for this name.
fn authority(directory: &Path, host: &str) {
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(directory, &format!("req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=Test"));
    openssl(directory, &format!("req {key} -keyout server.key -out server.csr -subj /CN={host}"));
    std::fs::write(directory.join("names"), format!("subjectAltName=DNS:{host}")).expect("a file");
    openssl(
        directory,
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out server.pem -days 2 -extfile names",
    );
}

#[tokio::test]
async fn the_way_to_the_database_is_encrypted_and_the_database_is_who_it_says() {
    let directory = tempfile::tempdir().expect("a directory");
    authority(directory.path(), "localhost");
    let cluster =
        Cluster::encrypted(&directory.path().join("server.pem"), &directory.path().join("server.key"))
            .expect("PostgreSQL with TLS");
    let plain = cluster.fresh_database();
    let by_name = plain.replace("127.0.0.1", "localhost");
    let root = directory.path().join("ca.pem");
    for mode in ["require", "verify-full"] {
        let url = format!("{by_name}?sslmode={mode}&sslrootcert={}", root.display());
        let mut node = Ringback::over(config(), &url);
        node.run(&["migrate"]).expect("ringback migrate");
        node.launch().await;
        let id = node.api().accepted(&json!({ "task": "echo", "input": 1 })).await;
        assert_eq!(node.api().ended(&id).await["result"], 1);
        let encrypted = cluster.sql(
            name(&plain),
            "SELECT count(*) > 3 AND bool_and(s.ssl) FROM pg_stat_activity a JOIN pg_stat_ssl s USING (pid) \
             WHERE application_name = 'ringback' AND datname = current_database()",
        );
        assert_eq!(encrypted, "t");
        node.stop().await;
    }
    // An authority that is not ours, and a name that is not the certificate's.
    let said = refused(&format!("{by_name}?sslmode=verify-full"));
    assert!(said.contains("UnknownIssuer") && said.contains("sslrootcert"), "{said}");
    let said = refused(&format!("{plain}?sslmode=verify-full&sslrootcert={}", root.display()));
    assert!(said.contains("not valid for name"), "{said}");
}
