//! `ringback doctor`: looks at everything that commonly is in the way, and says for each what to do.

mod callback;
mod machine;
mod server;

use clap::Args;

use super::{
    client::Connection,
    failure::{Exit, Failure},
    output::{Columns, Output},
};
use crate::config::{self, Sources};

/// Look for what is in the way, here and at the server: 1 if something is.
#[derive(Args)]
pub(crate) struct Doctor {
    /// Judge this callback URL by the configuration, and send it an empty, unsigned POST as a delivery would go.
    #[arg(long, value_name = "URL")]
    callback: Option<String>,
    /// Ask the server alone whether it is ready, without a key: for the health check of a container or a balancer.
    #[arg(long, conflicts_with = "callback")]
    ready: bool,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

/// What was looked at, and what was seen.
#[derive(Debug)]
struct Finding {
    check: &'static str,
    status: Status,
    /// What is the case and, where it is not well, what to do.
    detail: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Status {
    Ok,
    Fail,
    /// Could not be looked at.
    Skip,
}

impl Finding {
    fn ok(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, status: Status::Ok, detail: detail.into() }
    }

    fn fail(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, status: Status::Fail, detail: detail.into() }
    }

    fn skip(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, status: Status::Skip, detail: detail.into() }
    }

    fn json(&self) -> String {
        let status = match self.status {
            Status::Ok => "ok",
            Status::Fail => "fail",
            Status::Skip => "skip",
        };
        serde_json::json!({ "status": status, "check": self.check, "detail": self.detail }).to_string()
    }
}

const COLUMNS: Columns = &[
    ("status", |finding| finding.cell("status")),
    ("check", |finding| finding.cell("check")),
    ("detail", |finding| finding.cell("detail")),
];

impl Doctor {
    pub(crate) async fn run(&self, sources: &Sources) -> Result<(), Failure> {
        if self.ready {
            return self.report(&server::readiness(&self.connection).await?);
        }
        let config = config::load(sources);
        let mut findings = vec![machine::configuration(&config)];
        match &config {
            Ok(config) => findings.push(machine::storage(&config.storage.url).await),
            Err(_) => findings.push(Finding::skip("storage", "the configuration cannot be read")),
        }
        findings.push(machine::descriptors());
        findings.extend(server::findings(&self.connection).await?);
        match (&self.callback, &config) {
            (Some(url), Ok(config)) => findings.extend(callback::findings(url, config).await),
            (Some(_), Err(_)) => findings.push(Finding::skip("callback", "the configuration cannot be read")),
            (None, _) => {}
        }
        self.report(&findings)
    }

    fn report(&self, findings: &[Finding]) -> Result<(), Failure> {
        self.output.list(&findings.iter().map(Finding::json).collect::<Vec<_>>(), None, COLUMNS)?;
        let bad = findings.iter().any(|finding| finding.status == Status::Fail);
        if bad { Err(Failure::said(Exit::Failed)) } else { Ok(()) }
    }
}
