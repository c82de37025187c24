//! Which packets are lost: overtaken by later transmissions for too long, repeated by nobody, or all of them when a
//! time-out says so; and what is taken back.

use super::{Outstanding, Sent, Status};
use crate::rtt::Rtt;
use crate::time::Time;
use crate::wire::SeqNr;

/// What loss detection found.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Losses {
    /// Payload bytes lost, probes not counted.
    pub(crate) bytes: u64,
    /// Packets lost, probes not counted.
    pub(crate) packets: u32,
    /// When the newest of them was sent.
    pub(crate) newest: Time,
    /// Path-MTU probes lost.
    pub(crate) probes: u32,
    /// The longest run of numbers one after the other among them.
    pub(crate) run: u32,
}

impl Outstanding {
    /// Marks what must be lost, given what was delivered.
    pub(crate) fn detect_losses(&mut self, now: Time, rtt: &Rtt) -> Losses {
        let mut losses = Losses::default();
        let timeout = self.reorder_timeout(rtt);
        self.scan();
        while let Some((tx, seq, at)) = self.oldest_overtaken() {
            let behind = self.delivered.is_some_and(|delivered| delivered - tx >= self.threshold);
            if !behind && now.since(at) < timeout {
                break;
            }
            self.mark_lost(seq, &mut losses);
            self.scanned = tx + 1;
            let run = if self.lost_run.0 == seq { self.lost_run.1 + 1 } else { 1 };
            self.lost_run = (seq.plus(1), run);
            losses.run = losses.run.max(run);
            self.trim();
        }
        self.untold_lost(now, rtt.plain_rto(), &mut losses);
        losses
    }

    /// When [`detect_losses`](Self::detect_losses) will find the next loss by age alone.
    pub(crate) fn loss_deadline(&self, rtt: &Rtt) -> Option<Time> {
        let told = self.oldest_overtaken().map(|(_, _, at)| at.plus(self.reorder_timeout(rtt)));
        let untold = self.untold().map(|(_, packet)| packet.at.plus(rtt.plain_rto()));
        told.into_iter().chain(untold).min()
    }

    /// The oldest transmission in flight that a later one has overtaken, as far as the peer could tell:
    /// its number, its packet and its time. Usually the first of the log.
    fn oldest_overtaken(&self) -> Option<(u64, SeqNr, Time)> {
        let delivered = self.delivered?;
        let from = self.scanned.max(self.log_base);
        let first = (from - self.log_base) as usize;
        (from..delivered).zip(self.log.range(first.min(self.log.len())..)).find_map(|(tx, &seq)| {
            let packet = self.live(seq, tx)?;
            (seq.distance_from(self.una) <= self.mask_reach).then_some((tx, seq, packet.at))
        })
    }

    /// A packet in flight and overtaken that the peer's masks cannot tell of, so that only a long time speaks against it:
    /// the oldest transmission of all, or, if the masks can tell of that, the first one beyond them.
    fn untold(&self) -> Option<(SeqNr, &Sent)> {
        let beyond = self.mask_reach + 1;
        let oldest = self.log.front().and_then(|&seq| Some((seq, self.live(seq, self.log_base)?)));
        let first = self.packets.get(usize::from(beyond)).map(|packet| (self.una.plus(beyond), packet));
        let overtaken = |packet: &Sent| self.delivered.is_some_and(|delivered| packet.tx < delivered);
        oldest
            .filter(|(seq, _)| seq.distance_from(self.una) >= beyond)
            .or(first)
            .filter(|(_, packet)| packet.status == Status::InFlight && overtaken(packet))
    }

    /// What is so old is not in the network any more: counted as in flight, it would hold up the repair of what is
    /// known to be lost.
    fn untold_lost(&mut self, now: Time, timeout: u64, losses: &mut Losses) {
        while let Some((seq, packet)) = self.untold()
            && now.since(packet.at) >= timeout
        {
            self.mark_lost(seq, losses);
            self.trim();
        }
    }

