//! What an endpoint may be: the fields of its registration, and of a change.

use std::sync::Arc;

use domain::{
    callback::{Callback, Sealed},
    callback_url::UrlPolicy,
    endpoint::{Settings, State},
    event::{EVERY, EventKind, EventSet},
    header_rule::CustomHeaders,
    rate::{NotARate, Rate},
    secret::{Scheme, Secret},
    task::{TaskName, TaskSpec},
};
use serde_json::value::RawValue;

use crate::{
    object,
    problem::{Faults, Problem, pointer, table},
    submit::callback,
};

/// The longest description, in bytes.
const MOST_DESCRIPTION: usize = 1_024;

/// What the fields are judged by.
pub(super) struct Terms<'a> {
    pub(super) urls: &'a UrlPolicy,
    pub(super) tasks: &'a [TaskSpec],
    /// Seals headers for the endpoint.
    pub(super) seal: &'a dyn Fn(&CustomHeaders) -> Sealed,
}

/// What a change comes to.
pub(super) struct Change {
    pub(super) settings: Settings,
    /// What its state is to be, if that was said.
    pub(super) state: Option<State>,
    /// False: what it missed stays where it is.
    pub(super) recover: bool,
}

/// The body of a registration: its settings and, if it brought one, its secret.
pub(super) fn read_new(text: &str, terms: &Terms<'_>) -> Result<(Settings, Option<Secret>), Problem> {
    let mut draft = Draft { faults: Faults::default(), terms, fields: Fields::default() };
    let mut secret = None;
    draft.each(text, |draft, name, raw| match (name, raw) {
        ("secret", None) => true,
        ("secret", Some(raw)) => {
            secret = callback::secret_of_any_kind(raw, "/secret", &mut draft.faults);
            true
        }
        ("signature", None) => true,
        ("signature", Some(raw)) => {
            draft.fields.signature = scheme(raw, &mut draft.faults);
            true
        }
        _ => false,
    });
    if draft.fields.url.is_none() && !draft.fields.url_refused {
        draft.faults.add("/url", "required");
    }
    let signature = draft.fields.signature.unwrap_or(Scheme::Hmac);
    if secret.as_ref().is_some_and(|secret| secret.scheme() != signature) {
        let prefix = if signature == Scheme::Hmac { "whsec_" } else { "whsk_" };
        draft.faults.add("/secret", format!("must be a {prefix}… for the signature {signature}"));
    }
    Ok((draft.finish()?, secret))
}

/// The body of a change of what `before` says.
pub(super) fn read_change(text: &str, before: &Settings, terms: &Terms<'_>) -> Result<Change, Problem> {
    let mut draft = Draft { faults: Faults::default(), terms, fields: Fields::of(before) };
    let (mut state, mut recover) = (None, None);
    draft.each(text, |draft, name, raw| match (name, raw) {
        ("state", Some(raw)) => {
            let word = object::string(raw);
            state = word
                .and_then(|word| [State::Enabled, State::Disabled].into_iter().find(|s| s.name() == word));
            if state.is_none() {
                draft.faults.add("/state", "must be enabled or disabled");
            }
            true
        }
        ("recover", Some(raw)) => {
            recover = serde_json::from_str::<bool>(raw.get()).ok();
            if recover.is_none() {
                draft.faults.add("/recover", "must be true or false");
            }
            true
        }
        ("signature", raw) => {
            let given = raw.and_then(|raw| scheme(raw, &mut draft.faults));
            if given.is_some() && given != draft.fields.signature {
                draft.faults.add("/signature", "is set when an endpoint is registered; register another");
            }
            true
        }
        ("url", None) => {
            draft.faults.add("/url", "an endpoint has a URL");
            true
        }
        ("state" | "recover", None) => true,
        _ => false,
    });
    if recover.is_some() && state != Some(State::Enabled) {
        draft.faults.add("/recover", "goes with \"state\": \"enabled\"");
    }
    Ok(Change { settings: draft.finish()?, state, recover: recover.unwrap_or(true) })
}

