//! Everybody who calls the API: submits, cancels, resends, rotates the secret, in the way that `api` would.

use std::{sync::Arc, time::Duration};

use domain::{
    callback::{Callback, Callbacks, With},
    callback_url::CallbackUrl,
    chance::{Dice, Moment},
    duration::Span,
    event::{Event, EventKind, EventSet},
    id::{DeliveryId, EventId, JobId, Tenant},
    job::{Ended, Ending, Job, Links, Priority, State},
    retry::RetryPolicy,
    seal::Place,
    secret::Secret,
    task::TaskName,
    time::Timestamp,
};
use serde_json::value::RawValue;
use storage::{
    Attach, Attached, Cancel, Canceled, Deleted, DeliveryCanceled, DeliveryFilter, Finish, Guard,
    Idempotency, Resent, StorageError, Submit, Submitted,
};

use super::{
    World,
    check::Sent,
    node::{links, vault},
};
use crate::SeededDice;

/// What there is to submit.
const TASKS: [&str; 4] = ["echo", "sleep", "fail", "http"];

const TENANT: Tenant = Tenant::DEFAULT;

/// What the callers know.
pub(super) struct People {
    dice: SeededDice,
    jobs: Vec<JobId>,
    /// Requests sent under a key, to be sent again.
    keyed: Vec<Submit>,
}

impl Default for People {
    fn default() -> Self {
        Self::new(SeededDice::new(0))
    }
}

impl People {
    pub(super) fn new(dice: SeededDice) -> Self {
        Self { dice, jobs: Vec::new(), keyed: Vec::new() }
    }

    pub(super) fn act(&mut self, world: &mut World<'_>) {
        match self.dice.below(27) {
            0..=11 => self.submit(world),
            12 | 13 => self.submit_again(world),
            14..=16 => self.cancel(world),
            17 | 18 => self.resend(world),
            19 => self.rotate(world),
            20..=22 => self.attach(world),
            23 => self.delete(world),
            24 | 25 => self.pause(world),
            _ => self.cancel_delivery(world),
        }
    }

    fn submit(&mut self, world: &mut World<'_>) {
        let at = world.moment();
        let (job, input) = self.job(at);
        let due = match job.state {
            State::Queued { run_at: Some(run_at), .. } => run_at,
            _ => at.now,
        };
        let mut submit = Submit { job, input: input.into(), due, idempotency: None, at };
        if self.dice.below(3) == 0 {
            let mut digest = [0; 16];
            self.dice.fill(&mut digest);
            submit.idempotency = Some(Idempotency { digest, fingerprint: [1; 32] });
            self.keyed.push(submit.clone());
        }
        self.send(world, submit);
    }

    /// The same request under the same key, or another one under it.
    fn submit_again(&mut self, world: &mut World<'_>) {
        if self.keyed.is_empty() {
            return;
        }
        let first = self.dice.pick(&self.keyed).clone();
        let at = world.moment();
        let id = JobId::new(at.now, self.dice.bits());
        let mut submit = Submit { job: Job { id, created_at: at.wall, ..first.job }, at, ..first };
        if self.dice.below(4) == 0 {
            submit.idempotency = submit.idempotency.map(|key| Idempotency { fingerprint: [2; 32], ..key });
        }
        self.send(world, submit);
    }

    /// Now and then the answer is lost on its way back: to the caller it is as if nothing had been said.
    fn send(&mut self, world: &mut World<'_>, submit: Submit) {
        let engine = world.node().engine.clone();
        let answer = world.driver.block_on(engine.submit(submit.clone()));
        let lost = self.dice.below(12) == 0;
        let (key, id) = (submit.idempotency, submit.job.id);
        world.note(format!(
            "submit {id} {} key {:?} -> {}{}",
            submit.job.task,
            key.map(|key| key.fingerprint[0]),
            shown(&answer),
            if lost { " (answer lost)" } else { "" }
        ));
        if let Ok(Submitted::Accepted(_)) = &answer {
            self.jobs.push(id);
        }
        world.checks.sent.push(Sent { submit, answer: answer.ok().filter(|_| !lost) });
    }

