//! One running node: everything wired, started and stopped in order.
//!
//! Two threads, each with a runtime of its own, so that a burst of submissions never delays a webhook: the caller's
//! serves HTTP, the other runs work and sends deliveries. The engine brings its own.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use api::{KeyRing, Routers, Tasks, Waits};
use axum::Router;
use dispatcher::{Dispatcher, HttpTransport, Tending, TransportSettings};
use domain::{
    chance::{Clock, Dice, Moment},
    delivery::Rules,
    id::{Tenant, TenantId},
    result_link::ResultLinks,
    retention::Retention,
    seal::Place,
    secret::Secret,
    task::TaskSpec,
    vault::Vault,
};
use executor::{Executor, HttpUpstream};
use prometheus_client::registry::Registry;
use storage::{DeliveryTaker, Engine, JobTaker, Listener, Recovered, StorageError, Takers};
use tokio::net::TcpListener;

use crate::{
    ambient::{self, SystemClock, SystemDice},
    config::{self, Config, ConfigError, Sources},
    lease::Lease,
    listener,
    member::{self, Member},
    play::Play,
    retention::{self, Housekeeper},
    signals,
    storage_metrics::StorageMetrics,
    supervisor,
};

/// Ours.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// After the grace, storage has this long to take back what is left.
const CLOSING: Duration = Duration::from_secs(5);

/// How far a node's count of what waits may be behind what other nodes did.
const COUNTING: Duration = Duration::from_secs(5);

/// Descriptors kept for everything that is not a client's connection: storage, deliveries, upstreams, look-ups.
const DESCRIPTORS_KEPT: u64 = 256;

/// Client connections to the operator's address: scrapers, probes and a few people.
const ADMIN_CONNECTIONS: usize = 64;

