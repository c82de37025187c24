//! One side of a case: where it stands, what it has read, and how it failed.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use utp_tokio::ConnectionStats;

use super::peer::{Connection, Kind, Sink, Source};

/// Why a case failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// It was not done in time.
    TooLate(String),
    /// The foreign peer gave its connection up by itself: too many losses of one packet, too long a silence.
    PeerGaveUp(String),
    /// Anything else.
    Wrong(String),
}

impl Failure {
    /// Whether that may be all the foreign peer's doing, where the path loses packets.
    #[must_use]
    pub fn is_patience(&self) -> bool {
        !matches!(self, Self::Wrong(_))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::TooLate(text) | Self::PeerGaveUp(text) | Self::Wrong(text)) = self;
        f.write_str(text)
    }
}

/// A source with what was read too much.
pub(super) struct Inbox<'a> {
    source: &'a mut dyn Source,
    pub(super) pending: Vec<u8>,
}

impl<'a> Inbox<'a> {
    pub(super) fn new(source: &'a mut dyn Source) -> Self {
        Self { source, pending: Vec::new() }
    }

    /// Waits until something is pending; 0 is the end.
    pub(super) async fn some(&mut self, side: &Side) -> Result<usize, Failure> {
        if self.pending.is_empty() {
            side.check(self.source.read(&mut self.pending).await)?;
        }
        Ok(self.pending.len())
    }

    pub(super) async fn expect(&mut self, side: &Side, message: &[u8]) -> Result<(), Failure> {
        while self.pending.len() < message.len() {
            if side.check(self.source.read(&mut self.pending).await)? == 0 {
                return Err(side.wrong(format_args!("the end came early")));
            }
        }
        let start: Vec<u8> = self.pending.drain(..message.len()).collect();
        if start == message {
            Ok(())
        } else {
            Err(side.wrong(format_args!("{start:?} came instead of {message:?}")))
        }
    }

    pub(super) async fn expect_end(&mut self, side: &Side) -> Result<(), Failure> {
        side.at("waiting for the end");
        match self.some(side).await? {
            0 => Ok(()),
            n => Err(side.wrong(format_args!("{n} bytes came behind the last one"))),
        }
    }
}

/// Where one side stands, for the message of a case that failed.
pub(super) struct Side {
    role: &'static str,
    pub(super) kind: Kind,
    stage: Mutex<&'static str>,
    sent: AtomicU64,
    received: AtomicU64,
    stats: Mutex<Option<ConnectionStats>>,
}

impl Side {
    pub(super) fn new(role: &'static str, kind: Kind) -> Self {
        let (sent, received) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { role, kind, stage: Mutex::new(""), sent, received, stats: Mutex::new(None) }
    }

    pub(super) fn at(&self, stage: &'static str) {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner) = stage;
    }

    /// Keeps what the connection counted, and drops it.
    pub(super) fn note(&self, connection: Option<Connection>) {
        if let Some(stats) = connection.and_then(|connection| connection.sink.stats()) {
            *self.stats.lock().unwrap_or_else(PoisonError::into_inner) = Some(stats);
        }
    }

    pub(super) fn into_stats(self) -> Option<ConnectionStats> {
        self.stats.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn check<T>(&self, result: io::Result<T>) -> Result<T, Failure> {
        result.map_err(|error| {
            let text = format!("{self}: {error} ({:?})", error.kind());
            if self.kind.gave_up(&error) { Failure::PeerGaveUp(text) } else { Failure::Wrong(text) }
        })
    }

    pub(super) fn wrong(&self, what: fmt::Arguments<'_>) -> Failure {
        Failure::Wrong(format!("{self}: {what}"))
    }

    /// So many of the bytes that the case is about were taken for sending.
    pub(super) fn has_sent(&self, bytes: u64) {
        self.sent.store(bytes, Relaxed);
    }

    /// So many of them have come from the other side.
    pub(super) fn has_received(&self, bytes: u64) {
        self.received.store(bytes, Relaxed);
    }

    pub(super) async fn finish(&self, sink: &mut dyn Sink) -> Result<(), Failure> {
        self.at("finishing");
        self.check(sink.finish().await)
    }

    pub(super) async fn closed(&self, sink: &mut dyn Sink) -> Result<(), Failure> {
        self.at("closing");
        self.check(sink.closed().await)
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        let (sent, received) = (self.sent.load(Relaxed), self.received.load(Relaxed));
        write!(f, "{} ({}) {stage}, {sent} bytes taken, {received} received", self.role, self.kind)
    }
}
