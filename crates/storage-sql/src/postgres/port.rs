//! The port, verb by verb: writes go to their lines, reads to the readers.

use std::{sync::Arc, time::Duration};

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
    TenantDeleted, TenantEntry, TenantMade, Waiting, Written,
};

use super::{
    Postgres,
    endpoints::{Answer, Command},
    nodes::Joining,
};

#[async_trait]
impl Jobs for Postgres {
    async fn submit(&self, submit: Submit) -> Result<Submitted> {
        let _place = self.admission.enter().await?;
        self.lines.submissions.ask(submit).await
    }

    async fn replay(&self, key: Idempotency) -> Result<Option<Submitted>> {
        self.readers.replay(&key).await
    }

    async fn claim_jobs(&self, asks: Vec<Ask>, at: Moment) -> Result<Vec<LaneClaim<ClaimedJob>>> {
        self.lines.claim_jobs.ask((asks, at)).await
    }

    async fn claim_expired(&self, limit: u32, at: Moment) -> Result<(Vec<ClaimedJob>, Option<Timestamp>)> {
        self.lines.claim_expired.ask((limit, at)).await
    }

    async fn finish(&self, finish: Finish) -> Result<Written> {
        self.lines.finishes.ask(finish).await
    }

    async fn requeue(&self, requeue: Requeue) -> Result<Written> {
        self.lines.requeues.ask(requeue).await
    }

    async fn announce(&self, announce: Announce) -> Result<Written> {
        self.lines.announcements.ask(announce).await
    }

    async fn report(&self, report: Report) -> Result<Written> {
        self.lines.reports.ask(report).await
    }

    async fn cancel(&self, cancel: Cancel) -> Result<Canceled> {
        self.lines.cancels.ask(cancel).await
    }

    async fn attach_callback(&self, attach: Attach) -> Result<Attached> {
        self.lines.attaches.ask(attach).await
    }

    async fn job(&self, tenant: Tenant, id: JobId) -> Result<Option<Job>> {
        self.readers.job(tenant, id).await
    }

    async fn input(&self, tenant: Tenant, id: JobId) -> Result<Option<Arc<str>>> {
        self.readers.input(tenant, id).await
    }

    async fn result(&self, tenant: Tenant, id: JobId) -> Result<Fetched> {
        self.readers.result(tenant, id).await
    }

    async fn linked_result(&self, id: JobId) -> Result<Fetched> {
        self.readers.linked_result(id).await
    }

    async fn count_waiting(&self) -> Result<()> {
        self.hub.waiting.found(self.readers.waiting().await?);
        Ok(())
    }

    async fn jobs(&self, filter: JobFilter) -> Result<Page<Job>> {
        self.readers.jobs(&filter).await
    }
}

#[async_trait]
impl Deliveries for Postgres {
    async fn claim_deliveries(&self, asks: Vec<Ask>, at: Moment) -> Result<Vec<LaneClaim<ClaimedDelivery>>> {
        self.lines.claim_deliveries.ask((asks, at)).await
    }

    async fn settle(&self, settle: Settle) -> Result<Written> {
        self.lines.settlements.ask(settle).await
    }

    async fn put_back(&self, holds: Vec<DeliveryHold>) -> Result<usize> {
        self.lines.put_backs.ask(holds).await
    }

    async fn bring_forward(&self, lane: Lane, at: Moment) -> Result<bool> {
        self.lines.bring_forward.ask((lane, at)).await
    }

    async fn resend(&self, tenant: Tenant, id: DeliveryId, at: Moment) -> Result<Resent> {
        self.lines.resends.ask((tenant, id, at)).await
    }

    async fn cancel_delivery(&self, tenant: Tenant, id: DeliveryId, at: Moment) -> Result<DeliveryCanceled> {
        self.lines.letting_go.ask((tenant, id, at)).await
    }

    async fn delivery(&self, tenant: Tenant, id: DeliveryId) -> Result<Option<DeliveryDetail>> {
        self.readers.delivery(tenant, id).await
    }

    async fn deliveries(&self, filter: DeliveryFilter) -> Result<Page<Delivery>> {
        self.readers.deliveries(&filter).await
    }
}

#[async_trait]
impl Endpoints for Postgres {
    async fn put_endpoint(&self, put: PutEndpoint) -> Result<Put> {
        match self.lines.endpoints.ask(Command::Put(Box::new(put))).await? {
            Answer::Put(put) => Ok(put),
            _ => Err(StorageError::Closed),
        }
    }

