//! Packets that were sent and are not acknowledged cumulatively, and what can be told about them:
//! delivered, in flight, lost.
//!
//! Every transmission gets a number of its own, as in RFC 9002, and a log keeps them in order of time.
//! A packet is lost when a later transmission was delivered and it is `threshold` transmissions
//! behind that (RFC 9002 6.1.1) or a reordering window older than a round trip (RACK, RFC 8985). A
//! retransmission is just another transmission, so that one lost again is found the same way.

mod losses;

use std::collections::VecDeque;

pub(crate) use losses::Losses;

use crate::time::Time;
use crate::wire::{SackMask, SeqNr};

/// One sequence number in use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    /// Offset in the stream behind its last byte.
    pub(crate) end: u64,
    /// When it was sent last.
    pub(crate) at: Time,
    /// Number of its last transmission...
    tx: u64,
    /// ...and of the one before that, if there was one.
    previous_tx: u64,
    /// Payload bytes. Never changes: nor do the bytes themselves.
    pub(crate) len: u16,
    status: Status,
    /// Times sent, saturating.
    pub(crate) transmissions: u8,
    pub(crate) fin: bool,
    /// Its last transmission was a path-MTU probe.
    probe: bool,
    /// The one before that was: losing it was no loss.
    previous_probe: bool,
    /// Its last transmission may have been fragmented.
    pub(crate) fragmented: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    InFlight,
    /// Reported by a selective acknowledgement.
    Sacked,
    /// Believed lost and not sent again yet.
    Lost,
}

/// What one acknowledgement told.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Acked {
    /// Payload bytes newly delivered, cumulatively or selectively.
    pub(crate) bytes: u64,
    /// Packets newly delivered.
    pub(crate) packets: u32,
    /// Packets acknowledged cumulatively by this, delivered before or not.
    pub(crate) cumulative: u16,
    /// The stream is acknowledged up to here.
    pub(crate) offset: Option<u64>,
    /// When the newest packet delivered was sent.
    pub(crate) newest: Time,
    /// When the newest of those that were sent once was sent: good for a round-trip sample.
    pub(crate) sample: Option<Time>,
    /// Some of the packets delivered had been sent more than once.
    pub(crate) resent: bool,
    /// Our FIN was acknowledged cumulatively.
    pub(crate) fin: bool,
    /// A path-MTU probe was delivered, or several.
    pub(crate) probe: bool,
    /// Payload of a large packet that was delivered, perhaps in fragments; 0: none was.
    pub(crate) fragmented: u16,
    /// Packets that had been taken for lost without reason, or sent again without need; not path-MTU probes, which
    /// [`Losses`] does not count either.
    pub(crate) spurious: u32,
    /// Packets that were sent again without need.
    pub(crate) spurious_resends: u32,
    /// An original arrived that had been sent again: those behind it may have, too.
    pub(crate) premature: bool,
    /// It acknowledges a packet that was never sent.
    pub(crate) forged: bool,
    /// The packet that was held back is reported missing.
    pub(crate) missed: bool,
}

/// What tells to which transmission of a packet an acknowledgement is the answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Evidence {
    pub(crate) now: Time,
    /// Smallest round trip, in microseconds.
    pub(crate) min_rtt: u64,
    /// When the packet left, at the latest, that the peer had received last.
    pub(crate) echo: Option<Time>,
}

impl Evidence {
    /// Whether the answer is not to the last transmission of `packet`, which was sent more than once: it came
    /// sooner than any round trip of late (as Eifel, RFC 3522), and the peer does not tell that it has received what
    /// left then or later. (It may be sooner because a queue has gone. What the peer tells can only deny.)
    fn is_too_soon(&self, packet: &Sent) -> bool {
        self.now.since(packet.at) < self.min_rtt && self.echo.is_none_or(|left| left < packet.at)
    }
}

