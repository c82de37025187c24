//! What crossed the relay, for the message of a failed case.

use std::fmt;
use std::time::Duration;

use super::faults::{Direction, Fate};
pub use crate::packet::Packet;

/// One datagram as the relay saw it.
#[derive(Debug, Clone)]
pub struct Record {
    /// Since the relay started.
    pub at: Duration,
    /// Which way it went.
    pub direction: Direction,
    /// What the relay did to it; `None` if the line was cut.
    pub fate: Option<Fate>,
    /// What it was.
    pub packet: Packet,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arrow = match self.direction {
            Direction::Forth => "dialer >",
            Direction::Back => "       < acceptor",
        };
        let fate = match self.fate {
            Some(Fate::Passed) => "",
            Some(Fate::Dropped) => "  ** dropped",
            Some(Fate::Delayed) => "  ** delayed",
            Some(Fate::Doubled) => "  ** doubled",
            None => "  ** line cut",
        };
        write!(f, "{:10.6} {arrow:<17} {}{fate}", self.at.as_secs_f64(), self.packet)
    }
}
