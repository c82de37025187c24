//! One transfer between two peers over a relay: who dials, who sends, through which faults, within which
//! time.

use std::fmt;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use utp_tokio::ConnectionStats;

use super::faults::Faults;
use super::pattern::{Checker, Pattern};
use super::peer::{Connection, Kind, Sink};
use super::relay::{Relay, RelayCounts};
pub use super::side::Failure;
use super::side::{Inbox, Side};
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
    pub result: Result<(), Failure>,
    /// What the relay did.
    pub counts: RelayCounts,
    /// What our connections counted, the dialer's first.
    pub stats: Vec<ConnectionStats>,
    /// The last packets, if it failed or if `UTP_INTEROP_TRACE` is set.
    pub trace: Vec<Record>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.elapsed.as_secs_f64();
        match &self.result {
            Ok(()) => writeln!(f, "{}: {seconds:.2} s", self.case)?,
            Err(error) => writeln!(f, "{}: FAILED after {seconds:.2} s: {error}", self.case)?,
        }
        writeln!(f, "relay: {}", self.counts)?;
        self.stats.iter().try_for_each(|stats| writeln!(f, "ours: {}", Losses(stats)))?;
        if self.result.is_err() {
            self.stats.iter().try_for_each(|stats| writeln!(f, "{stats:?}"))?;
        }
        self.trace.iter().try_for_each(|record| writeln!(f, "{record}"))
    }
}

/// What became of the packets that a connection of ours sent, on one line.
struct Losses<'a>(&'a ConnectionStats);

impl fmt::Display for Losses<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = self.0;
        write!(
            f,
            "{} DATA sent, {} lost, {} sent again ({} without need), {} time-outs, {} reductions, window {}, rtt {:?}",
            s.data_packets_sent,
            s.packets_lost,
            s.retransmits,
            s.spurious_retransmits,
            s.timeouts,
            s.congestion_events,
            s.cwnd,
            s.rtt
        )
    }
}

/// Runs a case; never longer than its limit, and a little for setting up.
pub async fn run(case: &Case) -> Report {
    attempt(case).await.unwrap_or_else(|error| Report {
        case: case.clone(),
        elapsed: Duration::ZERO,
        result: Err(Failure::Wrong(format!("could not set up: {error}"))),
        counts: RelayCounts::default(),
        stats: Vec::new(),
        trace: Vec::new(),
    })
}

async fn attempt(case: &Case) -> io::Result<Report> {
    let seed = case.faults.seed;
    let acceptor = case.acceptor.bind(case.v6, seed).await?;
    let relay = Relay::start(acceptor.addr(), &case.faults, trace_length())?;
    let dialer = case.dialer.bind(case.v6, !seed).await?;
    let (dials, accepts) = (Side::new("dialer", case.dialer), Side::new("acceptor", case.acceptor));
    // Out here, so that those of a case that hangs can still be asked what they counted.
    let (mut dialed, mut accepted) = (None, None);
    let done = Mutex::new(None);

    let started = Instant::now();
    let transfer = async {
        let dialing = async {
            dials.at("connecting");
            let connection = dialed.insert(dials.check(dialer.connect(relay.addr()).await)?);
            play(case, true, connection, &dials, case.acceptor, &done).await?;
            dials.note(dialed.take());
            Ok::<_, Failure>(())
        };
        let accepting = async {
            accepts.at("accepting");
            let connection = accepted.insert(accepts.check(acceptor.accept().await)?);
            play(case, false, connection, &accepts, case.dialer, &done).await?;
            accepts.note(accepted.take());
            Ok(())
        };
        tokio::try_join!(dialing, accepting).map(drop)
    };
    let result = match tokio::time::timeout(case.limit, transfer).await {
        Ok(result) => result,
        Err(_) => Err(Failure::TooLate(format!("not done within {:?}: {dials}; {accepts}", case.limit))),
    };
    let ended = done.into_inner().unwrap_or_else(PoisonError::into_inner).unwrap_or_else(Instant::now);
    dials.note(dialed);
    accepts.note(accepted);
    Ok(Report {
        case: case.clone(),
        elapsed: ended - started,
        counts: relay.counts(),
        stats: [dials, accepts].into_iter().filter_map(Side::into_stats).collect(),
        trace: if result.is_err() || std::env::var_os(TRACE).is_some() { relay.trace() } else { Vec::new() },
        result,
    })
}

