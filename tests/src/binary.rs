//! The binary under test: the one `RINGBACK_BIN` names, else this workspace's own, built on first use.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use crate::ask;

/// The path of a `ringback` that is as new as the sources. Cargo gives a test no path to another package's binary, so
/// the harness asks cargo to build it once, in the profile and target directory of the running test, and with the features
/// of the whole workspace: with those of its package alone, every dependency would be built again.
pub fn path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| match ask::path("RINGBACK_BIN") {
        Some(given) => given,
        None => build(),
    })
}

/// The workspace's root.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// The target directory: `…/target`, two above `…/target/debug/deps/this-test`.
pub fn target() -> PathBuf {
    profile_dir().parent().map(Path::to_path_buf).unwrap_or_default()
}

fn profile_dir() -> PathBuf {
    let test = env::current_exe().expect("a test knows its own path");
    test.ancestors()
        .find(|dir| dir.join("deps").is_dir() || dir.join(".cargo-lock").is_file())
        .expect("a test lies below its profile's directory")
        .to_path_buf()
}

fn build() -> PathBuf {
    let dir = profile_dir();
    let profile = match dir.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(other) => other,
    };
    let built = Command::new(ask::path("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--quiet", "--workspace", "--bin", "ringback", "--profile", profile])
        .arg("--target-dir")
        .arg(target())
        .current_dir(workspace())
        .output()
        .expect("cargo runs");
    assert!(built.status.success(), "cannot build ringback:\n{}", String::from_utf8_lossy(&built.stderr));
    dir.join("ringback")
}
