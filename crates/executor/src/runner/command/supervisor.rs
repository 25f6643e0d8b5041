//! The supervisor: this binary, started for one attempt of a command. It passes on its own stdin, stdout, stderr and
//! progress pipe, waits, and ends with the command's exit status.
//!
//! When the command ends, everything that it started is killed: its process group, and on Linux whatever left the group
//! too, since orphans become the supervisor's children. The same happens when the server tells it to or is gone.

use std::{
    ffi::OsString,
    io::{self, Write},
    os::unix::process::CommandExt,
    process::{Command, ExitCode},
};

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, WaitOptions, getpid, getppid, kill_process,
    kill_process_group, wait, waitid,
};
use tokio::signal::unix::{SignalKind, signal};

/// The argument that makes a supervisor of this binary.
pub(super) const MARK: &str = "--supervise-command";

/// Passed on to the command's process group.
pub(super) const TERMINATE: Signal = Signal::TERM;

/// Kills everything; also what the kernel sends when the server is gone.
pub(super) const KILL: Signal = Signal::USR1;

/// Exit statuses of a command that was never there, as shells have them; 75 is tried again.
const NOT_FOUND: u8 = 127;
const NO_RESOURCES: u8 = 75;

/// Stands over a command, if this process was started for that: the first thing in `main` of a server's binary.
pub fn supervise() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != MARK {
        return None;
    }
    let server = arguments.next().and_then(|text| text.to_str()?.parse().ok()).and_then(Pid::from_raw);
    let argv: Vec<_> = arguments.collect();
    let stood = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .and_then(|runtime| runtime.block_on(stand_over(server, &argv)));
    Some(stood.unwrap_or_else(|error| {
        say(&format!("cannot supervise: {error}"));
        ExitCode::from(NO_RESOURCES)
    }))
}

async fn stand_over(server: Option<Pid>, argv: &[OsString]) -> io::Result<ExitCode> {
    // Before there is anything to stand over, so that no signal finds it unprepared.
    let mut terminate = signal(SignalKind::from_raw(TERMINATE.as_raw()))?;
    let mut kill = signal(SignalKind::from_raw(KILL.as_raw()))?;
    let mut child_changed = signal(SignalKind::child())?;
    bind_to_server()?;
    let orphaned = || getppid() != server;
    // It may have died before the kernel knew whom to tell.
    let (Some((program, arguments)), false) = (argv.split_first(), orphaned()) else {
        return Ok(ExitCode::from(NO_RESOURCES));
    };
    // Waited for by its id, to know of its end before its id is free.
    let command = match Command::new(program).args(arguments).process_group(0).spawn() {
        Ok(child) => {
            i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?
        }
        Err(error) => return Ok(not_started(program, &error)),
    };
    let mut tick = tokio::time::interval(std::time::Duration::from_secs(1));
    let ended = loop {
        tokio::select! {
            Some(()) = terminate.recv() => drop(kill_process_group(command, TERMINATE)),
            Some(()) = kill.recv() => break None,
            Some(()) = child_changed.recv() => {
                // Not taken yet: as long as it is there, its number and its group's are nobody else's.
                let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
                if let Some(status) = waitid(WaitId::Pid(command), look)? {
                    break Some(status);
                }
                descendants::reap_others(command);
            }
            // Where the kernel does not tell.
            _ = tick.tick(), if cfg!(not(target_os = "linux")) => if orphaned() { break None },
        }
    };
    end_all(command);
    Ok(ended.map_or_else(die, exit))
}

/// Kills what is left and waits for it.
fn end_all(command: Pid) {
    // It fails if nobody is left to kill.
    let _ = kill_process_group(command, Signal::KILL);
    // Whoever dies leaves its children to us: no child left is no descendant left.
    while let Ok(ended) = wait(WaitOptions::NOHANG) {
        if ended.is_none() {
            descendants::kill();
            let _ = wait(WaitOptions::empty());
        }
    }
}

fn exit(status: WaitIdStatus) -> ExitCode {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from),
        (None, number) => {
            say(&format!("signal {} ended the command", number.unwrap_or_default()));
            die()
        }
    }
}

/// Ends by a signal, since the command did. Always by this one: others are ours to catch, or would dump our core.
fn die() -> ExitCode {
    let _ = kill_process(getpid(), Signal::KILL);
    ExitCode::FAILURE
}

fn not_started(program: &OsString, error: &io::Error) -> ExitCode {
    say(&format!("cannot start {}: {error}", program.to_string_lossy()));
    let passing = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory);
    ExitCode::from(if passing { NO_RESOURCES } else { NOT_FOUND })
}

/// Into the job's log.
fn say(what: &str) {
    // Nobody is left to tell if this fails.
    let _ = writeln!(io::stderr(), "ringback: {what}");
}

#[cfg(target_os = "linux")]
fn bind_to_server() -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(KILL))?;
    Ok(rustix::process::set_child_subreaper(Some(getpid()))?)
}

#[cfg(not(target_os = "linux"))]
fn bind_to_server() -> io::Result<()> {
    Ok(())
}

#[cfg(target_os = "linux")]
mod descendants {
    use std::fs;

    use rustix::process::waitpid;

    use super::{Pid, Signal, WaitOptions, getpid, kill_process};

    /// Our children: the command, and orphans that it left. The kernel's own list of them is an option that not every
    /// kernel has.
    fn children() -> Vec<Pid> {
        let ours = getpid().as_raw_nonzero().to_string();
        let all = fs::read_dir("/proc").into_iter().flatten().flatten();
        let ids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        ids.filter(|id| parent(*id).is_some_and(|parent| parent == ours)).filter_map(Pid::from_raw).collect()
    }

    /// proc_pid_stat(5): `id (name) state parent …`, where the name may have anything in it.
    fn parent(id: i32) -> Option<String> {
        let stat = fs::read(format!("/proc/{id}/stat")).ok()?;
        let stat = String::from_utf8_lossy(&stat);
        stat.rsplit_once(") ")?.1.split(' ').nth(1).map(str::to_owned)
    }

    /// Kills our children; their own become ours then.
    pub(super) fn kill() {
        for child in children() {
            // A child that has ended keeps its number until it is waited for.
            let _ = kill_process(child, Signal::KILL);
        }
    }

    /// Takes the ends of orphans, so that a command which runs for long leaves no zombies.
    pub(super) fn reap_others(command: Pid) {
        for child in children().into_iter().filter(|&child| child != command) {
            let _ = waitpid(Some(child), WaitOptions::NOHANG);
        }
    }
}

/// Elsewhere orphans go to the system, and the process group is all that can be killed.
#[cfg(not(target_os = "linux"))]
mod descendants {
    pub(super) fn kill() {}

    pub(super) fn reap_others(_command: super::Pid) {}
}
