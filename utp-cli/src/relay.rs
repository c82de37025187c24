//! One connection of a proxy: bytes and half-closes from one stream to another, both ways.

use std::io;
use std::iter;

use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::TcpStream;
use tokio_util::either::Either;
use utp_tokio::UtpStream;

/// One end of a proxied connection.
pub(crate) type Stream = Either<TcpStream, UtpStream>;

/// A client and what it is connected to, at least one of them over uTP.
///
/// If one of them breaks, so does the other: a relay that is dropped before both directions have finished
/// resets both ends, or the client if there is no target yet, so that nobody takes a broken stream for a
/// finished one.
pub(crate) struct Relay {
    client: Stream,
    target: Option<Stream>,
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
    pub(crate) fn new(client: Stream) -> Self {
        Self { client, target: None, finished: false }
    }

    /// Runs until both directions have finished, or either end breaks.
    ///
    /// # Errors
    /// That of the end that broke.
    pub(crate) async fn run(&mut self, target: Stream) -> io::Result<()> {
        let target = self.target.insert(target);
        copy_bidirectional_with_sizes(&mut self.client, target, BUFFER, BUFFER).await?;
        self.finished = true;
        Ok(())
    }

    /// Up to now.
    pub(crate) fn moved(&self) -> Moved {
        let (forth, back) = match (&self.client, &self.target) {
            (_, Some(Either::Right(target))) => (target.bytes_written(), target.bytes_read()),
            (Either::Right(client), _) => (client.bytes_read(), client.bytes_written()),
            (Either::Left(_), _) => (0, 0),
        };
        let mut moved = Moved { forth, back, ..Moved::default() };
        for stream in self.ends() {
            if let Either::Right(utp) = stream {
                let stats = utp.stats();
                moved.retransmits += stats.retransmits;
                moved.timeouts += stats.timeouts;
            }
        }
        moved
    }

    fn ends(&self) -> impl Iterator<Item = &Stream> {
        iter::once(&self.client).chain(&self.target)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if !self.finished {
            self.ends().for_each(reset);
        }
    }
}

/// Makes the other side see a reset instead of an end once `stream` is dropped.
fn reset(stream: &Stream) {
    match stream {
        // Fails only if the connection is gone already.
        Either::Left(tcp) => drop(tcp.set_zero_linger()),
        Either::Right(utp) => utp.abort(),
    }
}

/// Memory per direction. Connections may be many.
const BUFFER: usize = 32 << 10;
