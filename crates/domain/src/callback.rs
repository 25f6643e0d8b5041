//! A callback: where one job's events go, given with the job.

use std::{sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    callback_url::CallbackUrl,
    duration::Span,
    event::{EventKind, EventSet},
    id::{EndpointId, Tenant},
    lane::Lane,
    retry::RetryPolicy,
};

/// One callback, as the job's row keeps it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Callback {
    /// Where to.
    pub url: CallbackUrl,
    /// What it asked to hear.
    pub events: EventSet,
    /// Sent with every request, sealed: their values may be credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers: Option<Sealed>,
    /// Its own signing secret, sealed; without one the tenant's signs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Sealed>,
    /// When to try again; without one the server's policy holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
    /// The total deadline of one attempt; without one the server's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
}

impl Callback {
    /// The lane of its host.
    pub fn lane(&self, tenant: Tenant) -> Lane {
        Lane::of_host(tenant, self.url.is_https(), &self.url.host().to_string(), self.url.port())
    }

    /// The total deadline of one attempt.
    pub fn timeout_or(&self, default: Duration) -> Duration {
        self.timeout.map_or(default, |span| span.0)
    }
}

/// Bytes that only the [`crate::vault::Vault`] can open; base64 in JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed(pub Vec<u8>);

impl Serialize for Sealed {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&BASE64_STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Sealed {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        BASE64_STANDARD.decode(text.as_bytes()).map(Self).map_err(serde::de::Error::custom)
    }
}

/// A callback that names a registered endpoint: it hears of this job whatever it hears of others.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    /// Which.
    pub endpoint: EndpointId,
    /// What it is to hear of this job.
    pub events: EventSet,
}

/// One entry of the row's list.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Entry {
    Named(Named),
    Callback(Box<Callback>),
}

/// What `callbacks` shows: no header and no secret.
#[derive(Serialize)]
#[serde(untagged)]
pub enum Shown<'a> {
    /// A URL.
    Url {
        /// Which.
        url: &'a CallbackUrl,
        /// What it hears.
        events: EventSet,
    },
    /// A registered endpoint.
    Endpoint(&'a Named),
}

/// How many callbacks a job may have.
pub const MOST: usize = 20;

/// What adding a callback comes to.
#[derive(Clone, Debug)]
pub enum With {
    /// They are these now.
    Added(Callbacks),
    /// One with the same URL and events is among them: it is that one.
    Already,
    /// There are [`MOST`] of them.
    Full,
}

/// All callbacks of a job, with the text that its row holds: whoever reads the row again sees by the text that nothing
/// changed, and parses nothing.
#[derive(Clone, Debug)]
pub struct Callbacks {
    text: Arc<str>,
    list: Arc<[Arc<Callback>]>,
    named: Arc<[Named]>,
}

impl Default for Callbacks {
    fn default() -> Self {
        Self { text: "[]".into(), list: Arc::new([]), named: Arc::new([]) }
    }
}

impl Callbacks {
    /// From what was judged and accepted.
    pub fn new(list: Vec<Callback>) -> Self {
        Self::with_named(list, Vec::new())
    }

    /// The same, with endpoints among them.
    pub fn with_named(list: Vec<Callback>, named: Vec<Named>) -> Self {
        if list.is_empty() && named.is_empty() {
            return Self::default();
        }
        let named_entries = named.iter().copied().map(Entry::Named);
        let entries: Vec<Entry> =
            list.iter().cloned().map(Box::new).map(Entry::Callback).chain(named_entries).collect();
        // Plain data with string keys always makes JSON.
        let text = serde_json::to_string(&entries).unwrap_or_else(|_| "[]".into());
        Self { text: text.into(), list: list.into_iter().map(Arc::new).collect(), named: named.into() }
    }

    /// From the row.
    pub fn stored(text: &str) -> Result<Self, serde_json::Error> {
        if text == "[]" {
            return Ok(Self::default());
        }
        let (mut list, mut named) = (Vec::new(), Vec::new());
        for entry in serde_json::from_str::<Vec<Entry>>(text)? {
            match entry {
                Entry::Callback(callback) => list.push(Arc::from(callback)),
                Entry::Named(endpoint) => named.push(endpoint),
            }
        }
        Ok(Self { list: list.into(), named: named.into(), text: text.into() })
    }

    /// From the row, when a copy from before is at hand.
    pub fn reread(&self, text: &str) -> Result<Self, serde_json::Error> {
        if *self.text == *text { Ok(self.clone()) } else { Self::stored(text) }
    }

    /// The same with one more behind them: the places of the others, and with them the ids of deliveries, stay.
    pub fn with(&self, callback: Callback) -> With {
        let same = |other: &Arc<Callback>| other.url == callback.url && other.events == callback.events;
        if self.list.iter().any(same) {
            return With::Already;
        }
        if self.list.len() + self.named.len() >= MOST {
            return With::Full;
        }
        let list = self.list.iter().map(|other| (**other).clone()).chain([callback]).collect();
        With::Added(Self::with_named(list, self.named.to_vec()))
    }

