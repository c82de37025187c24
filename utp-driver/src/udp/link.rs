//! Both directions of a socket together: what a turn of any adapter does around its endpoint, and how
//! a socket in trouble is treated.

use std::io;
use std::time::{Duration, Instant};

use utp_proto::{Endpoint, Verdict};

use super::{Datagrams, Flushed, Inbox, Moment, Outbox, PathErrors, Udp};
use crate::runtime::UdpSocket;
use crate::stats::{ReceiveStats, SendStats};

/// What is on its way between a socket and its endpoint.
///
/// A turn: [`receive`](Self::receive) a batch, [`feed`](Self::feed) it to the endpoint (with time-outs),
/// tell the application, [`collect`](Self::collect) what is to be sent, [`flush`](Self::flush) it; then
/// wait until [`deadline`](Self::deadline), or for the socket. Only `feed` and `collect` touch the
/// endpoint, so that a lock around that need not be held during system calls.
#[derive(Debug)]
pub struct Link {
    inbox: Inbox,
    outbox: Outbox,
    path_errors: PathErrors,
    /// Whether the socket takes no more, so that the outbox has to wait.
    blocked: bool,
    /// Batches in a row after which time-outs were not looked at.
    untimed: u32,
    /// Receive errors in a row, and until when the socket is left alone because of them.
    failures: u32,
    deaf_until: Option<Instant>,
}

/// What trying to receive has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Received {
    /// A batch. Its size in bytes, at least 1 (datagrams may be empty).
    Batch(usize),
    /// Nothing has arrived: worth another try once the socket is readable.
    Nothing,
    /// An error about some datagram: worth another try at once.
    Failed,
    /// So many errors in a row that the socket itself must be in trouble: it is left alone until
    /// [`Link::deadline`].
    Deaf,
}

impl Link {
    /// Nothing on its way yet.
    pub fn new<S: UdpSocket>(udp: &Udp<S>, now: Instant) -> Self {
        Self {
            inbox: Inbox::default(),
            outbox: Outbox::new(udp, now),
            path_errors: PathErrors::new(),
            blocked: false,
            untimed: 0,
            failures: 0,
            deaf_until: None,
        }
    }

    /// Receives one batch, which has to be [fed](Self::feed) to the endpoint before the next. `moment` is
    /// as for [`Inbox::receive`].
    pub fn receive<S: UdpSocket>(&mut self, udp: &Udp<S>, moment: impl Fn() -> Moment) -> Received {
        if let Some(until) = self.deaf_until {
            if moment().now() < until {
                return Received::Deaf;
            }
            self.deaf_until = None;
        }
        match self.inbox.receive(udp, &moment) {
            Ok(bytes) => {
                self.failures = 0;
                Received::Batch(bytes.max(1))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Received::Nothing,
            Err(_) => {
                self.failures += 1;
                if self.failures < FAILURES {
                    return Received::Failed;
                }
                self.failures = 0;
                self.deaf_until = Some(moment().now() + DEAF);
                Received::Deaf
            }
        }
    }

    /// Gives the endpoint what was received, after what was learned about paths, and lets it do what is
    /// due. Datagrams that are not uTP go to `foreign`.
    pub fn feed(&mut self, endpoint: &mut Endpoint, foreign: &mut Datagrams, now: Instant) {
        for (peer, error) in self.path_errors.drain(..) {
            endpoint.handle_path_error(now, peer, error);
        }
        for datagram in self.inbox.datagrams() {
            // Nobody can be answered at port 0, so nobody there is a peer. (A forged one would have us
            // fail to send, again and again.)
            if datagram.from.port() == 0 {
                continue;
            }
            let verdict = endpoint.handle_datagram(datagram.arrived, datagram.from, datagram.data);
            if verdict == Verdict::NotUtp {
                foreign.push(datagram.from, datagram.data);
            }
        }
        // Time-outs wait while datagrams do: an acknowledgement that lies in the socket's buffer must not
        // be taken for lost.
        let more_waits = self.inbox.is_full() && self.untimed < UNTIMED;
        self.inbox.clear();
        if more_waits {
            self.untimed += 1;
            return;
        }
        self.untimed = 0;
        if endpoint.poll_timeout().is_some_and(|deadline| deadline <= now) {
            endpoint.handle_timeout(now);
        }
    }

    /// Takes what `endpoint` wants to send, in bounded quantity, and says whether it may have more. See
    /// [`Outbox::collect`].
    pub fn collect(&mut self, endpoint: &mut Endpoint, now: Instant) -> bool {
        self.outbox.collect(endpoint, now)
    }

    /// Sends what was collected, as far as the socket takes it, and gives the bytes.
    pub fn flush<S: UdpSocket>(&mut self, udp: &Udp<S>) -> usize {
        let before = self.outbox.stats().bytes_sent;
        self.blocked = self.outbox.flush(udp, &mut self.path_errors) == Flushed::Blocked;
        (self.outbox.stats().bytes_sent - before) as usize
    }

    /// When the next turn is due, given when the endpoint wants one. `now` is that of the last turn.
    #[must_use]
    pub fn deadline(&self, endpoint: Option<Instant>, now: Instant) -> Option<Instant> {
        if self.has_path_errors() {
            return Some(now);
        }
        let deadline = endpoint.into_iter().chain(self.deaf_until).min()?;
        // While nothing can be sent, there is no point in hurrying.
        Some(if self.blocked { deadline.max(now + BLOCKED) } else { deadline })
    }

    /// Whether the socket takes no more for now.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Whether everything that was collected has been sent.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        self.outbox.is_empty()
    }

