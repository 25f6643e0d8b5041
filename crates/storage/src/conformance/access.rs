//! Tenants, what they sign with, and their keys.

use domain::{
    access::{KeyId, Role},
    callback::Sealed,
    event::EventSet,
    id::{EndpointId, Tenant, TenantId},
    job::Job,
};

use super::{Store, fixture::*};
use crate::{
    Fetched, KeyEntry, KeyFilter, KeyMade, NewKey, NewTenant, Page, TenantDeleted, TenantEntry, TenantMade,
    Wake,
};

pub(super) fn sealed(byte: u8) -> Sealed {
    Sealed(vec![byte; 60])
}

pub async fn the_default_tenant_is_made_once(store: &dyn Store) {
    let engine = store.open().await;
    assert!(engine.signing_secrets(TENANT).await.unwrap().is_none());
    let [first, second] = [1, 2].map(TenantId::from_u128);
    assert_eq!(engine.ensure_default_tenant(first, sealed(1), shown(0)).await.unwrap(), first);
    assert_eq!(engine.ensure_default_tenant(second, sealed(2), shown(1)).await.unwrap(), first);
    let secrets = engine.signing_secrets(TENANT).await.unwrap().unwrap();
    assert_eq!((secrets.current, secrets.previous), (sealed(1), None));
    assert!(engine.signing_secrets(Tenant(2)).await.unwrap().is_none());
}

pub async fn rotation_keeps_the_old_secret_for_a_while(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let before = fixture.engine.signing_secrets(TENANT).await.unwrap().unwrap().current;
    for (new, old, until) in [(sealed(2), before, shown(50)), (sealed(3), sealed(2), shown(99))] {
        let secrets =
            fixture.engine.rotate_signing_secret(TENANT, new.clone(), until).await.unwrap().unwrap();
        assert_eq!((&secrets.current, &secrets.previous), (&new, &Some((old.clone(), until))));
        let read = fixture.engine.signing_secrets(TENANT).await.unwrap().unwrap();
        assert_eq!((read.current, read.previous), (new, Some((old, until))));
    }
    fixture
        .recorder
        .woken("SecretsChanged", |wake| matches!(wake, Wake::SecretsChanged { tenant: TENANT }))
        .await;
    assert!(fixture.engine.rotate_signing_secret(Tenant(2), sealed(9), shown(1)).await.unwrap().is_none());
    let fixture = fixture.crash().await;
    assert_eq!(fixture.engine.signing_secrets(TENANT).await.unwrap().unwrap().current, sealed(3));
}

pub(super) fn new_tenant(number: i64, name: &str) -> NewTenant {
    NewTenant {
        tenant: Tenant(number),
        id: TenantId::from_u128(number as u128),
        name: name.parse().unwrap(),
        secret: sealed(number as u8),
        created_at: shown(number),
    }
}

fn new_key(id: u128, tenant: Tenant, role: Role) -> NewKey {
    NewKey {
        id: KeyId::from_u128(id),
        tenant,
        role,
        name: id.is_multiple_of(2).then(|| "even".parse().unwrap()),
        hash: [id as u8; 32],
        created_at: shown(id as i64),
        endpoint: None,
    }
}

pub async fn tenants_are_made_found_and_listed(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let engine = &fixture.engine;
    assert_eq!(engine.next_tenant().await.unwrap(), Tenant(2));
    assert_eq!(engine.create_tenant(new_tenant(2, "two")).await.unwrap(), TenantMade::Made);
    assert_eq!(engine.create_tenant(new_tenant(3, "two")).await.unwrap(), TenantMade::NameTaken);
    let late = NewTenant { id: TenantId::from_u128(9), ..new_tenant(2, "other") };
    assert_eq!(engine.create_tenant(late).await.unwrap(), TenantMade::NumberTaken);
    assert_eq!(engine.create_tenant(new_tenant(3, "three")).await.unwrap(), TenantMade::Made);
    let secrets = engine.signing_secrets(Tenant(3)).await.unwrap().unwrap();
    assert_eq!(secrets.current, sealed(3));

    let three = engine.tenant(TenantId::from_u128(3)).await.unwrap().unwrap();
    let expected = TenantEntry {
        tenant: Tenant(3),
        id: TenantId::from_u128(3),
        name: "three".parse().unwrap(),
        created_at: shown(3),
    };
    assert_eq!(three, expected);
    let page = engine.tenants(None, 2).await.unwrap();
    let names = |page: &Page<TenantEntry>| page.items.iter().map(|t| t.name.to_string()).collect::<Vec<_>>();
    assert_eq!((names(&page), page.more), (vec!["three".to_owned(), "two".into()], true));
    let page = engine.tenants(Some(page.items[1].id), 2).await.unwrap();
    assert_eq!((names(&page), page.more), (vec!["default".to_owned()], false));
}

