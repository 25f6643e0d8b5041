//! What stands between a client's connection and hyper: it lets whole heads through that can be read in one way only,
//! cuts off slow ones, and makes sure that a client can read why it was refused.
//!
//! A head that is refused is not answered here. hyper is given a request of ours in its place, and the service finds the
//! fault beside it: so the refusal is a problem like any other, behind the answers that are still to be written.

use std::{
    io,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
    time::Duration,
};

use api::HeadFault;
use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};

use super::{
    body::{Body, Followed},
    head::{Head, Judged},
};

/// A client has this long for a request's head: from when it was accepted, and later from the head's first byte.
pub(super) const HEAD: Duration = Duration::from_secs(10);

/// How long nothing of an answer may leave because the client does not read.
const STALLED: Duration = Duration::from_secs(30);

/// After an answer that ends the connection, what is still coming is read and thrown away: a connection closed over
/// unread bytes is reset, and the client would see that instead of the answer.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 1024 * 1024;

/// How much is read at once while a head is coming.
const PIECE: usize = 8 * 1024;

/// Given to hyper in the place of a head that is refused.
/// A client that calls this method itself is refused at worst with what is wrong with its next head.
pub(super) const REFUSED: &str = "REFUSED";
const IN_ITS_PLACE: &[u8] = b"REFUSED / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

/// What was wrong with a connection's last head, if anything was. The service that answers shares it.
pub(super) type Noted = Arc<OnceLock<HeadFault>>;

/// A connection, screened.
pub(super) struct Screen<S> {
    stream: S,
    state: State,
    /// Bytes that have come and were not given on.
    held: BytesMut,
    /// How many of them, from the front, may be.
    cleared: usize,
    noted: Noted,
    head_by: Option<Pin<Box<Sleep>>>,
    write_by: Option<Pin<Box<Sleep>>>,
    linger: Linger,
}

enum State {
    /// A head is coming.
    Head(Head),
    /// A body is coming.
    Body(Body),
    /// Nothing is given on any more: hyper has the request of ours.
    Refused,
    /// Nothing is given on any more: the body broke its framing, and what follows cannot be told from it.
    Broken,
    /// The client has sent all that it will.
    Ended,
}

enum Linger {
    NotYet,
    For(Pin<Box<Sleep>>, usize),
}

impl<S: AsyncRead + AsyncWrite + Unpin> Screen<S> {
    pub(super) fn new(stream: S, noted: Noted) -> Self {
        Self {
            stream,
            state: State::Head(Head::default()),
            held: BytesMut::new(),
            cleared: 0,
            noted,
            head_by: Some(Box::pin(tokio::time::sleep(HEAD))),
            write_by: None,
            linger: Linger::NotYet,
        }
    }

    /// Decides on what is held. Gives false if more has to come first.
    fn clear(&mut self) -> bool {
        let fresh = &self.held[self.cleared..];
        match &mut self.state {
            State::Head(head) => match head.judge(fresh) {
                Judged::Incomplete => return false,
                Judged::Refused(fault) => self.refuse(fault),
                Judged::Complete(length, framing) => {
                    self.cleared += length;
                    self.head_by = None;
                    self.state = behind(framing.into());
                }
            },
            State::Body(_) if fresh.is_empty() => return false,
            State::Body(body) => match body.follow(fresh) {
                Followed::Within => self.cleared += fresh.len(),
                Followed::Ends(length) => {
                    self.cleared += length;
                    self.state = State::Head(Head::default());
                }
                Followed::Broken => {
                    self.cleared += fresh.len();
                    self.state = State::Broken;
                }
            },
            State::Refused | State::Broken | State::Ended => return false,
        }
        self.cleared > 0
    }

    fn refuse(&mut self, fault: HeadFault) {
        // A connection is refused once: nothing is read behind it.
        let _ = self.noted.set(fault);
        self.held.truncate(self.cleared);
        self.held.extend_from_slice(IN_ITS_PLACE);
        self.cleared = self.held.len();
        self.head_by = None;
        self.state = State::Refused;
    }

