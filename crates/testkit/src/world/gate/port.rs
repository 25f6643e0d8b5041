//! The port's verbs: what the world has a say in waits at the gate, all else goes straight through.

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
    Result, Roster, Scan, Settle, Shared, SigningSecrets, Submit, Submitted, Takers, Tasks, TenantDeleted,
    TenantEntry, TenantMade, Waiting, Written,
};

use super::{Gate, SECRETS};

fn written(written: &Written) -> String {
    format!("{written:?}")
}

fn recovered(recovered: &Recovered) -> String {
    format!("{recovered:?}")
}

fn due(due: Option<Timestamp>) -> String {
    due.map_or_else(|| "none".into(), |due| due.to_string())
}

#[async_trait]
impl Jobs for Gate {
    async fn submit(&self, submit: Submit) -> Result<Submitted> {
        self.engine.submit(submit).await
    }

    async fn replay(&self, key: Idempotency) -> Result<Option<Submitted>> {
        self.engine.replay(key).await
    }

    async fn claim_jobs(&self, asks: Vec<Ask>, at: Moment) -> Result<Vec<LaneClaim<ClaimedJob>>> {
        let what = format!("claim jobs {:?}", asks.iter().map(|ask| (ask.lane.0, ask.k)).collect::<Vec<_>>());
        let show = |claims: &Vec<LaneClaim<ClaimedJob>>| {
            let claims = claims.iter().map(|claim| {
                let jobs: Vec<_> =
                    claim.claimed.iter().map(|c| format!("{} #{}", c.job.id, c.hold.attempt)).collect();
                format!("{jobs:?} next {}", due(claim.next_due))
            });
            claims.collect::<Vec<_>>().join("; ")
        };
        self.ask(
            what,
            false,
            asks,
            move |engine, asks| async move { engine.claim_jobs(asks, at).await },
            show,
        )
        .await
    }

    async fn claim_expired(&self, limit: u32, at: Moment) -> Result<(Vec<ClaimedJob>, Option<Timestamp>)> {
        let show = |(claimed, next): &(Vec<ClaimedJob>, Option<Timestamp>)| {
            let jobs: Vec<_> = claimed.iter().map(|c| format!("{} #{}", c.job.id, c.hold.attempt)).collect();
            format!("{jobs:?} next {}", due(*next))
        };
        let run = move |engine: Arc<dyn Engine>, limit| async move { engine.claim_expired(limit, at).await };
        self.ask("claim expired".into(), false, limit, run, show).await
    }

    async fn finish(&self, finish: Finish) -> Result<Written> {
        let what = format!("finish {} {}", finish.job.id, finish.ended.ending.status());
        self.ask(what, true, finish, |engine, finish| async move { engine.finish(finish).await }, written)
            .await
    }

    async fn requeue(&self, requeue: Requeue) -> Result<Written> {
        let what = format!("requeue {} due {} counted {}", requeue.hold.job, requeue.due, requeue.counted);
        self.ask(what, true, requeue, |engine, requeue| async move { engine.requeue(requeue).await }, written)
            .await
    }

    async fn announce(&self, announce: Announce) -> Result<Written> {
        let what = format!("announce {}", announce.job.id);
        self.ask(what, true, announce, |engine, a| async move { engine.announce(a).await }, written).await
    }

    async fn report(&self, report: Report) -> Result<Written> {
        let what = format!("report {}", report.job.id);
        self.ask(what, true, report, |engine, report| async move { engine.report(report).await }, written)
            .await
    }

    async fn cancel(&self, cancel: Cancel) -> Result<Canceled> {
        self.engine.cancel(cancel).await
    }

    async fn attach_callback(&self, attach: Attach) -> Result<Attached> {
        self.engine.attach_callback(attach).await
    }

    async fn job(&self, tenant: Tenant, id: JobId) -> Result<Option<Job>> {
        self.engine.job(tenant, id).await
    }

    async fn input(&self, tenant: Tenant, id: JobId) -> Result<Option<Arc<str>>> {
        self.engine.input(tenant, id).await
    }

    async fn result(&self, tenant: Tenant, id: JobId) -> Result<Fetched> {
        self.engine.result(tenant, id).await
    }

    async fn linked_result(&self, id: JobId) -> Result<Fetched> {
        self.engine.linked_result(id).await
    }

