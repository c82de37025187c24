//! How connections with a foreign peer begin and end when not everything goes well: a peer that is
//! killed or restarted, one that leaves or is left, one that never finishes. In each case the side that
//! remains has to learn of it in bounded time.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use utp_tokio::Config;

use super::case::trace_length;
use super::faults::Faults;
use super::ours::Ours;
use super::pattern::{Checker, Pattern};
use super::peer::{Connection, Kind, Peer, Sink, Source};
use super::relay::Relay;

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The peer dies while we send: we see TimedOut.
    ReceiverKilled,
    /// The peer dies while it sends: we see TimedOut, having set an idle time-out.
    SenderKilled,
    /// The peer dies while we send, and another takes its port. libutp answers our packets with a RESET: we
    /// see Reset. librqbit-utp does not answer, and utp-rs with a RESET that always acknowledges 0, which is
    /// not believed unless our numbers happen to be there: we see TimedOut.
    Restarted,
    /// The peer's application drops the connection while we send: we see Reset or TimedOut.
    TheyDrop,
    /// Our application drops the connection after writing: the peer gets everything, and the end.
    WeDrop,
    /// We abort while we send: the peer sees an error.
    WeAbort,
    /// The peer finishes first, and takes the acknowledgement of that for the end of everything. Our FIN
    /// goes unanswered or is answered with a RESET: the connection ends all the same.
    TheyForget,
    /// We accept, and speak first to a dialer that says nothing.
    WeSpeakFirst,
    /// They accept, and speak first.
    TheySpeakFirst,
    /// We refuse connections: the dialer learns of it at once. utp-rs calls any failure to connect
    /// TimedOut, but has a time-out of 20 s, which is not what it reports here.
    WeRefuse,
}

impl Ending {
    /// All of them, in the order of a table.
    pub const ALL: [Self; 10] = [
        Self::ReceiverKilled,
        Self::SenderKilled,
        Self::Restarted,
        Self::TheyDrop,
        Self::WeDrop,
        Self::WeAbort,
        Self::TheyForget,
        Self::WeSpeakFirst,
        Self::TheySpeakFirst,
        Self::WeRefuse,
    ];
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::ReceiverKilled => "we send, they are killed",
            Self::SenderKilled => "they send and are killed",
            Self::Restarted => "we send, they are killed and started again",
            Self::TheyDrop => "we send, they drop the connection",
            Self::WeDrop => "we write and drop the connection",
            Self::WeAbort => "we write and abort",
            Self::TheyForget => "they finish first, then we",
            Self::WeSpeakFirst => "we accept and speak first",
            Self::TheySpeakFirst => "they accept and speak first",
            Self::WeRefuse => "we refuse",
        })
    }
}

/// A case.
#[derive(Debug, Clone, Copy)]
pub struct EndingCase {
    /// The foreign peer.
    pub kind: Kind,
    /// Whether we dial.
    pub we_dial: bool,
    /// What happens.
    pub ending: Ending,
    /// Seed of the data and of the peers' choices.
    pub seed: u64,
    /// The foreign peer is at our end too: what it does to itself. Only where somebody speaks first.
    pub alone: bool,
}

impl fmt::Display for EndingCase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, we_dial, ending, seed, alone } = self;
        if *alone {
            return write!(f, "{kind} with itself, {ending}, seed {seed}");
        }
        let dials = if *we_dial { "we dial" } else { "they dial" };
        write!(f, "{kind}, {dials}, {ending}, seed {seed}")
    }
}

impl EndingCase {
    /// Runs the case and says what was seen; at most [`LIMIT`].
    ///
    /// # Errors
    /// What was seen instead of what had to be, with the relay's counters and last packets.
    pub async fn run(&self) -> Result<String, String> {
        let started = Instant::now();
        let relay = &mut None;
        let result = match tokio::time::timeout(LIMIT, self.play(relay)).await {
            Ok(result) => result,
            Err(_) => Err(format!("nothing was seen within {LIMIT:?}")),
        };
        let seconds = started.elapsed().as_secs_f64();
        result.inspect(|seen| eprintln!("{self}: {seconds:.2} s, {seen}")).map_err(|error| {
            let mut message = format!("{self}: FAILED after {seconds:.2} s: {error}\n");
            if let Some(relay) = relay {
                message += &format!("relay: {}\n", relay.counts());
                relay.trace().iter().for_each(|record| message += &format!("{record}\n"));
            }
            eprintln!("{message}");
            message
        })
    }

