//! What a packet of the peer does to the connection.
//!
//! Nothing a packet says counts before its numbers fit: `ack_nr` names something that was sent, `seq_nr`
//! something that may come. A packet that fails either changes nothing but a counter (BEP 29 has no
//! authentication; numbers that fit are all that a blind attacker has to guess).

use super::outstanding::{Acked, Evidence, Losses};
use super::{Connection, Context, Pending, Phase, Prr, Recovery, Sending};
use crate::CloseReason;
use crate::buffer::{Arrival, ReceiveBuffer};
use crate::congestion::{Ack, Loss};
use crate::time::Time;
use crate::wire::{HEADER_LEN, Header, NO_SAMPLE, Packet, PacketType, SackMask, SeqNr};

impl Connection {
    /// Takes a packet that the endpoint matched to this connection; `size` is that of the datagram.
    /// Returns whether it was acceptable.
    pub(crate) fn handle_packet(&mut self, cx: &mut Context<'_>, packet: &Packet<'_>, size: usize) -> bool {
        let accepted = match (self.state.phase(), packet.header.kind) {
            (Phase::Closed(_), _) => false,
            (Phase::SynSent, _) => self.handle_while_opening(cx, packet),
            (_, PacketType::Reset) => self.handle_reset(cx, &packet.header),
            (Phase::SynReceived, PacketType::Syn) => {
                self.timers.syn_at = cx.now;
                true
            }
            (_, PacketType::Syn) => false,
            _ => self.handle_established(cx, packet),
        };
        if accepted {
            self.stats.packets_received += 1;
            self.stats.wire_bytes_received += size as u64;
        } else {
            self.stats.invalid_packets += 1;
        }
        accepted
    }

    /// Our SYN is out: only a STATE completes the opening, for only it tells the peer's number.
    fn handle_while_opening(&mut self, cx: &mut Context<'_>, packet: &Packet<'_>) -> bool {
        let header = &packet.header;
        if header.ack_nr != self.outstanding.una().minus(1) {
            return false;
        }
        match header.kind {
            // Numbered beyond what the peer has sent before, it is no SYN-ACK: the stream begins further down.
            PacketType::State if !self.early.is_some_and(|early| is_behind(early, header.seq_nr)) => {
                self.opened(cx, header)
            }
            PacketType::Reset => {
                self.close_with(cx, CloseReason::Refused);
                true
            }
            // The peer speaks already, its SYN-ACK was lost or overtaken. What it says cannot be placed
            // and will be repeated; ask for the SYN-ACK.
            PacketType::Data | PacketType::Fin | PacketType::State => {
                // (A STATE that comes here lies beyond it.)
                if self.early.is_none_or(|early| is_behind(header.seq_nr, early)) {
                    self.early = Some(header.seq_nr);
                }
                if cx.now.since(self.timers.packet_sent) >= HURRIED_SYN && self.timers.syns < MAX_HURRIED_SYNS
                {
                    self.timers.syn_at = cx.now;
                }
                true
            }
            PacketType::Syn => false,
        }
    }

    /// The window in a SYN: libtorrent and librqbit-utp always say 0 there, others what they have.
    pub(crate) fn hint_window(&mut self, window: u32) {
        if window > 0 {
            self.peer_window = self.peer_window.min(window);
        }
    }

    fn opened(&mut self, cx: &mut Context<'_>, header: &Header) -> bool {
        self.state.establish();
        // The SYN-ACK's number is not consumed: the peer's first DATA has it too.
        let given_up = self.incoming.is_discarding();
        self.incoming = ReceiveBuffer::new(header.seq_nr, self.capacity(), self.incoming.reorder_window());
        if given_up {
            self.incoming.discard(cx.pools);
        }
        if self.timers.syns == 1 {
            self.rtt.sample(cx.now, cx.now.since(self.timers.packet_sent));
            self.update_pacing(cx.now);
        }
        if header.wnd_size > 0 {
            self.peer_window = header.wnd_size;
            self.largest_window = header.wnd_size;
            self.raise_packet_limit();
        }
        self.note_timestamps(cx, header);
        self.timers.received = cx.now;
        self.timers.progress = cx.now;
        // libutp's acceptors wait for DATA, others for any packet, before they believe in us.
        self.acks.on_urgent();
        self.timers.confirm_at = Some(cx.now.plus(CONFIRM_INTERVAL));
        self.event(Pending::CONNECTED);
        log!(debug, remote = %self.remote, "connected");
        true
    }

