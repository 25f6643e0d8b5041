//! The process of one attempt: a supervisor and what it stands over.

use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
};

use command_fds::{CommandFdExt, FdMapping};
use domain::{job::Job, task::CommandRun, time::Timestamp};
use rustix::process::{Pid, getpid, kill_process};
use tokio::{
    net::unix::pipe,
    process::{Child, Command},
};

use super::{
    leftovers::JOB_ID,
    pipes::Pipes,
    supervisor::{KILL, MARK, TERMINATE},
};

/// Where a command says how far it is.
const PROGRESS_FD: i32 = 3;

/// What can be said to a supervisor.
#[derive(Clone, Copy)]
pub(super) enum Signal {
    /// SIGTERM to the command's process group.
    Terminate,
    /// SIGKILL to everything it started.
    Kill,
    /// The supervisor does not do what it is told: SIGKILL to itself.
    Abandon,
}

/// It is ended when this is dropped before it has.
pub(super) struct Process(Child);

impl Process {
    /// Starts it. Must be called on a thread that lives as long as the server: the supervisor takes the end of the thread
    /// that made it for the server's.
    pub(super) fn start(
        command: &CommandRun,
        job: &Job,
        deadline: Timestamp,
        supervisor: Option<&Path>,
    ) -> io::Result<(Self, Pipes)> {
        let (progress, told) = io::pipe()?;
        let progress = pipe::Receiver::from_owned_fd(OwnedFd::from(progress))?;
        let program = supervisor.map_or_else(this_program, |path| Ok(path.to_owned()))?;
        let mut process = Command::new(program);
        process
            .arg0("ringback")
            .arg(MARK)
            .arg(getpid().as_raw_nonzero().to_string())
            .args(&command.argv)
            .env_clear()
            .envs(&command.env)
            .env(JOB_ID, job.id.to_string())
            .env("RINGBACK_ATTEMPT", job.attempt().to_string())
            .env("RINGBACK_DEADLINE", deadline.to_string())
            .env("RINGBACK_PROGRESS_FD", PROGRESS_FD.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A ^C on the server's terminal is for the server.
            .process_group(0);
        if let Some(cwd) = &command.cwd {
            process.current_dir(cwd);
        }
        let progress_fd = FdMapping { parent_fd: OwnedFd::from(told), child_fd: PROGRESS_FD };
        process.fd_mappings(vec![progress_fd]).map_err(io::Error::other)?;
        let mut child = process.spawn()?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        Ok((Self(child), Pipes { stdin, stdout, stderr, progress }))
    }

    /// How it ended. May be dropped and called again.
    pub(super) async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.0.wait().await
    }

    pub(super) fn signal(&self, signal: Signal) {
        // No id: it has ended and was waited for, and the number may be somebody else's.
        let id = self.0.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let signal = match signal {
            Signal::Terminate => TERMINATE,
            Signal::Kill => KILL,
            Signal::Abandon => rustix::process::Signal::KILL,
        };
        if let Some(id) = id {
            // It can only have ended meanwhile, and is about to be waited for.
            let _ = kill_process(id, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::Kill);
    }
}

/// This binary, also after a newer one has taken its place on disk.
fn this_program() -> io::Result<PathBuf> {
    if cfg!(target_os = "linux") { Ok("/proc/self/exe".into()) } else { std::env::current_exe() }
}
