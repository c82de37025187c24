//! Ebb: background transport that fills an empty link at once and leaves it at once to anybody else.
//!
//! Of our own, from parts that are known to work, because none of the published ones does all of what uTP is for
//! (`CONGESTION.md` has the figures): LEDBAT (RFC 6817) fills an empty link by 3000 bytes per round trip and a queue of up
//! to 100 ms, which takes half of the link from CUBIC where the queue is shorter than that, and lets the later of two
//! equals starve the earlier; LEDBAT++ (draft-irtf-iccrg-ledbat-plus-plus) mends the last, idles a tenth of the
//! time, and has a target of 60 ms, longer than many queues; CUBIC (RFC 9438) does not step aside.
//!
//! BEP 29 asks for a controller by delay that yields to TCP and leaves its choice to the implementation. What RFC 6817
//! says MUST be is kept: a target of at most 100 ms, no more growth than TCP's slow start, a reduction upon loss
//! (unless the delay says that it is not congestion), a window that is used. Deviations: the round trip instead of one
//! way alone; a decrease in proportion to the window; a target that depends on the round trip; growth by a part of the
//! window while the queue is short; an allowance of 50 ms on top of the queue that *others* keep (`company.rs`).
//!
//! - **Signal**: queueing delay as round-trip time above the smallest one, as LEDBAT++ (no clock but ours has
//!   a part in it, so that no peer's clock, skew, drift or lie matters). `path.rs`.
//! - **Target**: an eighth of the round trip and 5 ms, three packets on slow links, 25 ms at most. CUBIC's queue is never
//!   shorter than 0.4 of the round trip on a link with a queue of one bandwidth-delay product; a fixed target
//!   of 60 or 100 ms is longer than that, and so takes half of the link from CUBIC.
//! - **Law**: per round trip, `k * sqrt(window)` packets of growth while the queue is below the target (on paths that hold
//!   thousands of packets the root of those, which is the same for all, so that newcomers catch up), and a
//!   part of the window proportional to the queue's excess over half the target (a quarter, on long round trips)
//!   as decrease, as AIMD with a signal of many levels: flows that see the same queue converge to the same window, in a
//!   time that grows with the square root of the rate instead of with the rate.
//! - **Ebb**: a queue that does not go although the window does is somebody else's: the decrease gets stronger
//!   every round trip, down to two packets; on short round trips down to two packets in 25 ms, which are sent as a pair,
//!   since peers hold back the acknowledgement of a single one. Eight flows of two packets each are three times what
//!   10 Mbit/s x 5 ms hold.
//! - **Flood**: when the queue has been short for two round trips, growth is a part of the window that doubles
//!   with every round trip, up to a doubling of the window: a link left by others is filled within a second or two.
//! - **Start**: the first burst tells the bottleneck's rate (`train.rs`); the window goes to half of it and
//!   from there as in slow start.
//! - **Drain**: every ten seconds the window goes below what the path holds for a round trip, so that the
//!   empty round trip is measured, by this flow and by all others (LEDBAT++'s slowdown and BBR's ProbeRTT do
//!   this at a higher price). One that comes second does so early, and again, until it is 10 s old: the queue that it
//!   found is part of what it takes for the path, and the others give way to it all the time.
//! - **Loss** with a long queue halves, loss that goes on although the queue is short costs what was lost
//!   (`losses.rs`).
//! - **Company**: others with a longer target, deployed LEDBAT above all, get more than half of the link and not all of
//!   it (`company.rs`).

mod company;
mod drain;
mod losses;
mod path;
mod train;

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use company::Company;
use drain::Drain;
use losses::Losses;
use path::{Path, short};
use train::Train;

use super::rounds::Rounds;
use super::{Ack, Controller, ControllerFactory, INITIAL_PACKETS, Loss, MAX_WINDOW, MIN_PACKETS, PERSISTENT};
use crate::time::{Time, micros, spread};

