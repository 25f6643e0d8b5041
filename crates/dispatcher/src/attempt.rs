//! The life of one attempt: signed, sent, closed, decided upon, settled. Its row has been on stable storage since before
//! it got here.

use std::{sync::Arc, time::Duration};

use domain::{
    chance::Moment,
    delivery::{Attempt, Delivery, Next, Outcome, Rules, State, Trigger, after_attempt, rules_for},
    event::{Event, EventKind},
    lane::{Answer, Heard, Lane, Sign},
    retry_after,
    time::Timestamp,
};
use storage::{ClaimedDelivery, DeliveryHold, Settle, StorageError, Written};

use crate::{
    Dispatcher, Request, Sent,
    desk::{DELIVERIES, Said, Unsettled},
    message::{Stamp, build},
};

/// One attempt, to its settlement.
pub(crate) async fn run(dispatcher: Arc<Dispatcher>, delivery: ClaimedDelivery) {
    let slot = Slot::new(dispatcher, delivery.hold, delivery.trigger == Trigger::Probe);
    let dispatcher = &slot.dispatcher;
    let begun = Moment::of(&*dispatcher.clock);
    let request = sign(dispatcher, &delivery, begun).await;
    // The last moment at which it may still not be sent: another node may be about to take it over.
    if !dispatcher.may_act() {
        return slot.put_back(delivery);
    }
    let mut sent = match request {
        Ok(request) => dispatcher.transport.send(request).await,
        Err(ours) => ours,
    };
    sent.timings.queue = Some(begun.now.since(delivery.due).as_micros() as f64 / 1_000.0);
    let ended = Moment::of(&*dispatcher.clock);
    let dispatcher = slot.answered(said(&delivery, &sent, ended), ended.now);
    let settle = close(&dispatcher, &delivery, sent);
    self::settle(dispatcher, settle, 0).await;
}

/// The request, or why there is none: nothing of the receiver's doing.
async fn sign(dispatcher: &Dispatcher, delivery: &ClaimedDelivery, at: Moment) -> Result<Request, Sent> {
    let ours = |error: &dyn std::error::Error| {
        tracing::error!(delivery = %delivery.hold.delivery, %error, "delivery_not_signed");
        Sent::failed(Outcome::LocalResource, error.to_string())
    };
    let id = delivery.event.to_string();
    let signature = dispatcher.signer.sign(delivery, &id, at).await.map_err(|error| ours(&error))?;
    let span = if delivery.traceparent.is_some() { dispatcher.dice.bits() as u64 } else { 0 };
    let timeout = delivery.target.timeout_or(dispatcher.rules.timeout);
    let headers = dispatcher.signer.headers(delivery).map_err(|error| ours(&error))?;
    let stamp = Stamp { id, wall: at.wall, signature, headers, span, timeout };
    build(delivery, stamp).map_err(|error| ours(&error))
}

/// Milliseconds. An answer this quick comes while a commit or two are written: its lane would wait for its claims.
const QUICK: f64 = 100.0;

/// What the attempt says about how much its lane can take.
fn answer(sent: &Sent) -> Answer {
    match (sent.outcome, sent.status) {
        (Outcome::Delivered, _) if sent.timings.total.is_some_and(|ms| ms <= QUICK) => Answer::Quick,
        (Outcome::Delivered, _) => Answer::Good,
        (Outcome::HttpStatus, Some(429 | 503)) => Answer::Bad,
        (
            Outcome::HttpStatus | Outcome::Interrupted | Outcome::LocalResource | Outcome::AddressBlocked,
            _,
        ) => Answer::Neutral,
        // No answer at all.
        _ => Answer::Bad,
    }
}

/// How long an endpoint is left alone that said 429 or 503 and not for how long, and at most.
const REST: Duration = Duration::from_secs(60);

/// What the attempt says of its lane.
fn said(delivery: &ClaimedDelivery, sent: &Sent, at: Moment) -> Said {
    let lane = delivery.hold.lane;
    let own = delivery.endpoint.as_ref().map(|endpoint| Lane::of_endpoint(endpoint.id));
    let sign = match sent.outcome {
        Outcome::Delivered => Sign::Taken,
        outcome if outcome.is_ours() || outcome == Outcome::AddressBlocked => Sign::None,
        // One URL's 500 says nothing of its neighbours on that host.
        Outcome::HttpStatus if own.is_none() => Sign::There,
        _ => Sign::Fails,
    };
    // What goes beside the lane waits for no breaker, and so opens none.
    let in_its_own = own.is_none_or(|own| own == lane);
    let sign = if in_its_own || sign == Sign::Taken { sign } else { Sign::None };
    let rests = own == Some(lane) && matches!(sent.status, Some(429 | 503));
    Said {
        lane,
        beside: own.filter(|_| !in_its_own),
        heard: Heard { answer: answer(sent), sign, probe: delivery.trigger == Trigger::Probe },
        rest: rests.then(|| asked_for(sent, at).map_or(REST, |asked| asked.min(REST))),
    }
}

