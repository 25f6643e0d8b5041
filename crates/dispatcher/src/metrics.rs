//! What the stage counts. No tenant, no URL and no key is a label: their number has no bound.

use domain::delivery::{Attempt, Next};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

/// Counters of one [`crate::Dispatcher`].
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) in_flight: Gauge,
    pub(crate) claimed: Counter,
    pub(crate) repeats: Counter,
    attempts: Family<OutcomeLabel, Counter>,
    ended: Family<EndLabel, Counter>,
    duration: Histogram,
    queue: Histogram,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndLabel {
    status: &'static str,
    reason: &'static str,
}

/// Seconds: from a receiver on the same machine to the longest total deadline.
const SECONDS: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0];

impl Default for Metrics {
    fn default() -> Self {
        Self {
            in_flight: Gauge::default(),
            claimed: Counter::default(),
            repeats: Counter::default(),
            attempts: Family::default(),
            ended: Family::default(),
            duration: Histogram::new(SECONDS),
            queue: Histogram::new(SECONDS),
        }
    }
}

impl Metrics {
    /// Adds them to a registry without a prefix.
    pub(crate) fn register(&self, all: &mut Registry) {
        all.register(
            "ringback_delivery_attempts_in_flight",
            "Webhook requests that are out now",
            self.in_flight.clone(),
        );
        all.register(
            "ringback_deliveries_claimed",
            "Deliveries claimed from the queue, not born claimed",
            self.claimed.clone(),
        );
        all.register(
            "ringback_settlements_repeated",
            "Settlements that storage refused at first",
            self.repeats.clone(),
        );
        all.register("ringback_delivery_attempts", "Webhook requests by outcome", self.attempts.clone());
        all.register(
            "ringback_deliveries_ended",
            "Deliveries that succeeded or failed for good",
            self.ended.clone(),
        );
        let (duration, queue) = (self.duration.clone(), self.queue.clone());
        all.register_with_unit(
            "ringback_delivery_attempt_duration",
            "From name look-up to last byte",
            Unit::Seconds,
            duration,
        );
        all.register_with_unit("ringback_delivery_queue_wait", "From due to sent", Unit::Seconds, queue);
    }

    pub(crate) fn closed(&self, attempt: &Attempt) {
        self.attempts.get_or_create(&OutcomeLabel { outcome: attempt.outcome.name() }).inc();
        if let Some(total) = attempt.timings_ms.total {
            self.duration.observe(total / 1_000.0);
        }
        if let Some(queue) = attempt.timings_ms.queue {
            self.queue.observe(queue / 1_000.0);
        }
    }

    pub(crate) fn settled(&self, next: &Next) {
        let label = match next {
            Next::Succeeded => EndLabel { status: "succeeded", reason: "" },
            Next::Failed(reason) => EndLabel { status: "failed", reason: reason.name() },
            Next::Unchanged | Next::Again { .. } => return,
        };
        self.ended.get_or_create(&label).inc();
    }
}
