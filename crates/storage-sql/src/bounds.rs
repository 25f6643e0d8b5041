//! How a list's filters on time become a range of ids, so that a page deep in history is a seek and not a walk.

use std::time::Duration;

use domain::{id::EventId, time::Timestamp};

/// An id's time is the scheduling clock's, `created_at` the wall clock's; they differ by no more than a wall clock that
/// was set wrong for a while.
const SLACK: Duration = Duration::from_secs(2 * 24 * 3600);

/// What a list is bounded by; both ends are left out.
pub(crate) struct Bounds {
    /// Ids below this one.
    pub(crate) below: [u8; 16],
    /// Ids above this one.
    pub(crate) above: [u8; 16],
    /// Microseconds.
    pub(crate) created_before: i64,
    /// Microseconds.
    pub(crate) created_after: i64,
}

/// The least id of this moment.
pub(crate) fn first_of(time: Timestamp) -> [u8; 16] {
    (u128::from(time.unix_millis()) << 80).to_be_bytes()
}

impl Bounds {
    pub(crate) fn of(after: Option<Timestamp>, before: Option<Timestamp>, id: Option<u128>) -> Self {
        let first_of = |time: Timestamp| u128::from(time.unix_millis()) << 80;
        let below = before.map_or(u128::MAX, |time| first_of(time + SLACK)).min(id.unwrap_or(u128::MAX));
        let above = after.map_or(0, |time| first_of(time - SLACK));
        Self {
            below: below.to_be_bytes(),
            above: above.to_be_bytes(),
            created_before: before.map_or(i64::MAX, Timestamp::micros),
            created_after: after.map_or(i64::MIN, Timestamp::micros),
        }
    }

    /// Only ids that were derived from this event's: they have its millisecond.
    pub(crate) fn of_event(self, event: Option<EventId>) -> Self {
        let Some(event) = event.map(EventId::as_u128) else { return self };
        let first = event >> 80 << 80;
        let (below, above) =
            (first.saturating_add(1 << 80).to_be_bytes(), first.saturating_sub(1).to_be_bytes());
        Self { below: below.min(self.below), above: above.max(self.above), ..self }
    }
}
