//! [`Adapter`]: mio.
//!
//! The cases are asynchronous and mio is not, so there is a bridge between them: an event loop of its own
//! for each socket, on a thread, which takes turns, and wakes tasks when events concern them. Tasks look at
//! the socket itself whenever they are polled, all under one lock. Any executor will do; it is tokio's.

mod bridge;

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Instant;

use mio::{Interest, Token};
use utp_driver::events::SocketEvent;
use utp_mio::congestion::ControllerFactory;
use utp_mio::text::{Encoding, encode};
use utp_mio::{
    BufferSizes, Connection, ConnectionHandle, ConnectionStats, Ending, Race, ReadError, SocketConfig,
    SocketStats, StreamEvent, StreamEvents, UtpSocket, WriteError,
};

use bridge::{About, Bridge, Entry, State};

use super::Adapter;
use super::tokio::Tokio;
use super::tools::write_all;

/// mio.
#[derive(Debug)]
pub struct Mio;

/// A socket and its event loop.
#[allow(missing_debug_implementations)]
pub struct Socket {
    bridge: Arc<Bridge>,
}

impl Socket {
    fn new(mut socket: UtpSocket) -> io::Result<Self> {
        let poll = mio::Poll::new()?;
        poll.registry().register(&mut socket, Token(0), Interest::READABLE)?;
        let waker = mio::Waker::new(poll.registry(), Token(1))?;
        let state = State {
            unannounced: socket.is_listening(),
            socket,
            streams: HashMap::new(),
            curious: Vec::new(),
            closed: 0,
            alarm: None,
            owners: 1,
            close_told: false,
        };
        let bridge = Arc::new(Bridge { state: Mutex::new(state), waker });
        let driven = Arc::clone(&bridge);
        thread::Builder::new().name("event loop".into()).spawn(move || driven.run(poll))?;
        Ok(Self { bridge })
    }

    /// Lets the event loop go round, if it is still there.
    pub(crate) fn waker(&self) -> impl Fn() + Send + Sync + 'static {
        let bridge = Arc::downgrade(&self.bridge);
        move || {
            if let Some(bridge) = bridge.upgrade() {
                bridge.wake();
            }
        }
    }

    fn connect_by(
        &self,
        connect: impl FnOnce(&mut UtpSocket) -> io::Result<ConnectionHandle>,
    ) -> io::Result<Stream> {
        self.bridge.with(|state| {
            let handle = connect(&mut state.socket)?;
            Ok(Stream::new(self, state, handle, true))
        })
    }
}

impl Clone for Socket {
    fn clone(&self) -> Self {
        self.bridge.lock().owners += 1;
        Self { bridge: Arc::clone(&self.bridge) }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let mut state = self.bridge.lock();
        state.owners -= 1;
        if state.owners == 0 {
            state.socket.stop_listening();
            // Perhaps that was all it waited for.
            self.bridge.wake();
        }
    }
}

/// A connection that a case holds.
#[allow(missing_debug_implementations)]
pub struct Stream {
    bridge: Arc<Bridge>,
    handle: ConnectionHandle,
    peer: SocketAddr,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.bridge.with(|state| {
            state.streams.remove(&self.handle);
            if let Some(mut connection) = state.socket.connection(self.handle) {
                if connection.is_connected() { connection.close() } else { connection.abort() }
            }
        });
        // Perhaps that was all the event loop waited for.
        self.bridge.wake();
    }
}

impl Stream {
    fn new(socket: &Socket, state: &mut State, handle: ConnectionHandle, outgoing: bool) -> Self {
        let peer = state.socket.connection(handle).expect("a new connection").remote_addr();
        let events = StreamEvents::new(outgoing);
        state.streams.insert(handle, Entry { tasks: Vec::new(), finished: false, events, end: None });
        Self { bridge: Arc::clone(&socket.bridge), handle, peer }
    }

