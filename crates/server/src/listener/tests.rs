//! The screen over a pipe, with time that is moved by hand.

use std::{sync::Arc, time::Duration};

use api::HeadFault;
use proptest::{
    prelude::*,
    test_runner::{Config, RngSeed},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    time::Instant,
};

use super::screen::{HEAD, Noted, Screen};

fn screened(buffer: usize) -> (DuplexStream, Screen<DuplexStream>, Noted) {
    let (client, server) = duplex(buffer);
    let noted = Noted::default();
    let screen = Screen::new(server, Arc::clone(&noted));
    (client, screen, noted)
}

/// What hyper is given of these pieces.
async fn given(pieces: &[&[u8]]) -> (Vec<u8>, Option<HeadFault>) {
    let (mut client, mut screen, noted) = screened(64 * 1024);
    let pieces: Vec<Vec<u8>> = pieces.iter().map(|piece| piece.to_vec()).collect();
    tokio::spawn(async move {
        for piece in pieces {
            client.write_all(&piece).await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        // A refused connection gives nothing more, and not even its end.
        match tokio::time::timeout(Duration::from_secs(1), screen.read(&mut buffer)).await {
            Ok(Ok(length)) if length > 0 => all.extend_from_slice(&buffer[..length]),
            _ => return (all, noted.get().copied()),
        }
    }
}

const GOOD: [&str; 5] = [
    "GET /livez HTTP/1.1\r\nhost: a\r\n\r\n",
    "\r\nGET / HTTP/1.0\r\n\r\n",
    "POST /v1/jobs HTTP/1.1\r\nhost: a\r\ncontent-length: 15\r\n\r\n{\"task\":\"echo\"}",
    "POST /v1/jobs HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nf;x=y\r\n{\"task\":\"echo\"}\r\n0\r\nt: 1\r\n\r\n",
    "POST /v1/jobs HTTP/1.1\r\nhost: a\r\ncontent-length: 46\r\n\r\nGET / HTTP/1.1\r\ncontent-length: 1\r\n\r\n\0\0\0\r\n\r\nxx",
];

proptest! {
    #![proptest_config(Config { rng_seed: RngSeed::Fixed(8202), failure_persistence: None, ..Config::with_cases(400) })]

    #[test]
    fn fuzz_requests_pass_unchanged_however_they_come(
        requests in prop::collection::vec(prop::sample::select(GOOD.to_vec()), 1..5),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        bad in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let good = requests.concat();
        let all = if bad { format!("{good}GET / HTTP/1.1\r\nhost: a\nx: y\r\n\r\nGET") } else { good.clone() };
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(all.len())).chain([0, all.len()]).collect();
        cuts.sort();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &all.as_bytes()[cut[0]..cut[1]]).collect();
        let (given, fault) = runtime.block_on(given(&pieces));
        let expected = if bad { format!("{good}REFUSED / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n") } else { good };
        prop_assert_eq!(String::from_utf8_lossy(&given), expected);
        prop_assert_eq!(fault.is_some(), bad);
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_has_ten_seconds_from_its_first_byte() {
    let began = Instant::now();
    let (mut client, mut screen, noted) = screened(1024);
    let mut buffer = [0; 1024];
    let (length, ()) = tokio::join!(screen.read(&mut buffer), async {
        for byte in b"GET / HTTP" {
            client.write_all(&[*byte]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(900)).await;
        }
    });
    assert!(buffer[..length.unwrap()].starts_with(b"REFUSED"));
    assert_eq!((noted.get(), began.elapsed().as_secs()), (Some(&HeadFault::TooSlow), HEAD.as_secs()));
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_is_not_answered_and_who_has_spoken_may_be_silent() {
    let (_silent, mut screen, noted) = screened(1024);
    assert_eq!(screen.read(&mut [0; 16]).await.unwrap(), 0);
    assert!(noted.get().is_none());

    let (mut client, mut screen, _) = screened(1024);
    client.write_all(GOOD[0].as_bytes()).await.unwrap();
    let mut buffer = [0; 1024];
    assert_eq!(screen.read(&mut buffer).await.unwrap(), GOOD[0].len());
    // An hour of work for it, say: the next head has not begun.
    let hour = tokio::time::timeout(Duration::from_secs(3_600), screen.read(&mut buffer)).await;
    assert!(hour.is_err());
}

#[tokio::test(start_paused = true)]
async fn what_still_comes_is_read_for_a_while_before_the_end() {
    // An unfinished body, and a client that goes on sending: half a megabyte passes, and two seconds are the end.
    let (mut client, mut screen, _) = screened(1024);
    client.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9999999\r\n\r\n").await.unwrap();
    assert!(screen.read(&mut [0; 1024]).await.unwrap() > 0);
    let began = Instant::now();
    let (shut, sent) = tokio::join!(screen.shutdown(), client.write_all(&[b' '; 512 * 1024]));
    shut.unwrap();
    sent.unwrap();
    assert_eq!(began.elapsed().as_secs(), 2);

    // One that sends without end: a megabyte is.
    let (mut client, mut screen, _) = screened(1024);
    client.write_all(b"nonsense\n").await.unwrap();
    assert!(screen.read(&mut [0; 1024]).await.unwrap() > 0);
    let began = Instant::now();
    let endless = async {
        let mut sent = 0;
        while client.write_all(&[b' '; 1024]).await.is_ok() {
            sent += 1024;
        }
        sent
    };
    let (_, sent) = tokio::join!(
        async {
            screen.shutdown().await.unwrap();
            drop(screen);
        },
        endless
    );
    assert!((1_000_000..1_200_000).contains(&sent), "{sent}");
    assert_eq!(began.elapsed().as_secs(), 0);

    // Nothing is owed: closed at once.
    let (mut client, mut screen, _) = screened(1024);
    client.write_all(GOOD[2].as_bytes()).await.unwrap();
    let mut buffer = [0; 1024];
    let mut read = 0;
    while read < GOOD[2].len() {
        read += screen.read(&mut buffer).await.unwrap();
    }
    let began = Instant::now();
    screen.shutdown().await.unwrap();
    assert_eq!(began.elapsed().as_secs(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_is_cut() {
    let (_deaf, mut screen, _) = screened(1024);
    let began = Instant::now();
    let error = screen.write_all(&[b' '; 2048]).await.unwrap_err();
    assert_eq!((error.kind(), began.elapsed().as_secs()), (std::io::ErrorKind::TimedOut, 30));
}
