//! JSON laid out anew without being understood: every number and string token stays as it was written, so that what
//! is shown is what was sent (`1.10` stays `1.10`).

use std::borrow::Cow;

/// Where white space goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Layout {
    /// None at all.
    Compact,
    /// After commas and colons, as Python's `json.dumps` has it.
    Spaced,
    /// A line for each member, indented by this many spaces.
    Lines(usize),
}

/// For people.
pub(crate) fn pretty(json: &str) -> String {
    lay_out(json, Layout::Lines(2), as_written)
}

/// On one line.
pub(crate) fn compact(json: &str) -> String {
    lay_out(json, Layout::Compact, as_written)
}

/// Lays out a JSON text; `string` may write each string token (without its quotes) in another way. What is not JSON
/// comes out as some text, never as a panic.
pub(crate) fn lay_out(json: &str, layout: Layout, string: impl Fn(&str) -> Cow<'_, str>) -> String {
    let mut out = Writer { text: String::with_capacity(json.len() * 2), layout, depth: 0 };
    let mut rest = json.trim_start_matches(is_space);
    while let Some(first) = rest.chars().next() {
        let taken = match first {
            '"' => {
                let end = string_end(rest);
                out.text.push('"');
                out.text.push_str(&string(rest.get(1..end - 1).unwrap_or_default()));
                out.text.push('"');
                end
            }
            '{' | '[' => {
                let after = rest[1..].trim_start_matches(is_space);
                let empty = after.starts_with(['}', ']']);
                out.open(first, empty);
                if empty {
                    out.text.push_str(&after[..1]);
                    rest.len() - after.len() + 1
                } else {
                    1
                }
            }
            '}' | ']' => {
                out.close(first);
                1
            }
            ',' => {
                out.comma();
                1
            }
            ':' => {
                out.text.push_str(if layout == Layout::Compact { ":" } else { ": " });
                1
            }
            other => {
                out.text.push(other);
                other.len_utf8()
            }
        };
        rest = rest[taken..].trim_start_matches(is_space);
    }
    out.text
}

/// The string as it came.
pub(crate) fn as_written(string: &str) -> Cow<'_, str> {
    Cow::Borrowed(string)
}

/// RFC 8259 section 2.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

/// The length of the string token that `text` begins with, quotes included; all of `text` if it does not end.
fn string_end(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

struct Writer {
    text: String,
    layout: Layout,
    depth: usize,
}

impl Writer {
    fn line(&mut self) {
        if let Layout::Lines(indent) = self.layout {
            self.text.push('\n');
            self.text.extend(std::iter::repeat_n(' ', indent * self.depth));
        }
    }

    fn open(&mut self, bracket: char, empty: bool) {
        self.text.push(bracket);
        if !empty {
            self.depth += 1;
            self.line();
        }
    }

    fn close(&mut self, bracket: char) {
        self.depth = self.depth.saturating_sub(1);
        self.line();
        self.text.push(bracket);
    }

    fn comma(&mut self) {
        self.text.push(',');
        match self.layout {
            Layout::Compact => {}
            Layout::Spaced => self.text.push(' '),
            Layout::Lines(_) => self.line(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_every_token() {
        for (json, small, lines) in [
            ("1.10", "1.10", "1.10"),
            (" null\n", "null", "null"),
            ("{ }", "{}", "{}"),
            ("[\n]", "[]", "[]"),
            (
                r#"{"a" : [ 1.0e+2 ,-0]}"#,
                r#"{"a":[1.0e+2,-0]}"#,
                "{\n  \"a\": [\n    1.0e+2,\n    -0\n  ]\n}",
            ),
            (
                r#"{"a\"b, c":"\u00e9 {x}\\"}"#,
                r#"{"a\"b, c":"\u00e9 {x}\\"}"#,
                "{\n  \"a\\\"b, c\": \"\\u00e9 {x}\\\\\"\n}",
            ),
            (r#"[{},[[]],"é"]"#, r#"[{},[[]],"é"]"#, "[\n  {},\n  [\n    []\n  ],\n  \"é\"\n]"),
        ] {
            assert_eq!(compact(json), small);
            assert_eq!(pretty(json), lines);
            assert_eq!(compact(&pretty(json)), small);
        }
        assert_eq!(lay_out(r#"{"a":[1,2]}"#, Layout::Spaced, as_written), r#"{"a": [1, 2]}"#);
    }

    #[test]
    fn does_not_panic_on_what_is_no_json() {
        for text in ["", "\"", "\"\\", "}", "]]", "{", "[é", ",:", "\"é", "nöpe \"\\é"] {
            compact(text);
            pretty(text);
        }
    }
}