/// Settings being read.
#[derive(Default)]
struct Fields {
    url: Option<domain::callback_url::CallbackUrl>,
    url_refused: bool,
    description: String,
    events: Option<EventSet>,
    tasks: Option<Vec<TaskName>>,
    headers: Option<Sealed>,
    retry: Option<domain::retry::RetryPolicy>,
    timeout: Option<domain::duration::Span>,
    max_in_flight: Option<u32>,
    rate_limit: Option<Rate>,
    ordered: bool,
    signature: Option<Scheme>,
}

impl Fields {
    fn of(settings: &Settings) -> Self {
        let Callback { url, events, headers, retry, timeout, .. } = Callback::clone(&settings.target);
        Self {
            url: Some(url),
            url_refused: false,
            description: settings.description.clone(),
            events: Some(events),
            tasks: settings.tasks.clone(),
            headers,
            retry,
            timeout,
            max_in_flight: settings.max_in_flight,
            rate_limit: settings.rate_limit,
            ordered: settings.ordered,
            signature: Some(settings.signature),
        }
    }
}

struct Draft<'a> {
    faults: Faults,
    terms: &'a Terms<'a>,
    fields: Fields,
}

impl Draft<'_> {
    /// Reads every member: first `own` may take it, then it is a setting or a fault. `null` is the default.
    fn each(&mut self, text: &str, mut own: impl FnMut(&mut Self, &str, Option<&RawValue>) -> bool) {
        let Some(pairs) = object::pairs(text) else {
            self.faults.add("", "must be an object");
            return;
        };
        for (name, raw) in pairs {
            let raw = (raw.get() != "null").then_some(raw);
            if !own(self, &name, raw) && !self.setting(&name, raw) {
                self.faults.add(pointer("", &name), "unknown field");
            }
        }
    }

    /// `false`: there is no such setting.
    fn setting(&mut self, name: &str, raw: Option<&RawValue>) -> bool {
        let faults = &mut self.faults;
        match name {
            "url" => self.fields.url = raw.and_then(|raw| self.url(raw)),
            "description" => {
                self.fields.description = raw.and_then(|raw| self.description(raw)).unwrap_or_default()
            }
            "events" => self.fields.events = raw.and_then(|raw| events(raw, faults)),
            "tasks" => self.fields.tasks = raw.and_then(|raw| self.tasks(raw)),
            "headers" => {
                let headers = raw.and_then(|raw| callback::headers(raw, "/headers", faults));
                self.fields.headers = headers.map(|headers| (self.terms.seal)(&headers));
            }
            "retry" => self.fields.retry = raw.and_then(|raw| callback::retry(raw, "/retry", faults)),
            "timeout" => self.fields.timeout = raw.and_then(|raw| callback::timeout(raw, "/timeout", faults)),
            "max_in_flight" => {
                self.fields.max_in_flight = raw.and_then(|raw| in_flight(raw, faults));
            }
            "rate_limit" => self.fields.rate_limit = raw.and_then(|raw| rate(raw, "/rate_limit", faults)),
            "ordered" => self.fields.ordered = raw.and_then(|raw| ordered(raw, faults)).unwrap_or_default(),
            _ => return false,
        }
        true
    }

    fn url(&mut self, raw: &RawValue) -> Option<domain::callback_url::CallbackUrl> {
        let url = match object::string(raw) {
            Some(text) => callback::url(&text, "/url", self.terms.urls, &mut self.faults),
            None => {
                self.faults.add("/url", "must be a string");
                None
            }
        };
        self.fields.url_refused = url.is_none();
        url
    }

    fn description(&mut self, raw: &RawValue) -> Option<String> {
        match object::string(raw) {
            Some(text) if text.len() <= MOST_DESCRIPTION => return Some(text.into_owned()),
            Some(_) => self.faults.add("/description", "at most 1 KiB"),
            None => self.faults.add("/description", "must be a string"),
        }
        None
    }

    fn tasks(&mut self, raw: &RawValue) -> Option<Vec<TaskName>> {
        let Ok(names) = serde_json::from_str::<Vec<&RawValue>>(raw.get()) else {
            self.faults.add("/tasks", "must be a list of task names");
            return None;
        };
        if names.is_empty() {
            self.faults.add("/tasks", "must name at least one task; leave it out for all");
        }
        let mut tasks = Vec::with_capacity(names.len());
        for (place, name) in names.into_iter().enumerate() {
            let name = object::string(name);
            match self.terms.tasks.iter().find(|task| name.as_deref() == Some(task.name.as_str())) {
                Some(task) => tasks.push(task.name.clone()),
                None => {
                    let at = format!("/tasks/{place}");
                    self.faults.add_as(&table::UNKNOWN_TASK, at, "there is no task of this name");
                }
            }
        }
        Some(tasks)
    }

    fn finish(self) -> Result<Settings, Problem> {
        let Fields { url, description, events, tasks, headers, retry, timeout, .. } = self.fields;
        let (max_in_flight, rate_limit, ordered) =
            (self.fields.max_in_flight, self.fields.rate_limit, self.fields.ordered);
        self.faults.finish()?;
        // Without a fault there is a URL.
        let url = url.ok_or_else(Problem::internal)?;
        let events = events.unwrap_or(EventSet::OF_ENDPOINTS);
        let target = Arc::new(Callback { url, events, headers, secret: None, retry, timeout });
        let signature = self.fields.signature.unwrap_or(Scheme::Hmac);
        Ok(Settings { target, description, tasks, max_in_flight, rate_limit, ordered, signature })
    }
}

