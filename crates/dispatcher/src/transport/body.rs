//! Reads as much of a response's body as is kept.

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::time::{Instant, timeout_at};

/// A body is kept up to here, in bytes; of a longer one the connection is closed.
pub(crate) const KEPT: usize = 16 * 1024;

/// A body as far as it was read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) bytes: Bytes,
    /// False if there was more, or may have been: it broke off, or time ran out.
    pub(crate) to_its_end: bool,
}

/// Reads until the end, the bound, an error or the deadline, whichever comes first.
pub(crate) async fn read(mut body: Incoming, deadline: Instant) -> Read {
    if body.is_end_stream() {
        return Read { bytes: Bytes::new(), to_its_end: true };
    }
    let mut kept = Kept::default();
    loop {
        match timeout_at(deadline, body.frame()).await {
            Ok(None) => return Read { bytes: kept.bytes(), to_its_end: true },
            Ok(Some(Ok(frame))) => {
                let Ok(data) = frame.into_data() else { continue };
                if !kept.push(data) {
                    return Read { bytes: kept.bytes(), to_its_end: false };
                }
                // Spares one more turn of the loop where the length was told.
                if body.is_end_stream() {
                    return Read { bytes: kept.bytes(), to_its_end: true };
                }
            }
            Ok(Some(Err(_))) | Err(_) => return Read { bytes: kept.bytes(), to_its_end: false },
        }
    }
}

/// Most bodies come as one piece, which is kept as it is.
#[derive(Default)]
enum Kept {
    #[default]
    Nothing,
    One(Bytes),
    More(BytesMut),
}

impl Kept {
    /// False if it does not fit whole.
    fn push(&mut self, mut piece: Bytes) -> bool {
        let room = KEPT - self.len();
        let fits = piece.len() <= room;
        piece.truncate(room);
        *self = match std::mem::take(self) {
            Kept::Nothing => Kept::One(piece),
            Kept::One(first) => {
                let mut all = BytesMut::from(first);
                all.extend_from_slice(&piece);
                Kept::More(all)
            }
            Kept::More(mut all) => {
                all.extend_from_slice(&piece);
                Kept::More(all)
            }
        };
        fits
    }

    fn len(&self) -> usize {
        match self {
            Kept::Nothing => 0,
            Kept::One(bytes) => bytes.len(),
            Kept::More(bytes) => bytes.len(),
        }
    }

    fn bytes(self) -> Bytes {
        match self {
            Kept::Nothing => Bytes::new(),
            Kept::One(bytes) => bytes,
            Kept::More(bytes) => bytes.freeze(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_up_to_the_bound() {
        for (pieces, fits, len) in [
            (&[][..], true, 0),
            (&[5], true, 5),
            (&[KEPT], true, KEPT),
            (&[KEPT + 1], false, KEPT),
            (&[KEPT, 0], true, KEPT),
            (&[KEPT - 1, 1], true, KEPT),
            (&[KEPT - 1, 1, 1], false, KEPT),
            (&[1, 2, 3], true, 6),
        ] {
            let mut kept = Kept::default();
            let all_fit = pieces.iter().all(|&n| kept.push(Bytes::from(vec![b'x'; n])));
            assert_eq!((all_fit, kept.bytes().len()), (fits, len), "{pieces:?}");
        }
    }
}