/// What the receiver's 429 or 503 asked for.
fn asked_for(sent: &Sent, at: Moment) -> Option<Duration> {
    let asked = matches!(sent.status, Some(429 | 503)).then(|| sent.header("retry-after")).flatten()?;
    retry_after::parse(asked.as_bytes(), at.wall)
}

/// The attempt as its row will say, and what follows it.
fn close(dispatcher: &Dispatcher, delivery: &ClaimedDelivery, sent: Sent) -> Settle {
    let at = Moment::of(&*dispatcher.clock);
    let floor = asked_for(&sent, at);
    let attempt = Attempt {
        number: delivery.hold.attempt,
        trigger: delivery.trigger,
        started_at: delivery.started_at,
        ended_at: at.wall.max(delivery.started_at),
        outcome: sent.outcome,
        status: sent.status,
        error: sent.error,
        remote_address: sent.remote_address,
        timings_ms: sent.timings,
        response: sent.response,
    };
    let roll = if attempt.outcome == Outcome::Delivered { 0.0 } else { dispatcher.dice.roll() };
    let decide = |rules: &Rules| {
        let rules = rules_for(delivery.kind, rules);
        after_attempt(delivery.progress, &attempt, floor, &rules, at.now, roll)
    };
    let next = match own_rules(dispatcher, delivery) {
        Some(own) => decide(&own),
        None => decide(&dispatcher.rules),
    };
    dispatcher.metrics.closed(&attempt);
    let endpoint = delivery.endpoint.as_ref().map(|endpoint| endpoint.id);
    let dead_letter = dead_letter(delivery, &next, at);
    let not_before = floor.map(|floor| at.now + floor);
    Settle { hold: delivery.hold, attempt, next, endpoint, not_before, dead_letter, at }
}

/// `delivery.failed`, if this makes it a dead letter. None about a dead letter of that kind, which would go round in
/// circles, and none about what carries no number, which somebody tried by hand.
fn dead_letter(delivery: &ClaimedDelivery, next: &Next, at: Moment) -> Option<Event> {
    let Next::Failed(reason) = *next else { return None };
    let unnumbered = delivery.endpoint.as_ref().is_some_and(|endpoint| endpoint.sequence.is_none());
    if unnumbered || delivery.kind == EventKind::DeliveryFailed {
        return None;
    }
    let failed = Delivery {
        id: delivery.hold.delivery,
        tenant: delivery.hold.tenant,
        event: delivery.event,
        kind: delivery.kind,
        job: delivery.job,
        endpoint: delivery.endpoint.as_ref().map(|endpoint| endpoint.id),
        sequence: delivery.endpoint.as_ref().and_then(|endpoint| endpoint.sequence),
        lane: delivery.hold.lane,
        url: delivery.target.url.clone(),
        created_at: delivery.created_at,
        attempt: delivery.hold.attempt,
        state: State::Failed { finished_at: at.wall, reason },
    };
    Some(Event::delivery_failed(&failed, at.wall))
}

/// The callback's rules where it brought any.
fn own_rules(dispatcher: &Dispatcher, delivery: &ClaimedDelivery) -> Option<Rules> {
    let target = &delivery.target;
    (target.retry.is_some() || target.timeout.is_some()).then(|| Rules {
        retry: target.retry.as_ref().unwrap_or(&dispatcher.rules.retry).clone(),
        timeout: target.timeout_or(dispatcher.rules.timeout),
    })
}

