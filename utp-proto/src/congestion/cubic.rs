//! CUBIC (RFC 9438) with HyStart++ (RFC 9406): for foreground transfers that compete with TCP as equals.
//! It fills whatever queue the bottleneck has and yields to nobody but as TCP does.
//!
//! Deviations from RFC 9438:
//! - windows are counted in bytes;
//! - the window after a loss derives from the congestion window rather than from the flight (4.6 permits it to
//!   those who do not let it grow while the application is the limit, and ours does not);
//! - a first time-out reduces as any loss does, a second one in a row collapses the window (RFC 9002 7.6 in
//!   spirit), since time-outs are told from reordering here and a single one may be spurious (4.9);
//! - HyStart++ in every slow start, not only the initial one: later ones are bounded by `ssthresh` anyway;
//! - after idleness the window is opened again by slow start up to where it was (RFC 5681 4.1).

use std::time::{Duration, Instant};

use super::hystart::{HyStart, Step};
use super::{Ack, Controller, ControllerFactory, INITIAL_PACKETS, Loss, MAX_WINDOW, MIN_PACKETS, PERSISTENT};

/// Parameters of [`Cubic`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CubicConfig {
    /// Window of a new connection, in full packets. Default 10 (RFC 6928).
    pub initial_packets: u64,
}

impl Default for CubicConfig {
    fn default() -> Self {
        Self { initial_packets: INITIAL_PACKETS }
    }
}

impl ControllerFactory for CubicConfig {
    fn build(&self, _now: Instant, mss: usize) -> Box<dyn Controller> {
        Box::new(Cubic::new(*self, mss))
    }
}

/// State of one connection.
#[derive(Debug)]
pub struct Cubic {
    config: CubicConfig,
    mss: f64,
    cwnd: f64,
    ssthresh: u64,
    hystart: HyStart,
    /// Window before the last reduction, W_max.
    w_max: f64,
    epoch: Option<Epoch>,
    reduced_at: Option<Instant>,
    undo: Option<Undo>,
}

/// One period of congestion avoidance.
#[derive(Debug, Clone, Copy)]
struct Epoch {
    start: Instant,
    /// Seconds from the start to the plateau.
    k: f64,
    /// Window at the plateau.
    origin: f64,
    /// What Reno would have, W_est.
    reno: f64,
    /// Window before the loss, from which on Reno grows as fast as it does.
    prior: f64,
    /// The application was the limit since then: the clock of the cubic function stands still.
    paused: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Undo {
    cwnd: f64,
    ssthresh: u64,
    w_max: f64,
    epoch: Option<Epoch>,
}

impl Cubic {
    /// A controller for a connection with packets of `mss` payload bytes.
    #[must_use]
    pub fn new(config: CubicConfig, mss: usize) -> Self {
        let mss = mss as f64;
        Self {
            config,
            mss,
            cwnd: config.initial_packets.max(MIN_PACKETS) as f64 * mss,
            ssthresh: u64::MAX,
            hystart: HyStart::new(),
            w_max: 0.0,
            epoch: None,
            reduced_at: None,
            undo: None,
        }
    }

    fn min_window(&self) -> f64 {
        MIN_PACKETS as f64 * self.mss
    }

    fn set(&mut self, cwnd: f64) {
        self.cwnd = cwnd.clamp(self.min_window(), MAX_WINDOW as f64);
    }