/// The packets of one connection from the oldest unacknowledged one on.
#[derive(Debug)]
pub(crate) struct Outstanding {
    packets: VecDeque<Sent>,
    /// Sequence number of `packets[0]`, or of the next packet if there is none.
    una: SeqNr,
    /// Transmissions in order of time; entry `i` has number `log_base + i`. An entry is stale if its
    /// packet is gone, delivered, lost or was sent again.
    log: VecDeque<SeqNr>,
    log_base: u64,
    /// Lost packets in the order in which they will be sent again; stale entries possible.
    lost: VecDeque<SeqNr>,
    in_flight: u64,
    /// Payload bytes neither acknowledged cumulatively nor selectively: what the peer may still have to
    /// buffer.
    unacked: u64,
    sacked: u32,
    /// Transmissions of packets larger than any path must take, since one of those was delivered.
    large_in_doubt: u32,
    /// A large packet was delivered whole.
    large_proven: bool,
    /// Latest transmission known to have been delivered.
    delivered: Option<u64>,
    /// Has its number and was not sent, until the peer reports it missing (see `honesty.rs`).
    held: Option<SeqNr>,
    /// How far behind the oldest missing packet the peer's masks are known to reach, in packets: silence
    /// about what lies further means nothing.
    mask_reach: u16,
    /// Transmissions before this one are not what [`oldest_overtaken`](Self::oldest_overtaken) looks for.
    scanned: u64,
    /// Transmissions that may overtake one that is not lost.
    threshold: u64,
    /// Reordering window in quarters of the smallest round trip.
    window_quarters: u64,
    /// Packets found lost one after the other: behind the last of them, and how many.
    lost_run: (SeqNr, u32),
}

impl Outstanding {
    /// `next`: sequence number of the first packet to be sent.
    pub(crate) fn new(next: SeqNr) -> Self {
        Self {
            packets: VecDeque::new(),
            una: next,
            log: VecDeque::new(),
            log_base: 0,
            lost: VecDeque::new(),
            in_flight: 0,
            unacked: 0,
            sacked: 0,
            large_in_doubt: 0,
            large_proven: false,
            delivered: None,
            held: None,
            mask_reach: 8 * LEAST_MASK,
            scanned: 0,
            threshold: PACKET_THRESHOLD,
            window_quarters: 1,
            lost_run: (next, 0),
        }
    }

    /// Oldest sequence number that is not acknowledged.
    pub(crate) fn una(&self) -> SeqNr {
        self.una
    }

