//! A callback URL: judged by the rules, and tried with the very transport that delivers.

use std::sync::Arc;

use axum::body::Bytes;
use dispatcher::{HttpTransport, Request, Sent, Transport, TransportSettings};
use domain::{
    callback_url::{self, Rule, UrlRefusal},
    delivery::Outcome,
};
use http::HeaderMap;

use super::Finding;
use crate::{ambient::SystemClock, config::Config};

pub(super) async fn findings(url: &str, config: &Config) -> Vec<Finding> {
    let transport = match transport(config) {
        Ok(transport) => transport,
        Err(text) => return vec![Finding::fail("ca_file", text)],
    };
    let judged =
        config.delivery.url_policy(Vec::new()).map_err(|error| error.to_string()).and_then(|policy| {
            callback_url::judge(url, &policy).map_err(|refusal| format!("{refusal}{}", opened_by(&refusal)))
        });
    let url = match judged {
        Ok(url) => url,
        Err(text) => return vec![Finding::fail("callback", text)],
    };
    let Ok(uri) = url.as_str().parse() else {
        return vec![Finding::fail("callback", "the URL cannot be sent")];
    };
    let timeout = config.delivery.timeout.0;
    let sent = transport.send(Request { uri, headers: HeaderMap::new(), body: Bytes::new(), timeout }).await;
    vec![Finding::ok("callback", "the rules allow it"), reached(&sent)]
}

/// What an operator can set, if that is what they want.
fn opened_by(refusal: &UrlRefusal) -> &'static str {
    match refusal.slug() {
        _ if refusal.rule == Rule::U4 && refusal.detail.contains("single label") => {
            "; delivery.allow_hosts opens names"
        }
        "callback-url-forbidden" => "; delivery.allow_http and delivery.allow_ports open more",
        "callback-address-blocked" => "; delivery.allow_cidrs and delivery.allow_hosts open more",
        _ => "",
    }
}

fn transport(config: &Config) -> Result<Arc<HttpTransport>, String> {
    let delivery = &config.delivery;
    let ca_file = delivery.ca_file.as_ref().map(|path| {
        std::fs::read(path).map_err(|error| format!("{}: {error}; set delivery.ca_file", path.display()))
    });
    HttpTransport::new(TransportSettings {
        egress: delivery.egress(Vec::new()),
        allow_hosts: delivery.host_patterns().map_err(|error| error.to_string())?,
        connect_timeout: delivery.connect_timeout.0,
        ca_file: ca_file.transpose()?,
        max_lookups: 1,
        idle_per_host: 0,
        clock: Arc::new(SystemClock::start()),
    })
    .map_err(|error| error.to_string())
}

/// What an empty, unsigned POST tells.
fn reached(sent: &Sent) -> Finding {
    const CHECK: &str = "receiver";
    let error = sent.error.as_deref().unwrap_or_default();
    let from = sent.remote_address.map(|address| format!(" ({address})")).unwrap_or_default();
    let next = match (sent.outcome, sent.status) {
        (Outcome::Delivered, Some(status)) => {
            let text = format!(
                "it answered {status}{from} to a POST without a signature: does it verify them? Anybody can send it events"
            );
            return Finding::fail(CHECK, text);
        }
        (_, Some(status @ (300..400 | 404 | 410))) => {
            return Finding::fail(
                CHECK,
                format!("it answered {status}{from}; is the path right? Redirects are not followed"),
            );
        }
        (_, Some(status)) => {
            return Finding::ok(
                CHECK,
                format!("it answered {status}{from}, as it should to a POST without a signature"),
            );
        }
        (Outcome::Dns, _) => "is the name right, and does this machine's resolver know it?",
        (Outcome::Connect, _) => "is it running, and does a firewall let this machine through?",
        (Outcome::Tls, _) => {
            "its certificate must be one that browsers trust, or of a CA in delivery.ca_file"
        }
        (Outcome::Timeout, _) => "it must answer within delivery.timeout: acknowledge first, work later",
        (Outcome::AddressBlocked, _) => "delivery.allow_cidrs opens ranges",
        _ => "does it speak HTTP/1.1?",
    };
    Finding::fail(CHECK, format!("{error}{from}; {next}"))
}

#[cfg(test)]
mod tests {
    use super::{super::Status, *};

    #[tokio::test]
    async fn judges_by_the_rules_before_anything_is_sent() {
        for (url, part) in [
            ("ftp://a.example/", "http"),
            ("http://a.example/", "delivery.allow_http"),
            ("https://127.0.0.1/", "delivery.allow_cidrs"),
            ("https://a.internal/", "delivery.allow_hosts"),
            ("https://app/", "delivery.allow_hosts"),
        ] {
            let findings = findings(url, &Config::default()).await;
            let [finding] = &findings[..] else { panic!("{findings:?}") };
            assert!(finding.status == Status::Fail && finding.detail.contains(part), "{url}: {finding:?}");
        }
    }

    #[tokio::test]
    async fn tries_with_the_transport_that_delivers() {
        let mut config = Config::default();
        config.delivery.allow_http = true;
        config.delivery.allow_cidrs = vec!["127.0.0.0/8".parse().unwrap()];
        for (status, expected) in
            [("401 Unauthorized", Status::Ok), ("204 No Content", Status::Fail), ("404 No", Status::Fail)]
        {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}/hooks", listener.local_addr().unwrap());
            let answering = tokio::spawn(async move {
                use tokio::io::{AsyncReadExt, AsyncWriteExt};
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read(&mut [0; 1024]).await;
                let head = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                let _ = stream.write_all(head.as_bytes()).await;
            });
            let found = findings(&url, &config).await;
            assert_eq!(found.last().map(|finding| finding.status), Some(expected), "{found:?}");
            answering.await.unwrap();
        }
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let found = findings(&format!("http://{closed}/"), &config).await;
        assert!(found.last().unwrap().detail.contains("firewall"), "{found:?}");
    }
}
