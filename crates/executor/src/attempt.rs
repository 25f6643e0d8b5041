//! The life of one attempt: judged, announced, worked, decided, written.

use std::{future::Future, sync::Arc};

use domain::{
    event::{Event, EventKind},
    id::EventId,
    job::{self, AfterAttempt, Ended, Ending, Job, OnClaim, Progress, Status, Work},
    problem::JobError,
    task::{Run, TaskSpec},
    time::Timestamp,
};
use storage::{Announce, ClaimedJob, Finish, Guard, Requeue, Written};

use crate::{
    executor::Executor,
    hold::Held,
    metrics::TaskMetrics,
    reports::Reports,
    runner::{self, Ran},
    state::Stop,
    tasks::Task,
};

/// One attempt under way.
struct Attempt<'a> {
    held: &'a Held,
    claimed: &'a ClaimedJob,
    spec: &'a TaskSpec,
    metrics: &'a TaskMetrics,
    reports: Reports,
}

/// What is to be written at the end.
enum Next {
    /// The job is over.
    End { ended: Ended, result: Option<Arc<[u8]>> },
    /// It goes back.
    Back { due: Timestamp, counted: bool },
    /// Nothing: the hold is lost.
    Nothing,
}

/// Lives an attempt. Whatever happens, the slot is free afterwards.
pub(crate) async fn live(held: Held, claimed: ClaimedJob) {
    let executor = &*held.executor;
    let Some(Task { spec, metrics, .. }) = executor.task(&claimed.job.task) else {
        // No lane of a task that is not configured is claimed; the sweep brings such a job only to end it, and a reload may
        // have removed the task while the claim was out.
        return sweep_unknown(executor, &claimed).await;
    };
    let (spec, metrics) = (&*spec, &*metrics);
    let reports = Reports::default();
    Attempt { held: &held, claimed: &claimed, spec, metrics, reports }.live().await;
}

impl Attempt<'_> {
    async fn live(&self) {
        let executor = self.executor();
        executor.permitted().await;
        if self.held.stop() == Some(Stop::Lost) {
            return lost(self.claimed);
        }
        let next = match job::on_claim(&self.claimed.job, executor.now()) {
            OnClaim::End(ending) => end_unstarted(executor, self.claimed, ending),
            OnClaim::Run if executor.holds_back(&self.claimed.job.task) => self.give_back(),
            OnClaim::Run => self.run().await,
        };
        self.write(next).await;
    }

    fn executor(&self) -> &Executor {
        &self.held.executor
    }

    async fn run(&self) -> Next {
        if !self.announce().await {
            return Next::Nothing;
        }
        let began = self.executor().moment();
        let _running = self.metrics.start(self.claimed.due, began.now);
        let ran = match self.held.stop() {
            Some(stop) => Err(stop),
            None => self.work(began.now, began.wall).await,
        };
        let now = self.executor().now();
        self.metrics.attempt_seconds.observe(now.since(began.now).as_secs_f64());
        match ran {
            Ok(ran) => self.decide(ran),
            Err(Stop::Cancel) => self.decide_work(Work::Stopped, None),
            Err(Stop::GiveBack) => self.give_back(),
            Err(Stop::Lost) => Next::Nothing,
        }
    }

    /// Writes `job.started`, if somebody asked for it. Every attempt does: repeated it changes nothing, and an attempt
    /// that died between its claim and this write leaves it to the next. False: the hold is lost.
    async fn announce(&self) -> bool {
        let (job, executor) = (&self.claimed.job, self.executor());
        if !job.callbacks.ask_for(EventKind::JobStarted) && !executor.engine().hears_of_starts(job.tenant) {
            return true;
        }
        let at = executor.moment();
        let event = Event::started(job, at.wall, &executor.links(job, at.wall));
        let announce = Announce { job: job.clone(), hold: self.claimed.hold, event, at };
        let written = executor.insist("announce", || executor.engine().announce(announce.clone())).await;
        written == Some(Written::Done)
    }

    /// Does the work, for as long as it may take and nobody stops it.
    async fn work(&self, began: Timestamp, wall: Timestamp) -> Result<Ran, Stop> {
        let (job, input) = (&self.claimed.job, &self.claimed.input);
        let deadline = began + job.timeout;
        let ran = match &self.spec.run {
            Run::Echo => Ok(runner::echo::run(input)),
            Run::Fail => Ok(runner::fail::run(input, job.attempt())),
            Run::Sleep => self.within(deadline, runner::sleep::run(self.executor(), began, input)).await,
            Run::Http(upstream) => {
                let call = runner::http::Call {
                    executor: self.executor(),
                    upstream,
                    job,
                    input,
                    deadline: wall + job.timeout,
                    max_result: self.spec.max_result,
                };
                // Boxed, so that the attempts of other kinds stay small.
                self.within(deadline, Box::pin(call.run())).await
            }
            Run::Command(command) => {
                let call = runner::command::Call {
                    held: self.held,
                    command,
                    claimed: self.claimed,
                    deadline,
                    shown_deadline: wall + job.timeout,
                    max_result: self.spec.max_result,
                    reports: &self.reports,
                };
                // It hears of stops and the deadline itself: a process takes time to end.
                self.reporting(Box::pin(call.run())).await
            }
        }?;
        Ok(match ran {
            Ran::Done { bytes, .. } if bytes.len() as u64 > self.spec.max_result => {
                Ran::Failed(JobError::result_too_large(self.spec.max_result))
            }
            ran => ran,
        })
    }

    /// Writes what the work says of itself until it has ended.
    async fn reporting<T>(&self, work: impl Future<Output = T>) -> T {
        let write = Box::pin(self.reports.write(self.executor(), self.claimed));
        tokio::select! {
            biased;
            ran = work => ran,
            never = write => match never {},
        }
    }

    /// Work that has an answer is heard before a stop or the deadline.
    async fn within(&self, deadline: Timestamp, work: impl Future<Output = Ran>) -> Result<Ran, Stop> {
        tokio::select! {
            biased;
            ran = work => Ok(ran),
            stop = self.held.stopped() => Err(stop),
            () = self.executor().sleep_until(deadline) => {
                Ok(Ran::Retry { error: JobError::timed_out(self.claimed.job.timeout), after: None })
            }
        }
    }

    fn decide(&self, ran: Ran) -> Next {
        match ran {
            Ran::Done { content_type, bytes } => {
                self.decide_work(Work::Done(job::JobResult::of(&content_type, &bytes)), Some(bytes))
            }
            Ran::Retry { error, after } => self.decide_work(Work::Retry { error, after }, None),
            Ran::Failed(error) => self.decide_work(Work::Failed(error), None),
        }
    }

    fn decide_work(&self, work: Work, result: Option<Arc<[u8]>>) -> Next {
        let (job, executor) = (&self.claimed.job, self.executor());
        let canceled = self.held.stop() == Some(Stop::Cancel);
        let at = executor.moment();
        match job::after_attempt(job, canceled, work, &self.spec.retry, at.now, executor.dice().roll()) {
            AfterAttempt::Again { due } => Next::Back { due, counted: true },
            AfterAttempt::End(ending) => {
                let ended = Ended {
                    attempt: job.attempt(),
                    started_at: job.started_at(),
                    finished_at: at.wall,
                    ending,
                };
                Next::End { ended, result }
            }
        }
    }

    fn give_back(&self) -> Next {
        Next::Back { due: self.executor().now(), counted: false }
    }

    async fn write(&self, next: Next) {
        let executor = self.executor();
        match next {
            Next::Nothing => lost(self.claimed),
            Next::Back { due, counted } => {
                if counted {
                    self.metrics.retried.inc();
                }
                requeue(executor, self.claimed, due, counted).await;
            }
            Next::End { ended, result } => {
                let status = ended.ending.status();
                if finish(executor, self.claimed, ended, result, self.reports.latest()).await {
                    self.metrics.ended(status);
                }
            }
        }
    }
}

