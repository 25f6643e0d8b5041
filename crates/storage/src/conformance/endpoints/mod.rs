//! Endpoints: who hears of what under which number, what becomes of it while one is closed, and what attempts say of it.

use std::sync::Arc;

use domain::{
    callback::{Callback, Callbacks, Sealed},
    delivery::{Reason, State},
    endpoint::{Endpoint, Plan, Settings},
    event::{Event, EventSet},
    id::{EndpointId, RecoveryId},
    job::Job,
    lane::Lane,
};

use super::fixture::*;
use crate::{ClaimedDelivery, DeliveryFilter, Put, PutEndpoint, Written};

mod numbers;
mod recovery;
mod states;
mod terms;

pub use numbers::*;
pub use recovery::*;
pub use states::*;
pub use terms::*;

fn endpoint(number: u128, events: EventSet) -> Endpoint {
    let target = Callback { events, ..callback(&format!("n{number}.example"), &[]) };
    Endpoint {
        id: EndpointId::from_u128(number),
        tenant: TENANT,
        created_at: shown(0),
        version: 1,
        settings: Settings {
            target: Arc::new(target),
            description: "Orders".into(),
            tasks: None,
            max_in_flight: None,
            rate_limit: None,
            ordered: false,
            signature: domain::secret::Scheme::Hmac,
        },
        secret: Sealed(vec![7; 40]),
        previous: None,
        disabled: None,
    }
}

fn with(endpoint: &Endpoint) -> PutEndpoint {
    PutEndpoint { endpoint: endpoint.clone(), new: Some(9), recover: None, event: None, at: at(0) }
}

fn plan(number: u128, endpoint: EndpointId, reason: Option<Reason>) -> Plan {
    let id = RecoveryId::from_u128(number);
    let (since, until, rate, created_at) = (None, None, None, shown(0));
    Plan { id, tenant: TENANT, endpoint, reason, since, until, rate, created_at }
}

/// The next version of it.
fn change(endpoint: &mut Endpoint, change: impl FnOnce(&mut Endpoint), seconds: i64) -> PutEndpoint {
    endpoint.version += 1;
    change(endpoint);
    PutEndpoint { endpoint: endpoint.clone(), new: None, recover: None, event: None, at: at(seconds) }
}

impl Fixture<'_> {
    pub(super) async fn registered(&self, number: u128, events: EventSet) -> Endpoint {
        let endpoint = endpoint(number, events);
        assert_eq!(self.engine.put_endpoint(with(&endpoint)).await.unwrap(), Put::Done);
        endpoint
    }

    /// A job of this task that ends well.
    pub(super) async fn ends(&self, task: &str, callbacks: Callbacks, seconds: i64) -> Event {
        let claimed = self.running(Job { callbacks, ..job(task, seconds) }, seconds).await;
        let finish = done(&claimed, seconds);
        assert_eq!(self.engine.finish(finish.clone()).await.unwrap(), Written::Done);
        finish.event
    }

    /// What is to be sent to an endpoint, claimed; `beside`: what carries no number.
    pub(super) async fn sent_to(&self, id: EndpointId, beside: bool, seconds: i64) -> Vec<ClaimedDelivery> {
        let lane = if beside { Lane::beside_endpoint(id) } else { Lane::of_endpoint(id) };
        self.engine.claim_deliveries(vec![ask(lane, 100)], at(seconds)).await.unwrap().remove(0).claimed
    }

    /// Every delivery to an endpoint as number and state, oldest first.
    async fn told(&self, id: EndpointId) -> Vec<(Option<i64>, String)> {
        let filter = DeliveryFilter { endpoint: Some(id), ..all_deliveries() };
        let mut told: Vec<_> = self
            .engine
            .deliveries(filter)
            .await
            .unwrap()
            .items
            .iter()
            .map(|delivery| match delivery.state {
                State::Failed { reason, .. } => (delivery.sequence, reason.to_string()),
                _ => (delivery.sequence, delivery.status().to_string()),
            })
            .collect();
        told.sort();
        told
    }

    async fn tended(&self, seconds: i64) {
        for _ in 0..100 {
            if self.engine.tend_endpoints(at(seconds)).await.unwrap().is_none_or(|next| next > due(seconds)) {
                return;
            }
        }
        panic!("there is always more to do");
    }
}
