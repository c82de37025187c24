//! What a socket tells its application.

use utp_proto::{ConnectionHandle, Event as ConnectionEvent};

/// Something happened. [`UtpSocket::poll_event`](crate::UtpSocket::poll_event) gives one after another.
///
/// Events of one connection come in the order of the variants of [`ConnectionEvent`], and
/// [`ConnectionEvent::Closed`] comes once, last. At most one event of a kind is pending, for each
/// connection and for the socket. Those who know the event names of Node.js:
///
/// | name | here |
/// |---|---|
/// | server `listening` | [`bind`](crate::UtpSocket::bind) has returned |
/// | server `connection` | [`ConnectionEvent::Incoming`] |
/// | server `close` | [`Event::Closed`] |
/// | server `error` | the error of [`bind`](crate::UtpSocket::bind) or [`turn`](crate::UtpSocket::turn) |
/// | `connect` | [`ConnectionEvent::Connected`] |
/// | `data` | [`ConnectionEvent::Readable`]; data that nobody reads stays, and holds the peer back |
/// | `end` | [`ConnectionEvent::Finished`] |
/// | `error` and the `close` after it | [`ConnectionEvent::Closed`] with any reason but `Finished` |
/// | `close` without an error | [`ConnectionEvent::Closed`] with the reason `Finished` |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Event {
    /// Something happened on a connection. After [`ConnectionEvent::Closed`] the handle is good for one
    /// last look (at [`Ending::of`](crate::Ending::of), at the counters), until the next call of
    /// `poll_event`; then it is stale.
    Connection(ConnectionHandle, ConnectionEvent),
    /// Datagrams that are not uTP have come: [`recv_from`](crate::UtpSocket::recv_from) gives them.
    /// Not repeated until more come.
    Datagrams,
    /// After a [`send_to`](crate::UtpSocket::send_to) that would have blocked: it is worth another try.
    Sendable,
    /// After [`close`](crate::UtpSocket::close): the last connection has ended.
    Closed,
}

/// What to do after a [`turn`](crate::UtpSocket::turn) and the events that came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[must_use]
#[non_exhaustive]
pub enum Turn {
    /// Take another turn before waiting: readiness is announced once (mio is edge-triggered), and the
    /// socket has not been drained yet, or the connections have more to send at once. Other event
    /// sources of the loop may get their turn in between;
    /// [`deadline`](crate::UtpSocket::deadline) lies in the past until then.
    More,
    /// Wait for the socket, until [`deadline`](crate::UtpSocket::deadline), or for the application.
    Wait,
}
