//! Opening: the server and the schema are looked at, then the lines are laid.

use std::{future::Future, pin::Pin, sync::Arc};

use tokio::{
    sync::{Mutex, Notify, oneshot, watch as watched},
    task::{JoinSet, LocalSet},
};
use tokio_postgres::Client;

use super::{
    Lines, Postgres, Running,
    fault::Fault,
    finish,
    line::{Line, Serving, Verb},
    link::{Address, Link},
    migrate, nodes,
    reads::Readers,
    watch::{self, Watch},
};
use crate::{
    OpenError, Options,
    admission::{Admission, PATIENCE},
    cold,
    copy::IS_UNFINISHED,
    effects::Hub,
};

/// 13: `xid8` columns.
const OLDEST: i32 = 130_000;

/// Connections that the lines have, and the one that hears of other nodes; reads have the rest.
const WRITING: u32 = 9;

/// More than this and they would but wait for each other.
const READING: u32 = 4;

type Start = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// Lays lines, and keeps what serves them until the thread is there.
struct Laying<'l> {
    address: &'l Address,
    hub: &'l Arc<Hub>,
    starts: Vec<Start>,
}

impl Laying<'_> {
    fn link(&self, statements: &[&[&'static str]]) -> Arc<Mutex<Link>> {
        self.link_to(self.address.clone(), statements)
    }

    /// The same for what runs all the time.
    fn busy(&self, statements: &[&[&'static str]]) -> Arc<Mutex<Link>> {
        self.link_to(self.address.clone().keeping_plans(), statements)
    }

    fn link_to(&self, address: Address, statements: &[&[&'static str]]) -> Arc<Mutex<Link>> {
        let mut statements = statements.concat();
        statements.sort_unstable();
        statements.dedup();
        Arc::new(Mutex::new(Link::new(address, statements)))
    }

    /// A line of one verb over a connection that it may share.
    fn line<V: Verb>(&mut self, link: &Arc<Mutex<Link>>) -> Line<V> {
        let (line, serving): (Line<V>, Serving<V>) = Line::new(link, self.hub);
        self.starts.push(Box::new(move || Box::pin(serving.run())));
        line
    }

    /// A line of one verb over a connection of its own.
    fn hot<V: Verb>(&mut self) -> Line<V> {
        let address = match V::REFUSES {
            true => self.address.waiting_at_most(PATIENCE),
            false => self.address.clone(),
        };
        let link = self.link_to(address.keeping_plans(), &[V::STATEMENTS]);
        self.line(&link)
    }

    fn lay(&mut self) -> Lines {
        use super::{
            access, attach, claims, endpoints, let_go, midway, nodes, report, reseal, retention, seldom,
            takeover,
        };
        let claiming = self.busy(&[claims::ClaimJobs::STATEMENTS, claims::ClaimExpired::STATEMENTS]);
        let midway = self.busy(&[
            midway::Requeues::STATEMENTS,
            midway::Announcements::STATEMENTS,
            report::Reports::STATEMENTS,
        ]);
        let lease = self.link(&[
            nodes::Joins::STATEMENTS,
            nodes::Extends::STATEMENTS,
            nodes::Shares::STATEMENTS,
            nodes::Leaves::STATEMENTS,
        ]);
        let seldom = self.link(&[
            seldom::Cancels::STATEMENTS,
            finish::STATEMENTS,
            seldom::BringForward::STATEMENTS,
            seldom::Resends::STATEMENTS,
            endpoints::Commands::STATEMENTS,
            access::EnsureTenant::STATEMENTS,
            access::RotateSecret::STATEMENTS,
            access::CreateTenant::STATEMENTS,
            access::DeleteTenant::STATEMENTS,
            access::CreateKey::STATEMENTS,
            access::RevokeKey::STATEMENTS,
            nodes::Drains::STATEMENTS,
            takeover::Takeovers::STATEMENTS,
            takeover::GiveBacks::STATEMENTS,
            seldom::PutBacks::STATEMENTS,
            attach::Attaches::STATEMENTS,
            let_go::LettingGo::STATEMENTS,
            retention::Prunes::STATEMENTS,
            retention::Forgets::STATEMENTS,
            retention::PrunesApart::STATEMENTS,
            retention::PrunesApart::STATEMENTS,
            seldom::Pauses::STATEMENTS,
            reseal::Reseals::STATEMENTS,
        ]);
        Lines {
            submissions: self.hot(),
            claim_jobs: self.line(&claiming),
            claim_expired: self.line(&claiming),
            finishes: self.hot(),
            requeues: self.line(&midway),
            announcements: self.line(&midway),
            reports: self.line(&midway),
            claim_deliveries: self.hot(),
            settlements: self.hot(),
            cancels: self.line(&seldom),
            bring_forward: self.line(&seldom),
            resends: self.line(&seldom),
            endpoints: self.line(&seldom),
            put_backs: self.line(&seldom),
            attaches: self.line(&seldom),
            letting_go: self.line(&seldom),
            prunes: self.line(&seldom),
            deletes: self.line(&seldom),
            forgets: self.line(&seldom),
            prunes_apart: self.line(&seldom),
            ensure_tenant: self.line(&seldom),
            rotate_secret: self.line(&seldom),
            create_tenant: self.line(&seldom),
            delete_tenant: self.line(&seldom),
            create_key: self.line(&seldom),
            revoke_key: self.line(&seldom),
            pauses: self.line(&seldom),
            reseal: self.line(&seldom),
            joins: self.line(&lease),
            extends: self.line(&lease),
            shares: self.line(&lease),
            drains: self.line(&seldom),
            leaves: self.line(&lease),
            takeovers: self.line(&seldom),
            give_backs: self.line(&seldom),
        }
    }
}

impl Postgres {
    /// Opens a database that has this version's schema.
    pub async fn open(url: &str, options: &Options) -> Result<Self, OpenError> {
        let mut address = Address::parse(url, options.lease)?;
        let hub = Arc::new(Hub::default());
        let client = address.connect().await?;
        look(&client, options.pooled).await?;
        // Looked at again when it joins; said here, before anything of this node is there.
        if client.query_typed(IS_UNFINISHED, &[]).await?.first().is_some_and(|row| row.get(0)) {
            return Err(OpenError::Unfinished);
        }
        if options.pooled {
            address = address.pooled(&client, &statements()).await?;
        }
        count_waiting(&address, &hub).await?;
        drop(client);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let reading = options.connections.saturating_sub(WRITING).clamp(1, READING);
        let readers = Readers::new(address.clone(), runtime.handle().clone(), reading as usize);
        let mut laying = Laying { address: &address, hub: &hub, starts: Vec::new() };
        let lines = laying.lay();
        let (mut starts, closing) = (laying.starts, Arc::new(Notify::new()));
        let watch = Watch::new(address, hub.clone(), closing.clone());
        if options.watches {
            starts.push(Box::new(move || Box::pin(watch.run())));
        }
        let (stop, stopped) = oneshot::channel::<()>();
        let (ends, ended) = watched::channel(false);
        let thread = std::thread::Builder::new().name("ringback-pg".into()).spawn(move || {
            LocalSet::new().block_on(&runtime, serve(starts, stopped));
            let _ = ends.send(true);
            // A look-up of a name may hang: nobody waits for it.
            runtime.shutdown_background();
        })?;
        let running = Running { thread, _stop: stop };
        let thread = std::sync::Mutex::new(Some(running));
        let (name, version) = (options.name.clone(), options.version.clone());
        let admission = Admission::default();
        Ok(Self { hub, admission, lines, readers, ended, thread, closing, name, version })
    }
}

/// Serves every line until all have ended, or until the engine is dropped.
async fn serve(starts: Vec<Start>, mut stopped: oneshot::Receiver<()>) {
    let mut serving = JoinSet::new();
    for start in starts {
        serving.spawn_local(start());
    }
    let all = async { while serving.join_next().await.is_some() {} };
    tokio::select! {
        _ = &mut stopped => {}
        () = all => {}
    }
}

/// Everything that is ever run, for a pooler's connections: the types of parameters are looked up once.
fn statements() -> Vec<&'static str> {
    use super::{
        access, attach, claims, endpoints, let_go, midway, report, reseal, retention, seldom, settle, submit,
        takeover,
    };
    let mut all = [
        submit::Submissions::STATEMENTS,
        claims::ClaimJobs::STATEMENTS,
        claims::ClaimExpired::STATEMENTS,
        claims::ClaimDeliveries::STATEMENTS,
        finish::STATEMENTS,
        midway::Requeues::STATEMENTS,
        midway::Announcements::STATEMENTS,
        settle::Settlements::STATEMENTS,
        seldom::Cancels::STATEMENTS,
        seldom::Resends::STATEMENTS,
        seldom::PutBacks::STATEMENTS,
        seldom::BringForward::STATEMENTS,
        endpoints::Commands::STATEMENTS,
        access::EnsureTenant::STATEMENTS,
        access::RotateSecret::STATEMENTS,
        access::CreateTenant::STATEMENTS,
        access::DeleteTenant::STATEMENTS,
        access::CreateKey::STATEMENTS,
        access::RevokeKey::STATEMENTS,
        reseal::Reseals::STATEMENTS,
        nodes::Joins::STATEMENTS,
        nodes::Extends::STATEMENTS,
        nodes::Shares::STATEMENTS,
        nodes::Drains::STATEMENTS,
        nodes::Leaves::STATEMENTS,
        report::Reports::STATEMENTS,
        attach::Attaches::STATEMENTS,
        let_go::LettingGo::STATEMENTS,
        retention::Prunes::STATEMENTS,
        retention::Forgets::STATEMENTS,
        seldom::Pauses::STATEMENTS,
        seldom::PutBacks::STATEMENTS,
        seldom::BringForward::STATEMENTS,
        takeover::Takeovers::STATEMENTS,
        takeover::GiveBacks::STATEMENTS,
        watch::STATEMENTS,
        &[nodes::ROSTER, super::reads::EVENTS, super::ranges::RANGES, TASK_OF_LANE],
    ]
    .concat();
    all.extend(cold::ALL.iter().map(|(_, sql)| *sql));
    all.sort_unstable();
    all.dedup();
    all
}

/// What the server must be like, and what to do where it is not.
const LOOK: &str = "SELECT CAST(current_setting('server_version_num') AS INT), current_setting('server_version'), \
     current_setting('server_encoding'), current_setting('fsync'), current_setting('full_page_writes'), \
     current_setting('synchronous_commit'), current_setting('default_transaction_isolation'), pg_is_in_recovery()";

/// Whether this is a server that we know how to use, with the schema that we need.
pub(crate) async fn look(client: &Client, pooled: bool) -> Result<(), OpenError> {
    // Nothing is prepared: it may be a pooler that we speak to.
    let rows = client.query_typed(LOOK, &[]).await?;
    let refuse = |what: String| Err(OpenError::Server { what });
    let Some(row) = rows.first() else { return refuse("the server says nothing of itself".into()) };
    let (number, version, encoding): (i32, String, String) = (row.get(0), row.get(1), row.get(2));
    if number < OLDEST {
        return refuse(format!("PostgreSQL {version} is too old; 13 or later is needed"));
    }
    if row.get(7) {
        return refuse(
            "this server is a standby, which takes no writes; name the primary in storage.url".into(),
        );
    }
    if encoding != "UTF8" {
        return refuse(format!("the database's encoding is {encoding}; it must be UTF8"));
    }
    for (setting, value) in [("fsync", row.get::<_, &str>(3)), ("full_page_writes", row.get(4))] {
        if value != "on" {
            return refuse(format!(
                "the server has {setting} = {value}, so that a power cut loses what was answered; set it to on"
            ));
        }
    }
    let commit: &str = row.get(5);
    if matches!(commit, "off" | "local") {
        let what = format!(
            "synchronous_commit is {commit}, so that a crash loses what was answered; set it to on: \
             ALTER ROLE CURRENT_USER SET synchronous_commit = on"
        );
        match pooled {
            true => return refuse(what),
            false => tracing::warn!("{what} (this node does so for its own sessions)"),
        }
    }
    let isolation: &str = row.get(6);
    if isolation != "read committed" {
        return refuse(format!(
            "default_transaction_isolation is {isolation}, under which nodes that work side by side refuse each other's \
             writes; set it back: ALTER ROLE CURRENT_USER SET default_transaction_isolation = 'read committed'"
        ));
    }
    migrate::check(client).await
}

/// ?1 lane: the task of what waits in it.
const TASK_OF_LANE: &str = "SELECT j.task FROM job_queue q JOIN jobs j ON j.tenant = q.tenant AND j.id = q.id \
     WHERE q.lane = $1 AND q.node IS NULL LIMIT 1";

/// How many wait of each task, for the counters of a start.
async fn count_waiting(address: &Address, hub: &Hub) -> Result<(), OpenError> {
    let session = address.session(&[cold::WAITING, TASK_OF_LANE]).await?;
    let refused = |fault: Fault| OpenError::Server { what: fault.into_answer().to_string() };
    for row in session.rows(cold::WAITING, &[]).await.map_err(refused)? {
        let (lane, count): (i64, i64) = (row.get(0), row.get(1));
        let task = session.rows(TASK_OF_LANE, &[&lane]).await.map_err(refused)?;
        if let Some(task) = task.first().and_then(|row| row.get::<_, &str>(0).parse().ok()) {
            let before = hub.backlogs.of(&task, domain::time::Timestamp::default()).waiting;
            hub.backlogs.found(&task, before + u64::try_from(count).unwrap_or(0));
        }
    }
    Ok(())
}
