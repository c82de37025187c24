//! How many packets the peer takes: more than deployed peers do only if it has proven it.
//!
//! libutp drops what comes 1024 packets ahead of a gap, libtorrent what comes further than a packet for each 1100
//! bytes of its buffer. As long as nothing is lost neither does harm; after a loss, a larger flight would be dropped
//! from there on. So the peer is asked, once its window is so large that the answer matters: a single packet is
//! sent 1088 ahead of its turn. A peer that reports it while it is still more than 1024 ahead of what was
//! acknowledged had to keep it there, however late it came, and is no libutp. It is then given what libtorrent would
//! take too. Who drops it loses nothing: the packet goes again when its turn comes. Until then all packets before it
//! have the size that was assumed for them.
//!
//! If a peer that has proven it all the same drops a long run of packets, the proof is void (it may give another).

use super::{Connection, Context};
use crate::Config;
use crate::time::Time;
use crate::wire::{SackMask, SeqNr};

/// What is known of one peer.
#[derive(Debug)]
pub(super) struct Ahead {
    /// Packets that may be outstanding.
    pub(super) limit: u16,
    /// From so many on there is something to be thought of: that limit, or a question.
    pub(super) watch: u16,
    proven: bool,
    /// Boxed: few connections ever have one.
    pub(super) early: Option<Box<Early>>,
    /// Questions without the hoped-for answer, and proofs that became void; 2 each, or 1 if losses may have been why.
    failures: u8,
    /// No question before.
    ask_at: Time,
    /// The stream's offset up to which the peer has offered to buffer; see [`Connection::unreported`].
    promised: u64,
    unreported: u64,
}

/// A packet sent ahead of its turn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Early {
    pub(super) seq: SeqNr,
    /// Offset of its first byte.
    start: u64,
    /// Its payload, and that of every packet before it.
    pub(super) len: usize,
    at: Time,
    /// The peer has reported it.
    kept: bool,
    /// What that shows has been counted.
    was_answered: bool,
}

impl Ahead {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            limit: config.max_packets_in_flight,
            watch: config.max_packets_in_flight,
            proven: false,
            early: None,
            failures: 0,
            ask_at: Time(0),
            promised: 0,
            unreported: 0,
        }
    }
}

impl Connection {
    /// Packets that a peer with this window takes, if it has proven that it is no libutp.
    fn limit_if_proven(&self) -> u16 {
        let ring = self.largest_window / BYTES_PER_PACKET;
        let ring = u16::try_from(ring).unwrap_or(u16::MAX).saturating_sub(MARGIN);
        ring.min(self.config.max_packets_proven).max(self.config.max_packets_in_flight)
    }

    /// Whether there is anything to ask.
    fn is_curious(&self) -> bool {
        let ahead = &self.ahead;
        !ahead.proven
            && ahead.early.is_none()
            && ahead.failures < MAX_FAILURES
            && self.config.max_packets_in_flight < LIBUTP - MARGIN
            && self.limit_if_proven() >= DISTANCE
    }

    /// After any change to what is known.
    fn set_watch(&mut self) {
        let limit = self.ahead.limit;
        self.ahead.watch = if self.is_curious() { limit.min(ASK_FROM) } else { limit };
    }

    /// Whether to send a packet ahead of its turn now, and how large.
    #[inline(never)]
    pub(super) fn question(&self, now: Time) -> Option<usize> {
        let mss = self.mss();
        let unsent = (self.out.end() - self.sent) as usize;
        let wanted = self.is_curious()
            && self.outstanding.len() >= usize::from(ASK_FROM)
            && now >= self.ahead.ask_at
            // With a gap open it would be further ahead than it seems.
            && self.recovery.is_none()
            && !self.outstanding.is_torn()
            && unsent >= (usize::from(DISTANCE) + 1) * mss
            && self.fits(mss) == mss;
        wanted.then_some(mss)
    }

    /// It goes out: its number, and the offset of its first byte.
    pub(super) fn ask(&mut self, now: Time, len: usize) -> (SeqNr, u64) {
        let early = Early {
            seq: self.outstanding.next().plus(DISTANCE),
            start: self.sent + u64::from(DISTANCE) * len as u64,
            len,
            at: now,
            kept: false,
            was_answered: false,
        };
        self.ahead.early = Some(Box::new(early));
        self.set_watch();
        (early.seq, early.start)
    }

