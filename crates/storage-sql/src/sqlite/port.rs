//! The port, verb by verb: writes go to the writer, reads to the readers.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;
use domain::{
    access::KeyId,
    callback::{Callbacks, Sealed},
    chance::Moment,
    delivery::Delivery,
    endpoint::{Endpoint, Health, Plan, Recovery},
    fleet::Holds,
    id::{DeliveryId, EndpointId, EventId, JobId, RecoveryId, Tenant, TenantId},
    job::Job,
    lane::{Ask, Lane, Record, Standing},
    lease::Fence,
    retention::Tombstone,
    task::TaskName,
    time::Timestamp,
};
use storage::{
    Access, Announce, Apart, Attach, Attached, Backlogs, Cancel, Canceled, Check, ClaimedDelivery,
    ClaimedJob, Costs, Deleted, Deliveries, DeliveryCanceled, DeliveryDetail, DeliveryFilter, DeliveryHold,
    Drained, Due, EndpointFilter, Endpoints, Engine, EventMark, Events, Feed, Fetched, Finish, Forget, Found,
    History, Idempotency, JobFilter, Jobs, KeyEntry, KeyFilter, KeyMade, LaneClaim, LaneStart, NewKey,
    NewTenant, Nodes, Page, Ping, Put, PutEndpoint, Recovered, Renewed, Report, Requeue, Reseal, Resent,
    Result, Roster, Scan, Settle, Shared, SigningSecrets, StorageError, Submit, Submitted, Takers, Tasks,
    TenantDeleted, TenantEntry, TenantMade, Waiting, Wake, Written,
};

use super::{
    Sqlite, access, cold_writes, endpoints, hot_deliveries, hot_jobs, nodes,
    queue::Class::{First, Second},
    reads, report, reseal, retention,
};

#[async_trait]
impl Jobs for Sqlite {
    async fn submit(&self, submit: Submit) -> Result<Submitted> {
        let _place = self.admission.enter().await?;
        self.ask(Second, submit, hot_jobs::submit).await
    }

    async fn replay(&self, key: Idempotency) -> Result<Option<Submitted>> {
        self.readers.read(move |c| reads::replay(c, key)).await
    }

    async fn claim_jobs(&self, asks: Vec<Ask>, at: Moment) -> Result<Vec<LaneClaim<ClaimedJob>>> {
        self.ask(First, (asks, at), hot_jobs::claim).await
    }

    async fn claim_expired(&self, limit: u32, at: Moment) -> Result<(Vec<ClaimedJob>, Option<Timestamp>)> {
        self.ask(First, (limit, at), hot_jobs::claim_expired).await
    }

    async fn finish(&self, finish: Finish) -> Result<Written> {
        self.ask(First, finish, hot_jobs::finish).await
    }

    async fn requeue(&self, requeue: Requeue) -> Result<Written> {
        self.ask(First, requeue, hot_jobs::requeue).await
    }

    async fn announce(&self, announce: Announce) -> Result<Written> {
        self.ask(First, announce, hot_jobs::announce).await
    }

    async fn report(&self, report: Report) -> Result<Written> {
        self.ask(First, report, report::report).await
    }

    async fn cancel(&self, cancel: Cancel) -> Result<Canceled> {
        self.ask(First, cancel, cold_writes::cancel).await
    }

    async fn attach_callback(&self, attach: Attach) -> Result<Attached> {
        self.ask(First, attach, cold_writes::attach).await
    }

    async fn job(&self, tenant: Tenant, id: JobId) -> Result<Option<Job>> {
        self.readers.read(move |c| reads::job(c, tenant, id)).await
    }

    async fn input(&self, tenant: Tenant, id: JobId) -> Result<Option<Arc<str>>> {
        self.readers.read(move |c| reads::input(c, tenant, id)).await
    }

    async fn result(&self, tenant: Tenant, id: JobId) -> Result<Fetched> {
        self.readers.read(move |c| reads::result(c, tenant, id)).await
    }

    async fn linked_result(&self, id: JobId) -> Result<Fetched> {
        self.readers.read(move |c| reads::linked_result(c, id)).await
    }

