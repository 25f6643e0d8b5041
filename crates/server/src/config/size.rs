//! A number of bytes, as people write it.

use serde::{Deserialize, Deserializer, de::Error};

/// Bytes: `1048576`, `"256KiB"`, `"16MiB"`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Size(pub u64);

fn parse(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let unit: u64 = match text[digits..].trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    text[..digits].parse::<u64>().ok()?.checked_mul(unit)
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Number(u64),
            Text(String),
        }
        match Form::deserialize(d)? {
            Form::Number(bytes) => Ok(Self(bytes)),
            Form::Text(text) => parse(&text)
                .map(Self)
                .ok_or_else(|| D::Error::custom("not a size such as \"256KiB\" or \"16MiB\"")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("12B", Some(12)),
            ("256KiB", Some(262_144)),
            ("16 MiB", Some(16_777_216)),
            ("1GiB", Some(1 << 30)),
            ("1KB", None),
            ("MiB", None),
            ("-1", None),
            ("99999999999GiB", None),
        ] {
            assert_eq!(parse(text), bytes, "{text}");
        }
    }
}