    /// Gives on what is cleared.
    fn give(&mut self, buffer: &mut ReadBuf<'_>) {
        let length = self.cleared.min(buffer.remaining());
        buffer.put_slice(&self.held[..length]);
        self.held.advance(length);
        self.cleared -= length;
    }

    /// Reads on while a head is coming.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let before = self.held.len();
        self.held.resize(before + PIECE, 0);
        let mut piece = ReadBuf::new(&mut self.held[before..]);
        let polled = Pin::new(&mut self.stream).poll_read(cx, &mut piece);
        let read = piece.filled().len();
        self.held.truncate(before + read);
        match polled {
            Poll::Ready(Ok(())) if read == 0 => {
                if self.held.is_empty() {
                    self.state = State::Ended;
                } else {
                    self.refuse(HeadFault::Malformed("The head broke off."));
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(result) => {
                if self.head_by.is_none() {
                    self.head_by = Some(Box::pin(tokio::time::sleep(HEAD)));
                }
                Poll::Ready(result)
            }
            Poll::Pending => {
                let Some(by) = &mut self.head_by else { return Poll::Pending };
                ready!(by.as_mut().poll(cx));
                // Who said nothing at all is not answered.
                if self.held.is_empty() {
                    self.state = State::Ended;
                } else {
                    self.refuse(HeadFault::TooSlow);
                }
                Poll::Ready(Ok(()))
            }
        }
    }

    /// Reads on while a body is coming, straight into hyper's buffer.
    fn poll_body(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let State::Body(body) = &mut self.state else { return Poll::Ready(Ok(())) };
        let fresh = &buffer.filled()[before..];
        if fresh.is_empty() {
            self.state = State::Ended;
            return Poll::Ready(Ok(()));
        }
        match body.follow(fresh) {
            Followed::Within => {}
            Followed::Ends(length) => {
                // What is behind it begins the next head, and stays here until that is whole.
                self.held.extend_from_slice(&fresh[length..]);
                buffer.set_filled(before + length);
                self.state = State::Head(Head::default());
                self.head_by = (!self.held.is_empty()).then(|| Box::pin(tokio::time::sleep(HEAD)));
            }
            Followed::Broken => self.state = State::Broken,
        }
        Poll::Ready(Ok(()))
    }

    /// Fails a write that has not got on for too long.
    fn moved<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.write_by = None;
            return polled;
        }
        let by = self.write_by.get_or_insert_with(|| Box::pin(tokio::time::sleep(STALLED)));
        ready!(by.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read its answer")))
    }

    /// True if bytes may be on their way that nobody has read.
    fn is_owed(&self) -> bool {
        match &self.state {
            State::Head(_) => !self.held.is_empty(),
            State::Body(_) | State::Refused | State::Broken => true,
            State::Ended => false,
        }
    }

    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let Linger::For(until, left) = &mut self.linger else { return Poll::Ready(()) };
            if *left == 0 || until.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            let mut waste = [0; PIECE];
            let mut piece = ReadBuf::new(&mut waste);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut piece)) {
                Ok(()) if !piece.filled().is_empty() => *left = left.saturating_sub(piece.filled().len()),
                _ => return Poll::Ready(()),
            }
        }
    }
}

/// What comes behind a head.
fn behind(body: Body) -> State {
    if body.is_empty() { State::Head(Head::default()) } else { State::Body(body) }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Screen<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.cleared > 0 || this.clear() {
                this.give(buffer);
                return Poll::Ready(Ok(()));
            }
            match this.state {
                State::Head(_) => ready!(this.poll_head(cx))?,
                State::Body(_) => return this.poll_body(cx, buffer),
                // Woken by nothing: what hyper still has to do is to answer.
                State::Refused => return Poll::Pending,
                State::Broken | State::Ended => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Screen<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.moved(cx, polled)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write_vectored(cx, pieces);
        this.moved(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if matches!(this.linger, Linger::NotYet) {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            let bytes = if this.is_owed() { LINGER_BYTES } else { 0 };
            this.linger = Linger::For(Box::pin(tokio::time::sleep(LINGER)), bytes);
        }
        this.poll_linger(cx).map(Ok)
    }
}
