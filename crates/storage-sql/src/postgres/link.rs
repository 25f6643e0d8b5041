//! One connection with its statements prepared, made anew when it broke.

use std::{collections::HashMap, sync::Arc, time::Duration};

use storage::StorageError;
use tokio::{sync::mpsc::UnboundedSender, time::Instant};
use tokio_postgres::{
    Client, Config, Notification, Row, Statement,
    types::{ToSql, Type},
};

use super::{
    fault::{Fault, answered},
    plans::Plans,
    reads::for_postgres,
    session::Bounds,
    tls::Tls,
};

/// ?1 process, ?2 when it started: ends it, if it is still there.
const END_BACKEND: &str =
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1 AND backend_start::text = $2";

/// Long enough for a commit of somebody else's, short enough to try a few times.
const HURRY: Duration = Duration::from_millis(100);

/// The types of every statement's parameters.
type Types = HashMap<&'static str, Vec<Type>>;

/// Where and how to connect.
#[derive(Clone)]
pub(crate) struct Address {
    config: Config,
    tls: Tls,
    bounds: Bounds,
    /// Behind a pooler that gives a connection to each transaction nothing outlives one, no setting and no prepared
    /// statement: so each bears its settings, and each statement its types, which were looked up once.
    pooled: Option<Arc<Types>>,
    /// See [`Plans`].
    keeps_plans: bool,
}

impl Address {
    pub(crate) fn parse(url: &str, lease: Duration) -> Result<Self, crate::OpenError> {
        let (url, tls) = Tls::of(url)?;
        let mut config: Config = url.parse().map_err(crate::OpenError::Postgres)?;
        let bounds = Bounds::under(lease);
        bounds.on_network(&mut config);
        Ok(Self { config, tls, bounds, pooled: None, keeps_plans: false })
    }

    /// The same for what is rather refused than kept waiting for a lock.
    pub(crate) fn waiting_at_most(&self, lock: Duration) -> Self {
        Self { bounds: self.bounds.waiting_at_most(lock), ..self.clone() }
    }

    /// The same for few statements that are run all the time.
    pub(crate) fn keeping_plans(self) -> Self {
        Self { keeps_plans: !self.is_pooled(), ..self }
    }