    async fn jobs(&self, filter: JobFilter) -> Result<Page<Job>> {
        self.engine.jobs(filter).await
    }

    async fn count_waiting(&self) -> Result<()> {
        self.engine.count_waiting().await
    }
}

#[async_trait]
impl Deliveries for Gate {
    async fn claim_deliveries(&self, asks: Vec<Ask>, at: Moment) -> Result<Vec<LaneClaim<ClaimedDelivery>>> {
        let what =
            format!("claim deliveries {:?}", asks.iter().map(|ask| (ask.lane.0, ask.k)).collect::<Vec<_>>());
        let show = |claims: &Vec<LaneClaim<ClaimedDelivery>>| {
            let claims = claims.iter().map(|claim| {
                let held: Vec<_> = claim
                    .claimed
                    .iter()
                    .map(|c| format!("{} #{}", c.hold.delivery, c.hold.attempt))
                    .collect();
                format!("{held:?} next {}", due(claim.next_due))
            });
            claims.collect::<Vec<_>>().join("; ")
        };
        let run = move |engine: Arc<dyn Engine>, asks| async move { engine.claim_deliveries(asks, at).await };
        self.ask(what, false, asks, run, show).await
    }

    async fn settle(&self, settle: Settle) -> Result<Written> {
        let (hold, attempt) = (settle.hold, &settle.attempt);
        let what =
            format!("settle {} #{} {} {:?}", hold.delivery, hold.attempt, attempt.outcome, settle.next);
        self.ask(what, true, settle, |engine, settle| async move { engine.settle(settle).await }, written)
            .await
    }

    async fn put_back(&self, holds: Vec<DeliveryHold>) -> Result<usize> {
        let held: Vec<_> = holds.iter().map(|hold| format!("{} #{}", hold.delivery, hold.attempt)).collect();
        let run = |engine: Arc<dyn Engine>, holds| async move { engine.put_back(holds).await };
        let told = |count: &usize| if *count == 0 { "LeaseLost".into() } else { format!("{count} are back") };
        self.ask(format!("put back {held:?}"), true, holds, run, told).await
    }

    async fn bring_forward(&self, lane: Lane, at: Moment) -> Result<bool> {
        let run = |engine: Arc<dyn Engine>, (lane, at)| async move { engine.bring_forward(lane, at).await };
        self.ask(format!("bring forward {}", lane.0), false, (lane, at), run, ToString::to_string).await
    }

    async fn resend(&self, tenant: Tenant, id: DeliveryId, at: Moment) -> Result<Resent> {
        self.engine.resend(tenant, id, at).await
    }

    async fn cancel_delivery(&self, tenant: Tenant, id: DeliveryId, at: Moment) -> Result<DeliveryCanceled> {
        self.engine.cancel_delivery(tenant, id, at).await
    }

    async fn delivery(&self, tenant: Tenant, id: DeliveryId) -> Result<Option<DeliveryDetail>> {
        self.engine.delivery(tenant, id).await
    }

    async fn deliveries(&self, filter: DeliveryFilter) -> Result<Page<Delivery>> {
        self.engine.deliveries(filter).await
    }
}

#[async_trait]
impl Access for Gate {
    async fn ensure_default_tenant(&self, id: TenantId, secret: Sealed, at: Timestamp) -> Result<TenantId> {
        self.engine.ensure_default_tenant(id, secret, at).await
    }

    async fn signing_secrets(&self, tenant: Tenant) -> Result<Option<SigningSecrets>> {
        let run = |engine: Arc<dyn Engine>, tenant| async move { engine.signing_secrets(tenant).await };
        self.ask(SECRETS.into(), false, tenant, run, |found| found.is_some().to_string()).await
    }

    async fn rotate_signing_secret(
        &self,
        tenant: Tenant,
        secret: Sealed,
        overlap_until: Timestamp,
    ) -> Result<Option<SigningSecrets>> {
        self.engine.rotate_signing_secret(tenant, secret, overlap_until).await
    }

    async fn next_tenant(&self) -> Result<Tenant> {
        self.engine.next_tenant().await
    }

    async fn create_tenant(&self, tenant: NewTenant) -> Result<TenantMade> {
        self.engine.create_tenant(tenant).await
    }

