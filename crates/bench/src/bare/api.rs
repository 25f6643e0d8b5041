//! Submissions in, one 202 each once it is recorded.

use std::{net::TcpListener, sync::atomic::Ordering::Relaxed};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderName, StatusCode, header},
    response::IntoResponse,
    routing::{get, post},
    serve::ListenerExt,
};
use domain::{id::JobId, time::Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{COUNTS, Job, Sink, now};
use crate::Outcome;

type Answer = (StatusCode, [(HeaderName, String); 2], String);

/// Serves on this thread, for ever.
pub(super) fn serve(listener: TcpListener, sink: Sink) -> Outcome<()> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let router = Router::new()
        .route("/v1/jobs", post(submit))
        .route("/readyz", get(async || StatusCode::OK))
        .route("/metrics", get(metrics))
        .with_state(sink);
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?.tap_io(|stream| {
            let _ = stream.set_nodelay(true);
        });
        Ok(axum::serve(listener, router).await?)
    })
}

#[derive(Deserialize)]
struct Request<'a> {
    task: &'a str,
    #[serde(borrow)]
    input: &'a RawValue,
    callback: &'a str,
}

async fn submit(State(sink): State<Sink>, body: Bytes) -> Result<Answer, StatusCode> {
    let request: Request<'_> = serde_json::from_slice(&body).map_err(|_| StatusCode::BAD_REQUEST)?;
    let created_at = now();
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    let id = JobId::new(Timestamp::from_micros(created_at), u128::from_ne_bytes(random));
    let job = Job { id, input: request.input.get().into(), callback: request.callback.into(), created_at };
    sink.submit(job).await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    let shown = format!(r#"{{"id":"{id}","task":"{}","status":"queued"}}"#, request.task);
    let headers =
        [(header::LOCATION, format!("/v1/jobs/{id}")), (header::CONTENT_TYPE, "application/json".to_owned())];
    Ok((StatusCode::ACCEPTED, headers, shown))
}

async fn metrics() -> impl IntoResponse {
    format!(
        "bare_statements_total {}\nbare_commits_total {}\n",
        COUNTS.statements.load(Relaxed),
        COUNTS.commits.load(Relaxed)
    )
}
