//! Name servers that change their mind, lead in circles, talk nonsense or say nothing.

use std::time::Duration;

use ringback_tests::{
    Config, Reply, Ringback, clock,
    island::{Answer, Names},
    islands, wait,
};
use serde_json::json;

use super::{PORT, PUBLIC, address, at, called_back, everybody, outcome, strict};

islands!(
    a_name_that_changes_its_mind_is_judged_at_every_attempt,
    what_is_dialled_is_what_was_judged,
    nonsense_fails_as_dns,
    of_many_addresses_few_are_dialled,
    names_that_never_answer_hold_up_none_that_does,
);

/// Rebinding from one attempt to the next, in both directions.
async fn a_name_that_changes_its_mind_is_judged_at_every_attempt() {
    let everybody = everybody().await;
    everybody.script("/hook", [Reply::status(500).header("connection", "close")]);
    let _names = Names::start(|name, times| {
        let public_first = name == "rebind.example";
        if public_first == times.is_multiple_of(2) {
            Answer::to(&[PUBLIC])
        } else {
            Answer::to(&["169.254.169.254"])
        }
    })
    .await;
    let policy = r#"{ schedule = ["100ms", "100ms", "100ms"], jitter = 0.0 }"#;
    let server = Ringback::start(strict().with("delivery.retry", policy)).await;
    for (name, expected) in [
        ("rebind.example", ["http_status", "address_blocked", "http_status", "address_blocked"]),
        ("unbind.example", ["address_blocked", "http_status", "address_blocked", "http_status"]),
    ] {
        let delivery = called_back(server.api(), &at(name)).await;
        let outcomes: Vec<_> =
            delivery["attempts"].as_array().expect("attempts").iter().map(|a| a["outcome"].clone()).collect();
        assert_eq!(outcomes, expected, "{delivery:#}");
    }
    assert_eq!(everybody.dialled(), [address(PUBLIC); 4]);
}

/// Rebinding within an attempt: public when it is judged, private when somebody would look it up again. One look-up.
async fn what_is_dialled_is_what_was_judged() {
    let everybody = everybody().await;
    let names = Names::start(|_, times| Answer::to(&[if times == 0 { PUBLIC } else { "10.0.0.1" }])).await;
    let server = Ringback::start(strict()).await;
    for n in 0..10 {
        let name = format!("once{n}.example");
        assert_eq!(outcome(&called_back(server.api(), &at(&name)).await), "delivered");
        assert_eq!(names.asked(&name), 1, "{name}");
    }
    assert_eq!(everybody.dialled(), [address(PUBLIC); 10]);
}

async fn nonsense_fails_as_dns() {
    let everybody = everybody().await;
    let _names = Names::start(|name, _| match name {
        "nobody.example" => Answer::NoSuchName,
        "empty.example" => Answer::Addresses(vec![]),
        "failing.example" => Answer::Failure,
        "garbage.example" => Answer::Garbage,
        "silent.example" => Answer::Silence,
        "loop.example" => Answer::Alias("pool.example".into()),
        "pool.example" => Answer::Alias("loop.example".into()),
        "self.example" => Answer::Alias("self.example".into()),
        "inwards.example" => Answer::Alias("inside.example".into()),
        "inside.example" => Answer::to(&["127.0.0.1"]),
        "outwards.example" => Answer::Alias("outside.example".into()),
        _ => Answer::to(&[PUBLIC]),
    })
    .await;
    let server = Ringback::start(strict().with("delivery.connect_timeout", r#""1s""#)).await;
    for (name, expected) in [
        ("nobody.example", "dns"),
        ("empty.example", "dns"),
        ("failing.example", "dns"),
        ("garbage.example", "dns"),
        ("silent.example", "dns"),
        ("loop.example", "dns"),
        ("self.example", "dns"),
        ("inwards.example", "address_blocked"),
        ("outwards.example", "delivered"),
    ] {
        let delivery = called_back(server.api(), &at(name)).await;
        assert_eq!(outcome(&delivery), expected, "{name}: {delivery:#}");
        let took = delivery["attempts"][0]["timings_ms"]["total"].as_f64().expect("a time");
        assert!(took < 2_000.0, "{name}: {took} ms; a look-up is bounded by connect_timeout");
    }
    assert_eq!(everybody.dialled(), [address(PUBLIC)]);
}

/// An answer of sixty addresses is no order to knock at sixty doors.
async fn of_many_addresses_few_are_dialled() {
    let _names =
        Names::start(|_, _| Answer::Addresses((1..=60).map(|n| address(&format!("8.1.1.{n}"))).collect()))
            .await;
    // Listens where nobody calls: at 8.1.1.x connections are refused, one after the other.
    let server = Ringback::start(strict()).await;
    let began = clock::now();
    let delivery = called_back(server.api(), &at("crowd.example")).await;
    assert_eq!(outcome(&delivery), "connect", "{delivery:#}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

/// 600 names that never answer, each with a job of its own, and one receiver that works: known before, then new.
async fn names_that_never_answer_hold_up_none_that_does() {
    const HANGING: usize = 600;
    let everybody = everybody().await;
    let _names = Names::start(
        |name, _| if name.starts_with("hang") { Answer::Silence } else { Answer::to(&[PUBLIC]) },
    )
    .await;
    // A descriptor limit as small hosts have it: half of what systemd gives by default.
    let mut server = Ringback::prepare(
        Config::sqlite()
            .without("delivery.allow_cidrs")
            .with("delivery.retry", r#"{ schedule = ["1s", "1s", "1s", "1s", "1s", "1s"], jitter = 0.0 }"#),
    );
    server.wrap(&["prlimit", "--nofile=2048:2048"]);
    server.launch().await;
    let api = server.api();
    let quiet = {
        let began = clock::now();
        assert_eq!(outcome(&called_back(api, &at("known.example")).await), "delivered");
        began.elapsed()
    };
    let mut jobs = tokio::task::JoinSet::new();
    for n in 0..HANGING {
        let (api, job) =
            (api.clone(), json!({ "task": "echo", "callback": at(&format!("hang{n}.example")) }));
        jobs.spawn(async move { api.accepted(&job).await });
    }
    let hanging = jobs.join_all().await;
    for round in 0..8 {
        // One receiver that is known, and one that nobody has heard of.
        for name in ["known.example".to_owned(), format!("new{round}.example")] {
            let began = clock::now();
            let delivery = called_back(api, &at(&name)).await;
            // At the first attempt: a look-up that waited for a place behind the hanging ones would have failed.
            assert_eq!(outcome(&delivery), "delivered", "{name}, round {round}: {delivery:#}");
            let took = began.elapsed();
            // One round of the hanging ones alone takes longer: 600 names, two seconds each, 128 at a time.
            assert!(took < Duration::from_secs(5), "{name}, round {round}: {took:?}; when quiet {quiet:?}");
        }
    }
    // They really hung, all the while.
    let failed = wait::until("the hanging ones are attempted", || async {
        let delivery = api.deliveries(&hanging[0]).await;
        delivery[0]["attempts"].as_array().filter(|all| all.iter().any(|a| a["outcome"] == "dns")).cloned()
    })
    .await;
    assert!(!failed.is_empty());
    assert!(everybody.dialled().iter().all(|dialled| *dialled == address(PUBLIC)), "port {PORT}");
}
