//! What is sealed: walked over all tenants, and sealed anew where it still is what was read.

use std::sync::Arc;

use domain::{
    callback::{Callback, Callbacks},
    endpoint::{DisabledReason, Endpoint, Settings},
    event::EventSet,
    id::{EndpointId, JobId, Tenant},
    job::Job,
};

use super::{
    Store,
    access::{new_tenant, sealed},
    fixture::*,
};
use crate::{Put, PutEndpoint, Reseal, SigningSecrets, Wake};

const OTHER: Tenant = Tenant(2);

async fn two_tenants(store: &dyn Store) -> Fixture<'_> {
    let fixture = Fixture::new(store).await;
    fixture.engine.create_tenant(new_tenant(2, "two")).await.unwrap();
    fixture
}

pub async fn signing_secrets_are_walked_and_sealed_anew(store: &dyn Store) {
    let fixture = two_tenants(store).await;
    let engine = &fixture.engine;
    engine.rotate_signing_secret(OTHER, sealed(22), shown(50)).await.unwrap();
    let secrets = engine.sealed_secrets(Tenant(0), 9).await.unwrap();
    assert_eq!(secrets.iter().map(|(tenant, _)| tenant.0).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(engine.sealed_secrets(Tenant(0), 1).await.unwrap().len(), 1);
    let from = engine.sealed_secrets(Tenant(1), 9).await.unwrap().remove(0).1;
    assert_eq!((&from.current, &from.previous), (&sealed(22), &Some((sealed(2), shown(50)))));

    let to = SigningSecrets { current: sealed(3), previous: Some((sealed(4), shown(50))) };
    let reseal = Reseal::Secrets { tenant: OTHER, from, to: to.clone() };
    assert_eq!(engine.reseal(vec![reseal.clone()]).await.unwrap(), [true]);
    let read = engine.signing_secrets(OTHER).await.unwrap().unwrap();
    assert_eq!((&read.current, &read.previous), (&to.current, &to.previous));
    assert_eq!(engine.reseal(vec![reseal]).await.unwrap(), [false], "it is not what was read any more");

    // A rotation between the reading and the writing is not undone, whether or not there was one before.
    let anew = SigningSecrets { current: sealed(5), previous: None };
    let stale = |tenant, from| Reseal::Secrets { tenant, from, to: anew.clone() };
    let first = engine.sealed_secrets(Tenant(0), 1).await.unwrap().remove(0).1;
    assert_eq!(first.previous, None);
    engine.rotate_signing_secret(TENANT, sealed(31), shown(60)).await.unwrap();
    engine.rotate_signing_secret(OTHER, sealed(32), shown(60)).await.unwrap();
    let rows = vec![stale(TENANT, first), stale(OTHER, read)];
    assert_eq!(engine.reseal(rows).await.unwrap(), [false, false]);
    assert_eq!(engine.signing_secrets(TENANT).await.unwrap().unwrap().current, sealed(31));
}

fn endpoint(tenant: Tenant, number: u128) -> Endpoint {
    let target = Callback { headers: Some(sealed(1)), ..callback("a.example", &[]) };
    Endpoint {
        id: EndpointId::from_u128(number),
        tenant,
        created_at: shown(0),
        version: 1,
        settings: Settings {
            target: Arc::new(target),
            description: "Orders".into(),
            tasks: None,
            max_in_flight: None,
            rate_limit: None,
            ordered: false,
            signature: domain::secret::Scheme::Hmac,
        },
        secret: sealed(1),
        previous: Some((sealed(2), shown(50))),
        disabled: None,
    }
}

fn next(endpoint: &Endpoint, byte: u8) -> Endpoint {
    let target = Callback { headers: Some(sealed(byte)), ..Callback::clone(&endpoint.settings.target) };
    Endpoint {
        version: endpoint.version + 1,
        secret: sealed(byte),
        previous: Some((sealed(byte), shown(50))),
        settings: Settings { target: Arc::new(target), ..endpoint.settings.clone() },
        ..endpoint.clone()
    }
}

pub async fn endpoints_are_walked_and_sealed_anew(store: &dyn Store) {
    let fixture = two_tenants(store).await;
    let engine = &fixture.engine;
    let put = |endpoint: Endpoint, new: Option<u32>| PutEndpoint {
        endpoint,
        new,
        recover: None,
        event: None,
        at: at(0),
    };
    let [ours, changing, theirs] = [(TENANT, 5), (TENANT, 6), (OTHER, 3)].map(|(t, n)| endpoint(t, n));
    for each in [&ours, &changing, &theirs] {
        assert_eq!(engine.put_endpoint(put(each.clone(), Some(9))).await.unwrap(), Put::Done);
    }
    let ids = |page: Vec<Endpoint>| page.into_iter().map(|e| (e.tenant, e.id)).collect::<Vec<_>>();
    let start = (Tenant(0), EndpointId::from_u128(0));
    let walked = engine.sealed_endpoints(start, 2).await.unwrap();
    assert_eq!((&walked[0].secret, &walked[0].previous), (&ours.secret, &ours.previous));
    assert_eq!(ids(walked), [(TENANT, ours.id), (TENANT, changing.id)]);
    assert_eq!(ids(engine.sealed_endpoints((TENANT, changing.id), 2).await.unwrap()), [(OTHER, theirs.id)]);

    // Its owner is faster: what the owner set stays.
    let closed = Endpoint { disabled: Some(DisabledReason::Requested), version: 2, ..changing.clone() };
    assert_eq!(engine.put_endpoint(put(closed, None)).await.unwrap(), Put::Done);
    let rows = [&ours, &changing, &theirs].map(|each| Reseal::Endpoint(Box::new(next(each, 9))));
    assert_eq!(engine.reseal(rows.to_vec()).await.unwrap(), [true, false, true]);
    assert_eq!(engine.reseal(rows.to_vec()).await.unwrap(), [false, false, false]);
    fixture
        .recorder
        .woken(
            "EndpointChanged",
            |wake| matches!(wake, Wake::EndpointChanged { endpoint } if *endpoint == ours.id),
        )
        .await;
    // Whoever decided on what was there before decides again.
    assert_eq!(engine.put_endpoint(put(next(&ours, 1), None)).await.unwrap(), Put::Changed);

    // What is sent from now on bears it: a finish reads what was written.
    let hears = Callback { events: EventSet::TERMINAL, ..Callback::clone(&ours.settings.target) };
    let ours = Endpoint {
        version: 3,
        settings: Settings {
            target: Arc::new(Callback { headers: Some(sealed(9)), ..hears }),
            ..ours.settings.clone()
        },
        ..next(&ours, 9)
    };
    assert_eq!(engine.put_endpoint(put(ours.clone(), None)).await.unwrap(), Put::Done);
    let again = Reseal::Endpoint(Box::new(next(&ours, 8)));
    assert_eq!(engine.reseal(vec![again]).await.unwrap(), [true]);
    let claimed = fixture.running(job("t", 1), 1).await;
    engine.finish(done(&claimed, 2)).await.unwrap();
    let lane = domain::lane::Lane::of_endpoint(ours.id);
    let sent = engine.claim_deliveries(vec![ask(lane, 9)], at(3)).await.unwrap().remove(0).claimed;
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].target.headers, Some(sealed(8)));
    assert_eq!(sent[0].endpoint.as_ref().unwrap().secret, sealed(8));

    let fixture = fixture.crash().await;
    let read = fixture.engine.endpoint(OTHER, theirs.id).await.unwrap().unwrap();
    assert_eq!((read.version, read.secret), (2, sealed(9)));
    assert_eq!(read.settings.target.headers, Some(sealed(9)));
    let read = fixture.engine.endpoint(TENANT, changing.id).await.unwrap().unwrap();
    assert_eq!((read.disabled, read.secret), (Some(DisabledReason::Requested), sealed(1)));
}

