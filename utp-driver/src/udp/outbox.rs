//! Sending: one arena of packets, few system calls.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use utp_proto::{Endpoint, PathError, Transmit};

use super::singles::{self, Singles};
use crate::runtime::UdpSocket;
use crate::stats::SendStats;
use crate::udp::Udp;

/// What sending told about the paths to peers, for [`Endpoint::handle_path_error`].
pub type PathErrors = Vec<(SocketAddr, PathError)>;

/// What became of an [`Outbox`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Flushed {
    /// It is empty.
    All,
    /// The socket takes no more for now; the rest is kept, and sent first next time.
    Blocked,
}

/// Packets on their way from the endpoint to the socket. Collected under the lock, if there is one,
/// and sent without it.
#[derive(Debug)]
pub struct Outbox {
    arena: Vec<u8>,
    runs: Vec<Run>,
    /// The first run that is not sent completely.
    next: usize,
    /// When the timestamps of the packets were written.
    stamped: Instant,
    /// Segments per system call; 1: no offload.
    segments: usize,
    stats: SendStats,
}

/// Packets of one size to one peer; only the last may be shorter. `start..end` of the arena is still
/// to be sent.
#[derive(Debug)]
struct Run {
    destination: SocketAddr,
    start: usize,
    end: usize,
    segment: usize,
    may_fragment: bool,
}

impl Outbox {
    /// An empty one for `udp`.
    pub fn new<S: UdpSocket>(udp: &Udp<S>, now: Instant) -> Self {
        Self::with_segments(udp.send_segments, now)
    }

    pub(super) fn with_segments(segments: usize, now: Instant) -> Self {
        let segments = segments.max(1);
        Self {
            arena: Vec::new(),
            runs: Vec::new(),
            next: 0,
            stamped: now,
            segments,
            stats: SendStats::default(),
        }
    }

    /// Whether everything was sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.next == self.runs.len()
    }

    /// Takes what `endpoint` wants to send, up to the arena's size, and says whether the endpoint may
    /// have more. If the rest of an earlier batch is still waiting for the socket, only that batch's
    /// timestamps are brought up to date.
    pub fn collect(&mut self, endpoint: &mut Endpoint, now: Instant) -> bool {
        if !self.is_empty() {
            if now.saturating_duration_since(self.stamped) >= STALE {
                self.restamp(endpoint.wire_timestamp(now), now);
            }
            return true;
        }
        self.arena.clear();
        self.runs.clear();
        self.next = 0;
        self.stamped = now;
        while self.arena.len() < ARENA {
            let Some(transmit) = endpoint.poll_transmit(now, RUN, &mut self.arena) else { return false };
            let Transmit { destination, len, segment_size, may_fragment, .. } = transmit;
            self.push(destination, len, segment_size, may_fragment);
        }
        true
    }

    /// Sends until everything is gone or the socket blocks. Errors never end anything: they are
    /// counted, and what they tell about a peer is appended to `errors`.
    pub fn flush<S: UdpSocket>(&mut self, udp: &Udp<S>, errors: &mut PathErrors) -> Flushed {
        self.flush_with(errors, &mut OfSocket(udp))
    }

    /// Counters.
    pub fn stats(&self) -> &SendStats {
        &self.stats
    }

    /// Takes the last `len` bytes of the arena as a run, or as part of the one before: the endpoint
    /// gives runs of packets, and what is cut from a longer one fits the calls better.
    pub(super) fn push(&mut self, destination: SocketAddr, len: usize, segment: usize, may_fragment: bool) {
        let end = self.arena.len();
        let start = end.saturating_sub(len);
        let segment = segment.max(1);
        self.stats.datagrams_sent += len.div_ceil(segment) as u64;
        if let Some(last) = self.runs.last_mut()
            && last.end == start
            && last.destination == destination
            && last.segment == segment
            && (last.end - last.start).is_multiple_of(segment)
            && !(last.may_fragment || may_fragment)
        {
            last.end = end;
            return;
        }
        self.runs.push(Run { destination, start, end, segment, may_fragment });
    }

    #[cfg(test)]
    pub(super) fn append_for_test(&mut self, packet: &[u8]) {
        self.arena.extend_from_slice(packet);
    }

    /// Writes `stamp` into every packet that waits.
    pub(super) fn restamp(&mut self, stamp: [u8; 4], now: Instant) {
        for run in &self.runs[self.next..] {
            for packet in self.arena[run.start..run.end].chunks_mut(run.segment) {
                if let Some(field) = packet.get_mut(TIMESTAMP) {
                    field.copy_from_slice(&stamp);
                }
            }
        }
        self.stamped = now;
        self.stats.restamped += 1;
    }

    /// The same with system calls of the caller's.
    pub(super) fn flush_with(&mut self, errors: &mut PathErrors, calls: &mut impl SystemCalls) -> Flushed {
        loop {
            self.send_singles(calls);
            let Self { arena, runs, next, segments, stats, .. } = self;
            let Some(run) = runs.get_mut(*next) else { return Flushed::All };
            if run.send(arena, segments, stats, errors, calls) == Flushed::Blocked {
                stats.send_blocked += 1;
                return Flushed::Blocked;
            }
            *next += 1;
        }
    }

    /// Sends what comes next as long as it is datagrams by themselves. Stops at an error: sending the datagram
    /// that meets it once more, alone, finds out what it is.
    fn send_singles(&mut self, calls: &mut impl SystemCalls) {
        if singles::MOST == 1 {
            return;
        }
        let Self { arena, runs, next, segments, stats, .. } = self;
        loop {
            let mut singles = Singles::new();
            for run in runs[*next..].iter().take_while(|run| run.is_single(*segments)) {
                let datagrams = arena[run.start..run.end].chunks(run.segment);
                singles.extend(
                    datagrams.take(singles::MOST - singles.len()).map(|data| (run.destination, data)),
                );
                if singles.len() == singles::MOST {
                    break;
                }
            }
            if singles.is_empty() {
                return;
            }
            let Ok(sent) = calls.many(&mut singles) else { return };
            stats.send_calls += 1;
            for _ in 0..sent {
                let run = &mut runs[*next];
                let len = run.segment.min(run.end - run.start);
                run.start += len;
                stats.bytes_sent += len as u64;
                if run.start == run.end {
                    *next += 1;
                }
            }
        }
    }
}

