//! `race` in virtual time: when attempts begin, and what becomes of those that lose.

use std::cell::RefCell;
use std::future::{Future, pending};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use utp_tokio::race;

/// RFC 8305 5: the recommended delay between attempts.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

fn peers(ports: &[u16]) -> Vec<SocketAddr> {
    ports.iter().map(|port| (Ipv4Addr::LOCALHOST, *port).into()).collect()
}

async fn first<F: Future<Output = io::Result<u16>>>(
    ports: &[u16],
    attempt: impl FnMut(SocketAddr) -> F,
) -> io::Result<u16> {
    race(&peers(ports)[..], attempt).await
}

/// Ports below 10 refuse at once, those below 100 never answer, others answer at once.
async fn attempt(peer: SocketAddr) -> io::Result<u16> {
    match peer.port() {
        0..10 => Err(io::ErrorKind::ConnectionRefused.into()),
        10..100 => pending().await,
        port => Ok(port),
    }
}

#[tokio::test(start_paused = true)]
async fn silence_delays_the_next_attempt_and_a_refusal_does_not() {
    let begin = Instant::now();
    assert_eq!(first(&[1, 2, 100], attempt).await.unwrap(), 100);
    assert_eq!(begin.elapsed(), Duration::ZERO);
    assert_eq!(first(&[10, 1, 11, 100], attempt).await.unwrap(), 100);
    assert_eq!(begin.elapsed().as_millis(), 2 * ATTEMPT_DELAY.as_millis());
}

#[tokio::test(start_paused = true)]
async fn earlier_attempts_go_on() {
    let late = |peer: SocketAddr| async move {
        if peer.port() == 1 {
            sleep(ATTEMPT_DELAY * 3 / 2).await;
            Ok(1)
        } else {
            pending().await
        }
    };
    assert_eq!(first(&[1, 10], late).await.unwrap(), 1);
}

/// An earlier attempt that fails while the latest has its head start.
#[tokio::test(start_paused = true)]
async fn a_late_refusal_begins_the_next_attempt() {
    let begin = Instant::now();
    let late = |peer: SocketAddr| async move {
        if peer.port() == 1 {
            sleep(ATTEMPT_DELAY * 3 / 2).await;
        }
        attempt(peer).await
    };
    assert_eq!(first(&[1, 10, 100], late).await.unwrap(), 100);
    assert_eq!(begin.elapsed().as_millis(), (ATTEMPT_DELAY * 3 / 2).as_millis());
}

#[tokio::test(start_paused = true)]
async fn an_answer_ends_the_search() {
    let tried = RefCell::new(Vec::new());
    let note = |peer: SocketAddr| {
        tried.borrow_mut().push(peer.port());
        attempt(peer)
    };
    first(&[1, 100, 101], note).await.unwrap();
    assert_eq!(*tried.borrow(), [1, 100]);
}

#[tokio::test(start_paused = true)]
async fn losers_are_dropped_and_so_are_all_attempts_of_a_dropped_race() {
    let alive = Rc::new(());
    let counted = |peer: SocketAddr| {
        let alive = Rc::clone(&alive);
        async move {
            let result = attempt(peer).await;
            drop(alive);
            result
        }
    };
    assert_eq!(first(&[10, 11, 100], counted).await.unwrap(), 100);
    assert_eq!(Rc::strong_count(&alive), 1);

    let limit = ATTEMPT_DELAY * 3 / 2;
    let (addrs, begin) = ([10, 11, 12], Instant::now());
    {
        let mut race = std::pin::pin!(first(&addrs, counted));
        assert!(tokio::time::timeout(limit, race.as_mut()).await.is_err());
        assert_eq!(Rc::strong_count(&alive), 3);
    }
    assert_eq!(Rc::strong_count(&alive), 1);
    assert_eq!(begin.elapsed().as_millis(), limit.as_millis());
}

#[tokio::test(start_paused = true)]
async fn no_answer() {
    let error = first(&[1, 2], attempt).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    let error = first(&[], attempt).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}
