//! Who hears of an event: shared by both engines, which write one delivery for each.

use std::sync::Arc;

use domain::{
    callback::{Callback, Callbacks},
    chance::Moment,
    delivery::{Progress, Reason, Trigger},
    endpoint::{Endpoint, State},
    event::{Event, EventKind},
    id::{DeliveryId, EventId, JobId, Tenant},
    job::Job,
    lane::{Lane, Terms},
    lease::Fence,
    task::TaskName,
};
use storage::{Addressee, ClaimedDelivery, DeliveryHold};

/// An event as it is fanned out.
#[derive(Clone, Copy)]
pub(crate) struct Occasion<'a> {
    pub(crate) tenant: Tenant,
    /// What it is about, where that is a job.
    pub(crate) job: Option<&'a Job>,
    pub(crate) event: &'a Event,
    /// What its deliveries say that they bring: the event's kind, but for a ping, whose body is a sample.
    pub(crate) kind: EventKind,
    pub(crate) at: Moment,
}

impl<'a> Occasion<'a> {
    pub(crate) fn of_job(job: &'a Job, event: &'a Event, at: Moment) -> Self {
        Self { tenant: job.tenant, job: Some(job), event, kind: event.kind, at }
    }

    pub(crate) fn of_none(tenant: Tenant, event: &'a Event, at: Moment) -> Self {
        Self { tenant, job: None, event, kind: event.kind, at }
    }

    pub(crate) fn job_id(&self) -> Option<JobId> {
        self.job.map(|job| job.id)
    }

    fn task(&self) -> Option<&'a TaskName> {
        self.job.map(|job| &job.task)
    }

    /// Those that hear of it: because they asked to, or because the job names them. Each once.
    pub(crate) fn hearers<'e>(
        &self,
        endpoints: &'e [Arc<Endpoint>],
        callbacks: &Callbacks,
    ) -> impl Iterator<Item = &'e Arc<Endpoint>> {
        let named = |endpoint: &Endpoint| self.job.is_some() && callbacks.names(endpoint.id, self.event.kind);
        endpoints.iter().filter(move |endpoint| {
            endpoint.tenant == self.tenant
                && (endpoint.wants(self.event.kind, self.task()) || named(endpoint))
        })
    }
}

impl Occasion<'_> {
    /// True if anybody hears of it.
    pub(crate) fn is_heard(&self, endpoints: &[Arc<Endpoint>], callbacks: &Callbacks) -> bool {
        callbacks.asking_for(self.event.kind).next().is_some()
            || self.hearers(endpoints, callbacks).next().is_some()
    }

    /// The deliveries that another event of this kind made of it, to those who hear of this one.
    pub(crate) fn as_of(
        &self,
        event: EventId,
        endpoints: &[Arc<Endpoint>],
        callbacks: &Callbacks,
    ) -> Vec<DeliveryId> {
        let to_callbacks =
            callbacks.asking_for(self.event.kind).map(|(place, _)| DeliveryId::of(event, place));
        let hearers = self.hearers(endpoints, callbacks);
        to_callbacks.chain(hearers.map(|endpoint| DeliveryId::to_endpoint(event, endpoint.id))).collect()
    }
}

/// What an endpoint's sequence gave, under the lock of its row.
#[derive(Clone, Copy)]
pub(crate) struct Number {
    /// The number.
    pub(crate) sequence: i64,
    /// In what state the endpoint is.
    pub(crate) state: State,
    /// What it allows.
    pub(crate) terms: Terms,
    /// No other node has something of its lane in flight, as far as that matters.
    pub(crate) ours: bool,
}

/// One delivery about to be written.
pub(crate) struct Address {
    pub(crate) id: DeliveryId,
    pub(crate) lane: Lane,
    /// Which of the job's callbacks.
    pub(crate) place: Option<u32>,
    /// Which endpoint, and its number there.
    pub(crate) endpoint: Option<Arc<Endpoint>>,
    pub(crate) sequence: Option<i64>,
    /// It is born failed for this reason.
    pub(crate) refused: Option<Reason>,
    /// What its lane's owner allows.
    pub(crate) terms: Terms,
    /// It may be born claimed here.
    pub(crate) ours: bool,
    pub(crate) target: Arc<Callback>,
}

impl Address {
    /// To one of the job's callbacks.
    pub(crate) fn to_callback(occasion: &Occasion<'_>, place: u32, callback: &Arc<Callback>) -> Self {
        Self {
            id: DeliveryId::of(occasion.event.id, place),
            lane: callback.lane(occasion.tenant),
            place: Some(place),
            endpoint: None,
            sequence: None,
            refused: None,
            terms: Terms::default(),
            ours: true,
            target: callback.clone(),
        }
    }

    /// To an endpoint. `number`: what its sequence gave; `None` for what carries no number and is sent whatever the state.
    pub(crate) fn to_endpoint(
        occasion: &Occasion<'_>,
        endpoint: &Arc<Endpoint>,
        number: Option<Number>,
    ) -> Self {
        let lane = match number {
            Some(_) => Lane::of_endpoint(endpoint.id),
            None => Lane::beside_endpoint(endpoint.id),
        };
        Self {
            id: DeliveryId::to_endpoint(occasion.event.id, endpoint.id),
            lane,
            place: None,
            endpoint: Some(endpoint.clone()),
            sequence: number.as_ref().map(|number| number.sequence),
            refused: number.as_ref().and_then(|number| number.state.refuses()),
            terms: number.as_ref().map(|number| number.terms).unwrap_or_default(),
            ours: number.is_none_or(|number| number.ours),
            target: endpoint.settings.target.clone(),
        }
    }

    /// The number that its queue row bears: of a lane with terms, whose rows are looked for by it.
    pub(crate) fn number(&self) -> Option<i64> {
        self.sequence.and_then(|sequence| self.terms.number(sequence))
    }

    /// As it is handed over when it was born claimed.
    pub(crate) fn claimed(self, occasion: &Occasion<'_>, fence: Fence) -> ClaimedDelivery {
        let Occasion { tenant, job, event, kind, at } = *occasion;
        let sequence = self.sequence;
        ClaimedDelivery {
            hold: DeliveryHold { tenant, delivery: self.id, lane: self.lane, fence, attempt: 1 },
            event: event.id,
            kind,
            created_at: event.timestamp,
            job: job.map(|job| job.id),
            body: event.body.clone(),
            target: self.target,
            endpoint: self.endpoint.map(|endpoint| Addressee {
                id: endpoint.id,
                sequence,
                secret: endpoint.secret.clone(),
                previous: endpoint.previous.clone(),
            }),
            progress: Progress { steps: 0, since: at.now, succeeded: false },
            trigger: Trigger::Policy,
            due: at.now,
            started_at: at.wall,
            traceparent: job.and_then(|job| job.traceparent.clone()),
        }
    }
}
