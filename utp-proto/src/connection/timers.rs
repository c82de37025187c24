//! What happens when nothing does. No timer is ever set or cancelled: each deadline is computed from
//! what is true now, so that none can be forgotten.

use super::incoming::CONFIRM_INTERVAL;
use super::{Connection, Context, Phase, Sending};
use crate::CloseReason;
use crate::time::{Time, micros};
use crate::wire::{HEADER_LEN, Header};

/// Why time matters to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timer {
    /// Opening took too long.
    Connect,
    /// A packet overtaken by others is old enough to be lost.
    Reordering,
    /// No answer to a flight: send its oldest packet again, rather than wait for the time-out.
    TailLoss,
    /// Retransmission time-out.
    Retransmit,
    /// No progress for too long.
    GiveUp,
    /// Probe a closed window.
    Persist,
    /// Repeat the first acknowledgement to a peer that has not said anything since.
    Confirm,
    /// Nothing arrived for too long.
    Idle,
    /// Nothing was sent for a while: give memory back.
    Rest,
    /// The peer does not finish what the application has closed.
    Linger,
    /// Nor does it take what was left to be delivered.
    Orphan,
}

impl Connection {
    /// The next deadline and what it is for.
    pub(crate) fn next_timer(&self) -> Option<(Time, Timer)> {
        let t = &self.timers;
        let mut next: Option<(Time, Timer)> = None;
        let mut consider = |at: Option<Time>, timer: Timer| {
            if let Some(at) = at
                && next.is_none_or(|(first, _)| at < first)
            {
                next = Some((at, timer));
            }
        };
        match self.state.phase() {
            Phase::Closed(_) => return None,
            Phase::SynSent | Phase::SynReceived => {
                consider(Some(t.opened.plus(micros(self.config.connect_timeout))), Timer::Connect);
            }
            Phase::Connected => {
                consider(t.confirm_at, Timer::Confirm);
                consider(self.config.idle_timeout.map(|d| t.received.plus(micros(d))), Timer::Idle);
                consider(t.linger_until, Timer::Linger);
                if let Some((since, _)) = t.orphan.filter(|_| self.state.sending() != Sending::FinAcked) {
                    consider(Some(since.plus(micros(self.config.give_up_after))), Timer::Orphan);
                }
            }
        }
        if !self.outstanding.is_empty() && self.state.phase() != Phase::SynSent {
            consider(self.outstanding.loss_deadline(&self.rtt), Timer::Reordering);
            consider(self.tail_loss_at(), Timer::TailLoss);
            consider(Some(self.retransmit_at()), Timer::Retransmit);
            consider(Some(t.progress.plus(micros(self.config.give_up_after))), Timer::GiveUp);
        }
        if self.outstanding.is_empty() && self.outstanding.holds_memory() {
            consider(Some(t.data_sent.plus(REST)), Timer::Rest);
        }
        if self.state.phase() == Phase::Connected && !t.persist_due && self.is_window_closed() {
            consider(Some(self.persist_at()), Timer::Persist);
        }
        next
    }

    /// Silence after a flight, and after each probe twice as long again (RFC 9002 6.2), until the time-out
    /// comes; but not while answers still come in, of which the last may be late like those before it. Known losses are no reason to keep quiet (RFC 8985 7.2 differs): the window may hold them
    /// back, and the acknowledgement that would open it be lost.
    fn tail_loss_at(&self) -> Option<Time> {
        let t = &self.timers;
        let waits = t.tail_due || t.after_rto.is_some() || t.tail_probes >= MAX_TAIL_PROBES;
        (!waits && !self.is_peer_full() && self.rtt.is_known()).then(|| {
            // Of so many packets, no peer holds back the answer. At the beginning they may all have been too large.
            let hurried = !self.outstanding.is_large_proven()
                && t.tail_probes == 0
                && self.outstanding.len() >= PROMPTLY_ANSWERED;
            let timeout = if hurried { self.rtt.prompt_timeout() } else { self.rtt.probe_timeout() };
            let silence = timeout << t.tail_probes;
            t.data_sent.plus(silence).max(t.rto_from.plus(silence / ANSWERS_COME))
        })
    }

    /// When the time-out comes: not before the first tail-loss probe can be answered (RFC 8985 7.3 starts it anew
    /// with the probe), and not much later however often something new is sent meanwhile.
    pub(super) fn retransmit_at(&self) -> Time {
        let (t, rto) = (&self.timers, self.rto());
        let answered =
            if t.tail_probes == 1 { t.data_sent.plus(self.rtt.probe_timeout()) } else { t.rto_from };
        t.rto_from.plus(rto).max(answered.min(t.rto_from.plus(2 * rto)))
    }

