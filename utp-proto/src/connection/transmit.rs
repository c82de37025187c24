//! What to send next: one decision, [`Connection::decide`], from which both sending and waiting derive,
//! so that the two cannot disagree; and the building of what was decided.

use super::outstanding::ALWAYS_PASSES;
use super::{Connection, Context, Phase, Sending};
use crate::time::{Time, micros};
use crate::wire::{self, HEADER_LEN, Header, PacketType, SELECTIVE_ACK, SeqNr};

/// The decision.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// A packet goes now.
    Send(Plan),
    /// Nothing goes before this; `None`: not before something happens.
    Wait(Option<Time>),
}

/// A packet that may go now.
#[derive(Debug, Clone, Copy)]
struct Plan {
    what: What,
    /// Bytes of UDP payload.
    size: usize,
    /// See [`Transmit::may_fragment`](crate::Transmit::may_fragment).
    may_fragment: bool,
}

/// Datagrams built in a row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    pub(crate) segment_size: usize,
    pub(crate) segments: usize,
    pub(crate) may_fragment: bool,
}

#[derive(Debug, Clone, Copy)]
enum What {
    Syn,
    /// Answer to the SYN of a peer that is not confirmed.
    SynAck,
    /// Acknowledgement; `twin`: the second one, with the other numbering.
    State {
        twin: bool,
    },
    /// Acknowledgement of one packet too few, which asks the peer for a sign of life (libutp).
    KeepAlive,
    Resend(SeqNr),
    /// So many bytes never sent before.
    Data {
        len: usize,
        probe: bool,
    },
    /// The same, ahead of its turn (see `ahead.rs`).
    Early {
        len: usize,
    },
    Fin,
}

/// Gathers why nothing can go, and until when.
#[derive(Debug, Default)]
struct Obstacles {
    until: Option<Time>,
    window: bool,
}

impl Obstacles {
    fn wait(&mut self, at: Option<Time>) {
        self.until = [self.until, at].into_iter().flatten().min();
    }
}

impl Connection {
    /// The decision, and whether the congestion window holds something back.
    fn decide(&self, now: Time) -> (Step, bool) {
        let mut obstacles = Obstacles::default();
        let plan = match self.state.phase() {
            Phase::Closed(_) => return (Step::Wait(None), false),
            Phase::SynSent => self.syn(now, What::Syn, &mut obstacles),
            Phase::SynReceived => {
                self.syn(now, What::SynAck, &mut obstacles).or_else(|| self.stream(now, &mut obstacles))
            }
            Phase::Connected => {
                self.mask(now).or_else(|| self.stream(now, &mut obstacles)).or_else(|| self.ack(now))
            }
        };
        match plan {
            Some(plan) => (Step::Send(plan), obstacles.window),
            None => {
                obstacles.wait(self.acks.deadline());
                obstacles.wait(self.keep_alive_at());
                obstacles.wait(self.next_timer().map(|(at, _)| at));
                (Step::Wait(obstacles.until), obstacles.window)
            }
        }
    }

    fn syn(&self, now: Time, what: What, obstacles: &mut Obstacles) -> Option<Plan> {
        if now >= self.timers.syn_at {
            return Some(Plan { what, size: HEADER_LEN, may_fragment: false });
        }
        if self.state.phase() == Phase::SynSent {
            obstacles.wait(Some(self.timers.syn_at));
        }
        None
    }

    /// An acknowledgement that must not wait for DATA to carry it: DATA has no mask.
    fn mask(&self, now: Time) -> Option<Plan> {
        let separate = self.incoming.has_gap() || self.acks.twin;
        if separate { self.ack(now) } else { None }
    }

    fn ack(&self, now: Time) -> Option<Plan> {
        let twin = self.acks.twin;
        if twin || self.acks.is_due(now) {
            let mask = self.sack_len();
            let size = HEADER_LEN + if mask > 0 { 2 + mask } else { 0 };
            return Some(Plan { what: What::State { twin }, size, may_fragment: false });
        }
        let keep_alive = self.keep_alive_at().is_some_and(|at| now >= at);
        keep_alive.then_some(Plan { what: What::KeepAlive, size: HEADER_LEN, may_fragment: false })
    }

    fn sack_len(&self) -> usize {
        let max = self.config.max_sack;
        // A peer that sends so far ahead is none of those that expect short masks.
        let wide = self.config.wide_sack && self.incoming.was_far();
        self.incoming.sack_len(usize::from(if wide { WIDE_SACK } else { max }))
    }

