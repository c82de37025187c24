//! What congestion control does on simulated links: scenarios, figures beside their targets, tables, plots.
//!
//! - [`Scenario`] and [`Run`]: flows over one bottleneck, and what was seen of them every tenth of a second.
//! - `tables`: the tables, each a list of jobs that can run on any thread.
//! - `report`: text and JSON. `plot`: SVG. (These three need the feature `interop`.)
//!
//! `cargo run --release -p utp-tests --bin congestion` runs all of it. Everything happens in virtual time and
//! from a seed: the same build gives the same figures on any machine.

#[cfg(feature = "interop")]
pub mod plot;
#[cfg(feature = "interop")]
pub mod report;
mod run;
#[cfg(feature = "interop")]
pub mod tables;

use std::sync::Arc;
use std::time::Duration;

use utp_proto::congestion::{ControllerFactory, CubicConfig, EbbConfig, LedbatConfig, LedbatPpConfig};

pub use run::{Flow, Queue, Run, Sample, Scenario};

/// The controllers that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Our own.
    Ebb,
    /// LEDBAT with deployed constants.
    Ledbat,
    /// LEDBAT++.
    LedbatPp,
    /// CUBIC with HyStart++.
    Cubic,
}

impl Kind {
    /// All of them, the default first.
    pub const ALL: [Self; 4] = [Self::Ebb, Self::Ledbat, Self::LedbatPp, Self::Cubic];

    /// As on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ebb => "ebb",
            Self::Ledbat => "ledbat",
            Self::LedbatPp => "ledbat++",
            Self::Cubic => "cubic",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Makes its controllers.
    #[must_use]
    pub fn factory(self) -> Arc<dyn ControllerFactory> {
        match self {
            Self::Ebb => Arc::new(EbbConfig::default()),
            Self::Ledbat => Arc::new(LedbatConfig::default()),
            Self::LedbatPp => Arc::new(LedbatPpConfig::default()),
            Self::Cubic => Arc::new(CubicConfig::default()),
        }
    }

    /// The queueing delay that it aims for on a path of this round-trip time; `None`: whatever there is.
    #[must_use]
    pub fn target(self, rtt: Duration) -> Option<Duration> {
        match self {
            Self::Ebb => Some(EbbConfig::default().target(rtt)),
            Self::Ledbat => Some(LedbatConfig::default().target),
            Self::LedbatPp => Some(LedbatPpConfig::default().target),
            Self::Cubic => None,
        }
    }
}
