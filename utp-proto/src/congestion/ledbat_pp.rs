//! LEDBAT++ (draft-irtf-iccrg-ledbat-plus-plus): LEDBAT measured by round-trip time, with slower growth,
//! multiplicative decrease and periodic slowdowns that let everybody see the empty path.
//!
//! Where the draft leaves a choice or we deviate:
//! - base of the round-trip time: minima of 13 minutes, as [`Ledbat`](super::Ledbat); the current one is the
//!   smallest of the last four samples;
//! - the decrease is applied once per round trip, to what the filter says at its end (Apple applies it once per
//!   window of acknowledged bytes);
//! - a decrease by delay leaves the threshold of slow start where it is, so that the window grows back to it as after a
//!   slowdown. (Apple lowers it too, and lets delay end later slow starts. Lowering alone was tried: CUBIC keeps 4 to 10 % more, and
//!   an empty path of 100 Mbit/s x 100 ms is used to 70 % instead of 90 %.)
//! - a loss that ends the first slow start begins the slowdown at once, not two round trips later;
//! - a slowdown that a loss kept from getting back to its threshold counts double (as Apple's);
//! - the window of a new connection is TCP's (RFC 6928) rather than two packets, which pacing makes harmless;
//! - a first time-out halves, a second one in a row collapses the window (RFC 9002 7.6 in spirit).

use std::time::{Duration, Instant};

use super::delay::BaseHistory;
use super::rounds::Rounds;
use super::{Ack, Controller, ControllerFactory, INITIAL_PACKETS, Loss, MAX_WINDOW, MIN_PACKETS, PERSISTENT};
use crate::time::{Time, micros};

/// Parameters of [`LedbatPp`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LedbatPpConfig {
    /// Queueing delay to aim for. Default 60 ms (draft 4.2).
    pub target: Duration,
    /// Window of a new connection, in full packets. Default 10.
    pub initial_packets: u64,
}

impl Default for LedbatPpConfig {
    fn default() -> Self {
        Self { target: TARGET, initial_packets: INITIAL_PACKETS }
    }
}

impl ControllerFactory for LedbatPpConfig {
    fn build(&self, now: Instant, mss: usize) -> Box<dyn Controller> {
        Box::new(LedbatPp::new(*self, now, mss))
    }
}

/// State of one connection.
#[derive(Debug)]
pub struct LedbatPp {
    started: Instant,
    config: LedbatPpConfig,
    mss: u64,
    cwnd: u64,
    ssthresh: u64,
    /// Growth too small for a byte yet, in 2^-16 bytes.
    fraction: u64,
    base: BaseHistory,
    recent: [u32; CURRENT_FILTER],
    next: usize,
    queueing: u64,
    rounds: Rounds,
    slowdown: Slowdown,
    /// Whether the slow start under way is the first one, which delay ends.
    initial: bool,
    reduced_at: Option<Instant>,
    before_loss: Option<(u64, u64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slowdown {
    /// Not before slow start is over.
    None,
    /// Begins then.
    At(Instant),
    /// The window is at its least until then; since when.
    Frozen(Instant, Instant),
    /// Slow start back up to the threshold; since when the slowdown lasts.
    Ramp(Instant),
}

impl LedbatPp {
    /// A controller for a connection with packets of `mss` payload bytes.
    #[must_use]
    pub fn new(config: LedbatPpConfig, now: Instant, mss: usize) -> Self {
        let mss = mss as u64;
        Self {
            started: now,
            config,
            mss,
            cwnd: config.initial_packets.max(MIN_PACKETS) * mss,
            ssthresh: u64::MAX,
            fraction: 0,
            base: BaseHistory::default(),
            recent: [u32::MAX; CURRENT_FILTER],
            next: 0,
            queueing: 0,
            rounds: Rounds::default(),
            slowdown: Slowdown::None,
            initial: true,
            reduced_at: None,
            before_loss: None,
        }
    }

    fn min_window(&self) -> u64 {
        MIN_PACKETS * self.mss
    }

    fn target(&self) -> u64 {
        (self.config.target.as_micros() as u64).max(1)
    }

    fn measure(&mut self, ack: &Ack) {
        let Some(rtt) = ack.rtt else { return };
        let rtt = u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX);
        self.base.update(Time(micros(ack.now.saturating_duration_since(self.started))), rtt);
        #[expect(clippy::indexing_slicing, reason = "it wraps at the length")]
        let oldest = &mut self.recent[self.next];
        *oldest = rtt;
        self.next = (self.next + 1) % CURRENT_FILTER;
        let current = self.recent.iter().copied().min().unwrap_or(rtt);
        self.queueing = u64::from(current.saturating_sub(self.base.lowest()));
    }

    /// 1 / GAIN (draft 4.2).
    fn divisor(&self) -> u64 {
        (2 * self.target()).div_ceil(u64::from(self.base.lowest()).max(1)).clamp(1, 16)
    }

    fn grow(&mut self, bytes: u64, limit: u64) {
        self.cwnd =
            (self.cwnd + bytes).min(limit).clamp(self.min_window(), MAX_WINDOW.max(self.min_window()));
    }

    fn slow_start(&mut self, ack: &Ack) {
        if self.initial && self.queueing * 4 > self.target() * 3 {
            self.ssthresh = self.cwnd;
            self.leave_slow_start(ack);
        } else if !ack.app_limited {
            self.fraction += (ack.bytes << 16) / self.divisor();
            let whole = self.fraction >> 16;
            self.fraction &= 0xffff;
            self.grow(whole, self.ssthresh);
            if self.cwnd >= self.ssthresh {
                self.leave_slow_start(ack);
            }
        }
    }

    fn leave_slow_start(&mut self, ack: &Ack) {
        self.slowdown = match self.slowdown {
            Slowdown::Ramp(since) => {
                Slowdown::At(ack.now + PERIOD * ack.now.saturating_duration_since(since))
            }
            Slowdown::None => Slowdown::At(ack.now + 2 * ack.srtt),
            other => other,
        };
        self.initial = false;
        self.rounds.restart(ack.now);
    }

    /// Draft 4.3.
    fn avoid_congestion(&mut self, ack: &Ack) {
        if !ack.app_limited {
            let gain = (self.mss << 16) / self.divisor();
            self.fraction += (u128::from(gain) * u128::from(ack.bytes) / u128::from(self.cwnd)) as u64;
        }
        if self.queueing < self.target() {
            let whole = self.fraction >> 16;
            self.fraction &= 0xffff;
            self.grow(whole, MAX_WINDOW);
        }
        if self.rounds.on_ack(ack.now, ack.sent) && self.queueing > self.target() {
            let excess = self.queueing - self.target();
            let decrease = (u128::from(self.cwnd) * u128::from(excess) / u128::from(self.target())) as u64;
            let gained = self.fraction >> 16;
            self.fraction &= 0xffff;
            let less = decrease.saturating_sub(gained).min(self.cwnd / 2);
            self.cwnd = (self.cwnd - less).max(self.min_window());
        }
    }

    /// Draft 4.5: whether a slowdown has the window.
    fn slow_down(&mut self, ack: &Ack) -> bool {
        match self.slowdown {
            Slowdown::At(at) if ack.now >= at => {
                self.ssthresh = self.cwnd;
                self.cwnd = self.min_window();
                self.slowdown = Slowdown::Frozen(ack.now + 2 * ack.srtt, ack.now);
                true
            }
            Slowdown::Frozen(until, since) => {
                if ack.now < until {
                    return true;
                }
                self.slowdown = Slowdown::Ramp(since);
                false
            }
            _ => false,
        }
    }
}

impl Controller for LedbatPp {
    fn on_ack(&mut self, ack: &Ack) {
        self.measure(ack);
        if self.slow_down(ack) {
            return;
        }
        if self.cwnd < self.ssthresh {
            self.slow_start(ack);
        } else {
            self.avoid_congestion(ack);
        }
    }

