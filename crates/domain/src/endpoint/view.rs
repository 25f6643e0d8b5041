//! The endpoint as JSON: the same in answers and in events. Headers and secrets are never shown.

use serde::Serialize;

use super::{DisabledReason, Endpoint, State};
use crate::{
    callback_url::CallbackUrl, duration::Span, event::EventSet, id::EndpointId, rate::Rate,
    retry::RetryPolicy, secret::Scheme, task::TaskName, time::Timestamp,
};

/// The endpoint object of the contract, without what is counted.
#[derive(Serialize)]
pub struct View<'a> {
    id: EndpointId,
    url: &'a CallbackUrl,
    description: &'a str,
    events: EventSet,
    tasks: Option<&'a [TaskName]>,
    retry: Option<&'a RetryPolicy>,
    timeout: Option<Span>,
    max_in_flight: Option<u32>,
    rate_limit: Option<Rate>,
    ordered: bool,
    signature: Scheme,
    state: State,
    disabled_reason: Option<DisabledReason>,
    created_at: Timestamp,
}

impl Endpoint {
    /// As it is shown.
    pub fn view(&self) -> View<'_> {
        let (settings, target) = (&self.settings, &self.settings.target);
        View {
            id: self.id,
            url: &target.url,
            description: &settings.description,
            events: target.events,
            tasks: settings.tasks.as_deref(),
            retry: target.retry.as_ref(),
            timeout: target.timeout,
            max_in_flight: settings.max_in_flight,
            rate_limit: settings.rate_limit,
            ordered: settings.ordered,
            signature: settings.signature,
            state: self.state(),
            disabled_reason: self.disabled,
            created_at: self.created_at,
        }
    }
}