fn to_host(host: &str, byte: u8) -> Callbacks {
    Callbacks::new(vec![Callback { secret: Some(sealed(byte)), ..callback(host, &[]) }])
}

pub async fn callbacks_are_walked_and_sealed_anew(store: &dyn Store) {
    let fixture = two_tenants(store).await;
    let engine = &fixture.engine;
    let ours = fixture.submit(Job { callbacks: to_host("a.example", 1), ..job("t", 1) }, 1).await;
    let bare = fixture.submit(job("t", 2), 2).await;
    let theirs = Job { tenant: OTHER, callbacks: to_host("b.example", 1), ..job("t", 3) };
    let theirs = fixture.submit(theirs, 3).await;
    let start = (Tenant(0), JobId::from_u128(0));
    let walked = engine.sealed_callbacks(start, 2).await.unwrap();
    assert_eq!(walked.iter().map(|(_, id, _)| *id).collect::<Vec<_>>(), [ours.id, bare.id]);
    let walked = engine.sealed_callbacks((TENANT, bare.id), 2).await.unwrap();
    assert_eq!(walked.iter().map(|(tenant, id, _)| (*tenant, *id)).collect::<Vec<_>>(), [(OTHER, theirs.id)]);

    let anew = |tenant, job: &Job, byte| Reseal::Callbacks {
        tenant,
        job: job.id,
        from: job.callbacks.clone(),
        to: to_host("a.example", byte),
    };
    let rows = vec![anew(TENANT, &ours, 2), anew(OTHER, &ours, 3), anew(TENANT, &ours, 4)];
    assert_eq!(engine.reseal(rows).await.unwrap(), [true, false, false]);
    let fixture = fixture.crash().await;
    let read = fixture.job(ours.id).await;
    assert_eq!(read.callbacks.as_text(), to_host("a.example", 2).as_text());
}
