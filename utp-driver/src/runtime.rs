//! What a runtime must supply. Everything else about asynchronous sockets and streams is written
//! once, in [`hub`](crate::hub).

use std::future::Future;
use std::io;
use std::task::{Context, Poll};
use std::time::Instant;

/// A descriptor that `quinn-udp` can work on: `AsFd`, on Windows `AsSocket`.
#[cfg(unix)]
pub trait AsUdp: std::os::fd::AsFd {}
#[cfg(unix)]
impl<T: std::os::fd::AsFd> AsUdp for T {}

/// A descriptor that `quinn-udp` can work on: `AsFd`, on Windows `AsSocket`.
#[cfg(windows)]
pub trait AsUdp: std::os::windows::io::AsSocket {}
#[cfg(windows)]
impl<T: std::os::windows::io::AsSocket> AsUdp for T {}

/// Which way a system call moves data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Receiving.
    Read,
    /// Sending.
    Write,
}

/// A non-blocking UDP socket as its event loop wants it used.
pub trait UdpSocket: AsUdp {
    /// Runs `operation`, one system call in `direction`, and tells the event loop if it answered
    /// `WouldBlock`. May answer so itself, without running it, if it knows.
    ///
    /// # Errors
    /// Those of `operation`.
    fn try_io<R>(&self, direction: Direction, operation: impl FnOnce() -> io::Result<R>) -> io::Result<R>;
}

/// Without an event loop: whoever waits does it by other means.
impl UdpSocket for std::net::UdpSocket {
    fn try_io<R>(&self, _: Direction, operation: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
        operation()
    }
}

/// A UDP socket whose readiness a task can wait for. Only the driver's task calls the poll methods.
pub trait AsyncUdpSocket: UdpSocket + Send + Sync + 'static {
    /// Whether receiving is worth another try. Registers the task if not.
    ///
    /// # Errors
    /// Only if the runtime is being shut down: the driver ends.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Whether sending is worth another try. Registers the task if not.
    ///
    /// # Errors
    /// Only if the runtime is being shut down: the driver ends.
    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// The one timer of a driver.
pub trait Timer: Unpin + Send + 'static {
    /// Moves the timer to `deadline`, whatever it was set to before.
    fn reset(&mut self, deadline: Instant);

    /// Whether the deadline has come. Registers the task if not.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

/// An asynchronous runtime. A type without a value: it is found through the thread it is used on.
pub trait Runtime: Send + 'static {
    /// Its UDP socket.
    type Socket: AsyncUdpSocket;
    /// Its timer.
    type Timer: Timer;

    /// The clock that its timers follow (tokio's can be paused).
    fn now() -> Instant;

    /// Makes the runtime watch `socket`, which is non-blocking.
    ///
    /// # Errors
    /// Those of the system's event queue.
    fn register(socket: std::net::UdpSocket) -> io::Result<Self::Socket>;

    /// A timer that is not set yet.
    fn timer() -> Self::Timer;

    /// Runs the one task that a socket needs, until it ends by itself.
    fn spawn(driver: impl Future<Output = ()> + Send + 'static);
}
