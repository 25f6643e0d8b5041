//! Configuration: `ringback.toml`, then `RINGBACK_SECTION__KEY` (and `…_FILE` for secrets), then flags; each wins over
//! the one before. A key that nothing reads is an error that names it.

mod load;
mod show;
mod size;
mod tasks;

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use domain::{
    callback_url::{HostPattern, UrlPolicy},
    duration::Span,
    egress::EgressPolicy,
    rate::Rate,
    retry::RetryPolicy,
    vault::{MasterKey, Vault},
};
use serde::Deserialize;

pub use load::{ConfigError, DEFAULT_FILE, Sources, load};
pub use show::{Setting, settings};
pub use size::Size;
pub use tasks::TaskConfig;

/// Everything that can be set.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where it listens.
    pub server: Server,
    /// Where it keeps everything.
    pub storage: Storage,
    /// Who may call.
    pub auth: Auth,
    /// This process among others.
    pub node: Node,
    /// What encrypts secrets at rest.
    pub secrets: Secrets,
    /// How much a tenant may.
    pub limits: Limits,
    /// How long what has ended is kept.
    pub retention: Retention,
    /// How webhooks go out.
    pub delivery: Delivery,
    /// The kinds of work, by name.
    pub tasks: BTreeMap<String, TaskConfig>,
}

/// `[server]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Put before every link, such as `https://jobs.example.com`; empty for links without a host.
    pub public_url: String,
    /// The largest request body.
    pub max_body: Size,
    /// A second address, for the operator's pages: with it they are gone from the first.
    pub admin_listen: Option<SocketAddr>,
    /// Whose pages a browser lets call the API, such as `https://app.example.com`; or `*`.
    pub cors_origins: Vec<String>,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8202)),
            public_url: String::new(),
            max_body: Size(256 * 1024),
            admin_listen: None,
            cors_origins: Vec::new(),
        }
    }
}

/// `[storage]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Storage {
    /// `sqlite:PATH` or `postgres://user@host/db`.
    pub url: String,
    /// How many connections PostgreSQL gets from this node.
    pub connections: u32,
    /// The URL leads to a pooler that lends a connection out for a transaction (PgBouncer's `pool_mode = transaction`).
    pub pooled: bool,
}

impl Default for Storage {
    fn default() -> Self {
        Self { url: "sqlite:ringback.db".into(), connections: 16, pooled: false }
    }
}

impl Storage {
    /// The URL without its password.
    pub fn shown(&self) -> String {
        without_password(&self.url)
    }
}

/// A URL for people.
pub fn without_password(url: &str) -> String {
    match url::Url::parse(url) {
        Ok(mut url) if url.password().is_some() => {
            // A URL that has a password takes another one.
            let _ = url.set_password(Some("…"));
            url.to_string()
        }
        _ => url.to_owned(),
    }
}

/// `[auth]`
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Auth {
    /// 32 or more visible ASCII characters; operator, and admin of the tenant `default`.
    pub bootstrap_key: String,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Auth(…)")
    }
}

/// `[node]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Node {
    /// How long a silent node keeps its work.
    pub lease: Span,
    /// How long a stop waits for what is in flight.
    pub drain: Span,
}

impl Default for Node {
    fn default() -> Self {
        let seconds = |n| Span(Duration::from_secs(n));
        Self { lease: seconds(30), drain: seconds(30) }
    }
}

/// `[secrets]`
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Secrets {
    /// 32 bytes in base64.
    pub master_key: String,
    /// One more that opens: the key before, until `secrets rotate` is through.
    pub previous_master_key: String,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets(…)")
    }
}

/// `[limits]`. Jobs are counted by this node, endpoints where they are kept.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Jobs that a tenant may submit in a time.
    pub submit_per_tenant: RateLimit,
    /// Jobs of a tenant that may wait; 0 is no limit.
    pub waiting_per_tenant: u64,
    /// Endpoints that a tenant may have; 0 is no limit.
    pub endpoints_per_tenant: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { submit_per_tenant: RateLimit::default(), waiting_per_tenant: 0, endpoints_per_tenant: 1_000 }
    }
}

/// A rate, or `"0"`: none.
#[derive(Clone, Copy, Debug, Default)]
pub struct RateLimit(pub Option<Rate>);

impl std::fmt::Display for RateLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(rate) => rate.fmt(f),
            None => f.write_str("0"),
        }
    }
}

