//! Where values come from, and how what is wrong is said.

use std::path::PathBuf;

use figment::{
    Figment,
    providers::{Env, Format, Toml},
};

use super::Config;

/// The file that is read if none is named and it exists.
pub const DEFAULT_FILE: &str = "ringback.toml";

/// Keys that may also be given as a file's path, in `…_FILE`.
pub(super) const SECRETS: [(&str, &str); 3] = [
    ("RINGBACK_AUTH__BOOTSTRAP_KEY", "auth.bootstrap_key"),
    ("RINGBACK_SECRETS__MASTER_KEY", "secrets.master_key"),
    ("RINGBACK_SECRETS__PREVIOUS_MASTER_KEY", "secrets.previous_master_key"),
];

/// What a command line says of configuration.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// TOML below everything else: what a command sets that is not `serve`.
    pub defaults: &'static str,
    /// `--config`.
    pub file: Option<PathBuf>,
    /// Flags, as `section.key` and value; they win.
    pub flags: Vec<(&'static str, String)>,
}

/// What is wrong with the configuration. Says what to do about it, and never a secret.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The named file is not there or cannot be read.
    #[error("cannot read {}: {error}. Name another file with --config, or take the flag away to use defaults and environment.", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A key is unknown or its value does not fit.
    #[error("{0}")]
    Shape(String),
    /// A value that cannot work.
    #[error("{key} {why}")]
    Value {
        /// Which.
        key: String,
        /// Why not.
        why: String,
    },
    /// Something without which it must not start.
    #[error(
        "{key} is not set. {what}\nMake one:\n\n    {make}\n\nOr let `ringback init` write a configuration with keys of its own."
    )]
    Missing {
        /// Which.
        key: &'static str,
        /// What it is for.
        what: &'static str,
        /// The line that makes one.
        make: &'static str,
    },
}

impl ConfigError {
    pub(crate) fn value(key: &str, why: impl std::fmt::Display) -> Self {
        Self::Value { key: key.to_owned(), why: why.to_string() }
    }
}

/// Reads all sources.
pub fn load(sources: &Sources) -> Result<Config, ConfigError> {
    extract(&gather(sources)?)
}

/// The values of all sources, each with where it came from.
pub(super) fn gather(sources: &Sources) -> Result<Figment, ConfigError> {
    let mut figment = Figment::from(Toml::string(sources.defaults));
    if let Some(path) = file(sources)? {
        figment = figment.merge(Toml::file_exact(path));
    }
    // A variable without `__` (RINGBACK_URL, RINGBACK_LOG) is no key of the file; with one it must be a known key.
    let keys = Env::prefixed("RINGBACK_")
        .filter(|key| key.as_str().contains("__") && !key.as_str().ends_with("_FILE"));
    figment = figment.merge(keys.split("__"));
    for (variable, key) in SECRETS {
        if let Some(path) = Env::var(&format!("{variable}_FILE")) {
            let path = PathBuf::from(path);
            let text = std::fs::read_to_string(&path).map_err(|error| {
                let why = format!("names {}, which cannot be read: {error}", path.display());
                ConfigError::value(&format!("{variable}_FILE"), why)
            })?;
            figment = figment.merge((key, text.trim_end()));
        }
    }
    for (key, value) in &sources.flags {
        figment = figment.merge((key, value));
    }
    Ok(figment)
}

/// The configuration that they are.
pub(super) fn extract(figment: &Figment) -> Result<Config, ConfigError> {
    figment.extract().map_err(|error| ConfigError::Shape(say(error)))
}

/// A variable of the environment.
pub(super) fn variable(name: &str) -> Option<String> {
    Env::var(name)
}

/// Whether a variable of the environment is set.
pub(super) fn is_set(variable: &str) -> bool {
    Env::var(variable).is_some()
}

fn file(sources: &Sources) -> Result<Option<PathBuf>, ConfigError> {
    let (path, named) = match &sources.file {
        Some(path) => (path.clone(), true),
        None => (PathBuf::from(DEFAULT_FILE), false),
    };
    match std::fs::File::open(&path) {
        Ok(_) => Ok(Some(path)),
        Err(error) if !named && error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ConfigError::File { path, error }),
    }
}

/// A line per error: the key, what is wrong, and where it came from. The value is left out: it may be a secret.
fn say(error: figment::Error) -> String {
    use figment::error::Kind;
    let lines = error.into_iter().map(|error| {
        let key = error.path.join(".");
        let what = match &error.kind {
            Kind::InvalidType(_, expected) | Kind::InvalidValue(_, expected) => format!("must be {expected}"),
            Kind::UnknownField(field, known) => {
                format!("has no key `{field}`; it has {}", known.join(", "))
            }
            Kind::UnknownVariant(_, known) => format!("must be one of {}", known.join(", ")),
            Kind::MissingField(field) => format!("needs `{field}`"),
            Kind::Message(message) => message.clone(),
            other => other.to_string(),
        };
        let source = error.metadata.as_ref().and_then(|m| m.source.as_ref()).map(ToString::to_string);
        let source =
            source.or_else(|| error.metadata.as_ref().map(|m| m.name.to_string())).unwrap_or_default();
        // Without a key it is the file as a whole: it is no file, or no TOML.
        if key.is_empty() {
            format!("{source}: {}", what.trim_end())
        } else {
            format!("{key} {what} (from {source})")
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}