/// The system calls of an outbox.
pub(super) trait SystemCalls {
    /// Sends a transmit that may or may not be fragmented on its way.
    fn one(&mut self, transmit: &quinn_udp::Transmit<'_>, may_fragment: bool) -> io::Result<()>;

    /// Sends several datagrams, where there is a call for that, and gives how many: at least one, from the front.
    fn many(&mut self, _: &mut Singles<'_>) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(test)]
impl<F: FnMut(&quinn_udp::Transmit<'_>, bool) -> io::Result<()>> SystemCalls for F {
    fn one(&mut self, transmit: &quinn_udp::Transmit<'_>, may_fragment: bool) -> io::Result<()> {
        self(transmit, may_fragment)
    }
}

/// Those of a socket.
struct OfSocket<'a, S>(&'a Udp<S>);

impl<S: UdpSocket> OfSocket<'_, S> {
    /// The endpoint only knows peers that the socket reaches: each came in through it or was checked when the
    /// connection was opened.
    fn destination(&self, peer: SocketAddr) -> io::Result<SocketAddr> {
        self.0.destination(peer).ok_or_else(super::unreachable_family)
    }
}

impl<S: UdpSocket> SystemCalls for OfSocket<'_, S> {
    fn one(&mut self, transmit: &quinn_udp::Transmit<'_>, may_fragment: bool) -> io::Result<()> {
        let destination = self.destination(transmit.destination)?;
        self.0.send(&quinn_udp::Transmit { destination, ..transmit.clone() }, may_fragment)
    }

    fn many(&mut self, datagrams: &mut Singles<'_>) -> io::Result<usize> {
        for (peer, _) in datagrams.iter_mut() {
            *peer = self.destination(*peer)?;
        }
        self.0.send_many(datagrams)
    }
}

impl Run {
    /// Whether its packets go out one by one, with `segments` to a call. One that may be fragmented takes a
    /// setting of the socket's, so it goes by itself.
    fn is_single(&self, segments: usize) -> bool {
        !self.may_fragment && (segments == 1 || self.end - self.start <= self.segment)
    }

