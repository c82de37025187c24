//! Congestion control behind one trait: [`Controller`] per connection, made by a
//! [`ControllerFactory`] that [`Config::congestion`](crate::Config::congestion) takes for all connections
//! of an endpoint, and [`Connection::set_congestion`](crate::Connection::set_congestion) for one. Users may
//! bring their own: `examples/own_controller.rs`.
//!
//! - [`Ebb`]: background, the default: fills what is idle within a second and leaves it within as much.
//! - [`Ledbat`]: background, as deployed peers do it.
//! - [`LedbatPp`]: background, as the draft of its successor has it.
//! - [`Cubic`]: foreground, TCP's equal.
//! - [`FixedWindow`]: tests and private links.

mod cubic;
mod delay;
mod ebb;
mod fixed;
mod hystart;
mod ledbat;
mod ledbat_pp;
mod rounds;

use std::fmt::Debug;
use std::time::{Duration, Instant};

pub use cubic::{Cubic, CubicConfig};
pub use ebb::{Ebb, EbbConfig};
pub use fixed::FixedWindow;
pub use ledbat::{Ledbat, LedbatConfig};
pub use ledbat_pp::{LedbatPp, LedbatPpConfig};

/// Decides how many bytes one connection may have in flight.
///
/// The connection calls `on_*` with what happened, in order of time, and asks for
/// [`window`](Self::window) before each packet. Sizes are payload bytes.
pub trait Controller: Send + Debug + 'static {
    /// An acknowledgement took packets out of flight. Called once per acknowledgement received.
    fn on_ack(&mut self, ack: &Ack);

    /// Loss was found. Called for every acknowledgement or time-out that revealed some; a controller
    /// reacts once per round trip: compare [`Loss::sent`] with the time of the last reaction.
    fn on_loss(&mut self, loss: &Loss);

    /// The loss last reported turned out to be reordering: restore what it cost, if still possible.
    fn on_spurious_loss(&mut self) {}

    /// Nothing was in flight for longer than a time-out, and sending starts again.
    fn on_restart(&mut self, _now: Instant) {}

    /// The payload of a full packet changed.
    fn on_mss(&mut self, _mss: usize) {}

    /// Bytes that may be in flight now. At least one full packet, or the connection would stall; the
    /// connection treats less as one packet.
    #[must_use]
    fn window(&self) -> u64;

    /// Slow-start threshold in bytes, `u64::MAX` if none, for the statistics and the pacer (which
    /// allows twice the window per round trip below it).
    #[must_use]
    fn ssthresh(&self) -> u64 {
        u64::MAX
    }

    /// Lowest one-way delay of the history, and queueing delay now, for the statistics.
    #[must_use]
    fn delays(&self) -> (Duration, Duration) {
        (Duration::ZERO, Duration::ZERO)
    }

    /// Bytes per second to pace at. `None` lets the connection derive it from window and round trip.
    #[must_use]
    fn pacing_rate(&self) -> Option<u64> {
        None
    }
}

/// Makes the controller of a new connection.
pub trait ControllerFactory: Send + Sync + Debug + 'static {
    /// `mss`: payload of a full packet in bytes, as known at the start.
    fn build(&self, now: Instant, mss: usize) -> Box<dyn Controller>;
}

/// One acknowledgement, as a [`Controller`] sees it.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Ack {
    /// When it arrived.
    pub now: Instant,
    /// Payload bytes newly acknowledged, cumulatively or selectively.
    pub bytes: u64,
    /// Payload bytes in flight before it.
    pub in_flight: u64,
    /// When the newest packet it acknowledges was sent.
    pub sent: Instant,
    /// Round-trip time of that packet, if it was sent only once (Karn).
    pub rtt: Option<Duration>,
    /// Smoothed and smallest round-trip time of the connection; zero before the first sample.
    pub srtt: Duration,
    /// See `srtt`.
    pub min_rtt: Duration,
    /// One-way delay of one of our packets as the peer measured it: microseconds, offset by the
    /// unknown difference of the clocks, wrapping at 32 bits. `None` if the peer gave no usable one.
    pub delay: Option<u32>,
    /// One-way delay of the packet that carried this acknowledgement, measured here, with the
    /// opposite offset. `None` if the peer gave no usable timestamp.
    pub reverse_delay: Option<u32>,
    /// The application, Nagle or the peer's window, not the congestion window, limited what was in
    /// flight: growing the window would be unfounded.
    pub app_limited: bool,
}

impl Ack {
    /// One that arrived at `now` and says nothing yet, for tests of controllers: set what is to be told.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            now,
            bytes: 0,
            in_flight: 0,
            sent: now,
            rtt: None,
            srtt: Duration::ZERO,
            min_rtt: Duration::ZERO,
            delay: None,
            reverse_delay: None,
            app_limited: false,
        }
    }
}

/// Lost packets, as a [`Controller`] sees them.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Loss {
    /// When it was found.
    pub now: Instant,
    /// Payload bytes found lost.
    pub bytes: u64,
    /// When the newest packet found lost had been sent.
    pub sent: Instant,
    /// Payload bytes in flight before they were found lost.
    pub in_flight: u64,
    /// Retransmission time-outs in a row, 0 if an acknowledgement revealed the loss. From 2 on
    /// nothing came through for a long time (RFC 9002 7.6, persistent congestion).
    pub timeouts: u32,
}

impl Loss {
    /// One that was found at `now` and says nothing yet, for tests of controllers: set what is to be told.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { now, bytes: 0, sent: now, in_flight: 0, timeouts: 0 }
    }
}

/// RFC 6928: ten packets.
const INITIAL_PACKETS: u64 = 10;

/// RFC 6817 2.4.2 MIN_CWND, RFC 9002 7.2 kMinimumWindow.
const MIN_PACKETS: u64 = 2;

/// No sequence space holds more: 32 767 packets of 9000 bytes.
const MAX_WINDOW: u64 = 32_767 * 9_000;

/// Time-outs in a row that mean that the path, not a packet, is gone.
const PERSISTENT: u32 = 2;

/// Packets that an acknowledgement covers in the tests of controllers: Miri needs milliseconds for each.
#[cfg(test)]
const STRETCH: u64 = if cfg!(miri) { 40 } else { 1 };
