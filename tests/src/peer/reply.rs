//! How a peer answers, well or badly.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::Semaphore;

/// One answer of a peer.
#[derive(Clone, Debug)]
pub struct Reply {
    pub(super) wait: Duration,
    pub(super) gate: Option<Arc<Semaphore>>,
    pub(super) how: How,
}

#[derive(Clone, Debug)]
pub(super) enum How {
    /// A complete answer, keep-alive unless a header says otherwise.
    Answer { status: u16, headers: Vec<(String, String)>, body: Bytes },
    /// These bytes, then the connection is closed.
    Raw(Bytes),
    /// These bytes, and the connection stays open for another request.
    RawKept(Bytes),
    /// These bytes, then a reset.
    RawThenReset(Bytes),
    /// No answer; the connection stays open until the other side closes it.
    Hang,
    /// First the one, then the other, over and over until the other side closes.
    Forever { first: Bytes, then: Bytes, pause: Duration },
}

impl Reply {
    fn how(how: How) -> Self {
        Self { wait: Duration::ZERO, gate: None, how }
    }

    /// 200 with an empty body.
    pub fn ok() -> Self {
        Self::status(200)
    }

    /// This status with an empty body.
    pub fn status(status: u16) -> Self {
        Self::how(How::Answer { status, headers: Vec::new(), body: Bytes::new() })
    }

    /// 200 with a JSON body.
    pub fn json(body: &str) -> Self {
        Self::ok().header("content-type", "application/json").body(body.to_owned())
    }

    /// Adds a header to a complete answer.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let How::Answer { headers, .. } = &mut self.how {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// Gives a complete answer this body.
    pub fn body(mut self, bytes: impl Into<Bytes>) -> Self {
        if let How::Answer { body, .. } = &mut self.how {
            *body = bytes.into();
        }
        self
    }

    /// Only after this long.
    pub fn after(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// Only once the story has given the gate a permit. Each answer uses one up.
    pub fn behind(mut self, gate: &Arc<Semaphore>) -> Self {
        self.gate = Some(gate.clone());
        self
    }

    /// These very bytes, then the connection closes.
    pub fn raw(bytes: impl Into<Bytes>) -> Self {
        Self::how(How::Raw(bytes.into()))
    }

    /// These very bytes, and the connection stays open for another request.
    pub fn raw_kept(bytes: impl Into<Bytes>) -> Self {
        Self::how(How::RawKept(bytes.into()))
    }

    /// The connection closes without an answer.
    pub fn close() -> Self {
        Self::raw(Bytes::new())
    }

    /// A TCP reset instead of an answer.
    pub fn reset() -> Self {
        Self::reset_after(Bytes::new())
    }

    /// These bytes, then a TCP reset.
    pub fn reset_after(bytes: impl Into<Bytes>) -> Self {
        Self::how(How::RawThenReset(bytes.into()))
    }

    /// Never any answer.
    pub fn hang() -> Self {
        Self::how(How::Hang)
    }

    /// `first`, then `then` again and again, `pause` apart, for as long as the other side listens.
    pub fn forever(first: impl Into<Bytes>, then: impl Into<Bytes>, pause: Duration) -> Self {
        Self::how(How::Forever { first: first.into(), then: then.into(), pause })
    }
}