pub async fn a_deleted_tenant_takes_its_keys_along(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let engine = &fixture.engine;
    for (number, name) in [(2, "two"), (3, "three")] {
        engine.create_tenant(new_tenant(number, name)).await.unwrap();
        let key = new_key(number as u128, Tenant(number), Role::Admin);
        assert_eq!(engine.create_key(key).await.unwrap(), KeyMade::Made);
    }
    let two = TenantId::from_u128(2);
    assert_eq!(engine.delete_tenant(two, shown(9)).await.unwrap(), TenantDeleted::Deleted);
    fixture.recorder.woken("KeysRevoked", |wake| matches!(wake, Wake::KeysRevoked)).await;
    assert!(engine.tenant(two).await.unwrap().is_none());
    assert!(engine.signing_secrets(Tenant(2)).await.unwrap().is_none());
    assert!(engine.rotate_signing_secret(Tenant(2), sealed(9), shown(9)).await.unwrap().is_none());
    assert!(engine.key(KeyId::from_u128(2)).await.unwrap().is_none());
    assert!(engine.key(KeyId::from_u128(3)).await.unwrap().is_some());
    let orphan = new_key(4, Tenant(2), Role::Viewer);
    assert_eq!(engine.create_key(orphan).await.unwrap(), KeyMade::NoTenant);
    assert_eq!(engine.delete_tenant(two, shown(9)).await.unwrap(), TenantDeleted::Missing);
    assert_eq!(engine.tenants(None, 9).await.unwrap().items.len(), 2);
    // The name is free, the number is not.
    assert_eq!(engine.next_tenant().await.unwrap(), Tenant(4));
    assert_eq!(engine.create_tenant(new_tenant(4, "two")).await.unwrap(), TenantMade::Made);
}

pub async fn a_tenant_with_work_left_stays(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let (engine, two) = (&fixture.engine, TenantId::from_u128(2));
    engine.create_tenant(new_tenant(2, "two")).await.unwrap();
    let theirs = Job { tenant: Tenant(2), callbacks: to(&["a.example"]), ..job("t", 1) };
    let claimed = fixture.running(theirs, 1).await;
    assert_eq!(engine.delete_tenant(two, shown(9)).await.unwrap(), TenantDeleted::Busy, "a job");
    engine.finish(done(&claimed, 2)).await.unwrap();
    assert_eq!(engine.delete_tenant(two, shown(9)).await.unwrap(), TenantDeleted::Busy, "a delivery");
    assert!(
        engine.linked_result(claimed.job.id).await.is_ok_and(|found| matches!(found, Fetched::Content(_)))
    );
    let lane = callback("a.example", &[]).lane(Tenant(2));
    let mut claims = engine.claim_deliveries(vec![ask(lane, 1)], at(3)).await.unwrap();
    engine.settle(took(&claims.remove(0).claimed.remove(0), 3)).await.unwrap();
    assert_eq!(engine.delete_tenant(two, shown(9)).await.unwrap(), TenantDeleted::Deleted);
    // A link in a webhook is good for days, but not for what is gone.
    assert!(matches!(engine.linked_result(claimed.job.id).await, Ok(Fetched::Missing)));
}

