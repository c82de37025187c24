//! The application's side of a connection.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes};
use utp_proto::{CloseReason, Connection, ConnectionStats, ReadError, WriteError};

use super::ports::{Ending, Port, register};
use super::{Hub, Queue, State, orphaned};
use crate::runtime::AsyncUdpSocket;
use crate::text::{Encoding, encode};

/// A connection that the application holds. Dropping it closes it gracefully in the background: what
/// was written is delivered, what comes is thrown away.
///
/// One task may read while another one writes. The methods that poll remember one reading and one
/// writing task, the latest; those that are `async` can be waited for by any number.
pub struct StreamHandle<S: AsyncUdpSocket> {
    hub: Arc<Hub<S>>,
    key: usize,
    peer: SocketAddr,
}

impl<S: AsyncUdpSocket> fmt::Debug for StreamHandle<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamHandle").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl<S: AsyncUdpSocket> Drop for StreamHandle<S> {
    fn drop(&mut self) {
        self.hub.with(|state| {
            let port = state.ports.remove(self.key);
            if let Some(mut connection) = state.endpoint.connection(port.handle) {
                if connection.is_connected() { connection.close() } else { connection.abort() }
            }
            state.work = true;
        });
    }
}

impl<S: AsyncUdpSocket> StreamHandle<S> {
    pub(super) fn new(hub: Arc<Hub<S>>, key: usize, peer: SocketAddr) -> Self {
        Self { hub, key, peer }
    }

    /// The peer.
    pub fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    /// The address that the socket is bound to.
    pub fn local_addr(&self) -> SocketAddr {
        self.hub.udp.local_addr()
    }

    /// Payload bytes read so far.
    pub fn bytes_read(&self) -> u64 {
        self.hub.lock().ports.get_mut(self.key).bytes_read
    }

    /// Payload bytes written so far.
    pub fn bytes_written(&self) -> u64 {
        self.hub.lock().ports.get_mut(self.key).bytes_written
    }

    /// Payload bytes of those that the peer has acknowledged.
    pub fn bytes_acked(&self) -> u64 {
        self.hub.lock().ports.get_mut(self.key).bytes_acked
    }

    /// Counters and gauges; after the end, the last ones.
    pub fn stats(&self) -> ConnectionStats {
        let mut state = self.hub.lock();
        let (port, connection) = state.stream(self.key);
        match (&port.ending, connection) {
            (None, Some(connection)) => connection.stats(),
            _ => port.last_stats.as_deref().copied().unwrap_or_default(),
        }
    }

    /// Reads what has arrived into `buf`, as much as fits or is there. `Ok(0)` (for a `buf` with room):
    /// the peer finished.
    ///
    /// # Errors
    /// How the connection ended, if not by the peer's FIN, once everything that had arrived was read.
    pub fn poll_read(&self, cx: &Context<'_>, buf: &mut impl BufMut) -> Poll<io::Result<usize>> {
        if !buf.has_remaining_mut() {
            return Poll::Ready(Ok(0));
        }
        self.hub.with(|state| {
            let (port, connection) = state.stream(self.key);
            let Some(mut connection) = connection else { return Poll::Ready(port.read_after_end()) };
            let mut read = 0;
            while read < LOCKED_COPY && buf.has_remaining_mut() {
                let chunk = connection.chunk();
                let len = chunk.len().min(buf.remaining_mut());
                if len == 0 {
                    break;
                }
                buf.put_slice(&chunk[..len]);
                connection.consume(len);
                read += len;
            }
            if read > 0 {
                port.bytes_read += read as u64;
                return Poll::Ready(Ok(read));
            }
            match connection.read_state() {
                Ok(_) => Poll::Ready(Ok(0)),
                Err(ReadError::Blocked) => {
                    register(&mut port.read, cx);
                    state.pending()
                }
                Err(error) => Poll::Ready(Err(error.into())),
            }
        })
    }

    /// The same into several buffers, one after another.
    ///
    /// # Errors
    /// As [`poll_read`](Self::poll_read).
    pub fn poll_read_vectored(
        &self,
        cx: &Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut read = 0;
        for buf in bufs {
            match self.poll_read(cx, &mut &mut **buf) {
                Poll::Ready(Ok(len)) => {
                    read += len;
                    if len < buf.len() {
                        break;
                    }
                }
                // That is for the next time.
                _ if read > 0 => break,
                failure => return failure,
            }
        }
        Poll::Ready(Ok(read))
    }

