//! A constant window: for tests, and for links whose capacity is known.

use std::time::Instant;

use super::{Ack, Controller, ControllerFactory, Loss};

/// A window that never changes. Yields to nobody: use it in tests and on private links only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FixedWindow {
    /// Bytes that may be in flight.
    pub bytes: u64,
}

impl Controller for FixedWindow {
    fn on_ack(&mut self, _ack: &Ack) {}

    fn on_loss(&mut self, _loss: &Loss) {}

    fn window(&self) -> u64 {
        self.bytes
    }

    fn ssthresh(&self) -> u64 {
        self.bytes
    }
}

impl ControllerFactory for FixedWindow {
    fn build(&self, _now: Instant, _mss: usize) -> Box<dyn Controller> {
        Box::new(*self)
    }
}