    /// Whether sending told something that the endpoint should know; nothing else would bring it there
    /// soon.
    #[must_use]
    pub fn has_path_errors(&self) -> bool {
        !self.path_errors.is_empty()
    }

    /// Counters.
    pub fn stats(&self) -> (&ReceiveStats, &SendStats) {
        (self.inbox.stats(), self.outbox.stats())
    }
}

/// Batches after which time-outs are looked at although more datagrams wait.
const UNTIMED: u32 = 8;

/// Receive errors in a row that mean that the socket, not some datagram, is in trouble (an interface
/// went away); it is then left alone for a while instead of being tried without pause.
const FAILURES: u32 = 64;

/// That while.
const DEAF: Duration = Duration::from_millis(100);

/// How soon due packets are looked at again while the socket is blocked. It becoming writable comes first.
const BLOCKED: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::Arc;

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
        fn try_io<R>(
            &self,
            direction: Direction,
            operation: impl FnOnce() -> io::Result<R>,
        ) -> io::Result<R> {
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

    fn faulty() -> (Udp<Faulty>, Link, Endpoint, Datagrams, Instant) {
        let config = SocketConfig::default();
        let now = Instant::now();
        let socket = crate::socket::bind("127.0.0.1:0".parse().unwrap(), &config).unwrap();
        let faulty = |socket| Ok(Faulty { socket, failures: Cell::new(0), full: Cell::new(false) });
        let udp = Udp::new(socket, &config, faulty).unwrap();
        let link = Link::new(&udp, now);
        let endpoint = Endpoint::new(Arc::clone(&config.protocol), [1; 32], now);
        (udp, link, endpoint, Datagrams::new(&config), now)
    }

    #[test]
    fn errors_about_datagrams_are_passed_over_and_a_socket_in_trouble_is_left_alone_for_a_while() {
        let (udp, mut link, _, _, now) = faulty();
        udp.socket().failures.set(FAILURES - 1);
        for _ in 1..FAILURES {
            assert_eq!(link.receive(&udp, || Moment::of(now)), Received::Failed);
        }
        let peer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        peer.send_to(b"it works again", udp.local_addr()).unwrap();
        assert_eq!(link.receive(&udp, || Moment::of(now)), Received::Batch(14));
        assert_eq!(link.deadline(None, now), None);

        udp.socket().failures.set(FAILURES + 1);
        for _ in 1..FAILURES {
            assert_eq!(link.receive(&udp, || Moment::of(now)), Received::Failed);
        }
        assert_eq!(link.receive(&udp, || Moment::of(now)), Received::Deaf);
        assert_eq!(link.deadline(None, now), Some(now + DEAF));
        assert_eq!(link.receive(&udp, || Moment::of(now + DEAF / 2)), Received::Deaf);
        assert_eq!(udp.socket().failures.get(), 1, "not even tried");
        udp.socket().failures.set(0);
        assert_eq!(link.receive(&udp, || Moment::of(now + DEAF)), Received::Nothing);
        assert_eq!(link.deadline(None, now), None);
    }

    #[test]
    fn a_blocked_socket_is_tried_again_later_and_loses_nothing() {
        let (udp, mut link, mut endpoint, mut foreign, now) = faulty();
        let peer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        endpoint.connect(now, peer.local_addr().unwrap()).unwrap();
        udp.socket().full.set(true);
        assert!(!link.collect(&mut endpoint, now));
        assert_eq!(link.flush(&udp), 0);
        assert!(link.is_blocked() && !link.is_flushed());
        assert_eq!(link.deadline(Some(now), now), Some(now + BLOCKED));
        let far = now + Duration::from_secs(1);
        assert_eq!(link.deadline(Some(far), now), Some(far));

        udp.socket().full.set(false);
        link.feed(&mut endpoint, &mut foreign, now);
        assert!(link.collect(&mut endpoint, now), "the endpoint was not asked yet");
        assert_eq!(link.flush(&udp), 20, "the SYN");
        assert!(!link.is_blocked() && link.is_flushed());
        assert_eq!(link.stats().1.datagrams_dropped, 0);
    }
}
