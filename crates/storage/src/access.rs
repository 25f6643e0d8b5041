//! Tenants, what they sign with, and the keys that may call for them.

use async_trait::async_trait;
use domain::{
    access::{KeyId, Label, Role},
    callback::{Callbacks, Sealed},
    endpoint::Endpoint,
    id::{EndpointId, JobId, Tenant, TenantId},
    time::Timestamp,
};

use crate::{Page, Result};

/// A tenant's signing secrets, sealed (see `domain::vault`).
#[derive(Clone, Debug)]
pub struct SigningSecrets {
    /// Signs everything.
    pub current: Sealed,
    /// Signs beside it while it overlaps.
    pub previous: Option<(Sealed, Timestamp)>,
}

/// A tenant about to be made.
#[derive(Clone, Debug)]
pub struct NewTenant {
    /// Its number, which its secret is sealed for: [`Access::next_tenant`] says which is free.
    pub tenant: Tenant,
    /// Its public id.
    pub id: TenantId,
    /// What people call it; no two tenants have the same name.
    pub name: Label,
    /// What it signs with.
    pub secret: Sealed,
    /// When.
    pub created_at: Timestamp,
}

/// What making a tenant came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TenantMade {
    /// It is there.
    Made,
    /// Another tenant has the name.
    NameTaken,
    /// Somebody was quicker: the number is another tenant's.
    NumberTaken,
}

/// What deleting a tenant came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TenantDeleted {
    /// It and its keys are gone.
    Deleted,
    /// It has a job that has not ended, or a delivery that has not: nothing changed.
    Busy,
    /// No such tenant.
    Missing,
}

/// A tenant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TenantEntry {
    /// Its number in rows.
    pub tenant: Tenant,
    /// Its public id.
    pub id: TenantId,
    /// What people call it.
    pub name: Label,
    /// When it was made.
    pub created_at: Timestamp,
}

/// An API key about to be made.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// What it is found by.
    pub id: KeyId,
    /// Whose.
    pub tenant: Tenant,
    /// What for.
    pub role: Role,
    /// What people call it.
    pub name: Option<Label>,
    /// SHA-256 of its secret.
    pub hash: [u8; 32],
    /// When.
    pub created_at: Timestamp,
    /// The one endpoint that it is bound to.
    pub endpoint: Option<EndpointId>,
}

/// What making a key came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyMade {
    /// It is good.
    Made,
    /// There is no such tenant.
    NoTenant,
    /// The tenant has no such endpoint.
    NoEndpoint,
}

/// An API key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyEntry {
    /// What it is found by.
    pub id: KeyId,
    /// Whose.
    pub tenant: Tenant,
    /// The same, as clients know it.
    pub tenant_id: TenantId,
    /// What for.
    pub role: Role,
    /// What people call it.
    pub name: Option<Label>,
    /// SHA-256 of its secret.
    pub hash: [u8; 32],
    /// When it was made.
    pub created_at: Timestamp,
    /// The one endpoint that it is bound to. A key is gone with it.
    pub endpoint: Option<EndpointId>,
}

/// Which keys a list shows.
#[derive(Clone, Copy, Debug)]
pub struct KeyFilter {
    /// Whose.
    pub tenant: Tenant,
    /// Operators' too.
    pub operators: bool,
    /// Only older than this one.
    pub before: Option<KeyId>,
    /// At most so many, 1 to 100.
    pub limit: u32,
}

/// A row about to be sealed under another master key. It is written if it still is what it was when it was read.
#[derive(Clone, Debug)]
pub enum Reseal {
    /// A tenant's signing secrets.
    Secrets {
        /// Whose.
        tenant: Tenant,
        /// As they were read.
        from: SigningSecrets,
        /// The same under the other key.
        to: SigningSecrets,
    },
    /// An endpoint with all that is sealed in it; its version is one more than that of the one that was read.
    Endpoint(Box<Endpoint>),
    /// A job's callbacks.
    Callbacks {
        /// Whose.
        tenant: Tenant,
        /// Which job's.
        job: JobId,
        /// As they were read.
        from: Callbacks,
        /// The same under the other key.
        to: Callbacks,
    },
}

/// Who may call, and what tenants sign with.
#[async_trait]
pub trait Access {
    /// Makes the tenant `default` with this secret, unless it is there already; answers with its public id. Other
    /// starts that race it all see the same secret afterwards.
    async fn ensure_default_tenant(&self, id: TenantId, secret: Sealed, at: Timestamp) -> Result<TenantId>;

    /// What a tenant signs with. `None`: no such tenant.
    async fn signing_secrets(&self, tenant: Tenant) -> Result<Option<SigningSecrets>>;

    /// Replaces the current secret; the old one goes on signing beside it until `overlap_until`.
    async fn rotate_signing_secret(
        &self,
        tenant: Tenant,
        secret: Sealed,
        overlap_until: Timestamp,
    ) -> Result<Option<SigningSecrets>>;

    /// A number that no tenant has or had.
    async fn next_tenant(&self) -> Result<Tenant>;

    /// Makes a tenant.
    async fn create_tenant(&self, tenant: NewTenant) -> Result<TenantMade>;

    /// Deletes a tenant that has nothing left to do, with its keys. Its number is never given again: its history stays
    /// where no key sees it, until its retention is over.
    async fn delete_tenant(&self, id: TenantId, at: Timestamp) -> Result<TenantDeleted>;

    /// One tenant.
    async fn tenant(&self, id: TenantId) -> Result<Option<TenantEntry>>;

    /// A list, newest first, of at most `limit` that are older than `before`.
    async fn tenants(&self, before: Option<TenantId>, limit: u32) -> Result<Page<TenantEntry>>;

    /// Makes a key, if there are its tenant and the endpoint that it is bound to.
    async fn create_key(&self, key: NewKey) -> Result<KeyMade>;

    /// Makes a key worthless. False: there is none.
    async fn revoke_key(&self, id: KeyId) -> Result<bool>;

    /// One key, if its tenant is still there.
    async fn key(&self, id: KeyId) -> Result<Option<KeyEntry>>;

    /// A list, newest first.
    async fn keys(&self, filter: KeyFilter) -> Result<Page<KeyEntry>>;

    /// Signing secrets, by number, of at most `limit` tenants behind `after`; deleted ones too.
    async fn sealed_secrets(&self, after: Tenant, limit: u32) -> Result<Vec<(Tenant, SigningSecrets)>>;

    /// At most `limit` endpoints of whatever tenant behind `after`, in their order.
    async fn sealed_endpoints(&self, after: (Tenant, EndpointId), limit: u32) -> Result<Vec<Endpoint>>;

    /// The callbacks of at most `limit` jobs of whatever tenant behind `after`, in their order.
    async fn sealed_callbacks(
        &self,
        after: (Tenant, JobId),
        limit: u32,
    ) -> Result<Vec<(Tenant, JobId, Callbacks)>>;

    /// Writes what was sealed anew, in one transaction. For each: false if the row changed since it was read.
    async fn reseal(&self, rows: Vec<Reseal>) -> Result<Vec<bool>>;

    /// Whether some key is an admin's or an operator's: without one nobody could make another.
    async fn has_administrator(&self) -> Result<bool>;
}
