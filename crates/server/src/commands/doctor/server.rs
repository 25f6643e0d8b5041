//! The server: is it there, is it ready, does it know the key, and is its clock ours.

use domain::{chance::Clock, duration};
use serde::Deserialize;
use std::{collections::BTreeMap, time::Duration};

use super::Finding;
use crate::{
    ambient::SystemClock,
    commands::{
        client::{Answer, Call, Client, Connection},
        failure::{Exit, Failure},
    },
};

/// Receivers take five minutes; a tenth of that is no cause for concern, and a `Date` has whole seconds.
const CLOCKS_APART: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
struct Ready {
    checks: BTreeMap<String, Check>,
}

#[derive(Deserialize)]
struct Check {
    status: String,
    detail: String,
}

pub(super) async fn findings(connection: &Connection) -> Result<Vec<Finding>, Failure> {
    let client = connection.anonymous()?;
    let livez = match client.answer(&Call::get("/livez")).await {
        Ok(answer) if answer.status == 200 => answer,
        Ok(answer) => {
            let text = format!("{} answers /livez with {}; is --url right?", client.base(), answer.status);
            return Ok(vec![Finding::fail("server", text)]);
        }
        Err(failure) => return Ok(vec![Finding::fail("server", failure.text)]),
    };
    let mut findings = vec![Finding::ok("server", format!("{} answers", client.base()))];
    findings.extend(ready(&client).await);
    findings.push(key(&client, connection.has_key()).await);
    findings.push(clock(&livez));
    Ok(findings)
}

/// Whether it takes work, and nothing else.
pub(super) async fn readiness(connection: &Connection) -> Result<Vec<Finding>, Failure> {
    Ok(ready(&connection.anonymous()?).await)
}

/// A line for each check that is not well.
async fn ready(client: &Client) -> Vec<Finding> {
    const CHECK: &str = "ready";
    let answer = match client.answer(&Call::get("/readyz")).await {
        Ok(answer) => answer,
        Err(failure) => return vec![Finding::fail(CHECK, failure.text)],
    };
    let Ok(ready) = serde_json::from_slice::<Ready>(&answer.body) else {
        return vec![Finding::fail(CHECK, "/readyz is not what a Ringback server answers; is --url right?")];
    };
    let unwell: Vec<_> = ready
        .checks
        .iter()
        .filter(|(_, check)| check.status != "ok")
        .map(|(name, check)| {
            Finding::fail(CHECK, format!("{name}: {}; the server's log says more", check.detail))
        })
        .collect();
    let well = || vec![Finding::ok(CHECK, ready.checks.keys().cloned().collect::<Vec<_>>().join(", "))];
    if unwell.is_empty() { well() } else { unwell }
}

async fn key(client: &Client, given: bool) -> Finding {
    const CHECK: &str = "key";
    if !given {
        return Finding::skip(CHECK, "none given: set RINGBACK_API_KEY");
    }
    // Nothing is there, which whoever has a good key is told, whatever its role: 401 comes before 404.
    match client.call(&Call::get("/v1/")).await {
        Ok(_) => Finding::ok(CHECK, "the server knows it"),
        Err(failure) if failure.exit == Exit::NotFound => Finding::ok(CHECK, "the server knows it"),
        Err(failure) if failure.exit == Exit::Auth => {
            Finding::fail(CHECK, "the server does not know it; is it the key of this server?")
        }
        Err(failure) => Finding::fail(CHECK, failure.text.replace("\n ", ";")),
    }
}

/// A webhook's timestamp is the server's clock; a receiver's own decides whether it is too old.
fn clock(answer: &Answer) -> Finding {
    const CHECK: &str = "clock";
    let Some(theirs) = answer.header("date").and_then(http_date) else {
        return Finding::skip(CHECK, "the server's answers have no Date");
    };
    let apart = Duration::from_secs(theirs.abs_diff(SystemClock::start().wall().seconds()));
    let shown = duration::show(apart);
    if apart <= CLOCKS_APART {
        Finding::ok(CHECK, format!("{shown} from the server's"))
    } else {
        let what = "set the wrong one (NTP), or receivers refuse webhooks as too old";
        Finding::fail(CHECK, format!("{shown} from the server's; {what}"))
    }
}

/// Seconds since 1970 of an IMF-fixdate (RFC 9110 section 5.6.7), the only form that servers send.
fn http_date(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let [_, day, month, year, time, "GMT"] = text.split(' ').collect::<Vec<_>>()[..] else { return None };
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    let time: domain::time::Timestamp = format!("{year}-{month:02}-{day}T{time}Z").parse().ok()?;
    Some(time.seconds())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_dates_as_servers_write_them() {
        for (text, expected) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", None),
            ("Sun, 06 Nov 1994 08:49:37 CET", None),
            ("Sun, 06 Foo 1994 08:49:37 GMT", None),
            ("", None),
        ] {
            assert_eq!(http_date(text), expected, "{text}");
        }
    }
}
