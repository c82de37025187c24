//! One transfer between two peers over a relay: who dials, who sends, through which faults, within which
//! time.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::faults::Faults;
use super::pattern::{Checker, Pattern};
use super::peer::{Connection, Kind, Sink, Source};
use super::relay::{Relay, RelayCounts};
use super::trace::Record;

/// What is done over the connection. The dialer always says something first: a libutp acceptor may not
/// write before it has received data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flow {
    /// The dialer sends, and closes first.
    DialerSends,
    /// The acceptor sends, and closes first.
    AcceptorSends,
    /// Both send at the same time, and both close when both have received everything.
    BothSend,
    /// The dialer sends and finishes; then the acceptor sends as much the other way.
    DialerHalfCloses,
    /// The acceptor sends and finishes; then the dialer sends as much the other way.
    AcceptorHalfCloses,
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::DialerSends => "dialer sends",
            Self::AcceptorSends => "acceptor sends",
            Self::BothSend => "both send",
            Self::DialerHalfCloses => "dialer half-closes",
            Self::AcceptorHalfCloses => "acceptor half-closes",
        })
    }
}

/// A case.
#[derive(Debug, Clone)]
pub struct Case {
    /// Who connects.
    pub dialer: Kind,
    /// Who accepts.
    pub acceptor: Kind,
    /// Who sends.
    pub flow: Flow,
    /// How much each sender sends.
    pub bytes: u64,
    /// What the path does. Its seed is the seed of the whole case.
    pub faults: Faults,
    /// Over IPv6 instead of IPv4.
    pub v6: bool,
    /// The case has failed when it takes longer.
    pub limit: Duration,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dialer, acceptor, flow, bytes, faults, v6, limit: _ } = self;
        let version = if *v6 { ", IPv6" } else { "" };
        write!(f, "{dialer} dials {acceptor}, {flow} {bytes} bytes, {faults}{version}, seed {}", faults.seed)
    }
}

/// How a case went.
#[derive(Debug)]
pub struct Report {
    /// The case.
    pub case: Case,
    /// From the SYN until everything was received and checked.
    pub elapsed: Duration,
    /// What went wrong.
    pub result: Result<(), String>,
    /// What the relay did.
    pub counts: RelayCounts,
    /// The last packets, if it failed.
    pub trace: Vec<Record>,
}

impl Report {
    /// # Panics
    /// If the case failed; the message has everything that is known about it.
    pub fn expect_success(&self) {
        assert!(self.result.is_ok(), "{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.elapsed.as_secs_f64();
        match &self.result {
            Ok(()) => write!(f, "{}: {seconds:.2} s; {}", self.case, self.counts),
            Err(error) => {
                writeln!(f, "{}: FAILED after {seconds:.2} s: {error}", self.case)?;
                writeln!(f, "relay: {}", self.counts)?;
                self.trace.iter().try_for_each(|record| writeln!(f, "{record}"))
            }
        }
    }
}

/// Runs a case; never longer than its limit, and a little for setting up.
pub async fn run(case: &Case) -> Report {
    let started = Instant::now();
    let (elapsed, result, relay) = match attempt(case).await {
        Ok((elapsed, result, relay)) => (elapsed, result, Some(relay)),
        Err(error) => (started.elapsed(), Err(format!("could not set up: {error}")), None),
    };
    let trace = match (&relay, &result) {
        (Some(relay), Err(_)) => relay.trace(),
        _ => Vec::new(),
    };
    let counts = relay.map(|relay| relay.counts()).unwrap_or_default();
    Report { case: case.clone(), elapsed, result, counts, trace }
}

async fn attempt(case: &Case) -> io::Result<(Duration, Result<(), String>, Relay)> {
    let seed = case.faults.seed;
    let acceptor = case.acceptor.bind(case.v6, seed).await?;
    let relay = Relay::start(acceptor.addr(), &case.faults, trace_length())?;
    let dialer = case.dialer.bind(case.v6, !seed).await?;
    let (dials, accepts) = (Side::new("dialer", case.dialer), Side::new("acceptor", case.acceptor));
    let done = Mutex::new(None);

    let started = Instant::now();
    let transfer = async {
        let dialing = async {
            dials.at("connecting");
            let connection = dials.check(dialer.connect(relay.addr()).await)?;
            play(case, true, connection, &dials, case.acceptor, &done).await
        };
        let accepting = async {
            accepts.at("accepting");
            let connection = accepts.check(acceptor.accept().await)?;
            play(case, false, connection, &accepts, case.dialer, &done).await
        };
        tokio::try_join!(dialing, accepting).map(drop)
    };
    let result = match tokio::time::timeout(case.limit, transfer).await {
        Ok(result) => result,
        Err(_) => Err(format!("not done within {:?}: {dials}; {accepts}", case.limit)),
    };
    let ended = done.into_inner().unwrap_or_else(PoisonError::into_inner).unwrap_or_else(Instant::now);
    Ok((ended - started, result, relay))
}

/// One side's part. `done` gets the time when the last byte was checked.
async fn play(
    case: &Case,
    dials: bool,
    connection: Connection,
    side: &Side,
    other: Kind,
    done: &Mutex<Option<Instant>>,
) -> Result<(), String> {
    let Connection { source, mut sink } = connection;
    let mut inbox = Inbox { source, pending: Vec::new() };
    let (own, others) = if dials { (DIALER, ACCEPTOR) } else { (ACCEPTOR, DIALER) };
    let (own, others) = (case.faults.seed ^ own, Checker::new(case.faults.seed ^ others, case.bytes));
    if dials {
        side.at("greeting");
        side.check(sink.write_all(GREETING).await)?;
    } else {
        side.at("reading the greeting");
        inbox.expect(side, GREETING).await?;
    }
    let first = match case.flow {
        Flow::DialerSends | Flow::DialerHalfCloses => dials,
        Flow::AcceptorSends | Flow::AcceptorHalfCloses => !dials,
        Flow::BothSend => {
            let (sent, received) =
                tokio::join!(send(side, &mut *sink, own, case.bytes), receive(side, &mut inbox, others));
            sent.and(received)?;
            // Nobody finishes before the other has everything: librqbit-utp would stop reading.
            side.at("telling that all arrived");
            side.check(sink.write_all(DONE).await)?;
            inbox.expect(side, DONE).await?;
            note(done);
            side.finish(&mut *sink).await?;
            inbox.expect_end(side).await?;
            return side.closed(&mut *sink).await;
        }
    };
    let answers = matches!(case.flow, Flow::DialerHalfCloses | Flow::AcceptorHalfCloses);
    if first {
        send(side, &mut *sink, own, case.bytes).await?;
        side.finish(&mut *sink).await?;
        if answers {
            receive(side, &mut inbox, others).await?;
        }
        if !side.kind.half_close() || !other.half_close() {
            // One of them takes the acknowledgement of the first FIN for the end of everything.
            side.at("waiting for the last acknowledgement");
            return side.check(sink.delivered().await);
        }
        inbox.expect_end(side).await?;
    } else {
        receive(side, &mut inbox, others).await?;
        inbox.expect_end(side).await?;
        if answers {
            send(side, &mut *sink, own, case.bytes).await?;
        } else {
            note(done);
        }
        side.finish(&mut *sink).await?;
        if !other.half_close() {
            return Ok(()); // it is gone: `endings` tests what becomes of our FIN
        }
    }
    note(done);
    side.closed(&mut *sink).await
}

/// Keeps the first time.
fn note(done: &Mutex<Option<Instant>>) {
    done.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Instant::now);
}

