//! `ringback init`: a configuration to start from, with keys of its own.

use std::{
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use domain::chance::Dice;

use super::{failure::Failure, output};
use crate::{ambient::SystemDice, config::DEFAULT_FILE, fresh};

const TEMPLATE: &str = include_str!("init.toml");

/// Writes the file that `--config` names, or `ringback.toml`; never over another.
pub(crate) fn run(path: Option<&Path>) -> Result<(), Failure> {
    let path = path.unwrap_or(Path::new(DEFAULT_FILE));
    // Whoever can read it can do everything: nobody but its owner, from the first moment.
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let written =
        file.and_then(|mut file| file.write_all(text(&SystemDice).as_bytes()).and_then(|()| file.sync_all()));
    let shown = path.display();
    written.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::failed(format!(
            "{shown} is there already, and its keys may be in use. Edit it, or name another with --config."
        )),
        _ => Failure::failed(format!("cannot write {shown}: {error}. Name another place with --config.")),
    })?;
    let flag = if path == Path::new(DEFAULT_FILE) { String::new() } else { format!(" --config {shown}") };
    output::say(&format!(
        "Wrote {shown}, for your eyes alone: it holds the master key and your first API key.\n\
         Next: look through it, then `ringback serve{flag}`. Callers need its auth.bootstrap_key in RINGBACK_API_KEY."
    ));
    Ok(())
}

fn text(dice: &dyn Dice) -> String {
    TEMPLATE
        .replace("{bootstrap_key}", &fresh::bootstrap_key(dice))
        .replace("{master_key}", &fresh::master_key(dice))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::{
        commands::failure::Exit,
        config::{self, Config, Sources},
    };

    #[test]
    fn writes_a_configuration_that_works_and_never_twice() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ringback.toml");
        run(Some(&path)).unwrap();
        let written = std::fs::read(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

        let config = config::load(&Sources { file: Some(path.clone()), ..Sources::default() }).unwrap();
        assert!(config.check().is_ok() && config.master_key().is_ok());
        let key = config.bootstrap_key().unwrap().unwrap();
        assert_eq!((&key[..4], &key[20..21], key.len()), ("rbk_", "_", 64));

        assert_eq!(run(Some(&path)).unwrap_err().exit, Exit::Failed);
        assert_eq!(std::fs::read(&path).unwrap(), written);
    }

    #[test]
    fn the_comments_show_the_defaults() {
        let (sections, _) = TEMPLATE.split_once("[tasks.echo]").unwrap();
        let uncommented = |line: &str| match line.strip_prefix("# ") {
            Some(key) if key.contains(" = ") && !key.starts_with("ca_file") => format!("{key}\n"),
            Some(_) => String::new(),
            None => format!("{line}\n"),
        };
        let toml: String = sections.lines().map(uncommented).collect();
        let read: Config = toml::from_str(&toml).unwrap_or_else(|error| panic!("{error}\n{toml}"));
        assert_eq!(format!("{read:?}"), format!("{:?}", Config::default()));
    }
}