/// Why a node did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NodeError {
    /// The configuration cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Several things in it cannot.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Configs(Vec<ConfigError>),
    /// Storage cannot be opened.
    #[error(transparent)]
    Open(#[from] storage_sql::OpenError),
    /// Storage cannot be read.
    #[error(transparent)]
    Storage(#[from] storage::StorageError),
    /// The port is taken, or not ours.
    #[error("cannot listen on {address}: {error}. Choose another with {keys}.")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Where another can be chosen.
        keys: &'static str,
        /// Why.
        error: std::io::Error,
    },
    /// The operating system refused a thread, a signal handler or a runtime.
    #[error("the operating system refused: {0}")]
    System(#[from] std::io::Error),
    /// Certificates, resolver or upstream client could not be set up.
    #[error("{0}")]
    Outbound(String),
}

/// What a node is made of.
pub(crate) struct Node {
    config: Config,
    clock: Arc<dyn Clock>,
    engine: Arc<dyn Engine>,
    vault: Arc<Vault>,
    executor: Arc<Executor>,
    dispatcher: Arc<Dispatcher>,
    routers: Routers,
    draining: Arc<AtomicBool>,
    tasks: Reloading,
    /// The engine holds it weakly.
    _waits: Arc<Waits>,
}

impl Node {
    /// Opens the storage, takes this node's place, takes back what a dead process held, and begins to run and to send.
    async fn start(config: Config, work: &Work) -> Result<Self, NodeError> {
        let (clock, dice) =
            (Arc::new(SystemClock::start()) as Arc<dyn Clock>, Arc::new(SystemDice) as Arc<dyn Dice>);
        let vault = Arc::new(config.vault()?);
        let links = Arc::new(ResultLinks::of(&vault));
        let specs = specs(&config)?;
        let tasks = Tasks::new(specs.clone()).map_err(outbound)?;

        let url = config.storage.url.clone();
        let options = storage_sql::Options {
            connections: config.storage.connections,
            pooled: config.storage.pooled,
            watches: true,
            lease: config.node.lease.0,
            name: ambient::name(),
            version: VERSION.into(),
        };
        let opened = work.run(async move { storage_sql::open(&url, options).await });
        let engine = opened.await??;
        ensure_tenant(&*engine, &vault, &*dice, &*clock).await?;
        let bootstrap_key = config.bootstrap_key()?.map(str::to_owned);
        if bootstrap_key.is_none() && !engine.has_administrator().await? {
            return Err(Config::no_key().into());
        }
        let lease = Lease::taken(clock.clone(), config.node.lease.0);
        let fence = engine.join(config.node.lease.0).await?;
        let may_act: Arc<dyn Fn() -> bool + Send + Sync> = {
            let lease = lease.clone();
            Arc::new(move || lease.may_act())
        };

        let mut registry = Registry::default();
        registry.register_collector(Box::new(StorageMetrics(engine.clone())));
        let executor = Executor::new(executor::Parts {
            engine: engine.clone(),
            tasks: Arc::new(specs),
            upstream: Arc::new(HttpUpstream::new(VERSION).map_err(outbound)?),
            clock: clock.clone(),
            dice: dice.clone(),
            links: links.clone(),
            public_url: config.server.public_url.clone(),
            may_act: may_act.clone(),
        });
        executor.register(&mut registry);
        let transport = HttpTransport::new(transport_settings(&config, clock.clone())?).map_err(outbound)?;
        let dispatcher = Dispatcher::new(dispatcher::Parts {
            engine: engine.clone(),
            transport,
            vault: vault.clone(),
            clock: clock.clone(),
            dice: dice.clone(),
            rules: Rules { retry: config.delivery.retry.clone(), timeout: config.delivery.timeout.0 },
            max_in_flight: config.delivery.max_in_flight,
            per_lane_in_flight: config.delivery.per_lane_in_flight,
            may_act: may_act.clone(),
        });
        let tending = Tending::new(engine.clone(), clock.clone(), may_act);
        dispatcher.register(&mut registry);
        let metrics = api::Metrics::default();
        metrics.register(&mut registry);
        let keys = KeyRing::new();
        let (waits, draining) = (Waits::new(), Arc::new(AtomicBool::new(false)));
        let member = Member::new(
            member::Parts {
                engine: engine.clone(),
                clock: clock.clone(),
                lease: lease.clone(),
                span: config.node.lease.0,
                grace: config.node.drain.0,
                executor: executor.clone(),
                dispatcher: dispatcher.clone(),
                tending: tending.clone(),
                draining: draining.clone(),
            },
            fence,
        );
        engine.attach(Takers {
            jobs: Some(weak(&executor) as Weak<dyn JobTaker>),
            deliveries: Some(weak(&dispatcher) as Weak<dyn DeliveryTaker>),
            listeners: vec![
                weak(&executor) as Weak<dyn Listener>,
                weak(&dispatcher) as _,
                weak(&tending) as _,
                weak(&waits) as _,
                weak(&keys) as _,
                weak(&member) as _,
            ],
        });
        let freed = engine.take_over(Moment::of(&*clock)).await?;
        if freed != Recovered::default() {
            tracing::info!(jobs = freed.jobs, deliveries = freed.deliveries, "took back what was under way");
        }
        if config.limits.waiting_per_tenant > 0 {
            engine.count_waiting().await?;
            work.runtime.spawn(keep_counting(engine.clone()));
        }
        // Its share of the tasks, before anything is accepted.
        let next = member.clone().renew().await;
        work.runtime.spawn(executor.clone().run(std::future::pending()));
        work.runtime.spawn(dispatcher.clone().run(std::future::pending()));
        work.runtime.spawn(tending.run());
        work.runtime.spawn(member.clone().stay(next));
        let retention = Arc::new(Mutex::new(Arc::new(config.retention())));
        work.runtime.spawn(Housekeeper::new(engine.clone(), clock.clone(), retention.clone()).run());

        let routers = api::routers(api::Parts {
            engine: engine.clone(),
            tasks: tasks.clone(),
            clock: clock.clone(),
            dice,
            vault: vault.clone(),
            links,
            public_url: config.server.public_url.clone(),
            url_policy: Arc::new(config.delivery.url_policy(Vec::new())?),
            bootstrap_key,
            keys,
            limits: api::Limits {
                max_body: usize::try_from(config.server.max_body.0).unwrap_or(usize::MAX),
                submit_per_tenant: config.limits.submit_per_tenant.0,
                waiting_per_tenant: config.limits.waiting_per_tenant,
                endpoints_per_tenant: config.limits.endpoints_per_tenant,
            },
            cors_origins: config.server.cors_origins.clone(),
            metrics,
            registry: Arc::new(registry),
            waits: waits.clone(),
            draining: draining.clone(),
            standing: lease,
        });
        let tasks = Reloading { tasks, executor: executor.clone(), member, retention };
        Ok(Self {
            config,
            clock,
            engine,
            vault,
            executor,
            dispatcher,
            routers,
            draining,
            tasks,
            _waits: waits,
        })
    }

    /// `dev`'s receiver.
    pub(crate) fn play(&self) -> Router {
        Play { engine: self.engine.clone(), vault: self.vault.clone(), clock: self.clock.clone() }.router()
    }

    /// Not ready, no new connections, no new starts; what is in flight ends within the grace, what does not is given
    /// back; the lease ends, and the storage is closed.
    async fn stop(self, server: tokio::task::JoinHandle<()>) {
        tracing::info!(drain = %self.config.node.drain, "stopping");
        self.draining.store(true, Ordering::Release);
        self.executor.drain();
        self.dispatcher.drain();
        let drained = async {
            self.executor.until_idle().await;
            self.dispatcher.until_idle().await;
            let _ = server.await;
        };
        if tokio::time::timeout(self.config.node.drain.0, drained).await.is_err() {
            tracing::warn!("the drain time is over; giving back what still runs");
        }
        let close = async {
            self.executor.give_back().await;
            self.dispatcher.give_back().await;
            if let Err(error) = self.tasks.member.leave().await {
                tracing::warn!(%error, "cannot leave; what is still held is free when the lease ends");
            }
            self.engine.close().await;
        };
        if tokio::time::timeout(CLOSING, close).await.is_err() {
            tracing::warn!("storage does not answer; the next start takes back what was under way");
        }
        tracing::info!("stopped");
    }
}

/// Where tasks are known, each of which a reload tells.
#[derive(Clone)]
struct Reloading {
    tasks: Arc<Tasks>,
    executor: Arc<Executor>,
    member: Arc<Member>,
    retention: retention::Shared,
}

impl Reloading {
    /// Reads the configuration again at each SIGHUP, and takes the tasks from it; all else is as it was at the start. What
    /// cannot work changes nothing.
    async fn watch(self, mut hangups: signals::Hangups, sources: Sources) {
        while hangups.next().await {
            match self.reload(&sources) {
                Ok(tasks) => tracing::info!(tasks, "tasks reloaded"),
                Err(error) => tracing::error!(%error, "tasks not reloaded; those from before stay"),
            }
        }
    }

    fn reload(&self, sources: &Sources) -> Result<usize, NodeError> {
        let config = config::load(sources)?;
        config.check().map_err(NodeError::Configs)?;
        let specs = specs(&config)?;
        self.tasks.replace(specs.clone()).map_err(outbound)?;
        self.executor.reload(&specs);
        self.member.share_anew();
        let mut retention = self.retention.lock().unwrap_or_else(PoisonError::into_inner);
        let payloads = config.retention().payloads;
        *retention = Arc::new(Retention { payloads, ..(**retention).clone() });
        Ok(specs.len())
    }
}

fn specs(config: &Config) -> Result<Vec<TaskSpec>, NodeError> {
    let specs: Result<_, _> = config.tasks.iter().map(|(name, task)| task.spec(name)).collect();
    specs.map_err(NodeError::Configs)
}

/// An `Arc`'s other half, ready to become that of a trait.
fn weak<T>(of: &Arc<T>) -> Weak<T> {
    Arc::downgrade(of)
}

fn outbound(error: impl std::fmt::Display) -> NodeError {
    NodeError::Outbound(error.to_string())
}

/// What waits of each tenant, as other nodes change it too.
async fn keep_counting(engine: Arc<dyn Engine>) {
    loop {
        tokio::time::sleep(COUNTING).await;
        match engine.count_waiting().await {
            Ok(()) => {}
            Err(StorageError::Closed) => return,
            Err(error) => tracing::warn!(%error, "cannot count what waits; limits go by the last count"),
        }
    }
}

/// The tenant `default` signs with a secret from the first start on.
async fn ensure_tenant(
    engine: &dyn Engine,
    vault: &Vault,
    dice: &dyn Dice,
    clock: &dyn Clock,
) -> Result<(), NodeError> {
    let (mut key, mut nonce) = ([0; 32], [0; 24]);
    dice.fill(&mut key);
    dice.fill(&mut nonce);
    let sealed = Place::Tenant(Tenant::DEFAULT).seal(vault, &Secret::from_bytes(key), nonce);
    let id = TenantId::new(clock.wall(), dice.bits());
    engine.ensure_default_tenant(id, sealed, clock.wall()).await?;
    // A master key that does not fit the database is found now, not at the first webhook.
    let secrets = engine.signing_secrets(Tenant::DEFAULT).await?;
    if let Some(secrets) = secrets {
        Place::Tenant(Tenant::DEFAULT)
            .open(vault, &secrets.current)
            .map_err(|error| NodeError::Config(ConfigError::value("secrets.master_key", error)))?;
    }
    Ok(())
}

fn transport_settings(config: &Config, clock: Arc<dyn Clock>) -> Result<TransportSettings, NodeError> {
    let delivery = &config.delivery;
    let descriptors = rlimit::getrlimit(rlimit::Resource::NOFILE).map_or(1024, |(soft, _)| soft);
    Ok(TransportSettings {
        egress: delivery.egress(Vec::new()),
        allow_hosts: delivery.host_patterns()?,
        connect_timeout: delivery.connect_timeout.0,
        ca_file: delivery.authorities()?,
        // Four descriptors each, and all of them below a quarter of the limit.
        max_lookups: usize::try_from(descriptors / 16).unwrap_or(usize::MAX).clamp(4, 1024),
        idle_per_host: delivery.per_lane_in_flight as usize,
        clock,
    })
}

/// The thread on which work runs and deliveries leave.
struct Work {
    runtime: tokio::runtime::Handle,
    /// Dropped to end it.
    _alive: tokio::sync::oneshot::Sender<()>,
}

impl Work {
    fn start() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (alive, ended) = tokio::sync::oneshot::channel::<()>();
        std::thread::Builder::new().name("work".into()).spawn(move || {
            let _ = runtime.block_on(ended);
            runtime.shutdown_background();
        })?;
        Ok(Self { runtime: handle, _alive: alive })
    }

    /// Runs a future there and waits for it here.
    async fn run<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> std::io::Result<T> {
        self.runtime.spawn(future).await.map_err(std::io::Error::other)
    }
}

