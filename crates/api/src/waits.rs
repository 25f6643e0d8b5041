//! Who waits for a job: woken by the commit that changes it, never by asking again and again.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
};

use domain::id::{JobId, Tenant};
use storage::{Listener, Wake};
use tokio::sync::Notify;

/// Over so many at once, a wait is not held: the client gets today's state and asks again. Each holds a connection and
/// a few hundred bytes.
const MOST: usize = 10_000;

/// Everybody who waits for a job. The engine knows it as a [`Listener`].
#[derive(Default)]
pub struct Waits {
    /// Read without the lock on every commit: mostly nobody waits.
    count: AtomicUsize,
    waiting: Mutex<HashMap<JobId, Vec<Arc<Entry>>>>,
    /// Those who listen to a tenant's feeds.
    listening: Mutex<HashMap<Tenant, Vec<Arc<Notify>>>>,
}

/// What a wait is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Until {
    /// The job has ended.
    Ended,
    /// Anything about it is different.
    Changed,
}

struct Entry {
    until: Until,
    woken: Notify,
}

/// One who waits. Registered before the state is read, so that no change falls between the two.
pub(crate) struct Waiter {
    waits: Arc<Waits>,
    job: JobId,
    entry: Arc<Entry>,
}

impl Waits {
    /// Nobody waits yet.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, Vec<Arc<Entry>>>> {
        // Nothing that is done under the lock can be half done.
        self.waiting.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// `None`: too many wait already.
    pub(crate) fn register(self: &Arc<Self>, job: JobId, until: Until) -> Option<Waiter> {
        if self.count.fetch_add(1, Ordering::SeqCst) >= MOST {
            self.count.fetch_sub(1, Ordering::SeqCst);
            return None;
        }
        let entry = Arc::new(Entry { until, woken: Notify::new() });
        self.lock().entry(job).or_default().push(Arc::clone(&entry));
        Some(Waiter { waits: Arc::clone(self), job, entry })
    }
}

/// One who listens to a tenant's feeds. Made before they are read, so that nothing falls between the two.
pub(crate) struct Ear {
    waits: Arc<Waits>,
    tenant: Tenant,
    woken: Arc<Notify>,
}

impl Waits {
    fn ears(&self) -> MutexGuard<'_, HashMap<Tenant, Vec<Arc<Notify>>>> {
        self.listening.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// `None`: too many wait already.
    pub(crate) fn listen(self: &Arc<Self>, tenant: Tenant) -> Option<Ear> {
        if self.count.fetch_add(1, Ordering::SeqCst) >= MOST {
            self.count.fetch_sub(1, Ordering::SeqCst);
            return None;
        }
        let woken = Arc::new(Notify::new());
        self.ears().entry(tenant).or_default().push(Arc::clone(&woken));
        Some(Ear { waits: Arc::clone(self), tenant, woken })
    }
}

impl Ear {
    /// Returns when something happened since this was made or last returned.
    pub(crate) async fn woken(&self) {
        self.woken.notified().await;
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        let mut ears = self.waits.ears();
        if let Some(of_tenant) = ears.get_mut(&self.tenant) {
            of_tenant.retain(|woken| !Arc::ptr_eq(woken, &self.woken));
            if of_tenant.is_empty() {
                ears.remove(&self.tenant);
            }
        }
        drop(ears);
        self.waits.count.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Waiter {
    /// Returns when the job changed since this was registered or last returned.
    pub(crate) async fn woken(&self) {
        self.entry.woken.notified().await;
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut waiting = self.waits.lock();
        if let Some(entries) = waiting.get_mut(&self.job) {
            entries.retain(|entry| !Arc::ptr_eq(entry, &self.entry));
            if entries.is_empty() {
                waiting.remove(&self.job);
            }
        }
        drop(waiting);
        self.waits.count.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Listener for Waits {
    fn woken(&self, wakes: &[Wake]) {
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        let waiting = self.lock();
        for wake in wakes {
            match wake {
                Wake::JobChanged { job, ended } => {
                    for entry in waiting.get(job).into_iter().flatten() {
                        if *ended || entry.until == Until::Changed {
                            // One permit is kept for a waiter that is not listening at this instant.
                            entry.woken.notify_one();
                        }
                    }
                }
                Wake::Happened { tenant } => {
                    self.ears().get(tenant).into_iter().flatten().for_each(|woken| woken.notify_one());
                }
                Wake::Uncertain => waiting.values().flatten().for_each(|entry| entry.woken.notify_one()),
                _ => {}
            }
        }
    }

    fn awaited(&self) -> Vec<JobId> {
        if self.count.load(Ordering::SeqCst) == 0 {
            return Vec::new();
        }
        self.lock().keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::{future::Future, pin::pin, task};

    use super::*;

    fn ready(future: impl Future) -> bool {
        let mut context = task::Context::from_waker(task::Waker::noop());
        pin!(future).poll(&mut context).is_ready()
    }

    #[test]
    fn wakes_who_waits_for_it_and_forgets_who_left() {
        let waits = Waits::new();
        let [one, other] = [1, 2].map(JobId::from_u128);
        let ended = waits.register(one, Until::Ended).unwrap();
        let changed = waits.register(one, Until::Changed).unwrap();
        let stranger = waits.register(other, Until::Changed).unwrap();
        waits.woken(&[Wake::JobChanged { job: one, ended: false }]);
        assert_eq!(
            (ready(ended.woken()), ready(changed.woken()), ready(stranger.woken())),
            (false, true, false)
        );
        waits.woken(&[Wake::JobChanged { job: one, ended: true }]);
        assert_eq!(
            (ready(ended.woken()), ready(changed.woken()), ready(stranger.woken())),
            (true, true, false)
        );
        assert!(!ready(ended.woken()), "a permit is used once");
        waits.woken(&[Wake::Uncertain]);
        assert!(ready(stranger.woken()));
        drop((ended, changed, stranger));
        assert_eq!((waits.count.load(Ordering::SeqCst), waits.lock().len()), (0, 0));
    }

    #[test]
    fn tells_who_listens_to_a_feed() {
        let waits = Waits::new();
        let (ear, other) = (waits.listen(Tenant(1)).unwrap(), waits.listen(Tenant(2)).unwrap());
        waits.woken(&[Wake::Happened { tenant: Tenant(1) }]);
        assert_eq!((ready(ear.woken()), ready(ear.woken()), ready(other.woken())), (true, false, false));
        drop((ear, other));
        assert_eq!((waits.count.load(Ordering::SeqCst), waits.ears().len()), (0, 0));
    }

    #[test]
    fn is_bounded() {
        let waits = Waits::new();
        let held: Vec<_> =
            (0..MOST).map(|n| waits.register(JobId::from_u128(n as u128), Until::Ended)).collect();
        assert!(held.iter().all(Option::is_some));
        assert!(waits.register(JobId::from_u128(0), Until::Ended).is_none());
        drop(held);
        assert!(waits.register(JobId::from_u128(0), Until::Ended).is_some());
    }
}