    async fn count_waiting(&self) -> Result<()> {
        if self.counted.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.ask(First, (), cold_writes::count_waiting).await
    }

    async fn jobs(&self, filter: JobFilter) -> Result<Page<Job>> {
        self.readers.read(move |c| reads::jobs(c, &filter)).await
    }
}

#[async_trait]
impl Deliveries for Sqlite {
    async fn claim_deliveries(&self, asks: Vec<Ask>, at: Moment) -> Result<Vec<LaneClaim<ClaimedDelivery>>> {
        self.ask(First, (asks, at), hot_deliveries::claim).await
    }

    async fn settle(&self, settle: Settle) -> Result<Written> {
        self.ask(First, settle, hot_deliveries::settle).await
    }

    async fn put_back(&self, holds: Vec<DeliveryHold>) -> Result<usize> {
        self.ask(First, holds, cold_writes::put_back).await
    }

    async fn bring_forward(&self, lane: Lane, at: Moment) -> Result<bool> {
        self.ask(First, (lane, at), hot_deliveries::bring_forward).await
    }

    async fn resend(&self, tenant: Tenant, id: DeliveryId, at: Moment) -> Result<Resent> {
        self.ask(First, (tenant, id, at), cold_writes::resend).await
    }

    async fn cancel_delivery(&self, tenant: Tenant, id: DeliveryId, at: Moment) -> Result<DeliveryCanceled> {
        self.ask(First, (tenant, id, at), cold_writes::cancel_delivery).await
    }

    async fn delivery(&self, tenant: Tenant, id: DeliveryId) -> Result<Option<DeliveryDetail>> {
        self.readers.read(move |c| reads::delivery(c, tenant, id)).await
    }

    async fn deliveries(&self, filter: DeliveryFilter) -> Result<Page<Delivery>> {
        self.readers.read(move |c| reads::deliveries(c, &filter)).await
    }
}

#[async_trait]
impl Endpoints for Sqlite {
    async fn put_endpoint(&self, put: PutEndpoint) -> Result<Put> {
        self.ask(First, put, endpoints::put).await
    }

    async fn remove_endpoint(&self, tenant: Tenant, id: EndpointId, at: Moment) -> Result<bool> {
        self.ask(First, (tenant, id, at), endpoints::remove).await
    }

    async fn ping(&self, ping: Ping) -> Result<Option<DeliveryId>> {
        self.ask(First, ping, endpoints::ping).await
    }

    async fn tend_endpoints(&self, at: Moment) -> Result<Option<Timestamp>> {
        self.ask(First, at, endpoints::tend).await
    }

    async fn begin_recovery(&self, plan: Plan, at: Moment) -> Result<bool> {
        self.ask(First, (plan, at), endpoints::begin_recovery).await
    }

    async fn recovery(&self, tenant: Tenant, id: RecoveryId) -> Result<Option<Recovery>> {
        self.readers.read(move |c| reads::recovery(c, tenant, id)).await
    }

    async fn stop_recovery(&self, tenant: Tenant, id: RecoveryId, at: Moment) -> Result<bool> {
        self.ask(First, (tenant, id, at), endpoints::stop_recovery).await
    }

    async fn endpoint(&self, tenant: Tenant, id: EndpointId) -> Result<Option<Endpoint>> {
        self.readers.read(move |c| reads::endpoint(c, tenant, id)).await
    }

    async fn endpoints(&self, filter: EndpointFilter) -> Result<Page<Endpoint>> {
        self.readers.read(move |c| reads::endpoints(c, &filter)).await
    }

    async fn feed(&self, tenant: Tenant, id: EndpointId, after: i64, limit: u32) -> Result<Option<Feed>> {
        self.readers.read(move |c| reads::feed(c, tenant, id, after, limit)).await
    }

    async fn events(&self, tenant: Tenant, after: EventMark, limit: u32) -> Result<Events> {
        self.readers.read(move |c| reads::events(c, tenant, after, limit)).await
    }

    async fn endpoint_record(&self, id: EndpointId) -> Result<Record> {
        self.readers.read(move |c| reads::record(c, id)).await
    }

    async fn endpoint_health(&self, id: EndpointId, at: Moment) -> Result<Health> {
        self.readers.read(move |c| reads::health(c, id, at)).await
    }
}

