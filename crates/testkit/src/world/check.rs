//! What must hold, whatever happened: I1 to I9 and I11 on what is there in the end and on what the outside got, I10 on
//! when it got it.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use domain::{
    callback::Callbacks,
    delivery::{Attempt, Delivery, Outcome, Reason, State, Status, Trigger},
    event::EventKind,
    id::{DeliveryId, JobId, Tenant},
    job::Job,
    retry::RetryPolicy,
    secret::Secret,
    signature,
};
use storage::{DeliveryDetail, DeliveryFilter, Engine, JobFilter, Submit, Submitted};

use super::{
    node::rules,
    outside::{Called, Received},
};
use crate::SeededDice;

const TENANT: Tenant = Tenant::DEFAULT;

/// A submission, and what its caller heard; `None` if nothing.
pub(super) struct Sent {
    pub(super) submit: Submit,
    pub(super) answer: Option<Submitted>,
}

#[derive(Default)]
pub(super) struct Checks {
    pub(super) sent: Vec<Sent>,
    pub(super) resent: HashMap<DeliveryId, usize>,
    pub(super) canceled: HashSet<DeliveryId>,
    pub(super) deleted: HashSet<JobId>,
    /// All that ever signed.
    pub(super) secrets: Vec<Secret>,
    /// What ended jobs showed.
    ended: HashMap<JobId, String>,
    /// How many closed attempts a delivery showed, and whether it had failed, at how many resends.
    seen: HashMap<DeliveryId, (usize, Option<usize>)>,
    broken: Vec<String>,
}

impl Checks {
    pub(super) fn broken(&mut self, what: String) {
        self.broken.push(what);
    }

    pub(super) fn into_broken(self) -> Vec<String> {
        self.broken
    }

