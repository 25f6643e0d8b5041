//! A network of a test's own: no way out, every address is local, and the only name server is the test's.
//!
//! The test binary runs itself once more inside a new network and mount namespace (`unshare`, `ip`). There, every IPv4 and
//! IPv6 address that is not multicast is delivered to the loopback device, so that one listener on the wildcard address
//! hears whoever dials *any* of them: a forbidden address that is dialled is seen, whatever it is.
//!
//! That takes root, or user namespaces. Where neither is, a story says past the test runner's capture that it was not run.

mod names;
mod tls;

use std::{
    future::Future,
    io::Write,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    process::Command,
};

pub use names::{Answer, Names};
pub use tls::{Authority, Front, Identity, Versions};

use crate::{ask, binary};

/// Set inside.
const INSIDE: &str = "RINGBACK_TEST_ISLAND";

/// The island's only interface address beside loopback's: a public one that is Ringback's own, and therefore denied.
pub const OWN: &str = "11.22.33.44";

/// What a name without a dot is looked up under.
pub const SEARCH: &str = "corp.example";

/// Makes the namespace's network; `$1` is a directory with what stands for `/etc/resolv.conf` and `/etc/hosts`.
const SETTLE: &str = "\
set -eu
ip link set lo up
ip address add \"$2/32\" dev lo
ip route add local 0.0.0.0/0 dev lo
if [ -e /proc/net/if_inet6 ]; then ip -6 route add local ::/0 dev lo; fi
mount --bind \"$1/resolv.conf\" /etc/resolv.conf
mount --bind \"$1/hosts\" /etc/hosts
shift 2
exec \"$@\"
";

/// Stories on an island: `islands!(name)` makes the test `name::on_an_island` of `async fn name()`.
#[macro_export]
macro_rules! islands {
    ($($name:ident),* $(,)?) => {$(
        mod $name {
            #[test]
            fn on_an_island() {
                $crate::island::run(module_path!(), super::$name());
            }
        }
    )*};
}

/// Runs the story of the test `on_an_island` of `module`: here if this is the island, else in a process of its own there.
#[track_caller]
pub fn run(module: &str, story: impl Future<Output = ()>) {
    if ask::path(INSIDE).is_some() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        return runtime.expect("a runtime").block_on(story);
    }
    let test = format!("{}::on_an_island", module.split_once("::").map_or(module, |(_, rest)| rest));
    match travel(&test) {
        Ok(()) => {}
        Err(Stranded::NoRight(why)) => {
            // Past the test runner's capture: a test that showed nothing must not look like one that passed.
            let said = format!("SKIPPED: {test}: no network namespace can be made here: {}\n", why.trim());
            std::io::stderr().write_all(said.as_bytes()).expect("there is a standard error");
        }
        Err(Stranded::Failed(said)) => panic!("{test} failed on its island:\n{said}"),
    }
}

/// Whether the island has IPv6. Says so aloud where it has not.
pub fn has_ipv6() -> bool {
    let has = Path::new("/proc/net/if_inet6").exists();
    if !has {
        let said = "SKIPPED: this machine has no IPv6: nothing was shown about IPv6 addresses\n";
        std::io::stderr().write_all(said.as_bytes()).expect("there is a standard error");
    }
    has
}

/// Every address of the island, at this port.
pub fn everywhere(port: u16) -> SocketAddr {
    if has_ipv6() { (Ipv6Addr::UNSPECIFIED, port).into() } else { (Ipv4Addr::UNSPECIFIED, port).into() }
}

enum Stranded {
    /// This user, or this kernel, makes no namespaces.
    NoRight(String),
    /// The story did not hold.
    Failed(String),
}

/// `unshare` with what it needs to make namespaces: root's right, or a user namespace in which we are root.
fn unshare() -> Result<Command, Stranded> {
    let mut refusals = String::new();
    for more in [&[][..], &["--user", "--map-root-user"]] {
        let new = || {
            let mut command = Command::new("unshare");
            command.args(["--net", "--mount", "--propagation", "private"]).args(more);
            command
        };
        match new().arg("true").output() {
            Ok(tried) if tried.status.success() => return Ok(new()),
            Ok(tried) => refusals.push_str(&String::from_utf8_lossy(&tried.stderr)),
            Err(error) => return Err(Stranded::NoRight(format!("unshare: {error}"))),
        }
    }
    Err(Stranded::NoRight(refusals))
}

fn travel(test: &str) -> Result<(), Stranded> {
    let mut command = unshare()?;
    let files = tempfile::tempdir().expect("a temporary directory");
    let write = |name: &str, text: &str| {
        std::fs::write(files.path().join(name), text).expect("a file in it");
    };
    write("resolv.conf", &format!("nameserver {}\nsearch {SEARCH}\n", names::ADDRESS));
    write("hosts", "127.0.0.1 localhost\n::1 localhost\n");
    let output = command
        .args(["sh", "-c", SETTLE, "settle"])
        .arg(files.path())
        .arg(OWN)
        .arg(std::env::current_exe().expect("a test knows its own path"))
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        // Built out here, where a registry can be reached.
        .env("RINGBACK_BIN", binary::path())
        .output()
        .expect("unshare runs");
    let said = [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat();
    // A name that selects no test would pass for a test that holds.
    let ran = said.contains("test result: ok. 1 passed");
    for line in said.lines().filter(|line| line.starts_with("SKIPPED")) {
        std::io::stderr().write_all(format!("{line}\n").as_bytes()).expect("there is a standard error");
    }
    if output.status.success() && ran { Ok(()) } else { Err(Stranded::Failed(said)) }
}
