//! How many jobs of each tenant wait: counters that commits keep, for what a tenant may have waiting.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use domain::id::Tenant;

/// Queued jobs, due or not, by tenant. An engine keeps them as it commits; one that shares its storage with others counts
/// anew from time to time.
#[derive(Default)]
pub struct Waiting(Mutex<HashMap<Tenant, u64>>);

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, HashMap<Tenant, u64>> {
        // Nothing that is done under the lock can be half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many of a tenant's wait.
    pub fn of(&self, tenant: Tenant) -> u64 {
        self.lock().get(&tenant).copied().unwrap_or(0)
    }

    /// One more waits.
    pub fn joined(&self, tenant: Tenant) {
        *self.lock().entry(tenant).or_default() += 1;
    }

    /// One waits no more.
    pub fn left(&self, tenant: Tenant) {
        let mut all = self.lock();
        if let Some(count) = all.get_mut(&tenant) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                all.remove(&tenant);
            }
        }
    }

    /// What a look at all that waits found.
    pub fn found(&self, counts: impl IntoIterator<Item = (Tenant, u64)>) {
        *self.lock() = counts.into_iter().collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_tenant_and_forgets_who_has_none() {
        let (waiting, [one, two]) = (Waiting::default(), [1, 2].map(Tenant));
        waiting.joined(one);
        waiting.joined(one);
        waiting.joined(two);
        waiting.left(one);
        assert_eq!((waiting.of(one), waiting.of(two)), (1, 1));
        waiting.left(two);
        waiting.left(two);
        assert_eq!((waiting.of(two), waiting.lock().len()), (0, 1));
        waiting.found([(two, 7)]);
        assert_eq!((waiting.of(one), waiting.of(two)), (0, 7));
    }
}