    fn must(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.broken.push(what());
        }
    }

    /// I11: nobody who polls sees a terminal state left, an attempt vanish or a result change.
    pub(super) async fn watch(&mut self, engine: &Arc<dyn Engine>, dice: &SeededDice) {
        let jobs = all_jobs(engine).await;
        if !jobs.is_empty() {
            let job = dice.pick(&jobs);
            let shown = ending(job);
            let before = self.ended.get(&job.id).cloned();
            if let Some(before) = before {
                self.must(before == shown, || {
                    format!("I11: {} ended as {before} and is now {shown}", job.id)
                });
            } else if job.ended().is_some() {
                self.ended.insert(job.id, shown);
            }
        }
        let deliveries = all_deliveries(engine).await;
        if !deliveries.is_empty() {
            let id = dice.pick(&deliveries).id;
            let detail = engine.delivery(TENANT, id).await.ok().flatten();
            if let Some(detail) = detail {
                self.watch_delivery(&detail);
            }
        }
    }

    fn watch_delivery(&mut self, detail: &DeliveryDetail) {
        let id = detail.delivery.id;
        let resends = self.resent.get(&id).copied().unwrap_or(0);
        let (attempts, failed_at) = self.seen.get(&id).copied().unwrap_or_default();
        self.must(detail.attempts.len() >= attempts, || format!("I11: attempts of {id} vanished"));
        let failed = detail.delivery.status() == Status::Failed;
        if let Some(then) = failed_at {
            self.must(failed || resends > then, || format!("I11: {id} left failed by itself"));
        }
        self.seen.insert(id, (detail.attempts.len(), failed.then_some(resends)));
    }

    /// Everything, once all has come to rest.
    pub(super) async fn judge(&mut self, engine: &Arc<dyn Engine>, received: &[Received], called: &[Called]) {
        let jobs = all_jobs(engine).await;
        let mut details = Vec::new();
        for delivery in all_deliveries(engine).await {
            if let Ok(Some(detail)) = engine.delivery(TENANT, delivery.id).await {
                details.push(detail);
            }
        }
        self.submissions(engine, &jobs).await;
        let by_job = |id: JobId| details.iter().filter(move |detail| detail.delivery.job == Some(id));
        for job in &jobs {
            let before = self.ended.get(&job.id).cloned();
            let shown = ending(job);
            self.must(before.is_none_or(|before| before == shown), || format!("I11: {} changed", job.id));
            self.job(job, &by_job(job.id).collect::<Vec<_>>());
        }
        for detail in &details {
            let url = detail.delivery.url.as_str();
            let event = detail.delivery.event.to_string();
            let requests: Vec<&Received> =
                received.iter().filter(|request| request.id == event && request.url == url).collect();
            let job = jobs.iter().find(|job| Some(job.id) == detail.delivery.job);
            self.watch_delivery(detail);
            self.delivery(job, detail, &requests);
        }
        for request in received {
            self.request(request, &details);
        }
        self.executions(called);
    }

    /// I1, I2.
    async fn submissions(&mut self, engine: &Arc<dyn Engine>, jobs: &[Job]) {
        for id in self.deleted.clone() {
            let left = engine.tombstone(Some(TENANT), id).await.ok().flatten();
            let gone = !jobs.iter().any(|job| job.id == id);
            self.must(left.is_some() && gone, || format!("{id} was deleted and is not gone"));
        }
        let there: HashSet<JobId> =
            jobs.iter().map(|job| job.id).chain(self.deleted.iter().copied()).collect();
        let mut by_key: BTreeMap<[u8; 16], HashSet<JobId>> = BTreeMap::new();
        for Sent { submit, answer } in std::mem::take(&mut self.sent) {
            let id = submit.job.id;
            match &answer {
                Some(Submitted::Accepted(_)) => {
                    self.must(there.contains(&id), || format!("I1: {id} is lost"))
                }
                Some(Submitted::Replayed(first)) => {
                    self.must(there.contains(first) && !there.contains(&id), || {
                        format!("I2: replay of {first}")
                    });
                }
                Some(Submitted::KeyReused) => {
                    self.must(!there.contains(&id), || format!("I2: {id} was refused"))
                }
                None => {}
            }
            if let Some(key) = submit.idempotency.filter(|_| there.contains(&id)) {
                by_key.entry(key.digest).or_default().insert(id);
            }
            if there.contains(&id) && !self.deleted.contains(&id) {
                let input = engine.input(TENANT, id).await.ok().flatten();
                self.must(input.as_deref() == Some(&*submit.input), || {
                    format!("I1: the input of {id} changed")
                });
            }
        }
        for jobs in by_key.into_values() {
            self.must(jobs.len() == 1, || format!("I2: one key made {jobs:?}"));
        }
    }

    /// I3, I4.
    fn job(&mut self, job: &Job, details: &[&DeliveryDetail]) {
        let Some(ended) = job.ended() else {
            return self.broken(format!("I3: {} is still {}", job.id, job.status()));
        };
        let terminal: Vec<_> = details.iter().filter(|detail| detail.delivery.kind.is_terminal()).collect();
        let events: HashSet<_> = terminal.iter().map(|detail| detail.delivery.event).collect();
        let asked = job.callbacks.asking_for(ended.kind()).count();
        self.must(terminal.len() == asked && events.len() == asked.min(1), || {
            format!(
                "I4: {} has {} deliveries of {} events, {asked} asked",
                job.id,
                terminal.len(),
                events.len()
            )
        });
        self.must(terminal.iter().all(|detail| detail.delivery.kind == ended.kind()), || {
            format!("I4: {} ended otherwise than its event says", job.id)
        });
        let started = details.iter().filter(|detail| detail.delivery.kind == EventKind::JobStarted).count();
        let asked = job.callbacks.asking_for(EventKind::JobStarted).count();
        self.must(started == 0 || started == asked, || {
            format!("I4: {} was announced {started} times", job.id)
        });
    }

    /// I4, I5, I7, I8, I10 of one delivery.
    fn delivery(&mut self, job: Option<&Job>, detail: &DeliveryDetail, requests: &[&Received]) {
        let (id, attempts) = (detail.delivery.id, &detail.attempts);
        let numbers: Vec<u32> = attempts.iter().map(|attempt| attempt.number).collect();
        let whole = numbers.iter().copied().eq(1..=detail.delivery.attempt);
        self.must(whole, || format!("I7: attempts of {id} are {numbers:?} of {}", detail.delivery.attempt));
        self.must(requests.len() <= attempts.len(), || {
            format!("I7: {} requests of {id}, {} attempts", requests.len(), attempts.len())
        });
        let answered = |outcome: Outcome| {
            requests.iter().filter(|r| r.answered.as_ref().is_some_and(|a| a.outcome == outcome)).count()
        };
        let recorded = attempts.iter().filter(|attempt| attempt.outcome == Outcome::Delivered).count();
        self.must(recorded <= answered(Outcome::Delivered), || {
            format!("I5: {id} claims more 2xx than there were")
        });
        match detail.delivery.state {
            State::Succeeded { .. } => {
                self.must(recorded > 0, || format!("I5: {id} succeeded without a 2xx"))
            }
            State::Failed { reason, .. } => self.failure(job, &detail.delivery, attempts, reason),
            _ => self.broken(format!("I4: {id} has not ended")),
        }
        self.duplicates(id, requests);
        let resent = self.resent.get(&id).copied().unwrap_or(0);
        if resent == 0 {
            self.spacing(id, &policy(job, &detail.delivery), requests);
        }
    }

    /// I5: failed for the stated reason.
    fn failure(&mut self, job: Option<&Job>, delivery: &Delivery, attempts: &[Attempt], reason: Reason) {
        let id = delivery.id;
        let last = attempts.iter().rev().find(|attempt| !attempt.outcome.is_ours());
        if reason == Reason::Canceled {
            return self.must(self.canceled.contains(&id), || format!("I5: nobody canceled {id}"));
        }
        self.must(last.is_some_and(|last| last.outcome != Outcome::Delivered), || {
            format!("I5: {id} failed after 2xx")
        });
        let holds = match reason {
            Reason::Canceled => true,
            Reason::Gone => last.is_some_and(|last| last.status == Some(410)),
            // The world has no endpoints.
            Reason::EndpointDeleted | Reason::EndpointDisabled => false,
            Reason::Exhausted if self.resent.contains_key(&id) => true,
            Reason::Exhausted => {
                let policy = policy(job, delivery);
                let used = attempts.iter().filter(|attempt| !attempt.outcome.is_ours()).count();
                let too_old = attempts.last().zip(attempts.first()).is_some_and(|(last, first)| {
                    // By the wall clock, which may have jumped by some days: enough to tell it from a mistake.
                    last.ended_at.since(first.started_at) + Duration::from_secs(4 * 86_400)
                        > policy.total(Duration::from_secs(4))
                });
                used == policy.max_attempts() as usize || too_old
            }
        };
        self.must(holds, || format!("I5: {id} did not fail as {reason}"));
    }

    /// I8: no duplicate after a 2xx, unless a fault overlapped it or somebody asked for one.
    fn duplicates(&mut self, id: DeliveryId, requests: &[&Received]) {
        let mut allowed = self.resent.get(&id).copied().unwrap_or(0);
        for (n, request) in requests.iter().enumerate() {
            let Some(answered) = request.answered.as_ref().filter(|a| a.outcome == Outcome::Delivered) else {
                continue;
            };
            let Some(next) = requests.get(n + 1) else { continue };
            let faultless = request.faults == next.faults && answered.faults == next.faults;
            if faultless && allowed == 0 {
                self.broken(format!("I8: {id} was sent again after a 2xx"));
            } else if faultless {
                allowed -= 1;
            }
        }
    }

    /// I10: not before the policy and `Retry-After` say.
    fn spacing(&mut self, id: DeliveryId, policy: &RetryPolicy, requests: &[&Received]) {
        for (n, pair) in requests.windows(2).enumerate() {
            let [first, second] = pair else { continue };
            let Some(answered) = &first.answered else { continue };
            let overlapped = first.faults != second.faults;
            if overlapped || answered.outcome == Outcome::Delivered || answered.outcome.is_ours() {
                continue;
            }
            // Where faults came between, an earlier answer may not have been settled, and used up no step.
            let whole = requests[0].faults == second.faults;
            let counts = |r: &&&Received| r.answered.as_ref().is_some_and(|a| !a.outcome.is_ours());
            let steps = if whole { requests[..=n].iter().filter(counts).count() } else { 1 };
            let least = policy.delay(u32::try_from(steps).unwrap_or(u32::MAX), 0.0).unwrap_or_default();
            let gap = second.now.since(answered.now);
            self.must(gap >= least.max(answered.retry_after), || {
                format!(
                    "I10: {id} was tried again after {gap:?}, not {least:?} or {:?}",
                    answered.retry_after
                )
            });
            let status = answered.status;
            self.must(status != Some(410), || format!("I5: {id} was tried again after 410"));
        }
    }

    /// I6, I7 of one request.
    fn request(&mut self, request: &Received, details: &[DeliveryDetail]) {
        let of = details.iter().find(|detail| {
            detail.delivery.event.to_string() == request.id && detail.delivery.url.as_str() == request.url
        });
        if of.is_none() && self.deleted.iter().any(|job| request.url.contains(&job.to_string())) {
            return;
        }
        let Some(detail) = of else { return self.broken(format!("I7: {} is no delivery", request.id)) };
        self.must(request.body == detail.body.as_bytes(), || format!("I6: other bytes of {}", request.id));
        for name in request.headers.keys() {
            let times = request.headers.get_all(name).iter().count();
            self.must(times == 1, || format!("I6: {name} {times} times"));
        }
        let header = |name: &str| request.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let secrets: Vec<&Secret> = self.secrets.iter().collect();
        let verified = signature::verify(
            header("webhook-id"),
            header("webhook-timestamp"),
            &request.body,
            header("webhook-signature"),
            &secrets,
            request.wall.seconds(),
            Duration::from_secs(1),
        );
        self.must(verified.is_ok(), || format!("I6: {} does not verify: {verified:?}", request.id));
        let by_hand = detail.attempts.iter().filter(|attempt| attempt.trigger == Trigger::Resend).count();
        let asked = self.resent.get(&detail.delivery.id).copied().unwrap_or(0);
        let interrupted = detail.attempts.iter().filter(|a| a.outcome == Outcome::Interrupted).count();
        self.must(by_hand <= asked + interrupted, || format!("I8: {} resent by nobody", request.id));
    }

    /// I8: no attempt's work is asked for twice, unless a fault overlapped it.
    fn executions(&mut self, called: &[Called]) {
        for (n, call) in called.iter().enumerate() {
            let again =
                called[n + 1..].iter().find(|later| later.key == call.key && later.attempt == call.attempt);
            let faultless = again.is_some_and(|again| again.faults == call.faults);
            self.must(!faultless, || format!("I8: attempt {} of {} ran twice", call.attempt, call.key));
        }
    }
}