    /// The same behind a pooler, with the types of `statements` looked up over `client`.
    pub(crate) async fn pooled(
        mut self,
        client: &Client,
        statements: &[&'static str],
    ) -> Result<Self, tokio_postgres::Error> {
        let mut types = Types::new();
        // One transaction: prepared and closed over one and the same connection of the pooler's.
        client.batch_execute("BEGIN").await?;
        for sql in statements {
            types.insert(*sql, client.prepare(&for_postgres(sql)).await?.params().to_vec());
        }
        client.batch_execute("COMMIT").await?;
        self.pooled = Some(Arc::new(types));
        Ok(self)
    }

    /// True if connections are a pooler's.
    pub(crate) fn is_pooled(&self) -> bool {
        self.pooled.is_some()
    }

    /// A bare connection. What drives it runs on the current runtime until the client is dropped.
    pub(crate) async fn connect(&self) -> Result<Client, tokio_postgres::Error> {
        self.tls.connect(&self.config, None).await
    }

    /// A connection that only reads.
    pub(crate) async fn reading(&self) -> Result<Client, tokio_postgres::Error> {
        let client = self.connect().await?;
        if !self.is_pooled() {
            client.batch_execute(&self.bounds.session()).await?;
            client.batch_execute("SET default_transaction_read_only = on").await?;
        }
        Ok(client)
    }

    /// The types of a statement's parameters, if it cannot be prepared.
    pub(crate) fn types(&self, sql: &str) -> Option<Result<&[Type], Fault>> {
        let types = self.pooled.as_ref()?;
        let unknown = || StorageError::refused(format!("not looked up: {sql}")).into();
        Some(types.get(sql).map(Vec::as_slice).ok_or_else(unknown))
    }

    /// A connection with the session's settings and these statements.
    pub(crate) async fn session(
        &self,
        statements: &[&'static str],
    ) -> Result<Session, tokio_postgres::Error> {
        let client = self.connect().await?;
        self.prepare(client, statements).await
    }

    /// The same, whose notifications go to `heard`.
    pub(crate) async fn listening(
        &self,
        statements: &[&'static str],
        heard: UnboundedSender<Notification>,
    ) -> Result<Session, tokio_postgres::Error> {
        let client = self.tls.connect(&self.config, Some(heard)).await?;
        self.prepare(client, statements).await
    }

    async fn prepare(
        &self,
        client: Client,
        statements: &[&'static str],
    ) -> Result<Session, tokio_postgres::Error> {
        let address = self.clone();
        if self.is_pooled() {
            return Ok(Session { client, address, prepared: HashMap::new(), plans: None, backend: None });
        }
        client.batch_execute(&self.bounds.session()).await?;
        // A server, role or database may have it off; what was answered must be there after a crash.
        let setting: String = client.query_one("SHOW synchronous_commit", &[]).await?.get(0);
        if setting == "off" || setting == "local" {
            client.batch_execute("SET synchronous_commit = on").await?;
        }
        let backend = client
            .query_one(
                "SELECT pid, backend_start::text FROM pg_stat_activity WHERE pid = pg_backend_pid()",
                &[],
            )
            .await?;
        let mut prepared = HashMap::with_capacity(statements.len());
        for sql in statements {
            prepared.insert(*sql, client.prepare(&for_postgres(sql)).await?);
        }
        let backend = Some(Backend { pid: backend.get(0), started: backend.get(1) });
        let plans = self.keeps_plans.then(|| Plans::new(Instant::now()));
        Ok(Session { client, address, prepared, plans, backend })
    }
}

/// Which server process was behind a connection.
#[derive(Clone, Debug)]
struct Backend {
    pid: i32,
    started: String,
}

/// A live connection.
pub(crate) struct Session {
    client: Client,
    address: Address,
    prepared: HashMap<&'static str, Statement>,
    plans: Option<Plans>,
    /// None of a pooler's: it is another one each time.
    backend: Option<Backend>,
}

/// What a statement is given.
pub(crate) type Params<'p> = [&'p (dyn ToSql + Sync)];

impl Session {
    pub(crate) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// The server process, where it is one.
    pub(crate) fn process(&self) -> Option<i32> {
        self.backend.as_ref().map(|backend| backend.pid)
    }

    fn statement(&self, sql: &str) -> Result<&Statement, Fault> {
        // Preparing on the way would wait, and let what is behind it in a pipeline overtake it.
        self.prepared.get(sql).ok_or_else(|| StorageError::refused(format!("not prepared: {sql}")).into())
    }

    pub(crate) async fn rows(&self, sql: &str, params: &Params<'_>) -> Result<Vec<Row>, Fault> {
        match self.address.types(sql) {
            Some(types) => typed(&self.client, sql, params, types?).await,
            None => Ok(self.client.query(self.statement(sql)?, params).await?),
        }
    }

    pub(crate) async fn execute(&self, sql: &str, params: &Params<'_>) -> Result<u64, Fault> {
        match self.address.types(sql) {
            Some(types) => {
                let params = with_types(params, types?);
                Ok(self.client.execute_typed(&for_postgres(sql), &params).await?)
            }
            None => Ok(self.client.execute(self.statement(sql)?, params).await?),
        }
    }

    /// Statements without parameters and rows.
    pub(crate) async fn simple(&self, sql: &str) -> Result<(), Fault> {
        Ok(self.client.batch_execute(sql).await?)
    }

    /// Begins a transaction; one in a hurry waits for a lock no longer than [`HURRY`].
    pub(crate) async fn begin(&self, hurry: bool) -> Result<(), Fault> {
        let mut begin = match self.address.is_pooled() {
            true => self.address.bounds.begin_pooled(),
            false => "BEGIN".to_owned(),
        };
        if let Some(plans) = &self.plans {
            begin.push_str(plans.begin(Instant::now()));
        }
        if hurry {
            begin.push_str(&format!("; SET LOCAL lock_timeout = '{}ms'", HURRY.as_millis()));
        }
        self.simple(&begin).await
    }
}

/// Runs a statement in one go, unprepared.
pub(crate) async fn typed(
    client: &Client,
    sql: &str,
    params: &Params<'_>,
    types: &[Type],
) -> Result<Vec<Row>, Fault> {
    Ok(client.query_typed(&for_postgres(sql), &with_types(params, types)).await?)
}

fn with_types<'p>(params: &Params<'p>, types: &[Type]) -> Vec<(&'p (dyn ToSql + Sync), Type)> {
    params.iter().copied().zip(types.iter().cloned()).collect()
}

/// A connection that is there when it is needed.
pub(crate) struct Link {
    address: Address,
    statements: Vec<&'static str>,
    session: Option<Session>,
    /// Whose last commit may or may not stand.
    lost: Vec<Option<Backend>>,
}

impl Link {
    pub(crate) fn new(address: Address, statements: Vec<&'static str>) -> Self {
        Self { address, statements, session: None, lost: Vec::new() }
    }

    /// The live session; connects if there is none.
    pub(crate) async fn session(&mut self) -> Result<&Session, Fault> {
        if self.session.as_ref().is_none_or(Session::is_closed) {
            let session = self.address.session(&self.statements).await;
            self.session = Some(session.map_err(Fault::Unconnected)?);
        }
        self.session.as_ref().ok_or_else(|| StorageError::Closed.into())
    }

    /// Gives up on the session. `unknown`: it was lost in a commit.
    pub(crate) fn lose(&mut self, unknown: bool) {
        let session = self.session.take();
        self.lost.extend(session.filter(|_| unknown).map(|session| session.backend));
    }

    /// Makes sure that the server processes of connections lost in a commit are over: what is read after this is what
    /// became of it.
    pub(crate) async fn outlive_lost(&mut self) -> Result<(), StorageError> {
        while let Some(lost) = self.lost.last().cloned() {
            match lost {
                Some(backend) => self.outlive(&backend).await?,
                // Nobody can be asked which process it was. A pooler breaks off what its client left; whatever is not
                // committed by then has been idle for too long.
                None => tokio::time::sleep(self.address.bounds.idle + Duration::from_secs(1)).await,
            }
            self.lost.pop();
        }
        Ok(())
    }

    async fn outlive(&mut self, lost: &Backend) -> Result<(), StorageError> {
        let session = self.session().await.map_err(Fault::into_answer)?;
        for _ in 0..100 {
            let ended = async { Ok(session.client.query(END_BACKEND, &[&lost.pid, &lost.started]).await?) };
            match answered(ended).await {
                Ok(ended) if ended.is_empty() => return Ok(()),
                Ok(_) => {}
                Err(fault) => {
                    self.lose(false);
                    return Err(fault.into_answer());
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err(StorageError::refused("a lost session does not end"))
    }
}