    fn keep_alive_at(&self) -> Option<Time> {
        let interval = micros(self.config.keep_alive?);
        (self.state.phase() == Phase::Connected).then(|| self.timers.packet_sent.plus(interval))
    }

    /// DATA or FIN, old before new.
    fn stream(&self, now: Time, obstacles: &mut Obstacles) -> Option<Plan> {
        if self.timers.tail_due
            && let Some(plan) = self.tail()
        {
            return Some(plan);
        }
        if let Some(seq) = self.outstanding.first_lost() {
            return self.resend(now, seq, obstacles);
        }
        self.data(now, obstacles)
    }

    /// The oldest packet again, to make the peer tell what it has. RFC 8985 7.3 takes the newest, whose
    /// selective acknowledgement shows the gap before it; but a uTP mask begins at the oldest missing
    /// packet and may be as short as 30 packets (libutp), so that it would show nothing after a longer
    /// burst of losses. This one fills its gap, and being the newest transmission proves the others lost.
    fn tail(&self) -> Option<Plan> {
        self.outstanding.oldest_missing().and_then(|seq| self.resend_plan(seq))
    }

    /// A tail-loss probe of a large packet may be fragmented, if no such packet arrived so far, or another probe
    /// stays unanswered; so may what a time-out sends. If its answer comes and no other, the path does not take large
    /// packets (any more).
    fn resend_plan(&self, seq: SeqNr) -> Option<Plan> {
        let packet = self.outstanding.get(seq)?;
        let size = HEADER_LEN + usize::from(packet.len);
        let doubtful = self.timers.tail_probes > 1 || !self.outstanding.is_large_proven();
        let alone = (self.timers.tail_due && doubtful) || self.timers.after_rto.is_some();
        let in_doubt = alone && self.outstanding.large_in_doubt() > 1;
        let may_fragment = size > self.mtu.current() || (in_doubt && size > ALWAYS_PASSES + HEADER_LEN);
        let longer = may_fragment.then(|| self.mtu.to_fragment(size, alone)).flatten();
        // What was made longer in vain goes as it is the next time: the device may take more than that.
        let longer = longer.filter(|&longer| longer == size || !packet.fragmented);
        Some(Plan { what: What::Resend(seq), size: longer.unwrap_or(size), may_fragment: longer.is_some() })
    }

    fn resend(&self, now: Time, seq: SeqNr, obstacles: &mut Obstacles) -> Option<Plan> {
        let plan = self.resend_plan(seq)?;
        self.congestion_allows(now, plan.size - HEADER_LEN, obstacles).then_some(plan)
    }

    /// Whether window, recovery, time-out and pacing let `len` bytes go now.
    fn congestion_allows(&self, now: Time, len: usize, obstacles: &mut Obstacles) -> bool {
        if self.timers.after_rto == Some(0) {
            return false;
        }
        let window = self.controller.window();
        let flight = self.outstanding.in_flight().saturating_sub(self.unreported().min(window));
        if flight > 0 && flight + len as u64 > window {
            obstacles.window = true;
            if !self.recovery.is_some_and(|r| r.prr.allows(window)) {
                return false;
            }
        }
        match self.pacer.wait(now, len) {
            None => true,
            at => {
                obstacles.wait(at);
                false
            }
        }
    }

    /// Something never sent before.
    fn data(&self, now: Time, obstacles: &mut Obstacles) -> Option<Plan> {
        if self.outstanding.len() >= usize::from(self.ahead.watch) {
            if let Some(len) = self.question(now)
                && self.congestion_allows(now, len, obstacles)
            {
                return Some(Plan { what: What::Early { len }, size: HEADER_LEN + len, may_fragment: false });
            }
            if self.outstanding.len() >= usize::from(self.ahead.limit) {
                return None;
            }
        }
        let unsent = (self.out.end() - self.sent) as usize;
        if unsent == 0 {
            let fin = self.state.sending() == Sending::Finishing;
            return fin.then_some(Plan { what: What::Fin, size: HEADER_LEN, may_fragment: false });
        }
        // Nothing is cut otherwise than assumed for a packet that went ahead.
        let early = self.ahead.early.as_deref();
        let mss = early.map_or_else(|| self.mss(), |early| early.len);
        let mut len = unsent.min(mss);
        let small = len < mss && self.state.sending() == Sending::Open;
        if small && self.config.nagle && !self.outstanding.is_empty() {
            return None; // Nagle: what is outstanding will be acknowledged, and this go then
        }
        let mut probe = if len == mss && early.is_none() { self.mtu.probe_size(now) } else { None };
        if probe.is_some() {
            len = len.min(self.mtu.probe_payload());
        }
        let wanted = len;
        len = match self.fits(len) {
            0 if self.timers.persist_due && early.is_some() => len,
            0 if self.timers.persist_due => len.min((self.peer_window as usize).max(PERSIST_BYTES)),
            0 => return None,
            fits => fits,
        };
        if !self.congestion_allows(now, len, obstacles) {
            return None;
        }
        probe = probe.filter(|_| len == wanted);
        let size = probe.unwrap_or(HEADER_LEN + len);
        let may_fragment = early.is_some() && size > self.mtu.current();
        let longer = may_fragment.then(|| self.mtu.to_fragment(size, false)).flatten();
        let (size, may_fragment) = (longer.unwrap_or(size), longer.is_some());
        Some(Plan { what: What::Data { len, probe: probe.is_some() }, size, may_fragment })
    }

