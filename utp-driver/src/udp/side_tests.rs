//! Tests of both sides of a socket on one that fails as it is told to.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use utp_proto::Endpoint;

use super::intake::{DEAF, FAILURES};
use super::outlet::BLOCKED;
use super::*;
use crate::SocketConfig;
use crate::runtime::Direction;

/// A socket that fails to receive as often as it is told to, and takes nothing if it is told so.
struct Faulty {
    socket: std::net::UdpSocket,
    failures: Cell<u32>,
    full: Cell<bool>,
}

#[cfg(unix)]
impl std::os::fd::AsFd for Faulty {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(windows)]
impl std::os::windows::io::AsSocket for Faulty {
    fn as_socket(&self) -> std::os::windows::io::BorrowedSocket<'_> {
        self.socket.as_socket()
    }
}

impl UdpSocket for Faulty {
    fn try_io<R>(&self, direction: Direction, operation: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
        if direction == Direction::Read && self.failures.get() > 0 {
            self.failures.set(self.failures.get() - 1);
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if direction == Direction::Write && self.full.get() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        operation()
    }
}

fn faulty() -> (Udp<Faulty>, Intake, Outlet, Endpoint, Datagrams, Instant) {
    let config = SocketConfig::default();
    let now = Instant::now();
    let socket = socket::bind("127.0.0.1:0".parse().unwrap(), &config).unwrap();
    let faulty = |socket| Ok(Faulty { socket, failures: Cell::new(0), full: Cell::new(false) });
    let udp = Udp::new(socket, &config, faulty).unwrap();
    let outlet = Outlet::new(&udp, now);
    let endpoint = Endpoint::new(Arc::clone(&config.protocol), [1; 32], now);
    (udp, Intake::default(), outlet, endpoint, Datagrams::new(&config), now)
}

#[test]
fn errors_about_datagrams_are_passed_over_and_a_socket_in_trouble_is_left_alone_for_a_while() {
    let (udp, mut intake, _, _, _, now) = faulty();
    udp.socket().failures.set(FAILURES - 1);
    for _ in 1..FAILURES {
        assert_eq!(intake.receive(&udp, || Moment::of(now)), Received::Failed);
    }
    let peer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.send_to(b"it works again", udp.local_addr()).unwrap();
    assert_eq!(intake.receive(&udp, || Moment::of(now)), Received::Batch(14));
    assert_eq!(intake.deaf_until(), None);

    udp.socket().failures.set(FAILURES + 1);
    for _ in 1..FAILURES {
        assert_eq!(intake.receive(&udp, || Moment::of(now)), Received::Failed);
    }
    assert_eq!(intake.receive(&udp, || Moment::of(now)), Received::Deaf);
    assert_eq!(intake.deaf_until(), Some(now + DEAF));
    assert_eq!(intake.receive(&udp, || Moment::of(now + DEAF / 2)), Received::Deaf);
    assert_eq!(udp.socket().failures.get(), 1, "not even tried");
    udp.socket().failures.set(0);
    assert_eq!(intake.receive(&udp, || Moment::of(now + DEAF)), Received::Nothing);
    assert_eq!(intake.deaf_until(), None);
}

#[test]
fn a_blocked_socket_is_tried_again_later_and_loses_nothing() {
    let (udp, mut intake, mut outlet, mut endpoint, mut foreign, now) = faulty();
    let peer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    endpoint.connect(now, peer.local_addr().unwrap()).unwrap();
    udp.socket().full.set(true);
    assert!(!outlet.collect(&mut endpoint, now));
    assert_eq!(outlet.flush(&udp), 0);
    assert!(outlet.is_blocked() && !outlet.is_flushed());
    assert_eq!(outlet.deadline(Some(now), now), Some(now + BLOCKED));
    let far = now + Duration::from_secs(1);
    assert_eq!(outlet.deadline(Some(far), now), Some(far));

    udp.socket().full.set(false);
    intake.feed(&mut endpoint, &mut foreign, now);
    assert!(outlet.collect(&mut endpoint, now), "the endpoint was not asked yet");
    assert_eq!(outlet.flush(&udp), 20, "the SYN");
    assert!(!outlet.is_blocked() && outlet.is_flushed());
    assert_eq!(outlet.stats().datagrams_dropped, 0);
}
