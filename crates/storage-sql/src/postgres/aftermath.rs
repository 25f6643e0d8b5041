//! What a batch of settlements means for endpoints: how those fare that were sent to, and who hears of dead letters.
//! Nothing is asked where no endpoint is concerned.

use std::collections::BTreeMap;

use domain::{
    callback::Callbacks,
    delivery::Next,
    endpoint::{DisabledReason, Endpoint, Failing, after_attempt},
    event::Event,
    id::{EndpointId, Tenant},
};
use storage::{Settle, Wake};

use super::{
    columns::{Fixed, Id},
    conclusion::Conclusion,
    endpoints,
    fault::Fault,
    hearers,
    submit::id_of,
    transaction::Transaction,
};
use crate::{address::Occasion, cold, effects::Effects, rows};

/// ?1 tenants, ?2 endpoints.
pub(crate) const FAILING: &str = "SELECT id, failing_since, failed_events FROM endpoints \
     WHERE tenant = ANY($1) AND id = ANY($2)";

/// Arrays: ?1 tenant, ?2 endpoint, ?3 since, ?4 events.
pub(crate) const SET_FAILING: &str = "UPDATE endpoints n SET failing_since = u.since, failed_events = u.events \
     FROM UNNEST($1::bigint[], $2::bytea[], $3::bigint[], $4::bigint[]) AS u (tenant, id, since, events) \
     WHERE n.tenant = u.tenant AND n.id = u.id";

/// ?1 endpoints: those of them that are closed.
pub(crate) const CLOSED: &str =
    "SELECT endpoint FROM endpoint_sequence WHERE endpoint = ANY($1) AND state <> 0";

/// What is still to be written.
#[derive(Default)]
pub(crate) struct Aftermath {
    tenant: Vec<i64>,
    id: Vec<Id>,
    since: Vec<Option<i64>>,
    events: Vec<i64>,
}

impl Aftermath {
    /// `settled`: what was written; `heard`: the dead letters among it whose tenants have endpoints.
    pub(crate) async fn of(
        tx: &Transaction<'_>,
        effects: &mut Effects,
        settled: &[&Settle],
        heard: &[&Settle],
    ) -> Result<Self, Fault> {
        let aftermath = Self::learn(tx, effects, settled).await?;
        tell_dead_letters(tx, effects, heard).await?;
        Ok(aftermath)
    }

    async fn learn(tx: &Transaction<'_>, effects: &mut Effects, settled: &[&Settle]) -> Result<Self, Fault> {
        let sent_to = || settled.iter().filter_map(|settle| Some((settle, settle.endpoint?)));
        let (mut tenants, mut ids): (Vec<i64>, Vec<Id>) =
            sent_to().map(|(settle, id)| (settle.hold.tenant.0, Fixed(id.to_bytes()))).unzip();
        let mut aftermath = Self::default();
        if ids.is_empty() {
            return Ok(aftermath);
        }
        tenants.sort_unstable();
        tenants.dedup();
        ids.sort_unstable();
        ids.dedup();
        let mut before: BTreeMap<EndpointId, Failing> = BTreeMap::new();
        for row in tx.rows(FAILING, &[&tenants, &ids]).await? {
            before.insert(EndpointId::from_u128(u128::from_be_bytes(id_of(&row, 0)?)), rows::failing(&row)?);
        }
        let (mut after, mut disable) = (before.clone(), Vec::new());
        let mut again = Vec::new();
        for (settle, id) in sent_to() {
            if matches!(settle.next, Next::Again { .. }) {
                again.push(Fixed(id.to_bytes()));
            }
            // Nobody asks how one fares that was deleted.
            let Some(failing) = after.get_mut(&id) else { continue };
            let found = after_attempt(*failing, &settle.attempt, &settle.next, settle.at.now);
            *failing = found.failing;
            disable.extend(found.disable.map(|reason| (settle, id, reason)));
        }
        for (settle, id) in sent_to() {
            if let (Some(was), Some(is)) = (before.get(&id), after.remove(&id))
                && *was != is
            {
                aftermath.tenant.push(settle.hold.tenant.0);
                aftermath.id.push(Fixed(id.to_bytes()));
                aftermath.since.push(is.since.map(|since| since.micros()));
                aftermath.events.push(is.events.into());
            }
        }
        for (settle, id, reason) in disable {
            self::disable(tx, effects, settle, id, reason).await?;
        }
        if !again.is_empty() {
            // Closed while these were out: somebody has to see to what waits again.
            for row in tx.rows(CLOSED, &[&again]).await? {
                let endpoint = EndpointId::from_u128(u128::from_be_bytes(id_of(&row, 0)?));
                effects.wake(Wake::EndpointChanged { endpoint });
            }
        }
        Ok(aftermath)
    }

    pub(crate) async fn write(&self, tx: &Transaction<'_>) -> Result<(), Fault> {
        if self.id.is_empty() {
            return Ok(());
        }
        tx.execute(SET_FAILING, &[&self.tenant, &self.id, &self.since, &self.events]).await.map(drop)
    }
}

async fn disable(
    tx: &Transaction<'_>,
    effects: &mut Effects,
    settle: &Settle,
    id: EndpointId,
    reason: DisabledReason,
) -> Result<(), Fault> {
    let (tenant, at) = (settle.hold.tenant, settle.at);
    let Some(row) = tx.row(cold::ENDPOINT, &[&tenant.0, &Fixed(id.to_bytes())]).await? else { return Ok(()) };
    let endpoint = rows::endpoint(&row)?;
    if endpoint.disabled.is_some() {
        return Ok(());
    }
    let endpoint = Endpoint { disabled: Some(reason), version: endpoint.version + 1, ..endpoint };
    if endpoints::replace(tx, &endpoint).await? {
        let event = Event::endpoint_disabled(&endpoint, at.wall);
        endpoints::tell_disabled(tx, effects, &endpoint, &event, at).await?;
        effects.wake(Wake::EndpointChanged { endpoint: id });
    }
    Ok(())
}

/// To endpoints that ask, but never to the one that it was for.
async fn tell_dead_letters(
    tx: &Transaction<'_>,
    effects: &mut Effects,
    heard: &[&Settle],
) -> Result<(), Fault> {
    let none = Callbacks::default();
    let mut not_to: BTreeMap<(Tenant, domain::id::EventId), Option<EndpointId>> = BTreeMap::new();
    let mut told = Vec::new();
    for settle in heard {
        if let Some(event) = &settle.dead_letter {
            not_to.insert((settle.hold.tenant, event.id), settle.endpoint);
            told.push((Occasion::of_none(settle.hold.tenant, event, settle.at), &none));
        }
    }
    let endpoints = hearers::asking(tx, &told).await?;
    let spared = |occasion: &Occasion<'_>, id: EndpointId| {
        not_to.get(&(occasion.tenant, occasion.event.id)).is_some_and(|own| *own == Some(id))
    };
    told.retain(|(occasion, none)| {
        occasion.hearers(&endpoints, none).any(|endpoint| !spared(occasion, endpoint.id))
    });
    let mut conclusion = Conclusion::default();
    for (occasion, _) in &told {
        conclusion.event(occasion, effects);
    }
    hearers::deliver(tx, effects, &mut conclusion, &told, &endpoints, spared).await?;
    conclusion.insert(tx).await
}
