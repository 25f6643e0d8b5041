//! What a person or a script tells the tests through the environment: read here and nowhere else.

use std::{ffi::OsString, path::PathBuf};

#[allow(clippy::disallowed_methods)]
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// A path.
pub fn path(name: &str) -> Option<PathBuf> {
    variable(name).map(PathBuf::from)
}

/// Text; empty where it is not set.
pub fn text(name: &str) -> String {
    variable(name).map(|value| value.to_string_lossy().into_owned()).unwrap_or_default()
}

/// A number; anything else is a mistake worth stopping for.
pub fn number(name: &str) -> Option<u64> {
    variable(name).map(|value| {
        value.to_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{name} is no number"))
    })
}