impl<'de> Deserialize<'de> for RateLimit {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        if text == "0" {
            return Ok(Self(None));
        }
        text.parse()
            .map(|rate| Self(Some(rate)))
            .map_err(|error| serde::de::Error::custom(format!("{error}; \"0\" is no limit")))
    }
}

/// `[retention]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Jobs with their events, deliveries and attempts, after their end.
    pub history: Span,
    /// What is left of a job then: that it was there, and how it ended.
    pub tombstones: Span,
}

impl Default for Retention {
    fn default() -> Self {
        let days = |n: u64| Span(Duration::from_secs(n * 24 * 3_600));
        Self { history: days(30), tombstones: days(90) }
    }
}

/// `[delivery]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Delivery {
    /// Callbacks may be `http://`.
    pub allow_http: bool,
    /// Ports beside 443, 80 and those from 1024 up.
    pub allow_ports: Vec<u16>,
    /// Addresses that may be dialled although they are private or special.
    pub allow_cidrs: Vec<ipnet::IpNet>,
    /// Names that may have one label or a private suffix; exact, or `*.suffix`.
    pub allow_hosts: Vec<String>,
    /// From name look-up to the last byte.
    pub timeout: Span,
    /// For the look-up and for the TCP connect, each.
    pub connect_timeout: Span,
    /// Requests out at once, in all.
    pub max_in_flight: u32,
    /// Requests out at once to one destination, at most.
    pub per_lane_in_flight: u32,
    /// Certificates trusted beside the public ones, PEM.
    pub ca_file: Option<PathBuf>,
    /// When to try again, for callbacks that do not say.
    pub retry: RetryPolicy,
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            allow_http: false,
            allow_ports: Vec::new(),
            allow_cidrs: Vec::new(),
            allow_hosts: Vec::new(),
            timeout: Span(Duration::from_secs(15)),
            connect_timeout: Span(Duration::from_secs(5)),
            max_in_flight: 1024,
            per_lane_in_flight: 32,
            ca_file: None,
            retry: RetryPolicy::default_delivery(),
        }
    }
}

impl Delivery {
    /// What judges addresses; `own` are the addresses of this machine's interfaces.
    pub fn egress(&self, own: Vec<std::net::IpAddr>) -> EgressPolicy {
        EgressPolicy { allow: self.allow_cidrs.clone(), own }
    }

    /// What judges callback URLs.
    pub fn url_policy(&self, own: Vec<std::net::IpAddr>) -> Result<UrlPolicy, ConfigError> {
        Ok(UrlPolicy {
            allow_http: self.allow_http,
            allow_ports: self.allow_ports.clone(),
            allow_hosts: self.host_patterns()?,
            egress: self.egress(own),
        })
    }

    /// What is in `ca_file`, if one is set.
    pub fn authorities(&self) -> Result<Option<Vec<u8>>, ConfigError> {
        let read = |path: &PathBuf| {
            std::fs::read(path).map_err(|error| {
                let why = format!("names {}, which cannot be read: {error}", path.display());
                ConfigError::value("delivery.ca_file", why)
            })
        };
        self.ca_file.as_ref().map(read).transpose()
    }

    /// `allow_hosts`, read.
    pub fn host_patterns(&self) -> Result<Vec<HostPattern>, ConfigError> {
        let read = |text: &String| {
            text.parse::<HostPattern>().map_err(|error| ConfigError::value("delivery.allow_hosts", error))
        };
        self.allow_hosts.iter().map(read).collect()
    }
}

/// The longest total deadline that a callback or the server may set.
pub const LONGEST_DELIVERY: Duration = Duration::from_secs(60);

/// A scheme, a host, perhaps a port, and nothing behind them: as a browser sends it (RFC 6454 section 6.2).
fn is_origin(text: &str) -> bool {
    text == "*"
        || url::Url::parse(text).is_ok_and(|url| {
            matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == text
        })
}

