//! What can go wrong, one enum per operation, and how each maps to the [`std::io::ErrorKind`]
//! that a user of TCP would expect.

use std::io;

use thiserror::Error;

/// Why a connection is over. Carried by [`Event::Closed`](crate::Event::Closed) and by the errors
/// of operations on a connection that has ended.
///
/// An [`io::Error`] made of it has the [kind](Self::kind) that a TCP user knows, and the reason inside:
///
/// ```
/// use std::io;
/// use utp_proto::CloseReason;
///
/// fn reason(error: &io::Error) -> Option<CloseReason> {
///     error.get_ref()?.downcast_ref().copied()
/// }
///
/// let error = io::Error::from(CloseReason::Violation);
/// assert_eq!(error.kind(), io::ErrorKind::InvalidData);
/// assert_eq!(reason(&error), Some(CloseReason::Violation));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// Both directions were finished and everything sent was acknowledged.
    #[error("connection finished")]
    Finished,
    /// The peer answered our SYN with a RESET: nobody accepts there.
    #[error("connection refused by the peer")]
    Refused,
    /// The peer ended the connection with a RESET before it was finished.
    #[error("connection reset by the peer")]
    Reset,
    /// No SYN-ACK within [`Config::connect_timeout`](crate::Config::connect_timeout), no
    /// acknowledgement of sent data within [`Config::give_up_after`](crate::Config::give_up_after), or
    /// silence for [`Config::idle_timeout`](crate::Config::idle_timeout).
    #[error("connection timed out")]
    TimedOut,
    /// The network reported the peer unreachable while the connection was being opened.
    #[error("peer unreachable")]
    Unreachable,
    /// This side called [`Connection::abort`](crate::Connection::abort), or closed with the peer
    /// still sending and gave up waiting for its end.
    #[error("connection aborted locally")]
    Aborted,
    /// The peer acknowledged a packet that had not been sent: it lies about what it has received, to be sent
    /// more than the path takes. It is told with a RESET.
    #[error("peer acknowledged what was not sent")]
    Violation,
}

impl CloseReason {
    /// The [`io::ErrorKind`] a TCP user would see for this end.
    #[must_use]
    pub fn kind(self) -> io::ErrorKind {
        match self {
            Self::Finished => io::ErrorKind::NotConnected,
            Self::Refused => io::ErrorKind::ConnectionRefused,
            Self::Reset => io::ErrorKind::ConnectionReset,
            Self::TimedOut => io::ErrorKind::TimedOut,
            Self::Unreachable => io::ErrorKind::HostUnreachable,
            Self::Aborted => io::ErrorKind::ConnectionAborted,
            Self::Violation => io::ErrorKind::InvalidData,
        }
    }
}

impl From<CloseReason> for io::Error {
    fn from(reason: CloseReason) -> Self {
        Self::new(reason.kind(), reason)
    }
}

/// [`Endpoint::connect`](crate::Endpoint::connect) could not start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// [`Config::max_connections`](crate::Config::max_connections) are open already.
    #[error("too many connections on this endpoint")]
    TooManyConnections,
    /// Every connection id towards this address is in use or in quarantine.
    #[error("no free connection id towards this address")]
    IdsExhausted,
    /// The address has port 0 or an unspecified or multicast IP.
    #[error("not an address one can connect to")]
    InvalidAddress,
}

impl From<ConnectError> for io::Error {
    fn from(error: ConnectError) -> Self {
        let kind = match error {
            ConnectError::TooManyConnections => io::ErrorKind::QuotaExceeded,
            ConnectError::IdsExhausted => io::ErrorKind::AddrInUse,
            ConnectError::InvalidAddress => io::ErrorKind::InvalidInput,
        };
        Self::new(kind, error)
    }
}

/// [`Connection::read`](crate::Connection::read) has nothing to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Nothing has arrived yet; [`Event::Readable`](crate::Event::Readable) will tell.
    #[error("no data yet")]
    Blocked,
    /// The connection ended without the peer's FIN; everything that had arrived was read before.
    #[error("{0}")]
    Closed(#[from] CloseReason),
}

impl From<ReadError> for io::Error {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Blocked => io::ErrorKind::WouldBlock.into(),
            ReadError::Closed(reason) => reason.into(),
        }
    }
}

/// [`Connection::write`](crate::Connection::write) took nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The send queue is full; [`Event::Writable`](crate::Event::Writable) will tell.
    #[error("send queue full")]
    Blocked,
    /// [`Connection::finish`](crate::Connection::finish) was called before.
    #[error("write after finish")]
    Finished,
    /// The connection is over.
    #[error("{0}")]
    Closed(#[from] CloseReason),
}

impl From<WriteError> for io::Error {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Blocked => io::ErrorKind::WouldBlock.into(),
            WriteError::Finished => Self::new(io::ErrorKind::BrokenPipe, error),
            WriteError::Closed(CloseReason::Finished) => Self::new(io::ErrorKind::BrokenPipe, error),
            WriteError::Closed(reason) => reason.into(),
        }
    }
}

/// What the network reported about the path to a peer. Hints, never believed blindly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PathError {
    /// A datagram was too big; the largest UDP payload that fits, if that is known.
    TooBig(Option<usize>),
    /// Port, host or network unreachable.
    Unreachable,
}

/// A [`Config`](crate::Config) setter was given a value outside its documented range.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{setting} must be {expected}")]
pub struct ConfigError {
    /// Name of the setter.
    pub(crate) setting: &'static str,
    /// What it accepts.
    pub(crate) expected: &'static str,
}

impl From<ConfigError> for io::Error {
    fn from(error: ConfigError) -> Self {
        Self::new(io::ErrorKind::InvalidInput, error)
    }
}
