//! What other nodes committed: heard of by `NOTIFY`, over a connection of its own, and looked for from time to time,
//! which alone is relied upon. Behind a pooler, where nobody can listen, it is looked for more often.

use std::{collections::HashMap, sync::Arc, time::Duration};

use domain::{
    event::{EventKind, EventSet},
    id::JobId,
    lane::Lane,
    task::TaskName,
};
use storage::{LaneStart, Wake};
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, sleep, sleep_until},
};
use tokio_postgres::Notification;

use super::{
    columns::Fixed,
    fault::Fault,
    link::{Address, Session},
    submit::id_of,
};
use crate::{cold, effects::Hub, hints::heard, rows};

const LISTEN: &str = "LISTEN ringback";

/// ?1 payloads.
pub(crate) const TELL: &str = "SELECT pg_notify('ringback', p) FROM UNNEST($1::text[]) p";

/// ?1 node: who was asked to stop of what it runs.
pub(crate) const CANCELS: &str = "SELECT id FROM job_queue WHERE node = $1 AND cancel_at IS NOT NULL";

/// ?1 jobs: how each stands; without an attempt it has ended.
pub(crate) const AWAITED: &str = "SELECT u.id, q.attempt, q.node, q.cancel_at FROM UNNEST($1::bytea[]) u (id) \
     LEFT JOIN LATERAL (SELECT attempt, node, cancel_at FROM job_queue WHERE id = u.id OFFSET 0) q ON TRUE";

pub(crate) const STATEMENTS: &[&str] =
    &[TELL, CANCELS, AWAITED, cold::JOB_LANES, cold::DELIVERY_LANES, cold::WAITING, cold::HEARING];

/// No more notifications than one in this long: each wakes every node.
const BETWEEN_HINTS: Duration = Duration::from_millis(50);

/// How often to look while no other node is known: for what nobody should have done, by hand in the database.
const ALONE: Duration = Duration::from_secs(30);

/// How often to look while hints come.
const HEARING: Duration = Duration::from_secs(5);

/// How often to look where none come: while there is something to wait for, and at least.
const DEAF: Duration = Duration::from_millis(500);
const DEAF_IDLE: Duration = Duration::from_secs(2);

/// Looking takes this much of the time at most: a database with very many lanes is looked at less often.
const COST: u32 = 20;

/// How a job stood when it was last looked at: attempt, node, cancel request.
type Standing = (i64, Option<i64>, Option<i64>);

/// See the module.
pub(crate) struct Watch {
    address: Address,
    hub: Arc<Hub>,
    closing: Arc<Notify>,
    /// Of those that somebody here waits for.
    standing: HashMap<JobId, Standing>,
    looked: u32,
}

/// The connection, and what comes over it.
struct Ears {
    session: Session,
    heard: mpsc::UnboundedReceiver<Notification>,
    listens: bool,
}

impl Watch {
    pub(crate) fn new(address: Address, hub: Arc<Hub>, closing: Arc<Notify>) -> Self {
        Self { address, hub, closing, standing: HashMap::new(), looked: 0 }
    }

    /// Runs until the engine closes.
    pub(crate) async fn run(mut self) {
        let closing = self.closing.clone();
        tokio::select! {
            () = closing.notified() => {}
            () = self.watch() => {}
        }
    }