    /// RFC 9438 4.2 to 4.5.
    fn avoid_congestion(&mut self, ack: &Ack) {
        let (cwnd, mss) = (self.cwnd, self.mss);
        let w_max = self.w_max.max(cwnd);
        let epoch = self.epoch.get_or_insert_with(|| Epoch {
            start: ack.now,
            k: ((w_max - cwnd) / mss / C).cbrt(),
            origin: w_max,
            reno: cwnd,
            prior: w_max,
            paused: None,
        });
        if let Some(paused) = epoch.paused.take() {
            epoch.start += ack.now.saturating_duration_since(paused);
        }
        let t = ack.now.saturating_duration_since(epoch.start);
        let cubic = |t: Duration| epoch.origin + C * mss * (t.as_secs_f64() - epoch.k).powi(3);
        let acked = (ack.bytes as f64).min(cwnd);
        let alpha = if epoch.reno < epoch.prior { 3.0 * (1.0 - BETA) / (1.0 + BETA) } else { 1.0 };
        epoch.reno += alpha * mss * acked / cwnd;
        let reno = epoch.reno;
        let next = if cubic(t) < reno {
            reno.max(cwnd)
        } else {
            let target = cubic(t + ack.srtt).clamp(cwnd, 1.5 * cwnd);
            cwnd + (target - cwnd) * acked / cwnd
        };
        self.set(next);
    }

    fn reduce(&mut self, now: Instant) {
        self.undo =
            Some(Undo { cwnd: self.cwnd, ssthresh: self.ssthresh, w_max: self.w_max, epoch: self.epoch });
        // 4.7, fast convergence: make room for newcomers.
        self.w_max = if self.cwnd < self.w_max { self.cwnd * (1.0 + BETA) / 2.0 } else { self.cwnd };
        let prior = self.cwnd;
        self.set(self.cwnd * BETA);
        self.ssthresh = self.cwnd as u64;
        self.epoch = Some(Epoch {
            start: now,
            k: ((self.w_max - self.cwnd).max(0.0) / self.mss / C).cbrt(),
            origin: self.w_max.max(self.cwnd),
            reno: self.cwnd,
            prior,
            paused: None,
        });
        self.reduced_at = Some(now);
    }
}

impl Controller for Cubic {
    fn on_ack(&mut self, ack: &Ack) {
        if ack.app_limited {
            if let Some(epoch) = &mut self.epoch {
                epoch.paused.get_or_insert(ack.now);
            }
            return;
        }
        if self.cwnd as u64 >= self.ssthresh {
            return self.avoid_congestion(ack);
        }
        match self.hystart.on_ack(ack) {
            Step::Grow(bytes) => self.set((self.cwnd + bytes as f64).min(self.ssthresh as f64)),
            Step::Exit => self.ssthresh = self.cwnd as u64,
        }
    }

    fn on_loss(&mut self, loss: &Loss) {
        if loss.timeouts >= PERSISTENT {
            self.set(0.0);
            self.epoch = None;
            self.undo = None;
            self.hystart = HyStart::new();
        } else if self.reduced_at.is_none_or(|at| loss.sent > at) {
            self.reduce(loss.now);
        }
    }

    fn on_spurious_loss(&mut self) {
        if let Some(undo) = self.undo.take() {
            self.cwnd = self.cwnd.max(undo.cwnd);
            (self.ssthresh, self.w_max, self.epoch) = (undo.ssthresh, undo.w_max, undo.epoch);
            self.reduced_at = None;
        }
    }

    fn on_restart(&mut self, _now: Instant) {
        let restart = self.config.initial_packets.max(MIN_PACKETS) as f64 * self.mss;
        if self.cwnd > restart {
            self.ssthresh = self.ssthresh.max(self.cwnd as u64);
            self.cwnd = restart;
            self.hystart = HyStart::new();
            self.epoch = None;
        }
    }

    fn on_mss(&mut self, mss: usize) {
        self.mss = mss as f64;
        self.set(self.cwnd);
    }

    fn window(&self) -> u64 {
        self.cwnd as u64
    }

    fn ssthresh(&self) -> u64 {
        self.ssthresh
    }
}

/// RFC 9438 5: C, in packets per second cubed.
const C: f64 = 0.4;

/// RFC 9438 4.6: beta_cubic.
const BETA: f64 = 0.7;

#[cfg(test)]
#[path = "cubic_tests.rs"]
mod tests;