/// Parameters of [`Ebb`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct EbbConfig {
    /// Queueing delay to stay below, whatever the round trip. Default 25 ms; RFC 6817 allows 100 ms.
    pub max_target: Duration,
    /// Window of a new connection, in full packets. Default 10 (RFC 6928).
    pub initial_packets: u64,
}

impl Default for EbbConfig {
    fn default() -> Self {
        Self { max_target: MAX_TARGET, initial_packets: INITIAL_PACKETS }
    }
}

impl EbbConfig {
    /// Queueing delay to stay below on a path with this round trip when it is empty. Where three packets take longer than
    /// that (below some Mbit/s), it is that long, up to [`max_target`](Self::max_target).
    #[must_use]
    pub fn target(&self, round_trip: Duration) -> Duration {
        (MIN_TARGET + round_trip / TARGET_PART).min(self.max_target)
    }
}

impl ControllerFactory for EbbConfig {
    fn build(&self, now: Instant, mss: usize) -> Box<dyn Controller> {
        Box::new(Ebb::new(*self, now, mss))
    }
}

/// State of one connection.
#[derive(Debug)]
pub struct Ebb {
    /// What other points in time are relative to.
    started: Instant,
    /// Microseconds.
    max_target: u32,
    initial_packets: u32,
    mss: f64,
    cwnd: f64,
    /// `cwnd` in whole bytes, two packets at least: asked for before each packet that is sent.
    window: u64,
    /// What the window is spread over, microseconds.
    spread: u32,
    path: Path,
    rounds: Rounds<Time>,
    round: Round,
    train: Train,
    losses: Losses,
    mode: Mode,
    /// Growth per round trip as a part of the window, beyond the additive one; 0 while there is a queue.
    flood: f64,
    /// The window that filled the path when it was last full: the flood slows down there.
    full: f64,
    /// What the bottleneck was seen to deliver to us at most, bytes per second; forgotten slowly.
    rate: f64,
    company: Company,
    /// Round trips in a row with a short queue, and with one above the target.
    low: u32,
    high: u32,
    drained_at: Event,
    reduced_at: Event,
    /// When a queue last overflowed that is too short to be steered by its delay.
    narrow: Event,
    undo: Option<(f64, f64)>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Mode {
    /// The path was never full yet.
    Start,
    Steady,
    /// The window is low for a moment.
    Drain(Drain),
    /// The same among others who keep a queue: the window to go back to, and round trips of it.
    Dip(f64, u32),
}

/// When something happened last, if it ever did.
#[derive(Debug, Clone, Copy, Default)]
struct Event(Option<NonZeroU64>);

impl Event {
    fn new(at: Time) -> Self {
        Self(NonZeroU64::new(at.0.saturating_add(1)))
    }

    fn at(self) -> Option<Time> {
        self.0.map(|at| Time(at.get() - 1))
    }

    /// Whether it was less than so many microseconds ago.
    fn is_within(self, now: Time, micros: u64) -> bool {
        self.at().is_some_and(|at| now.since(at) < micros)
    }
}

/// The round trip under way.
#[derive(Debug, Clone, Copy)]
struct Round {
    since: Time,
    bytes: f64,
    /// Something in it was limited by the window.
    limited: bool,
}

impl Ebb {
    /// A controller for a connection with packets of `mss` payload bytes.
    #[must_use]
    pub fn new(config: EbbConfig, now: Instant, mss: usize) -> Self {
        let mss = mss as f64;
        let cwnd = config.initial_packets.max(MIN_PACKETS) as f64 * mss;
        Self {
            started: now,
            max_target: short(micros(config.max_target)),
            initial_packets: short(config.initial_packets),
            mss,
            cwnd,
            window: cwnd as u64,
            spread: 0,
            path: Path::new(),
            rounds: Rounds::default(),
            round: Round { since: Time(0), bytes: 0.0, limited: false },
            train: Train::default(),
            losses: Losses::default(),
            mode: Mode::Start,
            flood: 1.0,
            full: f64::INFINITY,
            rate: 0.0,
            company: Company::default(),
            low: 0,
            high: 0,
            drained_at: Event::default(),
            reduced_at: Event::default(),
            narrow: Event::default(),
            undo: None,
        }
    }

