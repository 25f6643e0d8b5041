//! A transaction as pipelines: what does not need an answer in between leaves in one go, in this order.

use std::{cell::Cell, future::Future};

use domain::lease::Fence;
use storage::StorageError;
use tokio_postgres::Row;

use super::{
    fault::Fault,
    link::{Params, Session},
    marks::Marks,
};
use crate::effects::Hub;

/// An open transaction.
pub(crate) struct Transaction<'s> {
    session: &'s Session,
    fence: Option<Fence>,
    hub: &'s Hub,
    hurry: bool,
    committing: Cell<bool>,
}

/// ?1 node, ?2 epoch. Whoever writes its mark into rows holds its fence meanwhile, which a takeover must have alone: so either
/// the takeover waits for this commit, or the fence is gone or given up and this stops (it divides by no rows).
pub(crate) const STAND: &str = "SELECT 1 / count(*) FROM \
     (SELECT 1 FROM fences WHERE node = $1 AND epoch = $2 FOR KEY SHARE) f";

impl<'s> Transaction<'s> {
    pub(crate) fn new(session: &'s Session, hub: &'s Hub) -> Self {
        Self { session, fence: hub.fence(), hub, hurry: false, committing: Cell::new(false) }
    }

    /// The same, in a hurry if so ([`Session::begin`]).
    pub(crate) fn hurried(self, hurry: bool) -> Self {
        Self { hurry, ..self }
    }

    /// Of the lanes of jobs.
    pub(crate) fn job_marks(&self) -> &Marks {
        &self.hub.marks[0]
    }

    /// Of the lanes of deliveries.
    pub(crate) fn delivery_marks(&self) -> &Marks {
        &self.hub.marks[1]
    }

    /// Under what this node claims.
    pub(crate) fn fence(&self) -> Result<Fence, Fault> {
        self.fence.ok_or_else(|| StorageError::refused("this node has not joined yet").into())
    }

    pub(crate) async fn rows(&self, sql: &str, params: &Params<'_>) -> Result<Vec<Row>, Fault> {
        self.hub.costs.ran(1);
        self.session.rows(sql, params).await
    }

    pub(crate) async fn row(&self, sql: &str, params: &Params<'_>) -> Result<Option<Row>, Fault> {
        Ok(self.rows(sql, params).await?.pop())
    }

    pub(crate) async fn execute(&self, sql: &str, params: &Params<'_>) -> Result<u64, Fault> {
        self.hub.costs.ran(1);
        self.session.execute(sql, params).await
    }

    /// Makes sure that this node may write its mark ([`STAND`]).
    pub(crate) async fn stand(&self) -> Result<(), Fault> {
        let fence = self.fence()?;
        self.rows(STAND, &[&fence.node, &fence.epoch]).await.map(drop)
    }

    /// Begins, with the first statements behind it.
    pub(crate) async fn begin<T>(&self, first: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
        let (_, first) = tokio::try_join!(biased; self.session.begin(self.hurry), first)?;
        Ok(first)
    }

    /// Commits, with the last statements before it. Should one of them fail, the commit does nothing.
    pub(crate) async fn commit<T>(&self, last: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
        self.committing.set(true);
        let (last, ()) = tokio::try_join!(biased; last, self.session.simple("COMMIT"))?;
        self.hub.costs.committed();
        Ok(last)
    }

    /// True once a commit was sent.
    pub(crate) fn is_committing(&self) -> bool {
        self.committing.get()
    }

    /// Ends it, whatever state it is in.
    pub(crate) async fn roll_back(&self) -> Result<(), Fault> {
        self.session.simple("ROLLBACK").await
    }
}

/// Nothing to do in this place of a pipeline.
pub(crate) async fn nothing() -> Result<(), Fault> {
    Ok(())
}