    fn on_loss(&mut self, loss: &Loss) {
        if loss.timeouts >= PERSISTENT {
            self.cwnd = self.min_window();
            self.before_loss = None;
            self.slowdown = Slowdown::None;
            return;
        }
        if self.reduced_at.is_some_and(|at| loss.sent <= at) || matches!(self.slowdown, Slowdown::Frozen(..))
        {
            return;
        }
        self.before_loss = Some((self.cwnd, self.ssthresh));
        self.cwnd = (self.cwnd / 2).max(self.min_window());
        self.ssthresh = self.cwnd;
        self.initial = false;
        self.slowdown = match self.slowdown {
            // It did not get back: twice as expensive.
            Slowdown::Ramp(since) => {
                Slowdown::At(loss.now + 2 * PERIOD * loss.now.saturating_duration_since(since))
            }
            Slowdown::None => Slowdown::At(loss.now),
            other => other,
        };
        self.reduced_at = Some(loss.now);
    }

    fn on_spurious_loss(&mut self) {
        if let Some((cwnd, ssthresh)) = self.before_loss.take() {
            self.cwnd = self.cwnd.max(cwnd);
            self.ssthresh = ssthresh;
            self.reduced_at = None;
        }
    }

    fn on_restart(&mut self, _now: Instant) {
        let restart = self.config.initial_packets.max(MIN_PACKETS) * self.mss;
        self.slowdown = Slowdown::None;
        if self.cwnd > restart {
            self.ssthresh = self.ssthresh.max(self.cwnd);
            self.cwnd = restart;
            self.initial = true;
        }
    }

    fn on_mss(&mut self, mss: usize) {
        self.mss = mss as u64;
        self.cwnd = self.cwnd.max(self.min_window());
    }

    fn window(&self) -> u64 {
        self.cwnd
    }

    fn ssthresh(&self) -> u64 {
        self.ssthresh
    }

    fn delays(&self) -> (Duration, Duration) {
        (Duration::from_micros(u64::from(self.base.lowest())), Duration::from_micros(self.queueing))
    }
}

/// Draft 4.2.
const TARGET: Duration = Duration::from_millis(60);

/// Draft 4.5: slowdowns take a tenth of the time.
const PERIOD: u32 = 9;

const CURRENT_FILTER: usize = 4;

#[cfg(test)]
#[path = "ledbat_pp_tests.rs"]
mod tests;
