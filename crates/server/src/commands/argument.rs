//! Texts on a command line that may be long: themselves, `@FILE`, or `-` for standard input.

use std::io::Read;

use serde_json::value::RawValue;

use super::failure::Failure;

/// The bytes that an argument stands for. `what` is the option's name.
pub(crate) fn bytes(what: &str, argument: &str) -> Result<Vec<u8>, Failure> {
    let (source, read) = match argument.strip_prefix('@') {
        Some(path) => (path, std::fs::read(path)),
        None if argument == "-" => {
            let mut bytes = Vec::new();
            ("standard input", std::io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes))
        }
        None => return Ok(argument.as_bytes().to_vec()),
    };
    read.map_err(|error| Failure::usage(format!("{what}: cannot read {source}: {error}")))
}

/// The same, as one JSON value whose tokens stay as they are.
pub(crate) fn json(what: &str, argument: &str) -> Result<Box<RawValue>, Failure> {
    let bytes = bytes(what, argument)?;
    let text = domain::json::check(&bytes).map_err(|error| {
        Failure::usage(format!(
            "{what} is not one JSON value: {error}. A text needs its quotes: {what} '\"text\"'; a file is @FILE."
        ))
    })?;
    RawValue::from_string(text.trim().to_owned()).map_err(|error| Failure::usage(format!("{what}: {error}")))
}

/// `KEY=VALUE`, for clap.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_keeps_its_tokens() {
        for (argument, expected) in [
            (r#" {"a":1.10} "#, Some(r#"{"a":1.10}"#)),
            ("\"text\"", Some("\"text\"")),
            ("text", None),
            ("", None),
            ("{} {}", None),
            (r#"{"a":1,"a":2}"#, None),
            ("@/nowhere/at/all", None),
        ] {
            let read = json("--input", argument);
            assert_eq!(read.as_ref().ok().map(|value| value.get()), expected, "{argument}");
        }
    }

    #[test]
    fn pairs_split_at_the_first_sign() {
        assert_eq!(pair("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(pair("a="), Ok(("a".into(), String::new())));
        assert!(pair("a").is_err());
    }
}
