//! What a ping brings: a body as an event of some kind has it, about things that do not exist.

use std::{sync::Arc, time::Duration};

use domain::{
    callback::Callbacks,
    chance::Moment,
    delivery::{Delivery, Reason, State as DeliveryState},
    endpoint::{DisabledReason, Endpoint},
    event::{Event, EventKind},
    id::{DeliveryId, EventId, JobId},
    job::{Ended, Ending, Job, JobResult, Links, Priority, Progress, State},
    lane::Lane,
    problem::JobError,
};
use serde_json::value::RawValue;

use crate::router::Api;

/// An event that is a ping, with the body of `kind`.
pub(super) fn of(api: &Api, kind: EventKind, endpoint: &Endpoint, id: EventId, at: Moment) -> Event {
    let body = match kind {
        EventKind::EndpointPing => Event::ping(id, endpoint, at.wall).body,
        EventKind::EndpointDisabled => {
            let disabled = Endpoint { disabled: Some(DisabledReason::Gone), ..endpoint.clone() };
            Event::endpoint_disabled(&disabled, at.wall).body
        }
        EventKind::DeliveryFailed => Event::delivery_failed(&delivery(endpoint, id, at), at.wall).body,
        EventKind::JobStarted
        | EventKind::JobProgress
        | EventKind::JobSucceeded
        | EventKind::JobFailed
        | EventKind::JobCanceled => about_job(api, kind, id, endpoint, at),
    };
    Event { id, kind: EventKind::EndpointPing, timestamp: at.wall, body }
}

fn delivery(endpoint: &Endpoint, event: EventId, at: Moment) -> Delivery {
    Delivery {
        id: DeliveryId::to_endpoint(event, endpoint.id),
        tenant: endpoint.tenant,
        event,
        kind: EventKind::JobSucceeded,
        job: None,
        endpoint: Some(endpoint.id),
        sequence: Some(1),
        lane: Lane::of_endpoint(endpoint.id),
        url: endpoint.settings.target.url.clone(),
        created_at: at.wall,
        attempt: 10,
        state: DeliveryState::Failed { finished_at: at.wall, reason: Reason::Exhausted },
    }
}

fn about_job(api: &Api, kind: EventKind, id: EventId, endpoint: &Endpoint, at: Moment) -> Arc<str> {
    let known = api.tasks.now();
    let Some(task) = known.specs.first().map(|task| task.name.clone()).or_else(|| "sample".parse().ok())
    else {
        return Event::ping(id, endpoint, at.wall).body;
    };
    let running = Job {
        id: JobId::new(at.now, api.dice.bits()),
        tenant: endpoint.tenant,
        task,
        priority: Priority::DEFAULT,
        timeout: Duration::from_secs(60),
        max_attempts: 1,
        metadata: raw(r#"{"sample":"true"}"#),
        traceparent: None,
        callbacks: Callbacks::default(),
        created_at: at.wall,
        expires_at: None,
        cancel_requested_at: None,
        rerun_of: None,
        progress: Progress::read(br#"{"fraction": 0.5, "message": "a sample"}"#, at.wall).map(Arc::new),
        state: State::Running { attempt: 1, started_at: at.wall },
    };
    let links = Links::new(&api.public_url, running.id);
    let ending = match kind {
        EventKind::JobSucceeded => Ending::Succeeded(JobResult::of("application/json", b"null")),
        EventKind::JobFailed => {
            Ending::Failed(JobError::new("task-failed", "The work failed", "This is a sample."))
        }
        EventKind::JobCanceled => Ending::Canceled,
        EventKind::JobProgress => return Event::progress(id, &running, at.wall, &links).body,
        _ => return Event::started(&running, at.wall, &links).body,
    };
    let ended = Ended { attempt: 1, started_at: Some(at.wall), finished_at: at.wall, ending };
    Event::ended(id, &running, &ended, &links).body
}

fn raw(text: &str) -> Arc<RawValue> {
    // The texts are our own.
    RawValue::from_string(text.to_owned()).map_or_else(|_| Arc::from(RawValue::NULL.to_owned()), Arc::from)
}