    /// Whether the peer's window, and nothing else, holds back data with nothing outstanding.
    pub(super) fn is_window_closed(&self) -> bool {
        let unsent = (self.out.end() - self.sent) as usize;
        let len = unsent.min(self.mss());
        len > 0 && self.outstanding.is_empty() && self.fits(len) == 0
    }

    /// Of `wanted` bytes, a packet's, those that the peer's window takes now: all of them, or at least half
    /// of the most that the peer ever buffers, or none, so that nobody sends crumbs (RFC 9293 3.8.6.2.1).
    /// The second counts for peers that buffer less than a packet.
    pub(super) fn fits(&self, wanted: usize) -> usize {
        let offered = u64::from(self.peer_window) + self.unreported();
        let usable = offered.saturating_sub(self.outstanding.unacked());
        let worthwhile = usable >= wanted as u64 || usable * 2 >= u64::from(self.largest_window);
        if worthwhile { wanted.min(usable as usize) } else { 0 }
    }

    /// Whether it may do without a deadline: nothing is left to be done until somebody does something.
    pub(crate) fn may_rest(&self) -> bool {
        let sent_all = self.out.end() == self.sent && self.state.sending() != Sending::Finishing;
        let idle = self.state.phase() == Phase::Connected && self.outstanding.is_empty() && sent_all;
        idle || self.state.is_closed()
    }

    /// The window to tell: none if not even a full packet fits, so that nobody sends crumbs (RFC 9293
    /// 3.8.6.2.2).
    pub(super) fn advertised_window(&self) -> u32 {
        let room = self.incoming.window();
        let least = self.mss().min(self.capacity() / 2);
        let window = if room < least { 0 } else { room.min(u32::MAX as usize) as u32 };
        match &self.receive_control {
            None => window,
            Some(control) => control.window().min(window.into()) as u32, // never less than a packet of the peer
        }
    }

    /// Appends datagrams of equal size (the last may be shorter) that may go now, at most `max` and at
    /// most what one UDP datagram could hold. `Err`: nothing may; until when.
    pub(crate) fn transmit(
        &mut self,
        cx: &mut Context<'_>,
        max: usize,
        buf: &mut Vec<u8>,
    ) -> Result<Run, Option<Time>> {
        let mut run: Option<Run> = None;
        loop {
            let (step, window_limited) = self.decide(cx.now);
            if window_limited {
                self.window_limited_at = Some(cx.now);
            }
            let plan = match step {
                Step::Send(plan) => plan,
                Step::Wait(at) => return run.ok_or(at),
            };
            let first = Run { segment_size: plan.size, segments: 0, may_fragment: plan.may_fragment };
            let so_far = run.unwrap_or(first);
            let bytes = so_far.segments * so_far.segment_size + plan.size;
            if so_far.segments >= max
                || plan.size > so_far.segment_size
                || plan.may_fragment != so_far.may_fragment
                || bytes > MAX_RUN
            {
                return Ok(so_far);
            }
            self.build(cx, plan, buf);
            let now = Run { segments: so_far.segments + 1, ..so_far };
            if plan.size < so_far.segment_size {
                return Ok(now);
            }
            run = Some(now);
        }
    }

