//! An endpoint whose contract is checked at every step: events only of live connections, `Closed` once and
//! last, transmits that describe what they appended, no spinning.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use utp_proto::{CloseReason, Config, Connection, ConnectionHandle, Endpoint, Event, ReadError, WriteError};

use super::input::Call;
use crate::sim::tape;

/// One endpoint and what must hold for it.
pub(super) struct Watched {
    pub(super) endpoint: Endpoint,
    pub(super) now: Duration,
    /// Live connections in the order of their opening.
    pub(super) live: Vec<App>,
    /// Connections that have ended.
    pub(super) over: Vec<App>,
    /// Handles of live and ended connections, by their place.
    known: HashMap<ConnectionHandle, bool>,
    /// What it has sent and nobody has taken yet.
    pub(super) sent: Vec<(SocketAddr, Vec<u8>)>,
    segments: NonZeroUsize,
    buf: Vec<u8>,
}

/// An application's side of a connection.
#[derive(Debug, Clone)]
pub(super) struct App {
    pub(super) handle: ConnectionHandle,
    /// Streams of [`tape`]: what it writes, and what it expects to read, if that is known.
    pub(super) writes: u64,
    pub(super) reads: Option<u64>,
    pub(super) written: u64,
    pub(super) read: u64,
    pub(super) connected: bool,
    pub(super) finished: bool,
    pub(super) peer_finished: bool,
    /// The application has closed or aborted it.
    pub(super) given_up: bool,
    pub(super) closed: Option<CloseReason>,
}

impl App {
    fn new(handle: ConnectionHandle) -> Self {
        Self {
            handle,
            writes: 0,
            reads: None,
            written: 0,
            read: 0,
            connected: false,
            finished: false,
            peer_finished: false,
            given_up: false,
            closed: None,
        }
    }
}

impl Watched {
    pub(super) fn new(config: Config, seed: u8) -> Self {
        Self {
            endpoint: Endpoint::new(Arc::new(config), [seed; 32], origin()),
            now: Duration::ZERO,
            live: Vec::new(),
            over: Vec::new(),
            known: HashMap::new(),
            sent: Vec::new(),
            segments: NonZeroUsize::new(1 + usize::from(seed) % 8).unwrap_or(NonZeroUsize::MIN),
            buf: Vec::new(),
        }
    }

    pub(super) fn instant(&self) -> Instant {
        origin() + self.now
    }

    /// A datagram arrives.
    pub(super) fn receive(&mut self, from: SocketAddr, datagram: &[u8]) {
        let _ = self.endpoint.handle_datagram(self.instant(), from, datagram);
    }

    /// Opens a connection, if the endpoint lets it.
    pub(super) fn connect(&mut self, to: SocketAddr) -> Option<ConnectionHandle> {
        let handle = self.endpoint.connect(self.instant(), to).ok()?;
        self.open(handle);
        Some(handle)
    }

    /// Takes a connection from the backlog.
    pub(super) fn accept(&mut self) -> Option<ConnectionHandle> {
        let handle = self.endpoint.accept()?;
        // `Incoming` may have been polled before.
        if self.known.get(&handle) != Some(&true) {
            self.open(handle);
        }
        Some(handle)
    }

    fn open(&mut self, handle: ConnectionHandle) {
        let before = self.known.insert(handle, true);
        assert_eq!(before, None, "a handle is given out twice");
        self.live.push(App::new(handle));
    }

    /// How many connections there have been.
    pub(super) fn opened(&self) -> usize {
        self.known.len()
    }

    /// Whether a handle was ever given out.
    pub(super) fn is_known(&self, handle: ConnectionHandle) -> bool {
        self.known.contains_key(&handle)
    }

    /// Whether a handle must find its connection.
    pub(super) fn is_live(&self, handle: ConnectionHandle) -> bool {
        self.known.get(&handle) == Some(&true)
    }

    /// Does everything that can be done now.
    pub(super) fn settle(&mut self) {
        for _ in 0..SPINS {
            self.endpoint.handle_timeout(self.instant());
            self.poll_events();
            while self.poll_transmit() {}
            self.poll_events();
            if self.endpoint.poll_timeout().is_none_or(|at| at > self.instant()) {
                return;
            }
        }
        panic!("never done: {:#?}", self.endpoint);
    }

    fn poll_transmit(&mut self) -> bool {
        self.buf.clear();
        let now = self.instant();
        let Some(transmit) = self.endpoint.poll_transmit(now, self.segments, &mut self.buf) else {
            assert!(self.buf.is_empty());
            return false;
        };
        assert_eq!(transmit.len, self.buf.len());
        assert!(transmit.segment_size > 0 && transmit.len <= 65_507);
        let segments = self.buf.chunks(transmit.segment_size);
        assert!(segments.len() <= self.segments.get());
        for segment in segments {
            assert!((20..=8972).contains(&segment.len()), "{} bytes", segment.len());
            self.sent.push((transmit.destination, segment.to_vec()));
        }
        true
    }