    fn handle_reset(&mut self, cx: &mut Context<'_>, header: &Header) -> bool {
        // libutp answers an unknown packet with that packet's seq_nr as ack_nr; others give their own
        // last acknowledgement.
        let oldest = self.outstanding.una().minus(1 + MIN_RESET_REACH);
        let reach = self.outstanding.len() as u16 + 1 + MIN_RESET_REACH;
        if header.ack_nr.distance_from(oldest) > reach {
            return false;
        }
        // In a long flight many numbers would do. What was sent last is answered too, if anything is; somebody who
        // can only guess does not know it. Ask (as RFC 5961 3.2): who has forgotten us answers with the number of what asks.
        let is_under_way =
            header.ack_nr.distance_from(self.outstanding.una()) < self.outstanding.len() as u16;
        if is_under_way && self.outstanding.sent_last() != Some(header.ack_nr) {
            if self.reset_in_doubt == 0 {
                self.reset_in_doubt = 1;
                self.acks.on_urgent();
            }
            return false;
        }
        // Deployed peers drop their state as soon as their own FIN is acknowledged, and answer what is
        // still on its way with a RESET. If all that we sent has arrived, that is a clean end.
        let only_fin_open = match self.state.sending() {
            Sending::FinAcked => true,
            Sending::FinSent(fin) => self.outstanding.una() == fin,
            Sending::Open | Sending::Finishing => false,
        };
        if only_fin_open {
            self.state.fin_acked();
            self.acked = self.sent;
        }
        self.close_with(cx, if only_fin_open { CloseReason::Finished } else { CloseReason::Reset });
        true
    }

    /// Whether a RESET came that may be forged, and nothing that would contradict it.
    pub(crate) fn is_reset_in_doubt(&self) -> bool {
        self.reset_in_doubt > 0
    }

    fn handle_established(&mut self, cx: &mut Context<'_>, packet: &Packet<'_>) -> bool {
        let header = &packet.header;
        let Some(acks) = self.check_ack(header.ack_nr) else { return false };
        match self.check_seq(header) {
            Place::Impossible => return false,
            Place::TooFar => {
                self.stats.overflow_packets += 1;
                self.acks.on_urgent();
                return true;
            }
            Place::Fits => {}
        }
        if self.state.phase() == Phase::SynReceived {
            self.state.establish();
        }
        self.note_timestamps(cx, header);
        self.timers.received = cx.now;
        self.reset_in_doubt = 0;
        self.note_signs(cx, header, acks);
        if let AckPlace::New(cumulative) = acks {
            let repeat = header.kind == PacketType::State && self.peer_window == header.wnd_size;
            if cumulative > 0 || !self.is_overtaken(header) {
                self.set_peer_window(cx, header);
            }
            self.handle_ack(cx, header, cumulative, packet.sack, repeat);
        }
        if self.state.is_closed() {
            return true;
        }
        match header.kind {
            PacketType::Data | PacketType::Fin => self.handle_stream(cx, packet),
            _ => self.note_fin_numbering(header.seq_nr),
        }
        true
    }

    /// Whether a packet was sent before the one that told the peer's window: what it says of that is old, and
    /// may be more than there is by now.
    fn is_overtaken(&self, header: &Header) -> bool {
        let known = header.timestamp.0 != 0 && self.window_told.0 != 0;
        known && header.timestamp.since(self.window_told) >= 1 << 31
    }

    /// Where an `ack_nr` stands relative to what was sent.
    fn check_ack(&self, ack_nr: SeqNr) -> Option<AckPlace> {
        let last = self.outstanding.una().minus(1);
        let forward = ack_nr.distance_from(last);
        if usize::from(forward) <= self.outstanding.len() {
            return Some(AckPlace::New(forward));
        }
        let back = last.distance_from(ack_nr);
        (back <= self.reach.saturating_add(MIN_RESET_REACH)).then_some(AckPlace::Old(back))
    }

    /// Whether a `seq_nr` can belong to the peer's stream here and now. A STATE carries the number of
    /// the packet to come, so any number within the window is as good (and after a FIN, peers differ).
    fn check_seq(&self, header: &Header) -> Place {
        let window = self.incoming.reorder_window();
        let ahead = header.seq_nr.distance_from(self.incoming.next());
        let behind = self.incoming.next().distance_from(header.seq_nr);
        if ahead <= window || behind <= window.max(MIN_HISTORY) {
            return Place::Fits;
        }
        match header.kind {
            PacketType::Data | PacketType::Fin if ahead <= window.saturating_mul(2) => Place::TooFar,
            _ => Place::Impossible,
        }
    }

    fn note_timestamps(&mut self, cx: &Context<'_>, header: &Header) {
        if header.timestamp.0 != 0 {
            self.reply_micro = cx.clock.wire(cx.now).since(header.timestamp);
        }
    }