async fn send(side: &Side, sink: &mut dyn Sink, seed: u64, bytes: u64) -> Result<(), String> {
    side.at("sending");
    let mut pattern = Pattern::new(seed);
    let mut chunk = vec![0; CHUNK];
    let mut left = bytes;
    while left > 0 {
        let chunk = &mut chunk[..left.min(CHUNK as u64) as usize];
        pattern.fill(chunk);
        side.check(sink.write_all(chunk).await)?;
        left -= chunk.len() as u64;
        side.sent.store(bytes - left, Relaxed);
    }
    Ok(())
}

async fn receive(side: &Side, inbox: &mut Inbox, mut checker: Checker) -> Result<(), String> {
    side.at("receiving");
    while !checker.complete() {
        let wanted = inbox.some(side).await?;
        if wanted == 0 {
            return Err(format!("{side}: the end came after {} bytes", checker.checked()));
        }
        let take = wanted.min((checker.left()).try_into().unwrap_or(usize::MAX));
        checker.feed(&inbox.pending[..take]).map_err(|error| format!("{side}: {error}"))?;
        inbox.pending.drain(..take);
        side.received.store(checker.checked(), Relaxed);
    }
    Ok(())
}

/// A source with what was read too much.
struct Inbox {
    source: Box<dyn Source>,
    pending: Vec<u8>,
}

impl Inbox {
    /// Waits until something is pending; 0 is the end.
    async fn some(&mut self, side: &Side) -> Result<usize, String> {
        if self.pending.is_empty() {
            side.check(self.source.read(&mut self.pending).await)?;
        }
        Ok(self.pending.len())
    }

    async fn expect(&mut self, side: &Side, message: &[u8]) -> Result<(), String> {
        while self.pending.len() < message.len() {
            if side.check(self.source.read(&mut self.pending).await)? == 0 {
                return Err(format!("{side}: the end came early"));
            }
        }
        let start: Vec<u8> = self.pending.drain(..message.len()).collect();
        if start == message { Ok(()) } else { Err(format!("{side}: {start:?} came instead of {message:?}")) }
    }

    async fn expect_end(&mut self, side: &Side) -> Result<(), String> {
        side.at("waiting for the end");
        match self.some(side).await? {
            0 => Ok(()),
            n => Err(format!("{side}: {n} bytes came behind the last one")),
        }
    }
}

/// Where one side stands, for the message of a case that failed.
pub(super) struct Side {
    role: &'static str,
    kind: Kind,
    stage: Mutex<&'static str>,
    sent: AtomicU64,
    received: AtomicU64,
}

impl Side {
    pub(super) fn new(role: &'static str, kind: Kind) -> Self {
        Self { role, kind, stage: Mutex::new(""), sent: AtomicU64::new(0), received: AtomicU64::new(0) }
    }

    pub(super) fn at(&self, stage: &'static str) {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner) = stage;
    }

    pub(super) fn check<T>(&self, result: io::Result<T>) -> Result<T, String> {
        result.map_err(|error| format!("{self}: {error} ({:?})", error.kind()))
    }

    async fn finish(&self, sink: &mut dyn Sink) -> Result<(), String> {
        self.at("finishing");
        self.check(sink.finish().await)
    }

    async fn closed(&self, sink: &mut dyn Sink) -> Result<(), String> {
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

/// How many packets of a failed case are shown: `UTP_INTEROP_TRACE`, or the last few.
pub(super) fn trace_length() -> usize {
    std::env::var("UTP_INTEROP_TRACE").ok().and_then(|n| n.parse().ok()).unwrap_or(40)
}

const GREETING: &[u8] = b"hello, other side";
const DONE: &[u8] = b"all of it arrived";
const DIALER: u64 = 0x6469_616c; // salts, so that the two streams differ
const ACCEPTOR: u64 = 0x6163_6370;
const CHUNK: usize = 128 << 10;