/// What never changes about a job that has ended. Callbacks may be added to it.
fn ending(job: &Job) -> String {
    format!("{:?}", Job { callbacks: Callbacks::default(), ..job.clone() })
}

/// The policy by which a delivery is retried.
fn policy(job: Option<&Job>, delivery: &Delivery) -> RetryPolicy {
    let callback =
        job.and_then(|job| job.callbacks.iter().find(|(_, callback)| callback.url == delivery.url));
    callback.and_then(|(_, callback)| callback.retry.clone()).unwrap_or_else(|| rules().retry)
}

async fn all_jobs(engine: &Arc<dyn Engine>) -> Vec<Job> {
    let filter = JobFilter {
        tenant: TENANT,
        status: None,
        task: None,
        created_after: None,
        created_before: None,
        before: None,
        limit: 100,
    };
    engine.jobs(filter).await.map(|page| page.items).unwrap_or_default()
}

async fn all_deliveries(engine: &Arc<dyn Engine>) -> Vec<Delivery> {
    let filter = DeliveryFilter {
        tenant: TENANT,
        job: None,
        endpoint: None,
        event: None,
        status: None,
        outcome: None,
        created_after: None,
        created_before: None,
        before: None,
        limit: 100,
    };
    engine.deliveries(filter).await.map(|page| page.items).unwrap_or_default()
}