pub async fn keys_are_made_found_listed_and_revoked(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let engine = &fixture.engine;
    engine.create_tenant(new_tenant(2, "two")).await.unwrap();
    assert!(!engine.has_administrator().await.unwrap());
    for (id, tenant, role) in [
        (1, TENANT, Role::Viewer),
        (2, TENANT, Role::Submitter),
        (3, TENANT, Role::Operator),
        (4, Tenant(2), Role::Worker),
        (5, TENANT, Role::Worker),
    ] {
        assert_eq!(engine.has_administrator().await.unwrap(), id > 3, "{id}");
        assert_eq!(engine.create_key(new_key(id, tenant, role)).await.unwrap(), KeyMade::Made);
    }
    let orphan = new_key(6, Tenant(3), Role::Viewer);
    assert_eq!(engine.create_key(orphan).await.unwrap(), KeyMade::NoTenant);
    let fixture = fixture.crash().await;
    let engine = &fixture.engine;
    let expected = KeyEntry {
        id: KeyId::from_u128(4),
        tenant: Tenant(2),
        tenant_id: TenantId::from_u128(2),
        role: Role::Worker,
        name: Some("even".parse().unwrap()),
        hash: [4; 32],
        created_at: shown(4),
        endpoint: None,
    };
    assert_eq!(engine.key(KeyId::from_u128(4)).await.unwrap(), Some(expected));
    assert_eq!(engine.key(KeyId::from_u128(5)).await.unwrap().unwrap().name, None);

    let all = KeyFilter { tenant: TENANT, operators: true, before: None, limit: 3 };
    let second = KeyFilter { before: Some(KeyId::from_u128(2)), ..all };
    let others = KeyFilter { tenant: Tenant(2), ..all };
    for (filter, expected, more) in [
        (all, vec![5, 3, 2], true),
        (second, vec![1], false),
        (KeyFilter { operators: false, ..all }, vec![5, 2, 1], false),
        (others, vec![4], false),
    ] {
        let page = engine.keys(filter).await.unwrap();
        let ids: Vec<_> = page.items.iter().map(|key| key.id.as_u128()).collect();
        assert_eq!((ids, page.more), (expected, more), "{filter:?}");
    }

    assert!(engine.revoke_key(KeyId::from_u128(3)).await.unwrap());
    fixture.recorder.woken("KeysRevoked", |wake| matches!(wake, Wake::KeysRevoked)).await;
    assert!(!engine.revoke_key(KeyId::from_u128(3)).await.unwrap(), "it is gone");
    assert!(engine.key(KeyId::from_u128(3)).await.unwrap().is_none());
    assert!(!engine.has_administrator().await.unwrap());
}

pub async fn bound_keys_go_with_their_endpoint(store: &dyn Store) {
    let fixture = Fixture::new(store).await;
    let engine = &fixture.engine;
    engine.create_tenant(new_tenant(2, "two")).await.unwrap();
    let ours = [5, 6].map(EndpointId::from_u128);
    for id in ours {
        fixture.registered(id.as_u128(), EventSet::NONE).await;
    }
    let bound = |id, tenant, endpoint| NewKey {
        endpoint: Some(EndpointId::from_u128(endpoint)),
        ..new_key(id, tenant, Role::Receiver)
    };
    for (key, made) in [
        (bound(1, TENANT, 5), KeyMade::Made),
        (bound(2, TENANT, 5), KeyMade::Made),
        (bound(3, TENANT, 6), KeyMade::Made),
        (bound(4, TENANT, 7), KeyMade::NoEndpoint),
        (bound(4, Tenant(2), 5), KeyMade::NoEndpoint),
        (bound(4, Tenant(3), 5), KeyMade::NoTenant),
        (new_key(4, TENANT, Role::Viewer), KeyMade::Made),
    ] {
        assert_eq!(engine.create_key(key.clone()).await.unwrap(), made, "{key:?}");
    }
    let fixture = fixture.crash().await;
    let engine = &fixture.engine;
    let of = async |id| engine.key(KeyId::from_u128(id)).await.unwrap().map(|key| (key.role, key.endpoint));
    assert_eq!(of(1).await, Some((Role::Receiver, Some(ours[0]))));
    assert_eq!(of(4).await, Some((Role::Viewer, None)));

    assert!(!engine.remove_endpoint(Tenant(2), ours[0], at(8)).await.unwrap(), "another tenant's");
    assert!(of(1).await.is_some());
    assert!(engine.remove_endpoint(TENANT, ours[0], at(9)).await.unwrap());
    fixture.recorder.woken("KeysRevoked", |wake| matches!(wake, Wake::KeysRevoked)).await;
    assert_eq!((of(1).await, of(2).await), (None, None));
    assert_eq!(of(3).await, Some((Role::Receiver, Some(ours[1]))));
    assert!(!engine.revoke_key(KeyId::from_u128(1)).await.unwrap(), "it is gone");
    let all = KeyFilter { tenant: TENANT, operators: true, before: None, limit: 9 };
    let listed = engine.keys(all).await.unwrap().items;
    let listed: Vec<_> = listed.iter().map(|key| (key.id.as_u128(), key.endpoint)).collect();
    assert_eq!(listed, [(4, None), (3, Some(ours[1]))]);
    assert!(engine.create_key(bound(9, TENANT, 5)).await.unwrap() == KeyMade::NoEndpoint);
}
