//! Who may call: roles, the API keys that have them, and what people call keys and tenants.

mod key;
mod label;
mod role;

pub use key::{ApiKey, KeyId, NotAnApiKey};
pub use label::{Label, NotALabel};
pub use role::{NotARole, Role, Roles};
