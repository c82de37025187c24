//! Sockets and connections as sequences of events, under the names that a program for Node.js knows.
//!
//! [`SocketEvents`] and [`StreamEvents`] are pure: they look at an endpoint or a connection and say what
//! comes next. The asynchronous adapters put a `next_event` around them.
//!
//! The order is fixed. For a socket: `Listening`, any number of `Connection`s, perhaps `Error`, `Close`.
//! For a stream: `Connect` (if this side opened it), any number of `Data`, perhaps `End`, perhaps
//! `Error`, `Close`. `Error` is followed by `Close`; `Close` comes once, and nothing after it.
//!
//! Nothing is lost because nobody listens: data that is not asked for stays where it is, and holds the
//! peer back once the receive buffer is full.

use std::io;
use std::task::Poll;

use bytes::Bytes;
use utp_proto::{CloseReason, Connection, ConnectionHandle, Endpoint};

use crate::hub::Ending;
use crate::text::{Decoder, Encoding};

/// What happens to a socket, in the terms of `uTP.Server`. `T` is an adapter's stream.
#[derive(Debug)]
#[non_exhaustive]
pub enum SocketEvent<T> {
    /// `listening`: the socket is bound and accepts connections. The first event, unless the socket was
    /// [configured](utp_proto::Config::listen) not to listen.
    Listening,
    /// `connection`: a peer has connected.
    Connection(T),
    /// `error`: the socket has broken down. `Close` follows.
    Error(io::Error),
    /// `close`: the socket was closed and all its connections have ended. The last event.
    Close,
}

impl<T> SocketEvent<T> {
    /// The same with another kind of stream.
    pub fn map<U>(self, stream: impl FnOnce(T) -> U) -> SocketEvent<U> {
        match self {
            Self::Listening => SocketEvent::Listening,
            Self::Connection(connection) => SocketEvent::Connection(stream(connection)),
            Self::Error(error) => SocketEvent::Error(error),
            Self::Close => SocketEvent::Close,
        }
    }
}

/// What happens to a stream, in the terms of `uTP.Socket`.
#[derive(Debug)]
#[non_exhaustive]
pub enum StreamEvent {
    /// `connect`: the connection that this side opened is established. Comes first. If opening fails, it
    /// does not come; `Error` does.
    Connect,
    /// `data`: the next bytes, or the next text if an encoding was set. Never empty.
    Data(Data),
    /// `end`: the peer has finished (its FIN). This side can go on writing.
    End,
    /// `error`: the connection failed: refused, timed out, reset. `Close` follows. An abort by this side
    /// is no error.
    Error(io::Error),
    /// `close`: the connection is over in both directions. The last event.
    Close(Ending),
}

/// What a `data` event brings: a `Buffer`, or a `String` if an encoding was set.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Data {
    /// Bytes as they came.
    Bytes(Bytes),
    /// Text, of whole characters.
    Text(String),
}

impl AsRef<[u8]> for Data {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Text(text) => text.as_bytes(),
        }
    }
}

/// Says what happens to a socket next. One for each endpoint.
#[derive(Debug)]
pub struct SocketEvents {
    unannounced: bool,
    closing: bool,
    failed: bool,
    over: bool,
}

impl SocketEvents {
    /// For an endpoint that has just been made.
    #[must_use]
    pub fn new(endpoint: &Endpoint) -> Self {
        Self { unannounced: endpoint.is_listening(), closing: false, failed: false, over: false }
    }

    /// The application has closed the socket.
    pub fn close(&mut self) {
        self.closing = true;
    }

    /// Whether [`next`](Self::next) waits for the last connection's end.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.closing
    }

    /// What comes next; `None` after `Close`. `failure` is what has broken the socket down, if it has.
    pub fn next(
        &mut self,
        endpoint: &mut Endpoint,
        failure: Option<io::Error>,
    ) -> Poll<Option<SocketEvent<ConnectionHandle>>> {
        if self.over {
            return Poll::Ready(None);
        }
        if std::mem::take(&mut self.unannounced) {
            return Poll::Ready(Some(SocketEvent::Listening));
        }
        if !self.failed
            && let Some(error) = failure
        {
            self.failed = true;
            return Poll::Ready(Some(SocketEvent::Error(error)));
        }
        if self.failed || (self.closing && endpoint.open_connections() == 0) {
            self.over = true;
            return Poll::Ready(Some(SocketEvent::Close));
        }
        match endpoint.accept() {
            Some(handle) => Poll::Ready(Some(SocketEvent::Connection(handle))),
            None => Poll::Pending,
        }
    }
}

/// Says what happens to a stream next. One for each connection.
#[derive(Debug)]
pub struct StreamEvents {
    phase: Phase,
    decoder: Option<Decoder>,
    /// What a decoder held back when the encoding was changed.
    left: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Opening,
    Open,
    /// `End` was told.
    Ended,
    /// `Error` was told.
    Failed,
    /// `Close` was told.
    Over,
}

/// What a connection looks like.
#[derive(Debug)]
#[non_exhaustive]
pub enum View<'a, 'c> {
    /// It exists.
    Open(&'a mut Connection<'c>),
    /// Its [`Event::Closed`](utp_proto::Event::Closed) has come.
    Over {
        /// How it ended.
        ending: Ending,
        /// Whether it was ever established.
        connected: bool,
        /// Whether the peer's FIN has come.
        peer_finished: bool,
        /// What went wrong, if anything did.
        error: Option<io::Error>,
    },
}

