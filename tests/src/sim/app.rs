//! What an application does with its side of a connection, and what came of it.

use std::fmt;
use std::time::Duration;

use utp_proto::{CloseReason, ConnectionHandle, ConnectionStats, Endpoint, WriteError};

use super::tape;

/// What an application does with its side of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Script {
    /// Bytes to write.
    pub send: u64,
    /// Bytes given to one call of `write` at most.
    pub chunk: usize,
    /// Bytes per second written at most, as an application that has no more; `None`: all at once.
    pub send_rate: Option<u64>,
    /// Nothing is written before this time.
    pub start: Duration,
    /// When the FIN is queued.
    pub finish: Finish,
    /// How it reads.
    pub reading: Reading,
    /// How and when it ends early.
    pub ending: Option<(Duration, Ending)>,
}

/// When the FIN is queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// After the last byte was written.
    AfterSending,
    /// After that, and after the peer's FIN.
    AfterPeer,
    /// Never.
    Never,
}

/// How an application reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Everything at once.
    All,
    /// So many bytes per second.
    Rate(u64),
    /// Stops after so many bytes, and resumes at this time.
    Pause(u64, Duration),
}

/// How an application ends early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Drops its handle.
    Close,
    /// Resets.
    Abort,
}

#[allow(missing_docs)] // the names are those of the fields
impl Script {
    /// Writes so many bytes, then the FIN; reads everything.
    #[must_use]
    pub fn send(bytes: u64) -> Self {
        Self {
            send: bytes,
            chunk: 64 << 10,
            send_rate: None,
            start: Duration::ZERO,
            finish: Finish::AfterSending,
            reading: Reading::All,
            ending: None,
        }
    }

    /// Reads everything and finishes when the peer has.
    #[must_use]
    pub fn receive() -> Self {
        Self { finish: Finish::AfterPeer, ..Self::send(0) }
    }

    #[must_use]
    pub fn start(self, start: Duration) -> Self {
        Self { start, ..self }
    }

    #[must_use]
    pub fn chunk(self, chunk: usize) -> Self {
        Self { chunk, ..self }
    }

    #[must_use]
    pub fn send_rate(self, bytes_per_second: u64) -> Self {
        Self { send_rate: Some(bytes_per_second), ..self }
    }

    #[must_use]
    pub fn finish(self, finish: Finish) -> Self {
        Self { finish, ..self }
    }

    #[must_use]
    pub fn reading(self, reading: Reading) -> Self {
        Self { reading, ..self }
    }

    #[must_use]
    pub fn ending(self, at: Duration, how: Ending) -> Self {
        Self { ending: Some((at, how)), ..self }
    }
}

/// One application's side of a connection.
#[derive(Debug)]
pub struct Side {
    /// The host it is on.
    pub host: usize,
    /// What it does.
    pub script: Script,
    /// Bytes written.
    pub written: u64,
    /// Bytes read, each of them checked.
    pub read: u64,
    /// When it was told that the connection is established (accepted: when it was accepted).
    pub connected: Option<Duration>,
    /// When the peer's FIN was delivered.
    pub peer_finished: Option<Duration>,
    /// When its own FIN was queued.
    pub finished: Option<Duration>,
    /// How the connection ended, and when.
    pub closed: Option<(Duration, CloseReason)>,
    /// It has dropped its handle or reset the connection.
    pub gave_up: bool,
    /// The last counters.
    pub stats: ConnectionStats,
    /// When it last read something.
    pub last_read: Duration,
    /// When to call again although nothing happens.
    pub(crate) wake: Option<Duration>,
    /// Names it at its endpoint.
    pub handle: ConnectionHandle,
    /// Stream that it writes, and that it expects to read.
    pub(crate) streams: (u64, u64),
    opened: Duration,
    /// For what is written: kept, since clearing a new one each time would take longer than all else.
    scratch: Vec<u8>,
}

impl Side {
    pub(crate) fn new(
        host: usize,
        handle: ConnectionHandle,
        script: Script,
        streams: (u64, u64),
        now: Duration,
    ) -> Self {
        Self {
            host,
            script,
            written: 0,
            read: 0,
            connected: None,
            peer_finished: None,
            finished: None,
            closed: None,
            gave_up: false,
            stats: ConnectionStats::default(),
            last_read: Duration::ZERO,
            wake: None,
            handle,
            streams,
            opened: now,
            scratch: Vec::new(),
        }
    }

    /// Does what the script says that can be done now. Errors: what is wrong with what was delivered.
    pub(crate) fn run(&mut self, endpoint: &mut Endpoint, now: Duration) -> Result<(), String> {
        if self.closed.is_some() || self.gave_up {
            return Ok(());
        }
        self.wake = None;
        if let Some((at, how)) = self.script.ending {
            if now >= at {
                self.give_up(endpoint, how);
                return Ok(());
            }
            self.wake_at(at);
        }
        self.write(endpoint, now);
        self.read(endpoint, now)?;
        self.maybe_finish(endpoint, now);
        Ok(())
    }