    /// The time-out. A probe of a closed window that was dropped is repeated like the first one: a peer may
    /// open its window without telling.
    fn rto(&self) -> u64 {
        let rto = self.rtt.rto();
        if self.is_peer_full() { rto.min(MAX_PERSIST) } else { rto }
    }

    /// Whether the peer has closed its window: it drops what still comes.
    fn is_peer_full(&self) -> bool {
        self.peer_window < self.largest_window / 2 && (self.peer_window as usize) < self.mss()
    }

    /// When to probe the closed window: as often as a time-out would, up to what libutp waits.
    fn persist_at(&self) -> Time {
        let t = &self.timers;
        let from = t.data_sent.max(t.rto_from);
        let interval = self.rtt.rto().max(MIN_PERSIST) << t.persist_backoff.min(8);
        from.plus(interval.min(MAX_PERSIST))
    }

    /// Takes the window that the peer told in a packet.
    pub(super) fn set_peer_window(&mut self, cx: &Context<'_>, header: &Header) {
        let was_full = self.is_peer_full();
        self.peer_window = header.wnd_size;
        self.window_told = header.timestamp;
        if self.peer_window > self.largest_window {
            self.largest_window = self.peer_window;
            self.raise_packet_limit();
        }
        if self.fits(self.mss()) == 0 {
            // A peer that tells that it has no room is alive, whatever it drops.
            self.timers.progress = cx.now;
            return;
        }
        self.timers.persist_backoff = 0;
        if was_full && self.timers.after_rto.take().is_some() {
            // What it dropped meanwhile goes again now, not when the time-out comes.
            self.rtt.reset_backoff();
            self.timers.rto_from = cx.now;
            if cx.now.since(self.timers.data_sent) > self.rtt.smoothed() {
                self.outstanding.all_lost();
            }
        }
    }

    /// Does what is due at `cx.now`. Each kind at most a few times, however late the call.
    pub(crate) fn handle_timeout(&mut self, cx: &mut Context<'_>) {
        for _ in 0..MAX_TIMERS {
            match self.next_timer() {
                Some((at, timer)) if at <= cx.now => self.fire(cx, timer),
                _ => return,
            }
        }
    }

    fn fire(&mut self, cx: &mut Context<'_>, timer: Timer) {
        log!(trace, ?timer, "timer");
        if self.state.phase() == Phase::SynReceived {
            // A libutp initiator that missed the SYN-ACK would misread the DATA that comes again: the SYN-ACK goes
            // before it. (What else may be due ends the connection.)
            self.timers.syn_at = cx.now;
        }
        match timer {
            Timer::Connect | Timer::Idle | Timer::GiveUp => self.close_with(cx, CloseReason::TimedOut),
            Timer::Reordering => {
                let flight = self.outstanding.in_flight();
                let losses = self.outstanding.detect_losses(cx.now, &self.rtt);
                self.note_losses(cx, &losses, (flight, 0), 0);
                self.update_pacing(cx.now);
            }
            Timer::TailLoss => {
                self.timers.tail_probes += 1;
                self.timers.tail_due = true;
            }
            // Nothing has come that would contradict it, however often we asked.
            Timer::Retransmit if self.reset_in_doubt >= QUESTIONS => {
                self.close_with(cx, CloseReason::Reset);
            }
            Timer::Retransmit => {
                if self.reset_in_doubt > 0 {
                    self.reset_in_doubt += 1;
                    self.acks.on_urgent();
                }
                self.retransmit_timeout(cx);
            }
            Timer::Persist => {
                self.timers.persist_due = true;
                self.timers.persist_backoff += 1;
            }
            Timer::Confirm => {
                self.timers.confirms += 1;
                self.timers.confirm_at = (self.timers.confirms < CONFIRMS)
                    .then(|| cx.now.plus(CONFIRM_INTERVAL << self.timers.confirms));
                self.acks.on_urgent();
            }
            Timer::Rest => {
                self.outstanding.shrink();
                self.out.shrink();
                self.incoming.shrink();
                self.tuning.rest(&self.config);
            }
            Timer::Orphan => {
                let before = self.timers.orphan.map_or(0, |(_, acked)| acked);
                if self.acked - before >= ORPHAN_PACKETS * self.mss() as u64 {
                    self.timers.orphan = Some((cx.now, self.acked));
                } else {
                    // If it says that it lives, nobody knows for what.
                    let silent = cx.now.since(self.timers.received) >= micros(self.config.give_up_after);
                    self.close_with(cx, if silent { CloseReason::TimedOut } else { CloseReason::Aborted });
                }
            }
            Timer::Linger => {
                // All that the application wrote has arrived; the peer's stream interests nobody.
                let done = self.state.sending() == Sending::FinAcked;
                self.close_with(cx, if done { CloseReason::Finished } else { CloseReason::Aborted });
            }
        }
    }

