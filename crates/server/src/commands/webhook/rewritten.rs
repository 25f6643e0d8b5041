//! The usual way to a signature that does not match: something parsed the body and wrote it again, or a file gained a
//! line break. Each way leaves other bytes; here are the ones that can be undone.

use std::borrow::Cow;

use crate::commands::json_text::{Layout, as_written, lay_out};

/// How the layouts and spellings are told to people.
const LAYOUTS: [(Layout, &str); 4] = [
    (Layout::Compact, "without white space"),
    (Layout::Spaced, "with a space after each comma and colon"),
    (Layout::Lines(2), "indented by two"),
    (Layout::Lines(4), "indented by four"),
];

type Spelling = fn(&str) -> Cow<'_, str>;

/// How strings are spelt, and whether that starts from the characters themselves or from what stands there.
const SPELLINGS: [(Spelling, &str); 5] = [
    (as_written, ""),
    (plain, ", with characters in place of their escapes"),
    (|string| ascii(&plain(string)).into(), ", with escapes in place of what is not ASCII"),
    (|string| slashes(&plain(string)).into(), ", with its slashes escaped"),
    (|string| html(&plain(string)).into(), ", with <, > and & escaped"),
];

/// Other bytes that may have been meant by `body`, each with how it differs.
pub(super) fn forms(body: &[u8]) -> Vec<(Vec<u8>, String)> {
    let mut forms = Vec::new();
    let Ok(text) = std::str::from_utf8(body) else { return forms };
    let mut other = |text: String, how: &str| forms.push((text.into_bytes(), how.to_owned()));
    let trimmed = text.trim_end_matches(['\n', '\r', ' ']);
    if trimmed.len() < text.len() {
        other(trimmed.to_owned(), "the same text without the line break or space at its end");
    }
    other(format!("{text}\n"), "the same text with a line break at its end");
    if let Some(text) = text.strip_prefix('\u{feff}') {
        other(text.to_owned(), "the same text without the byte order mark before it");
    }
    if text.contains("\r\n") {
        other(text.replace("\r\n", "\n"), "the same text with \\n in place of \\r\\n");
    }
    let json = text.trim_start_matches('\u{feff}').trim();
    if serde_json::from_str::<&serde_json::value::RawValue>(json).is_ok() {
        for (layout, name) in LAYOUTS {
            for (spelling, how) in SPELLINGS {
                other(lay_out(json, layout, spelling), &format!("the same JSON {name}{how}"));
            }
        }
    }
    forms
}

/// Only what RFC 8259 section 7 wants escaped is.
fn plain(string: &str) -> Cow<'_, str> {
    let quoted = format!("\"{string}\"");
    let read = serde_json::from_str::<String>(&quoted).and_then(|text| serde_json::to_string(&text));
    read.map_or(Cow::Borrowed(string), |written| Cow::Owned(written[1..written.len() - 1].to_owned()))
}

/// As Python's `json.dumps` and many others write by default.
fn ascii(string: &str) -> String {
    let mut text = String::with_capacity(string.len());
    for c in string.chars() {
        if c.is_ascii() {
            text.push(c);
        } else {
            text.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    text
}

/// As PHP's `json_encode` writes by default.
fn slashes(string: &str) -> String {
    ascii(&string.replace('/', "\\/"))
}

/// As Go's `json.Marshal` writes.
fn html(string: &str) -> String {
    string.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn undoes_what_the_usual_writers_do() {
        let signed = r#"{"type":"job.succeeded","data":{"url":"https://a/b?c&d","name":"é😀","price":1.10}}"#;
        for (writer, body) in [
            ("an editor", format!("{signed}\n")),
            ("Python", r#"{"type": "job.succeeded", "data": {"url": "https://a/b?c&d", "name": "\u00e9\ud83d\ude00", "price": 1.10}}"#.into()),
            ("PHP", r#"{"type":"job.succeeded","data":{"url":"https:\/\/a\/b?c&d","name":"\u00e9\ud83d\ude00","price":1.10}}"#.into()),
            ("Go", r#"{"type":"job.succeeded","data":{"url":"https://a/b?c\u0026d","name":"é😀","price":1.10}}"#.into()),
            ("jq", format!("{}\n", lay_out(signed, Layout::Lines(2), as_written))),
            ("Windows", format!("\u{feff}{}", lay_out(signed, Layout::Lines(2), as_written).replace('\n', "\r\n"))),
        ] {
            let found = forms(body.as_bytes()).into_iter().any(|(form, _)| form == signed.as_bytes());
            assert!(found, "{writer}");
        }
    }

    #[test]
    fn makes_what_they_would_have_signed() {
        let body = r#"{"a":"é/<"}"#;
        for signed in [
            "{\"a\":\"é/<\"}\n",
            r#"{"a": "\u00e9/<"}"#,
            r#"{"a":"\u00e9\/<"}"#,
            r#"{"a":"é/\u003c"}"#,
            "{\n  \"a\": \"é/<\"\n}",
        ] {
            assert!(forms(body.as_bytes()).iter().any(|(form, _)| form == signed.as_bytes()), "{signed}");
        }
        assert!(forms(&[0xff]).is_empty());
        assert_eq!(forms(b"no json").len(), 1);
    }
}
