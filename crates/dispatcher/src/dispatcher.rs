//! The loop: begins what was handed over, settles again what could not be settled, claims what is due. It awaits
//! nothing itself; whatever takes time is a task that rings the bell when the loop has something to do.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use domain::{
    chance::{Clock, Dice, Moment},
    delivery::Rules,
    fleet::Fleet,
    id::DeliveryId,
    lane::{Ask, Lane},
    time::Timestamp,
    vault::Vault,
};
use storage::{ClaimedDelivery, DeliveryHold, Engine, LaneClaim, Result, StorageError};
use tokio::sync::Notify;

use crate::{
    Transport, attempt,
    desk::{DELIVERIES, Desk, Unsettled},
    metrics::Metrics,
    sign::Signer,
};

/// Rows in one claim: more would make those at its end wait for those before them.
const CLAIM: u32 = 256;
/// While the lease is in doubt, how often we look whether it still is.
const HELD_BACK: Duration = Duration::from_millis(250);
/// After storage refused something, how long it is left alone; up to so many times longer when it goes on refusing.
const REFUSED: Duration = Duration::from_millis(200);
const REFUSED_MOST: Duration = Duration::from_secs(5);

/// What a dispatcher is made of.
pub struct Parts {
    /// Where deliveries are claimed and settled.
    pub engine: Arc<dyn Engine>,
    /// The way out.
    pub transport: Arc<dyn Transport>,
    /// Opens signing secrets.
    pub vault: Arc<Vault>,
    /// Both clocks.
    pub clock: Arc<dyn Clock>,
    /// Jitter and spans.
    pub dice: Arc<dyn Dice>,
    /// For callbacks that bring no rules of their own.
    pub rules: Rules,
    /// Deliveries in flight at once.
    pub max_in_flight: u32,
    /// The most of them in one lane.
    pub per_lane_in_flight: u32,
    /// False while the lease was not renewed for two thirds of its time: then nothing is sent or settled.
    pub may_act: Arc<dyn Fn() -> bool + Send + Sync>,
}

/// The stage of deliveries: attach it to the engine as [`storage::DeliveryTaker`] and [`storage::Listener`], then
/// [`Dispatcher::run`] it.
pub struct Dispatcher {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) dice: Arc<dyn Dice>,
    pub(crate) rules: Rules,
    pub(crate) signer: Signer,
    pub(crate) metrics: Metrics,
    /// Wakes the loop.
    pub(crate) bell: Notify,
    /// Wakes whoever waits for the last delivery in hand to be settled.
    pub(crate) quiet: Notify,
    may_act: Arc<dyn Fn() -> bool + Send + Sync>,
    desk: Mutex<Desk>,
}

impl Dispatcher {
    /// At rest until it is run or stepped.
    pub fn new(parts: Parts) -> Arc<Self> {
        let Parts {
            engine,
            transport,
            vault,
            clock,
            dice,
            rules,
            max_in_flight,
            per_lane_in_flight,
            may_act,
        } = parts;
        Arc::new(Self {
            signer: Signer::new(engine.clone(), vault),
            metrics: Metrics::default(),
            bell: Notify::new(),
            quiet: Notify::new(),
            desk: Mutex::new(Desk::new(max_in_flight, per_lane_in_flight)),
            engine,
            transport,
            clock,
            dice,
            rules,
            may_act,
        })
    }

    /// Adds its counters to a registry without a prefix: their names begin with `ringback_`.
    pub fn register(&self, registry: &mut prometheus_client::registry::Registry) {
        self.metrics.register(registry);
    }

