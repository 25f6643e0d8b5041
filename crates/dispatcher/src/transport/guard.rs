//! Judges the addresses that are about to be dialled. Our own are denied too: they are read at start and again when a
//! minute has passed, by whoever dials next, so that an idle server does nothing.

use std::{
    io,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use domain::{
    chance::Clock,
    egress::{Denied, EgressPolicy},
    time::Timestamp,
};

/// How long the list of our own addresses is good for.
const REREAD: Duration = Duration::from_secs(60);

pub(crate) struct Guard {
    clock: Arc<dyn Clock>,
    /// Ours whatever the interfaces say: behind an address translation they do not know all.
    given: Vec<IpAddr>,
    state: Mutex<State>,
}

struct State {
    policy: Arc<EgressPolicy>,
    read_at: Timestamp,
}

impl Guard {
    pub(crate) fn new(policy: EgressPolicy, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let given = policy.own;
        let policy = EgressPolicy { own: own_addresses(&given)?, ..policy };
        let state = State { policy: Arc::new(policy), read_at: clock.now() };
        Ok(Self { clock, given, state: Mutex::new(state) })
    }

    /// Those of `addresses` that may be dialled, in their order; if none may, why the first may not.
    pub(crate) fn admit(&self, addresses: &[IpAddr]) -> Result<Vec<IpAddr>, Option<Denied>> {
        let policy = self.policy();
        let mut denied = None;
        let mut admitted = Vec::with_capacity(addresses.len());
        for &address in addresses {
            match policy.judge(address) {
                Ok(()) => admitted.push(address),
                Err(why) => denied = denied.or(Some(why)),
            }
        }
        if admitted.is_empty() { Err(denied) } else { Ok(admitted) }
    }

    fn policy(&self) -> Arc<EgressPolicy> {
        let now = self.clock.now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if now.since(state.read_at) >= REREAD {
            state.read_at = now;
            // A list that cannot be read now is no reason to stop: the last one goes on holding.
            if let Ok(own) = own_addresses(&self.given)
                && own != state.policy.own
            {
                state.policy = Arc::new(EgressPolicy { own, ..(*state.policy).clone() });
            }
        }
        state.policy.clone()
    }
}

fn own_addresses(given: &[IpAddr]) -> io::Result<Vec<IpAddr>> {
    let mut own: Vec<IpAddr> = if_addrs::get_if_addrs()?.iter().map(if_addrs::Interface::ip).collect();
    own.extend(given);
    own.sort_unstable();
    own.dedup();
    Ok(own)
}