    async fn watch(&mut self) {
        let mut pause = Duration::from_millis(100);
        loop {
            match self.listen().await {
                Ok(ears) => {
                    pause = Duration::from_millis(100);
                    if let Err(fault) = self.attend(ears).await {
                        tracing::warn!(?fault, "the connection that hears of other nodes broke");
                    }
                }
                Err(error) => tracing::debug!(%error, "cannot listen to other nodes"),
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }

    async fn listen(&self) -> Result<Ears, tokio_postgres::Error> {
        let (tell, heard) = mpsc::unbounded_channel();
        let listens = !self.address.is_pooled();
        let session = match listens {
            true => self.address.listening(STATEMENTS, tell).await?,
            false => self.address.session(STATEMENTS).await?,
        };
        Ok(Ears { session, heard, listens })
    }

    /// Until the connection breaks.
    async fn attend(&mut self, mut ears: Ears) -> Result<(), Fault> {
        if ears.listens {
            ears.session.simple(LISTEN).await?;
        }
        let hub = self.hub.clone();
        // What came before it listened is looked for at once.
        let (mut look_at, mut tell_at, mut told) = (Instant::now(), None::<Instant>, Instant::now());
        loop {
            tokio::select! {
                notification = ears.heard.recv(), if ears.listens => match notification {
                    Some(notification) => {
                        if self.hear(&ears, &notification) {
                            look_at = look_at.min(Instant::now() + self.between(BETWEEN_HINTS * 2));
                        }
                    }
                    None => return Ok(()),
                },
                () = hub.hints.bell.notified() => tell_at = Some(told + BETWEEN_HINTS),
                () = sleep_until(tell_at.unwrap_or_else(Instant::now)), if tell_at.is_some() => {
                    (tell_at, told) = (None, Instant::now());
                    let payloads = hub.hints.take();
                    if !payloads.is_empty() {
                        ears.session.rows(TELL, &[&payloads]).await?;
                    }
                }
                () = hub.company.notified() => look_at = Instant::now(),
                () = sleep_until(look_at) => {
                    let began = Instant::now();
                    let found = self.look(&ears.session).await?;
                    let usual = match (hub.is_alone(), ears.listens, found) {
                        (true, ..) => ALONE,
                        (_, true, _) => HEARING,
                        (_, false, true) => DEAF,
                        (_, false, false) => DEAF_IDLE,
                    };
                    look_at = Instant::now() + self.between(usual.max(began.elapsed() * COST));
                }
            }
        }
    }

    /// True if it says that there is more.
    fn hear(&self, ears: &Ears, notification: &Notification) -> bool {
        if Some(notification.process_id()) == ears.session.process() {
            return false;
        }
        let (wakes, more) = heard(notification.payload());
        self.hub.hear(&wakes);
        more || wakes.iter().any(|wake| matches!(wake, Wake::EndpointChanged { .. }))
    }

    /// About this long, and not as long as another node: the golden ratio spreads what follows one another most evenly.
    fn between(&mut self, usual: Duration) -> Duration {
        self.looked = self.looked.wrapping_add(1);
        let node = self.hub.fence().map_or(0, |fence| fence.node);
        let turn = (node as f64).mul_add(0.754_877_666, f64::from(self.looked) * 0.618_033_989).fract();
        usual.mul_f64(0.8 + 0.4 * turn)
    }

    /// Looks for everything that a hint could have told. True if there is something to wait for.
    async fn look(&mut self, session: &Session) -> Result<bool, Fault> {
        let mut wakes = vec![Wake::TasksChanged];
        let lanes: Vec<LaneStart> = read(session.rows(cold::JOB_LANES, &[]).await?, true)?;
        let deliveries: Vec<LaneStart> = read(session.rows(cold::DELIVERY_LANES, &[]).await?, false)?;
        let mut waits = !lanes.is_empty() || !deliveries.is_empty();
        if !self.hub.is_alone() {
            self.count(session, &lanes).await?;
            let starts = session.rows(cold::HEARING, &[&EventSet::mask(EventKind::JobStarted)]).await?;
            self.hub.set_starts(starts.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?);
            if let Some(fence) = self.hub.fence() {
                for row in session.rows(CANCELS, &[&fence.node]).await? {
                    let job = JobId::from_u128(u128::from_be_bytes(id_of(&row, 0)?));
                    wakes.push(Wake::CancelRequested { job });
                }
            }
            waits |= self.look_at_awaited(session, &mut wakes).await?;
        }
        wakes.extend(lanes.into_iter().filter_map(|LaneStart { lane, task, due, .. }| {
            task.map(|task| Wake::JobDue { lane, task, due })
        }));
        wakes.extend(
            deliveries.into_iter().map(|LaneStart { lane, due, .. }| Wake::DeliveryDue { lane, due }),
        );
        self.hub.hear(&wakes);
        Ok(waits)
    }

    /// Counters follow this node's commits alone; what others submitted and claimed is counted here.
    async fn count(&self, session: &Session, lanes: &[LaneStart]) -> Result<(), Fault> {
        let tasks: HashMap<Lane, &TaskName> =
            lanes.iter().filter_map(|start| Some((start.lane, start.task.as_ref()?))).collect();
        let mut waiting: HashMap<&TaskName, u64> = HashMap::new();
        for row in session.rows(cold::WAITING, &[]).await? {
            let (lane, count): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
            // One that appeared between the two statements is counted next time.
            if let Some(task) = tasks.get(&Lane(lane)) {
                *waiting.entry(task).or_default() += count.unsigned_abs();
            }
        }
        self.hub.backlogs.recount(|task| waiting.get(task).copied().unwrap_or(0));
        for (task, count) in &waiting {
            self.hub.backlogs.found(task, *count);
        }
        Ok(())
    }

    async fn look_at_awaited(&mut self, session: &Session, wakes: &mut Vec<Wake>) -> Result<bool, Fault> {
        let awaited = self.hub.awaited();
        if awaited.is_empty() {
            self.standing.clear();
            return Ok(false);
        }
        let ids: Vec<_> = awaited.iter().map(|job| Fixed(job.to_bytes())).collect();
        let mut standing = HashMap::with_capacity(awaited.len());
        for row in session.rows(AWAITED, &[&ids]).await? {
            let job = JobId::from_u128(u128::from_be_bytes(id_of(&row, 0)?));
            let Some(attempt) = row.try_get(1)? else {
                wakes.push(Wake::JobChanged { job, ended: true });
                continue;
            };
            let now: Standing = (attempt, row.try_get(2)?, row.try_get(3)?);
            // Whoever began to wait since has read it once; what came between the two is told here.
            if self.standing.get(&job) != Some(&now) {
                wakes.push(Wake::JobChanged { job, ended: false });
            }
            standing.insert(job, now);
        }
        self.standing = standing;
        Ok(true)
    }
}

fn read(found: Vec<tokio_postgres::Row>, of_jobs: bool) -> Result<Vec<LaneStart>, Fault> {
    Ok(found.iter().map(|row| rows::lane(row, of_jobs)).collect::<Result<_, _>>()?)
}
