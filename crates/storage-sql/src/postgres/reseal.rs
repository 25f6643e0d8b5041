//! What is sealed: walked, and written anew where the row still is what was read. A page is one transaction.

use domain::{
    callback::Callbacks,
    endpoint::Endpoint,
    id::{EndpointId, JobId, Tenant},
};
use storage::{Reseal, Result as Answer, SigningSecrets, Wake};

use super::{
    columns::Fixed,
    endpoints,
    fault::Fault,
    line::Verb,
    link::Params,
    reads::Readers,
    transaction::{Transaction, nothing},
};
use crate::{access, cold, effects::Effects, rows};

pub(crate) struct Reseals;

impl Verb for Reseals {
    type Command = Vec<Reseal>;
    type Answer = Vec<bool>;
    const STATEMENTS: &'static [&'static str] =
        &[access::RESEAL_SECRETS, access::RESEAL_CALLBACKS, cold::UPDATE_ENDPOINT, cold::SET_STATE];

    async fn write(
        tx: &Transaction<'_>,
        effects: &mut Effects,
        commands: &[Vec<Reseal>],
    ) -> Result<Vec<Vec<bool>>, Fault> {
        tx.begin(nothing()).await?;
        let mut answers = Vec::with_capacity(1);
        for rows in commands {
            answers.push(reseal(tx, effects, rows).await?);
        }
        tx.commit(nothing()).await?;
        Ok(answers)
    }
}

async fn reseal(tx: &Transaction<'_>, effects: &mut Effects, rows: &[Reseal]) -> Result<Vec<bool>, Fault> {
    // Whatever else locks several jobs does so by their ids.
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|&place| match &rows[place] {
        Reseal::Callbacks { job, .. } => job.to_bytes(),
        Reseal::Secrets { .. } | Reseal::Endpoint(_) => [0; 16],
    });
    let mut written = vec![false; rows.len()];
    for place in order {
        written[place] = write(tx, effects, &rows[place]).await?;
    }
    Ok(written)
}

async fn write(tx: &Transaction<'_>, effects: &mut Effects, row: &Reseal) -> Result<bool, Fault> {
    match row {
        Reseal::Secrets { tenant, from, to } => {
            let previous = to.previous.as_ref().map(|(sealed, _)| &sealed.0);
            let was = from.previous.as_ref().map_or(&from.current, |(sealed, _)| sealed);
            let params: &Params<'_> = &[&tenant.0, &to.current.0, &previous, &from.current.0, &was.0];
            Ok(tx.execute(access::RESEAL_SECRETS, params).await? == 1)
        }
        Reseal::Endpoint(endpoint) => {
            let replaced = endpoints::replace(tx, endpoint).await?;
            if replaced {
                effects.wake(Wake::EndpointChanged { endpoint: endpoint.id });
            }
            Ok(replaced)
        }
        Reseal::Callbacks { tenant, job, from, to } => {
            let params: &Params<'_> = &[&tenant.0, &Fixed(job.to_bytes()), &to.as_text(), &from.as_text()];
            Ok(tx.execute(access::RESEAL_CALLBACKS, params).await? == 1)
        }
    }
}

impl Readers {
    pub(crate) async fn sealed_secrets(
        &self,
        after: Tenant,
        limit: u32,
    ) -> Answer<Vec<(Tenant, SigningSecrets)>> {
        self.many(access::SEALED_SECRETS, &[&after.0, &i64::from(limit)], access::sealed_secrets).await
    }

    pub(crate) async fn sealed_endpoints(
        &self,
        (tenant, id): (Tenant, EndpointId),
        limit: u32,
    ) -> Answer<Vec<Endpoint>> {
        let params: &Params<'_> = &[&tenant.0, &Fixed(id.to_bytes()), &i64::from(limit)];
        self.many(access::SEALED_ENDPOINTS, params, rows::endpoint).await
    }

    pub(crate) async fn sealed_callbacks(
        &self,
        (tenant, id): (Tenant, JobId),
        limit: u32,
    ) -> Answer<Vec<(Tenant, JobId, Callbacks)>> {
        let params: &Params<'_> = &[&tenant.0, &Fixed(id.to_bytes()), &i64::from(limit)];
        self.many(access::SEALED_CALLBACKS, params, access::sealed_callbacks).await
    }
}
