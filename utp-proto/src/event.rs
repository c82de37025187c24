//! What the endpoint tells its application.

use crate::CloseReason;

/// Something happened on a connection. [`Endpoint::poll_event`](crate::Endpoint::poll_event) gives
/// each together with the [`ConnectionHandle`](crate::ConnectionHandle) it is about.
///
/// At most one event of a kind is pending per connection, so the queue is bounded by the number of
/// connections. Pending events of one connection come in the order of the variants below.
/// [`Event::Closed`] comes exactly once, and last: with the next poll the handle is stale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Event {
    /// A peer opened this connection; [`Endpoint::accept`](crate::Endpoint::accept) will give it.
    Incoming,
    /// A connection that we opened is established.
    Connected,
    /// There is something new for [`Connection::read`](crate::Connection::read): data, the end of
    /// the stream, or the error the connection ended with. Not repeated until more arrives.
    Readable,
    /// The peer acknowledged more of what was written
    /// ([`Connection::bytes_acked`](crate::Connection::bytes_acked) has grown), or our FIN.
    Acked,
    /// After a write that was refused or cut short: the send queue takes more again (or writing
    /// now fails with the error the connection ended with).
    Writable,
    /// The peer's FIN is in order: what can be read now is all there will be.
    Finished,
    /// The connection is over. Comes once everything that arrived has been read, unless the
    /// application gave it up with [`close`](crate::Connection::close) or
    /// [`abort`](crate::Connection::abort).
    Closed {
        /// How it ended.
        reason: CloseReason,
    },
}
