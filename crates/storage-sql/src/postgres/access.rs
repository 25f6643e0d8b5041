//! Tenants and keys: the shared statements, one write a transaction, and reads.

use domain::{
    access::{KeyId, Role},
    callback::Sealed,
    id::{Tenant, TenantId},
    time::Timestamp,
};
use storage::{
    KeyEntry, KeyFilter, KeyMade, NewKey, NewTenant, Page, Result as Answer, SigningSecrets, StorageError,
    TenantDeleted, TenantEntry, TenantMade, Wake,
};

use super::{
    columns::Fixed,
    fault::Fault,
    line::Verb,
    link::Params,
    reads::{Readers, page},
    submit::id_of,
    transaction::{Transaction, nothing},
};
use crate::{access, columns::Columns, effects::Effects};

/// A verb of one command a transaction: its name, what it runs, and how.
macro_rules! verb {
    ($name:ident: $command:ty => $answer:ty, $statements:expr, $write:ident) => {
        pub(crate) struct $name;

        impl Verb for $name {
            type Command = $command;
            type Answer = $answer;
            const STATEMENTS: &'static [&'static str] = $statements;

            async fn write(
                tx: &Transaction<'_>,
                effects: &mut Effects,
                commands: &[Self::Command],
            ) -> Result<Vec<Self::Answer>, Fault> {
                let mut answers = Vec::with_capacity(1);
                for command in commands {
                    answers.push($write(tx, effects, command).await?);
                }
                tx.commit(nothing()).await?;
                Ok(answers)
            }
        }
    };
}

verb!(EnsureTenant: (TenantId, Sealed, Timestamp) => TenantId,
    &[access::CREATE_TENANT, access::TENANT_ID], ensure_tenant);
verb!(RotateSecret: (Tenant, Sealed, Timestamp) => Option<SigningSecrets>,
    &[access::ROTATE_SECRET, access::SECRETS], rotate_secret);
verb!(CreateTenant: NewTenant => TenantMade, &[access::CREATE_TENANT, access::NAMED], create_tenant);
verb!(DeleteTenant: (TenantId, Timestamp) => TenantDeleted,
    &[access::DELETE_TENANT, access::TENANT, access::DELETE_KEYS], delete_tenant);
verb!(CreateKey: NewKey => KeyMade,
    &[access::CREATE_KEY, access::CREATE_BOUND_KEY, access::SECRETS], create_key);
verb!(RevokeKey: KeyId => bool, &[access::REVOKE_KEY], revoke_key);

async fn ensure_tenant(
    tx: &Transaction<'_>,
    _: &mut Effects,
    (id, secret, at): &(TenantId, Sealed, Timestamp),
) -> Result<TenantId, Fault> {
    let (n, id, created) = (Tenant::DEFAULT.0, Fixed(id.to_bytes()), at.micros());
    tx.begin(async { tx.execute(access::CREATE_TENANT, &[&n, &id, &"default", &created, &secret.0]).await })
        .await?;
    let row = tx.row(access::TENANT_ID, &[&n]).await?;
    let row = row.ok_or_else(|| StorageError::refused("the tenant that was just made is not there"))?;
    Ok(TenantId::from_u128(u128::from_be_bytes(id_of(&row, 0)?)))
}

async fn rotate_secret(
    tx: &Transaction<'_>,
    effects: &mut Effects,
    (tenant, secret, until): &(Tenant, Sealed, Timestamp),
) -> Result<Option<SigningSecrets>, Fault> {
    let rotate = async { tx.execute(access::ROTATE_SECRET, &[&tenant.0, &secret.0, &until.micros()]).await };
    if tx.begin(rotate).await? == 0 {
        return Ok(None);
    }
    effects.wake(Wake::SecretsChanged { tenant: *tenant });
    let row = tx.row(access::SECRETS, &[&tenant.0]).await?;
    Ok(row.map(|row| access::secrets(&row)).transpose()?)
}

async fn create_tenant(tx: &Transaction<'_>, _: &mut Effects, new: &NewTenant) -> Result<TenantMade, Fault> {
    let (id, name, created) = (Fixed(new.id.to_bytes()), new.name.as_str(), new.created_at.micros());
    let create = async {
        tx.execute(access::CREATE_TENANT, &[&new.tenant.0, &id, &name, &created, &new.secret.0]).await
    };
    if tx.begin(create).await? == 1 {
        return Ok(TenantMade::Made);
    }
    let named = tx.row(access::NAMED, &[&name]).await?.is_some();
    Ok(if named { TenantMade::NameTaken } else { TenantMade::NumberTaken })
}

