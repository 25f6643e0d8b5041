//! `sleep`: waits as long as the input says, and returns null.

use std::sync::Arc;

use domain::{duration::Span, time::Timestamp};
use serde::Deserialize;

use super::Ran;
use crate::executor::Executor;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    r#for: Span,
}

pub(crate) async fn run(executor: &Executor, began: Timestamp, input: &Arc<str>) -> Ran {
    match super::read::<Input>(input, r#"{"for": "2s"}, a duration"#) {
        Err(refused) => refused,
        Ok(Input { r#for: Span(span) }) => {
            executor.sleep_until(began + span).await;
            Ran::null()
        }
    }
}