/// Writes the settlement. What storage refuses is repeated until it takes it, or says that it is somebody else's. A success
/// of a lane that is being brought forward waits for that ([`crate::forward`]).
pub(crate) async fn settle(dispatcher: Arc<Dispatcher>, settle: Settle, refusals: u32) {
    let Some(Unsettled { settle, refusals }) = dispatcher.desk().forward.keep(Unsettled { settle, refusals })
    else {
        return;
    };
    if !dispatcher.may_act() {
        let due = dispatcher.look_again();
        return settle_later(&dispatcher, due, Unsettled { settle, refusals });
    }
    match dispatcher.engine.settle(settle.clone()).await {
        Ok(written) => {
            log(&settle, written);
            if written == Written::Done {
                dispatcher.metrics.settled(&settle.next);
            }
            if !matches!(settle.next, Next::Again { .. }) {
                let now = dispatcher.clock.now();
                let mut desk = dispatcher.desk();
                desk.lanes.settled(settle.hold.lane, DELIVERIES, now);
                if desk.is_overslept() {
                    dispatcher.bell.notify_one();
                }
            }
            release(&dispatcher, &settle.hold);
        }
        Err(StorageError::Closed) => release(&dispatcher, &settle.hold),
        Err(error @ StorageError::BadRow { .. }) => {
            // Repeating it would meet the same row. Giving it back makes it due, where a later version can read it.
            tracing::error!(delivery = %settle.hold.delivery, %error, "delivery_not_settled");
            release(&dispatcher, &settle.hold);
            dispatcher.desk().doubt(dispatcher.look_again());
            dispatcher.bell.notify_one();
        }
        Err(error) => {
            if refusals == 0 {
                tracing::warn!(delivery = %settle.hold.delivery, %error, "settlement_refused");
            }
            dispatcher.metrics.repeats.inc();
            let due = dispatcher.clock.now() + dispatcher.patience(refusals);
            settle_later(&dispatcher, due, Unsettled { settle, refusals: refusals.saturating_add(1) });
        }
    }
}

fn settle_later(dispatcher: &Dispatcher, due: Timestamp, unsettled: Unsettled) {
    let mut desk = dispatcher.desk();
    desk.settle_later(due, unsettled);
    if desk.is_overslept() {
        dispatcher.bell.notify_one();
    }
}

fn release(dispatcher: &Dispatcher, hold: &DeliveryHold) {
    let mut desk = dispatcher.desk();
    desk.held.remove(&hold.delivery);
    if desk.is_idle() {
        dispatcher.quiet.notify_waiters();
    }
}

fn log(settle: &Settle, written: Written) {
    let Settle { hold, attempt, next, at, .. } = settle;
    let lost = written == Written::LeaseLost;
    let again_in = match next {
        Next::Again { due, .. } => Some(due.since(at.now)),
        _ => None,
    };
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                delivery = %hold.delivery,
                attempt = attempt.number,
                outcome = attempt.outcome.name(),
                status = attempt.status,
                error = attempt.error,
                ms = attempt.timings_ms.total,
                again_in_ms = again_in.as_ref().map(|wait: &Duration| wait.as_millis() as u64),
                failed = matches!(next, Next::Failed(_)),
                lease_lost = lost,
                "attempt_settled"
            )
        };
    }
    // A busy server delivers thousands a second: that all is well is for the metrics to say.
    if attempt.outcome == Outcome::Delivered && !lost { line!(debug) } else { line!(info) }
}

/// A slot of the lane, taken until the receiver has answered. An attempt that ends in a panic gives it back too, and has
/// storage close what it left open.
struct Slot {
    dispatcher: Arc<Dispatcher>,
    hold: DeliveryHold,
    probe: bool,
    taken: bool,
}

impl Slot {
    fn new(dispatcher: Arc<Dispatcher>, hold: DeliveryHold, probe: bool) -> Self {
        dispatcher.metrics.in_flight.inc();
        Self { dispatcher, hold, probe, taken: true }
    }

    fn answered(mut self, said: Said, now: Timestamp) -> Arc<Dispatcher> {
        self.free(said, now);
        self.dispatcher.clone()
    }

    /// Not begun: back to where the next step finds it, unless it was given up meanwhile.
    fn put_back(mut self, delivery: ClaimedDelivery) {
        if !self.dispatcher.desk().held.contains(&self.hold.delivery) {
            return self.free_unheard();
        }
        self.taken = false;
        self.dispatcher.metrics.in_flight.dec();
        self.dispatcher.desk().recall(delivery);
        self.dispatcher.bell.notify_one();
    }

    fn free_unheard(&mut self) {
        self.free(Said::nothing(self.hold.lane, self.probe), self.dispatcher.clock.now());
    }

    /// The next of the lane goes in its place.
    fn free(&mut self, said: Said, now: Timestamp) {
        self.taken = false;
        self.dispatcher.metrics.in_flight.dec();
        let mut desk = self.dispatcher.desk();
        let (next, back) = desk.heard(said, now);
        if desk.is_overslept() {
            self.dispatcher.bell.notify_one();
        }
        drop(desk);
        next.into_iter().for_each(|next| self.dispatcher.begin(next));
        self.dispatcher.put_back(back);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.taken {
            self.free_unheard();
            let mut desk = self.dispatcher.desk();
            desk.held.remove(&self.hold.delivery);
            desk.doubt(self.dispatcher.clock.now());
            self.dispatcher.bell.notify_one();
        }
    }
}