    /// Sequence number of the next new packet.
    pub(crate) fn next(&self) -> SeqNr {
        self.una.plus(self.packets.len() as u16)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Sequence numbers in use.
    pub(crate) fn len(&self) -> usize {
        self.packets.len()
    }

    /// Payload bytes in the network, as far as we know.
    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// Payload bytes that the peer may still have to buffer.
    pub(crate) fn unacked(&self) -> u64 {
        self.unacked
    }

    pub(crate) fn get(&self, seq: SeqNr) -> Option<&Sent> {
        self.packets.get(usize::from(seq.distance_from(self.una)))
    }

    fn get_mut(&mut self, seq: SeqNr) -> Option<&mut Sent> {
        self.packets.get_mut(usize::from(seq.distance_from(self.una)))
    }

    /// Whether a packet that was sent has arrived.
    pub(crate) fn is_delivered(&self, seq: SeqNr) -> bool {
        self.get(seq).is_none_or(|packet| packet.status == Status::Sacked)
    }

    /// Whether it is taken for lost and was not sent again yet.
    pub(crate) fn is_lost(&self, seq: SeqNr) -> bool {
        self.get(seq).is_some_and(|packet| packet.status == Status::Lost)
    }

    /// Records a new packet of `len` bytes that ends at offset `end` of the stream.
    pub(crate) fn push(&mut self, now: Time, end: u64, len: usize, fin: bool, probe: bool) -> SeqNr {
        let seq = self.next();
        let tx = self.log_transmission(seq);
        let len = len as u16;
        self.packets.push_back(Sent {
            end,
            at: now,
            tx,
            previous_tx: tx,
            len,
            status: Status::InFlight,
            transmissions: 1,
            fin,
            probe,
            previous_probe: false,
            fragmented: false,
        });
        self.large_in_doubt += u32::from(usize::from(len) > ALWAYS_PASSES);
        self.in_flight += u64::from(len);
        self.unacked += u64::from(len);
        seq
    }

    /// Records the next packet, which went out before its turn and which the peer has reported since.
    pub(crate) fn push_kept(&mut self, at: Time, end: u64, len: usize) {
        let seq = self.push(at, end, len, false, false);
        self.in_flight -= len as u64;
        self.unacked -= len as u64;
        self.sacked += 1;
        if let Some(packet) = self.get_mut(seq) {
            packet.status = Status::Sacked;
        }
    }

    /// Whether the peer has reported packets behind a gap.
    pub(crate) fn has_sacked(&self) -> bool {
        self.sacked > 0
    }

    /// Whether it has, or packets are known to be lost.
    pub(crate) fn is_torn(&self) -> bool {
        self.sacked > 0 || !self.lost.is_empty()
    }

    /// Gives a packet its number without sending it.
    pub(crate) fn hold(&mut self, now: Time, end: u64, len: usize) {
        let seq = self.next();
        let len = len as u16;
        self.packets.push_back(Sent {
            end,
            at: now,
            tx: 0,
            previous_tx: 0,
            len,
            status: Status::Lost,
            transmissions: 0,
            fin: false,
            probe: false,
            previous_probe: false,
            fragmented: false,
        });
        self.unacked += u64::from(len);
        self.held = Some(seq);
    }

    /// The packet that is held back.
    pub(crate) fn held(&self) -> Option<SeqNr> {
        self.held
    }

    /// The packet that was held back is to be sent first of all; whether there was one.
    pub(crate) fn release(&mut self) -> bool {
        let Some(seq) = self.held.take() else { return false };
        self.lost.push_front(seq);
        true
    }

    /// Whether the peer has something that was sent after the packet held back, and not that.
    fn is_held_missed(&self) -> bool {
        let Some(held) = self.held else { return false };
        let held = usize::from(held.distance_from(self.una));
        self.packets.iter().skip(held).any(|packet| packet.status == Status::Sacked)
    }

    /// Records that a packet went out again; `fragmented`: perhaps in fragments.
    pub(crate) fn resend(&mut self, now: Time, seq: SeqNr, fragmented: bool) {
        let tx = self.log_transmission(seq);
        if self.held == Some(seq) {
            self.held = None;
        }
        let Some(packet) = self.get_mut(seq) else { return };
        packet.at = now;
        packet.previous_tx = std::mem::replace(&mut packet.tx, tx);
        packet.previous_probe = std::mem::take(&mut packet.probe);
        packet.fragmented = fragmented;
        packet.transmissions = packet.transmissions.saturating_add(1);
        let large = usize::from(packet.len) > ALWAYS_PASSES && !fragmented;
        if packet.status == Status::Lost {
            packet.status = Status::InFlight;
            self.in_flight += u64::from(self.get(seq).map_or(0, |p| p.len));
        }
        self.large_in_doubt = self.large_in_doubt.saturating_add(u32::from(large));
        while let Some(&first) = self.lost.front() {
            if self.get(first).is_some_and(|p| p.status == Status::Lost) {
                break;
            }
            self.lost.pop_front();
        }
        self.trim();
    }

    /// The lost packet to be sent again first.
    pub(crate) fn first_lost(&self) -> Option<SeqNr> {
        if self.lost.is_empty() {
            return None; // as almost always
        }
        self.lost.iter().copied().find(|&seq| self.get(seq).is_some_and(|p| p.status == Status::Lost))
    }

    /// The oldest packet that is not known to have arrived: what a tail-loss probe repeats.
    pub(crate) fn oldest_missing(&self) -> Option<SeqNr> {
        let i = self.packets.iter().position(|p| p.status != Status::Sacked)?;
        Some(self.una.plus(i as u16))
    }

    /// The packet that was transmitted last, if it is not acknowledged.
    pub(crate) fn sent_last(&self) -> Option<SeqNr> {
        self.log.back().copied()
    }

    fn log_transmission(&mut self, seq: SeqNr) -> u64 {
        self.log.push_back(seq);
        self.log_base + self.log.len() as u64 - 1
    }

    /// Processes an acknowledgement that was found acceptable: `cumulative` packets from the oldest
    /// on, and what the mask reports.
    pub(crate) fn acknowledge(
        &mut self,
        evidence: &Evidence,
        cumulative: u16,
        sack: Option<SackMask<'_>>,
    ) -> Acked {
        let mut acked = Acked { cumulative, ..Acked::default() };
        let delivered_before = self.delivered;
        for _ in 0..cumulative {
            let Some(packet) = self.packets.pop_front() else { break };
            if packet.status == Status::Sacked {
                self.sacked -= 1;
            } else {
                self.deliver(evidence, &packet, delivered_before, &mut acked);
            }
            acked.offset = Some(packet.end);
            acked.fin |= packet.fin;
            self.una = self.una.plus(1);
        }
        if cumulative > 0 {
            self.scanned = 0;
        }
        if let Some(mask) = sack {
            let reach = 8 * (mask.0.len() as u16).max(LEAST_MASK);
            if reach > self.mask_reach {
                self.mask_reach = reach;
                self.scanned = 0;
            }
            // Offset 2 is the packet behind the oldest one missing.
            for offset in mask.offsets() {
                let index = usize::from(offset) - 1;
                let Some(packet) = self.packets.get(index).copied() else { break };
                if packet.status != Status::Sacked {
                    self.deliver(evidence, &packet, delivered_before, &mut acked);
                    if let Some(packet) = self.packets.get_mut(index) {
                        packet.status = Status::Sacked;
                        self.sacked += 1;
                    }
                }
            }
        }
        if self.held.is_some() && self.is_held_missed() {
            acked.missed = self.release();
        }
        self.trim();
        acked
    }

    /// Accounts for a packet that is now known to have arrived.
    fn deliver(
        &mut self,
        evidence: &Evidence,
        packet: &Sent,
        delivered_before: Option<u64>,
        acked: &mut Acked,
    ) {
        let len = u64::from(packet.len);
        self.unacked -= len;
        acked.bytes += len;
        acked.packets += 1;
        let resent = packet.transmissions > 1;
        let too_soon = resent && evidence.is_too_soon(packet);
        acked.premature |= too_soon && self.is_original(evidence, packet);
        match packet.status {
            Status::InFlight => {
                self.in_flight -= len;
                acked.spurious += u32::from(too_soon && !packet.previous_probe);
                acked.spurious_resends += u32::from(too_soon);
            }
            Status::Lost => acked.spurious += u32::from(!packet.probe),
            Status::Sacked => {}
        }
        acked.probe |= packet.probe;
        acked.newest = acked.newest.max(packet.at);
        acked.forged |= packet.transmissions == 0;
        acked.resent |= resent;
        if usize::from(packet.len) > ALWAYS_PASSES {
            // Nor is it the answer to fragments if the peer tells that what it has received last left before them.
            let earlier = evidence.echo.is_some_and(|left| left < packet.at);
            let whole = !packet.fragmented || too_soon || (resent && earlier);
            self.large_in_doubt = if whole { 0 } else { self.large_in_doubt };
            self.large_proven |= whole;
            acked.fragmented = if whole { acked.fragmented } else { packet.len };
        }
        if !resent {
            acked.sample = acked.sample.max(Some(packet.at));
        }
        if !resent || too_soon {
            let arrived = if too_soon { packet.previous_tx } else { packet.tx };
            // It arrived after transmissions that left later: the path reorders so far at least.
            if let Some(distance) = delivered_before.and_then(|d| d.checked_sub(arrived)) {
                self.threshold = self.threshold.max(distance + 1).min(MAX_THRESHOLD);
                if packet.status == Status::Lost || too_soon {
                    self.window_quarters = (self.window_quarters + 1).min(MAX_WINDOW_QUARTERS);
                }
            }
        }
        if !too_soon {
            self.delivered = self.delivered.max(Some(packet.tx));
        }
    }

    /// Whether of a packet that was sent more than once, and not arrived by the last transmission, the first one
    /// arrived: there is no other, or what the peer has received last left before anything was sent again.
    fn is_original(&self, evidence: &Evidence, packet: &Sent) -> bool {
        let newest = self.packets.back().filter(|newest| newest.transmissions == 1);
        packet.transmissions == 2 || evidence.echo.zip(newest).is_some_and(|(left, newest)| left <= newest.at)
    }

    /// The packet of a log entry, if that was its last transmission and it is still in flight.
    fn live(&self, seq: SeqNr, tx: u64) -> Option<&Sent> {
        self.get(seq).filter(|p| p.tx == tx && p.status == Status::InFlight)
    }

    /// Drops stale log entries from the front.
    fn trim(&mut self) {
        while let Some(&seq) = self.log.front() {
            if self.live(seq, self.log_base).is_some() {
                break;
            }
            self.log.pop_front();
            self.log_base += 1;
        }
        if self.packets.is_empty() {
            self.lost.clear();
        }
    }

    /// Whether the lists keep memory.
    pub(crate) fn holds_memory(&self) -> bool {
        self.packets.capacity() > 0
    }

    /// Frees what empty lists keep for the next packets.
    pub(crate) fn shrink(&mut self) {
        if self.packets.is_empty() {
            self.packets = VecDeque::new();
            self.log = VecDeque::new();
            self.lost = VecDeque::new();
        }
    }

    /// Payload bytes of the oldest packet.
    pub(crate) fn oldest_len(&self) -> usize {
        self.packets.front().map_or(0, |p| usize::from(p.len))
    }

    /// Whether a large packet has ever arrived in one piece.
    pub(crate) fn is_large_proven(&self) -> bool {
        self.large_proven
    }

    /// Large packets that are missing, up to a few, if nothing else has arrived.
    pub(crate) fn large_missing(&self) -> usize {
        let large = |p: &&Sent| usize::from(p.len) > ALWAYS_PASSES && !p.fragmented;
        if self.sacked > 0 { 0 } else { self.packets.iter().take(FEW).filter(large).count() }
    }

    /// What is in flight in one piece with more payload than this was too large: losing it is no more than losing a
    /// probe.
    pub(crate) fn blame_size(&mut self, passes: usize) {
        for packet in &mut self.packets {
            let in_one_piece = packet.status == Status::InFlight && !packet.fragmented;
            packet.probe |= in_one_piece && usize::from(packet.len) > passes;
        }
    }

    /// How many large packets went out in one piece since one arrived.
    pub(crate) fn large_in_doubt(&self) -> u32 {
        self.large_in_doubt
    }
}

/// Bytes of the shortest mask that peers send who send any at all (BEP 29; libutp and nim-eth always).
const LEAST_MASK: u16 = 4;

/// RFC 9002 6.1.1 kPacketThreshold; libutp, libtorrent: 3.
const PACKET_THRESHOLD: u64 = 3;

/// How far a reordering path may raise it: then only time tells.
const MAX_THRESHOLD: u64 = 1_000;

/// RACK-TLP 6.2: the window grows by quarters of the smallest round trip, up to the smoothed one.
const MAX_WINDOW_QUARTERS: u64 = 20;

/// Packets looked at to tell whether large ones pass.
const FEW: usize = 16;

/// Payload that fits any path: 508 bytes of UDP payload less the header (see `mtu.rs`).
pub(super) const ALWAYS_PASSES: usize = 488;

#[cfg(test)]
#[path = "outstanding_tests.rs"]
mod tests;
