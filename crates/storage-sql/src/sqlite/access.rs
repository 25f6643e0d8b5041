//! Tenants and keys.

use domain::{
    access::{KeyId, Role},
    callback::Sealed,
    id::{Tenant, TenantId},
    time::Timestamp,
};
use rusqlite::{Connection, OptionalExtension, params};
use storage::{
    KeyEntry, KeyFilter, KeyMade, NewKey, NewTenant, Page, SigningSecrets, TenantDeleted, TenantEntry,
    TenantMade, Wake,
};

use super::{
    fault::Fault,
    reads::{many, one, page},
    writer::Writer,
};
use crate::access;

/// Makes the tenant `default`, unless it is there.
pub(crate) fn ensure_default_tenant(
    w: &mut Writer<'_>,
    (id, secret, at): &(TenantId, Sealed, Timestamp),
) -> Result<TenantId, Fault> {
    let n = Tenant::DEFAULT.0;
    let mut create = w.connection.prepare_cached(access::CREATE_TENANT)?;
    create.execute(params![n, id.to_bytes(), "default", at.micros(), secret.0])?;
    let id: [u8; 16] = w.connection.prepare_cached(access::TENANT_ID)?.query_row([n], |row| row.get(0))?;
    Ok(TenantId::from_u128(u128::from_be_bytes(id)))
}

/// Replaces a tenant's secret.
pub(crate) fn rotate_signing_secret(
    w: &mut Writer<'_>,
    (tenant, secret, until): &(Tenant, Sealed, Timestamp),
) -> Result<Option<SigningSecrets>, Fault> {
    let mut rotate = w.connection.prepare_cached(access::ROTATE_SECRET)?;
    if rotate.execute(params![tenant.0, secret.0, until.micros()])? == 0 {
        return Ok(None);
    }
    let secrets = secrets(w.connection, *tenant)?;
    w.effects.wake(Wake::SecretsChanged { tenant: *tenant });
    Ok(secrets)
}

/// Makes a tenant.
pub(crate) fn create_tenant(w: &mut Writer<'_>, new: &NewTenant) -> Result<TenantMade, Fault> {
    let mut create = w.connection.prepare_cached(access::CREATE_TENANT)?;
    let (name, created_at) = (new.name.as_str(), new.created_at.micros());
    if create.execute(params![new.tenant.0, new.id.to_bytes(), name, created_at, new.secret.0])? == 1 {
        return Ok(TenantMade::Made);
    }
    let named = w.connection.prepare_cached(access::NAMED)?.exists([name])?;
    Ok(if named { TenantMade::NameTaken } else { TenantMade::NumberTaken })
}

/// Deletes a tenant that has nothing left to do, and its keys.
pub(crate) fn delete_tenant(
    w: &mut Writer<'_>,
    (id, at): &(TenantId, Timestamp),
) -> Result<TenantDeleted, Fault> {
    let key = id.to_bytes();
    let deleted = w.connection.prepare_cached(access::DELETE_TENANT)?.execute(params![key, at.micros()])?;
    if deleted == 0 {
        let busy = w.connection.prepare_cached(access::TENANT)?.exists([key])?;
        return Ok(if busy { TenantDeleted::Busy } else { TenantDeleted::Missing });
    }
    w.connection.prepare_cached(access::DELETE_KEYS)?.execute([key])?;
    w.effects.wake(Wake::KeysRevoked);
    Ok(TenantDeleted::Deleted)
}

/// Makes a key, if there are its tenant and its endpoint.
pub(crate) fn create_key(w: &mut Writer<'_>, new: &NewKey) -> Result<KeyMade, Fault> {
    let name = new.name.as_ref().map(|name| name.as_str());
    let (id, role, created_at) = (new.id.to_bytes(), new.role.code(), new.created_at.micros());
    let Some(endpoint) = new.endpoint else {
        let mut create = w.connection.prepare_cached(access::CREATE_KEY)?;
        let made = create.execute(params![id, new.tenant.0, role, name, new.hash, created_at])?;
        return Ok(if made == 1 { KeyMade::Made } else { KeyMade::NoTenant });
    };
    let mut create = w.connection.prepare_cached(access::CREATE_BOUND_KEY)?;
    let endpoint = endpoint.to_bytes();
    if create.execute(params![id, new.tenant.0, role, name, new.hash, created_at, endpoint])? == 1 {
        return Ok(KeyMade::Made);
    }
    let known = w.connection.prepare_cached(access::SECRETS)?.exists([new.tenant.0])?;
    Ok(if known { KeyMade::NoEndpoint } else { KeyMade::NoTenant })
}

/// Makes a key worthless.
pub(crate) fn revoke_key(w: &mut Writer<'_>, id: &KeyId) -> Result<bool, Fault> {
    let revoked = w.connection.prepare_cached(access::REVOKE_KEY)?.execute([id.to_bytes()])? == 1;
    if revoked {
        w.effects.wake(Wake::KeysRevoked);
    }
    Ok(revoked)
}

/// What a tenant signs with.
pub(crate) fn secrets(c: &Connection, tenant: Tenant) -> Result<Option<SigningSecrets>, Fault> {
    one(c, access::SECRETS, [tenant.0], |row| access::secrets(row))
}

/// A number that no tenant has or had.
pub(crate) fn next_tenant(c: &Connection) -> Result<Tenant, Fault> {
    let last: Option<i64> = c.prepare_cached(access::LAST_TENANT)?.query_row([], |row| row.get(0))?;
    Ok(Tenant(last.unwrap_or(0) + 1))
}

/// One tenant.
pub(crate) fn tenant(c: &Connection, id: TenantId) -> Result<Option<TenantEntry>, Fault> {
    one(c, access::TENANT, [id.to_bytes()], |row| access::tenant(row))
}

/// A list of tenants.
pub(crate) fn tenants(
    c: &Connection,
    before: Option<TenantId>,
    limit: u32,
) -> Result<Page<TenantEntry>, Fault> {
    let before = before.map_or([0xff; 16], TenantId::to_bytes);
    let items = many(c, access::TENANTS, params![before, limit + 1], |row| access::tenant(row))?;
    Ok(page(items, limit))
}

/// One key.
pub(crate) fn key(c: &Connection, id: KeyId) -> Result<Option<KeyEntry>, Fault> {
    one(c, access::KEY, [id.to_bytes()], |row| access::key(row))
}

/// A list of keys.
pub(crate) fn keys(c: &Connection, filter: &KeyFilter) -> Result<Page<KeyEntry>, Fault> {
    let before = filter.before.map_or([0xff; 16], KeyId::to_bytes);
    let params = params![filter.tenant.0, before, access::left_out(filter), filter.limit + 1];
    Ok(page(many(c, access::KEYS, params, |row| access::key(row))?, filter.limit))
}

/// Whether some key is an admin's or an operator's.
pub(crate) fn has_administrator(c: &Connection) -> Result<bool, Fault> {
    let mut find = c.prepare_cached(access::ADMINISTRATOR)?;
    let found = find.query_row([Role::Admin.code(), Role::Operator.code()], |_| Ok(())).optional()?;
    Ok(found.is_some())
}