    fn min_window(&self) -> f64 {
        MIN_PACKETS as f64 * self.mss
    }

    /// Two packets in so much time at least, where the round trip is shorter; the pace sees to it.
    fn least(&self) -> f64 {
        let round_trip = (self.path.clear() + self.path.queueing()) as f64;
        self.min_window() * (round_trip / LEAST_RTT).clamp(LEAST_PART, 1.0)
    }

    fn set(&mut self, cwnd: f64) {
        self.cwnd = cwnd.clamp(self.least(), MAX_WINDOW as f64);
        // Peers hold back the acknowledgement of a packet that comes alone.
        self.window = self.cwnd.max(self.min_window()) as u64;
    }

    /// Microseconds.
    fn target(&self) -> u64 {
        if self.company.is_there() {
            return company::TARGET;
        }
        let target = micros(MIN_TARGET) + self.path.base() / u64::from(TARGET_PART);
        target.max(self.serialization(TARGET_PACKETS)).min(self.max_target.into())
    }

    /// Queue from which on the window decreases, microseconds.
    fn lean(&self) -> u64 {
        let long = (self.path.base().saturating_sub(LONG) as f64 / LONG as f64).min(1.0);
        (self.target() as f64 * (0.5 - 0.25 * long)) as u64
    }

    /// What the bottleneck takes for so many packets, microseconds; 0 as long as its rate is unknown.
    fn serialization(&self, packets: f64) -> u64 {
        if self.rate > 0.0 { (packets * self.mss * 1e6 / self.rate) as u64 } else { 0 }
    }

    fn time(&self, at: Instant) -> Time {
        Time(micros(at.saturating_duration_since(self.started)))
    }

    /// Window of a new connection, bytes.
    fn initial(&self) -> f64 {
        f64::from(self.initial_packets).max(MIN_PACKETS as f64) * self.mss
    }

    /// Additive growth per round trip, bytes.
    fn gain(&self) -> f64 {
        // Long round trips come seldom: in time, growth should not depend on them too much.
        let base = self.path.base() as f64;
        let scale = |most| (base / GAIN_RTT).clamp(0.5, most);
        let own = self.cwnd / self.mss;
        // The root of what all have together is the same for all of them.
        let all = self.rate * base / 1e6 / self.mss;
        let large = (all * (all / LARGE).powi(2).min(1.0)).min(LARGE_MOST * own);
        GAIN * (scale(2.0) * own.sqrt()).max(scale(3.0) * large.sqrt()) * self.mss
    }

    fn grow(&mut self, now: Time, ack: &Ack) {
        let target = self.target();
        let narrow = self.cwnd > self.full && self.is_narrow(now);
        let gain = self.gain() * if narrow { NARROW_GAIN } else { 1.0 };
        let room = target.saturating_sub(self.path.latest()) as f64 / (target as f64 / 2.0);
        if ack.app_limited || room <= 0.0 {
            return;
        }
        let per_round = (gain * room.min(1.0)).max(self.flood * self.cwnd);
        let grown = self.cwnd + per_round * (ack.bytes as f64 / self.cwnd).min(1.0);
        self.set(grown.min(self.company.most()).max(self.cwnd));
    }

    /// The path is full: what it delivers in an empty round trip is what it holds.
    fn filled(&mut self, now: Time) {
        if let Some(rate) = self.delivery(now) {
            let base = self.path.clear() as f64 / 1e6;
            let holds = rate * base;
            let room = 1.0 + self.target() as f64 / 2e6 / base.max(1e-6);
            self.set(self.cwnd.min(holds * room.min(2.0)).max(self.cwnd / 4.0));
        }
        self.full = self.cwnd;
        self.flood = 0.0;
        self.low = 0;
        self.company.answered();
        if self.mode == Mode::Start {
            self.mode = Mode::Steady;
        }
        self.rounds.restart(now);
        self.new_round(now);
    }