    async fn delete_tenant(&self, id: TenantId, at: Timestamp) -> Result<TenantDeleted> {
        self.engine.delete_tenant(id, at).await
    }

    async fn tenant(&self, id: TenantId) -> Result<Option<TenantEntry>> {
        self.engine.tenant(id).await
    }

    async fn tenants(&self, before: Option<TenantId>, limit: u32) -> Result<Page<TenantEntry>> {
        self.engine.tenants(before, limit).await
    }

    async fn create_key(&self, key: NewKey) -> Result<KeyMade> {
        self.engine.create_key(key).await
    }

    async fn revoke_key(&self, id: KeyId) -> Result<bool> {
        self.engine.revoke_key(id).await
    }

    async fn key(&self, id: KeyId) -> Result<Option<KeyEntry>> {
        self.engine.key(id).await
    }

    async fn keys(&self, filter: KeyFilter) -> Result<Page<KeyEntry>> {
        self.engine.keys(filter).await
    }

    async fn sealed_secrets(&self, after: Tenant, limit: u32) -> Result<Vec<(Tenant, SigningSecrets)>> {
        self.engine.sealed_secrets(after, limit).await
    }

    async fn sealed_endpoints(&self, after: (Tenant, EndpointId), limit: u32) -> Result<Vec<Endpoint>> {
        self.engine.sealed_endpoints(after, limit).await
    }

    async fn sealed_callbacks(
        &self,
        after: (Tenant, JobId),
        limit: u32,
    ) -> Result<Vec<(Tenant, JobId, Callbacks)>> {
        self.engine.sealed_callbacks(after, limit).await
    }

    async fn reseal(&self, rows: Vec<Reseal>) -> Result<Vec<bool>> {
        self.engine.reseal(rows).await
    }

    async fn has_administrator(&self) -> Result<bool> {
        self.engine.has_administrator().await
    }
}

/// The world has no endpoints: nothing about them needs an order of its own.
#[async_trait]
impl Endpoints for Gate {
    async fn put_endpoint(&self, put: PutEndpoint) -> Result<Put> {
        self.engine.put_endpoint(put).await
    }

    async fn remove_endpoint(&self, tenant: Tenant, id: EndpointId, at: Moment) -> Result<bool> {
        self.engine.remove_endpoint(tenant, id, at).await
    }

    async fn ping(&self, ping: Ping) -> Result<Option<DeliveryId>> {
        self.engine.ping(ping).await
    }

    async fn tend_endpoints(&self, at: Moment) -> Result<Option<Timestamp>> {
        self.engine.tend_endpoints(at).await
    }

    async fn begin_recovery(&self, plan: Plan, at: Moment) -> Result<bool> {
        self.engine.begin_recovery(plan, at).await
    }

    async fn recovery(&self, tenant: Tenant, id: RecoveryId) -> Result<Option<Recovery>> {
        self.engine.recovery(tenant, id).await
    }

    async fn stop_recovery(&self, tenant: Tenant, id: RecoveryId, at: Moment) -> Result<bool> {
        self.engine.stop_recovery(tenant, id, at).await
    }

    async fn endpoint(&self, tenant: Tenant, id: EndpointId) -> Result<Option<Endpoint>> {
        self.engine.endpoint(tenant, id).await
    }

    async fn endpoints(&self, filter: EndpointFilter) -> Result<Page<Endpoint>> {
        self.engine.endpoints(filter).await
    }

    async fn feed(&self, tenant: Tenant, id: EndpointId, after: i64, limit: u32) -> Result<Option<Feed>> {
        self.engine.feed(tenant, id, after, limit).await
    }

    async fn events(&self, tenant: Tenant, after: EventMark, limit: u32) -> Result<Events> {
        self.engine.events(tenant, after, limit).await
    }

    async fn endpoint_record(&self, id: EndpointId) -> Result<Record> {
        self.engine.endpoint_record(id).await
    }

    async fn endpoint_health(&self, id: EndpointId, at: Moment) -> Result<Health> {
        self.engine.endpoint_health(id, at).await
    }
}

#[async_trait]
impl Nodes for Gate {
    async fn join(&self, lease: Duration) -> Result<Fence> {
        self.engine.join(lease).await
    }

    async fn extend(&self, lease: Duration, takes: bool) -> Result<Renewed> {
        self.engine.extend(lease, takes).await
    }