/// The most that an endpoint may be sent at once: more than any server allows a lane.
const MOST_IN_FLIGHT: u32 = 10_000;

fn in_flight(raw: &RawValue, faults: &mut Faults) -> Option<u32> {
    let number = raw.get().parse::<u32>().ok().filter(|number| (1..=MOST_IN_FLIGHT).contains(number));
    if number.is_none() {
        faults.add("/max_in_flight", "must be a whole number, 1 to 10000");
    }
    number
}

/// A rate such as `"100/1s"`.
pub(super) fn rate(raw: &RawValue, at: &str, faults: &mut Faults) -> Option<Rate> {
    match object::string(raw).unwrap_or_default().parse() {
        Ok(rate) => return Some(rate),
        Err(error) => faults.add(at, NotARate::to_string(&error)),
    }
    None
}

fn scheme(raw: &RawValue, faults: &mut Faults) -> Option<Scheme> {
    let scheme = object::string(raw).and_then(|text| text.parse().ok());
    if scheme.is_none() {
        faults.add("/signature", "must be hmac or ed25519");
    }
    scheme
}

fn ordered(raw: &RawValue, faults: &mut Faults) -> Option<bool> {
    let ordered = serde_json::from_str(raw.get()).ok();
    if ordered.is_none() {
        faults.add("/ordered", "must be true or false");
    }
    ordered
}

/// `["*"]` is every kind, `[]` none.
fn events(raw: &RawValue, faults: &mut Faults) -> Option<EventSet> {
    let Ok(names) = serde_json::from_str::<Vec<&RawValue>>(raw.get()) else {
        faults.add("/events", "must be a list of event types");
        return None;
    };
    let (mut kinds, mut every) = (Vec::with_capacity(names.len()), false);
    for (place, name) in names.into_iter().enumerate() {
        let at = || format!("/events/{place}");
        match object::string(name) {
            Some(name) if name == EVERY => every = true,
            Some(name) => match name.parse::<EventKind>() {
                Ok(EventKind::EndpointPing) => {
                    faults.add(at(), "is sent to the endpoint that is pinged, always")
                }
                Ok(kind) => kinds.push(kind),
                Err(error) => faults.add(at(), error.to_string()),
            },
            None => faults.add(at(), "must be a string"),
        }
    }
    Some(if every { EventSet::EVERY } else { kinds.into_iter().collect() })
}
