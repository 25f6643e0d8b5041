//! What the engine's writer calls: it must be back at writing at once, so each of these locks the desk for a moment and
//! at most rings the bell.

use domain::{
    lane::{Lane, Standing, Terms},
    time::Timestamp,
};
use storage::{ClaimedDelivery, DeliveryTaker, Listener, Wake};

use crate::{desk::DELIVERIES, dispatcher::Dispatcher};

impl DeliveryTaker for Dispatcher {
    fn reserve(&self, lane: Lane, terms: Terms, now: Timestamp) -> bool {
        self.may_act() && self.desk().reserve(lane, terms, now)
    }

    fn unreserve(&self, lane: Lane) {
        let mut desk = self.desk();
        desk.unreserve(lane);
        if desk.is_overslept() {
            self.bell.notify_one();
        }
        if desk.is_idle() {
            self.quiet.notify_waiters();
        }
    }

    fn standing(&self, lane: Lane, now: Timestamp) -> Standing {
        let desk = self.desk();
        if desk.serves(lane) { desk.lanes.standing(lane, DELIVERIES, now) } else { Standing::default() }
    }

    fn take(&self, delivery: ClaimedDelivery) {
        if self.desk().take(delivery) {
            self.bell.notify_one();
        }
    }
}

impl Listener for Dispatcher {
    fn woken(&self, wakes: &[Wake]) {
        let mut desk = None;
        for wake in wakes {
            match wake {
                Wake::DeliveryDue { lane, due } => desk.get_or_insert_with(|| self.desk()).touch(*lane, *due),
                Wake::SecretsChanged { tenant } => self.signer.forget(*tenant),
                Wake::Uncertain => desk.get_or_insert_with(|| self.desk()).doubt(self.clock.now()),
                Wake::JobDue { .. }
                | Wake::JobExpires { .. }
                | Wake::TaskPaused { .. }
                | Wake::CancelRequested { .. }
                | Wake::EndpointChanged { .. }
                | Wake::Happened { .. }
                | Wake::KeysRevoked
                | Wake::TasksChanged
                | Wake::JobChanged { .. }
                | Wake::FleetChanged => {}
            }
        }
        if desk.is_some_and(|mut desk| desk.is_overslept()) {
            self.bell.notify_one();
        }
    }
}