    /// Looks for the answer in an acknowledgement. `limit` holds up the turn of the packet until it has come.
    pub(super) fn note_answer(&mut self, now: Time, ack_nr: SeqNr, sack: Option<SackMask<'_>>) {
        let (srtt, limit) = (self.rtt.smoothed(), self.limit_if_proven());
        let failure = if self.recovery.is_some() { 1 } else { 2 };
        let ahead = &mut self.ahead;
        let Some(early) = &mut ahead.early else { return };
        let offset = early.seq.distance_from(ack_nr);
        early.kept |= sack.is_some_and(|mask| mask.offsets().any(|reported| reported == offset));
        if early.was_answered {
            return;
        }
        if offset <= LIBUTP {
            // From here on anybody may keep it.
            early.was_answered = true;
            ahead.failures += failure;
            ahead.ask_at = now.plus((RETRY_ROUNDS * srtt) << (ahead.failures / 2));
        } else if early.kept {
            early.was_answered = true;
            ahead.proven = true;
            ahead.limit = limit;
            log!(debug, limit, "the peer keeps what is far ahead");
        }
        self.set_watch();
    }

    /// A new packet has gone: it may be the turn of the one that went ahead, or have been.
    pub(super) fn note_turn(&mut self) {
        let Some(early) = self.ahead.early.as_deref().copied() else { return };
        let next = self.outstanding.next();
        if next == early.seq && early.kept {
            self.sent += early.len as u64;
            self.outstanding.push_kept(early.at, self.sent, early.len);
            self.ahead.early = None;
        } else if next == early.seq.plus(1) {
            self.ahead.early = None;
        }
        self.set_watch();
    }

    /// The peer's window grew beyond what it ever was.
    pub(super) fn raise_packet_limit(&mut self) {
        if self.ahead.proven {
            self.ahead.limit = self.limit_if_proven();
        }
        self.set_watch();
    }

    /// So many packets in a row were lost, while more were outstanding than deployed peers take.
    pub(super) fn note_lost_run(&mut self, cx: &Context<'_>, run: u32) {
        let config_limit = self.config.max_packets_in_flight;
        if run >= VOID_RUN && self.ahead.proven && self.outstanding.len() > usize::from(config_limit) {
            log!(debug, run, "the peer drops what is far ahead");
            let ahead = &mut self.ahead;
            ahead.proven = false;
            ahead.limit = config_limit;
            ahead.unreported = 0;
            ahead.failures += 2;
            ahead.ask_at = cx.now.plus(VOID_PAUSE << (ahead.failures / 2));
            self.set_watch();
        }
    }

    /// While the peer has a gap, its masks report 1024 packets behind that and not what has arrived beyond. Its
    /// window does: it shrinks by what is buffered. Up to offset `promised` the peer has offered to buffer; what
    /// it would offer now, if it had nothing that it did not report, is less by exactly that.
    pub(super) fn note_promise(&mut self) {
        if !self.ahead.proven {
            return;
        }
        let offered = (self.sent + u64::from(self.peer_window)).saturating_sub(self.outstanding.unacked());
        let torn = self.outstanding.has_sacked();
        self.ahead.promised = if torn { self.ahead.promised.max(offered) } else { offered };
        self.ahead.unreported = self.ahead.promised - offered;
    }

    /// Payload bytes that have arrived at the peer although it cannot report them.
    pub(super) fn unreported(&self) -> u64 {
        self.ahead.unreported
    }
}

/// libutp REORDER_BUFFER_MAX_SIZE: keeps what is less than this ahead of the packet that it expects, and so at most
/// this far ahead of the one that it acknowledges.
const LIBUTP: u16 = 1024;

/// How far ahead of its turn the question goes: more by a batch, which the peer may take before it reports.
const DISTANCE: u16 = LIBUTP + 64;

/// libtorrent's ring has a place for so many bytes of its buffer, and ours (one for each KiB) more.
const BYTES_PER_PACKET: u32 = 1_100;

/// Less than the ring by this: packets that the peer does not count as we do (as 950 to 953).
const MARGIN: u16 = 3;

/// Packets in flight from which on a question may be worth it.
const ASK_FROM: u16 = 512;

/// Four questions in vain, or eight if losses may have been why: nobody is asked for ever.
const MAX_FAILURES: u8 = 8;

/// Round trips until the next question; twice as many after each.
const RETRY_ROUNDS: u64 = 4;

/// Packets lost in a row that void a proof: a full queue drops every second one or a burst, a ring that is too
/// small everything.
const VOID_RUN: u32 = 128;

/// Microseconds until the next question after that; twice as many after each.
const VOID_PAUSE: u64 = 1_000_000;

#[cfg(test)]
#[path = "ahead_tests.rs"]
mod tests;
