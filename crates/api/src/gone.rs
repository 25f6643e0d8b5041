//! Jobs that are gone, or of which something is.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use domain::{
    chance::Moment,
    id::{JobId, Tenant},
    job::Job,
    retention::Tombstone,
};
use storage::Deleted;

use crate::{
    auth::Caller,
    body,
    openapi::shape,
    problem::{Problem, table},
    query::Query,
    request::Id,
    router::Api,
};

impl Api {
    /// One job, or why there is none.
    pub(crate) async fn job(&self, tenant: Tenant, id: JobId) -> Result<Job, Problem> {
        match self.engine.job(tenant, id).await? {
            Some(job) => Ok(job),
            None => Err(self.gone(Some(tenant), id).await),
        }
    }

    /// Why there is no such job, or not what was asked for of it: it was pruned or deleted (410), or it never was (404).
    /// Without a tenant: for a caller that bears a signed link.
    pub(crate) async fn gone(&self, tenant: Option<Tenant>, id: JobId) -> Problem {
        match self.engine.tombstone(tenant, id).await {
            Ok(Some(left)) => return Problem::pruned(left),
            Ok(None) => {}
            Err(error) => return error.into(),
        }
        let Some(tenant) = tenant else { return Problem::not_found() };
        match self.engine.job(tenant, id).await {
            Ok(job) => job.as_ref().and_then(left).map_or_else(Problem::not_found, Problem::pruned),
            Err(error) => error.into(),
        }
    }
}

/// What a job that has ended would leave.
pub(crate) fn left(job: &Job) -> Option<Tombstone> {
    let ended = job.ended()?;
    let (task, status) = (job.task.clone(), ended.ending.status());
    Some(Tombstone { id: job.id, task, status, finished_at: ended.finished_at })
}

/// Delete a job that has ended
///
/// Everything of it goes with it, deliveries and attempts too, and what was still to be sent is not sent. What is left says
/// that it was there, and how it ended.
#[utoipa::path(
    delete, path = "/v1/jobs/{id}", tag = "jobs", operation_id = "deleteJob",
    params(("id" = shape::JobId, Path)),
    request_body = Option<shape::Nothing>,
    responses((status = 204, description = "It is gone.")),
    extensions(("x-problems" = json!(["job-not-finished"]))),
)]
pub(crate) async fn delete(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Id(id): Id<JobId>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, unread) = request.into_parts();
    body::empty_object(&parts.headers, unread, api.limits.max_body).await?;
    Query::none(&parts.uri)?;
    match api.engine.delete_job(caller.tenant, id, Moment::of(&*api.clock)).await? {
        Deleted::Done => Ok(StatusCode::NO_CONTENT.into_response()),
        Deleted::NotFinished => {
            Err(Problem::new(&table::JOB_NOT_FINISHED, "Only a job that has ended can be deleted."))
        }
        Deleted::Missing => Err(api.gone(Some(caller.tenant), id).await),
    }
}