    /// Queues a copy of as much of `data` as fits.
    ///
    /// # Errors
    /// `BrokenPipe` after [`finish`](Self::finish); how the connection ended, if it did.
    pub fn poll_write(&self, cx: &Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let data = &data[..data.len().min(LOCKED_COPY)];
        self.poll_write_with(cx, |connection| connection.write(data))
    }

    /// The same for several slices at once.
    ///
    /// # Errors
    /// As [`poll_write`](Self::poll_write).
    pub fn poll_write_vectored(&self, cx: &Context<'_>, data: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, |connection| {
            let mut written = 0;
            for slice in data {
                let slice = &slice[..slice.len().min(LOCKED_COPY - written)];
                if slice.is_empty() {
                    continue;
                }
                match connection.write(slice) {
                    Ok(taken) => written += taken,
                    Err(error) if written == 0 => return Err(error),
                    Err(_) => break,
                }
            }
            Ok(written)
        })
    }

    /// Queues as much of `data` as fits, without copying, and splits it off.
    ///
    /// # Errors
    /// As [`poll_write`](Self::poll_write).
    pub fn poll_write_bytes(&self, cx: &Context<'_>, data: &mut Bytes) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, |connection| connection.write_bytes(data))
    }

    /// Queues all of `data` without copying. Cancel-safe: what is left in `data` was not queued.
    ///
    /// # Errors
    /// As [`poll_write`](Self::poll_write).
    pub async fn write_all_bytes(&self, data: &mut Bytes) -> io::Result<()> {
        poll_fn(|cx| {
            while !data.is_empty() {
                ready!(self.poll_write_bytes(cx, data))?;
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Queues all of `text` in `encoding`. Not cancel-safe: part of it may have been queued.
    /// ([`encode`] with [`write_all_bytes`](Self::write_all_bytes) is.)
    ///
    /// # Errors
    /// `InvalidInput`, before anything is queued, if `text` cannot be encoded; otherwise as
    /// [`poll_write`](Self::poll_write).
    pub async fn write_text(&self, text: &str, encoding: Encoding) -> io::Result<()> {
        let bytes = encode(text, encoding)?;
        let mut rest = &bytes[..];
        poll_fn(|cx| {
            while !rest.is_empty() {
                let written = ready!(self.poll_write(cx, rest))?;
                rest = &rest[written..];
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Ready once everything that was written (and the FIN, after [`finish`](Self::finish)) has been handed to the
    /// network, which says nothing of its arrival.
    ///
    /// # Errors
    /// How the connection ended, if it did before that.
    pub fn poll_flush(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        self.hub.with(|state| {
            let (port, connection) = state.stream(self.key);
            let Some(connection) = connection else { return Poll::Ready(port.undelivered()) };
            if port.is_flushed(&connection) {
                return Poll::Ready(Ok(()));
            }
            register(&mut port.write, cx);
            if !std::mem::replace(&mut port.flushing, true) {
                state.ports.flushing.push(self.key);
            }
            state.pending()
        })
    }

    /// Queues the FIN after everything that was written. The other direction stays open. Repeating it
    /// has no effect.
    ///
    /// # Errors
    /// How the connection ended, if it did before everything was delivered.
    pub fn finish(&self) -> io::Result<()> {
        self.hub.with(|state| {
            let (port, connection) = state.stream(self.key);
            let Some(mut connection) = connection else { return port.undelivered() };
            connection.finish();
            port.finished = true;
            state.check_driver()
        })
    }

    /// Resolves when everything that was written up to now (and the FIN, after
    /// [`finish`](Self::finish)) has been acknowledged. Cancel-safe.
    ///
    /// # Errors
    /// How the connection ended, if it did before that.
    pub async fn acked(&self) -> io::Result<()> {
        let (target, fin) = {
            let mut state = self.hub.lock();
            let port = state.ports.get_mut(self.key);
            (port.bytes_written, port.finished)
        };
        self.hub
            .wait(Queue::Acked(self.key), |state| {
                let orphaned = state.check_driver();
                let (port, connection) = state.stream(self.key);
                let Some(connection) = connection else { return Some(port.undelivered()) };
                let done = connection.bytes_acked() >= target && (!fin || connection.is_finish_acked());
                if done { Some(Ok(())) } else { orphaned.err().map(Err) }
            })
            .await
    }

    /// Resolves when the connection is over in both directions and everything that arrived has been
    /// read. Cancel-safe. If the runtime that drove the socket is gone, that counts as aborted.
    pub async fn closed(&self) -> Ending {
        self.hub
            .wait(Queue::Ended(self.key), |state| {
                let orphaned = state.orphaned;
                let port = state.ports.get_mut(self.key);
                if orphaned && port.ending.is_none() {
                    port.end(CloseReason::Aborted);
                }
                port.ending
            })
            .await
    }

    /// Ends the connection at once: the peer gets a RESET, what is queued is dropped.
    pub fn abort(&self) {
        self.hub.with(|state| {
            if let (_, Some(mut connection)) = state.stream(self.key) {
                connection.abort();
            }
        });
    }

    /// Resolves when the connection is established.
    pub(super) async fn connected(&self) -> io::Result<()> {
        poll_fn(|cx| {
            self.hub.with(|state| {
                let (port, connection) = state.stream(self.key);
                match connection {
                    None => Poll::Ready(Err(port.reason().map_or_else(orphaned, io::Error::from))),
                    Some(connection) if connection.is_connected() => Poll::Ready(Ok(())),
                    Some(_) => {
                        register(&mut port.write, cx);
                        state.pending()
                    }
                }
            })
        })
        .await
    }

    pub(super) fn hub(&self) -> &Hub<S> {
        &self.hub
    }

    pub(super) fn key(&self) -> usize {
        self.key
    }

    fn poll_write_with(
        &self,
        cx: &Context<'_>,
        write: impl FnOnce(&mut Connection<'_>) -> Result<usize, WriteError>,
    ) -> Poll<io::Result<usize>> {
        self.hub.with(|state| {
            let (port, connection) = state.stream(self.key);
            let Some(mut connection) = connection else {
                let error = port.reason().map_or_else(orphaned, |reason| WriteError::Closed(reason).into());
                return Poll::Ready(Err(error));
            };
            match write(&mut connection) {
                Ok(written) => {
                    let unsent = connection.bytes_written() - connection.bytes_sent();
                    port.bytes_written += written as u64;
                    state.bulk = unsent > DIRECT;
                    Poll::Ready(Ok(written))
                }
                Err(WriteError::Blocked) => {
                    register(&mut port.write, cx);
                    state.pending()
                }
                Err(error) => Poll::Ready(Err(error.into())),
            }
        })
    }
}

impl State {
    /// A port that the application holds, and its connection unless that is over.
    pub(super) fn stream(&mut self, key: usize) -> (&mut Port, Option<Connection<'_>>) {
        let port = self.ports.get_mut(key);
        let connection = match port.ending {
            None => self.endpoint.connection(port.handle),
            Some(_) => None,
        };
        (port, connection)
    }

    /// `Pending`, unless nobody is left who could change that.
    fn pending<T>(&self) -> Poll<io::Result<T>> {
        match self.check_driver() {
            Ok(()) => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

impl Port {
    /// What reading gives once the connection is over.
    pub(super) fn read_after_end(&self) -> io::Result<usize> {
        match self.reason() {
            Some(CloseReason::Finished) if self.peer_finished => Ok(0),
            // We delivered everything, but the peer never said that its own was complete.
            Some(CloseReason::Finished) => Err(CloseReason::Reset.into()),
            Some(reason) => Err(reason.into()),
            None => Err(orphaned()),
        }
    }

    /// Whether an ended connection had delivered everything.
    fn undelivered(&self) -> io::Result<()> {
        match self.ending {
            Some(ending) if ending.is_delivered() => Ok(()),
            Some(ending) => Err(ending.reason.into()),
            None => Err(orphaned()),
        }
    }
}

/// Bytes copied at most while the lock is held: the driver waits meanwhile.
const LOCKED_COPY: usize = 256 << 10;

/// Bytes that the application's task may send by itself: a few packets. More is bulk, which pays to be
/// sent by the driver while the application goes on.
const DIRECT: u64 = 16 << 10;