    fn job(&self, at: Moment) -> (Job, String) {
        let dice = &self.dice;
        let (task, input) = match dice.below(8) {
            0 | 1 => ("echo", r#"{"price": 1.10, "n": 1e400}"#.to_owned()),
            2 => ("echo", format!("\"{}\"", "y".repeat(dice.below(6_000) as usize))),
            3 => ("sleep", format!(r#"{{"for": "{}s"}}"#, 1 + dice.below(90))),
            4 => ("fail", r#"{"times": 1}"#.to_owned()),
            5 => ("fail", if dice.below(2) == 0 { "null".into() } else { r#"{"permanent": true}"#.into() }),
            _ => ("http", format!(r#"{{ "order": {} }}"#, dice.below(1_000))),
        };
        let later = |dice: &SeededDice| at.now + Duration::from_secs(1 + dice.below(120));
        let run_at = (dice.below(6) == 0).then(|| later(dice));
        let id = JobId::new(at.now, dice.bits());
        let job = Job {
            id,
            tenant: TENANT,
            task: task.parse().expect("a task's name"),
            priority: Priority::new(*dice.pick(&[0, 5, 5, 5, 9])).expect("a priority"),
            timeout: Duration::from_secs(*dice.pick(&[5, 60, 600])),
            max_attempts: *dice.pick(&[1, 3, 3, 5]),
            metadata: Arc::from(RawValue::from_string(r#"{"who":"me"}"#.into()).expect("JSON")),
            traceparent: (dice.below(3) == 0)
                .then(|| "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
            callbacks: self.callbacks(id),
            created_at: at.wall,
            expires_at: (dice.below(7) == 0).then(|| later(dice)),
            cancel_requested_at: None,
            rerun_of: None,
            progress: None,
            state: State::Queued { attempt: 0, run_at, started_at: None },
        };
        (job, input)
    }

    /// Each has a URL of its own, so that whatever comes in names its delivery.
    fn callbacks(&self, job: JobId) -> Callbacks {
        let dice = &self.dice;
        let callback = |place: u64| {
            let events = match dice.below(4) {
                0 => EventKind::ALL.iter().copied().collect(),
                1 => [EventKind::JobFailed].into_iter().collect(),
                _ => EventSet::TERMINAL,
            };
            self.callback(job, place, events)
        };
        Callbacks::new((0..dice.below(4)).map(callback).collect())
    }

    fn callback(&self, job: JobId, place: u64, events: EventSet) -> Callback {
        let dice = &self.dice;
        Callback {
            url: CallbackUrl::stored(&format!(
                "https://{}.example/{job}/{place}",
                dice.pick(&["a", "b", "c"])
            ))
            .expect("a URL"),
            events,
            headers: None,
            secret: None,
            retry: (dice.below(3) == 0).then(|| RetryPolicy::Schedule {
                delays: vec![Duration::from_secs(2), Duration::from_secs(5)],
                jitter: 0.2,
            }),
            timeout: (dice.below(5) == 0).then_some(Span(Duration::from_secs(4))),
        }
    }

    fn cancel(&mut self, world: &mut World<'_>) {
        if self.jobs.is_empty() {
            return;
        }
        let id = *self.dice.pick(&self.jobs);
        let engine = world.node().engine.clone();
        for _ in 0..3 {
            let job = world.driver.block_on(engine.job(TENANT, id)).expect("it reads").expect("it is there");
            if job.ended().is_some() {
                return;
            }
            let finish = self.canceled(job, world.moment());
            let answer = world.driver.block_on(engine.cancel(Cancel { finish })).expect("it cancels");
            world.note(format!("cancel {id} -> {answer:?}"));
            if answer != Canceled::Changed {
                return;
            }
        }
    }

    fn canceled(&self, job: Job, at: Moment) -> Finish {
        let (attempt, started_at) = (job.attempt(), job.started_at());
        let links = Links::signed("https://ringback.example", job.id, &links(), at.wall);
        let ended = Ended { attempt, started_at, finished_at: at.wall, ending: Ending::Canceled };
        let event = Event::ended(EventId::new(at.now, self.dice.bits()), &job, &ended, &links);
        Finish { guard: Guard::Queued { attempt }, job, ended, result: None, event, links, at }
    }

    fn resend(&mut self, world: &mut World<'_>) {
        let Some(id) = self.some_delivery(world) else { return };
        let (engine, at) = (world.node().engine.clone(), world.moment());
        let answer = world.driver.block_on(engine.resend(TENANT, id, at)).expect("it resends");
        world.note(format!("resend {id} -> {answer:?}"));
        if answer == Resent::Due {
            *world.checks.resent.entry(id).or_default() += 1;
        }
    }

    fn cancel_delivery(&mut self, world: &mut World<'_>) {
        let Some(id) = self.some_delivery(world) else { return };
        let (engine, at) = (world.node().engine.clone(), world.moment());
        let answer = world.driver.block_on(engine.cancel_delivery(TENANT, id, at)).expect("it cancels");
        world.note(format!("cancel delivery {id} -> {answer:?}"));
        if answer == DeliveryCanceled::Done {
            world.checks.canceled.insert(id);
        }
    }

    /// A task is paused, or goes on.
    fn pause(&mut self, world: &mut World<'_>) {
        let task: TaskName = self.dice.pick(&TASKS).parse().expect("a task's name");
        let (engine, at) = (world.node().engine.clone(), world.moment());
        let paused = world.driver.block_on(engine.paused_tasks()).expect("it reads").contains(&task);
        let set = async {
            if paused {
                engine.resume_task(task.clone()).await
            } else {
                engine.pause_task(task.clone(), at.wall).await
            }
        };
        world.driver.block_on(set).expect("it is written");
        world.note(format!("{task} paused: {}", !paused));
    }

    /// Nothing is paused any more.
    pub(super) fn resume_all(world: &mut World<'_>) {
        let engine = world.node().engine.clone();
        for task in TASKS {
            let task = task.parse().expect("a task's name");
            world.driver.block_on(engine.resume_task(task)).expect("it is written");
        }
    }

    fn delete(&mut self, world: &mut World<'_>) {
        if self.jobs.is_empty() {
            return;
        }
        let id = *self.dice.pick(&self.jobs);
        let (engine, at) = (world.node().engine.clone(), world.moment());
        let answer = world.driver.block_on(engine.delete_job(TENANT, id, at)).expect("it deletes");
        world.note(format!("delete {id} -> {answer:?}"));
        if answer == Deleted::Done {
            self.jobs.retain(|job| *job != id);
            world.checks.deleted.insert(id);
        }
    }

    /// One more callback, at any point of a job's life.
    fn attach(&mut self, world: &mut World<'_>) {
        if self.jobs.is_empty() {
            return;
        }
        let id = *self.dice.pick(&self.jobs);
        let (engine, at) = (world.node().engine.clone(), world.moment());
        let job = world.driver.block_on(engine.job(TENANT, id)).expect("it reads").expect("it is there");
        let place = job.callbacks.iter().count() as u64;
        let events = if self.dice.below(4) == 0 {
            [EventKind::JobFailed].into_iter().collect()
        } else {
            EventSet::TERMINAL
        };
        let With::Added(callbacks) = job.callbacks.with(self.callback(id, place, events)) else { return };
        let answer = world
            .driver
            .block_on(engine.attach_callback(Attach { job, callbacks, at }))
            .expect("it attaches");
        world.note(format!("attach {place} to {id} -> {answer:?}"));
        if answer != Attached::Done {
            world.checks.broken(format!("nothing came between, and attaching to {id} came to {answer:?}"));
        }
    }

    fn some_delivery(&self, world: &World<'_>) -> Option<DeliveryId> {
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
        let engine = world.node().engine.clone();
        let page = world.driver.block_on(engine.deliveries(filter)).expect("it lists");
        (!page.items.is_empty()).then(|| self.dice.pick(&page.items).id)
    }

    fn rotate(&mut self, world: &mut World<'_>) {
        let mut bytes = [0; 32];
        self.dice.fill(&mut bytes);
        let secret = Secret::from_bytes(bytes);
        let sealed = Place::Tenant(TENANT).seal(&vault(), &secret, [2; 24]);
        let until: Timestamp = world.moment().wall + Duration::from_secs(self.dice.below(100));
        let engine = world.node().engine.clone();
        let rotated = world.driver.block_on(engine.rotate_signing_secret(TENANT, sealed, until));
        world.note(format!("rotate -> {}", rotated.is_ok_and(|secrets| secrets.is_some())));
        world.checks.secrets.push(secret);
    }
}

fn shown(answer: &Result<Submitted, StorageError>) -> String {
    match answer {
        Ok(Submitted::Accepted(job)) => format!("accepted, {}", job.status()),
        Ok(other) => format!("{other:?}"),
        Err(error) => error.to_string(),
    }
}