#[async_trait]
impl Access for Sqlite {
    async fn ensure_default_tenant(&self, id: TenantId, secret: Sealed, at: Timestamp) -> Result<TenantId> {
        self.ask(First, (id, secret, at), access::ensure_default_tenant).await
    }

    async fn signing_secrets(&self, tenant: Tenant) -> Result<Option<SigningSecrets>> {
        self.readers.read(move |c| access::secrets(c, tenant)).await
    }

    async fn rotate_signing_secret(
        &self,
        tenant: Tenant,
        secret: Sealed,
        overlap_until: Timestamp,
    ) -> Result<Option<SigningSecrets>> {
        self.ask(First, (tenant, secret, overlap_until), access::rotate_signing_secret).await
    }

    async fn next_tenant(&self) -> Result<Tenant> {
        self.readers.read(access::next_tenant).await
    }

    async fn create_tenant(&self, tenant: NewTenant) -> Result<TenantMade> {
        self.ask(First, tenant, access::create_tenant).await
    }

    async fn delete_tenant(&self, id: TenantId, at: Timestamp) -> Result<TenantDeleted> {
        self.ask(First, (id, at), access::delete_tenant).await
    }

    async fn tenant(&self, id: TenantId) -> Result<Option<TenantEntry>> {
        self.readers.read(move |c| access::tenant(c, id)).await
    }

    async fn tenants(&self, before: Option<TenantId>, limit: u32) -> Result<Page<TenantEntry>> {
        self.readers.read(move |c| access::tenants(c, before, limit)).await
    }

    async fn create_key(&self, key: NewKey) -> Result<KeyMade> {
        self.ask(First, key, access::create_key).await
    }

    async fn revoke_key(&self, id: KeyId) -> Result<bool> {
        self.ask(First, id, access::revoke_key).await
    }

    async fn key(&self, id: KeyId) -> Result<Option<KeyEntry>> {
        self.readers.read(move |c| access::key(c, id)).await
    }

    async fn keys(&self, filter: KeyFilter) -> Result<Page<KeyEntry>> {
        self.readers.read(move |c| access::keys(c, &filter)).await
    }

    async fn sealed_secrets(&self, after: Tenant, limit: u32) -> Result<Vec<(Tenant, SigningSecrets)>> {
        self.readers.read(move |c| reseal::secrets(c, after, limit)).await
    }

    async fn sealed_endpoints(&self, after: (Tenant, EndpointId), limit: u32) -> Result<Vec<Endpoint>> {
        self.readers.read(move |c| reseal::endpoints(c, after, limit)).await
    }

    async fn sealed_callbacks(
        &self,
        after: (Tenant, JobId),
        limit: u32,
    ) -> Result<Vec<(Tenant, JobId, Callbacks)>> {
        self.readers.read(move |c| reseal::callbacks(c, after, limit)).await
    }

    async fn reseal(&self, rows: Vec<Reseal>) -> Result<Vec<bool>> {
        self.ask(Second, rows, |w, rows| reseal::reseal(w, rows)).await
    }

    async fn has_administrator(&self) -> Result<bool> {
        self.readers.read(access::has_administrator).await
    }
}

#[async_trait]
impl Nodes for Sqlite {
    async fn join(&self, _lease: Duration) -> Result<Fence> {
        let fence = self.ask(First, (), nodes::join).await?;
        let now = self.readers.read(reads::now).await?;
        self.alone.join(now);
        self.taken_over.store(false, Ordering::Release);
        Ok(fence)
    }

    async fn extend(&self, _lease: Duration, takes: bool) -> Result<Renewed> {
        // The lock is the lease, and it holds for as long as the process lives.
        self.alone.takes(takes);
        self.roster().await.map(Renewed::Done)
    }

    async fn share(&self, holds: Holds, _version: i64) -> Result<Shared> {
        self.alone.hold(holds);
        Ok(Shared::Done)
    }

    async fn roster(&self) -> Result<Roster> {
        let fence = self.hub.fence().ok_or_else(|| StorageError::refused("this node has not joined yet"))?;
        // A file has no clock of its own; SQLite's is the machine's.
        self.readers.read(reads::now).await.map(|now| self.alone.roster(fence, now))
    }