async fn delete_tenant(
    tx: &Transaction<'_>,
    effects: &mut Effects,
    (id, at): &(TenantId, Timestamp),
) -> Result<TenantDeleted, Fault> {
    let id = Fixed(id.to_bytes());
    let delete = async { tx.execute(access::DELETE_TENANT, &[&id, &at.micros()]).await };
    if tx.begin(delete).await? == 0 {
        let busy = tx.row(access::TENANT, &[&id]).await?.is_some();
        return Ok(if busy { TenantDeleted::Busy } else { TenantDeleted::Missing });
    }
    tx.execute(access::DELETE_KEYS, &[&id]).await?;
    effects.wake(Wake::KeysRevoked);
    Ok(TenantDeleted::Deleted)
}

async fn create_key(tx: &Transaction<'_>, _: &mut Effects, new: &NewKey) -> Result<KeyMade, Fault> {
    let (id, hash, tenant) = (Fixed(new.id.to_bytes()), Fixed(new.hash), new.tenant.0);
    let name = new.name.as_ref().map(|name| name.as_str());
    let (role, created) = (new.role.code(), new.created_at.micros());
    let Some(endpoint) = new.endpoint else {
        let create =
            async { tx.execute(access::CREATE_KEY, &[&id, &tenant, &role, &name, &hash, &created]).await };
        return Ok(if tx.begin(create).await? == 1 { KeyMade::Made } else { KeyMade::NoTenant });
    };
    let endpoint = Fixed(endpoint.to_bytes());
    let create = async {
        let params: &Params<'_> = &[&id, &tenant, &role, &name, &hash, &created, &endpoint];
        tx.execute(access::CREATE_BOUND_KEY, params).await
    };
    if tx.begin(create).await? == 1 {
        return Ok(KeyMade::Made);
    }
    let known = tx.row(access::SECRETS, &[&tenant]).await?.is_some();
    Ok(if known { KeyMade::NoEndpoint } else { KeyMade::NoTenant })
}

async fn revoke_key(tx: &Transaction<'_>, effects: &mut Effects, id: &KeyId) -> Result<bool, Fault> {
    let id = Fixed(id.to_bytes());
    let revoked = tx.begin(async { tx.execute(access::REVOKE_KEY, &[&id]).await }).await? == 1;
    if revoked {
        effects.wake(Wake::KeysRevoked);
    }
    Ok(revoked)
}

impl Readers {
    pub(crate) async fn secrets(&self, tenant: Tenant) -> Answer<Option<SigningSecrets>> {
        self.one(access::SECRETS, &[&tenant.0], access::secrets).await
    }

    pub(crate) async fn next_tenant(&self) -> Answer<Tenant> {
        let last = self.one(access::LAST_TENANT, &[], |row| Ok(row.int_or(0).ok().flatten())).await?;
        Ok(Tenant(last.flatten().unwrap_or(0) + 1))
    }

    pub(crate) async fn tenant(&self, id: TenantId) -> Answer<Option<TenantEntry>> {
        self.one(access::TENANT, &[&Fixed(id.to_bytes())], access::tenant).await
    }

    pub(crate) async fn tenants(&self, before: Option<TenantId>, limit: u32) -> Answer<Page<TenantEntry>> {
        let before = Fixed(before.map_or([0xff; 16], TenantId::to_bytes));
        let items = self.many(access::TENANTS, &[&before, &(i64::from(limit) + 1)], access::tenant).await?;
        Ok(page(items, limit))
    }

    pub(crate) async fn key(&self, id: KeyId) -> Answer<Option<KeyEntry>> {
        self.one(access::KEY, &[&Fixed(id.to_bytes())], access::key).await
    }

    pub(crate) async fn keys(&self, filter: &KeyFilter) -> Answer<Page<KeyEntry>> {
        let before = Fixed(filter.before.map_or([0xff; 16], KeyId::to_bytes));
        let (left_out, limit) = (access::left_out(filter), i64::from(filter.limit) + 1);
        let items =
            self.many(access::KEYS, &[&filter.tenant.0, &before, &left_out, &limit], access::key).await?;
        Ok(page(items, filter.limit))
    }

    pub(crate) async fn has_administrator(&self) -> Answer<bool> {
        let roles = [Role::Admin.code(), Role::Operator.code()];
        Ok(self.one(access::ADMINISTRATOR, &[&roles[0], &roles[1]], |_| Ok(())).await?.is_some())
    }
}