    /// Runs until `stop` is ready. Attempts under way then go on as tasks of their own.
    pub async fn run(self: Arc<Self>, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        loop {
            let next = self.step().await;
            let sleep = async {
                match next {
                    Some(then) => tokio::time::sleep(then.since(self.clock.now())).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = &mut stop => return,
                () = self.bell.notified() => {}
                () = sleep => {}
            }
        }
    }

    /// Does everything that can be done now, and says when to be called again if nothing happens until then.
    pub async fn step(self: &Arc<Self>) -> Option<Timestamp> {
        if !self.may_act() {
            return Some(self.clock.now() + HELD_BACK);
        }
        let now = self.clock.now();
        let (arrived, back, unsettled, to_tell, read_lanes, forward, asks) = {
            let mut desk = self.desk();
            // A node on its way down sends no more; what is out goes on.
            let mut back = if desk.draining { desk.take_back(None) } else { Vec::new() };
            let (arrived, refused) = desk.send_arrived();
            back.extend(refused);
            let to_tell = desk.begin_telling(now);
            let forward = desk.forward.begin(now);
            let asks = if desk.claiming { Vec::new() } else { desk.pick(now, CLAIM) };
            (arrived, back, desk.settle_now(now), to_tell, desk.begin_reading_lanes(now), forward, asks)
        };
        for delivery in arrived {
            self.begin(delivery);
        }
        self.put_back(back);
        for Unsettled { settle, refusals } in unsettled {
            tokio::spawn(attempt::settle(self.clone(), settle, refusals));
        }
        if let Some(held) = to_tell {
            tokio::spawn(self.clone().tell(held));
        }
        for lane in forward {
            tokio::spawn(self.clone().bring_forward(lane));
        }
        if read_lanes {
            tokio::spawn(self.clone().read_lanes());
        }
        if !asks.is_empty() {
            tokio::spawn(self.clone().claim(asks));
        }
        let mut desk = self.desk();
        desk.asleep_until = desk.next();
        desk.asleep_until
    }

    /// Serves the endpoints that are this node's in such a fleet, and no other: those of [`Fleet::serves`]. A dispatcher
    /// that never heard of a fleet serves all.
    pub fn follow(self: &Arc<Self>, fleet: Fleet, node: i64) {
        let back = self.desk().follow(fleet, node);
        self.put_back(back);
        self.bell.notify_one();
    }

    /// No new attempts from now on. What is out goes on, what waits in hand goes back to the queue, and
    /// [`Dispatcher::step`] goes on serving both.
    pub fn drain(&self) {
        self.desk().draining = true;
        self.bell.notify_one();
    }

    /// True while nothing is in hand: no attempt under way, none to be settled, no slot promised, no claim out.
    pub fn idle(&self) -> bool {
        self.desk().is_idle()
    }

    /// Waits until [`Dispatcher::idle`].
    pub async fn until_idle(&self) {
        loop {
            let quiet = self.quiet.notified();
            if self.idle() {
                return;
            }
            quiet.await;
        }
    }

    /// What is on the move: attempts under way or to be settled, slots promised, a claim or a return that is out. For a
    /// world driven by hand: what its transport does not hold, storage does or the next step will move. What waits for
    /// a slot of its lane moves when one under way ends.
    pub fn in_hand(&self) -> usize {
        self.desk().in_hand()
    }

    /// Closes what is still in hand as `interrupted` and makes it due for whoever comes next. For the end of the grace,
    /// under a time limit of the caller's: it waits for storage. Nothing may be sent after it.
    pub async fn give_back(&self) {
        self.drain();
        let idle = self.idle();
        self.abandon();
        if idle {
            return;
        }
        let left = self.engine.give_back(None, Some(Vec::new()), Moment::of(&*self.clock)).await;
        match left {
            Ok(recovered) => tracing::info!(deliveries = recovered.deliveries, "gave_back_at_stop"),
            Err(error) => tracing::warn!(%error, "give_back_refused"),
        }
    }

    /// The lease was lost: what waits here to be sent or settled belongs to others now.
    pub fn abandon(&self) {
        self.desk().abandon();
        self.quiet.notify_waiters();
    }

    pub(crate) fn may_act(&self) -> bool {
        (self.may_act)()
    }

    pub(crate) fn desk(&self) -> MutexGuard<'_, Desk> {
        // Nothing that can panic happens in there; and if it did, every field is whole between two statements.
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn begin(self: &Arc<Self>, delivery: ClaimedDelivery) {
        tokio::spawn(attempt::run(self.clone(), delivery));
    }

    /// Returns what was claimed and not sent, as if it never had been.
    pub(crate) fn put_back(self: &Arc<Self>, holds: Vec<DeliveryHold>) {
        if holds.is_empty() {
            return;
        }
        let (dispatcher, count) = (self.clone(), holds.len());
        tokio::spawn(async move {
            let answer = dispatcher.engine.put_back(holds).await;
            let mut desk = dispatcher.desk();
            desk.returned(count);
            if let Err(error) = answer {
                tracing::warn!(%error, deliveries = count, "put_back_refused");
                desk.doubt(dispatcher.clock.now() + dispatcher.patience(0));
            }
            if desk.is_overslept() {
                dispatcher.bell.notify_one();
            }
            if desk.is_idle() {
                dispatcher.quiet.notify_waiters();
            }
        });
    }

    /// What a start finds queued: before it was read, only what commits spoke of is known.
    async fn read_lanes(self: Arc<Self>) {
        let lanes = self.engine.lanes().await;
        let mut desk = self.desk();
        match lanes {
            Ok(lanes) => desk.lanes_read(&lanes, self.clock.now()),
            Err(error) => {
                tracing::warn!(%error, "lanes_not_read");
                desk.read_lanes_at(self.clock.now() + self.patience(0));
            }
        }
        drop(desk);
        self.bell.notify_one();
    }

    /// A lane's receiver is back: what waits there in back-off need not sit it out.
    async fn bring_forward(self: Arc<Self>, lane: Lane) {
        let retry = loop {
            match self.engine.bring_forward(lane, Moment::of(&*self.clock)).await {
                Ok(true) => {}
                Ok(false) | Err(StorageError::Closed) => break None,
                Err(error) => {
                    tracing::warn!(%error, "lane_not_brought_forward");
                    break Some(self.clock.now() + self.patience(0));
                }
            }
        };
        let mut desk = self.desk();
        match retry {
            Some(at) => desk.forward.refused(lane, at),
            None => desk.forwarded(lane, self.clock.now()),
        }
        drop(desk);
        self.bell.notify_one();
    }

    /// Claims until nothing is due that may go now.
    async fn claim(self: Arc<Self>, mut asks: Vec<Ask>) {
        while !asks.is_empty() {
            let at = Moment::of(&*self.clock);
            let lives = self.desk().lives;
            let answer = self.engine.claim_deliveries(asks.clone(), at).await;
            self.claimed(&asks, answer, at.now, lives);
            asks = if self.may_act() { self.desk().pick(self.clock.now(), CLAIM) } else { Vec::new() };
        }
        let mut desk = self.desk();
        desk.claiming = false;
        if desk.is_overslept() {
            self.bell.notify_one();
        }
        if desk.is_idle() {
            self.quiet.notify_waiters();
        }
    }

    fn claimed(
        self: &Arc<Self>,
        asks: &[Ask],
        answer: Result<Vec<LaneClaim<ClaimedDelivery>>>,
        picked_at: Timestamp,
        lives: u64,
    ) {
        let claims = match answer {
            Ok(claims) => claims,
            Err(error) => {
                tracing::warn!(%error, "claim_refused");
                let mut desk = self.desk();
                for ask in asks {
                    desk.refused(ask, picked_at);
                }
                desk.claim_after = Some(self.clock.now() + self.patience(0));
                return;
            }
        };
        let mut desk = self.desk();
        for claim in &claims {
            desk.lanes.set_terms(claim.lane, DELIVERIES, claim.terms);
        }
        if desk.lives != lives {
            // Others have them by now, or will.
            asks.iter().for_each(|ask| desk.claimed(ask, 0, next_due(&claims, ask)));
            return;
        }
        for ask in asks {
            // A lane that the engine does not speak of has nothing more.
            desk.claimed(ask, got(&claims, ask), next_due(&claims, ask));
        }
        let mut count = 0;
        for delivery in claims.into_iter().flat_map(|claim| claim.claimed) {
            desk.arrive(delivery);
            count += 1;
        }
        let (arrived, back) = desk.send_arrived();
        drop(desk);
        self.metrics.claimed.inc_by(count);
        for delivery in arrived {
            self.begin(delivery);
        }
        self.put_back(back);
    }

    /// Tells storage what is held, so that it gives back what is not.
    async fn tell(self: Arc<Self>, held: Vec<DeliveryId>) {
        let answer = self.engine.give_back(None, Some(held), Moment::of(&*self.clock)).await;
        let now = self.clock.now();
        let retry = match answer {
            Ok(recovered) => {
                tracing::info!(deliveries = recovered.deliveries, "gave_back_after_lost_outcome");
                None
            }
            Err(error) => {
                tracing::warn!(%error, "give_back_refused");
                Some(now + self.patience(2))
            }
        };
        self.desk().told(retry, now);
        self.bell.notify_one();
    }

    /// While the lease is in doubt.
    pub(crate) fn look_again(&self) -> Timestamp {
        self.clock.now() + HELD_BACK
    }

    /// How long to leave storage alone that refused so many times: doubling, and spread by up to half.
    pub(crate) fn patience(&self, refusals: u32) -> Duration {
        let doubled = REFUSED.saturating_mul(1 << refusals.min(10)).min(REFUSED_MOST);
        doubled.mul_f64(1.0 + self.dice.roll() / 2.0)
    }
}

fn got(claims: &[LaneClaim<ClaimedDelivery>], ask: &Ask) -> u32 {
    let claim = claims.iter().find(|claim| claim.lane == ask.lane);
    claim.map_or(0, |claim| u32::try_from(claim.claimed.len()).unwrap_or(u32::MAX))
}

fn next_due(claims: &[LaneClaim<ClaimedDelivery>], ask: &Ask) -> Option<Timestamp> {
    claims.iter().find(|claim| claim.lane == ask.lane).and_then(|claim| claim.next_due)
}