    /// What is delivered to us in the round trip under way, bytes per second. A part of one says little.
    fn delivery(&self, now: Time) -> Option<f64> {
        let elapsed = now.since(self.round.since);
        let enough = elapsed > 0 && elapsed >= self.path.clear() / 2 && self.round.bytes > 0.0;
        enough.then(|| self.round.bytes * 1e6 / elapsed as f64)
    }

    fn new_round(&mut self, now: Time) {
        self.round = Round { since: now, bytes: 0.0, limited: false };
        if self.losses.end_round() == Some(true)
            && let Some((cwnd, full)) = self.undo.take()
        {
            self.set(self.cwnd.max(cwnd));
            (self.full, self.narrow) = (full, Event::default());
        }
    }

    fn end_round(&mut self, now: Time) {
        let elapsed = Duration::from_micros(now.since(self.round.since)).as_secs_f64();
        if elapsed > 0.0 {
            self.rate = (self.round.bytes / elapsed).max(self.rate * (1.0 - elapsed / RATE_MEMORY).max(0.0));
        }
        let little = self.rate * self.path.clear() as f64 / 1e6 * LITTLE;
        let starved = self.high > 0 && self.cwnd <= little.max(2.0 * self.min_window());
        if let Some(level) = self.path.end_round(now, starved) {
            self.meet(now, level);
        } else if self.company.is_there() {
            self.keep_company(now, starved);
        }
        let queue = self.path.queueing();
        match self.mode {
            Mode::Drain(drain) => self.drain_more(now, drain),
            Mode::Dip(back, rounds) if rounds >= DIP => {
                self.mode = Mode::Steady;
                self.set(back);
            }
            Mode::Dip(back, rounds) => self.mode = Mode::Dip(back, rounds + 1),
            _ if queue <= self.lean() => self.calm(now),
            _ => self.crowded(queue),
        }
        if self.mode == Mode::Steady && !self.company.is_there() && self.wants_drain(now) {
            self.drain(now);
        }
        self.new_round(now);
    }

    /// A round trip with a short queue.
    fn calm(&mut self, now: Time) {
        self.low += 1;
        self.high = 0;
        if self.mode == Mode::Start {
            return;
        }
        if self.low >= CALM {
            // Where the path was full before, carefully; but it may have room for more now.
            let most = if self.cwnd < NEAR * self.full { MAX_FLOOD } else { MIN_FLOOD };
            let stop = self.cwnd >= self.full && self.is_narrow(now);
            self.flood = if stop { 0.0 } else { (self.flood * 2.0).clamp(MIN_FLOOD, most) };
        }
    }

    /// A round trip with a queue.
    fn crowded(&mut self, queue: u64) {
        (self.low, self.flood) = (0, if self.mode == Mode::Start { self.flood } else { 0.0 });
        let excess = queue as f64 - self.lean() as f64;
        let part = DRAIN * excess / (self.path.clear() + queue) as f64;
        self.high = if queue > self.target() { self.high + 1 } else { 0 };
        let stubborn = 1.0 + f64::from(self.high.saturating_sub(PATIENCE)) / 2.0;
        self.set(self.cwnd * (1.0 - (part * stubborn).min(0.5)));
    }

    fn is_draining(&self) -> bool {
        matches!(self.mode, Mode::Drain(_) | Mode::Dip(..))
    }