    /// Sends the run, chunk by chunk. When this gives `All`, what was not sent has been dropped.
    fn send(
        &mut self,
        arena: &[u8],
        segments: &mut usize,
        stats: &mut SendStats,
        errors: &mut PathErrors,
        calls: &mut impl SystemCalls,
    ) -> Flushed {
        let mut single = self.may_fragment;
        let mut refused = false;
        let mut retried = false;
        while self.start < self.end {
            let per_call = if single { 1 } else { (*segments).min(LARGEST_CALL / self.segment).max(1) };
            let len = (per_call * self.segment).min(self.end - self.start);
            let transmit = quinn_udp::Transmit {
                destination: self.destination,
                ecn: None,
                contents: &arena[self.start..self.start + len],
                segment_size: (len > self.segment).then_some(self.segment),
                src_ip: None,
            };
            stats.send_calls += 1;
            let Err(error) = calls.one(&transmit, self.may_fragment) else {
                self.start += len;
                stats.bytes_sent += len as u64;
                stats.send_calls_offloaded += u64::from(len > self.segment);
                retried = false;
                if refused {
                    // One packet passes where the run did not: a device without checksum offload.
                    refused = false;
                    *segments = 1;
                    stats.send_offload_refused += 1;
                }
                continue;
            };
            match Fault::of(&error) {
                Fault::Blocked => return Flushed::Blocked,
                Fault::Interrupted => continue,
                Fault::Offload if len > self.segment => {
                    single = true;
                    refused = true;
                    continue;
                }
                Fault::Earlier if !retried => {
                    retried = true;
                    continue;
                }
                Fault::TooBig => {
                    stats.send_too_big += 1;
                    report(errors, self.destination, PathError::TooBig(None));
                }
                Fault::Unreachable | Fault::Earlier => {
                    stats.send_unreachable += 1;
                    report(errors, self.destination, PathError::Unreachable);
                }
                Fault::Offload | Fault::Dropped => {}
            }
            // What stopped this packet would stop the rest of the run as well.
            stats.datagrams_dropped += (self.end - self.start).div_ceil(self.segment) as u64;
            self.start = self.end;
        }
        Flushed::All
    }
}

/// Each error once for all runs to a peer that follow one another.
fn report(errors: &mut PathErrors, peer: SocketAddr, error: PathError) {
    if errors.last() != Some(&(peer, error)) {
        errors.push((peer, error));
    }
}

/// What an error of a send call is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The socket's buffer is full: nothing was sent, nothing is wrong.
    Blocked,
    /// A signal came.
    Interrupted,
    /// The datagram is larger than the device's MTU.
    TooBig,
    /// No route to the peer.
    Unreachable,
    /// An ICMP message about some earlier datagram, whoever it went to; this one was not sent.
    Earlier,
    /// The device may not be able to cut a run into packets; or the address is no good.
    Offload,
    /// This datagram could not be sent: no buffers, forbidden by a firewall, and everything unheard of.
    /// A shortage of buffers is congestion, and loss is how congestion shows; on some systems the
    /// socket even counts as writable meanwhile, so there is nothing to wait for.
    Dropped,
}

impl Fault {
    pub(super) fn of(error: &io::Error) -> Self {
        if quinn_udp::is_msg_size_err(error) {
            return Self::TooBig;
        }
        #[cfg(unix)]
        if error.raw_os_error() == Some(nix::libc::EIO) {
            return Self::Offload;
        }
        match error.kind() {
            io::ErrorKind::WouldBlock => Self::Blocked,
            io::ErrorKind::Interrupted => Self::Interrupted,
            io::ErrorKind::InvalidInput => Self::Offload,
            io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown => Self::Unreachable,
            io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => Self::Earlier,
            _ => Self::Dropped,
        }
    }
}

/// Bytes collected at most before they are sent (the last run may exceed it): four full send calls,
/// which stay in a core's own cache between being written and being sent.
const ARENA: usize = 256 << 10;

/// Packets asked for at a time: what one call can carry with offload (Linux `UDP_MAX_SEGMENTS`).
const RUN: NonZeroUsize = NonZeroUsize::new(64).unwrap();

/// Bytes of one send call: the largest UDP payload over IPv4, which also bounds a run that the kernel
/// cuts.
const LARGEST_CALL: usize = 65_507;

/// From this age on, timestamps are written anew. Delay-based congestion control looks for
/// milliseconds.
const STALE: Duration = Duration::from_micros(200);

/// Where a packet carries its timestamp (BEP 29).
const TIMESTAMP: std::ops::Range<usize> = 4..8;
