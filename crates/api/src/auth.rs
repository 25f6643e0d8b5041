//! Who calls: the key of `Authorization: Bearer`, compared in constant time.

use axum::http::{HeaderMap, Method, Uri, header};
use domain::{
    access::{ApiKey, Roles},
    id::{EndpointId, Tenant},
    time::Timestamp,
};
use sha2::{Digest, Sha256};
use storage::StorageError;
use subtle::ConstantTimeEq;
use utoipa::openapi::{
    Components,
    security::{self, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
};

use crate::{access::BOOTSTRAP, keyring::FRESH, router::Api};

/// `auth.bootstrap_key`: operator, and admin of the tenant `default`. Only its SHA-256 is kept.
pub(crate) struct BootstrapKey([u8; 32]);

impl BootstrapKey {
    pub(crate) fn new(key: &str) -> Self {
        Self(Sha256::digest(key).into())
    }

    /// Hashing first makes both sides equally long, so that the time tells nothing of length or content.
    fn is(&self, given: &[u8]) -> bool {
        let given: [u8; 32] = Sha256::digest(given).into();
        self.0.ct_eq(&given).into()
    }
}

/// Who a key belongs to. A handler that takes one runs only for a caller that [`crate::access`] lets make the call, and for
/// none whose key is bound to an endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Caller {
    /// Whose objects it sees.
    pub(crate) tenant: Tenant,
    /// What it may do with them.
    pub(crate) roles: Roles,
}

/// The same, also of a key that is bound to one endpoint. A handler that takes one looks whether it [`sees`](Bearer::sees)
/// what it is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Bearer {
    /// Whose key it is.
    pub(crate) caller: Caller,
    /// The only endpoint that it has to do with.
    pub(crate) bound: Option<EndpointId>,
}

impl Bearer {
    /// True of what is this endpoint's, or of none.
    pub(crate) fn sees(self, endpoint: Option<EndpointId>) -> bool {
        self.bound.is_none_or(|only| endpoint == Some(only))
    }
}

/// Who bears the key that came along. `None`: no key, more than one, or a wrong one.
///
/// # Errors
/// If the key has to be read and storage does not answer.
pub(crate) async fn bearer(
    api: &Api,
    headers: &HeaderMap,
    now: Timestamp,
) -> Result<Option<Bearer>, StorageError> {
    match given(headers) {
        Some(given) => bearer_of(api, given, now).await,
        None => Ok(None),
    }
}

/// Who bears this key. `None`: it is a wrong one, or none any more.
///
/// # Errors
/// If the key has to be read and storage does not answer.
async fn bearer_of(api: &Api, given: &[u8], now: Timestamp) -> Result<Option<Bearer>, StorageError> {
    if api.bootstrap_key.as_ref().is_some_and(|key| key.is(given)) {
        let caller = Caller { tenant: Tenant::DEFAULT, roles: BOOTSTRAP };
        return Ok(Some(Bearer { caller, bound: None }));
    }
    let Some(key) = std::str::from_utf8(given).ok().and_then(|text| ApiKey::parse(text).ok()) else {
        return Ok(None);
    };
    let known = api.keys.find(&*api.engine, key.id(), now).await?;
    // What is not there is compared, too: the work is the same whatever is wrong.
    let is_right = key.is(&known.map_or([0; 32], |known| known.hash));
    Ok(known.filter(|_| is_right).map(|known| known.bearer))
}

/// Who reads, and what shows it once more: an answer may have been held for a minute, in which the key was revoked.
pub(crate) struct Reading {
    bearer: Bearer,
    authorization: HeaderMap,
    /// As many as there were before the key was looked at.
    revocations: u64,
    began: Timestamp,
}

impl Reading {
    /// Whoever makes this call, if it is one that reads.
    pub(crate) fn of(
        bearer: Bearer,
        method: &Method,
        headers: &HeaderMap,
        (revocations, began): (u64, Timestamp),
    ) -> Option<Self> {
        let reads = matches!(*method, Method::GET | Method::HEAD);
        let given = headers.get(header::AUTHORIZATION).filter(|_| reads)?;
        let authorization = HeaderMap::from_iter([(header::AUTHORIZATION, given.clone())]);
        Some(Self { bearer, authorization, revocations, began })
    }

