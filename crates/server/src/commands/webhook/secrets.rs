//! The secrets to verify under: those that were given, else the tenant's own.

use domain::signature::Verifier;
use serde::Deserialize;

use super::diagnose::{Fault, read_verifier};
use crate::commands::{
    client::{Call, Client},
    failure::Failure,
};

#[derive(Deserialize)]
struct Signing {
    secret: String,
    previous: Option<Previous>,
}

#[derive(Deserialize)]
struct Previous {
    secret: String,
}

/// The secrets in `texts`.
pub(super) fn read(texts: &[String]) -> Result<Vec<Verifier>, Fault> {
    texts.iter().map(|text| read_verifier(text)).collect()
}

/// The tenant's signing secret, and the one before it while it still signs.
pub(super) async fn fetch(client: &Client) -> Result<Vec<Verifier>, Failure> {
    let answer = client.call(&Call::get("/v1/signing-secret")).await?;
    let strange =
        |why: String| Failure::failed(format!("the answer holds no signing secret ({why}). Is --url right?"));
    let signing: Signing =
        serde_json::from_slice(&answer.body).map_err(|error| strange(error.to_string()))?;
    let texts = std::iter::once(signing.secret).chain(signing.previous.map(|previous| previous.secret));
    read(&texts.collect::<Vec<_>>()).map_err(|fault| strange(fault.detail))
}
