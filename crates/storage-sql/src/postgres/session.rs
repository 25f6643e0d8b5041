//! What a session is told before it does anything, and what it asks of the network under it.

use std::time::Duration;

use tokio_postgres::Config;

/// How long reaching the server may take.
const CONNECT: Duration = Duration::from_secs(5);

/// Everything is sought by key. A plan is made for the tables as they are each time a statement runs, but where
/// [`super::plans`] keeps it for a while.
const PLANNER: &[(&str, &str)] = &[
    ("jit", "off"),
    ("plan_cache_mode", "force_custom_plan"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("enable_material", "off"),
];

/// Every bound that keeps a node which froze, or whose network did, from holding what others need. All of them are well
/// under the lease, so that a takeover never waits for the dead.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// In a transaction, without a word from us.
    pub(crate) idle: Duration,
    /// For a row that somebody else has locked.
    lock: Duration,
    /// For bytes that nobody acknowledges.
    network: Duration,
}

impl Bounds {
    pub(crate) fn under(lease: Duration) -> Self {
        let part =
            |of: u32, most: u64| (lease / of).clamp(Duration::from_millis(500), Duration::from_secs(most));
        Self { idle: part(2, 5), lock: part(3, 2), network: part(2, 10) }
    }

    /// The same, with no more than `lock` for a row that somebody else has locked.
    pub(crate) fn waiting_at_most(self, lock: Duration) -> Self {
        Self { lock: self.lock.min(lock), ..self }
    }

    /// A hung connection is noticed within about twice the bound on unacknowledged bytes, asked or unasked.
    pub(crate) fn on_network(&self, config: &mut Config) {
        config
            .application_name("ringback")
            .connect_timeout(CONNECT)
            .keepalives_idle(self.network.max(Duration::from_secs(1)))
            .keepalives_interval(Duration::from_secs(1))
            .keepalives_retries(3)
            .tcp_user_timeout(self.network);
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        let millis = |span: Duration| format!("{}ms", span.as_millis());
        let mut all = vec![
            ("idle_in_transaction_session_timeout", millis(self.idle)),
            ("lock_timeout", millis(self.lock)),
        ];
        all.extend(PLANNER.iter().map(|(name, value)| (*name, (*value).to_owned())));
        all
    }

    /// For the whole of a session of our own.
    pub(crate) fn session(&self) -> String {
        let mut all = self.settings();
        all.push(("tcp_user_timeout", format!("{}ms", self.network.as_millis())));
        all.extend(
            [
                ("client_min_messages", "warning"),
                ("standard_conforming_strings", "on"),
                ("default_transaction_isolation", "read committed"),
            ]
            .map(|(name, value)| (name, value.to_owned())),
        );
        all.iter().map(|(name, value)| format!("SET {name} = '{value}'; ")).collect()
    }

    /// How a transaction begins whose session belongs to a pooler: what is set ends with it.
    pub(crate) fn begin_pooled(&self) -> String {
        let local: String =
            self.settings().iter().map(|(name, value)| format!("; SET LOCAL {name} = '{value}'")).collect();
        format!("BEGIN ISOLATION LEVEL READ COMMITTED{local}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_under_the_lease() {
        for (lease, idle, lock, network) in
            [(30, 5_000, 2_000, 10_000), (6, 3_000, 2_000, 3_000), (2, 1_000, 666, 1_000), (1, 500, 500, 500)]
        {
            let bounds = Bounds::under(Duration::from_secs(lease));
            let millis = [bounds.idle, bounds.lock, bounds.network].map(|span| span.as_millis());
            assert_eq!(millis, [idle, lock, network], "{lease} s");
        }
    }

    #[test]
    fn a_pooled_transaction_leaves_nothing_behind() {
        let begin = Bounds::under(Duration::from_secs(30)).begin_pooled();
        assert!(begin.starts_with("BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL idle"), "{begin}");
        assert!(begin.split("; ").skip(1).all(|part| part.starts_with("SET LOCAL ")), "{begin}");
    }
}