    async fn play(&self, relay: &mut Option<Relay>) -> Result<String, String> {
        let mut config = impatient();
        config.listen(self.ending != Ending::WeRefuse).speak_first(self.ending == Ending::WeSpeakFirst);
        let scene =
            Scene::set(self, config, relay).await.map_err(|error| format!("could not set up: {error}"))?;
        match self.ending {
            Ending::ReceiverKilled => receiver_killed(scene, false).await,
            Ending::Restarted => receiver_killed(scene, true).await,
            Ending::SenderKilled => sender_killed(scene).await,
            Ending::TheyDrop => they_drop(scene).await,
            Ending::WeDrop => we_drop(scene).await,
            Ending::WeAbort => we_abort(scene).await,
            Ending::TheyForget => they_forget(scene).await,
            Ending::WeSpeakFirst | Ending::TheySpeakFirst => speak_first(scene).await,
            Ending::WeRefuse => refused(scene).await,
        }
    }
}

/// Both peers, with a relay between them, and who dials whom.
struct Scene {
    case: EndingCase,
    ours: Box<dyn Peer>,
    theirs: Box<dyn Peer>,
    /// What the dialer has to dial.
    target: std::net::SocketAddr,
}

impl Scene {
    async fn set(case: &EndingCase, config: Config, relay: &mut Option<Relay>) -> io::Result<Self> {
        let ours: Box<dyn Peer> = if case.alone {
            case.kind.bind(false, !case.seed).await?
        } else {
            Box::new(Ours::bind((Ipv4Addr::LOCALHOST, 0).into(), config).await?)
        };
        let theirs = case.kind.bind(false, case.seed).await?;
        let acceptor = if case.we_dial { theirs.addr() } else { ours.addr() };
        let relay = relay.insert(Relay::start(acceptor, &Faults::none(case.seed), trace_length())?);
        Ok(Self { case: *case, ours, theirs, target: relay.addr() })
    }