    /// Looks for it once for all: a flight of thousands may lie beyond the peer's masks, before a few packets that
    /// were sent again. What is passed over stays that until the oldest packet or the masks change.
    fn scan(&mut self) {
        let Some(delivered) = self.delivered else { return };
        self.scanned = match self.oldest_overtaken() {
            Some((tx, ..)) => tx,
            None => delivered.max(self.scanned),
        };
    }

    /// RACK: a round trip and the reordering window.
    fn reorder_timeout(&self, rtt: &Rtt) -> u64 {
        let window = (rtt.min() * self.window_quarters / 4).min(rtt.smoothed()).max(MIN_REORDER_WINDOW);
        rtt.current() + window
    }

    pub(super) fn mark_lost(&mut self, seq: SeqNr, losses: &mut Losses) {
        let Some(packet) = self.get_mut(seq) else { return };
        packet.status = Status::Lost;
        let packet = *packet;
        self.in_flight -= u64::from(packet.len);
        self.lost.push_back(seq);
        if packet.probe {
            losses.probes += 1;
        } else {
            losses.bytes += u64::from(packet.len);
            losses.packets += 1;
            losses.newest = losses.newest.max(packet.at);
        }
    }

    /// A peer that has sent no mask so far repeats its acknowledgement: its oldest missing packet is lost, and
    /// nothing is known about those behind it.
    pub(crate) fn oldest_lost(&mut self) -> Losses {
        let mut losses = Losses::default();
        self.mask_reach = 0;
        if self.packets.front().is_some_and(|p| p.status == Status::InFlight) {
            self.mark_lost(self.una, &mut losses);
            self.trim();
        }
        losses
    }

    /// The same if it moves its acknowledgement to the next gap: what was sent later than the oldest missing
    /// packet arrived. (What was sent again in order after a time-out is answered in order, and none is lost.)
    pub(crate) fn oldest_lost_if_overtaken(&mut self) -> Losses {
        let overtaken = self.packets.front().is_some_and(|p| self.delivered.is_some_and(|d| p.tx < d));
        if overtaken { self.oldest_lost() } else { Losses::default() }
    }

    /// Time-out: everything in flight is taken for lost. A peer that reported a packet and then does
    /// not move past it has dropped it again: what it reported is not believed any more (RFC 2018 8).
    pub(crate) fn all_lost(&mut self) -> Losses {
        let mut losses = Losses::default();
        let reneged = self.packets.front().is_some_and(|p| p.status == Status::Sacked);
        self.lost.clear();
        self.held = None; // it goes with the others
        for index in 0..self.packets.len() {
            let seq = self.una.plus(index as u16);
            let Some(packet) = self.packets.get_mut(index) else { break };
            match packet.status {
                Status::InFlight => self.mark_lost(seq, &mut losses),
                Status::Lost => self.lost.push_back(seq),
                Status::Sacked if reneged => {
                    packet.status = Status::InFlight;
                    let len = u64::from(packet.len);
                    self.sacked -= 1;
                    self.unacked += len;
                    self.in_flight += len;
                    self.mark_lost(seq, &mut losses);
                }
                Status::Sacked => {}
            }
        }
        self.trim();
        losses
    }

    /// The time-out was premature: what was taken for lost and not sent again is in flight after all. Gives
    /// how many packets those are, probes not counted.
    pub(crate) fn none_lost(&mut self) -> u32 {
        let mut restored = 0;
        let lost = std::mem::take(&mut self.lost);
        for &seq in &lost {
            let next_tx = self.log_base + self.log.len() as u64;
            let Some(packet) = self.get_mut(seq) else { continue };
            if packet.transmissions == 0 {
                self.lost.push_back(seq);
            } else if packet.status == Status::Lost {
                packet.status = Status::InFlight;
                packet.tx = next_tx;
                let (len, counted) = (u64::from(packet.len), u32::from(!packet.probe));
                self.in_flight += len;
                self.log.push_back(seq);
                restored += counted;
            }
        }
        restored
    }
}

/// Microseconds; RFC 9002 kGranularity.
const MIN_REORDER_WINDOW: u64 = 1_000;
