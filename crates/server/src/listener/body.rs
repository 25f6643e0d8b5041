//! Finds where a body ends, and the next head begins. It changes nothing and judges nothing but its framing, which hyper
//! reads as well.

use super::head::Framing;

/// One body, as it comes in.
#[derive(Debug)]
pub(super) enum Body {
    /// So many bytes are left.
    Length(u64),
    /// In chunks (RFC 9112 section 7.1).
    Chunked(Chunk),
}

/// Where the bytes so far lead.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Followed {
    /// All of them belong to the body, and there is more to come.
    Within,
    /// It ends behind so many of them.
    Ends(usize),
    /// It is not framed as it said.
    Broken,
}

/// Within `chunk-size [chunk-ext] CRLF data CRLF … 0 CRLF trailers CRLF`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chunk {
    /// The size so far, and how many digits made it.
    Size(u64, u8),
    /// Behind the size, up to the line's end.
    Extension(u64),
    /// The line feed behind it.
    SizeEnd(u64),
    /// So many bytes are left.
    Data(u64),
    DataReturn,
    DataEnd,
    /// At the beginning of a line behind the last chunk.
    TrailerBegin,
    Trailer,
    TrailerEnd,
    /// The last line feed.
    End,
}

impl From<Framing> for Body {
    fn from(framing: Framing) -> Self {
        match framing {
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Chunk::Size(0, 0)),
        }
    }
}

impl Body {
    /// True if there is none: the next head begins at once.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Length(0))
    }

    /// Goes on with these bytes.
    pub(super) fn follow(&mut self, bytes: &[u8]) -> Followed {
        match self {
            Self::Length(left) => match usize::try_from(*left) {
                Ok(length) if length <= bytes.len() => Followed::Ends(length),
                _ => {
                    *left -= bytes.len() as u64;
                    Followed::Within
                }
            },
            Self::Chunked(chunk) => chunk.follow(bytes),
        }
    }
}

impl Chunk {
    fn follow(&mut self, bytes: &[u8]) -> Followed {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            if let Self::Data(left) = *self {
                let step = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - at);
                at += step;
                let left = left - step as u64;
                *self = if left == 0 { Self::DataReturn } else { Self::Data(left) };
                continue;
            }
            at += 1;
            if *self == Self::End && byte == b'\n' {
                return Followed::Ends(at);
            }
            match self.after(byte) {
                Some(next) => *self = next,
                None => return Followed::Broken,
            }
        }
        Followed::Within
    }

    /// The state behind a byte that is no data. `None`: it may not stand there.
    fn after(self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Self::Size(size, digits @ 0..16), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                Self::Size(size << 4 | u64::from((byte as char).to_digit(16)?), digits + 1)
            }
            (Self::Size(size, 1..), b'\r') => Self::SizeEnd(size),
            (Self::Size(size, 1..), b';' | b' ' | b'\t') => Self::Extension(size),
            (Self::Extension(size), b'\r') => Self::SizeEnd(size),
            (Self::Extension(size), byte) if byte == b'\t' || !byte.is_ascii_control() => {
                Self::Extension(size)
            }
            (Self::SizeEnd(0), b'\n') => Self::TrailerBegin,
            (Self::SizeEnd(size), b'\n') => Self::Data(size),
            (Self::DataReturn, b'\r') => Self::DataEnd,
            (Self::DataEnd, b'\n') => Self::Size(0, 0),
            (Self::TrailerBegin, b'\r') => Self::End,
            (Self::Trailer, b'\r') => Self::TrailerEnd,
            (Self::TrailerEnd, b'\n') => Self::TrailerBegin,
            (Self::TrailerBegin | Self::Trailer, byte) if byte == b'\t' || !byte.is_ascii_control() => {
                Self::Trailer
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunked() -> Body {
        Framing::Chunked.into()
    }

    #[test]
    fn finds_the_end() {
        for text in [
            "0\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            "A\r\n0123456789\r\n000\r\n\r\n",
            "3;a=\"b\"\r\n\r\n\r\r\n0\r\n\r\n",
            "1 \r\nx\r\n0\t;y\r\n\r\n",
            "1\r\nx\r\n0\r\nx-trailer: 1\r\ny: 2\r\n\r\n",
        ] {
            assert_eq!(chunked().follow(text.as_bytes()), Followed::Ends(text.len()), "{text:?}");
            let behind = format!("{text}GET / HTTP/1.1\r\n");
            assert_eq!(chunked().follow(behind.as_bytes()), Followed::Ends(text.len()), "{text:?}");
            // Byte by byte.
            let mut body = chunked();
            let (last, before) = text.as_bytes().split_last().unwrap();
            assert!(before.iter().all(|byte| body.follow(&[*byte]) == Followed::Within), "{text:?}");
            assert_eq!(body.follow(&[*last]), Followed::Ends(1), "{text:?}");
        }
        for (length, bytes, expected) in [
            (0, 0, Followed::Ends(0)),
            (5, 5, Followed::Ends(5)),
            (5, 9, Followed::Ends(5)),
            (5, 4, Followed::Within),
            (u64::MAX, 100, Followed::Within),
        ] {
            assert_eq!(Body::Length(length).follow(&vec![b'x'; bytes]), expected, "{length} {bytes}");
        }
    }

    #[test]
    fn sees_what_is_not_framed_as_it_said() {
        for text in [
            "\r\n",
            "x\r\n",
            "-1\r\n",
            "+1\r\n",
            "0x1\r\n",
            "5\nhello",
            "5\r\nhelloX",
            "5\r\nhello\n0",
            "0\n\n",
            "0\r\n\n",
            "0\r\nx: a\nb",
            "1;a\x00\r\n",
            "11111111111111111\r\n",
            ";a\r\n",
            " 1\r\n",
        ] {
            assert_eq!(chunked().follow(text.as_bytes()), Followed::Broken, "{text:?}");
        }
    }
}
