//! What is over 2 KiB and lives beside its row.

use domain::id::Tenant;

use super::{columns::Id, fault::Fault, transaction::Transaction};

/// Arrays: ?1 tenant, ?2 id, ?3 kind, ?4 bytes.
pub(crate) const INSERT_PAYLOADS: &str = "INSERT INTO payload (tenant, id, kind, bytes) \
     SELECT * FROM UNNEST($1::bigint[], $2::bytea[], $3::bigint[], $4::bytea[])";

/// Payloads of a batch, by column.
#[derive(Default)]
pub(crate) struct Payloads<'c> {
    tenant: Vec<i64>,
    id: Vec<Id>,
    kind: Vec<i64>,
    bytes: Vec<&'c [u8]>,
}

impl<'c> Payloads<'c> {
    pub(crate) fn add(&mut self, tenant: Tenant, id: Id, kind: i64, bytes: &'c [u8]) {
        self.tenant.push(tenant.0);
        self.id.push(id);
        self.kind.push(kind);
        self.bytes.push(bytes);
    }

    /// Nothing is sent if there are none.
    pub(crate) async fn insert(&self, tx: &Transaction<'_>) -> Result<(), Fault> {
        if self.id.is_empty() {
            return Ok(());
        }
        tx.execute(INSERT_PAYLOADS, &[&self.tenant, &self.id, &self.kind, &self.bytes]).await.map(drop)
    }
}