    /// Opens the connection: ours and theirs. The dialer greets.
    async fn open(&self) -> Result<(Connection, Connection), String> {
        let (dialer, acceptor) =
            if self.case.we_dial { (&self.ours, &self.theirs) } else { (&self.theirs, &self.ours) };
        let dial = async {
            let mut dialed = dialer.connect(self.target).await?;
            dialed.sink.write_all(GREETING).await?;
            Ok(dialed)
        };
        let accept = async {
            let mut accepted = acceptor.accept().await?;
            let mut greeting = Vec::new();
            while greeting.len() < GREETING.len() {
                if accepted.source.read(&mut greeting).await? == 0 {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
            }
            Ok(accepted)
        };
        let (dialed, accepted) =
            tokio::try_join!(dial, accept).map_err(|error: io::Error| format!("opening: {error}"))?;
        Ok(if self.case.we_dial { (dialed, accepted) } else { (accepted, dialed) })
    }
}

/// Sends until that fails; how it failed, and when.
async fn write_for_ever(sink: &mut dyn Sink, seed: u64) -> (io::Error, Instant) {
    let mut pattern = Pattern::new(seed);
    let mut chunk = vec![0; 64 << 10];
    loop {
        pattern.fill(&mut chunk);
        if let Err(error) = sink.write_all(&chunk).await {
            return (error, Instant::now());
        }
    }
}

/// Reads until `enough` bytes have come.
async fn read_some(source: &mut dyn Source, enough: usize) -> Result<(), String> {
    let mut read = Vec::new();
    while read.len() < enough {
        match source.read(&mut read).await {
            Ok(0) => return Err(format!("the end came after {} bytes", read.len())),
            Ok(_) => {}
            Err(error) => return Err(format!("after {} bytes: {error}", read.len())),
        }
    }
    Ok(())
}

/// The error is one of `expected`, and came in time: while a timer of ours runs out, on a busy machine.
fn judge(error: &io::Error, expected: &[ErrorKind], since: Instant, at: Instant) -> Result<String, String> {
    let after = at.saturating_duration_since(since);
    let seen = format!("{:?} after {:.1} s", error.kind(), after.as_secs_f64());
    if !expected.contains(&error.kind()) {
        Err(format!("expected one of {expected:?}, saw {seen}: {error}"))
    } else if after > PATIENCE + SLACK {
        Err(format!("too late: {seen}"))
    } else {
        Ok(seen)
    }
}

async fn receiver_killed(scene: Scene, restart: bool) -> Result<String, String> {
    let (mut ours, mut theirs) = scene.open().await?;
    let Scene { case, theirs: peer, ours: _alive, .. } = scene;
    let (dead, died) = oneshot::channel();
    let victim = async move {
        read_some(&mut *theirs.source, ENOUGH).await?;
        let addr = peer.addr();
        // On a thread where blocking is allowed; before its handles are dropped, for they would close.
        tokio::task::spawn_blocking(move || peer.kill()).await.map_err(|error| error.to_string())?;
        let _ = dead.send(Instant::now());
        drop(theirs);
        let successor = if restart { Some(case.kind.bind_to(addr, case.seed + 1).await) } else { None };
        successor.transpose().map_err(|error| format!("taking over {addr}: {error}"))
    };
    let ((error, at), successor) = tokio::join!(write_for_ever(&mut *ours.sink, case.seed), victim);
    let _successor = successor?;
    let since = died.await.map_err(|error| error.to_string())?;
    let expected: &[_] = match case.kind {
        Kind::Libutp if restart => &[ErrorKind::ConnectionReset],
        Kind::Ethereum if restart => &[ErrorKind::TimedOut, ErrorKind::ConnectionReset],
        _ => &[ErrorKind::TimedOut],
    };
    judge(&error, expected, since, at)
}

async fn sender_killed(scene: Scene) -> Result<String, String> {
    let (mut ours, mut theirs) = scene.open().await?;
    let Scene { case, theirs: peer, ours: _alive, .. } = scene;
    let reading = read_some(&mut *ours.source, ENOUGH);
    tokio::select! {
        (error, _) = write_for_ever(&mut *theirs.sink, case.seed) => return Err(format!("their write: {error}")),
        result = reading => result?,
    }
    tokio::task::spawn_blocking(move || peer.kill()).await.map_err(|error| error.to_string())?;
    let since = Instant::now();
    drop(theirs);
    let mut rest = Vec::new();
    loop {
        match ours.source.read(&mut rest).await {
            Ok(0) => return Err("the end came as if it had finished".into()),
            Ok(_) => rest.clear(),
            Err(error) => return judge(&error, &[ErrorKind::TimedOut], since, Instant::now()),
        }
    }
}

async fn they_drop(scene: Scene) -> Result<String, String> {
    let (mut ours, mut theirs) = scene.open().await?;
    let leave = async move {
        read_some(&mut *theirs.source, ENOUGH).await?;
        drop(theirs);
        Ok::<_, String>(Instant::now())
    };
    let ((error, at), since) = tokio::join!(write_for_ever(&mut *ours.sink, scene.case.seed), leave);
    judge(&error, &[ErrorKind::ConnectionReset, ErrorKind::TimedOut], since?, at)
}

async fn we_drop(scene: Scene) -> Result<String, String> {
    let (mut ours, mut theirs) = scene.open().await?;
    let mut data = vec![0; ENOUGH];
    Pattern::new(scene.case.seed).fill(&mut data);
    let send = async move { ours.sink.write_all(&data).await.map_err(|error| format!("our write: {error}")) };
    let receive = async {
        let mut checker = Checker::new(scene.case.seed, ENOUGH as u64);
        let mut read = Vec::new();
        while theirs.source.read(&mut read).await.map_err(|error| format!("their read: {error}"))? > 0 {
            checker.feed(&read)?;
            read.clear();
        }
        if checker.complete() { Ok(()) } else { Err(format!("only {} bytes came", checker.checked())) }
    };
    tokio::try_join!(send, receive)?;
    Ok("everything arrived, and the end".into())
}

async fn we_abort(scene: Scene) -> Result<String, String> {
    let (mut ours, mut theirs) = scene.open().await?;
    let mut data = vec![0; ENOUGH];
    Pattern::new(scene.case.seed).fill(&mut data);
    let send = async { ours.sink.write_all(&data).await.map_err(|error| format!("our write: {error}")) };
    tokio::try_join!(send, read_some(&mut *theirs.source, ENOUGH))?;
    ours.sink.abort().map_err(|error| error.to_string())?;
    let since = Instant::now();
    match theirs.source.read(&mut Vec::new()).await {
        Err(error) => judge(&error, &[ErrorKind::ConnectionReset, ErrorKind::Other], since, Instant::now()),
        Ok(n) => Err(format!("they read {n} instead of an error")),
    }
}

async fn they_forget(scene: Scene) -> Result<String, String> {
    let (mut ours, mut theirs) = scene.open().await?;
    let leave = async move { theirs.sink.finish().await.map_err(|error| format!("their finish: {error}")) };
    let stay = async {
        match ours.source.read(&mut Vec::new()).await {
            Ok(0) => Ok(()),
            other => Err(format!("we read {other:?} instead of the end")),
        }
    };
    tokio::try_join!(leave, stay)?;
    let since = Instant::now();
    ours.sink.finish().await.map_err(|error| format!("our finish: {error}"))?;
    match ours.sink.closed().await {
        Ok(()) => Ok(format!("a clean end after {:.1} s", since.elapsed().as_secs_f64())),
        Err(error) => {
            judge(&error, &[ErrorKind::TimedOut, ErrorKind::ConnectionReset], since, Instant::now())
        }
    }
}

async fn speak_first(scene: Scene) -> Result<String, String> {
    let (dialer, acceptor) =
        if scene.case.we_dial { (&scene.ours, &scene.theirs) } else { (&scene.theirs, &scene.ours) };
    let listen = async {
        let mut dialed =
            dialer.connect(scene.target).await.map_err(|error| format!("connecting: {error}"))?;
        read_some(&mut *dialed.source, GREETING.len()).await?;
        Ok::<_, String>(dialed)
    };
    let speak = async {
        let mut accepted = acceptor.accept().await.map_err(|error| format!("accepting: {error}"))?;
        accepted.sink.write_all(GREETING).await.map_err(|error| format!("speaking: {error}"))?;
        Ok(accepted)
    };
    tokio::try_join!(listen, speak)?;
    Ok("the dialer heard it".into())
}

async fn refused(scene: Scene) -> Result<String, String> {
    let since = Instant::now();
    match scene.theirs.connect(scene.target).await {
        Ok(_) => Err("they are connected".into()),
        Err(error) => judge(
            &error,
            match scene.case.kind {
                Kind::Ethereum => &[ErrorKind::TimedOut],
                _ => &[ErrorKind::ConnectionRefused, ErrorKind::ConnectionReset],
            },
            since,
            Instant::now(),
        ),
    }
}

/// librqbit-utp refuses only when as many SYNs wait as it keeps. So: fills its list, and dials once more
/// through a relay. Says what the relay saw and whether the dialer noticed within 10 s.
///
/// # Errors
/// Those of opening sockets.
pub async fn refusal_by_librqbit_itself(seed: u64) -> io::Result<String> {
    let kind = Kind::Librqbit;
    let acceptor = kind.bind(false, seed).await?;
    let target = acceptor.addr();
    let mut dialers = tokio::task::JoinSet::new();
    for _ in 0..QUEUED_SYNS / DIALS_AT_A_TIME {
        let dialer = std::sync::Arc::new(kind.bind(false, seed).await?);
        for _ in 0..DIALS_AT_A_TIME {
            let dialer = std::sync::Arc::clone(&dialer);
            dialers.spawn(async move { dialer.connect(target).await });
        }
    }
    tokio::time::sleep(SETTLE).await;
    let relay = Relay::start(target, &Faults::none(seed), trace_length())?;
    let last = kind.bind(false, seed).await?;
    let noticed = match tokio::time::timeout(SLACK, last.connect(relay.addr())).await {
        Ok(Ok(_)) => "it is connected".into(),
        Ok(Err(error)) => format!("its dialer noticed: {error}"),
        Err(_) => format!("its dialer did not notice within {SLACK:?}"),
    };
    let packets: Vec<_> = relay.trace().iter().map(ToString::to_string).collect();
    Ok(format!("{noticed}; packets: {}", packets.join("; ")))
}

/// Gives up in seconds.
fn impatient() -> Config {
    let mut config = Config::default();
    let set = (|| {
        config.give_up_after(PATIENCE)?.idle_timeout(Some(PATIENCE))?.connect_timeout(PATIENCE)?;
        config.linger(Duration::from_secs(1)).map(drop)
    })();
    set.expect("values within their documented bounds");
    config
}

/// No case takes longer.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Longer than a busy machine keeps any thread waiting.
const PATIENCE: Duration = Duration::from_secs(5);

/// On top of it: libutp notices only every 500 ms, and the machine may be busy.
const SLACK: Duration = Duration::from_secs(10);

/// SYNs that librqbit-utp keeps for acceptors to come, and its limit of dials to one address.
const QUEUED_SYNS: usize = 32;
const DIALS_AT_A_TIME: usize = 4;

/// For so many SYNs to cross loopback. If it is too short the last dialer is not refused, and the packets show it.
const SETTLE: Duration = Duration::from_secs(1);

const ENOUGH: usize = 400_000; // "in mid-transfer": past the handshake and the first windows

const GREETING: &[u8] = b"hello, other side";