    /// Whether its answer is still for whoever asked.
    ///
    /// # Errors
    /// If the key has to be read and storage does not answer.
    pub(crate) async fn may_be_answered(&self, api: &Api) -> Result<bool, StorageError> {
        let now = api.clock.now();
        if api.keys.revocations() == self.revocations && now.since(self.began) < FRESH {
            return Ok(true);
        }
        Ok(bearer(api, &self.authorization, now).await? == Some(self.bearer))
    }
}

/// How a caller shows that it may call, for the API's description.
pub(crate) fn describe(components: &mut Components) {
    let key = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("rbk_…");
    let key = key.description(Some("An API key. It travels in the header only.")).build();
    let link =
        ApiKeyValue::with_description("sig", "The signature of a link to a result, as events bear it.");
    let link = SecurityScheme::ApiKey(security::ApiKey::Query(link));
    components.security_schemes.insert("key".to_owned(), SecurityScheme::Http(key).into());
    components.security_schemes.insert("link".to_owned(), link.into());
}

/// The one key in `Authorization: Bearer …` (RFC 6750 section 2.1).
fn given(headers: &HeaderMap) -> Option<&[u8]> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(only), None) = (given.next(), given.next()) else { return None };
    let (scheme, key) = only.as_bytes().split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| key.trim_ascii())
}

/// True of a request that may go without a key because its link is signed; the signature is still to be checked.
pub(crate) fn bears_link(method: &Method, uri: &Uri) -> bool {
    let is_result = uri
        .path()
        .strip_prefix("/v1/jobs/")
        .and_then(|rest| rest.strip_suffix("/result"))
        .is_some_and(|id| !id.contains('/'));
    let signed = || uri.query().is_some_and(|query| query.split('&').any(|pair| pair.starts_with("sig=")));
    matches!(*method, Method::GET | Method::HEAD) && is_result && signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_one_bearer_key() {
        let key = BootstrapKey::new("0123456789abcdef0123456789abcdef");
        for (headers, known) in [
            (&["Bearer 0123456789abcdef0123456789abcdef"][..], true),
            (&["bearer 0123456789abcdef0123456789abcdef"], true),
            (&["Bearer  0123456789abcdef0123456789abcdef"], true),
            (&["Bearer 0123456789abcdef0123456789abcdeF"], false),
            (&["Bearer 0123456789abcdef0123456789abcde"], false),
            (&["Bearer"], false),
            (&["Bearer "], false),
            (&[""], false),
            (&["Basic 0123456789abcdef0123456789abcdef"], false),
            (&["0123456789abcdef0123456789abcdef"], false),
            (&["Bearer 0123456789abcdef0123456789abcdef"; 2], false),
            (&[], false),
        ] {
            let mut map = HeaderMap::new();
            for value in headers {
                map.append(header::AUTHORIZATION, value.parse().unwrap());
            }
            assert_eq!(given(&map).is_some_and(|given| key.is(given)), known, "{headers:?}");
        }
    }

    #[test]
    fn a_bound_key_sees_one_endpoint() {
        let caller = Caller { tenant: Tenant(1), roles: Roles::of(&[]) };
        let [own, other] = [1, 2].map(EndpointId::from_u128);
        for (bound, endpoint, sees) in [
            (None, None, true),
            (None, Some(own), true),
            (Some(own), Some(own), true),
            (Some(own), Some(other), false),
            (Some(own), None, false),
        ] {
            assert_eq!(Bearer { caller, bound }.sees(endpoint), sees, "{bound:?} {endpoint:?}");
        }
    }

    #[test]
    fn only_a_result_can_be_linked_to() {
        for (method, uri, expected) in [
            (Method::GET, "/v1/jobs/job_1/result?exp=1&sig=x", true),
            (Method::HEAD, "/v1/jobs/job_1/result?sig=x", true),
            (Method::POST, "/v1/jobs/job_1/result?exp=1&sig=x", false),
            (Method::GET, "/v1/jobs/job_1/result", false),
            (Method::GET, "/v1/jobs/job_1/result?exp=1&asig=x", false),
            (Method::GET, "/v1/jobs/job_1/input?exp=1&sig=x", false),
            (Method::GET, "/v1/jobs/job_1/x/result?exp=1&sig=x", false),
            (Method::GET, "/v1/jobs?exp=1&sig=x", false),
        ] {
            assert_eq!(bears_link(&method, &uri.parse().unwrap()), expected, "{method} {uri}");
        }
    }
}
