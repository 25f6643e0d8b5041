//! Processes of earlier attempts that are still there, found by the job's id in their environment.

use domain::id::JobId;

/// The variable that every process of a job was started with.
pub(super) const JOB_ID: &str = "RINGBACK_JOB_ID";

/// Kills every process on this machine that was started for the job. True once there is none.
pub(super) async fn end(job: JobId) -> bool {
    let mark = format!("{JOB_ID}={job}");
    // A search opens a file for each process there is.
    tokio::task::spawn_blocking(move || imp::end(mark.as_bytes())).await.unwrap_or(false)
}

#[cfg(target_os = "linux")]
mod imp {
    use std::{fs, time::Duration};

    use rustix::process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal};

    /// A killed process is gone within a moment, unless it is held up in the kernel.
    const ROUNDS: u32 = 400;
    const PAUSE: Duration = Duration::from_millis(5);

    /// Again until nothing is found: who was killed may have started another just before.
    pub(super) fn end(mark: &[u8]) -> bool {
        for _ in 0..ROUNDS {
            match kill_all(mark) {
                0 => return true,
                found => tracing::warn!(found, "killed what an earlier attempt had left running"),
            }
            std::thread::sleep(PAUSE);
        }
        false
    }

    fn kill_all(mark: &[u8]) -> usize {
        let Ok(all) = fs::read_dir("/proc") else { return 0 };
        all.flatten()
            .filter(|entry| entry.file_name().to_str().and_then(|name| kill(name, mark)).is_some())
            .count()
    }

    fn kill(id: &str, mark: &[u8]) -> Option<()> {
        let pid = id.parse().ok().and_then(Pid::from_raw).filter(|&pid| pid != getpid())?;
        let bears = || {
            let environment = fs::read(format!("/proc/{id}/environ")).ok()?;
            environment.split(|&byte| byte == 0).any(|variable| variable == mark).then_some(())
        };
        bears()?;
        // Read again through a handle that names this process alone: the number may have gone to another.
        let process = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        bears()?;
        pidfd_send_signal(&process, Signal::KILL).ok()
    }
}

/// Elsewhere a process's environment cannot be read; the supervisor alone ends what a crash left.
#[cfg(not(target_os = "linux"))]
mod imp {
    pub(super) fn end(_mark: &[u8]) -> bool {
        true
    }
}