    /// A number of the connection, or what it was in the end.
    fn count(&self, live: fn(&Connection<'_>) -> u64, last: fn(&Ending) -> u64) -> u64 {
        match self.bridge.lock().connection(self.handle) {
            Ok(connection) => live(&connection),
            Err(end) => last(&end.ending),
        }
    }

    async fn connected(&self) -> io::Result<()> {
        self.bridge
            .wait(About::Stream(self.handle), |state| match state.connection(self.handle) {
                Err(end) => Some(Err(end.ending.reason.into())),
                Ok(connection) => connection.is_connected().then_some(Ok(())),
            })
            .await
    }

    async fn write(
        &self,
        mut write: impl FnMut(&mut Connection<'_>) -> Result<usize, WriteError>,
    ) -> io::Result<usize> {
        self.bridge
            .wait(About::Stream(self.handle), |state| {
                let written = match state.connection(self.handle) {
                    Ok(mut connection) => write(&mut connection),
                    Err(end) => Err(WriteError::Closed(end.ending.reason)),
                };
                match written {
                    Err(WriteError::Blocked) => None,
                    result => Some(result.map_err(io::Error::from)),
                }
            })
            .await
    }

    fn finish(&self) -> io::Result<()> {
        self.bridge.with(|state| {
            match state.connection(self.handle) {
                Ok(mut connection) => connection.finish(),
                Err(end) => return end.delivered(),
            }
            state.entry(self.handle).finished = true;
            Ok(())
        })
    }
}

/// The reading direction of a stream.
#[allow(missing_debug_implementations)]
pub struct Reader(Arc<Stream>);

/// The writing direction of a stream. Dropping it finishes it.
#[allow(missing_debug_implementations)]
pub struct Writer(Arc<Stream>);

impl Drop for Writer {
    fn drop(&mut self) {
        // Whatever it says, that is all the same now.
        let _ = self.0.finish();
    }
}

impl Adapter for Mio {
    type Socket = Socket;
    type Stream = Stream;
    type Reader = Reader;
    type Writer = Writer;

    async fn bind(addr: SocketAddr, config: SocketConfig) -> io::Result<Socket> {
        Socket::new(UtpSocket::bind_with(addr, config)?)
    }

    async fn bind_port(port: u16) -> io::Result<Socket> {
        Socket::new(UtpSocket::bind_port(port)?)
    }

    async fn from_std(socket: std::net::UdpSocket, config: SocketConfig) -> io::Result<Socket> {
        Socket::new(UtpSocket::from_std(socket, config)?)
    }

    fn local_addr(socket: &Socket) -> SocketAddr {
        socket.bridge.lock().socket.local_addr()
    }

    fn buffer_sizes(socket: &Socket) -> BufferSizes {
        socket.bridge.lock().socket.buffer_sizes()
    }

    fn socket_stats(socket: &Socket) -> SocketStats {
        socket.bridge.lock().socket.stats()
    }

    async fn connect(socket: &Socket, to: SocketAddr) -> io::Result<Stream> {
        let stream = Self::start_connect(socket, to)?;
        stream.connected().await?;
        Ok(stream)
    }

    async fn connect_any(socket: &Socket, to: &[SocketAddr]) -> io::Result<Stream> {
        let mut race = Race::new(to.iter().copied());
        let (mut attempts, mut failed) = (Vec::<Stream>::new(), Vec::new());
        let winner = socket.bridge.wait(About::Socket, |state| {
            let now = Instant::now();
            let mut next = 0;
            while let Some(attempt) = attempts.get(next) {
                match state.connection(attempt.handle) {
                    Ok(connection) if connection.is_connected() => return Some(Ok(attempts.remove(next))),
                    Ok(_) => next += 1,
                    Err(end) => {
                        race.handle_failure(end.ending.reason.into());
                        // Dropping it takes the lock.
                        failed.push(attempts.remove(next));
                    }
                }
            }
            while let Some(addr) = race.poll_attempt(now) {
                match state.socket.connect(now, addr) {
                    Ok(handle) => attempts.push(Stream::new(socket, state, handle, true)),
                    Err(error) => race.handle_failure(error),
                }
            }
            if race.deadline().is_some_and(|deadline| state.alarm.is_none_or(|alarm| deadline < alarm)) {
                state.alarm = race.deadline();
                socket.bridge.wake();
            }
            race.poll_error().map(Err)
        });
        winner.await
    }

    async fn connect_port(socket: &Socket, port: u16) -> io::Result<Stream> {
        let stream = socket.connect_by(|socket| socket.connect_port(Instant::now(), port))?;
        stream.connected().await?;
        Ok(stream)
    }

    fn start_connect(socket: &Socket, to: SocketAddr) -> io::Result<Stream> {
        socket.connect_by(|socket| socket.connect(Instant::now(), to))
    }

    async fn accept(socket: &Socket) -> io::Result<(Stream, SocketAddr)> {
        let stream = socket.bridge.wait(About::Socket, |state| match state.socket.accept() {
            Some(handle) => Some(Ok(Stream::new(socket, state, handle, false))),
            None if state.socket.is_listening() => None,
            None => Some(Err(io::Error::from(io::ErrorKind::NotConnected))),
        });
        let stream = stream.await?;
        let peer = stream.peer;
        Ok((stream, peer))
    }

    async fn close(socket: &Socket) -> io::Result<()> {
        let before = socket.bridge.with(|state| {
            state.socket.close();
            state.closed
        });
        socket.bridge.wait(About::Socket, |state| (state.closed > before).then_some(Ok(()))).await
    }

    async fn idle(socket: &Socket) -> io::Result<()> {
        socket.bridge.wait(About::Socket, |state| state.socket.is_idle().then_some(Ok(()))).await
    }

    fn set_referenced(socket: &Socket, referenced: bool) {
        let mut state = socket.bridge.lock();
        if referenced {
            state.socket.reference()
        } else {
            state.socket.unreference()
        }
        socket.bridge.wake();
    }

    async fn unreferenced(socket: &Socket) -> io::Result<()> {
        socket.bridge.wait(About::Socket, |state| state.socket.is_unreferenced().then_some(Ok(()))).await
    }

    async fn socket_event(socket: &Socket) -> Option<SocketEvent<Stream>> {
        socket
            .bridge
            .wait(About::Socket, |state| {
                if std::mem::take(&mut state.unannounced) {
                    return Some(Some(SocketEvent::Listening));
                }
                if state.closed > 0 {
                    let told = std::mem::replace(&mut state.close_told, true);
                    return Some((!told).then_some(SocketEvent::Close));
                }
                let handle = state.socket.accept()?;
                Some(Some(SocketEvent::Connection(Stream::new(socket, state, handle, false))))
            })
            .await
    }

    async fn recv_from(socket: &Socket, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        socket.bridge.wait(About::Socket, |state| unless_blocked(state.socket.recv_from(buf))).await
    }

    async fn send_to(socket: &Socket, data: &[u8], to: SocketAddr) -> io::Result<()> {
        socket.bridge.wait(About::Socket, |state| unless_blocked(state.socket.send_to(data, to))).await
    }

    fn peer_addr(stream: &Stream) -> SocketAddr {
        stream.peer
    }

    fn stream_local_addr(stream: &Stream) -> SocketAddr {
        stream.bridge.lock().socket.local_addr()
    }

    fn bytes_read(stream: &Stream) -> u64 {
        stream.count(|connection| connection.bytes_read(), |ending| ending.bytes_read)
    }

    fn bytes_written(stream: &Stream) -> u64 {
        stream.count(|connection| connection.bytes_written(), |ending| ending.bytes_written)
    }

    fn bytes_acked(stream: &Stream) -> u64 {
        stream.count(|connection| connection.bytes_acked(), |ending| ending.bytes_acked)
    }

    fn stats(stream: &Stream) -> ConnectionStats {
        match stream.bridge.lock().connection(stream.handle) {
            Ok(connection) => connection.stats(),
            Err(end) => end.stats,
        }
    }

    async fn acked(stream: &Stream) -> io::Result<()> {
        let target = Self::bytes_written(stream);
        let fin = stream.bridge.lock().entry(stream.handle).finished;
        stream
            .bridge
            .wait(About::Stream(stream.handle), |state| match state.connection(stream.handle) {
                Err(end) => Some(end.delivered()),
                Ok(connection) => {
                    let done = connection.bytes_acked() >= target && (!fin || connection.is_finish_acked());
                    done.then_some(Ok(()))
                }
            })
            .await
    }

    async fn closed(stream: &Stream) -> Ending {
        stream
            .bridge
            .wait(About::Stream(stream.handle), |state| {
                state.connection(stream.handle).err().map(|end| end.ending)
            })
            .await
    }

    fn abort(stream: &Stream) {
        stream.bridge.with(|state| {
            if let Ok(mut connection) = state.connection(stream.handle) {
                connection.abort();
            }
        });
    }

    fn set_stream_referenced(stream: &Stream, referenced: bool) {
        let mut state = stream.bridge.lock();
        if referenced {
            state.socket.reference_connection(stream.handle);
        } else {
            state.socket.unreference_connection(stream.handle);
        }
        stream.bridge.wake();
    }

    fn set_encoding(stream: &Stream, encoding: Option<Encoding>) {
        let tasks = stream.bridge.with(|state| {
            let entry = state.entry(stream.handle);
            entry.events.set_encoding(encoding);
            std::mem::take(&mut entry.tasks)
        });
        // What the last encoding had held back can be had now.
        tasks.into_iter().for_each(Waker::wake);
    }

    fn set_congestion(stream: &Stream, controller: &dyn ControllerFactory) {
        stream.bridge.with(|state| {
            if let Ok(mut connection) = state.connection(stream.handle) {
                connection.set_congestion(controller);
            }
        });
    }

    fn set_receive_congestion(stream: &Stream, controller: Option<&dyn ControllerFactory>) {
        stream.bridge.with(|state| {
            if let Ok(mut connection) = state.connection(stream.handle) {
                connection.set_receive_congestion(controller);
            }
        });
    }

    async fn stream_event(stream: &Stream) -> Option<StreamEvent> {
        stream
            .bridge
            .wait(About::Stream(stream.handle), |state| match state.stream_event(stream.handle) {
                Poll::Ready(event) => Some(event),
                Poll::Pending => None,
            })
            .await
    }

    fn split(stream: Stream) -> (Reader, Writer) {
        let stream = Arc::new(stream);
        (Reader(Arc::clone(&stream)), Writer(stream))
    }

    fn stream(writer: &Writer) -> &Stream {
        &writer.0
    }

    async fn read(reader: &mut Reader, buf: &mut [u8]) -> io::Result<usize> {
        let Reader(stream) = reader;
        stream
            .bridge
            .wait(About::Stream(stream.handle), |state| {
                let read = match state.connection(stream.handle) {
                    Ok(mut connection) => connection.read(buf),
                    // Everything was read before, so there is nothing but the end.
                    Err(end) => end.read.map(|_| 0),
                };
                match read {
                    Err(ReadError::Blocked) => None,
                    result => Some(result.map_err(io::Error::from)),
                }
            })
            .await
    }

    async fn write(writer: &mut Writer, data: &[u8]) -> io::Result<usize> {
        writer.0.write(|connection| connection.write(data)).await
    }

    async fn write_vectored(writer: &mut Writer, data: &[io::IoSlice<'_>]) -> io::Result<usize> {
        let write = |connection: &mut Connection<'_>| {
            let mut written = 0;
            for slice in data.iter().filter(|slice| !slice.is_empty()) {
                match connection.write(slice) {
                    Ok(taken) => written += taken,
                    Err(error) if written == 0 => return Err(error),
                    Err(_) => break,
                }
            }
            Ok(written)
        };
        writer.0.write(write).await
    }

    async fn write_text(writer: &mut Writer, text: &str, encoding: Encoding) -> io::Result<()> {
        write_all::<Self>(writer, &encode(text, encoding)?).await
    }

    async fn flush(writer: &mut Writer) -> io::Result<()> {
        let Writer(stream) = writer;
        // No event tells that something was sent, but that is what turns do.
        stream
            .bridge
            .wait(About::Socket, |state| match state.connection(stream.handle) {
                Err(end) => Some(end.delivered()),
                Ok(connection) => (connection.bytes_sent() >= connection.bytes_written()).then_some(Ok(())),
            })
            .await
    }

    async fn finish(writer: &mut Writer) -> io::Result<()> {
        writer.0.finish()
    }

    async fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> T {
        Tokio::spawn(task).await
    }

    async fn pause() {
        Tokio::pause().await;
    }
}

fn unless_blocked<T>(result: io::Result<T>) -> Option<io::Result<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        result => Some(result),
    }
}
