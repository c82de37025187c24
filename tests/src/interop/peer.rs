//! One face for all implementations: a peer bound to one UDP port, that connects and accepts, and the
//! two halves of a connection.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;

use utp_tokio::{Config, ConnectionStats};

use super::{ethereum, librqbit, libutp, ours};

/// A boxed future, so that peers can be chosen at run time.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// An implementation bound to one UDP port. What it needs to run (threads, a runtime) is its own.
/// Dropping it ends it without a word, like [`kill`](Self::kill).
pub trait Peer: Send + Sync {
    /// The bound address.
    fn addr(&self) -> SocketAddr;

    /// Opens a connection, and returns when the other side has answered.
    fn connect(&self, to: SocketAddr) -> Boxed<'_, io::Result<Connection>>;

    /// Waits for the next incoming connection.
    fn accept(&self) -> Boxed<'_, io::Result<Connection>>;

    /// Ends everything at once and silently, as `kill -9` would: nothing leaves the port any more, and
    /// another can take it. May block for a moment.
    fn kill(self: Box<Self>);
}

/// A connection, as its two halves. When both are dropped the peer closes in whichever way it does.
pub struct Connection {
    /// What the other side sent.
    pub source: Box<dyn Source>,
    /// Towards the other side.
    pub sink: Box<dyn Sink>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

/// The reading half.
pub trait Source: Send {
    /// Waits for data and appends it to `to`; 0 is the end, by the other side's FIN.
    fn read<'a>(&'a mut self, to: &'a mut Vec<u8>) -> Boxed<'a, io::Result<usize>>;
}

/// The writing half.
pub trait Sink: Send {
    /// Returns when the peer has taken all of `data`, which is not when it arrived.
    fn write_all<'a>(&'a mut self, data: &'a [u8]) -> Boxed<'a, io::Result<()>>;

    /// Has the FIN sent behind all data. The reading half goes on where the peer knows half-close.
    fn finish(&mut self) -> Boxed<'_, io::Result<()>>;

    /// Waits until everything written, and the FIN if there was one, has been acknowledged. A peer that
    /// cannot tell says at once that all is well.
    fn delivered(&mut self) -> Boxed<'_, io::Result<()>> {
        Box::pin(async { Ok(()) })
    }

    /// After [`finish`](Self::finish): waits for the end of the whole connection and says whether it was
    /// a clean one. A peer that cannot tell says at once that all is well.
    fn closed(&mut self) -> Boxed<'_, io::Result<()>> {
        Box::pin(async { Ok(()) })
    }

    /// What the connection has seen so far, where the peer tells.
    fn stats(&self) -> Option<ConnectionStats> {
        None
    }

    /// Breaks the connection off with a RESET. `Unsupported` where the peer cannot.
    fn abort(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// The implementations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// This project, through `utp-tokio`.
    Ours,
    /// libutp, the C++ reference.
    Libutp,
    /// `librqbit-utp` 0.7.
    Librqbit,
    /// The same with the settings under which it can send over a lossy path: no MTU search, since it cuts
    /// lost probes anew under the same number; 20 transmissions of a packet instead of 5; a minute of
    /// silence instead of 10 s.
    LibrqbitPatient,
    /// `utp-rs` 0.1.0-alpha.17, of Ethereum's Portal network.
    Ethereum,
}

impl Kind {
    /// The foreign ones.
    pub const FOREIGN: [Self; 3] = [Self::Libutp, Self::Librqbit, Self::Ethereum];

    /// Binds a peer on loopback, on a port that the system chooses.
    ///
    /// # Errors
    /// Those of opening the socket.
    pub async fn bind(self, v6: bool, seed: u64) -> io::Result<Box<dyn Peer>> {
        let ip = if v6 { IpAddr::V6(Ipv6Addr::LOCALHOST) } else { IpAddr::V4(Ipv4Addr::LOCALHOST) };
        self.bind_to(SocketAddr::new(ip, 0), seed).await
    }

    /// Binds a peer on `addr`.
    ///
    /// # Errors
    /// Those of opening the socket.
    pub async fn bind_to(self, addr: SocketAddr, seed: u64) -> io::Result<Box<dyn Peer>> {
        Ok(match self {
            Self::Ours => Box::new(ours::Ours::bind(addr, Config::default()).await?),
            Self::Libutp => Box::new(libutp::Libutp::bind(addr, seed)?),
            Self::Librqbit => Box::new(librqbit::Librqbit::bind(addr, false).await?),
            Self::LibrqbitPatient => Box::new(librqbit::Librqbit::bind(addr, true).await?),
            Self::Ethereum => Box::new(ethereum::Ethereum::bind(addr)?),
        })
    }

    /// Whether an error of this peer says that it has lost patience by itself. librqbit-utp says so in
    /// words only.
    #[must_use]
    pub fn gave_up(self, error: &io::Error) -> bool {
        match self {
            Self::Ours => false,
            Self::Libutp | Self::Ethereum => error.kind() == io::ErrorKind::TimedOut,
            Self::Librqbit | Self::LibrqbitPatient => {
                error.kind() == io::ErrorKind::Other && !error.to_string().contains("ST_RESET")
            }
        }
    }

    /// Whether the two directions of its connections end one by one.
    ///
    /// librqbit-utp answers a FIN with its own, discarding what it had not sent; after its own FIN it takes
    /// any STATE that follows for the other's, and is gone. utp-rs is gone as soon as a FIN, in whichever
    /// direction, is acknowledged, and answers what comes later with a RESET that acknowledges 0.
    #[must_use]
    pub fn half_close(self) -> bool {
        matches!(self, Self::Ours | Self::Libutp)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ours => "ours",
            Self::Libutp => "libutp",
            Self::Librqbit => "librqbit-utp",
            Self::LibrqbitPatient => "librqbit-utp, patient",
            Self::Ethereum => "utp-rs",
        })
    }
}
