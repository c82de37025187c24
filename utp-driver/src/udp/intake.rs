//! What comes in: batches from the socket to the endpoint, and how a socket in trouble is treated.

use std::io;
use std::time::{Duration, Instant};

use utp_proto::{Endpoint, Verdict};

use super::{Datagrams, Inbox, Moment, Udp};
use crate::runtime::UdpSocket;
use crate::stats::ReceiveStats;

/// The receiving side of a socket, for an endpoint: [`receive`](Self::receive) a batch, which needs no lock on the
/// endpoint, and [`feed`](Self::feed) it.
#[derive(Debug, Default)]
pub struct Intake {
    inbox: Inbox,
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
    /// [`Intake::deaf_until`].
    Deaf,
}

impl Intake {
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

    /// Gives the endpoint what was received, and lets it do what is due. Datagrams that are not uTP go to
    /// `foreign`. [`Outlet::report`](super::Outlet::report) comes first.
    pub fn feed(&mut self, endpoint: &mut Endpoint, foreign: &mut Datagrams, now: Instant) {
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

    /// Until when the socket is left alone, because receiving failed too often. A turn is due then.
    #[must_use]
    pub fn deaf_until(&self) -> Option<Instant> {
        self.deaf_until
    }

    /// Counters.
    pub fn stats(&self) -> &ReceiveStats {
        self.inbox.stats()
    }
}

/// Batches after which time-outs are looked at although more datagrams wait.
const UNTIMED: u32 = 8;

/// Receive errors in a row that mean that the socket, not some datagram, is in trouble (an interface
/// went away); it is then left alone for a while instead of being tried without pause.
pub(super) const FAILURES: u32 = 64;

/// That while.
pub(super) const DEAF: Duration = Duration::from_millis(100);