    pub(super) fn poll_events(&mut self) {
        while let Some((handle, event)) = self.endpoint.poll_event() {
            if event == Event::Incoming && !self.known.contains_key(&handle) {
                self.open(handle);
            }
            assert!(self.is_live(handle), "{event:?} of a connection that is over");
            let at = self.live.iter().position(|app| app.handle == handle).expect("live");
            let app = &mut self.live[at];
            match event {
                Event::Connected => {
                    assert!(!app.connected);
                    app.connected = true;
                }
                Event::Closed { reason } => {
                    app.closed = Some(reason);
                    let connection = self.endpoint.connection(handle).expect("one last look");
                    assert_eq!(connection.close_reason(), Some(reason));
                    assert_eq!(connection.readable(), 0, "closed before everything was read");
                    self.known.insert(handle, false);
                    let app = self.live.remove(at);
                    self.over.push(app);
                }
                Event::Readable | Event::Writable | Event::Acked | Event::Finished => {
                    assert!(!app.given_up, "{event:?} after the application has given up");
                }
                _ => {}
            }
        }
        assert_eq!(self.endpoint.open_connections(), self.live.len());
    }

    /// An application does something; `at` says which.
    pub(super) fn call(&mut self, at: usize, call: Call) {
        let Some(index) = at.checked_rem(self.live.len()) else { return };
        let app = &mut self.live[index];
        let mut connection = self.endpoint.connection(app.handle).expect("live");
        match call {
            Call::Read(len) => app.read(&mut connection, len),
            Call::Consume(len) => app.consume(&mut connection, len),
            Call::Write(len) => app.write(&mut connection, len, false),
            Call::WriteBytes(len) => app.write(&mut connection, len, true),
            Call::Finish => {
                app.finished = true;
                connection.finish();
            }
            Call::Close => {
                app.given_up = true;
                connection.close();
            }
            Call::Abort => {
                app.given_up = true;
                connection.abort();
            }
            Call::Look => app.look(&connection),
        }
    }

    /// The application reads until there is nothing, and asks once more.
    pub(super) fn read_all(&mut self, at: usize) {
        while self.readable(at) > 0 {
            self.call(at, Call::Read(64 << 10));
        }
        self.call(at, Call::Read(1));
    }

    fn readable(&mut self, at: usize) -> usize {
        self.endpoint.connection(self.live[at].handle).expect("live").readable()
    }

    /// Every handle that was ever given out is as good as it should be.
    pub(super) fn check_handles(&mut self) {
        for (handle, live) in &self.known {
            assert_eq!(self.endpoint.connection(*handle).is_some(), *live, "{handle:?}");
        }
    }
}

impl App {
    pub(super) fn read(&mut self, connection: &mut Connection<'_>, len: usize) {
        let mut buf = vec![0; len];
        let readable = connection.readable();
        match connection.read(&mut buf) {
            Ok(0) if len > 0 => {
                assert_eq!(readable, 0);
                self.peer_finished = true;
            }
            Ok(read) => {
                assert_eq!(read, len.min(readable));
                self.check(&buf[..read]);
            }
            Err(ReadError::Blocked) => assert!(readable == 0 && connection.close_reason().is_none()),
            Err(_) => assert!(readable == 0 && connection.close_reason().is_some()),
        }
    }

    pub(super) fn consume(&mut self, connection: &mut Connection<'_>, len: usize) {
        let chunk = connection.chunk();
        let taken = chunk[..len.min(chunk.len())].to_vec();
        assert_eq!(chunk.is_empty(), connection.readable() == 0);
        connection.consume(len);
        self.check(&taken);
    }

    fn check(&mut self, data: &[u8]) {
        if let Some(stream) = self.reads
            && let Some(wrong) = tape::mismatch(stream, self.read, data)
        {
            panic!("byte {} is not what was sent", self.read + wrong as u64);
        }
        assert!(!self.peer_finished || data.is_empty(), "data after the end");
        self.read += data.len() as u64;
    }

    pub(super) fn write(&mut self, connection: &mut Connection<'_>, len: usize, shared: bool) {
        let mut data = vec![0; len];
        tape::fill(self.writes, self.written, &mut data);
        let room = connection.writable();
        let result = if shared {
            let mut bytes = Bytes::from(data);
            connection.write_bytes(&mut bytes).inspect(|n| assert_eq!(n + bytes.len(), len))
        } else {
            connection.write(&data)
        };
        match result {
            Ok(taken) => {
                assert!(taken == len.min(room), "{taken} of {len}, {room} writable");
                assert!(!self.finished && !self.given_up);
                self.written += taken as u64;
            }
            Err(WriteError::Blocked) => assert_eq!(room, 0),
            Err(WriteError::Finished) => assert!(self.finished || self.given_up),
            Err(_) => assert!(connection.close_reason().is_some()),
        }
    }

    /// What must hold at any time.
    pub(super) fn look(&self, connection: &Connection<'_>) {
        let stats = connection.stats();
        assert_eq!(connection.bytes_written(), self.written);
        assert!(connection.bytes_acked() <= connection.bytes_sent());
        assert!(connection.bytes_sent() <= connection.bytes_written());
        assert!(stats.bytes_in_flight <= connection.bytes_sent() - connection.bytes_acked());
        assert!(stats.cwnd > 0 && stats.mtu >= 508);
        assert!(stats.retransmits <= stats.packets_sent && stats.spurious_retransmits <= stats.retransmits);
        assert!(self.given_up || connection.bytes_read() == self.read);
    }
}

/// Where virtual time begins: any instant will do.
pub(super) fn origin() -> Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    *ORIGIN.get_or_init(Instant::now)
}

/// An address of the simulated Internet.
pub(super) fn address(n: u8) -> SocketAddr {
    match n {
        v6 if v6 % 4 == 3 => SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(v6)], 6881)),
        v4 => SocketAddr::from(([192, 0, 2, v4 + 1], 6881)),
    }
}

/// Rounds of polling in which an endpoint must have done what there is to do.
const SPINS: u32 = 1_000;