    /// The last of them.
    pub fn last(&self) -> Option<(u32, &Arc<Callback>)> {
        self.iter().last()
    }

    /// What the row holds.
    pub fn as_text(&self) -> &str {
        &self.text
    }

    /// Each URL; the place is part of a delivery's id.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Arc<Callback>)> {
        (0..).zip(self.list.iter())
    }

    /// The URL at a place.
    pub fn get(&self, place: u32) -> Option<&Arc<Callback>> {
        self.list.get(place as usize)
    }

    /// The URLs that asked for `kind`.
    pub fn asking_for(&self, kind: EventKind) -> impl Iterator<Item = (u32, &Arc<Callback>)> {
        self.iter().filter(move |(_, callback)| callback.events.has(kind))
    }

    /// True if one of them, URL or endpoint, asked for `kind`.
    pub fn ask_for(&self, kind: EventKind) -> bool {
        self.asking_for(kind).next().is_some() || self.named.iter().any(|named| named.events.has(kind))
    }

    /// The endpoints among them.
    pub fn named(&self) -> &[Named] {
        &self.named
    }

    /// True if one of the endpoints among them is to hear of `kind`.
    pub fn names(&self, endpoint: EndpointId, kind: EventKind) -> bool {
        self.named.iter().any(|named| named.endpoint == endpoint && named.events.has(kind))
    }

    /// Each of them changed.
    ///
    /// # Errors
    /// If `change` refuses one.
    pub fn try_map<E>(&self, mut change: impl FnMut(&Callback) -> Result<Callback, E>) -> Result<Self, E> {
        let list = self.list.iter().map(|callback| change(callback)).collect::<Result<_, E>>()?;
        Ok(Self::with_named(list, self.named.to_vec()))
    }

    /// What the API shows of them.
    pub fn shown(&self) -> impl Iterator<Item = Shown<'_>> {
        let urls =
            self.list.iter().map(|callback| Shown::Url { url: &callback.url, events: callback.events });
        urls.chain(self.named.iter().map(Shown::Endpoint))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_endpoints_read_back_each_in_its_list() {
        let callback = Callback {
            url: CallbackUrl::stored("https://a.example/hook").unwrap(),
            events: EventSet::TERMINAL,
            headers: None,
            secret: None,
            retry: None,
            timeout: None,
        };
        let named = Named { endpoint: EndpointId::from_u128(7), events: EventSet::EVERY };
        let callbacks = Callbacks::with_named(vec![callback], vec![named]);
        let read = Callbacks::stored(callbacks.as_text()).unwrap();
        assert_eq!((read.iter().count(), read.named()), (1, &[named][..]));
        assert!(read.names(named.endpoint, EventKind::JobStarted));
        assert!(!read.names(EndpointId::from_u128(8), EventKind::JobStarted));
        let shown = serde_json::to_value(read.shown().collect::<Vec<_>>()).unwrap();
        assert_eq!(shown[0]["url"], "https://a.example/hook");
        assert_eq!(shown[1], serde_json::json!({ "endpoint": named.endpoint, "events": ["*"] }));
    }

    fn to(host: &str, events: &[EventKind]) -> Callback {
        Callback {
            url: CallbackUrl::stored(&format!("https://{host}/hook")).unwrap(),
            events: events.iter().copied().collect(),
            headers: None,
            secret: None,
            retry: None,
            timeout: None,
        }
    }

    #[test]
    fn one_more_goes_behind_the_others_unless_it_is_one_of_them() {
        use EventKind::{JobFailed, JobSucceeded};
        let one = Callbacks::new(vec![to("a.example", &[JobSucceeded, JobFailed])]);
        for (name, callback, expected) in [
            ("same", to("a.example", &[JobFailed, JobSucceeded]), None),
            ("other events", to("a.example", &[JobFailed]), Some(2)),
            ("other URL", to("b.example", &[JobSucceeded, JobFailed]), Some(2)),
        ] {
            match (one.with(callback.clone()), expected) {
                (With::Already, None) => {}
                (With::Added(all), Some(count)) => {
                    assert_eq!(all.iter().count(), count, "{name}");
                    let (place, last) = all.last().unwrap();
                    assert_eq!((place, &last.url), (1, &callback.url), "{name}");
                    assert_eq!(Callbacks::stored(all.as_text()).unwrap().iter().count(), count, "{name}");
                }
                other => panic!("{name}: {other:?}"),
            }
        }
    }

    #[test]
    fn there_is_an_end_to_them() {
        let mut all = Callbacks::default();
        for n in 0..MOST {
            let With::Added(more) = all.with(to(&format!("{n}.example"), &[EventKind::JobFailed])) else {
                panic!("{n} is too many");
            };
            all = more;
        }
        assert!(matches!(all.with(to("more.example", &[EventKind::JobFailed])), With::Full));
        assert!(matches!(all.with(to("3.example", &[EventKind::JobFailed])), With::Already));
    }
}
