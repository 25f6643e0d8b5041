//! Between the write and the 202 lies a finished sync: seen from the kernel, by `strace`.

use std::{collections::HashMap, io::Write, process::Command};

use ringback_tests::{Config, Ringback, wait};
use serde_json::json;

/// One system call: the lines of the trace where it began and ended, and its text.
#[derive(Debug)]
struct Call {
    began: usize,
    ended: usize,
    text: String,
}

impl Call {
    fn is(&self, name: &str) -> bool {
        self.text.starts_with(&format!("{name}("))
    }

    fn is_on_log(&self) -> bool {
        self.text.split_once(',').map_or(&*self.text, |(file, _)| file).contains("ringback.db-wal>")
    }

    fn syncs_log(&self) -> bool {
        (self.is("fdatasync") || self.is("fsync"))
            && self.is_on_log()
            && self.text.trim_end().ends_with("= 0")
    }

    fn writes_log(&self) -> bool {
        ["pwrite64", "pwritev", "write", "writev"].iter().any(|name| self.is(name)) && self.is_on_log()
    }

    fn answers_202(&self) -> bool {
        ["write", "writev", "sendto", "sendmsg"].iter().any(|name| self.is(name))
            && self.text.contains("HTTP/1.1 202")
    }

    fn reads_submission(&self) -> bool {
        ["read", "readv", "recvfrom", "recvmsg"].iter().any(|name| self.is(name))
            && self.text.contains("POST /v1/jobs")
    }
}

/// The calls of a trace by `strace -f`: `PID name(… <unfinished ...>` and `PID <... name resumed>…` are put together.
fn calls(trace: &str) -> Vec<Call> {
    let (mut calls, mut open) = (Vec::new(), HashMap::new());
    for (at, line) in trace.lines().enumerate() {
        let Some((pid, text)) = line.split_once(' ') else { continue };
        let text = text.trim_start();
        if let Some(begun) = text.strip_suffix("<unfinished ...>") {
            open.insert(pid, (at, begun.to_owned()));
        } else if let Some((_, rest)) =
            text.strip_prefix("<... ").and_then(|rest| rest.split_once(" resumed>"))
        {
            if let Some((began, begun)) = open.remove(pid) {
                calls.push(Call { began, ended: at, text: begun + rest });
            }
        } else {
            calls.push(Call { began: at, ended: at, text: text.to_owned() });
        }
    }
    calls
}

/// For each 202 in the trace, whether the log was written and then synced since its submission was read.
fn synced_before_answered(trace: &str) -> Vec<bool> {
    let calls = calls(trace);
    let answer = |answer: &Call| {
        let read = calls
            .iter()
            .filter(|call| call.reads_submission() && call.began < answer.began)
            .map(|c| c.ended)
            .max();
        let Some(read) = read else { return false };
        calls.iter().filter(|write| write.writes_log() && read < write.began).any(|write| {
            calls.iter().any(|sync| sync.syncs_log() && write.ended < sync.began && sync.ended < answer.began)
        })
    };
    calls.iter().filter(|call| call.answers_202()).map(answer).collect()
}

#[tokio::test]
async fn a_sync_has_finished_before_the_202_leaves() {
    let can_trace = Command::new("strace")
        .args(["-o", "/dev/null", "true"])
        .status()
        .is_ok_and(|status| status.success());
    if !can_trace {
        // Past the test runner's capture: a test that showed nothing must not look like one that passed.
        let said = "SKIPPED: strace cannot trace here: nothing was shown about the sync before the 202\n";
        std::io::stderr().write_all(said.as_bytes()).expect("there is a standard error");
        return;
    }
    let mut server = Ringback::prepare(Config::sqlite());
    let trace = server.directory().join("trace");
    let calls =
        "trace=read,readv,recvfrom,recvmsg,write,writev,sendto,sendmsg,pwrite64,pwritev,fsync,fdatasync";
    server.wrap(&["strace", "-D", "-f", "-y", "-s", "64", "-e", calls, "-o", &trace.display().to_string()]);
    server.launch().await;
    for n in 0..5 {
        // Nothing runs: every commit is a submission's own.
        server.api().submit(&json!({ "task": "echo", "input": n, "delay": "1h" })).await.expect(202);
    }
    server.stop().await;
    let answers = wait::until("the trace is complete", || async {
        let answers = synced_before_answered(&std::fs::read_to_string(&trace).unwrap_or_default());
        (answers.len() == 5).then_some(answers)
    })
    .await;
    assert_eq!(answers, [true; 5], "see {}", trace.display());
}

#[test]
fn a_trace_is_read_rightly() {
    let good = "\
10 recvfrom(9<socket:[1]>, \"POST /v1/jobs HTTP/1.1\\r\\n\"..., 8192, 0, NULL, NULL) = 300
11 pwrite64(5</tmp/x/ringback.db-wal>, \"\\0\"..., 4096, 32) = 4096
11 fdatasync(5</tmp/x/ringback.db-wal> <unfinished ...>
10 write(3<anon_inode:[eventfd]>, \"\\1\", 8) = 8
11 <... fdatasync resumed>)              = 0
10 writev(9<socket:[1]>, [{iov_base=\"HTTP/1.1 202 Accepted\\r\\n\"..., iov_len=300}], 1) = 300
";
    assert_eq!(synced_before_answered(good), [true]);
    let moved = |from: usize, to: usize| {
        let mut lines: Vec<_> = good.lines().collect();
        let line = lines.remove(from);
        lines.insert(to, line);
        lines.join("\n")
    };
    assert_eq!(synced_before_answered(&moved(5, 4)), [false], "answered while the sync was under way");
    assert_eq!(synced_before_answered(&moved(0, 4)), [false], "synced before the submission came");
    assert_eq!(synced_before_answered(&good.replace("= 0\n", "= -1 EIO\n")), [false], "the sync failed");
    assert_eq!(synced_before_answered(&good.replace("db-wal> <unf", "db> <unf")), [false], "another file");
}