    async fn share(&self, holds: Holds, version: i64) -> Result<Shared> {
        self.engine.share(holds, version).await
    }

    async fn roster(&self) -> Result<Roster> {
        self.engine.roster().await
    }

    async fn drain(&self, node: i64) -> Result<Drained> {
        self.engine.drain(node).await
    }

    async fn take_over(&self, at: Moment) -> Result<Recovered> {
        self.engine.take_over(at).await
    }

    async fn give_back(
        &self,
        jobs: Option<Vec<JobId>>,
        deliveries: Option<Vec<DeliveryId>>,
        at: Moment,
    ) -> Result<Recovered> {
        let count = |held: Option<usize>| held.map_or_else(|| "-".into(), |held| held.to_string());
        let what = format!(
            "give back but {} jobs, {} deliveries",
            count(jobs.as_ref().map(Vec::len)),
            count(deliveries.as_ref().map(Vec::len))
        );
        let run = move |engine: Arc<dyn Engine>, (jobs, deliveries)| async move {
            engine.give_back(jobs, deliveries, at).await
        };
        self.ask(what, false, (jobs, deliveries), run, recovered).await
    }

    async fn lanes(&self) -> Result<Vec<LaneStart>> {
        let run = |engine: Arc<dyn Engine>, ()| async move {
            let mut lanes = engine.lanes().await?;
            lanes.sort_by_key(|start| start.lane);
            Ok(lanes)
        };
        self.ask("read lanes".into(), false, (), run, |lanes| lanes.len().to_string()).await
    }

    async fn leave(&self) -> Result<()> {
        self.engine.leave().await
    }

    async fn check(&self) -> Result<Check> {
        self.engine.check().await
    }

    async fn close(&self) {
        self.engine.close().await;
    }
}

#[async_trait]
impl History for Gate {
    async fn histories(&self) -> Result<Vec<Tenant>> {
        self.engine.histories().await
    }

    async fn drop_old(&self, kept: Duration, at: Moment) -> Result<Option<Timestamp>> {
        self.engine.drop_old(kept, at).await
    }

    async fn scan(&self, scan: Scan) -> Result<Found> {
        self.engine.scan(scan).await
    }

    async fn prune(&self, due: Vec<Due>, insist: bool, at: Moment) -> Result<Option<u64>> {
        self.engine.prune(due, insist, at).await
    }

    async fn prune_apart(&self, apart: Apart) -> Result<Option<EventId>> {
        self.engine.prune_apart(apart).await
    }

    async fn forget(&self, forget: Forget) -> Result<Option<JobId>> {
        self.engine.forget(forget).await
    }

    async fn delete_job(&self, tenant: Tenant, id: JobId, at: Moment) -> Result<Deleted> {
        self.engine.delete_job(tenant, id, at).await
    }

    async fn tombstone(&self, tenant: Option<Tenant>, id: JobId) -> Result<Option<Tombstone>> {
        self.engine.tombstone(tenant, id).await
    }
}

#[async_trait]
impl Tasks for Gate {
    async fn pause_task(&self, task: TaskName, at: Timestamp) -> Result<()> {
        self.engine.pause_task(task, at).await
    }

    async fn resume_task(&self, task: TaskName) -> Result<()> {
        self.engine.resume_task(task).await
    }

    async fn paused_tasks(&self) -> Result<Vec<TaskName>> {
        let run = |engine: Arc<dyn Engine>, ()| async move { engine.paused_tasks().await };
        self.ask("read paused tasks".into(), false, (), run, |paused| format!("{paused:?}")).await
    }

    async fn oldest_waiting(&self) -> Result<Vec<(TaskName, Timestamp)>> {
        self.engine.oldest_waiting().await
    }
}

impl Engine for Gate {
    fn attach(&self, takers: Takers) {
        self.engine.attach(takers);
    }

    fn backlogs(&self) -> &Backlogs {
        self.engine.backlogs()
    }

    fn standing(&self, lane: Lane, now: Timestamp) -> Standing {
        self.engine.standing(lane, now)
    }

    fn hears_of_starts(&self, tenant: Tenant) -> bool {
        self.engine.hears_of_starts(tenant)
    }

    fn waiting(&self) -> &Waiting {
        self.engine.waiting()
    }

    fn costs(&self) -> &Costs {
        self.engine.costs()
    }
}
