//! PostgreSQL beyond the suite that every engine passes: plans, outages, what came between two nodes.

mod faults;
mod marks;
mod plans;
mod ranges;
mod schema;

use std::{sync::Arc, time::Duration};

use domain::{
    callback::{Callbacks, Sealed},
    chance::Moment,
    id::{JobId, Tenant, TenantId},
    job::{Job, Priority, State},
    time::Timestamp,
};
use serde_json::value::RawValue;
use storage::{Access, Nodes, Submit};
use testkit::postgres::Cluster;

use super::{Postgres, migrate};
use crate::Options;

const AT: Moment = Moment {
    now: Timestamp::from_micros(1_767_225_600_000_000),
    wall: Timestamp::from_micros(1_767_225_600_000_000),
};

const LEASE: Duration = Duration::from_secs(60);

/// A migrated database of its own.
async fn database(cluster: &Cluster) -> String {
    let url = cluster.fresh_database();
    migrate(&url).await.unwrap();
    url
}

fn name(url: &str) -> &str {
    url.rsplit('/').next().unwrap()
}

async fn open(url: &str) -> Arc<Postgres> {
    let engine = Arc::new(Postgres::open(url, &Options::default()).await.unwrap());
    engine.join(LEASE).await.unwrap();
    engine.ensure_default_tenant(TenantId::from_u128(1), Sealed(vec![1; 40]), AT.wall).await.unwrap();
    engine
}

fn submission(number: u128) -> Submit {
    let job = Job {
        id: JobId::new(AT.now, number << 20),
        tenant: Tenant::DEFAULT,
        task: "echo".parse().unwrap(),
        priority: Priority::DEFAULT,
        timeout: Duration::from_secs(60),
        max_attempts: 3,
        metadata: Arc::from(RawValue::from_string("{}".into()).unwrap()),
        traceparent: None,
        callbacks: Callbacks::default(),
        created_at: AT.wall,
        expires_at: None,
        cancel_requested_at: None,
        rerun_of: None,
        progress: None,
        state: State::Queued { attempt: 0, run_at: None, started_at: None },
    };
    Submit { job, input: "1".into(), due: AT.now, idempotency: None, at: AT }
}