    /// Whether a queue that is too short to be steered by its delay overflowed lately.
    fn is_narrow(&self, now: Time) -> bool {
        self.narrow.is_within(now, NARROW)
    }
}

impl Controller for Ebb {
    fn on_ack(&mut self, ack: &Ack) {
        let (now, sent) = (self.time(ack.now), self.time(ack.sent));
        if let Some(rtt) = ack.rtt {
            let between = ack.srtt.as_micros() as f64 * self.mss / self.cwnd;
            let held = if between < CLOSE { 0 } else { (2.0 * between) as u64 };
            self.path.sample(now, rtt.as_micros() as u64, ack.delay, ack.reverse_delay, held);
        }
        let srtt = micros(ack.srtt);
        self.spread = short(ack.rtt.map_or(srtt, |latest| spread(srtt, micros(latest))));
        self.round.bytes += ack.bytes as f64;
        self.round.limited |= !ack.app_limited;
        self.losses.on_delivered(
            (ack.bytes as f64 / self.mss) as f32,
            self.path.newest(),
            self.path.latest(),
        );
        if self.mode == Mode::Start
            && let Some(rate) = self.train.on_ack(now, sent, ack, self.mss)
        {
            self.rate = rate;
            self.full = rate * self.path.base() as f64 / 1e6;
            let jump = (self.full / 2.0).min(MAX_JUMP * f64::from(self.initial_packets) * self.mss);
            self.set(self.cwnd.max(jump));
        }
        let flooding = self.flood > 0.0 && !self.is_draining();
        if flooding && self.path.latest() > self.target() / 2 {
            self.filled(now);
        } else if flooding && self.mode == Mode::Start && self.cwnd >= self.full && self.flood > MIN_FLOOD {
            self.flood = MIN_FLOOD;
            self.mode = Mode::Steady;
        }
        if self.rounds.on_ack(now, sent) {
            self.end_round(now);
        }
        if !self.is_draining() {
            self.grow(now, ack);
        }
    }

    fn on_loss(&mut self, loss: &Loss) {
        let now = self.time(loss.now);
        if loss.timeouts >= PERSISTENT {
            self.part(now);
            self.set(0.0);
            (self.mode, self.flood, self.low, self.undo) = (Mode::Steady, 0.0, 0, None);
            return;
        }
        let (packets, first) = ((loss.bytes as f64 / self.mss) as f32, self.mode == Mode::Start);
        let more = self.losses.on_lost(packets, self.path.newest(), first);
        if self.reduced_at.at().is_some_and(|at| self.time(loss.sent) <= at) {
            return;
        }
        if !more && loss.timeouts == 0 {
            self.set(self.cwnd - (loss.bytes as f64).min(self.cwnd / 8.0));
            return;
        }
        if let Mode::Drain(Drain { back, .. }) | Mode::Dip(back, _) = self.mode {
            self.set(back);
        }
        self.part(now);
        if self.losses.try_less() || self.undo.is_none() {
            self.undo = Some((self.cwnd, self.full));
        }
        // A time-out on the way back from another says nothing new about where the path was full.
        if loss.timeouts == 0 || self.cwnd >= self.full || self.full.is_infinite() {
            self.full = self.cwnd * FULL_AFTER_LOSS;
        }
        // A queue longer than the target will be seen next time before it overflows.
        let steered = self.path.newest() >= self.target();
        self.narrow = if steered { Event::default() } else { Event::new(now) };
        self.set(self.cwnd / 2.0);
        (self.mode, self.flood, self.low) = (Mode::Steady, 0.0, 0);
        self.reduced_at = Event::new(now);
    }

    fn on_spurious_loss(&mut self) {
        if let Some((cwnd, full)) = self.undo.take() {
            self.set(self.cwnd.max(cwnd));
            self.full = full;
            (self.reduced_at, self.narrow) = Default::default();
        }
    }

    fn on_restart(&mut self, now: Instant) {
        // What was learnt about the path is old: flood it again up to the old window.
        let (now, restart) = (self.time(now), self.initial());
        if self.cwnd > restart {
            self.full = self.cwnd;
            self.set(restart);
            (self.mode, self.flood) = (Mode::Steady, MAX_FLOOD);
            self.rounds.restart(now);
        }
    }

    fn on_mss(&mut self, mss: usize) {
        self.mss = mss as f64;
        self.set(self.cwnd);
    }