impl Config {
    /// Checks everything that a wrong value could make fail later. All that is wrong is said at once.
    pub fn check(&self) -> Result<(), Vec<ConfigError>> {
        let mut errors = Vec::new();
        let mut unless = |ok: bool, key: &'static str, why: &str| {
            if !ok {
                errors.push(ConfigError::value(key, why));
            }
        };
        let public = &self.server.public_url;
        let readable = public.is_empty()
            || url::Url::parse(public).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
        unless(readable, "server.public_url", "must be a URL such as https://jobs.example.com");
        unless(!public.ends_with('/'), "server.public_url", "must not end with a slash");
        unless(
            self.server.cors_origins.iter().all(|origin| is_origin(origin)),
            "server.cors_origins",
            "must be a list of origins such as https://app.example.com: scheme, host and port, without a path; or *",
        );
        unless(self.server.max_body.0 > 0, "server.max_body", "must be more than 0");
        unless(self.storage.connections >= 10, "storage.connections", "must be at least 10");
        unless(self.node.lease.0 >= Duration::from_secs(2), "node.lease", "must be at least 2s");
        unless(!self.retention.history.0.is_zero(), "retention.history", "must not be 0");
        unless(!self.retention.tombstones.0.is_zero(), "retention.tombstones", "must not be 0");
        let timeout = self.delivery.timeout.0;
        unless(
            !timeout.is_zero() && timeout <= LONGEST_DELIVERY,
            "delivery.timeout",
            "must be up to 60s, and not 0",
        );
        unless(!self.delivery.connect_timeout.0.is_zero(), "delivery.connect_timeout", "must not be 0");
        unless(self.delivery.max_in_flight > 0, "delivery.max_in_flight", "must be more than 0");
        unless(self.delivery.per_lane_in_flight > 0, "delivery.per_lane_in_flight", "must be more than 0");
        errors.extend(self.delivery.host_patterns().err());
        errors.extend(self.delivery.authorities().err());
        for (name, task) in &self.tasks {
            errors.extend(task.spec(name).err().into_iter().flatten());
            if task.payload_retention.is_some_and(|kept| kept.0 > self.retention.history.0) {
                let key = format!("tasks.{name}.payload_retention");
                errors.push(ConfigError::value(&key, "must not be longer than retention.history"));
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// How long what has ended is kept.
    pub fn retention(&self) -> domain::retention::Retention {
        let kept =
            |(name, task): (&String, &TaskConfig)| Some((name.parse().ok()?, task.payload_retention?.0));
        domain::retention::Retention {
            history: self.retention.history.0,
            tombstones: self.retention.tombstones.0,
            payloads: self.tasks.iter().filter_map(kept).collect(),
        }
    }

    /// The master key. Refuses without one, with the line that makes one.
    pub fn master_key(&self) -> Result<MasterKey, ConfigError> {
        let text = &self.secrets.master_key;
        if text.is_empty() {
            return Err(ConfigError::Missing {
                key: "secrets.master_key",
                what: "It encrypts signing secrets at rest; keep it as long as the database.",
                make: "export RINGBACK_SECRETS__MASTER_KEY=\"$(openssl rand -base64 32)\"",
            });
        }
        MasterKey::parse(text)
            .map_err(|error| ConfigError::value("secrets.master_key", format!("does not fit: {error}")))
    }

    /// What seals and opens secrets: under the master key; what is under the previous one opens, too.
    pub fn vault(&self) -> Result<Vault, ConfigError> {
        const PREVIOUS: &str = "secrets.previous_master_key";
        let current = self.master_key()?;
        let previous = &self.secrets.previous_master_key;
        if previous.is_empty() {
            return Ok(Vault::new(current));
        }
        let previous = MasterKey::parse(previous)
            .map_err(|error| ConfigError::value(PREVIOUS, format!("does not fit: {error}")))?;
        if previous.expose() == current.expose() {
            let same = "is the same as secrets.master_key: give the one before it, or none";
            return Err(ConfigError::value(PREVIOUS, same));
        }
        Ok(Vault::new(current).with_previous(previous))
    }

    /// The bootstrap key, if there is one: keys in storage may do without.
    pub fn bootstrap_key(&self) -> Result<Option<&str>, ConfigError> {
        let key = self.auth.bootstrap_key.as_str();
        if key.is_empty() {
            return Ok(None);
        }
        if key.len() < 32 || !key.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(ConfigError::value(
                "auth.bootstrap_key",
                "must have 32 or more visible ASCII characters",
            ));
        }
        Ok(Some(key))
    }

    /// The refusal to start where nobody could call, with the line that makes a key.
    pub fn no_key() -> ConfigError {
        ConfigError::Missing {
            key: "auth.bootstrap_key",
            what: "Storage holds no key of an admin or operator either: nobody could call the API.",
            make: "export RINGBACK_AUTH__BOOTSTRAP_KEY=\"rbk_$(openssl rand -hex 24)\"",
        }
    }
}
