//! How a command ends: a status that a script can tell apart, and a message that says what to do next.

use std::{io, process::ExitCode};

/// The exit statuses of the contract.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Exit {
    /// Whoever read our standard output has enough of it: no failure of ours.
    Enough = 0,
    /// It was understood, and did not succeed.
    Failed = 1,
    /// What was asked for cannot be asked for like that: fix the call, repeating it is no use.
    Usage = 2,
    /// There is no such object, or none any more.
    NotFound = 3,
    /// The key is missing, wrong, or its role too small.
    Auth = 4,
    /// The object is in another state than this needs.
    Conflict = 5,
    /// No answer, or none that could be given just now.
    Unreachable = 6,
    /// A webhook is not genuine.
    BadSignature = 7,
    /// As `timeout` of coreutils has it.
    TimedOut = 124,
    /// As shells have it for a process that Ctrl-C ended.
    Interrupted = 130,
}

/// Why a command did not succeed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// For people; empty if everything has been said.
    pub(crate) text: String,
    /// The server may have done it all the same.
    pub(crate) unsure: bool,
}

impl Failure {
    pub(crate) fn new(exit: Exit, text: impl Into<String>) -> Self {
        Self { exit, text: text.into(), unsure: false }
    }

    /// The output has said it.
    pub(crate) fn said(exit: Exit) -> Self {
        Self::new(exit, "")
    }

    pub(crate) fn failed(text: impl Into<String>) -> Self {
        Self::new(Exit::Failed, text)
    }

    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self::new(Exit::Usage, text)
    }

    /// Standard output could not be written.
    pub(crate) fn output(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::said(Exit::Enough),
            _ => Self::failed(format!("cannot write to standard output: {error}")),
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// An error and what caused it.
pub(crate) fn reasons(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