    /// Keep-alives want an answer, a repeated SYN-ACK wants our first acknowledgement.
    fn note_signs(&mut self, cx: &Context<'_>, header: &Header, acks: AckPlace) {
        let idle = self.outstanding.is_empty() && header.kind == PacketType::State;
        let keep_alive = idle && matches!(acks, AckPlace::Old(1));
        if keep_alive && cx.now.since(self.timers.packet_sent) >= KEEP_ALIVE_ANSWER {
            self.acks.on_urgent();
        }
        let repeated_syn_ack = self.timers.confirm_at.is_some()
            && header.kind == PacketType::State
            && header.seq_nr == self.incoming.next()
            && acks == AckPlace::New(0)
            && self.acked == 0;
        if repeated_syn_ack {
            self.acks.on_urgent();
        } else {
            self.timers.confirm_at = None;
        }
    }

    /// Learns whether the peer counts its FIN in its later packets: only then their number is beyond it.
    fn note_fin_numbering(&mut self, seq: SeqNr) {
        if self.incoming.fin().is_some_and(|fin| seq == fin.plus(1)) {
            self.peer_counts_fin = true;
        }
    }

    fn handle_ack(
        &mut self,
        cx: &mut Context<'_>,
        header: &Header,
        cumulative: u16,
        sack: Option<SackMask<'_>>,
        repeat: bool,
    ) {
        self.peer_sacks |= sack.is_some_and(|mask| !mask.is_empty());
        if self.ahead.early.is_some() {
            self.note_answer(cx.now, header.ack_nr, sack);
        }
        if self.outstanding.is_empty() {
            return;
        }
        let flight_before = self.outstanding.in_flight();
        let evidence = Evidence { now: cx.now, min_rtt: self.rtt.min(), echo: self.echo(cx, header) };
        let acked = self.outstanding.acknowledge(&evidence, cumulative, sack);
        if acked.forged {
            log!(debug, remote = %self.remote, "acknowledges what was not sent");
            return self.close_with(cx, CloseReason::Violation);
        }
        if acked.missed {
            self.note_honesty();
        }
        if acked.packets > 0 || cumulative > 0 {
            self.note_delivery(cx, header, &acked, &evidence, flight_before);
        }
        let mut losses = self.outstanding.detect_losses(cx.now, &self.rtt);
        if losses.packets == 0 && losses.probes == 0 {
            losses = self.infer_without_sack(&acked, sack, repeat);
        }
        self.note_losses(cx, &losses, (flight_before, acked.bytes), 0);
        self.note_promise();
        if acked.fin {
            self.state.fin_acked();
            self.event(Pending::ACKED);
            self.start_linger(cx.now);
            self.check_finished(cx);
        }
        self.update_pacing(cx.now);
    }

    /// When that packet of ours left, at the latest, that the peer had received last when it sent this: its clock
    /// then, less what it measured, is our timestamp, and how long it held the answer back. `None` if the peer
    /// does not tell, or what it tells cannot be.
    fn echo(&self, cx: &Context<'_>, header: &Header) -> Option<Time> {
        let (difference, theirs) = (header.timestamp_difference, header.timestamp.0);
        if difference == 0 || difference == NO_SAMPLE || theirs == 0 {
            return None;
        }
        let age = u64::from(cx.clock.wire(cx.now).0.wrapping_sub(theirs.wrapping_sub(difference)));
        (1..OLDEST_ECHO).contains(&age).then(|| Time(cx.now.0.saturating_sub(age)))
    }

    /// Peers that send no masks show a loss by repeating their acknowledgement (RFC 5681 3.2), and the
    /// next one by a partial acknowledgement of the recovery (RFC 6582).
    fn infer_without_sack(&mut self, acked: &Acked, sack: Option<SackMask<'_>>, repeat: bool) -> Losses {
        if sack.is_some() || self.peer_sacks {
            self.duplicate_acks = 0;
            return Losses::default();
        }
        if acked.cumulative > 0 {
            self.duplicate_acks = 0;
            let recovers = self.recovery.is_some();
            return if recovers { self.outstanding.oldest_lost_if_overtaken() } else { Losses::default() };
        }
        if !repeat {
            return Losses::default();
        }
        self.duplicate_acks = self.duplicate_acks.saturating_add(1);
        let is_held = self.outstanding.held() == Some(self.outstanding.una());
        if self.duplicate_acks == DUPLICATE_ACKS && is_held && self.outstanding.release() {
            self.note_honesty();
            self.timers.tail_due = true; // nothing leaves the window before it arrives
            return Losses::default();
        }
        if self.duplicate_acks == DUPLICATE_ACKS { self.outstanding.oldest_lost() } else { Losses::default() }
    }