    /// Builds a planned packet and records that it went.
    fn build(&mut self, cx: &mut Context<'_>, plan: Plan, buf: &mut Vec<u8>) {
        let now = cx.now;
        let window = self.advertised_window();
        let header = Header {
            kind: PacketType::State,
            connection_id: self.ids.send,
            timestamp: cx.clock.wire(now),
            timestamp_difference: self.reply_micro,
            wnd_size: window,
            seq_nr: self.outstanding.next(),
            ack_nr: self.incoming.ack_nr(),
        };
        match plan.what {
            What::Syn => self.build_syn(now, header, buf),
            What::SynAck => {
                // The number of the first DATA, whether that has gone already or not.
                let header = Header { seq_nr: self.outstanding.una(), ..header };
                buf.extend_from_slice(&header.encode(0));
                self.timers.syn_at = Time(u64::MAX);
            }
            What::State { twin } => self.build_state(header, twin, buf),
            What::KeepAlive => {
                let header = Header { ack_nr: header.ack_nr.minus(1), ..header };
                buf.extend_from_slice(&header.encode(0));
                self.stats.acks_sent += 1;
            }
            What::Resend(seq) => self.build_resend(now, header, seq, plan, buf),
            What::Early { len } => self.build_early(now, header, len, buf),
            What::Data { len, probe } => self.build_data(cx, header, (len, plan.size), probe, buf),
            What::Fin => {
                let seq = self.outstanding.push(now, self.sent, 0, true, false);
                self.state.fin_sent(seq);
                buf.extend_from_slice(&Header { kind: PacketType::Fin, ..header }.encode(0));
                self.note_new(now);
                self.note_stream_sent(now, 0, window);
            }
        }
        if let Some(control) = &mut self.receive_control {
            control.on_told();
        }
        self.timers.packet_sent = now;
        self.stats.packets_sent += 1;
        self.stats.wire_bytes_sent += plan.size as u64;
        self.check_finished(cx);
    }

    fn build_syn(&mut self, now: Time, header: Header, buf: &mut Vec<u8>) {
        let header = Header {
            kind: PacketType::Syn,
            connection_id: self.ids.receive,
            seq_nr: self.outstanding.una().minus(1),
            ack_nr: SeqNr(0),
            ..header
        };
        buf.extend_from_slice(&header.encode(0));
        self.timers.syns += 1;
        let first = micros(self.config.initial_rto);
        let (n, d) = SYN_BACKOFF;
        let interval = (1..self.timers.syns).fold(first, |t, _| (t * n / d).min(MAX_SYN_INTERVAL.max(first)));
        self.timers.syn_at = now.plus(interval);
    }

    fn build_state(&mut self, header: Header, twin: bool, buf: &mut Vec<u8>) {
        // After our FIN, libutp takes only packets numbered beyond it, libtorrent (whose own STATEs
        // repeat the number) only those up to it, each as long as it has not shown which kind it is.
        let fin_out = matches!(self.state.sending(), Sending::FinSent(_) | Sending::FinAcked);
        let seq_nr = if twin { header.seq_nr.minus(1) } else { header.seq_nr };
        let link = buf.len() + 1;
        buf.extend_from_slice(&Header { seq_nr, ..header }.encode(0));
        let mask = self.sack_len();
        if mask > 0 {
            if let Some(first) = buf.get_mut(link) {
                *first = SELECTIVE_ACK;
            }
            buf.extend_from_slice(&[0, mask as u8]);
            self.incoming.sack(mask, buf);
        }
        self.acks.twin = fin_out && !twin && !self.peer_counts_fin;
        self.acks.on_sent(header.wnd_size);
        self.stats.acks_sent += 1;
    }

    fn build_data(
        &mut self,
        cx: &Context<'_>,
        header: Header,
        (len, size): (usize, usize),
        probe: bool,
        buf: &mut Vec<u8>,
    ) {
        let now = cx.now;
        let idle = self.outstanding.is_empty();
        if idle && now.since(self.timers.data_sent) > self.rtt.rto() && self.rtt.is_known() {
            self.controller.on_restart(cx.clock.instant(now));
            self.update_pacing(now);
        }
        if !probe {
            self.maybe_withhold(now, len);
        }
        let start = self.sent;
        let seq = self.outstanding.push(now, start + len as u64, len, false, probe);
        append_padded(Header { kind: PacketType::Data, seq_nr: seq, ..header }, size - len, buf);
        if probe {
            self.mtu.on_probe_sent(seq, size);
            log!(trace, size, "path-MTU probe");
        }
        self.out.copy_to(start, len, buf);
        self.sent += len as u64;
        self.stats.data_packets_sent += 1;
        self.note_new(now);
        self.note_stream_sent(now, len, header.wnd_size);
    }

