//! System calls that fail when a test wants them to: at the one place where every adapter makes them.

use std::fmt::Debug;
use std::io;
use std::time::Duration;

use crate::runtime::Direction;

/// Decides what becomes of a socket's system calls. Given to it by
/// [`SocketConfig::faults`](crate::SocketConfig::faults).
pub trait Faults: Debug + Send + Sync {
    /// Asked before each call that sends or receives.
    ///
    /// # Errors
    /// What the call is to give: then it is not made. The event loop does not learn of a `WouldBlock`, so whoever
    /// waits for readiness is to be told as if it had come by itself.
    fn before(&self, direction: Direction) -> io::Result<()>;

    /// When the kernel says that a datagram arrived (time since the epoch), instead of `stamp`: as if the clock of the
    /// machine had been set since.
    fn arrived(&self, stamp: Duration) -> Duration {
        stamp
    }
}
