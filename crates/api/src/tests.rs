//! What several tests build on.

use std::{sync::Arc, time::Duration};

use domain::{
    callback::Callbacks,
    id::{JobId, Tenant},
    job::{Job, Priority, State},
    time::Timestamp,
};
use serde_json::value::RawValue;

/// A queued job.
pub(crate) fn a_job() -> Job {
    Job {
        id: JobId::from_u128(1),
        tenant: Tenant::DEFAULT,
        task: "report".parse().unwrap(),
        priority: Priority::DEFAULT,
        timeout: Duration::from_secs(60),
        max_attempts: 3,
        metadata: Arc::from(RawValue::from_string("{}".into()).unwrap()),
        traceparent: None,
        callbacks: Callbacks::default(),
        created_at: Timestamp::from_micros(1),
        expires_at: None,
        cancel_requested_at: None,
        rerun_of: None,
        progress: None,
        state: State::Queued { attempt: 0, run_at: None, started_at: None },
    }
}
