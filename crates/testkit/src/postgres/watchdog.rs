//! What outlives the test process by a moment, to stop what it started.

use std::{
    io,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Stdio},
};

/// Waits for the end of its input, which comes when the process that holds the pipe drops it or dies of whatever.
const SCRIPT: &str =
    r#"cat >/dev/null; "$1/pg_ctl" stop -w -m immediate -D "$2/data" >/dev/null 2>&1; rm -rf "$2"; exit 0"#;

pub(super) struct Watchdog {
    shell: Child,
    home: std::path::PathBuf,
}

impl Watchdog {
    pub(super) fn start(run_as: &[String], binaries: &Path, home: &Path) -> io::Result<Self> {
        let mut command = super::unprivileged(run_as, Path::new("/bin/sh"));
        command.arg("-c").arg(SCRIPT).arg("watchdog").arg(binaries).arg(home);
        // A group of its own: Ctrl-C at the terminal is for the tests and must not end their watchdog.
        let shell = command.stdin(Stdio::piped()).process_group(0).current_dir("/").spawn()?;
        Ok(Self { shell, home: home.to_owned() })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
        // Left over only where the shell may not write in the directory above.
        let _ = std::fs::remove_dir(&self.home);
    }
}
