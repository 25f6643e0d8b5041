//! Tenants and keys: one text of each statement and one reader of each row, for both engines (parameters as in `cold`).

use domain::{
    access::{KeyId, Role},
    callback::{Callbacks, Sealed},
    id::{EndpointId, JobId, Tenant, TenantId},
    time::Timestamp,
};
use storage::{KeyEntry, KeyFilter, Result, SigningSecrets, TenantEntry};

use crate::{
    columns::{Columns, Reading},
    rows::endpoint_columns,
};

macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $sql:expr;)*) => {
        $($(#[$doc])* pub(crate) const $name: &str = $sql;)*

        /// By name, for the tests of plans and parameters.
        #[cfg(test)]
        pub(crate) const ALL: &[(&str, &str)] = &[$((stringify!($name), $name)),*];
    };
}

/// What [`tenant`] reads: of `tenants t`.
macro_rules! tenant_columns {
    () => {
        "t.n, t.id, t.name, t.created_at"
    };
}

/// What [`key`] reads: of `keys k` and its `tenants t`.
macro_rules! key_columns {
    () => {
        "k.id, k.tenant, t.id, k.role, k.name, k.hash, k.created_at, k.endpoint"
    };
}

/// Of `keys k`: whoever is bound to an endpoint is good as long as it is there. Who made one while another deleted its
/// endpoint may have missed that.
macro_rules! is_bound_to_what_is_there {
    () => {
        "(k.endpoint IS NULL OR EXISTS (SELECT 1 FROM endpoints n WHERE n.tenant = k.tenant AND n.id = k.endpoint))"
    };
}

statements! {
    /// ?1 number.
    SECRETS = "SELECT secret, previous, previous_until FROM tenants WHERE n = ?1 AND deleted_at IS NULL";
    /// ?1 number, ?2 id, ?3 name, ?4 created, ?5 secret. No row: the number or the name is taken.
    CREATE_TENANT = "INSERT INTO tenants (n, id, name, created_at, secret) VALUES (?1, ?2, ?3, ?4, ?5) \
        ON CONFLICT DO NOTHING";
    /// ?1 number.
    TENANT_ID = "SELECT id FROM tenants WHERE n = ?1";
    /// ?1 name.
    NAMED = "SELECT n FROM tenants WHERE name = ?1 AND deleted_at IS NULL";
    /// The highest number there was.
    LAST_TENANT = "SELECT max(n) FROM tenants";
    /// ?1 number, ?2 new secret, ?3 until when the old one signs too.
    ROTATE_SECRET = "UPDATE tenants SET previous = secret, previous_until = ?3, secret = ?2 \
        WHERE n = ?1 AND deleted_at IS NULL";
    /// ?1 id, ?2 when. No row: it is not there, or has something left to do.
    DELETE_TENANT = "UPDATE tenants SET deleted_at = ?2 WHERE id = ?1 AND deleted_at IS NULL \
        AND NOT EXISTS (SELECT 1 FROM job_queue q WHERE q.tenant = tenants.n) \
        AND NOT EXISTS (SELECT 1 FROM delivery_queue q WHERE q.tenant = tenants.n)";
    /// ?1 the tenant's id.
    DELETE_KEYS = "DELETE FROM keys WHERE tenant = (SELECT n FROM tenants WHERE id = ?1)";
    /// ?1 id.
    TENANT = concat!("SELECT ", tenant_columns!(), " FROM tenants t WHERE t.id = ?1 AND t.deleted_at IS NULL");
    /// ?1 before (id), ?2 limit.
    TENANTS = concat!(
        "SELECT ", tenant_columns!(), " FROM tenants t WHERE t.id < ?1 AND t.deleted_at IS NULL \
         ORDER BY t.id DESC LIMIT ?2"
    );
    /// ?1 id, ?2 tenant, ?3 role, ?4 name or null, ?5 hash, ?6 created. No row: there is no such tenant.
    CREATE_KEY = "INSERT INTO keys (id, tenant, role, name, hash, created_at) SELECT ?1, t.n, ?3, ?4, ?5, ?6 \
        FROM tenants t WHERE t.n = ?2 AND t.deleted_at IS NULL";
    /// The same, and ?7 the endpoint that it is bound to. No row: there is no such tenant, or it has no such endpoint.
    CREATE_BOUND_KEY = "INSERT INTO keys (id, tenant, role, name, hash, created_at, endpoint) \
        SELECT ?1, t.n, ?3, ?4, ?5, ?6, n.id FROM tenants t CROSS JOIN endpoints n \
        WHERE t.n = ?2 AND t.deleted_at IS NULL AND n.tenant = t.n AND n.id = ?7";
    /// ?1 endpoint.
    DELETE_BOUND_KEYS = "DELETE FROM keys WHERE endpoint = ?1";
    /// ?1 id.
    REVOKE_KEY = "DELETE FROM keys WHERE id = ?1";
    /// ?1 id.
    KEY = concat!(
        "SELECT ", key_columns!(), " FROM keys k CROSS JOIN tenants t \
         WHERE k.id = ?1 AND t.n = k.tenant AND t.deleted_at IS NULL AND ", is_bound_to_what_is_there!()
    );
    /// ?1 tenant, ?2 before (id), ?3 a role that is left out, ?4 limit.
    KEYS = concat!(
        "SELECT ", key_columns!(), " FROM keys k CROSS JOIN tenants t \
         WHERE k.tenant = ?1 AND k.id < ?2 AND k.role <> ?3 AND t.n = k.tenant AND t.deleted_at IS NULL AND ",
        is_bound_to_what_is_there!(), " ORDER BY k.tenant DESC, k.id DESC LIMIT ?4"
    );
    /// ?1 after (number), ?2 limit.
    SEALED_SECRETS = "SELECT secret, previous, previous_until, n FROM tenants WHERE n > ?1 ORDER BY n LIMIT ?2";
    /// ?1 tenant and ?2 id of the endpoint before, ?3 limit. By the primary key.
    SEALED_ENDPOINTS = concat!(
        "SELECT ", endpoint_columns!(), " FROM endpoints n WHERE (n.tenant, n.id) > (?1, ?2) \
         ORDER BY n.tenant, n.id LIMIT ?3"
    );
    /// ?1 tenant and ?2 id of the job before, ?3 limit. By the primary key.
    SEALED_CALLBACKS = "SELECT tenant, id, callbacks FROM jobs WHERE (tenant, id) > (?1, ?2) \
        ORDER BY tenant, id LIMIT ?3";
    /// ?1 number, ?2 secret and ?3 previous one, ?4 secret and ?5 previous one (else secret) as they were.
    RESEAL_SECRETS = "UPDATE tenants SET secret = ?2, previous = ?3 \
        WHERE n = ?1 AND secret = ?4 AND COALESCE(previous, secret) = ?5";
    /// ?1 tenant, ?2 id, ?3 callbacks, ?4 as they were.
    RESEAL_CALLBACKS = "UPDATE jobs SET callbacks = ?3 WHERE tenant = ?1 AND id = ?2 AND callbacks = ?4";
    /// ?1, ?2 roles.
    ADMINISTRATOR = "SELECT 1 FROM keys k CROSS JOIN tenants t \
        WHERE k.role IN (?1, ?2) AND t.n = k.tenant AND t.deleted_at IS NULL LIMIT 1";
}

/// A tenant's secrets: `secret, previous, previous_until`.
pub(crate) fn secrets<R: Columns>(row: &R) -> Result<SigningSecrets> {
    let row = Reading::new(row, "tenants", "secret, previous, previous_until", 0);
    let previous = match (row.bytes_or(1)?, row.int_or(2)?) {
        (Some(bytes), Some(until)) => Some((Sealed(bytes.to_vec()), Timestamp::from_micros(until))),
        _ => None,
    };
    Ok(SigningSecrets { current: Sealed(row.bytes(0)?.to_vec()), previous })
}

/// A tenant's secrets and number: `secret, previous, previous_until, n`.
pub(crate) fn sealed_secrets<R: Columns>(row: &R) -> Result<(Tenant, SigningSecrets)> {
    let number = Reading::new(row, "tenants", "secret, previous, previous_until, n", 0).int(3)?;
    Ok((Tenant(number), secrets(row)?))
}

/// A job's callbacks: `tenant, id, callbacks`.
pub(crate) fn sealed_callbacks<R: Columns>(row: &R) -> Result<(Tenant, JobId, Callbacks)> {
    let row = Reading::new(row, "jobs", "tenant, id, callbacks", 1);
    let callbacks = Callbacks::stored(row.text(2)?).map_err(|error| row.bad(2, error))?;
    Ok((Tenant(row.int(0)?), row.id(1, JobId::from_u128)?, callbacks))
}

/// A tenant of [`tenant_columns`].
pub(crate) fn tenant<R: Columns>(row: &R) -> Result<TenantEntry> {
    let row = Reading::new(row, "tenants", tenant_columns!(), 1);
    Ok(TenantEntry {
        tenant: Tenant(row.int(0)?),
        id: row.id(1, TenantId::from_u128)?,
        name: row.text(2)?.parse().map_err(|error| row.bad(2, error))?,
        created_at: Timestamp::from_micros(row.int(3)?),
    })
}

/// A key of [`key_columns`].
pub(crate) fn key<R: Columns>(row: &R) -> Result<KeyEntry> {
    let row = Reading::new(row, "keys", key_columns!(), 0);
    let role = row.word(3, Role::from_code)?;
    let endpoint = row.bytes_or(7)?.map(|_| row.id(7, EndpointId::from_u128)).transpose()?;
    if role == Role::Receiver && endpoint.is_none() {
        return Err(row.bad(7, "a receiver's key is bound to an endpoint"));
    }
    Ok(KeyEntry {
        id: row.id(0, KeyId::from_u128)?,
        tenant: Tenant(row.int(1)?),
        tenant_id: row.id(2, TenantId::from_u128)?,
        role,
        name: row.text_or(4)?.map(|name| name.parse().map_err(|error| row.bad(4, error))).transpose()?,
        hash: row.array(5)?,
        created_at: Timestamp::from_micros(row.int(6)?),
        endpoint,
    })
}

/// The role that a list of keys leaves out; 0 is none.
pub(crate) fn left_out(filter: &KeyFilter) -> i64 {
    if filter.operators { 0 } else { Role::Operator.code() }
}
