//! Name look-ups, bounded in time, one at a time for each name, and in number in all ([`Places`]).
//!
//! Hundreds of names that never answer hold up no receiver that works, known or new: a look-up that has not answered
//! promptly goes on as one that hangs, and ends if too many do.

use std::{
    collections::HashMap,
    net::IpAddr,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use domain::callback_url::HostPattern;
use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use hickory_resolver::{
    ResolverBuilder, TokioResolver,
    config::{LookupIpStrategy, ResolverConfig},
    net::{NetError, runtime::TokioRuntimeProvider},
};
use tokio::time::{Instant, timeout_at};

use super::{
    error::{Failure, SetupError, is_ours},
    places::{Pace, Place, Places},
};

/// Names whose last look-up is remembered. Beyond them all are forgotten at once: a name costs a few bytes, and being
/// new again costs a receiver nothing while places are free.
const REMEMBERED: usize = 10_000;

/// A look-up that has gone on for longer hangs, for all that is known. It goes on, unless a quarter of the places are
/// taken by such already: only then does a name suffer whose servers are slower than this.
const PROMPT: Duration = Duration::from_millis(200);

type Answer = Result<Arc<[IpAddr]>, Failure>;

pub(crate) struct Resolver {
    hickory: TokioResolver,
    /// Looked up as this machine looks names up, search list included; every other name is absolute.
    local: Vec<HostPattern>,
    timeout: Duration,
    places: Arc<Places>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// One look-up for a name at a time: whoever asks meanwhile waits for its answer.
    under_way: HashMap<Arc<str>, Shared<BoxFuture<'static, Answer>>>,
    /// How the last look-up of a name went.
    last: HashMap<Arc<str>, Pace>,
}

impl Resolver {
    /// Asks the name servers of this machine. `most` look-ups at a time, each of which may take `timeout`, waiting for
    /// its place included.
    pub(crate) fn new(local: Vec<HostPattern>, most: usize, timeout: Duration) -> Result<Self, SetupError> {
        let provider = TokioRuntimeProvider::default();
        let builder = TokioResolver::builder(provider.clone()).unwrap_or_else(|error| {
            // Without name servers, /etc/hosts and address literals still work.
            tracing::warn!(%error, "resolver_without_name_servers");
            TokioResolver::builder_with_config(ResolverConfig::default(), provider)
        });
        Self::of(builder, local, most, timeout)
    }

    pub(crate) fn of(
        mut builder: ResolverBuilder<TokioRuntimeProvider>,
        local: Vec<HostPattern>,
        most: usize,
        timeout: Duration,
    ) -> Result<Self, SetupError> {
        let options = builder.options_mut();
        options.edns0 = true;
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        // Two tries must fit into the bound, since the first datagram may be lost.
        options.timeout = options.timeout.min(timeout / 2);
        options.attempts = options.attempts.min(2);
        let hickory = builder.build().map_err(|error| SetupError::Resolver(error.to_string()))?;
        let places = Arc::new(Places::new(most));
        Ok(Self { hickory, local, timeout, places, known: Mutex::default() })
    }

    /// All addresses of a name, IPv4 first; never none.
    pub(crate) async fn resolve(self: &Arc<Self>, name: &str) -> Answer {
        let lookup = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(lookup) = known.under_way.get(name) {
                lookup.clone()
            } else {
                let key: Arc<str> = name.into();
                let pace = known.last.get(name).copied().unwrap_or(Pace::New);
                // A task of its own: whoever asked first may give up at its deadline while others still wait.
                let task = tokio::spawn(self.clone().look_up(key.clone(), pace));
                let lookup = task.map(|joined| joined.unwrap_or(Err(Failure::Stopped))).boxed().shared();
                known.under_way.insert(key, lookup.clone());
                lookup
            }
        };
        lookup.await
    }

    async fn look_up(self: Arc<Self>, name: Arc<str>, pace: Pace) -> Answer {
        let deadline = Instant::now() + self.timeout;
        let (answer, pace) = match (timeout_at(deadline, self.places.take(pace)).await, pace) {
            (Ok(place), _) => self.ask(&name, place, deadline).await,
            (Err(_), Pace::Hanging) => (Err(dns(&name, "too many other names do not answer")), pace),
            // Nothing is said against this name: it is we who had no place for it.
            (Err(_), _) => (Err(Failure::Local("too many names do not answer".into())), pace),
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.under_way.remove(&name);
        if known.last.len() >= REMEMBERED {
            known.last.clear();
        }
        known.last.insert(name, pace);
        answer
    }

    async fn ask(&self, name: &Arc<str>, mut place: Place, deadline: Instant) -> (Answer, Pace) {
        let began = Instant::now();
        // A name that got its place late had no time to answer, and is no worse than it was.
        let fair = deadline - began >= self.timeout / 2;
        let silent = if fair { Pace::Hanging } else { place.pace() };
        let mut lookup = pin!(self.hickory.lookup_ip(self.as_asked(name)));
        let answered = match timeout_at(deadline.min(began + PROMPT), &mut lookup).await {
            Err(_) if place.hangs() => timeout_at(deadline, lookup).await,
            Err(_) => {
                return (
                    Err(dns(name, "no prompt answer, and many other names do not answer at all")),
                    Pace::Hanging,
                );
            }
            answered => answered,
        };
        match answered {
            Ok(Ok(found)) => (addresses(name, found.iter()), Pace::Quick),
            Ok(Err(NetError::Timeout)) | Err(_) => (Err(dns(name, "no answer in time")), silent),
            Ok(Err(error)) => (Err(failure(name, &error)), Pace::Quick),
        }
    }

    /// A receiver's name is absolute: a search list would send the query, and then the event, to somebody's
    /// `hooks.example.com.corp.example`.
    fn as_asked(&self, name: &str) -> String {
        let local = self.local.iter().any(|pattern| pattern.matches(name));
        if local { name.to_owned() } else { format!("{name}.") }
    }
}

fn addresses(name: &Arc<str>, found: impl Iterator<Item = IpAddr>) -> Answer {
    let found: Arc<[IpAddr]> = found.collect();
    if found.is_empty() { Err(dns(name, "it has no address")) } else { Ok(found) }
}

fn dns(name: &Arc<str>, detail: &str) -> Failure {
    Failure::Dns { name: name.clone(), detail: detail.into() }
}

fn failure(name: &Arc<str>, error: &NetError) -> Failure {
    match error {
        NetError::Io(io) if is_ours(io, None) => Failure::Local(io.to_string()),
        error if error.is_nx_domain() => dns(name, "there is no such name"),
        error if error.is_no_records_found() => dns(name, "it has no address"),
        error => dns(name, &error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn localhost_is_found_without_a_name_server_and_asked_for_once_at_a_time() {
        let resolver = Resolver::new(vec!["localhost".parse().unwrap()], 4, Duration::from_secs(5)).unwrap();
        let resolver = Arc::new(resolver);
        let (one, two) = tokio::join!(resolver.resolve("localhost"), resolver.resolve("localhost"));
        for answer in [one, two] {
            assert!(answer.unwrap().iter().all(IpAddr::is_loopback));
        }
        assert!(resolver.known.lock().unwrap().under_way.is_empty());
    }
}
