//! What the operator sets about the listener: an address of its own for the operator's pages, and whose pages a browser
//! lets call.

use http::Method;
use ringback_tests::{Api, Config, Ringback, config::KEY};
use serde_json::Value;

const PAGES: [&str; 4] = ["/metrics", "/openapi.json", "/docs", "/problems/not-found"];

/// `admin` of the line `listening`.
fn admin_address(server: &Ringback) -> String {
    let log = server.log();
    let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let listening = lines.rfind(|line| line["message"] == "listening").expect("it listens");
    listening["admin"].as_str().expect("at a second address, too").to_owned()
}

#[tokio::test]
async fn the_operators_pages_can_have_an_address_of_their_own() {
    let server = Ringback::sqlite().await;
    let stranger = server.api().with_key(None);
    for page in PAGES {
        stranger.get(page).await.expect(200);
    }
    let server = Ringback::start(Config::sqlite().with("server.admin_listen", r#""127.0.0.1:0""#)).await;
    let api = server.api().with_key(None);
    let admin = Api::new(&format!("http://{}", admin_address(&server)), None);
    for page in PAGES {
        api.get(page).await.problem(404, "not-found");
        admin.get(page).await.expect(200);
    }
    for probe in ["/livez", "/readyz"] {
        api.get(probe).await.expect(200);
        admin.get(probe).await.expect(200);
    }
    // Keys are asked for at both.
    admin.get("/v1/jobs").await.problem(401, "unauthorized");
    admin.with_key(Some(KEY)).get("/v1/jobs").await.expect(200);
}

#[tokio::test]
async fn pages_may_call_if_the_operator_lets_them() {
    let ours = "https://app.example.com";
    let preflight = |origin| {
        [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "authorization,content-type,idempotency-key,prefer"),
        ]
    };
    // Off: nothing is said of it.
    let server = Ringback::sqlite().await;
    let api = server.api();
    let answer = api.send(Method::OPTIONS, "/v1/jobs", &preflight(ours), "").await;
    answer.problem(405, "method-not-allowed");
    let answer = api.get_with("/v1/jobs", &[("origin", ours)]).await.expect(200);
    assert!(answer.headers.keys().all(|name| !name.as_str().starts_with("access-control")), "{answer:?}");

    let server =
        Ringback::start(Config::sqlite().with("server.cors_origins", &format!(r#"["{ours}"]"#))).await;
    let api = server.api();
    // A browser sends no key along with its preflight.
    let answer = api.with_key(None).send(Method::OPTIONS, "/v1/jobs", &preflight(ours), "").await.expect(200);
    assert_eq!(answer.header("access-control-allow-origin"), Some(ours));
    let allowed = answer.header("access-control-allow-headers").unwrap().to_lowercase();
    for name in ["authorization", "content-type", "idempotency-key", "prefer", "if-none-match"] {
        assert!(allowed.contains(name), "{allowed}");
    }
    assert!(answer.header("access-control-allow-methods").unwrap().contains("POST"));
    // The page may read the answer and its headers, a refusal's too.
    for key in [Some(KEY), None] {
        let answer = api.with_key(key).get_with("/v1/jobs", &[("origin", ours)]).await;
        assert_eq!(answer.header("access-control-allow-origin"), Some(ours));
        let exposed = answer.header("access-control-expose-headers").unwrap().to_lowercase();
        for name in ["location", "retry-after", "etag", "ringback-request-id"] {
            assert!(exposed.contains(name), "{exposed}");
        }
        assert!(answer.header("access-control-allow-credentials").is_none());
    }
    // Another page may not.
    for theirs in ["https://app.example.com.evil.example", "http://app.example.com", "null"] {
        let answer = api.send(Method::OPTIONS, "/v1/jobs", &preflight(theirs), "").await;
        assert_eq!(answer.header("access-control-allow-origin"), None, "{theirs}");
        let answer = api.get_with("/v1/jobs", &[("origin", theirs)]).await.expect(200);
        assert_eq!(answer.header("access-control-allow-origin"), None, "{theirs}");
    }

    let server = Ringback::start(Config::sqlite().with("server.cors_origins", r#"["*"]"#)).await;
    let answer = server.api().get_with("/v1/jobs", &[("origin", "https://any.example")]).await.expect(200);
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
}

#[tokio::test]
async fn what_is_no_origin_is_told_before_it_starts() {
    for origin in
        ["app.example.com", "https://app.example.com/", "https://app.example.com/x", "ftp://a.example", ""]
    {
        let server =
            Ringback::prepare(Config::sqlite().with("server.cors_origins", &format!(r#"["{origin}"]"#)));
        let told = server.run(&["config", "check"]).expect_err("it is no origin");
        assert!(told.contains("server.cors_origins"), "{told}");
    }
}
