//! Jobs in, their signed webhooks out.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use domain::{
    id::EventId,
    secret::Secret,
    signature::{SigningKey, sign_with},
    time::Timestamp,
};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::sync::{Semaphore, mpsc};

use super::{Job, Sink, now};
use crate::Outcome;

/// Requests in flight at once.
const IN_FLIGHT: usize = 64;

struct Dispatcher {
    client: Client<HttpConnector, Full<Bytes>>,
    key: [SigningKey; 1],
    slots: Arc<Semaphore>,
    sink: Sink,
}

/// Sends from a thread of its own.
pub(super) fn start(mut jobs: mpsc::UnboundedReceiver<Job>, sink: Sink) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let dispatcher = Arc::new(Dispatcher {
        client: Client::builder(TokioExecutor::new()).build(connector),
        key: [SigningKey::new(&Secret::from_bytes([7; 32]))],
        slots: Arc::new(Semaphore::new(IN_FLIGHT)),
        sink,
    });
    super::spawn("dispatcher", move || {
        runtime.block_on(async {
            while let Some(job) = jobs.recv().await {
                let slot = Arc::clone(&dispatcher.slots).acquire_owned().await?;
                let dispatcher = Arc::clone(&dispatcher);
                tokio::spawn(async move {
                    let done = dispatcher.deliver(job).await;
                    drop(slot);
                    done
                });
            }
            Ok(())
        })
    })
}

impl Dispatcher {
    /// There is no second try: a webhook that was not taken is missed by the receiver, and the run with it.
    async fn deliver(&self, job: Job) -> Result<(), Infallible> {
        let at = now();
        let seconds = Timestamp::from_micros(at).seconds();
        let event = EventId::from_u128(job.id.as_u128()).to_string();
        let body = format!(
            r#"{{"type":"job.succeeded","timestamp":"{}","data":{{"job":{{"id":"{}","status":"succeeded","result":{}}}}}}}"#,
            Timestamp::from_micros(at),
            job.id,
            job.input
        );
        let signature = sign_with(&event, seconds, body.as_bytes(), &self.key);
        let request = Request::post(&*job.callback)
            .header("content-type", "application/json")
            .header("webhook-id", event)
            .header("webhook-timestamp", seconds)
            .header("webhook-signature", signature)
            .body(Full::new(Bytes::from(body)));
        let Ok(request) = request else { return Ok(()) };
        if let Ok(answer) = self.client.request(request).await
            && answer.status().is_success()
            && answer.into_body().collect().await.is_ok()
        {
            self.sink.settle(job.id, now());
        }
        Ok(())
    }
}
