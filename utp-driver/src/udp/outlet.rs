//! What goes out: packets from the endpoint to the socket, and what sending tells about paths.

use std::time::{Duration, Instant};

use utp_proto::Endpoint;

use super::{Flushed, Outbox, PathErrors, Udp};
use crate::runtime::UdpSocket;
use crate::stats::SendStats;

/// The sending side of a socket, for an endpoint: [`report`](Self::report) what was learned about paths,
/// [`collect`](Self::collect) what is to be sent, [`flush`](Self::flush) it, which needs no lock on the
/// endpoint; then wait until [`deadline`](Self::deadline), or for the socket.
#[derive(Debug)]
pub struct Outlet {
    outbox: Outbox,
    path_errors: PathErrors,
    /// Whether the socket takes no more, so that the outbox has to wait.
    blocked: bool,
}

impl Outlet {
    /// Nothing on its way yet.
    pub fn new<S: UdpSocket>(udp: &Udp<S>, now: Instant) -> Self {
        Self { outbox: Outbox::new(udp, now), path_errors: PathErrors::new(), blocked: false }
    }

    /// Tells the endpoint what sending has told about the paths to its peers.
    pub fn report(&mut self, endpoint: &mut Endpoint, now: Instant) {
        for (peer, error) in self.path_errors.drain(..) {
            endpoint.handle_path_error(now, peer, error);
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

    /// When the next turn is due, given when the endpoint (or something else) wants one. `now` is that of the
    /// last turn.
    #[must_use]
    pub fn deadline(&self, wanted: Option<Instant>, now: Instant) -> Option<Instant> {
        if self.has_path_errors() {
            return Some(now);
        }
        // While nothing can be sent, there is no point in hurrying.
        wanted.map(|deadline| if self.blocked { deadline.max(now + BLOCKED) } else { deadline })
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
    pub fn stats(&self) -> &SendStats {
        self.outbox.stats()
    }
}

/// How soon due packets are looked at again while the socket is blocked. It becoming writable comes first.
pub(super) const BLOCKED: Duration = Duration::from_millis(10);