    async fn drain(&self, node: i64) -> Result<Drained> {
        if node != nodes::NODE {
            return Ok(Drained::Missing);
        }
        let now = self.readers.read(reads::now).await?;
        self.alone.drain(now);
        self.hub.hear(&[Wake::FleetChanged]);
        Ok(Drained::Asked)
    }

    async fn take_over(&self, at: Moment) -> Result<Recovered> {
        if self.taken_over.load(Ordering::Acquire) {
            return Ok(Recovered::default());
        }
        let freed = self.ask(First, at, nodes::take_over).await?;
        self.taken_over.store(true, Ordering::Release);
        Ok(freed)
    }

    async fn give_back(
        &self,
        jobs: Option<Vec<JobId>>,
        deliveries: Option<Vec<DeliveryId>>,
        at: Moment,
    ) -> Result<Recovered> {
        self.ask(First, (jobs, deliveries, at), nodes::give_back).await
    }

    async fn lanes(&self) -> Result<Vec<LaneStart>> {
        self.readers.read(reads::lanes).await
    }

    async fn leave(&self) -> Result<()> {
        // The next start takes a new epoch, and with it whatever this one still holds.
        Ok(())
    }

    async fn check(&self) -> Result<Check> {
        self.readers.read(reads::check).await
    }

    async fn close(&self) {
        self.end(false);
    }
}

/// With so many waiting, what can wait does.
const SHORT: usize = 16;

#[async_trait]
impl History for Sqlite {
    async fn histories(&self) -> Result<Vec<Tenant>> {
        self.readers.read(reads::histories).await
    }

    async fn drop_old(&self, _: Duration, _: Moment) -> Result<Option<Timestamp>> {
        Ok(None)
    }

    async fn scan(&self, scan: Scan) -> Result<Found> {
        self.readers.read(move |c| reads::scan(c, &scan)).await
    }

    async fn prune(&self, due: Vec<Due>, insist: bool, at: Moment) -> Result<Option<u64>> {
        if !insist && self.queue.waiting() > SHORT {
            return Ok(None);
        }
        self.ask(Second, (due, at), retention::prune).await.map(Some)
    }

    async fn prune_apart(&self, apart: Apart) -> Result<Option<EventId>> {
        self.ask(Second, apart, retention::prune_apart).await
    }

    async fn forget(&self, forget: Forget) -> Result<Option<JobId>> {
        self.ask(Second, forget, retention::forget).await
    }

    async fn delete_job(&self, tenant: Tenant, id: JobId, at: Moment) -> Result<Deleted> {
        self.ask(First, (tenant, id, at), retention::delete_job).await
    }

    async fn tombstone(&self, tenant: Option<Tenant>, id: JobId) -> Result<Option<Tombstone>> {
        self.readers.read(move |c| reads::tombstone(c, tenant, id)).await
    }
}

#[async_trait]
impl Tasks for Sqlite {
    async fn pause_task(&self, task: TaskName, at: Timestamp) -> Result<()> {
        self.ask(First, (task, at), cold_writes::pause_task).await
    }

    async fn resume_task(&self, task: TaskName) -> Result<()> {
        self.ask(First, task, cold_writes::resume_task).await
    }

    async fn paused_tasks(&self) -> Result<Vec<TaskName>> {
        self.readers.read(reads::paused_tasks).await
    }

    async fn oldest_waiting(&self) -> Result<Vec<(TaskName, Timestamp)>> {
        self.readers.read(reads::oldest_waiting).await
    }
}

impl Engine for Sqlite {
    fn attach(&self, takers: Takers) {
        self.hub.attach(takers);
    }

    fn backlogs(&self) -> &Backlogs {
        &self.hub.backlogs
    }

    fn standing(&self, lane: Lane, now: Timestamp) -> Standing {
        self.hub.standing(lane, now)
    }

    fn hears_of_starts(&self, tenant: Tenant) -> bool {
        self.hub.hears_of_starts(tenant)
    }

    fn waiting(&self) -> &Waiting {
        &self.hub.waiting
    }

    fn costs(&self) -> &Costs {
        &self.hub.costs
    }
}
