//! What is sealed: walked, and written anew where the row still is what was read.

use domain::{
    callback::Callbacks,
    endpoint::Endpoint,
    id::{EndpointId, JobId, Tenant},
};
use rusqlite::{Connection, params};
use storage::{Reseal, SigningSecrets, Wake};

use super::{endpoints, fault::Fault, reads::many, writer::Writer};
use crate::{access, rows};

/// Writes rows that were sealed anew. For each: whether it still was what was read.
pub(crate) fn reseal(w: &mut Writer<'_>, rows: &[Reseal]) -> Result<Vec<bool>, Fault> {
    rows.iter().map(|row| write(w, row)).collect()
}

fn write(w: &mut Writer<'_>, row: &Reseal) -> Result<bool, Fault> {
    match row {
        Reseal::Secrets { tenant, from, to } => {
            let previous = to.previous.as_ref().map(|(sealed, _)| &sealed.0);
            let was = from.previous.as_ref().map_or(&from.current, |(sealed, _)| sealed);
            let mut update = w.connection.prepare_cached(access::RESEAL_SECRETS)?;
            let params = params![tenant.0, to.current.0, previous, from.current.0, was.0];
            Ok(update.execute(params)? == 1)
        }
        Reseal::Endpoint(endpoint) => {
            let replaced = endpoints::replace(w, endpoint)?;
            if replaced {
                w.effects.wake(Wake::EndpointChanged { endpoint: endpoint.id });
            }
            Ok(replaced)
        }
        Reseal::Callbacks { tenant, job, from, to } => {
            let mut update = w.connection.prepare_cached(access::RESEAL_CALLBACKS)?;
            Ok(update.execute(params![tenant.0, job.to_bytes(), to.as_text(), from.as_text()])? == 1)
        }
    }
}

/// Signing secrets of some tenants.
pub(crate) fn secrets(
    c: &Connection,
    after: Tenant,
    limit: u32,
) -> Result<Vec<(Tenant, SigningSecrets)>, Fault> {
    many(c, access::SEALED_SECRETS, params![after.0, limit], |row| access::sealed_secrets(row))
}

/// Some endpoints.
pub(crate) fn endpoints(
    c: &Connection,
    (tenant, id): (Tenant, EndpointId),
    limit: u32,
) -> Result<Vec<Endpoint>, Fault> {
    many(c, access::SEALED_ENDPOINTS, params![tenant.0, id.to_bytes(), limit], |row| rows::endpoint(row))
}

/// Callbacks of some jobs.
pub(crate) fn callbacks(
    c: &Connection,
    (tenant, id): (Tenant, JobId),
    limit: u32,
) -> Result<Vec<(Tenant, JobId, Callbacks)>, Fault> {
    let params = params![tenant.0, id.to_bytes(), limit];
    many(c, access::SEALED_CALLBACKS, params, |row| access::sealed_callbacks(row))
}
