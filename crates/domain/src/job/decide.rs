//! What follows a claim, and what follows an attempt.

use std::time::Duration;

use super::{Ending, Job, JobResult};
use crate::{problem::JobError, retry::RetryPolicy, time::Timestamp};

/// What to do with a job that was just claimed.
#[derive(Debug)]
pub enum OnClaim {
    /// Run the attempt that the claim opened.
    Run,
    /// Do not: it is over. The attempt that the claim opened does not count.
    End(Ending),
}

/// Judges a claimed job. Its `attempt` already counts the start that the claim opened.
pub fn on_claim(job: &Job, now: Timestamp) -> OnClaim {
    if job.cancel_requested_at.is_some() {
        // The node that was asked to stop it died: the request is still good.
        return OnClaim::End(Ending::Canceled);
    }
    if job.expires_at.is_some_and(|at| at <= now) {
        return OnClaim::End(Ending::Failed(JobError::expired()));
    }
    if job.attempt() > job.max_attempts {
        // Starts lost to a crash count, so that work which kills its node ends.
        return OnClaim::End(Ending::Failed(JobError::lost()));
    }
    OnClaim::Run
}

/// How an attempt went.
#[derive(Debug)]
pub enum Work {
    /// It answered.
    Done(JobResult),
    /// It failed, and the same again may do better. `after` is how long the work asked to be left alone.
    Retry {
        /// Why.
        error: JobError,
        /// The least delay, if the work named one.
        after: Option<Duration>,
    },
    /// It failed, and would again.
    Failed(JobError),
    /// It stopped because it was asked to.
    Stopped,
}

/// What follows.
#[derive(Debug)]
pub enum AfterAttempt {
    /// The job is over.
    End(Ending),
    /// Back in the queue until then.
    Again {
        /// When the next attempt may start.
        due: Timestamp,
    },
}

/// Decides what follows an attempt that ended at `now`. The policy gives the pace; the job's own `max_attempts` gives
/// the number. `canceled` says that somebody asked for a stop by now: work that still succeeded keeps its result.
pub fn after_attempt(
    job: &Job,
    canceled: bool,
    work: Work,
    policy: &RetryPolicy,
    now: Timestamp,
    roll: f64,
) -> AfterAttempt {
    match work {
        Work::Done(result) => AfterAttempt::End(Ending::Succeeded(result)),
        Work::Stopped => AfterAttempt::End(Ending::Canceled),
        Work::Failed(_) | Work::Retry { .. } if canceled => AfterAttempt::End(Ending::Canceled),
        Work::Failed(error) => AfterAttempt::End(Ending::Failed(error)),
        Work::Retry { error, after } => {
            let attempt = job.attempt();
            match policy.delay(attempt, roll).filter(|_| attempt < job.max_attempts) {
                Some(delay) => AfterAttempt::Again { due: now + delay.max(after.unwrap_or_default()) },
                None => AfterAttempt::End(Ending::Failed(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{State, Status, tests::job};

    const NOW: Timestamp = Timestamp::from_micros(1_000_000_000);

    fn running(attempt: u32) -> Job {
        Job { state: State::Running { attempt, started_at: NOW }, ..job() }
    }

    fn at(seconds: u64) -> Option<Timestamp> {
        Some(Timestamp::from_micros(0) + Duration::from_secs(seconds))
    }

    #[test]
    fn a_claim_is_run_unless_the_job_is_over() {
        // (attempt of max 3, expires, cancel requested) → status it ends with
        for (attempt, expires_at, cancel_requested_at, ends) in [
            (1, None, None, None),
            (3, None, None, None),
            (4, None, None, Some((Status::Failed, "lost"))),
            (1, at(1_001), None, None),
            (1, at(1_000), None, Some((Status::Failed, "expired"))),
            (1, None, at(10), Some((Status::Canceled, ""))),
            (4, at(1), at(10), Some((Status::Canceled, ""))),
        ] {
            let job = Job { expires_at, cancel_requested_at, ..running(attempt) };
            match (on_claim(&job, NOW), ends) {
                (OnClaim::Run, None) => {}
                (OnClaim::End(ending), Some((status, slug))) => {
                    assert_eq!(ending.status(), status);
                    if let Ending::Failed(error) = ending {
                        assert!(error.as_json().contains(&format!("/problems/{slug}")), "{error:?}");
                    }
                }
                other => panic!("{attempt} {expires_at:?} {cancel_requested_at:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn what_follows_an_attempt() {
        let policy = RetryPolicy::Schedule { delays: vec![Duration::from_secs(10); 9], jitter: 0.0 };
        let error = || JobError::new("x", "X", "x");
        let retry = |after: u64| Work::Retry { error: error(), after: Some(Duration::from_secs(after)) };
        let ok = || Work::Done(JobResult::of("application/json", b"1"));
        let due = |seconds| Err(NOW + Duration::from_secs(seconds));
        for (name, attempt, canceled, work, expected) in [
            ("success", 1, false, ok(), Ok(Status::Succeeded)),
            ("success after a cancel request", 1, true, ok(), Ok(Status::Succeeded)),
            ("stopped", 1, true, Work::Stopped, Ok(Status::Canceled)),
            ("failed for good", 1, false, Work::Failed(error()), Ok(Status::Failed)),
            ("failed while canceling", 1, true, Work::Failed(error()), Ok(Status::Canceled)),
            ("retry", 1, false, retry(0), due(10)),
            ("retry, Retry-After is a floor", 2, false, retry(60), due(60)),
            ("retry, a shorter Retry-After is not", 2, false, retry(1), due(10)),
            ("no attempts left", 3, false, retry(0), Ok(Status::Failed)),
            ("retry while canceling", 1, true, retry(0), Ok(Status::Canceled)),
        ] {
            let got = match after_attempt(&running(attempt), canceled, work, &policy, NOW, 0.5) {
                AfterAttempt::End(ending) => Ok(ending.status()),
                AfterAttempt::Again { due } => Err(due),
            };
            assert_eq!(got, expected, "{name}");
        }
    }
}