    /// RFC 6298 5.4 to 5.6: everything in flight is taken for lost, and one packet goes to find out.
    fn retransmit_timeout(&mut self, cx: &mut Context<'_>) {
        self.rtt.back_off();
        self.timers.rto_from = cx.now;
        self.timers.after_rto = Some(1);
        self.timers.tail_due = false;
        self.duplicate_acks = 0;
        let flight = self.outstanding.in_flight();
        let losses = self.outstanding.all_lost();
        if self.is_peer_full() {
            return; // what is behind a closed window was dropped by the peer, not by the network
        }
        self.stats.timeouts += 1;
        let timeouts = self.rtt.time_outs();
        self.note_losses(cx, &losses, (flight, 0), timeouts);
        let oldest = HEADER_LEN + self.outstanding.oldest_len();
        // One that is larger than the size in use has shrunk that already.
        let full = oldest <= self.mtu.current();
        let hopeless = (timeouts >= BLACK_HOLE_TIMEOUTS
            && self.outstanding.large_in_doubt() >= BLACK_HOLE_PACKETS)
            || timeouts >= DEAF_TIMEOUTS;
        if hopeless && full {
            self.shrink(cx.now, oldest, false);
        }
        self.update_pacing(cx.now);
    }

    /// A packet of `size` bytes that may have been fragmented was answered: large ones do not pass in one piece, if
    /// some were lost. (Those that are larger than the size in use have shrunk that already.)
    pub(super) fn note_fragmented(&mut self, now: Time, size: usize) {
        let least = if self.outstanding.is_large_proven() { BLACK_HOLE_PACKETS } else { 1 };
        if size <= self.mtu.current() && self.outstanding.large_missing() >= least as usize {
            self.shrink(now, size, true);
        }
    }

    /// Packets of `size` bytes do not pass.
    fn shrink(&mut self, now: Time, size: usize, proven: bool) {
        if self.mtu.on_black_hole(now, size, proven) {
            log!(debug, mtu = self.mtu.current(), "full packets do not pass: smaller ones from now on");
            self.controller.on_mss(self.mss());
            if proven && !self.outstanding.is_large_proven() {
                // Nothing ever arrived that was larger: none of the first packets was lost by congestion.
                self.outstanding.blame_size(self.mss());
            }
        }
    }
}

/// Packets that the peer has to take of a closed connection in the time after which one is given up: a peer that keeps
/// its window shut, or next to it, cannot make us keep for days what nobody waits for.
const ORPHAN_PACKETS: u64 = 8;

/// Tail-loss probes in a row. On short paths the time-out is 500 ms, and probes that are lost too would
/// leave room for more; five of them carry over outages of 31 probe time-outs.
const MAX_TAIL_PROBES: u32 = 5;

/// Peers answer every second packet at the latest, however long they hold back the answer to one.
const PROMPTLY_ANSWERED: usize = 4;

/// Answers still come in if the last came within this part of the silence that a probe takes.
const ANSWERS_COME: u64 = 4;

/// Microseconds without DATA after which a connection gives back even the memory of its lists.
const REST: u64 = 1_000_000;

/// More than there are kinds of timers: a late call does all that is due.
const MAX_TIMERS: usize = 16;

/// Repetitions of the first acknowledgement: after 1, 3, 7 and 15 s.
const CONFIRMS: u32 = 4;

/// Questions without an answer, each followed by a time-out, after which a RESET that may be forged is believed: at least
/// 3.5 s of silence. Whoever knows the connection's id can bring it into doubt, and a time-out or two are nothing unusual.
const QUESTIONS: u8 = 3;

/// Microseconds between probes of a closed window: at least 1 s (RFC 6298's floor)...
const MIN_PERSIST: u64 = 1_000_000;

/// ...at most what libutp waits before it tries.
const MAX_PERSIST: u64 = 15_000_000;

/// A smaller path MTU looks like this: time-outs in a row...
const BLACK_HOLE_TIMEOUTS: u32 = 2;

/// ...and so many large packets gone without one arriving, which random loss seldom does...
const BLACK_HOLE_PACKETS: u32 = 6;

/// ...or more time-outs, however few packets there are: a short message never has six. If it was something
/// else, packets are small for a while.
const DEAF_TIMEOUTS: u32 = 3;

#[cfg(test)]
#[path = "timers_tests.rs"]
mod tests;
