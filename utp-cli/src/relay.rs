//! One connection of a proxy: bytes and half-closes from one stream to another, both ways.

use std::io;

use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::TcpStream;
use tokio_util::either::Either;
use utp_tokio::{ConnectionStats, UtpStream};

/// One end of a proxied connection.
pub(crate) type Stream = Either<TcpStream, UtpStream>;

/// A client and what it is connected to, at least one of them over uTP.
///
/// If one of them breaks, so does the other: a relay that is dropped before both directions have finished
/// resets both ends, so that nobody takes a broken stream for a finished one.
pub(crate) struct Relay {
    client: Stream,
    target: Stream,
    finished: bool,
}

/// What a relay has moved.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Moved {
    /// Bytes from the client to the target.
    pub(crate) forth: u64,
    /// Bytes from the target to the client.
    pub(crate) back: u64,
    /// uTP packets sent again, on either side.
    pub(crate) retransmits: u64,
    /// uTP retransmission time-outs, on either side.
    pub(crate) timeouts: u64,
}

impl Relay {
    pub(crate) fn new(client: Stream, target: Stream) -> Self {
        Self { client, target, finished: false }
    }

    /// Runs until both directions have finished, or either end breaks.
    ///
    /// # Errors
    /// That of the end that broke.
    pub(crate) async fn run(&mut self) -> io::Result<()> {
        copy_bidirectional_with_sizes(&mut self.client, &mut self.target, BUFFER, BUFFER).await?;
        self.finished = true;
        Ok(())
    }

    /// Up to now.
    pub(crate) fn moved(&self) -> Moved {
        let (forth, back) = match (&self.client, &self.target) {
            (_, Either::Right(target)) => (target.bytes_written(), target.bytes_read()),
            (Either::Right(client), _) => (client.bytes_read(), client.bytes_written()),
            (Either::Left(_), Either::Left(_)) => (0, 0),
        };
        let stats = [&self.client, &self.target].map(stats);
        Moved {
            forth,
            back,
            retransmits: stats.iter().map(|stats| stats.retransmits).sum(),
            timeouts: stats.iter().map(|stats| stats.timeouts).sum(),
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if !self.finished {
            reset(&self.client);
            reset(&self.target);
        }
    }
}

/// Makes the other side see a reset instead of an end once `stream` is dropped.
pub(crate) fn reset(stream: &Stream) {
    match stream {
        // Fails only if the connection is gone already.
        Either::Left(tcp) => drop(tcp.set_zero_linger()),
        Either::Right(utp) => utp.abort(),
    }
}

fn stats(stream: &Stream) -> ConnectionStats {
    match stream {
        Either::Left(_) => ConnectionStats::default(),
        Either::Right(utp) => utp.stats(),
    }
}

/// Memory per direction. Connections may be many.
const BUFFER: usize = 32 << 10;
