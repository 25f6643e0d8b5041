//! `ringback endpoint feed`

use std::time::Duration;

use clap::Args;
use domain::duration::Span;

use super::One;
use crate::commands::{
    client::Call,
    failure::Failure,
    output::{Columns, Format},
    pages::items,
};

/// The longest that a server holds an answer.
const MOST_HELD: Duration = Duration::from_secs(60);

/// Which events.
#[derive(Args)]
pub(crate) struct Feed {
    #[command(flatten)]
    one: One,
    /// Only those behind this number.
    #[arg(long, value_name = "N", default_value_t = 0)]
    after: u64,
    /// How many at most: up to 100.
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    /// Wait this long for one if there is none: up to 60s.
    #[arg(long, value_name = "DURATION")]
    wait: Option<Span>,
}

const COLUMNS: Columns = &[
    ("sequence", |event| event.cell("sequence")),
    ("webhook_id", |event| event.cell("webhook_id")),
    ("type", |event| event.cell("type")),
    ("timestamp", |event| event.cell("timestamp")),
];

impl Feed {
    pub(super) async fn run(&self) -> Result<(), Failure> {
        let held = self.wait.map(|Span(span)| span.min(MOST_HELD));
        let call = |path| {
            Call::get(path + "/feed")
                .query("after", Some(self.after))
                .query("limit", self.limit)
                .query("wait", held.map(|held| held.as_secs_f64().ceil()))
                .held(held.unwrap_or_default())
        };
        let answer = self.one.call(call).await?;
        match self.one.output.format {
            // It says more than the items: where the feed ends and begins.
            Format::Json => self.one.output.object(answer.text()?, super::table),
            Format::Table | Format::Jsonl => self.one.output.list(&items(answer.text()?)?, None, COLUMNS),
        }
    }
}
