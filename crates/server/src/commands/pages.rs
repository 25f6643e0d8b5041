//! Lists, a page after another.

use clap::Args;
use indicatif::ProgressBar;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    client::{Call, Client},
    failure::Failure,
    output,
};

/// The most that one page holds.
const PAGE: usize = 100;

/// How much of a list.
#[derive(Args)]
pub(crate) struct Pages {
    /// How many at most.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// All there are.
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    /// Go on where an earlier list ended: its next_cursor.
    #[arg(long)]
    cursor: Option<String>,
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Box<RawValue>>,
    next_cursor: Option<String>,
}

/// The items of a list that is one page, each as it came.
pub(crate) fn items(text: &str) -> Result<Vec<String>, Failure> {
    let page: Page = serde_json::from_str(text)
        .map_err(|error| Failure::failed(format!("the answer is not a list ({error}). Is --url right?")))?;
    Ok(page.items.iter().map(|item| item.get().to_owned()).collect())
}

/// The items, each as it came, and the cursor of what follows.
pub(crate) async fn fetch<'a>(
    client: &Client,
    pages: &Pages,
    call: impl Fn() -> Call<'a>,
) -> Result<(Vec<String>, Option<String>), Failure> {
    let wanted = if pages.all { usize::MAX } else { usize::try_from(pages.limit).unwrap_or(usize::MAX) };
    let mut items: Vec<String> = Vec::new();
    let mut cursor = pages.cursor.clone();
    let watched = if output::is_watched() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    loop {
        let limit = (wanted - items.len()).min(PAGE);
        let answer =
            client.call(&call().query("limit", Some(limit)).query("cursor", cursor.as_ref())).await?;
        let page: Page = serde_json::from_str(answer.text()?).map_err(|error| {
            Failure::failed(format!("the answer is not a list ({error}). Is --url right?"))
        })?;
        items.extend(page.items.iter().map(|item| item.get().to_owned()));
        // A page that says there is more and brings nothing would be asked for again and again.
        if page.next_cursor.is_none() || page.items.is_empty() || items.len() >= wanted {
            watched.finish_and_clear();
            return Ok((items, page.next_cursor));
        }
        watched.set_message(format!("{} so far", items.len()));
        watched.tick();
        cursor = page.next_cursor;
    }
}