    fn build_early(&mut self, now: Time, header: Header, len: usize, buf: &mut Vec<u8>) {
        let (seq_nr, start) = self.ask(now, len);
        buf.extend_from_slice(&Header { kind: PacketType::Data, seq_nr, ..header }.encode(0));
        self.out.copy_to(start, len, buf);
        self.stats.data_packets_sent += 1;
        self.note_stream_sent(now, len, header.wnd_size);
        log!(debug, seq = seq_nr.0, "a packet ahead of its turn");
    }

    fn build_resend(&mut self, now: Time, header: Header, seq: SeqNr, plan: Plan, buf: &mut Vec<u8>) {
        let Some(packet) = self.outstanding.get(seq).copied() else { return };
        let len = usize::from(packet.len);
        let kind = if packet.fin { PacketType::Fin } else { PacketType::Data };
        append_padded(Header { kind, seq_nr: seq, ..header }, plan.size - len, buf);
        self.out.copy_to(packet.end - len as u64, len, buf);
        self.outstanding.resend(now, seq, plan.may_fragment);
        self.mtu.on_probe_lost(now, seq); // if it was one, and its fate unknown: it will not tell any more
        if packet.transmissions > 0 {
            self.stats.retransmits += 1;
            self.stats.fast_retransmits +=
                u64::from(self.timers.after_rto.is_none() && !self.timers.tail_due);
        }
        self.stats.data_packets_sent += u64::from(!packet.fin);
        self.note_stream_sent(now, len, header.wnd_size);
    }

    /// A packet went out for the first time. The first of a flight starts the clocks.
    fn note_new(&mut self, now: Time) {
        if self.outstanding.len() == 1 {
            self.timers.rto_from = now;
            self.timers.progress = self.timers.progress.max(now);
        }
        self.reach = self.reach.max(self.outstanding.len().min(usize::from(MAX_REACH)) as u16);
        if self.ahead.early.is_some() {
            self.note_turn();
        }
    }

    /// A DATA or FIN packet with `len` bytes of payload went out.
    fn note_stream_sent(&mut self, now: Time, len: usize, window: u32) {
        self.pacer.on_sent(now, len);
        if let Some(recovery) = &mut self.recovery {
            recovery.prr.on_sent(len as u64);
        }
        if let Some(left) = &mut self.timers.after_rto {
            *left = left.saturating_sub(1);
        }
        self.timers.tail_due = false;
        self.timers.persist_due = false;
        self.timers.data_sent = now;
        self.acks.on_piggyback(window, self.incoming.has_gap());
    }

    /// Sets the pace after window or round trip changed.
    pub(super) fn update_pacing(&mut self, now: Time) {
        if !self.config.pacing {
            return;
        }
        let round_trip = self.rtt.spread();
        let rate = self.controller.pacing_rate().unwrap_or_else(|| {
            if round_trip == 0 {
                return 0;
            }
            let window = self.controller.window().max(self.mss() as u64);
            let (n, d) = if window < self.controller.ssthresh() { PACE_SLOW_START } else { PACE };
            (window.saturating_mul(1_000_000) / round_trip).saturating_mul(n) / d
        });
        self.pacer.set_rate(now, rate, self.mss());
    }
}

/// Appends header and padding, `len` bytes together: the header alone if there is none.
fn append_padded(header: Header, len: usize, buf: &mut Vec<u8>) {
    let link = buf.len() + 1;
    buf.extend_from_slice(&header.encode(0));
    wire::append_padding(buf, link, len.saturating_sub(HEADER_LEN));
}

/// Bytes of a mask: what an extension can hold, in whole words.
const WIDE_SACK: u8 = 252;

/// Largest payload of one UDP datagram over IPv4, and so of one GSO send. No packet is so large.
const MAX_RUN: usize = 65_507;

/// Payload of a probe of a closed window. A packet can never be cut again, so it is one that any peer
/// will take as soon as it takes anything.
const PERSIST_BYTES: usize = 64;

/// Each SYN interval is so much longer than the one before...
const SYN_BACKOFF: (u64, u64) = (3, 2);

/// ...up to this, in microseconds: on a path that loses 30 % each way, ten tries fit into the time-out.
const MAX_SYN_INTERVAL: u64 = 4_000_000;

/// RFC 9002 7.7: a little faster than the window per round trip, to use all of it...
const PACE: (u64, u64) = (5, 4);

/// ...and twice as fast while it doubles every round trip.
const PACE_SLOW_START: (u64, u64) = (2, 1);

/// Older acknowledgements than this many packets are not credible: no more are ever outstanding.
const MAX_REACH: u16 = 30_000;

#[cfg(test)]
#[path = "transmit_tests.rs"]
mod tests;
