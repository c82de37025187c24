//! LEDBAT, low extra delay background transport (RFC 6817), with the constants of deployed peers.
//!
//! Deviations from the RFC, all as libutp and libtorrent do unless said otherwise:
//! - gain is [`GAIN`] bytes per round trip instead of one packet;
//! - slow start until queueing reaches 9/10 of the target (the RFC leaves it open);
//! - base history of 13 minutes instead of 10;
//! - instead of tying the window to the flight size (2.4.2), it grows only when it was the window that
//!   limited the flight;
//! - the initial window is TCP's (RFC 6928) rather than two packets, which 2.4.2 permits and pacing makes
//!   harmless (ours);
//! - a first time-out halves, a second one in a row collapses the window (RFC 9002 7.6 in spirit; ours);
//! - after idleness the window is that of a new connection, and slow start leads back to what it was (ours);
//! - what delay takes from the window is at most half of what was acknowledged (ours);
//! - a queue that the round trip shows counts whatever is reported, and a base that drifts with the peer's clock is followed
//!   (`delay.rs`; ours);
//! - a time-out in slow start on the way back to the threshold leaves that (RFC 5681 lowers it: eight outages in a row,
//!   and the additive way back takes a minute; ours).

use std::time::{Duration, Instant};

use super::delay::DelayFilter;
use super::{Ack, Controller, ControllerFactory, INITIAL_PACKETS, Loss, MAX_WINDOW, MIN_PACKETS, PERSISTENT};

/// Parameters of [`Ledbat`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LedbatConfig {
    /// Queueing delay to aim for. Default 100 ms, the most that RFC 6817 allows and what all deployed
    /// peers use; a lower one yields to them.
    pub target: Duration,
    /// Bytes per round trip by which the window grows on an empty queue. Default 3000.
    pub gain: u64,
    /// Window of a new connection, in full packets. Default 10 (RFC 6928).
    pub initial_packets: u64,
}

impl Default for LedbatConfig {
    fn default() -> Self {
        Self { target: TARGET, gain: GAIN, initial_packets: INITIAL_PACKETS }
    }
}

impl ControllerFactory for LedbatConfig {
    fn build(&self, now: Instant, mss: usize) -> Box<dyn Controller> {
        Box::new(Ledbat::new(*self, now, mss))
    }
}

/// State of one connection.
#[derive(Debug)]
pub struct Ledbat {
    config: LedbatConfig,
    mss: u64,
    cwnd: u64,
    ssthresh: u64,
    /// Window change too small for a byte yet, in 2^-16 bytes.
    fraction: i64,
    delay: DelayFilter,
    queueing: u64,
    /// Loss of packets sent before this has been reacted to.
    reduced_at: Option<Instant>,
    /// Window and threshold before the last reduction.
    before_loss: Option<(u64, u64)>,
}

impl Ledbat {
    /// A controller for a connection with packets of `mss` payload bytes.
    #[must_use]
    pub fn new(config: LedbatConfig, now: Instant, mss: usize) -> Self {
        let mss = mss as u64;
        Self {
            config,
            mss,
            cwnd: config.initial_packets.max(MIN_PACKETS) * mss,
            ssthresh: u64::MAX,
            fraction: 0,
            delay: DelayFilter::new(now),
            queueing: 0,
            reduced_at: None,
            before_loss: None,
        }
    }

    fn min_window(&self) -> u64 {
        MIN_PACKETS * self.mss
    }

    fn target_micros(&self) -> u64 {
        (self.config.target.as_micros() as u64).max(1)
    }

    /// RFC 6817 2.4.2: proportional to the distance from the target and to what was acknowledged.
    fn steer(&mut self, ack: &Ack) {
        let target = self.target_micros() as i64;
        let off_target = target - self.queueing as i64;
        if off_target > 0 && ack.app_limited {
            return;
        }
        // In 2^-16 bytes; every factor is bounded, so that nothing overflows.
        let acked = ack.bytes.min(self.cwnd) as i128;
        let gain = self.config.gain as i128;
        let step =
            ((gain * i128::from(off_target) * acked) << 16) / (i128::from(target) * i128::from(self.cwnd));
        // Never by more than half of what was acknowledged: at most half a window per round trip.
        let limit = acked << 15;
        self.fraction += step.clamp(-limit, limit) as i64;
        let whole = self.fraction >> 16;
        self.fraction -= whole << 16;
        self.cwnd = self.cwnd.saturating_add_signed(whole).clamp(self.min_window(), MAX_WINDOW);
    }
}

impl Controller for Ledbat {
    fn on_ack(&mut self, ack: &Ack) {
        self.queueing = self.delay.update(ack);
        if self.cwnd < self.ssthresh {
            if self.queueing * 10 > self.target_micros() * 9 {
                self.ssthresh = self.cwnd;
            } else if !ack.app_limited {
                self.cwnd = (self.cwnd + ack.bytes).min(self.ssthresh).min(MAX_WINDOW);
            }
            return;
        }
        self.steer(ack);
    }

    fn on_loss(&mut self, loss: &Loss) {
        if loss.timeouts >= PERSISTENT {
            self.cwnd = self.min_window();
            self.before_loss = None;
            return;
        }
        if self.reduced_at.is_some_and(|at| loss.sent <= at) {
            return;
        }
        self.before_loss = Some((self.cwnd, self.ssthresh));
        // A time-out on the way back from another says nothing new about where the path was full.
        let again = loss.timeouts > 0 && self.cwnd < self.ssthresh && self.ssthresh != u64::MAX;
        self.cwnd = (self.cwnd / 2).max(self.min_window());
        if !again {
            self.ssthresh = self.cwnd;
        }
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
        // What was learnt about the path is old: probe it again in slow start up to the old window.
        let restart = self.config.initial_packets.max(MIN_PACKETS) * self.mss;
        if self.cwnd > restart {
            self.ssthresh = self.ssthresh.max(self.cwnd);
            self.cwnd = restart;
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
        (Duration::from_micros(u64::from(self.delay.base())), Duration::from_micros(self.queueing))
    }
}

/// RFC 6817 2.5: MUST be at most 100 ms; libutp, libtorrent: 100 ms.
const TARGET: Duration = Duration::from_millis(100);

/// libutp `MAX_CWND_INCREASE_BYTES_PER_RTT`, libtorrent `utp_gain_factor`.
const GAIN: u64 = 3000;

#[cfg(test)]
#[path = "ledbat_tests.rs"]
mod tests;