    fn window(&self) -> u64 {
        self.window
    }

    fn ssthresh(&self) -> u64 {
        if self.full.is_finite() { self.full as u64 } else { u64::MAX }
    }

    fn pacing_rate(&self) -> Option<u64> {
        let spread = Duration::from_micros(self.spread.into()).as_secs_f64();
        (spread > 0.0).then(|| (self.cwnd / spread * (PACE + self.flood)) as u64)
    }

    fn delays(&self) -> (Duration, Duration) {
        (Duration::from_micros(self.path.base()), Duration::from_micros(self.path.queueing()))
    }
}

/// Largest target; RFC 6817 2.5: MUST be at most 100 ms.
const MAX_TARGET: Duration = Duration::from_millis(25);

/// Shorter queues cannot be told from noise.
const MIN_TARGET: Duration = Duration::from_millis(5);

/// Part of the round trip that the target is, on top of that.
const TARGET_PART: u32 = 8;

/// ...and no fewer packets than that: the round trip may have been measured with a short one, beside which each full
/// one seems to wait for its own length.
const TARGET_PACKETS: f64 = 3.0;

/// Packets per round trip and square root of the window in packets...
const GAIN: f64 = 0.25;

/// ...at this round-trip time, in microseconds.
const GAIN_RTT: f64 = 50_000.0;

/// Packets that a path holds from which on the root of that counts instead of the window's, and more: there the window's
/// is too slow for a newcomer (of two flows on 1 Gbit/s x 200 ms it had 19 % after a minute, with this 44 %), and what a
/// round trip adds to the queue is short all the same. On smaller paths it soon counts for nothing...
const LARGE: f64 = 8_000.0;

/// ...and at most for so many windows: the first burst may have told too much.
const LARGE_MOST: f64 = 4.0;

/// Microseconds: packets that follow each other so closely are acknowledged at once, in pairs; peers hold back what
/// comes alone for 5 ms and more.
const CLOSE: f64 = 2_000.0;

/// Part of the excess that one round trip takes away: its effect shows after the next one.
const DRAIN: f64 = 0.5;

/// The decrease begins at half of the target, and on round trips of more microseconds, where it comes seldom, earlier:
/// at a quarter on those that are twice as long.
const LONG: u64 = 100_000;

/// Microseconds in which two packets are sent, whatever the queue.
const LEAST_RTT: f64 = 25_000.0;

/// Part of two packets that the window is at least.
const LEAST_PART: f64 = 1.0 / 32.0;

/// Round trips above the target after which it is somebody else's queue.
const PATIENCE: u32 = 4;

/// Round trips with a short queue before the flood.
const CALM: u32 = 2;

/// First growth of the flood, as a part of the window, and largest.
const MIN_FLOOD: f64 = 1.0 / 16.0;
const MAX_FLOOD: f64 = 0.5;

/// After a queue has overflowed, part of the window up to which the flood goes, as CUBIC's reduction...
const FULL_AFTER_LOSS: f64 = 0.7;

/// ...and for how many microseconds it does not go beyond that.
const NARROW: u64 = 10_000_000;

/// Part of the usual growth that is left beyond that, for so long.
const NARROW_GAIN: f64 = 0.25;

/// Near the window that filled the path before, as a part of it.
const NEAR: f64 = 0.9;

/// RFC 9002 7.7: a little faster than the window per round trip, and as much faster as it grows.
const PACE: f64 = 1.25;

/// After the first burst the window grows at most so many times at once.
const MAX_JUMP: f64 = 32.0;

/// Part of what the bottleneck delivers that is as good as nothing.
const LITTLE: f64 = 1.0 / 16.0;

/// What the bottleneck was seen to deliver is forgotten in so many seconds.
const RATE_MEMORY: f64 = 600.0;

/// Round trips of a dip after the first one, which still shows what was sent before it.
const DIP: u32 = 2;

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

#[cfg(test)]
mod company_tests;
