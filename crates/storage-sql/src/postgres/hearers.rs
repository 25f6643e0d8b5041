//! Which endpoints hear of a batch's events, and the numbers that those get there.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use domain::{
    callback::Callbacks,
    endpoint::{Endpoint, State},
    event::EventSet,
    id::EndpointId,
};

use super::{
    columns::{Fixed, Id},
    conclusion::Conclusion,
    fault::Fault,
    transaction::Transaction,
};
use crate::{
    address::{Address, Number, Occasion},
    effects::Effects,
    rows,
};

/// ?1 tenants, ?2 kinds as a mask, ?3 endpoints that are named.
pub(crate) const ASKING: &str = concat!(
    "SELECT ",
    crate::rows::endpoint_columns!(),
    " FROM endpoints n WHERE n.tenant = ANY($1) AND ((n.events & $2) <> 0 OR n.id = ANY($3)) ORDER BY n.id"
);

/// ?1 endpoints. Two nodes lock them in the same order; what is read afterwards is as it is once they are locked.
pub(crate) const LOCK: &str =
    "SELECT s.endpoint FROM endpoint_sequence s WHERE s.endpoint = ANY($1) ORDER BY s.endpoint FOR UPDATE";

/// Arrays: ?1 endpoint, ?2 how many numbers; ?3 node, ?4 epoch. Answers with endpoint, last number, state, terms, and
/// whether no other node has something in flight of a lane with terms. The lock makes numbers appear in the order of commits, and nothing be queued for an
/// endpoint that was disabled before.
pub(crate) const COUNT_ON: &str = "UPDATE endpoint_sequence s SET last = s.last + u.n FROM UNNEST($1::bytea[], $2::bigint[]) \
     AS u (endpoint, n) WHERE s.endpoint = u.endpoint RETURNING s.endpoint, s.last, s.state, s.terms, \
     s.terms IS NULL OR NOT EXISTS (SELECT 1 FROM delivery_queue o WHERE o.lane = s.lane AND o.number IS NOT NULL \
     AND o.node IS NOT NULL AND (o.node IS DISTINCT FROM $3 OR o.epoch IS DISTINCT FROM $4))";

/// Something that happened, and the callbacks of the job that it is about.
pub(crate) type Told<'a> = (Occasion<'a>, &'a Callbacks);

/// The endpoints of these tenants that may hear of it.
pub(crate) async fn asking(tx: &Transaction<'_>, told: &[Told<'_>]) -> Result<Vec<Arc<Endpoint>>, Fault> {
    if told.is_empty() {
        return Ok(Vec::new());
    }
    let mut tenants: Vec<i64> = told.iter().map(|(occasion, _)| occasion.tenant.0).collect();
    tenants.sort_unstable();
    tenants.dedup();
    let mask = told.iter().fold(0, |mask, (occasion, _)| mask | EventSet::mask(occasion.event.kind));
    let named = told.iter().flat_map(|(_, callbacks)| callbacks.named());
    let named: Vec<Id> = named.map(|named| Fixed(named.endpoint.to_bytes())).collect();
    let rows = tx.rows(ASKING, &[&tenants, &mask, &named]).await?;
    Ok(rows.iter().map(rows::endpoint).map(|read| read.map(Arc::new)).collect::<Result<_, _>>()?)
}

/// One delivery for each endpoint that hears of it, numbered in the order of `told`.
pub(crate) async fn deliver(
    tx: &Transaction<'_>,
    effects: &mut Effects,
    conclusion: &mut Conclusion<'_>,
    told: &[Told<'_>],
    endpoints: &[Arc<Endpoint>],
    not_to: impl Fn(&Occasion<'_>, EndpointId) -> bool,
) -> Result<(), Fault> {
    let mut deliveries = Vec::new();
    for (occasion, callbacks) in told {
        let hearers = occasion.hearers(endpoints, callbacks);
        deliveries.extend(hearers.filter(|e| !not_to(occasion, e.id)).map(|endpoint| (occasion, endpoint)));
    }
    let numbered = deliveries.iter().filter(|(occasion, _)| occasion.event.kind.is_sequenced());
    let mut wanted: BTreeMap<EndpointId, i64> = BTreeMap::new();
    for (_, endpoint) in numbered {
        *wanted.entry(endpoint.id).or_default() += 1;
    }
    let mut numbers = numbers(tx, wanted).await?;
    for (occasion, endpoint) in deliveries {
        let number = match numbers.get_mut(&endpoint.id) {
            Some(next) if occasion.event.kind.is_sequenced() => {
                let number = *next;
                next.sequence += 1;
                Some(number)
            }
            _ => None,
        };
        conclusion.deliver(occasion, Address::to_endpoint(occasion, endpoint, number), effects);
    }
    Ok(())
}

/// The first of as many numbers as each wants, and its state under the lock.
async fn numbers(
    tx: &Transaction<'_>,
    wanted: BTreeMap<EndpointId, i64>,
) -> Result<HashMap<EndpointId, Number>, Fault> {
    if wanted.is_empty() {
        return Ok(HashMap::new());
    }
    let ids: Vec<Id> = wanted.keys().map(|id| Fixed(id.to_bytes())).collect();
    let counts: Vec<i64> = wanted.values().copied().collect();
    let (node, epoch) = tx.fence().map_or((None, None), |fence| (Some(fence.node), Some(fence.epoch)));
    let lock = async { tx.rows(LOCK, &[&ids]).await };
    let count = async { tx.rows(COUNT_ON, &[&ids, &counts, &node, &epoch]).await };
    let (_, counted) = tokio::try_join!(biased; lock, count)?;
    let mut numbers = HashMap::with_capacity(counted.len());
    for row in counted {
        let id = EndpointId::from_u128(u128::from_be_bytes(super::submit::id_of(&row, 0)?));
        let (last, state): (i64, i64) = (row.try_get(1)?, row.try_get(2)?);
        let sequence = last - wanted.get(&id).copied().unwrap_or_default() + 1;
        let state = State::from_code(state).unwrap_or(State::Deleted);
        let terms = rows::terms(row.try_get(3)?)?;
        numbers.insert(id, Number { sequence, state, terms, ours: row.try_get(4)? });
    }
    Ok(numbers)
}
