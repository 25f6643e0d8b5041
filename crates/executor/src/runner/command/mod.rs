//! `command`: starts a process, gives it the input on stdin, and takes its stdout as the result.
//!
//! Between the server and the command stands a supervisor, this same binary started anew: it is the parent of
//! everything that the command starts, and ends all of it when the command ends, when it is told to, and when the server
//! dies, however that happens. So nothing a crash left is running when the work runs again, on whatever node; before an
//! attempt that is not a job's first, this machine is searched for leftovers all the same.

mod leftovers;
mod outcome;
mod pipes;
mod process;
mod supervisor;

use std::{pin::pin, process::ExitStatus, time::Duration};

use domain::{problem::JobError, task::CommandRun, time::Timestamp};
use storage::ClaimedJob;
use tokio::sync::Notify;

use self::{
    pipes::{Output, Tail},
    process::{Process, Signal},
};
use super::Ran;
use crate::{executor::Executor, hold::Held, reports::Reports, state::Stop};

pub use supervisor::supervise;

/// From SIGTERM to SIGKILL, at the timeout and on a cancel.
const GRACE: Duration = Duration::from_secs(5);

/// The same when the node stops: its drain time is over by then, and storage must hear of the end before it is closed.
const LEAVING_GRACE: Duration = Duration::from_secs(2);

/// How long the supervisor may take to end what it was told to kill; then it is killed itself.
const KILLED_WITHIN: Duration = Duration::from_secs(2);

/// How long to wait for the end of a pipe that outlives the command: some process has it that could not be found.
const PIPES_WITHIN: Duration = Duration::from_secs(1);

/// One attempt at a command.
pub(crate) struct Call<'a> {
    pub(crate) held: &'a Held,
    pub(crate) command: &'a CommandRun,
    pub(crate) claimed: &'a ClaimedJob,
    /// When its time is over.
    pub(crate) deadline: Timestamp,
    /// The same on the wall clock: what it is told.
    pub(crate) shown_deadline: Timestamp,
    pub(crate) max_result: u64,
    /// What it says on its progress pipe.
    pub(crate) reports: &'a Reports,
}

/// Why it was told to end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    Timeout,
    TooLarge,
    Stop(Stop),
}

/// How far its end has been pressed.
#[derive(Clone, Copy)]
enum Pressed {
    Not,
    Terminated,
    Killed,
    Abandoned,
}

impl Call<'_> {
    /// Runs it. Ready once no process of it is left.
    pub(crate) async fn run(self) -> Result<Ran, Stop> {
        let job = &self.claimed.job;
        if job.attempt() > 1 && !leftovers::end(job.id).await {
            return Ok(not_started("A process of an earlier attempt could not be ended."));
        }
        let started = Process::start(self.command, job, self.shown_deadline, self.executor().supervisor());
        let (process, pipes) = match started {
            Ok(started) => started,
            Err(error) => return Ok(not_started(&error.to_string())),
        };
        let (mut output, mut log) = (Output::new(self.max_result), Tail::default());
        let full = Notify::new();
        let (status, why) = {
            let input = self.claimed.input.as_bytes();
            let hear = |line: &[u8]| self.reports.hear(line, self.executor().moment().wall);
            let talk = pin!(pipes.talk(input, &mut output, &mut log, hear, &full));
            self.watch(process, talk, &full).await
        };
        let log = log.text();
        match why {
            Some(Why::Stop(stop)) => Err(stop),
            Some(Why::Timeout) => {
                Ok(Ran::Retry { error: JobError::timed_out(job.timeout).with_log(&log), after: None })
            }
            Some(Why::TooLarge) => Ok(outcome::too_large(self.max_result, &log)),
            None => Ok(outcome::judge(status, output, &log)),
        }
    }

    /// Waits for its end, and presses for it once it was stopped, is late or has said too much.
    async fn watch(
        &self,
        mut process: Process,
        mut talk: std::pin::Pin<&mut impl Future<Output = ()>>,
        full: &Notify,
    ) -> (std::io::Result<ExitStatus>, Option<Why>) {
        let (mut why, mut pressed, mut next, mut talked) = (None, Pressed::Not, self.deadline, false);
        let status = loop {
            let asked = tokio::select! {
                biased;
                status = process.ended() => break status,
                () = &mut talk, if !talked => { talked = true; continue }
                () = full.notified(), if why.is_none() => Some(Why::TooLarge),
                stop = self.held.stopped(), if why.is_none() => Some(Why::Stop(stop)),
                () = self.executor().sleep_until(next) => None,
            };
            let now = self.executor().now();
            why = why.or(asked).or(Some(Why::Timeout));
            (pressed, next) = match (pressed, why) {
                (Pressed::Not, Some(Why::TooLarge)) | (Pressed::Terminated, _) => {
                    process.signal(Signal::Kill);
                    (Pressed::Killed, now + KILLED_WITHIN)
                }
                (Pressed::Not, why) => {
                    process.signal(Signal::Terminate);
                    let leaving = matches!(why, Some(Why::Stop(Stop::GiveBack | Stop::Lost)));
                    (Pressed::Terminated, now + if leaving { LEAVING_GRACE } else { GRACE })
                }
                (Pressed::Killed | Pressed::Abandoned, _) => {
                    process.signal(Signal::Abandon);
                    (Pressed::Abandoned, now + KILLED_WITHIN)
                }
            };
        };
        if status.as_ref().map_or(true, outcome::by_signal) {
            // The supervisor itself may have been killed, and what it stood over not.
            leftovers::end(self.claimed.job.id).await;
        }
        if !talked {
            tokio::select! {
                biased;
                () = &mut talk => {}
                () = self.executor().sleep_until(self.executor().now() + PIPES_WITHIN) => {}
            }
        }
        (status, why)
    }

    fn executor(&self) -> &Executor {
        &self.held.executor
    }
}

fn not_started(why: &str) -> Ran {
    let error = JobError::new("command-not-started", "The command could not be started", why);
    Ran::Retry { error, after: None }
}
