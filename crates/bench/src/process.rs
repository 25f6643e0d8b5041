//! What the kernel knows of a process: its CPU time, memory, bytes written and wake-ups.

use std::fs;

/// `/proc` counts CPU time in hundredths of a second on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// What a process has used since it started.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// User and system time, in seconds.
    pub(crate) cpu: f64,
    /// Bytes that it caused to be written to disks.
    pub(crate) written: u64,
    /// How often its threads went to sleep by themselves, and so had to be woken.
    pub(crate) wakeups: u64,
}

impl Usage {
    /// Of one process; zeros if it is gone.
    pub(crate) fn of(pid: u32) -> Self {
        let (own, _) = cpu_ticks(pid);
        Self {
            cpu: own as f64 / TICKS_PER_SECOND,
            written: field(pid, "io", "write_bytes:"),
            wakeups: wakeups(pid),
        }
    }

    /// Of a process and its children, those that ended too.
    pub(crate) fn of_family(pid: u32) -> Self {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let family = children.split_whitespace().filter_map(|p| p.parse().ok()).chain([pid]);
        family.fold(Usage::default(), |sum, pid| {
            let (own, reaped) = cpu_ticks(pid);
            let one = Usage { cpu: (own + reaped) as f64 / TICKS_PER_SECOND, ..Usage::of(pid) };
            sum.and(one)
        })
    }

    /// Of several processes together.
    pub(crate) fn of_all(pids: impl Iterator<Item = u32>) -> Self {
        pids.map(Usage::of).fold(Usage::default(), Usage::and)
    }

    fn and(self, other: Usage) -> Usage {
        Usage {
            cpu: self.cpu + other.cpu,
            written: self.written + other.written,
            wakeups: self.wakeups + other.wakeups,
        }
    }

    pub(crate) fn since(self, before: Usage) -> Usage {
        Usage {
            cpu: self.cpu - before.cpu,
            written: self.written.saturating_sub(before.written),
            wakeups: self.wakeups.saturating_sub(before.wakeups),
        }
    }
}

/// Resident memory, in MiB.
pub(crate) fn resident_mib(pid: u32) -> f64 {
    field(pid, "status", "VmRSS:") as f64 / 1024.0
}

/// Its own ticks, and those of children it has waited for.
fn cpu_ticks(pid: u32) -> (u64, u64) {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name may hold anything, a parenthesis too; user time is the twelfth field after its end.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let mut ticks = after_name.split_whitespace().skip(11).take(4).map(|t| t.parse::<u64>().unwrap_or(0));
    let mut two = || ticks.next().unwrap_or(0) + ticks.next().unwrap_or(0);
    (two(), two())
}

fn wakeups(pid: u32) -> u64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    threads
        .filter_map(|thread| fs::read_to_string(thread.path().join("status")).ok())
        .map(|status| find(&status, "voluntary_ctxt_switches:"))
        .sum()
}

fn field(pid: u32, file: &str, name: &str) -> u64 {
    find(&fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default(), name)
}

fn find(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, Write},
        process::{Command, Stdio},
    };

    use super::*;

    /// One of its own: threads of other tests come and go in this one.
    #[test]
    fn sees_a_process_work() {
        let work = "read go; i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo done; read end";
        let mut child = Command::new("sh")
            .args(["-c", work])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("there is a shell");
        let (pid, mut go) = (child.id(), child.stdin.take().expect("it is piped"));
        let before = Usage::of(pid);
        go.write_all(b"go\n").expect("it reads");
        let mut said = BufReader::new(child.stdout.take().expect("it is piped"));
        said.read_line(&mut String::new()).expect("it says when it is done");
        assert!(Usage::of(pid).since(before).cpu > 0.0);
        // It waits for the end now, or is about to.
        while Usage::of(pid).since(before).wakeups == 0 {
            std::thread::yield_now();
        }
        assert!(resident_mib(pid) > 0.1);
        drop(go);
        child.wait().expect("it ends");
    }
}
