//! Links to a result that work without an API key, for a receiver that has none: `?exp=…&sig=…`.

use std::{fmt, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::{id::JobId, vault::Vault};

/// How long a link that goes out in a webhook stays good.
pub const LIFETIME: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Makes and checks links. Each is good for one job until one second.
#[derive(Clone)]
pub struct ResultLinks {
    current: Hmac<Sha256>,
    /// What links were made under before the master key changed.
    previous: Vec<Hmac<Sha256>>,
}

/// Why a link opens nothing. Both are 401.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkRefusal {
    /// Not a signature of ours over this job and this expiry.
    #[error("the link's signature is wrong")]
    Wrong,
    /// It was good once.
    #[error("the link has expired")]
    Late,
}

impl ResultLinks {
    /// Makes links under a key of their own, derived from the master key; those made under the `previous` ones stay good.
    pub fn new(current: [u8; 32], previous: &[[u8; 32]]) -> Self {
        let mac = |key: &[u8; 32]| Hmac::new_from_slice(key).expect("HMAC takes a key of any size");
        Self { current: mac(&current), previous: previous.iter().map(mac).collect() }
    }

    /// The same with what a vault derives from its keys.
    pub fn of(vault: &Vault) -> Self {
        let (current, previous) = vault.derive("result links");
        Self::new(current, &previous)
    }

    /// The query of a link that is good up to and including the second `exp` (Unix time): `exp=…&sig=…`.
    pub fn query(&self, job: JobId, exp: i64) -> String {
        let exp = exp.to_string();
        let sig = URL_SAFE_NO_PAD.encode(mac(&self.current, job, &exp));
        format!("exp={exp}&sig={sig}")
    }

    /// Whether `exp` and `sig`, as they came in the query, open the result of `job`.
    ///
    /// # Errors
    /// If they do not. A wrong signature comes before a late one: only who held a link learns that it has expired.
    pub fn check(&self, job: JobId, exp: &str, sig: &str, now_seconds: i64) -> Result<(), LinkRefusal> {
        let given = URL_SAFE_NO_PAD.decode(sig).map_err(|_| LinkRefusal::Wrong)?;
        let keys = std::iter::once(&self.current).chain(&self.previous);
        if !keys.map(|key| mac(key, job, exp)).any(|mac| mac.ct_eq(given.as_slice()).into()) {
            return Err(LinkRefusal::Wrong);
        }
        let until: i64 = exp.parse().map_err(|_| LinkRefusal::Wrong)?;
        if now_seconds > until { Err(LinkRefusal::Late) } else { Ok(()) }
    }
}

/// An id never holds a `.`, so no job and expiry can be read as another pair.
fn mac(key: &Hmac<Sha256>, job: JobId, exp: &str) -> [u8; 32] {
    let mut mac = key.clone();
    mac.update(job.to_string().as_bytes());
    mac.update(b".");
    mac.update(exp.as_bytes());
    mac.finalize().into_bytes().into()
}

impl fmt::Debug for ResultLinks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResultLinks(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(query: &str) -> (&str, &str) {
        query.strip_prefix("exp=").unwrap().split_once("&sig=").unwrap()
    }

    #[test]
    fn opens_one_job_until_it_expires() {
        let links = ResultLinks::new([9; 32], &[]);
        let (job, other) = (JobId::from_u128(1), JobId::from_u128(2));
        let query = links.query(job, 1_000);
        let (exp, sig) = parts(&query);
        let flipped = if let Some(rest) = sig.strip_prefix('A') {
            format!("B{rest}")
        } else {
            format!("A{}", &sig[1..])
        };
        for (job, exp, sig, now, expected) in [
            (job, exp, sig, 0, Ok(())),
            (job, exp, sig, 1_000, Ok(())),
            (job, exp, sig, 1_001, Err(LinkRefusal::Late)),
            (job, exp, sig, i64::MAX, Err(LinkRefusal::Late)),
            (other, exp, sig, 0, Err(LinkRefusal::Wrong)),
            (job, "1001", sig, 0, Err(LinkRefusal::Wrong)),
            (job, "+1000", sig, 0, Err(LinkRefusal::Wrong)),
            (job, "01000", sig, 0, Err(LinkRefusal::Wrong)),
            (job, "", sig, 0, Err(LinkRefusal::Wrong)),
            (job, exp, "", 0, Err(LinkRefusal::Wrong)),
            (job, exp, &sig[1..], 0, Err(LinkRefusal::Wrong)),
            (job, exp, &flipped, 0, Err(LinkRefusal::Wrong)),
            (job, exp, &format!("{sig}="), 0, Err(LinkRefusal::Wrong)),
            (job, exp, &flipped, 2_000, Err(LinkRefusal::Wrong)),
        ] {
            assert_eq!(links.check(job, exp, sig, now), expected, "{job} {exp} {sig} {now}");
        }
        assert_eq!(ResultLinks::new([8; 32], &[]).check(job, exp, sig, 0), Err(LinkRefusal::Wrong));
        let changed = ResultLinks::new([8; 32], &[[7; 32], [9; 32]]);
        assert_eq!(changed.check(job, exp, sig, 0), Ok(()));
        assert_ne!(changed.query(job, 1_000), query);
    }

    /// Reckoned apart: `printf job_….1000 | openssl dgst -sha256 -mac HMAC -macopt hexkey:0909… -binary`.
    #[test]
    fn signs_the_id_a_dot_and_the_expiry() {
        let query = ResultLinks::new([9; 32], &[]).query(JobId::from_u128(1), 1_000);
        assert_eq!(query, "exp=1000&sig=HV3VzCImYKyycaMZPKKPdHk9M0vL6gJuIXzPer8hJE4");
        assert!(query.bytes().all(|b| b.is_ascii_alphanumeric() || b"=&-_".contains(&b)));
    }

    #[test]
    fn shows_nothing_of_the_key() {
        assert_eq!(format!("{:?}", ResultLinks::new([9; 32], &[])), "ResultLinks(…)");
    }
}
