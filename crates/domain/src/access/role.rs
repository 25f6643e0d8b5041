//! What a key is for.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::delivery::words;

words! {
    /// What the bearer of a key is.
    Role, NotARole:
    /// Reads, but no secret.
    Viewer = 1, "viewer";
    /// Reads, submits, cancels, runs again, attaches callbacks.
    Submitter = 2, "submitter";
    /// Leases jobs, and nothing else.
    Worker = 3, "worker";
    /// Sees what one endpoint is sent, pings it and sends it something again; its key is bound to that endpoint.
    Receiver = 4, "receiver";
    /// Everything of its tenant.
    Admin = 5, "admin";
    /// Tenants, keys of every tenant, pausing tasks, nodes; nothing that belongs to a tenant.
    Operator = 6, "operator";
}

/// Some of the roles: those of a caller, or those that may do something.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Roles(u8);

impl Roles {
    /// These.
    pub const fn of(roles: &[Role]) -> Self {
        let (mut bits, mut place) = (0, 0);
        while place < roles.len() {
            bits |= 1 << roles[place] as u8;
            place += 1;
        }
        Self(bits)
    }

    /// Whether `role` is among them.
    pub const fn has(self, role: Role) -> bool {
        self.0 & 1 << role as u8 != 0
    }

    /// Whether one of them is among `others`.
    pub const fn meets(self, others: Roles) -> bool {
        self.0 & others.0 != 0
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.iter().copied().filter(move |role| self.has(*role))
    }
}

impl From<Role> for Roles {
    fn from(role: Role) -> Self {
        Self::of(&[role])
    }
}

impl fmt::Debug for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_what_it_was_made_of() {
        for one in Role::ALL {
            for other in Role::ALL {
                assert_eq!(Roles::from(*one).has(*other), one == other);
                assert_eq!(Roles::from(*one).meets(Roles::from(*other)), one == other);
            }
            assert!(Roles::of(Role::ALL).has(*one) && !Roles::of(&[]).has(*one));
            assert!(Roles::of(&[Role::Viewer, *one]).meets((*one).into()));
        }
        assert_eq!(Roles::of(Role::ALL).iter().collect::<Vec<_>>(), Role::ALL);
    }
}
