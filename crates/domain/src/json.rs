//! The strict reading of a request body: exactly one JSON value (RFC 8259), in UTF-8, no key twice, depth ≤ 128.
//!
//! A scanner of our own rather than a parser: every submission passes here, nothing has to be built, and the common
//! parsers keep the last of two equal keys, so that two readers of one body could disagree on what it says. Numbers
//! are checked for their grammar alone and never converted, whatever their size.

use std::borrow::Cow;

/// How many arrays and objects may stand inside one another.
pub const MAX_DEPTH: usize = 128;

/// Up to this many keys are compared pair by pair, which is faster than sorting them.
const FEW_KEYS: usize = 8;

/// Why and where a body is not one JSON value. Holds nothing of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {fault}")]
pub struct Malformed {
    /// What is wrong.
    pub fault: Fault,
    /// Byte offset of the fault, from 0.
    pub offset: usize,
    /// Its line, from 1.
    pub line: usize,
    /// Its column in bytes, from 1.
    pub column: usize,
}

/// What can be wrong with a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Fault {
    #[error("not UTF-8")]
    Utf8,
    #[error("the text ends before the JSON value does")]
    End,
    #[error("a JSON value was expected")]
    Value,
    #[error("a key in double quotes was expected")]
    Key,
    #[error("a colon was expected after the key")]
    Colon,
    #[error("a comma or the closing bracket was expected")]
    Comma,
    #[error("a control character in a string must be escaped")]
    Control,
    #[error("not an escape that JSON knows")]
    Escape,
    #[error("half of a surrogate pair is no character")]
    Surrogate,
    #[error("not a JSON number")]
    Number,
    #[error("the same key appears twice in one object")]
    DuplicateKey,
    #[error("nested deeper than 128 levels")]
    Depth,
    #[error("there is more after the JSON value")]
    Trailing,
}

/// Gives the text back if it is exactly one JSON value.
///
/// # Errors
/// With the first fault found; a key that appears twice is found where its object ends.
pub fn check(bytes: &[u8]) -> Result<&str, Malformed> {
    let text = std::str::from_utf8(bytes).map_err(|e| malformed(bytes, (Fault::Utf8, e.valid_up_to())))?;
    Scanner { text, bytes, at: 0, keys: Vec::with_capacity(2 * FEW_KEYS) }
        .document()
        .map_err(|stop| malformed(bytes, stop))?;
    Ok(text)
}

fn malformed(bytes: &[u8], (fault, offset): Stop) -> Malformed {
    let before = &bytes[..offset.min(bytes.len())];
    let line_start = before.iter().rposition(|&b| b == b'\n').map_or(0, |newline| newline + 1);
    let line = before.iter().filter(|&&b| b == b'\n').count() + 1;
    Malformed { fault, offset, line, column: offset - line_start + 1 }
}

/// A fault and its byte offset: lines are counted only once something is wrong.
type Stop = (Fault, usize);

/// A key after unescaping, and where it stood.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Key<'a> {
    text: Cow<'a, str>,
    at: usize,
}

struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    /// The keys of all objects that are open, the innermost last: one allocation for a whole document.
    keys: Vec<Key<'a>>,
}

impl<'a> Scanner<'a> {
    fn document(&mut self) -> Result<(), Stop> {
        self.skip_space();
        self.value(0)?;
        self.skip_space();
        if self.at < self.bytes.len() { self.stop(Fault::Trailing) } else { Ok(()) }
    }

    /// `depth` is the number of open brackets; the recursion is bounded by it.
    fn value(&mut self, depth: usize) -> Result<(), Stop> {
        match self.peek() {
            Some(b'"') => self.string().map(drop),
            Some(b'{' | b'[') if depth == MAX_DEPTH => self.stop(Fault::Depth),
            Some(b'{') => self.object(depth + 1),
            Some(b'[') => self.array(depth + 1),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.literal(b"true"),
            Some(b'f') => self.literal(b"false"),
            Some(b'n') => self.literal(b"null"),
            Some(_) => self.stop(Fault::Value),
            None => self.stop(Fault::End),
        }
    }

