//! Tasks: what can be submitted, how busy it is, and pausing it. And which there are: a reload replaces them.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use axum::{
    extract::{Request, State},
    http::{HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use domain::{
    duration::Span,
    task::{TaskName, TaskSpec},
    time::Timestamp,
};
use serde::Serialize;
use serde_json::Value;
use storage::{Backlog, StorageError};

use crate::{
    auth::Caller,
    body,
    jobs::{self, List},
    openapi::{
        shape,
        task::{Task as TaskShape, TaskList},
    },
    problem::Problem,
    query::Query,
    request::Id,
    router::Api,
    submit::{BadSchema, Schemas},
};

/// Every task there is now, with its schema compiled.
pub(crate) struct Known {
    pub(crate) specs: Vec<TaskSpec>,
    pub(crate) schemas: Schemas,
}

impl Known {
    fn of(mut specs: Vec<TaskSpec>) -> Result<Self, BadSchema> {
        specs.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(Self { schemas: Schemas::compile(&specs)?, specs })
    }

    /// A task by name.
    pub(crate) fn task(&self, name: &str) -> Option<&TaskSpec> {
        self.specs.iter().find(|task| task.name.as_str() == name)
    }
}

/// What can be submitted: read by every call, replaced as a whole.
pub struct Tasks(RwLock<Arc<Known>>);

impl Tasks {
    /// These.
    ///
    /// # Errors
    /// If a task's `input_schema` is no JSON Schema.
    pub fn new(specs: Vec<TaskSpec>) -> Result<Arc<Self>, BadSchema> {
        Ok(Arc::new(Self(RwLock::new(Arc::new(Known::of(specs)?)))))
    }

    /// From now on these, and no others.
    ///
    /// # Errors
    /// If a task's `input_schema` is no JSON Schema; then nothing changes.
    pub fn replace(&self, specs: Vec<TaskSpec>) -> Result<(), BadSchema> {
        let known = Arc::new(Known::of(specs)?);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = known;
        Ok(())
    }

    /// As they are now.
    pub(crate) fn now(&self) -> Arc<Known> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[derive(Serialize)]
struct View<'a> {
    name: &'a TaskName,
    paused: bool,
    input_schema: Option<&'a Value>,
    timeout: Span,
    max_attempts: u32,
    concurrency: u32,
    waiting: u64,
    running: u64,
    /// Jobs that ended per second, over the last minute.
    pace: f64,
    /// Since when the job has been due that has waited longest.
    oldest_waiting: Option<Timestamp>,
}

/// What storage says about all tasks.
struct Standing {
    paused: Vec<TaskName>,
    oldest: HashMap<TaskName, Timestamp>,
    now: Timestamp,
}

impl Standing {
    async fn read(api: &Api) -> Result<Self, StorageError> {
        let paused = api.engine.paused_tasks().await?;
        let oldest = api.engine.oldest_waiting().await?.into_iter().collect();
        Ok(Self { paused, oldest, now: api.clock.now() })
    }

    fn view<'a>(&self, api: &Api, task: &'a TaskSpec) -> View<'a> {
        let Backlog { waiting, running, pace } = api.engine.backlogs().of(&task.name, self.now);
        View {
            name: &task.name,
            paused: self.paused.contains(&task.name),
            input_schema: task.input_schema.as_ref(),
            timeout: Span(task.timeout),
            max_attempts: task.retry.max_attempts(),
            concurrency: task.concurrency,
            waiting,
            running,
            pace,
            // What is only due later does not wait yet.
            oldest_waiting: self.oldest.get(&task.name).copied().filter(|due| *due <= self.now),
        }
    }
}

/// List tasks
///
/// All on one page.
#[utoipa::path(
    get, path = "/v1/tasks", tag = "tasks", operation_id = "listTasks",
    responses((status = 200, description = "Every task.", body = TaskList, headers(("Cache-Control")))),
)]
pub(crate) async fn list(State(api): State<Arc<Api>>, _: Caller, uri: Uri) -> Result<Response, Problem> {
    Query::none(&uri)?;
    let (known, standing) = (api.tasks.now(), Standing::read(&api).await?);
    let items = known.specs.iter().map(|task| standing.view(&api, task)).collect();
    Ok(List { items, next_cursor: None }.into_response())
}

/// Look at a task
#[utoipa::path(
    get, path = "/v1/tasks/{name}", tag = "tasks", operation_id = "getTask",
    params(("name" = shape::TaskName, Path)),
    responses((status = 200, description = "The task.", body = TaskShape, headers(("Cache-Control")))),
)]
pub(crate) async fn get(
    State(api): State<Arc<Api>>,
    _: Caller,
    Id(name): Id<TaskName>,
    uri: Uri,
) -> Result<Response, Problem> {
    Query::none(&uri)?;
    show(&api, &name, HeaderValue::from_static("private, no-cache")).await
}

async fn show(api: &Api, name: &TaskName, caching: HeaderValue) -> Result<Response, Problem> {
    let known = api.tasks.now();
    let task = known.task(name.as_str()).ok_or_else(Problem::not_found)?;
    let shown = Standing::read(api).await?.view(api, task);
    // Plain data always makes JSON.
    let mut response = jobs::json(StatusCode::OK, serde_json::to_vec(&shown).unwrap_or_default());
    response.headers_mut().insert(header::CACHE_CONTROL, caching);
    Ok(response)
}

/// Start nothing of a task
///
/// On any node, until it is resumed. What runs goes on. Repeated it changes nothing.
#[utoipa::path(
    post, path = "/v1/tasks/{name}/pause", tag = "tasks", operation_id = "pauseTask",
    params(("name" = shape::TaskName, Path)),
    request_body = Option<shape::Nothing>,
    responses((status = 200, description = "It is paused.", body = TaskShape, headers(("Cache-Control")))),
)]
pub(crate) async fn pause(
    State(api): State<Arc<Api>>,
    _: Caller,
    Id(name): Id<TaskName>,
    request: Request,
) -> Result<Response, Problem> {
    set(&api, name, request, true).await
}

/// Start jobs of a task again
#[utoipa::path(
    post, path = "/v1/tasks/{name}/resume", tag = "tasks", operation_id = "resumeTask",
    params(("name" = shape::TaskName, Path)),
    request_body = Option<shape::Nothing>,
    responses((status = 200, description = "It is not paused.", body = TaskShape, headers(("Cache-Control")))),
)]
pub(crate) async fn resume(
    State(api): State<Arc<Api>>,
    _: Caller,
    Id(name): Id<TaskName>,
    request: Request,
) -> Result<Response, Problem> {
    set(&api, name, request, false).await
}

async fn set(api: &Api, name: TaskName, request: Request, paused: bool) -> Result<Response, Problem> {
    let (parts, unread) = request.into_parts();
    body::empty_object(&parts.headers, unread, api.limits.max_body).await?;
    Query::none(&parts.uri)?;
    if api.tasks.now().task(name.as_str()).is_none() {
        return Err(Problem::not_found());
    }
    if paused {
        api.engine.pause_task(name.clone(), api.clock.wall()).await?;
    } else {
        api.engine.resume_task(name.clone()).await?;
    }
    tracing::info!(task = %name, paused, "task paused or resumed");
    show(api, &name, HeaderValue::from_static("no-store")).await
}
