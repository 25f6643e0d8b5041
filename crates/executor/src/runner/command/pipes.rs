//! What goes into a command and what comes out of it, all at once, so that neither side waits for the other for ever.

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::unix::pipe,
    process::{ChildStderr, ChildStdin, ChildStdout},
    sync::Notify,
};

/// So much of the end of stderr is kept.
const LOG: usize = 16 * 1024;

/// The longest line of progress, in bytes.
const LINE: usize = 8 * 1024;

/// Our ends.
pub(super) struct Pipes {
    pub(super) stdin: Option<ChildStdin>,
    pub(super) stdout: Option<ChildStdout>,
    pub(super) stderr: Option<ChildStderr>,
    pub(super) progress: pipe::Receiver,
}

/// What was written to stdout, up to a limit.
pub(super) struct Output {
    pub(super) bytes: Vec<u8>,
    limit: usize,
}

impl Output {
    pub(super) fn new(limit: u64) -> Self {
        Self { bytes: Vec::new(), limit: usize::try_from(limit).unwrap_or(usize::MAX) }
    }

    pub(super) fn limit(&self) -> u64 {
        self.limit as u64
    }

    pub(super) fn over(&self) -> bool {
        self.bytes.len() > self.limit
    }
}

/// The last [`LOG`] bytes.
#[derive(Default)]
pub(super) struct Tail {
    bytes: Vec<u8>,
    cut: bool,
}

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        // Twice as much is let in before any is thrown away: a byte at a time would move all of it each time.
        if self.bytes.len() > 2 * LOG {
            self.cut();
        }
    }

    fn cut(&mut self) {
        let surplus = self.bytes.len().saturating_sub(LOG);
        self.cut |= surplus > 0;
        self.bytes.drain(..surplus);
    }

    /// As text: what is no UTF-8 replaced, a cut marked and made at a character.
    pub(super) fn text(mut self) -> String {
        self.cut();
        let inside = |byte: &&u8| self.cut && (**byte & 0xC0) == 0x80;
        let start = self.bytes.iter().take_while(inside).count().min(3);
        let text = String::from_utf8_lossy(&self.bytes[start..]);
        if self.cut { format!("…{text}") } else { text.into_owned() }
    }
}

impl Pipes {
    /// Feeds it and hears it until it has closed everything. `hear` is told each line of progress, `full` once it has said
    /// too much.
    pub(super) async fn talk(
        self,
        input: &[u8],
        output: &mut Output,
        log: &mut Tail,
        hear: impl FnMut(&[u8]),
        full: &Notify,
    ) {
        let Self { stdin, stdout, stderr, progress } = self;
        let feed = async {
            if let Some(mut stdin) = stdin {
                // Whoever does not want all of the input closes it early: no error of the command's.
                let _ = stdin.write_all(input).await;
            }
        };
        let result = async {
            if let Some(stdout) = stdout {
                let most = output.limit().saturating_add(1);
                // A pipe that cannot be read has ended.
                let _ = stdout.take(most).read_to_end(&mut output.bytes).await;
                if output.over() {
                    full.notify_one();
                }
            }
        };
        let said = async {
            if let Some(stderr) = stderr {
                each(stderr, |bytes| log.push(bytes)).await;
            }
        };
        let mut lines = Lines::new(hear);
        let progressed = each(progress, |bytes| lines.push(bytes));
        tokio::join!(feed, result, said, progressed);
    }
}

/// Cut into lines; one that is too long for a line of progress is passed over.
struct Lines<F> {
    line: Vec<u8>,
    over: bool,
    hear: F,
}

impl<F: FnMut(&[u8])> Lines<F> {
    fn new(hear: F) -> Self {
        Self { line: Vec::new(), over: false, hear }
    }

    fn push(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            self.over |= self.line.len() + piece.len() > LINE;
            if !self.over {
                self.line.extend_from_slice(piece);
            }
            if piece.ends_with(b"\n") {
                if !self.over {
                    (self.hear)(self.line.trim_ascii());
                }
                self.line.clear();
                self.over = false;
            }
        }
    }
}

/// Hands over all that comes, as it comes.
async fn each(mut from: impl AsyncRead + Unpin, mut take: impl FnMut(&[u8])) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        take(&buffer[..length]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(pieces: &[&[u8]]) -> String {
        let mut tail = Tail::default();
        pieces.iter().for_each(|piece| tail.push(piece));
        tail.text()
    }

    #[test]
    fn lines_are_cut_whole_and_long_ones_passed_over() {
        let (long, mut heard) = (vec![b'x'; LINE + 1], Vec::new());
        let mut lines = Lines::new(|line: &[u8]| heard.push(String::from_utf8_lossy(line).into_owned()));
        for piece in [&b"one\r\ntw"[..], b"o\n\n", &long, &long, b"\nthree\nnever ended"] {
            lines.push(piece);
        }
        assert_eq!(heard, ["one", "two", "", "three"]);
    }

    #[test]
    fn a_short_log_is_whole() {
        assert_eq!(tail(&[]), "");
        assert_eq!(tail(&[b"one\n", b"two\n"]), "one\ntwo\n");
        assert_eq!(tail(&[b"a\xffb"]), "a\u{fffd}b");
    }

    #[test]
    fn of_a_long_log_the_end_is_kept_and_the_cut_shown() {
        let line = [b'x'; 1000];
        let text = tail(&[&line[..]; 100]);
        assert_eq!(text, format!("…{}", "x".repeat(LOG)));
        let umlauts = "ä".repeat(LOG);
        let text = tail(&[b"y", umlauts.as_bytes(), b"z"]);
        assert!(text.starts_with("…ä") && text.ends_with("äz") && !text.contains('\u{fffd}'));
    }
}