/// The end of a job whose claim was not followed by a start: that attempt does not count.
fn end_unstarted(executor: &Executor, claimed: &ClaimedJob, ending: Ending) -> Next {
    let attempt = claimed.job.attempt().saturating_sub(1);
    let started_at = claimed.job.started_at().filter(|_| attempt > 0);
    Next::End {
        ended: Ended { attempt, started_at, finished_at: executor.moment().wall, ending },
        result: None,
    }
}

/// A job whose task is not configured here: ended if it is over, else put back for when its task returns.
async fn sweep_unknown(executor: &Executor, claimed: &ClaimedJob) {
    executor.permitted().await;
    match job::on_claim(&claimed.job, executor.now()) {
        OnClaim::Run => requeue(executor, claimed, executor.now(), false).await,
        OnClaim::End(ending) => {
            if let Next::End { ended, result } = end_unstarted(executor, claimed, ending) {
                finish(executor, claimed, ended, result, None).await;
            }
        }
    }
}

/// Ends the job with its event. False: the hold is lost, and nothing changed.
async fn finish(
    executor: &Executor,
    claimed: &ClaimedJob,
    ended: Ended,
    result: Option<Arc<[u8]>>,
    progress: Option<Arc<Progress>>,
) -> bool {
    let at = executor.moment();
    let job = Job { progress, ..claimed.job.clone() };
    let links = executor.links(&job, at.wall);
    let event = Event::ended(EventId::new(at.now, executor.dice().bits()), &job, &ended, &links);
    let guard = Guard::Held(claimed.hold);
    let status = ended.ending.status();
    let finish = Finish { job, guard, ended, result, event, links, at };
    let written = executor.insist("finish", || executor.engine().finish(finish.clone())).await;
    match written {
        Some(Written::Done) => log_end(claimed, status),
        Some(Written::LeaseLost) => lost(claimed),
        None => {}
    }
    written == Some(Written::Done)
}

async fn requeue(executor: &Executor, claimed: &ClaimedJob, due: Timestamp, counted: bool) {
    let requeue = Requeue { hold: claimed.hold, due, counted };
    match executor.insist("requeue", || executor.engine().requeue(requeue)).await {
        Some(Written::Done) => {
            let (job, attempt) = (claimed.job.id, claimed.hold.attempt);
            tracing::debug!(%job, attempt, %due, counted, "job queued again");
        }
        Some(Written::LeaseLost) => lost(claimed),
        None => {}
    }
}

fn log_end(claimed: &ClaimedJob, status: Status) {
    let (job, task, attempt) = (claimed.job.id, &claimed.job.task, claimed.hold.attempt);
    match status {
        Status::Succeeded => tracing::debug!(%job, %task, attempt, %status, "job ended"),
        _ => tracing::info!(%job, %task, attempt, %status, "job ended"),
    }
}

fn lost(claimed: &ClaimedJob) {
    let (job, attempt) = (claimed.job.id, claimed.hold.attempt);
    tracing::info!(%job, attempt, "lease lost: the attempt's end was not written");
}
