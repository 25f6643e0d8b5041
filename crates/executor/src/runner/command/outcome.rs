//! What a command's end means.

use std::{io, os::unix::process::ExitStatusExt, process::ExitStatus};

use domain::problem::JobError;

use super::{super::JSON, Ran, pipes::Output};

/// `EX_TEMPFAIL` of sysexits.h: the same again may do better.
const AGAIN: i32 = 75;

pub(super) fn judge(status: io::Result<ExitStatus>, output: Output, log: &str) -> Ran {
    let failed = |detail: &str| JobError::new("command-failed", "The command failed", detail).with_log(log);
    match status.map(|status| status.code()) {
        Ok(Some(0)) if output.over() => too_large(output.limit(), log),
        Ok(Some(0)) => {
            Ran::Done { content_type: content_type(&output.bytes).into(), bytes: output.bytes.into() }
        }
        Ok(Some(code)) => {
            let error = failed(&format!("It exited with status {code}."));
            if code == AGAIN { Ran::Retry { error, after: None } } else { Ran::Failed(error) }
        }
        Ok(None) => Ran::Retry { error: failed("A signal ended it."), after: None },
        Err(error) => {
            Ran::Retry { error: failed(&format!("Its end could not be learnt: {error}.")), after: None }
        }
    }
}

/// It wrote more than may be kept.
pub(super) fn too_large(limit: u64, log: &str) -> Ran {
    Ran::Failed(JobError::result_too_large(limit).with_log(log))
}

/// True unless it exited of its own accord.
pub(super) fn by_signal(status: &ExitStatus) -> bool {
    status.signal().is_some()
}

/// A command has no way to name its content type: JSON if it is one JSON value.
fn content_type(bytes: &[u8]) -> &'static str {
    match (domain::json::check(bytes), str::from_utf8(bytes)) {
        (Ok(_), _) => JSON,
        (_, Ok(_)) => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends() {
        // Exit status in the high byte, signal in the low one.
        for (raw, bytes, expected) in [
            (0, &b"{\"n\": 1.10}\n"[..], "done application/json {\"n\": 1.10}\n"),
            (0, b"3", "done application/json 3"),
            (0, b"{} {}", "done text/plain; charset=utf-8 {} {}"),
            (0, b"", "done text/plain; charset=utf-8 "),
            (0, b"gr\xc3\xbcn", "done text/plain; charset=utf-8 grün"),
            (0, b"\"\xff\"", "done application/octet-stream \"\u{fffd}\""),
            (0, b"0123456789abcdef", "done text/plain; charset=utf-8 0123456789abcdef"),
            (0, b"0123456789abcdefg", "failed result-too-large"),
            (1 << 8, b"3", "failed command-failed"),
            (75 << 8, b"3", "retry command-failed"),
            (127 << 8, b"", "failed command-failed"),
            (137 << 8, b"", "failed command-failed"),
            (9, b"3", "retry command-failed"),
            (15, b"3", "retry command-failed"),
        ] {
            let mut output = Output::new(16);
            output.bytes = bytes.to_vec();
            assert_eq!(judge(Ok(ExitStatus::from_raw(raw)), output, "").line(), expected, "{raw} {bytes:?}");
        }
    }

    #[test]
    fn the_log_is_in_the_problem() {
        let Ran::Failed(error) = judge(Ok(ExitStatus::from_raw(3 << 8)), Output::new(1), "no \"x\"\n") else {
            panic!("it failed for good");
        };
        let problem: serde_json::Value = serde_json::from_str(error.as_json()).unwrap();
        assert_eq!(problem["detail"], "It exited with status 3.");
        assert_eq!(problem["log"], "no \"x\"\n");
    }
}
