//! Schema versions: embedded, numbered SQL, each applied once and recognised by its checksum ever after.
//!
//! Nodes of one version and of the one before work side by side while a fleet is upgraded, so a change is made in two
//! releases: the first *expands* (a new table, a new column that may be null or has a default, a new index), and the old
//! version goes on as before; only a later one, whose predecessor does without it already, *contracts*. Each step says
//! the least number of steps that a version must know to work after it; a version that knows fewer refuses to start, and
//! `migrate` refuses the step while a node that knows fewer is alive.

use sha2::{Digest, Sha256};

/// The record of what was applied. The same on both engines but for the name of bytes.
macro_rules! schema_migrations {
    ($bytes:literal) => {
        concat!(
            "CREATE TABLE IF NOT EXISTS schema_migrations \
             (n BIGINT NOT NULL PRIMARY KEY, name TEXT NOT NULL, checksum ",
            $bytes,
            " NOT NULL, needs BIGINT NOT NULL)"
        )
    };
}
pub(crate) use schema_migrations;

/// ?1 number, ?2 name, ?3 checksum, ?4 what it needs.
pub(crate) const RECORD: &str =
    "INSERT INTO schema_migrations (n, name, checksum, needs) VALUES (?1, ?2, ?3, ?4)";

/// What was applied, in order.
pub(crate) const APPLIED: &str = "SELECT n, checksum, needs FROM schema_migrations ORDER BY n";

/// One step of the schema. Its number is its place in the list, from 1.
pub(crate) struct Migration {
    pub(crate) name: &'static str,
    pub(crate) sql: &'static str,
    /// How many steps a version must know that is to work after this one: its own number if it contracts, the number
    /// before if the version before needs nothing of it.
    pub(crate) needs: i64,
}

/// A step that a database says was applied.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Applied {
    pub(crate) n: i64,
    pub(crate) checksum: Vec<u8>,
    pub(crate) needs: i64,
}

impl Migration {
    pub(crate) fn checksum(&self) -> [u8; 32] {
        Sha256::digest(self.sql).into()
    }
}

/// Why a database is not one for this version.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// A newer version has been here, and took away what this one needs.
    #[error(
        "the database has schema {found}, this version knows {known} and cannot work with that: it was migrated by a newer version; run that one"
    )]
    Newer {
        /// The database's.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// A step was applied that is not the one we know by that number.
    #[error(
        "schema step {n} of the database is not the one this version applies: it was made by a build that was never released, or edited"
    )]
    Changed {
        /// Which step.
        n: i64,
    },
}

/// What is left to apply, as (number, migration), after what the database says was applied. Steps that are not known are
/// no obstacle while they need no more than what is.
pub(crate) fn missing<'m>(
    known: &'m [Migration],
    applied: &[Applied],
) -> Result<Vec<(i64, &'m Migration)>, Mismatch> {
    let knows = known.len() as i64;
    for (place, Applied { n, checksum, needs }) in (1..).zip(applied) {
        match usize::try_from(n - 1).ok().and_then(|index| known.get(index)) {
            None if *needs <= knows => {}
            None => return Err(Mismatch::Newer { found: *n, known: knows }),
            Some(migration) if *n != place || migration.checksum()[..] != checksum[..] => {
                return Err(Mismatch::Changed { n: *n });
            }
            Some(_) => {}
        }
    }
    Ok((1..).zip(known).skip(applied.len()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Migration] =
        &[Migration { name: "one", sql: "1", needs: 1 }, Migration { name: "two", sql: "2", needs: 1 }];

    #[test]
    fn what_is_missing_follows_from_what_was_applied() {
        let known = |index: usize| {
            let Migration { needs, .. } = KNOWN[index];
            Applied { n: index as i64 + 1, checksum: KNOWN[index].checksum().to_vec(), needs }
        };
        let newer = |n, needs| Applied { n, checksum: vec![], needs };
        for (applied, expected) in [
            (vec![], Ok(vec![1, 2])),
            (vec![known(0)], Ok(vec![2])),
            (vec![known(0), known(1)], Ok(vec![])),
            (vec![Applied { n: 1, ..known(1) }], Err(Mismatch::Changed { n: 1 })),
            (vec![known(1)], Err(Mismatch::Changed { n: 2 })),
            // Expanded by a newer version, then contracted.
            (vec![known(0), known(1), newer(3, 2)], Ok(vec![])),
            (vec![known(0), known(1), newer(3, 2), newer(4, 3)], Err(Mismatch::Newer { found: 4, known: 2 })),
        ] {
            let got = missing(KNOWN, &applied).map(|left| left.into_iter().map(|(n, _)| n).collect());
            assert_eq!(got, expected);
        }
    }
}