    /// Packets were delivered: measure, free, let the window grow.
    fn note_delivery(
        &mut self,
        cx: &mut Context<'_>,
        header: &Header,
        acked: &Acked,
        evidence: &Evidence,
        flight_before: u64,
    ) {
        let now = cx.now;
        let sample = self.sample(acked, evidence);
        match sample {
            Some(rtt) => {
                self.rtt.sample(now, rtt);
                self.honesty.note_rtt(rtt);
                self.rtt.reset_backoff();
            }
            None => self.rtt.acknowledged(),
        }
        self.tune_send();
        if let Some(offset) = acked.offset {
            self.acked = offset;
            self.out.release(cx.pools, offset);
            self.event(Pending::ACKED);
        }
        if self.wants_write && self.writable() >= self.send_capacity() / WRITABLE_FRACTION {
            self.wants_write = false;
            self.event(Pending::WRITABLE);
        }
        if let Some(recovery) = &mut self.recovery {
            recovery.prr.on_delivered(acked.bytes);
        }
        self.note_spurious(acked);
        self.timers.rto_from = now;
        self.timers.progress = now;
        self.timers.tail_probes = 0;
        self.timers.tail_due = false;
        self.timers.after_rto = None;
        if self.recovery.is_some_and(|r| self.outstanding.una().distance_from(r.end) < 0x8000) {
            self.recovery = None;
        }
        if acked.fragmented > 0 {
            self.mtu.on_fragments_passed();
            self.note_fragmented(now, HEADER_LEN + usize::from(acked.fragmented));
        }
        if acked.probe {
            self.note_probes_delivered(now);
        }
        let (srtt, min_rtt) = (self.rtt.smoothed(), self.rtt.min());
        let limited = self.window_limited_at.is_some_and(|at| now.since(at) <= 2 * srtt);
        let difference = header.timestamp_difference;
        self.controller.on_ack(&Ack {
            now: cx.clock.instant(now),
            bytes: acked.bytes,
            in_flight: flight_before,
            sent: cx.clock.instant(acked.newest),
            rtt: sample.map(std::time::Duration::from_micros),
            srtt: std::time::Duration::from_micros(srtt),
            min_rtt: std::time::Duration::from_micros(min_rtt),
            delay: (difference != 0 && difference != NO_SAMPLE).then_some(difference),
            reverse_delay: (header.timestamp.0 != 0).then_some(self.reply_micro),
            app_limited: !limited,
        });
    }

    /// The round trip that an acknowledgement tells. Karn's rule: one that covers packets sent twice tells nothing,
    /// unless what was sent last of all that it covers was sent once and the peer reports packets as they arrive;
    /// or the peer tells to which packet it is the answer.
    fn sample(&self, acked: &Acked, evidence: &Evidence) -> Option<u64> {
        let clear = |sent| !acked.resent || (self.peer_sacks && sent >= acked.newest);
        let sent = acked.sample.filter(|&sent| clear(sent)).or(evidence.echo.filter(|_| acked.resent));
        sent.map(|sent| evidence.now.since(sent))
    }

    fn note_probes_delivered(&mut self, now: Time) {
        let before = self.mtu.current();
        for seq in self.mtu.numbers() {
            if self.outstanding.is_delivered(seq) {
                self.mtu.on_probe_acked(now, seq);
            }
        }
        if self.mtu.current() > before {
            self.controller.on_mss(self.mss());
        }
    }

    fn note_probes_lost(&mut self, now: Time, timed_out: bool) {
        if timed_out {
            return self.mtu.on_time_out(now);
        }
        for seq in self.mtu.numbers() {
            if self.outstanding.is_lost(seq) {
                self.mtu.on_probe_lost(now, seq);
            }
        }
    }

    /// Packets arrived that had been taken for lost.
    fn note_spurious(&mut self, acked: &Acked) {
        if acked.spurious == 0 && acked.spurious_resends == 0 {
            return;
        }
        self.stats.spurious_retransmits += u64::from(acked.spurious_resends);
        let premature = acked.premature && self.timers.after_rto.is_some();
        let restored = if premature { self.outstanding.none_lost() } else { 0 };
        if let Some(recovery) = &mut self.recovery {
            recovery.spurious += acked.spurious + restored;
            if recovery.spurious >= recovery.lost {
                self.recovery = None;
                self.controller.on_spurious_loss();
            }
        }
    }