    pub(crate) fn give_up(&mut self, endpoint: &mut Endpoint, how: Ending) {
        self.gave_up = true;
        if let Some(mut connection) = endpoint.connection(self.handle) {
            match how {
                Ending::Close => connection.close(),
                Ending::Abort => connection.abort(),
            }
        }
    }

    fn wake_at(&mut self, at: Duration) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    fn write(&mut self, endpoint: &mut Endpoint, now: Duration) {
        let start = self.script.start.max(self.opened);
        if now < start {
            return self.wake_at(start);
        }
        let allowed = match self.script.send_rate {
            Some(rate) => {
                if self.written < self.script.send {
                    self.wake_at(now + TICK);
                }
                ((now - start + TICK).as_secs_f64() * rate as f64) as u64
            }
            None => u64::MAX,
        };
        let target = self.script.send.min(allowed);
        self.write_up_to(endpoint, target);
    }

    /// Writes until `target` bytes are written or no more are taken.
    pub(crate) fn write_up_to(&mut self, endpoint: &mut Endpoint, target: u64) {
        let Some(mut connection) = endpoint.connection(self.handle) else { return };
        let most = target.saturating_sub(self.written).min(self.script.chunk as u64) as usize;
        if self.scratch.len() < most {
            self.scratch.resize(most, 0);
        }
        while self.written < target && self.finished.is_none() {
            let len = (target - self.written).min(most as u64) as usize;
            // Asking first spares generating what would not be taken; a refused write asks for `Writable`.
            let len = len.min(connection.writable().max(1));
            tape::fill(self.streams.0, self.written, &mut self.scratch[..len]);
            match connection.write(&self.scratch[..len]) {
                Ok(taken) => self.written += taken as u64,
                Err(WriteError::Blocked | WriteError::Closed(_)) => return,
                Err(error) => panic!("writing before the finish: {error}"),
            }
        }
    }

    fn read(&mut self, endpoint: &mut Endpoint, now: Duration) -> Result<(), String> {
        let allowed = match self.script.reading {
            Reading::All => u64::MAX,
            Reading::Rate(rate) => {
                if self.peer_finished.is_none() {
                    self.wake_at(now + TICK);
                }
                ((now - self.opened + TICK).as_secs_f64() * rate as f64) as u64
            }
            Reading::Pause(after, until) if now < until => {
                self.wake_at(until);
                after
            }
            Reading::Pause(..) => u64::MAX,
        };
        self.read_up_to(endpoint, now, allowed)
    }

    /// Reads until `allowed` bytes are read or no more are there, and checks each.
    pub(crate) fn read_up_to(
        &mut self,
        endpoint: &mut Endpoint,
        now: Duration,
        allowed: u64,
    ) -> Result<(), String> {
        let Some(mut connection) = endpoint.connection(self.handle) else { return Ok(()) };
        while self.read < allowed && self.peer_finished.is_none() {
            let chunk = connection.chunk();
            let len = (chunk.len() as u64).min(allowed - self.read) as usize;
            if len == 0 {
                match connection.read_state() {
                    Ok(false) => self.peer_finished = Some(now),
                    Ok(true) => return Err("there is data to read and none to be had".into()),
                    Err(_) => {} // nothing yet, or nothing any more: `Closed` follows
                }
                break;
            }
            if let Some(at) = tape::mismatch(self.streams.1, self.read, &chunk[..len]) {
                return Err(format!("byte {} is not what was sent", self.read + at as u64));
            }
            connection.consume(len);
            self.read += len as u64;
            self.last_read = now;
        }
        Ok(())
    }

    fn maybe_finish(&mut self, endpoint: &mut Endpoint, now: Duration) {
        let ready = match self.script.finish {
            Finish::AfterSending => true,
            Finish::AfterPeer => self.peer_finished.is_some(),
            Finish::Never => false,
        };
        if ready && self.written == self.script.send {
            self.finish(endpoint, now);
        }
    }

    pub(crate) fn finish(&mut self, endpoint: &mut Endpoint, now: Duration) {
        if self.finished.is_none()
            && let Some(mut connection) = endpoint.connection(self.handle)
        {
            connection.finish();
            self.finished = Some(now);
        }
    }

    /// Whether it ended as connections should: both directions finished, everything delivered.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        matches!(self.closed, Some((_, CloseReason::Finished)))
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, script, written, read, connected, peer_finished, finished, closed, stats, .. } =
            self;
        let time = |t: &Option<Duration>| t.map_or("never".to_owned(), |t| format!("{t:.3?}"));
        write!(f, "host {host}, written {written}, read {read}, connected {}", time(connected))?;
        write!(f, ", FIN queued {}, peer's read {}", time(finished), time(peer_finished))?;
        match closed {
            Some((at, reason)) => write!(f, ", closed {at:.3?} {reason:?}")?,
            None => write!(f, ", open{}", if self.gave_up { ", given up" } else { "" })?,
        }
        write!(f, "\n    {script:?}\n    {stats:?}")
    }
}

/// How often an application of limited speed acts.
const TICK: Duration = Duration::from_millis(10);
