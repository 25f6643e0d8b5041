//! `callback`: a URL, or an object with one.

use std::time::Duration;

use domain::{
    callback::{Callback, Callbacks, Named, Sealed},
    callback_url::{self, CallbackUrl, UrlPolicy},
    duration::{self, Span},
    event::{EventKind, EventSet},
    header_rule::CustomHeaders,
    id::EndpointId,
    retry::RetryPolicy,
    secret::{NotASecret, Secret},
};
use serde_json::{Value, value::RawValue};

use crate::{
    object,
    problem::{Faults, pointer, table},
};

/// What is said of an endpoint that is unknown, deleted or another tenant's.
pub(crate) const NO_ENDPOINT: &str = "there is no such endpoint";

/// The longest total deadline of one attempt.
const MOST_TIMEOUT: Duration = Duration::from_secs(60);

/// What a callback is judged by and sealed with.
pub(crate) struct Rules<'a> {
    pub(crate) urls: &'a UrlPolicy,
    /// Seals for the job that it comes with.
    pub(crate) seal: &'a dyn Fn(Confidential<'_>) -> Sealed,
}

/// What of a callback nobody may read in storage.
pub(crate) enum Confidential<'a> {
    Secret(&'a Secret),
    Headers(&'a CustomHeaders),
}

/// Reads the callback at `base`: a URL or an object with one, or the name of an endpoint. `None`: there are faults.
pub(crate) fn read(raw: &RawValue, base: &str, rules: &Rules<'_>, faults: &mut Faults) -> Option<Callbacks> {
    let names_endpoint = raw.get().starts_with('{')
        && object::pairs(raw.get()).is_some_and(|pairs| pairs.iter().any(|(name, _)| name == "endpoint"));
    if names_endpoint {
        return named(raw, base, faults).map(|named| Callbacks::with_named(Vec::new(), vec![named]));
    }
    read_url(raw, base, rules, faults).map(|callback| Callbacks::new(vec![callback]))
}

/// `{"endpoint", "events"}`. Whether there is such an endpoint is for storage to say.
fn named(raw: &RawValue, base: &str, faults: &mut Faults) -> Option<Named> {
    let [endpoint, events] = object::members(raw.get(), &["endpoint", "events"], base, faults)?;
    let at = |name: &str| format!("{base}/{name}");
    let id = endpoint.and_then(object::string).and_then(|text| text.parse::<EndpointId>().ok());
    if id.is_none() {
        faults.add(at("endpoint"), NO_ENDPOINT);
    }
    let events = events.map_or(Some(EventSet::TERMINAL), |raw| self::events(raw, &at("events"), faults));
    Some(Named { endpoint: id?, events: events? })
}

/// Reads the callback at `base`: a URL or an object with one. `None`: there are faults.
pub(crate) fn read_url(
    raw: &RawValue,
    base: &str,
    rules: &Rules<'_>,
    faults: &mut Faults,
) -> Option<Callback> {
    if let Some(text) = object::string(raw) {
        let url = url(&text, base, rules.urls, faults)?;
        return Some(Callback {
            url,
            events: EventSet::TERMINAL,
            headers: None,
            secret: None,
            retry: None,
            timeout: None,
        });
    }
    if !raw.get().starts_with('{') {
        faults.add(base, "must be a URL, or an object with one");
        return None;
    }
    let names = &["url", "events", "headers", "secret", "retry", "timeout"];
    let [url_raw, events, headers, secret, retry, timeout] = object::members(raw.get(), names, base, faults)?;
    let at = |name: &str| format!("{base}/{name}");
    let url = match url_raw.map(object::string) {
        None => {
            faults.add(at("url"), "required");
            None
        }
        Some(None) => {
            faults.add(at("url"), "must be a string");
            None
        }
        Some(Some(text)) => url(&text, &at("url"), rules.urls, faults),
    };
    Some(Callback {
        events: events.map_or(Some(EventSet::TERMINAL), |raw| self::events(raw, &at("events"), faults))?,
        headers: headers
            .and_then(|raw| self::headers(raw, &at("headers"), faults))
            .map(|headers| (rules.seal)(Confidential::Headers(&headers))),
        secret: secret
            .and_then(|raw| self::secret(raw, &at("secret"), faults))
            .map(|secret| (rules.seal)(Confidential::Secret(&secret))),
        retry: retry.and_then(|raw| self::retry(raw, &at("retry"), faults)),
        timeout: timeout.and_then(|raw| self::timeout(raw, &at("timeout"), faults)),
        url: url?,
    })
}

/// Judges a URL as sent.
pub(crate) fn url(text: &str, at: &str, policy: &UrlPolicy, faults: &mut Faults) -> Option<CallbackUrl> {
    match callback_url::judge(text, policy) {
        Ok(url) => Some(url),
        Err(refusal) => {
            let kind = table::find(refusal.slug()).unwrap_or(&table::CALLBACK_URL_INVALID);
            faults.add_as(kind, at, refusal.detail);
            None
        }
    }
}

fn events(raw: &RawValue, base: &str, faults: &mut Faults) -> Option<EventSet> {
    let Ok(names) = serde_json::from_str::<Vec<&RawValue>>(raw.get()) else {
        faults.add(base, "must be a list of event types");
        return None;
    };
    if names.is_empty() {
        faults.add(base, "must name at least one event type");
        return None;
    }
    let mut kinds = Vec::with_capacity(names.len());
    for (place, name) in names.into_iter().enumerate() {
        match object::string(name).map(|name| name.parse::<EventKind>()) {
            Some(Ok(kind)) if kind.is_of_job() => kinds.push(kind),
            Some(Ok(_)) => {
                faults.add(format!("{base}/{place}"), "not about a job: register an endpoint for it")
            }
            Some(Err(error)) => faults.add(format!("{base}/{place}"), error.to_string()),
            None => faults.add(format!("{base}/{place}"), "must be a string"),
        }
    }
    Some(kinds.into_iter().collect())
}

pub(crate) fn headers(raw: &RawValue, base: &str, faults: &mut Faults) -> Option<CustomHeaders> {
    let Some(pairs) = object::pairs(raw.get()) else {
        faults.add(base, "must be an object of strings");
        return None;
    };
    let mut read = Vec::with_capacity(pairs.len());
    for (name, value) in pairs {
        match object::string(value) {
            Some(value) => read.push((name.into_owned(), value.into_owned())),
            None => {
                faults.add(pointer(base, &name), "must be a string");
                return None;
            }
        }
    }
    match CustomHeaders::judge(read) {
        Ok(headers) => Some(headers).filter(|headers| !headers.is_empty()),
        Err(refusal) => {
            let at = refusal.name.as_deref().map_or_else(|| base.to_owned(), |name| pointer(base, name));
            faults.add_as(&table::HEADER_FORBIDDEN, at, refusal.detail);
            None
        }
    }
}

pub(crate) fn secret(raw: &RawValue, at: &str, faults: &mut Faults) -> Option<Secret> {
    read_secret(raw, at, Secret::parse, faults)
}

/// Or an Ed25519 pair.
pub(crate) fn secret_of_any_kind(raw: &RawValue, at: &str, faults: &mut Faults) -> Option<Secret> {
    read_secret(raw, at, Secret::parse_any, faults)
}

fn read_secret(
    raw: &RawValue,
    at: &str,
    parse: fn(&str) -> Result<Secret, NotASecret>,
    faults: &mut Faults,
) -> Option<Secret> {
    match object::string(raw).map(|text| parse(&text)) {
        Some(Ok(secret)) => return Some(secret),
        Some(Err(error)) => faults.add(at, error.to_string()),
        None => faults.add(at, "must be a string"),
    }
    None
}

pub(crate) fn retry(raw: &RawValue, base: &str, faults: &mut Faults) -> Option<RetryPolicy> {
    let Ok(value) = serde_json::from_str::<Value>(raw.get()) else {
        faults.add(base, "holds a number out of range");
        return None;
    };
    match RetryPolicy::from_value(&value) {
        Ok(policy) => Some(policy),
        Err(errors) => {
            for error in errors {
                faults.add(format!("{base}{}", error.pointer), error.detail);
            }
            None
        }
    }
}

pub(crate) fn timeout(raw: &RawValue, at: &str, faults: &mut Faults) -> Option<Span> {
    match object::string(raw).and_then(|text| duration::parse(&text).ok()) {
        Some(span) if !span.is_zero() && span <= MOST_TIMEOUT => return Some(Span(span)),
        Some(_) => faults.add(at, "must be above 0 and at most 1m"),
        None => faults.add(at, "must be a duration such as \"15s\""),
    }
    None
}
