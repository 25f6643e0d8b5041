//! What goes out can be verified by the receiver, with the secrets of that moment.

use std::time::Duration;

use domain::{
    callback::Callback,
    chance::{Clock, Dice},
    header_rule::CustomHeaders,
    id::JobId,
    seal::Place,
    secret::Secret,
    signature::{VerifyError, verify},
};
use ringback_dispatcher::Request;

use super::harness::{Ground, TENANT, callback, seconds, status};

fn verified(request: &Request, secret: &Secret, now: i64) -> Result<(), VerifyError> {
    let header = |name| request.headers[name].to_str().unwrap();
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        assert_eq!(request.headers.get_all(name).iter().count(), 1, "{name}");
    }
    verify(
        header("webhook-id"),
        header("webhook-timestamp"),
        &request.body,
        header("webhook-signature"),
        &[secret],
        now,
        Duration::from_secs(5),
    )
}

#[tokio::test]
async fn the_tenants_secret_signs_and_in_the_overlap_the_old_one_too() {
    let ground = Ground::new();
    let node = ground.start().await;
    let old = ground.secret.clone();
    let new = Secret::from_bytes([5; 32]);
    ground.world.script("a.example", [status(500), status(500)]);
    let id = node.deliver("a.example").await;
    node.settle().await;
    // Rotated between two attempts: the retry bears both.
    let sealed = Place::Tenant(TENANT).seal(&ground.vault, &new, [9; 24]);
    let until = ground.clock.wall() + seconds(30);
    node.engine.rotate_signing_secret(TENANT, sealed, until).await.unwrap();
    node.advance(seconds(5)).await;
    node.advance(seconds(60)).await;
    assert_eq!(node.shows(id).await, "http_status, http_status, delivered, succeeded");
    let requests = ground.world.requests("a.example");
    let verdicts = |request: &Request| {
        let sent: i64 = request.headers["webhook-timestamp"].to_str().unwrap().parse().unwrap();
        [&old, &new].map(|secret| verified(request, secret, sent).is_ok())
    };
    assert_eq!(
        requests.iter().map(verdicts).collect::<Vec<_>>(),
        [[true, false], [true, true], [false, true]]
    );
    let header = |n: usize| requests[n].headers["webhook-signature"].to_str().unwrap().to_owned();
    assert_eq!([0, 1, 2].map(|n| header(n).split(' ').count()), [1, 2, 1]);
    let current_first = domain::signature::sign(
        requests[1].headers["webhook-id"].to_str().unwrap(),
        requests[1].headers["webhook-timestamp"].to_str().unwrap().parse().unwrap(),
        &requests[1].body,
        &[&new, &old],
    );
    assert_eq!(header(1), current_first);
}

#[tokio::test]
async fn the_timestamp_is_the_wall_clocks() {
    let ground = Ground::new();
    let node = ground.start().await;
    ground.clock.jump_wall(-86_400_000_000);
    node.deliver("a.example").await;
    node.settle().await;
    let request = &ground.world.requests("a.example")[0];
    assert_eq!(verified(request, &ground.secret, ground.clock.wall().seconds()), Ok(()));
}

#[tokio::test]
async fn a_callbacks_own_secret_headers_and_trace() {
    let ground = Ground::new();
    let node = ground.start().await;
    let own = Secret::from_bytes([6; 32]);
    let job = JobId::new(ground.clock.now(), ground.dice.bits());
    let pairs = [("X-Tenant", "acme"), ("authorization", "Basic eA==")];
    let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let callback = Callback {
        secret: Some(Place::Callback(TENANT, job).seal(&ground.vault, &own, [8; 24])),
        headers: Some(Place::CallbackHeaders(TENANT, job).seal_headers(
            &ground.vault,
            &CustomHeaders::judge(pairs).unwrap(),
            [9; 24],
        )),
        ..callback("a.example")
    };
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    node.job_ends(job, vec![callback], Some(trace)).await;
    node.settle().await;
    let request = &ground.world.requests("a.example")[0];
    let now = ground.clock.wall().seconds();
    assert_eq!(verified(request, &own, now), Ok(()));
    assert_eq!(verified(request, &ground.secret, now), Err(VerifyError::NoMatch));
    let header = |name| request.headers[name].to_str().unwrap();
    assert_eq!(header("x-tenant"), "acme");
    assert_eq!(header("authorization"), "Basic eA==");
    assert_eq!(header("content-type"), "application/json");
    assert_eq!(header("user-agent"), concat!("Ringback/", env!("CARGO_PKG_VERSION")));
    let child = header("traceparent");
    assert!(child.starts_with(&trace[..36]) && child.ends_with("-01") && child != trace, "{child}");
}

#[tokio::test]
async fn what_cannot_be_signed_is_not_sent_and_uses_up_no_step() {
    let ground = Ground::new();
    let node = ground.start().await;
    let job = JobId::new(ground.clock.now(), ground.dice.bits());
    // Sealed for another job: the row was tampered with.
    let other = JobId::new(ground.clock.now(), ground.dice.bits());
    let sealed = Place::Callback(TENANT, other).seal(&ground.vault, &ground.secret, [8; 24]);
    let callback = Callback { secret: Some(sealed), ..callback("a.example") };
    let id = node.job_ends(job, vec![callback], None).await[0];
    node.settle().await;
    assert_eq!(node.shows(id).await, "local_resource, waiting");
    assert_eq!(ground.world.requests("a.example").len(), 0);
}