/// Runs a node until it is told to stop.
pub(crate) fn serve(sources: Sources) -> Result<(), NodeError> {
    let config = config::load(&sources)?;
    serve_with(config, sources, |_| Router::new(), |_| std::future::ready(()))
}

/// The same, with routes of the caller's beside the API's, and something to do once it listens. `sources` are what `config`
/// came from, to read its tasks from again.
pub(crate) fn serve_with<F: Future<Output = ()> + Send + 'static>(
    config: Config,
    sources: Sources,
    beside: impl FnOnce(&Node) -> Router,
    listening: impl FnOnce(SocketAddr) -> F,
) -> Result<(), NodeError> {
    config.check().map_err(NodeError::Configs)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (stop, hangups) = (signals::watch_for_stop()?, signals::Hangups::watch()?);
        // The port first: whoever started two by mistake hears of it before the second touches the storage.
        let (listener, address) = bind(config.server.listen, "--listen or server.listen").await?;
        let admin = match config.server.admin_listen {
            Some(address) => Some(bind(address, "server.admin_listen").await?),
            None => None,
        };
        let connections = connections()?;
        let work = Work::start()?;
        let node = Node::start(config, &work).await?;
        let Routers { everything, without_operating } = node.routers.clone();
        let router = if admin.is_some() { without_operating } else { everything.clone() };
        let router = router.merge(beside(&node));
        let admin_address = admin.as_ref().map(|(_, address)| tracing::field::display(*address));
        tracing::info!(addr = %address, admin = admin_address, storage = node.config.storage.shown(), connections, "listening");
        tokio::spawn(node.tasks.clone().watch(hangups, sources));
        tokio::spawn(listening(address));
        let mut stopped = stop.clone();
        let admin = admin.map(|(listener, _)| listener::serve(listener, everything, ADMIN_CONNECTIONS, stop.clone()));
        let main = listener::serve(listener, router, connections, stop);
        let server = tokio::spawn(async move {
            match admin {
                Some(admin) => drop(tokio::join!(main, admin)),
                None => main.await,
            }
        });
        supervisor::ready();
        let _ = stopped.wait_for(|stop| *stop).await;
        supervisor::stopping();
        node.stop(server).await;
        drop(work);
        Ok(())
    })
}

/// Takes a port; `keys` are where another can be chosen.
async fn bind(address: SocketAddr, keys: &'static str) -> Result<(TcpListener, SocketAddr), NodeError> {
    let refused = |error| NodeError::Listen { address, keys, error };
    let listener = TcpListener::bind(address).await.map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    Ok((listener, address))
}

/// Raises the soft descriptor limit to the hard one, and says how many client connections that leaves room for.
fn connections() -> std::io::Result<usize> {
    let limit = rlimit::increase_nofile_limit(u64::MAX)?;
    // Half for clients; deliveries and upstreams need the others.
    Ok(usize::try_from(limit.saturating_sub(DESCRIPTORS_KEPT) / 2).unwrap_or(usize::MAX).clamp(16, 1 << 20))
}
