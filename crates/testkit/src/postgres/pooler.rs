//! A PgBouncer in transaction mode before a [`Cluster`], gone when it is dropped.

use std::{
    fs,
    net::TcpStream,
    path::PathBuf,
    process::{Child, Stdio},
    thread,
    time::Duration,
};

use super::{Cluster, Failure, free_port, make_home, unprivileged};

/// Runs SQL in a database.
type Run = Box<dyn Fn(&str, &str) -> Result<String, Failure> + Send + Sync>;

/// One database behind a pool of so many connections.
pub struct Pooler {
    child: Child,
    home: PathBuf,
    url: String,
    run: Run,
}

impl Pooler {
    /// Starts one for a database of this cluster.
    ///
    /// # Errors
    /// If PgBouncer is not installed (Debian: the package `pgbouncer`) or does not start.
    pub fn start(cluster: &'static Cluster, database: &str, connections: u32) -> Result<Self, Failure> {
        let (home, port) = (make_home()?, free_port()?);
        let run_as = super::become_unprivileged(&home)?;
        let settings = home.join("pgbouncer.ini");
        fs::write(
            &settings,
            format!(
                "[databases]\n{database} = host=127.0.0.1 port={} user=postgres\n[pgbouncer]\n\
                 listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n\
                 pool_mode = transaction\ndefault_pool_size = {connections}\nmax_client_conn = 200\n\
                 logfile = {}\npidfile = {}\n",
                cluster.port,
                home.join("log").display(),
                home.join("pid").display()
            ),
        )?;
        let child = unprivileged(&run_as, std::path::Path::new("/usr/sbin/pgbouncer"))
            .arg("--quiet")
            .arg(&settings)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| Failure(format!("pgbouncer: {error}. `tests/run` installs it.")))?;
        let url = format!("postgres://postgres@127.0.0.1:{port}/{database}");
        let run = Box::new(move |url: &str, sql: &str| {
            let output = cluster.run("psql", |psql| {
                psql.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "-c", sql]).arg(url)
            })?;
            Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
        });
        let pooler = Self { child, home, url, run };
        for _ in 0..500 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(pooler);
            }
            thread::sleep(Duration::from_millis(20));
        }
        let log = fs::read_to_string(pooler.home.join("log")).unwrap_or_default();
        Err(Failure(format!("pgbouncer does not listen: {log}")))
    }

    /// The database's URL behind the pooler.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Runs SQL through it and returns its rows, columns parted by `|`.
    ///
    /// # Panics
    /// If it fails.
    pub fn sql(&self, text: &str) -> String {
        (self.run)(&self.url, text).unwrap_or_else(|error| panic!("{error}"))
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.home);
    }
}