    async fn remove_endpoint(&self, tenant: Tenant, id: EndpointId, _: Moment) -> Result<bool> {
        match self.lines.endpoints.ask(Command::Remove(tenant, id)).await? {
            Answer::Removed(removed) => Ok(removed),
            _ => Err(StorageError::Closed),
        }
    }

    async fn ping(&self, ping: Ping) -> Result<Option<DeliveryId>> {
        match self.lines.endpoints.ask(Command::Ping(Box::new(ping))).await? {
            Answer::Pinged(delivery) => Ok(delivery),
            _ => Err(StorageError::Closed),
        }
    }

    async fn tend_endpoints(&self, at: Moment) -> Result<Option<Timestamp>> {
        match self.lines.endpoints.ask(Command::Tend(at)).await? {
            Answer::Tended(next) => Ok(next),
            _ => Err(StorageError::Closed),
        }
    }

    async fn begin_recovery(&self, plan: Plan, at: Moment) -> Result<bool> {
        match self.lines.endpoints.ask(Command::Begin(plan, at)).await? {
            Answer::Begun(begun) => Ok(begun),
            _ => Err(StorageError::Closed),
        }
    }

    async fn recovery(&self, tenant: Tenant, id: RecoveryId) -> Result<Option<Recovery>> {
        self.readers.recovery(tenant, id).await
    }

    async fn stop_recovery(&self, tenant: Tenant, id: RecoveryId, at: Moment) -> Result<bool> {
        match self.lines.endpoints.ask(Command::Stop(tenant, id, at)).await? {
            Answer::Stopped(known) => Ok(known),
            _ => Err(StorageError::Closed),
        }
    }

    async fn endpoint(&self, tenant: Tenant, id: EndpointId) -> Result<Option<Endpoint>> {
        self.readers.endpoint(tenant, id).await
    }

    async fn endpoints(&self, filter: EndpointFilter) -> Result<Page<Endpoint>> {
        self.readers.endpoints(&filter).await
    }

    async fn feed(&self, tenant: Tenant, id: EndpointId, after: i64, limit: u32) -> Result<Option<Feed>> {
        self.readers.feed(tenant, id, after, limit).await
    }

    async fn events(&self, tenant: Tenant, after: EventMark, limit: u32) -> Result<Events> {
        self.readers.events(tenant, after, limit).await
    }

    async fn endpoint_record(&self, id: EndpointId) -> Result<Record> {
        self.readers.record(id).await
    }

    async fn endpoint_health(&self, id: EndpointId, at: Moment) -> Result<Health> {
        self.readers.health(id, at).await
    }
}

#[async_trait]
impl Access for Postgres {
    async fn ensure_default_tenant(&self, id: TenantId, secret: Sealed, at: Timestamp) -> Result<TenantId> {
        self.lines.ensure_tenant.ask((id, secret, at)).await
    }

    async fn signing_secrets(&self, tenant: Tenant) -> Result<Option<SigningSecrets>> {
        self.readers.secrets(tenant).await
    }

    async fn rotate_signing_secret(
        &self,
        tenant: Tenant,
        secret: Sealed,
        overlap_until: Timestamp,
    ) -> Result<Option<SigningSecrets>> {
        self.lines.rotate_secret.ask((tenant, secret, overlap_until)).await
    }

    async fn next_tenant(&self) -> Result<Tenant> {
        self.readers.next_tenant().await
    }

    async fn create_tenant(&self, tenant: NewTenant) -> Result<TenantMade> {
        self.lines.create_tenant.ask(tenant).await
    }

    async fn delete_tenant(&self, id: TenantId, at: Timestamp) -> Result<TenantDeleted> {
        self.lines.delete_tenant.ask((id, at)).await
    }

    async fn tenant(&self, id: TenantId) -> Result<Option<TenantEntry>> {
        self.readers.tenant(id).await
    }

    async fn tenants(&self, before: Option<TenantId>, limit: u32) -> Result<Page<TenantEntry>> {
        self.readers.tenants(before, limit).await
    }

    async fn create_key(&self, key: NewKey) -> Result<KeyMade> {
        self.lines.create_key.ask(key).await
    }

    async fn revoke_key(&self, id: KeyId) -> Result<bool> {
        self.lines.revoke_key.ask(id).await
    }

    async fn key(&self, id: KeyId) -> Result<Option<KeyEntry>> {
        self.readers.key(id).await
    }

    async fn keys(&self, filter: KeyFilter) -> Result<Page<KeyEntry>> {
        self.readers.keys(&filter).await
    }

    async fn sealed_secrets(&self, after: Tenant, limit: u32) -> Result<Vec<(Tenant, SigningSecrets)>> {
        self.readers.sealed_secrets(after, limit).await
    }

