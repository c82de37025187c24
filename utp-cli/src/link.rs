//! The one connection of `send`, `recv`, `cat` and `demo`.

use std::time::{Duration, Instant};

use tokio::time::timeout;
use utp_tokio::{OwnedReadHalf, OwnedWriteHalf, UtpSocket, UtpStream};

/// A connection that the peer can tell whole from broken.
///
/// A dropped `UtpStream` ends with a FIN, which says "that was all". After an error, a panic or Ctrl-C
/// that would be a lie, and the peer would keep half a file: a link that is dropped resets the
/// connection, unless [`done`](Self::done) or [`linger`](Self::linger) said that all is well.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) read: OwnedReadHalf,
    pub(crate) write: OwnedWriteHalf,
    socket: UtpSocket,
    /// When it was established.
    since: Instant,
    whole: bool,
}

impl Link {
    pub(crate) fn new(socket: UtpSocket, stream: UtpStream) -> Self {
        let (read, write) = stream.into_split();
        Self { read, write, socket, since: Instant::now(), whole: false }
    }

    pub(crate) fn stream(&self) -> &UtpStream {
        self.read.as_ref()
    }

    pub(crate) fn socket(&self) -> &UtpSocket {
        &self.socket
    }

    /// Since it was established.
    pub(crate) fn elapsed(&self) -> Duration {
        self.since.elapsed()
    }

    /// Everything is done, and nothing is left to be sent.
    pub(crate) fn done(mut self) {
        self.whole = true;
    }

    /// Everything is done, but a peer whose FIN we acknowledged has to ask once more if the
    /// acknowledgement is lost. Stays for it as long as it takes to time out once.
    pub(crate) async fn linger(mut self) {
        self.whole = true;
        let stay = self.stream().stats().rto * 3 / 2;
        self.leave(stay.min(LINGER_LIMIT)).await;
    }

    /// Something went wrong: resets the connection.
    pub(crate) async fn reset(self) {
        self.leave(RESET_TIME).await;
    }

    /// The process must not end with that unsent which the end of the connection brings about.
    async fn leave(self, stay: Duration) {
        let socket = self.socket.clone();
        drop(self);
        // Whether the time was enough or not, there is nothing else to be done.
        let _ = timeout(stay, socket.idle()).await;
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if !self.whole {
            self.stream().abort();
        }
    }
}

/// For the driver to hand one datagram to the kernel, on a busy machine too. (There is nothing to wait
/// for: that the peer got it, nobody says.)
const RESET_TIME: Duration = Duration::from_millis(200);

/// Nobody likes a command that is done and does not end.
const LINGER_LIMIT: Duration = Duration::from_secs(3);