impl<'a, 'c> View<'a, 'c> {
    /// A connection as it is, for adapters that look at it themselves: on each of its events, the last one
    /// ([`Event::Closed`](utp_proto::Event::Closed)) included.
    pub fn of(connection: &'a mut Connection<'c>) -> Self {
        match Ending::of(connection) {
            // There may be something left to be read.
            Some(ending) if connection.read_state() != Ok(true) => {
                let (connected, peer_finished) = (connection.is_connected(), connection.is_peer_finished());
                let error = match ending.reason {
                    // That was this side's own will.
                    CloseReason::Aborted => None,
                    CloseReason::Finished if peer_finished => None,
                    // We delivered everything, but the peer never said that its own was complete.
                    CloseReason::Finished => Some(CloseReason::Reset.into()),
                    reason => Some(reason.into()),
                };
                Self::Over { ending, connected, peer_finished, error }
            }
            _ => Self::Open(connection),
        }
    }
}

impl StreamEvents {
    /// For a connection that this side opens, or one that it has accepted.
    #[must_use]
    pub fn new(outgoing: bool) -> Self {
        let phase = if outgoing { Phase::Opening } else { Phase::Open };
        Self { phase, decoder: None, left: String::new() }
    }

    /// `setEncoding`: `Data` brings text from now on, or bytes again with `None`. Bytes of a character
    /// that is not whole yet stay with the encoding that they came under; setting the same again changes
    /// nothing.
    pub fn set_encoding(&mut self, encoding: Option<Encoding>) {
        if self.decoder.as_ref().map(Decoder::encoding) == encoding {
            return;
        }
        if let Some(mut decoder) = self.decoder.take() {
            decoder.finish(&mut self.left);
        }
        self.decoder = encoding.map(Decoder::new);
    }

    /// What comes next; `None` after `Close`. Takes the data that it gives from the connection.
    pub fn next(&mut self, view: View<'_, '_>) -> Poll<Option<StreamEvent>> {
        match view {
            View::Open(connection) => match self.phase {
                Phase::Opening if connection.is_connected() => self.enter(Phase::Open, StreamEvent::Connect),
                Phase::Open => self.read(connection),
                // The rest of it comes once the connection is over.
                _ => Poll::Pending,
            },
            View::Over { connected: true, .. } if self.phase == Phase::Opening => {
                self.enter(Phase::Open, StreamEvent::Connect)
            }
            View::Over { ending, peer_finished, error, .. } => {
                if self.phase == Phase::Open && ending.reason != CloseReason::Aborted {
                    if let Some(text) = self.rest() {
                        return Poll::Ready(Some(StreamEvent::Data(text)));
                    }
                    if peer_finished {
                        return self.enter(Phase::Ended, StreamEvent::End);
                    }
                }
                match (self.phase, error) {
                    (Phase::Over, _) => Poll::Ready(None),
                    (Phase::Opening | Phase::Open | Phase::Ended, Some(error)) => {
                        self.enter(Phase::Failed, StreamEvent::Error(error))
                    }
                    _ => self.enter(Phase::Over, StreamEvent::Close(ending)),
                }
            }
        }
    }

    fn enter(&mut self, phase: Phase, event: StreamEvent) -> Poll<Option<StreamEvent>> {
        self.phase = phase;
        Poll::Ready(Some(event))
    }

    fn read(&mut self, connection: &mut Connection<'_>) -> Poll<Option<StreamEvent>> {
        let mut text = std::mem::take(&mut self.left);
        let mut bytes = Vec::new();
        let room = connection.readable().min(PIECE);
        if self.decoder.is_none() && text.is_empty() {
            bytes.reserve_exact(room);
        }
        let mut read = 0;
        while read < room {
            let chunk = connection.chunk();
            let chunk = &chunk[..chunk.len().min(room - read)];
            let len = chunk.len();
            if len == 0 {
                break;
            }
            match &mut self.decoder {
                Some(decoder) => decoder.decode(chunk, &mut text),
                // What the last encoding left comes first, by itself.
                None if !text.is_empty() => break,
                None => bytes.extend_from_slice(chunk),
            }
            connection.consume(len);
            read += len;
        }
        let data = if !text.is_empty() { Some(Data::Text(text)) } else { non_empty(bytes) };
        if let Some(data) = data {
            return Poll::Ready(Some(StreamEvent::Data(data)));
        }
        match connection.read_state() {
            Ok(false) => match self.rest() {
                Some(text) => Poll::Ready(Some(StreamEvent::Data(text))),
                None => self.enter(Phase::Ended, StreamEvent::End),
            },
            _ => Poll::Pending,
        }
    }

    /// The text of what was cut off in the middle of a character.
    fn rest(&mut self) -> Option<Data> {
        let mut text = std::mem::take(&mut self.left);
        if let Some(decoder) = &mut self.decoder {
            decoder.finish(&mut text);
        }
        (!text.is_empty()).then_some(Data::Text(text))
    }
}

fn non_empty(bytes: Vec<u8>) -> Option<Data> {
    (!bytes.is_empty()).then(|| Data::Bytes(bytes.into()))
}

/// Bytes that one `Data` brings at most: what sockets and pipes give at a time in Node.js
/// (`highWaterMark`). Encoded as Base64 they are a third more, as hexadecimal twice as many.
const PIECE: usize = 64 << 10;