    async fn sealed_endpoints(&self, after: (Tenant, EndpointId), limit: u32) -> Result<Vec<Endpoint>> {
        self.readers.sealed_endpoints(after, limit).await
    }

    async fn sealed_callbacks(
        &self,
        after: (Tenant, JobId),
        limit: u32,
    ) -> Result<Vec<(Tenant, JobId, Callbacks)>> {
        self.readers.sealed_callbacks(after, limit).await
    }

    async fn reseal(&self, rows: Vec<Reseal>) -> Result<Vec<bool>> {
        self.lines.reseal.ask(rows).await
    }

    async fn has_administrator(&self) -> Result<bool> {
        self.readers.has_administrator().await
    }
}

#[async_trait]
impl Nodes for Postgres {
    async fn join(&self, lease: Duration) -> Result<Fence> {
        let (name, version) = (self.name.clone(), self.version.clone());
        self.lines.joins.ask(Joining { lease, name, version }).await
    }

    async fn extend(&self, lease: Duration, takes: bool) -> Result<Renewed> {
        self.lines.extends.ask((lease, takes)).await
    }

    async fn share(&self, holds: Holds, version: i64) -> Result<Shared> {
        self.lines.shares.ask((holds, version)).await
    }

    async fn roster(&self) -> Result<Roster> {
        self.readers.roster().await
    }

    async fn drain(&self, node: i64) -> Result<Drained> {
        self.lines.drains.ask(node).await
    }

    async fn take_over(&self, at: Moment) -> Result<Recovered> {
        // At every start; what another node registers later is heard of and looked for as everything else is.
        self.hub.set_starts(self.readers.hearing_of_starts().await?);
        self.lines.takeovers.ask(at).await
    }

    async fn give_back(
        &self,
        jobs: Option<Vec<JobId>>,
        deliveries: Option<Vec<DeliveryId>>,
        at: Moment,
    ) -> Result<Recovered> {
        self.lines.give_backs.ask((jobs, deliveries, at)).await
    }

    async fn lanes(&self) -> Result<Vec<LaneStart>> {
        self.readers.lanes().await
    }

    async fn leave(&self) -> Result<()> {
        self.lines.leaves.ask(()).await
    }

    async fn check(&self) -> Result<Check> {
        self.readers.check().await
    }

    async fn close(&self) {
        self.lines.close();
        self.closing.notify_one();
        // Its thread is the only sender: gone without a word means ended, too.
        let _ = self.ended.clone().wait_for(|ended| *ended).await;
    }
}

#[async_trait]
impl History for Postgres {
    async fn histories(&self) -> Result<Vec<Tenant>> {
        self.readers.histories().await
    }

    async fn drop_old(&self, kept: Duration, at: Moment) -> Result<Option<Timestamp>> {
        self.readers.drop_old(kept, at).await
    }

    async fn scan(&self, scan: Scan) -> Result<Found> {
        self.readers.scan(&scan).await
    }

    /// Its own line and small transactions: it holds up nobody, and nobody it.
    async fn prune(&self, due: Vec<Due>, _insist: bool, at: Moment) -> Result<Option<u64>> {
        self.lines.prunes.ask((due, at)).await.map(Some)
    }

    async fn prune_apart(&self, apart: Apart) -> Result<Option<EventId>> {
        self.lines.prunes_apart.ask(apart).await
    }

    async fn forget(&self, forget: Forget) -> Result<Option<JobId>> {
        self.lines.forgets.ask(forget).await
    }

    async fn delete_job(&self, tenant: Tenant, id: JobId, at: Moment) -> Result<Deleted> {
        self.lines.deletes.ask((tenant, id, at)).await
    }

    async fn tombstone(&self, tenant: Option<Tenant>, id: JobId) -> Result<Option<Tombstone>> {
        self.readers.tombstone(tenant, id).await
    }
}

#[async_trait]
impl Tasks for Postgres {
    async fn pause_task(&self, task: TaskName, at: Timestamp) -> Result<()> {
        self.lines.pauses.ask((task, Some(at))).await
    }

    async fn resume_task(&self, task: TaskName) -> Result<()> {
        self.lines.pauses.ask((task, None)).await
    }

    async fn paused_tasks(&self) -> Result<Vec<TaskName>> {
        self.readers.paused_tasks().await
    }

    async fn oldest_waiting(&self) -> Result<Vec<(TaskName, Timestamp)>> {
        self.readers.oldest_waiting().await
    }
}

impl Engine for Postgres {
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