    /// Loss was found, by an acknowledgement or (`timeouts > 0`) by a time-out. `flight_before`: bytes in flight
    /// before that, and those of them that the acknowledgement reports.
    pub(super) fn note_losses(
        &mut self,
        cx: &Context<'_>,
        losses: &Losses,
        (flight_before, delivered): (u64, u64),
        timeouts: u32,
    ) {
        if losses.probes > 0 {
            self.note_probes_lost(cx.now, timeouts > 0 && losses.packets > 0);
        }
        if losses.packets == 0 {
            return;
        }
        self.stats.packets_lost += u64::from(losses.packets);
        self.note_lost_run(cx, losses.run);
        let next = self.outstanding.next();
        self.pacer.on_loss(cx.now, self.rtt.smoothed());
        let recovery = self.recovery.get_or_insert(Recovery {
            prr: Prr::new(flight_before, delivered),
            end: next,
            lost: 0,
            spurious: 0,
        });
        recovery.lost += losses.packets;
        let before = self.controller.window();
        self.controller.on_loss(&Loss {
            now: cx.clock.instant(cx.now),
            bytes: losses.bytes,
            sent: cx.clock.instant(losses.newest),
            in_flight: flight_before,
            timeouts,
        });
        self.stats.congestion_events += u64::from(self.controller.window() < before);
        log!(trace, packets = losses.packets, timeouts, window = self.controller.window(), "loss");
    }

    /// DATA or FIN.
    fn handle_stream(&mut self, cx: &mut Context<'_>, packet: &Packet<'_>) {
        let fin = packet.header.kind == PacketType::Fin;
        if !fin {
            self.stats.data_packets_received += 1;
        }
        let was_finished = self.incoming.is_finished();
        let arrival = self.incoming.insert(cx.pools, packet.header.seq_nr, packet.payload, fin);
        if self.receive_control.is_some() {
            self.control_arrival(cx, &packet.header, packet.payload.len(), arrival);
        }
        match arrival {
            Arrival::InOrder { bytes, filled_gap } => {
                self.acks.on_in_order(cx.now, crate::time::micros(self.config.ack_delay));
                if filled_gap {
                    self.acks.on_urgent();
                }
                if bytes > 0 {
                    self.event(Pending::READABLE);
                    if !filled_gap {
                        self.note_arrived(cx, &packet.header);
                    }
                }
            }
            Arrival::OutOfOrder => {
                self.acks.on_urgent();
                self.note_arrived(cx, &packet.header);
            }
            Arrival::Duplicate => {
                self.stats.duplicate_packets += 1;
                self.acks.on_urgent();
            }
            Arrival::Overflow => {
                self.stats.overflow_packets += 1;
                self.acks.on_urgent();
            }
        }
        if !was_finished && self.incoming.is_finished() {
            self.acks.on_urgent();
            self.event(Pending::READABLE | Pending::FINISHED);
            self.check_finished(cx);
        }
    }
}

/// Whether `seq` comes before `other`, both being of the same half of the number space.
fn is_behind(seq: SeqNr, other: SeqNr) -> bool {
    (1..0x8000).contains(&other.distance_from(seq))
}

/// Where an acceptable `ack_nr` stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AckPlace {
    /// Acknowledges so many packets, 0 if it repeats the last one.
    New(u16),
    /// So much older than the last one: overtaken, or a keep-alive.
    Old(u16),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Fits,
    TooFar,
    Impossible,
}

/// Duplicate acknowledgements that mean a loss (RFC 5681; libtorrent: 3).
const DUPLICATE_ACKS: u8 = 3;

/// `Writable` fires when this part of the send buffer is free: few wake-ups, and still ahead of need.
const WRITABLE_FRACTION: usize = 4;

/// libutp, libtorrent: 3 older than the oldest outstanding are still taken.
const MIN_RESET_REACH: u16 = 3;

/// Numbers this far behind can still be on their way (libutp's reorder buffer: 1024).
const MIN_HISTORY: u16 = 1024;

/// Microseconds: keep-alives come every 29 s; answering more often would let two ends chat.
const KEEP_ALIVE_ANSWER: u64 = 1_000_000;

/// Microseconds between SYNs that answer DATA.
const HURRIED_SYN: u64 = 100_000;

/// SYNs after which DATA does not hurry the next one.
const MAX_HURRIED_SYNS: u32 = 8;

/// Microseconds: no path is so slow, and no time-out by default so long.
const OLDEST_ECHO: u64 = 15_000_000;

/// Microseconds after which the first acknowledgement is repeated.
pub(super) const CONFIRM_INTERVAL: u64 = 1_000_000;

#[cfg(test)]
#[path = "incoming_tests.rs"]
mod tests;