    fn object(&mut self, depth: usize) -> Result<(), Stop> {
        let outer_keys = self.keys.len();
        self.at += 1;
        self.skip_space();
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            let key = self.key()?;
            self.keys.push(key);
            self.skip_space();
            self.want(b':', Fault::Colon)?;
            self.skip_space();
            self.value(depth)?;
            self.skip_space();
            if self.take(b'}') {
                break;
            }
            self.want(b',', Fault::Comma)?;
            self.skip_space();
        }
        refuse_duplicates(&mut self.keys[outer_keys..])?;
        self.keys.truncate(outer_keys);
        Ok(())
    }

    fn array(&mut self, depth: usize) -> Result<(), Stop> {
        self.at += 1;
        self.skip_space();
        if self.take(b']') {
            return Ok(());
        }
        loop {
            self.value(depth)?;
            self.skip_space();
            if self.take(b']') {
                return Ok(());
            }
            self.want(b',', Fault::Comma)?;
            self.skip_space();
        }
    }

    fn key(&mut self) -> Result<Key<'a>, Stop> {
        let start = self.at;
        match self.peek() {
            Some(b'"') => {}
            Some(_) => return self.stop(Fault::Key),
            None => return self.stop(Fault::End),
        }
        let escaped = self.string()?;
        let quoted = &self.text[start..self.at];
        let text = if escaped {
            Cow::Owned(serde_json::from_str(quoted).map_err(|_| (Fault::Escape, start))?)
        } else {
            Cow::Borrowed(&quoted[1..quoted.len() - 1])
        };
        Ok(Key { text, at: start })
    }

    /// Passes one string, its quotes included; says whether it holds an escape.
    fn string(&mut self) -> Result<bool, Stop> {
        self.at += 1;
        let mut escaped = false;
        loop {
            let plain = self.bytes[self.at..].iter().position(|&b| b < b' ' || b == b'"' || b == b'\\');
            self.at += plain.unwrap_or(self.bytes.len() - self.at);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => {
                    self.escape()?;
                    escaped = true;
                }
                Some(_) => return self.stop(Fault::Control),
                None => return self.stop(Fault::End),
            }
        }
    }

    /// RFC 8259 lets half a surrogate pair pass its grammar and warns of it (section 8.2): it cannot be written in
    /// UTF-8, so readers replace it, refuse it or crash. It is refused here.
    fn escape(&mut self) -> Result<(), Stop> {
        let start = self.at;
        match self.bytes.get(start + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => match self.unicode()? {
                0xdc00..=0xdfff => return Err((Fault::Surrogate, start)),
                0xd800..=0xdbff => {
                    let pair = self.bytes[self.at..].starts_with(b"\\u");
                    if !pair || !matches!(self.unicode()?, 0xdc00..=0xdfff) {
                        return Err((Fault::Surrogate, start));
                    }
                }
                _ => {}
            },
            Some(_) => return self.stop(Fault::Escape),
            None => return Err((Fault::End, self.bytes.len())),
        }
        Ok(())
    }

    /// Passes `\uXXXX`.
    fn unicode(&mut self) -> Result<u32, Stop> {
        let mut code = 0;
        for place in 2..6 {
            let digit = match self.bytes.get(self.at + place) {
                Some(&byte) => (byte as char).to_digit(16).ok_or((Fault::Escape, self.at))?,
                None => return Err((Fault::End, self.bytes.len())),
            };
            code = code << 4 | digit;
        }
        self.at += 6;
        Ok(code)
    }

    fn number(&mut self) -> Result<(), Stop> {
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _ = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        // "01" and "1x" would otherwise be told as a missing comma.
        match self.peek() {
            Some(b'0'..=b'9' | b'.' | b'+' | b'-' | b'a'..=b'z' | b'A'..=b'Z') => self.stop(Fault::Number),
            _ => Ok(()),
        }
    }

    fn digits(&mut self) -> Result<(), Stop> {
        let count = self.bytes[self.at..].iter().take_while(|b| b.is_ascii_digit()).count();
        self.at += count;
        match (count, self.peek()) {
            (0, None) => self.stop(Fault::End),
            (0, Some(_)) => self.stop(Fault::Number),
            _ => Ok(()),
        }
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), Stop> {
        let rest = &self.bytes[self.at..];
        if rest.starts_with(word) {
            self.at += word.len();
            return Ok(());
        }
        if word.starts_with(rest) { Err((Fault::End, self.bytes.len())) } else { self.stop(Fault::Value) }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let here = self.peek() == Some(byte);
        self.at += usize::from(here);
        here
    }

    fn want(&mut self, byte: u8, or: Fault) -> Result<(), Stop> {
        match self.peek() {
            _ if self.take(byte) => Ok(()),
            Some(_) => self.stop(or),
            None => self.stop(Fault::End),
        }
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    fn stop<T>(&self, fault: Fault) -> Result<T, Stop> {
        Err((fault, self.at))
    }
}

/// Points at the earliest key that repeats one before it. Sorting, not hashing: no seed is needed against keys
/// chosen to collide, and an object of 40,000 keys costs 40,000 × 15 comparisons, not 800 million.
fn refuse_duplicates(keys: &mut [Key<'_>]) -> Result<(), Stop> {
    let repeated = if keys.len() <= FEW_KEYS {
        (1..keys.len()).find(|&n| keys[..n].iter().any(|k| k.text == keys[n].text)).map(|n| keys[n].at)
    } else {
        keys.sort_unstable();
        keys.windows(2).filter(|pair| pair[0].text == pair[1].text).map(|pair| pair[1].at).min()
    };
    repeated.map_or(Ok(()), |at| Err((Fault::DuplicateKey, at)))
}

#[cfg(test)]
mod tests;