/// One side's part. `done` gets the time when the last byte was checked.
async fn play(
    case: &Case,
    dials: bool,
    connection: &mut Connection,
    side: &Side,
    other: Kind,
    done: &Mutex<Option<Instant>>,
) -> Result<(), Failure> {
    let Connection { source, sink } = connection;
    let mut inbox = Inbox::new(&mut **source);
    let (own, others) = if dials { (DIALER, ACCEPTOR) } else { (ACCEPTOR, DIALER) };
    let (own, others) = (case.faults.seed ^ own, Checker::new(case.faults.seed ^ others, case.bytes));
    if dials {
        side.at("greeting");
        side.check(sink.write_all(GREETING).await)?;
    } else {
        side.at("reading the greeting");
        inbox.expect(side, GREETING).await?;
    }
    let both_half_close = side.kind.half_close() && other.half_close();
    let first = match case.flow {
        Flow::DialerSends | Flow::DialerHalfCloses => dials,
        Flow::AcceptorSends | Flow::AcceptorHalfCloses => !dials,
        Flow::BothSend => {
            let (sent, received) =
                tokio::join!(send(side, &mut **sink, own, case.bytes), receive(side, &mut inbox, others));
            sent.and(received)?;
            // Nobody finishes before the other has everything: librqbit-utp would stop reading.
            side.at("telling that all arrived");
            side.check(sink.write_all(DONE).await)?;
            inbox.expect(side, DONE).await?;
            note(done);
            side.finish(&mut **sink).await?;
            if case.faults.loss > 0.0 && !both_half_close {
                return Ok(()); // whose FIN gets lost may be gone before it would send it again
            }
            inbox.expect_end(side).await?;
            return side.closed(&mut **sink).await;
        }
    };
    let answers = matches!(case.flow, Flow::DialerHalfCloses | Flow::AcceptorHalfCloses);
    if first {
        send(side, &mut **sink, own, case.bytes).await?;
        side.finish(&mut **sink).await?;
        if answers {
            receive(side, &mut inbox, others).await?;
        }
        if !both_half_close {
            // One of them takes the acknowledgement of the first FIN for the end of everything. If that gets
            // lost nothing tells what arrived, for it does not linger to repeat it: its own part says.
            side.at("waiting for the last acknowledgement");
            return if case.faults.loss > 0.0 { Ok(()) } else { side.check(sink.delivered().await) };
        }
        inbox.expect_end(side).await?;
    } else {
        receive(side, &mut inbox, others).await?;
        inbox.expect_end(side).await?;
        if answers {
            send(side, &mut **sink, own, case.bytes).await?;
        } else {
            note(done);
        }
        side.finish(&mut **sink).await?;
        if !other.half_close() {
            return Ok(()); // it is gone: `endings` tests what becomes of our FIN
        }
    }
    note(done);
    side.closed(&mut **sink).await
}

/// Keeps the first time.
fn note(done: &Mutex<Option<Instant>>) {
    done.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Instant::now);
}

async fn send(side: &Side, sink: &mut dyn Sink, seed: u64, bytes: u64) -> Result<(), Failure> {
    side.at("sending");
    let mut pattern = Pattern::new(seed);
    let mut chunk = vec![0; CHUNK];
    let mut left = bytes;
    while left > 0 {
        let chunk = &mut chunk[..left.min(CHUNK as u64) as usize];
        pattern.fill(chunk);
        side.check(sink.write_all(chunk).await)?;
        left -= chunk.len() as u64;
        side.has_sent(bytes - left);
    }
    Ok(())
}

async fn receive(side: &Side, inbox: &mut Inbox<'_>, mut checker: Checker) -> Result<(), Failure> {
    side.at("receiving");
    while !checker.complete() {
        let wanted = inbox.some(side).await?;
        if wanted == 0 {
            return Err(side.wrong(format_args!("the end came after {} bytes", checker.checked())));
        }
        let take = wanted.min((checker.left()).try_into().unwrap_or(usize::MAX));
        checker.feed(&inbox.pending[..take]).map_err(|error| side.wrong(format_args!("{error}")))?;
        inbox.pending.drain(..take);
        side.has_received(checker.checked());
    }
    Ok(())
}

/// How many packets are shown: the last few of a failed case, or what `UTP_INTEROP_TRACE` says, of any case.
pub(super) fn trace_length() -> usize {
    std::env::var(TRACE).ok().and_then(|n| n.parse().ok()).unwrap_or(40)
}

const TRACE: &str = "UTP_INTEROP_TRACE";
const GREETING: &[u8] = b"hello, other side";
const DONE: &[u8] = b"all of it arrived";
const DIALER: u64 = 0x6469_616c; // salts, so that the two streams differ
const ACCEPTOR: u64 = 0x6163_6370;
const CHUNK: usize = 128 << 10;
