//! The cases: every foreign peer, both directions of dialing and of sending, all kinds of paths.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::case::{self, Case, Failure, Flow, Report};
use super::endings::{Ending, EndingCase};
use super::faults::{Direction, Faults};
use super::peer::Kind;

/// How much is moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// What fits into minutes: less where the foreign peer is a slow sender by itself, and nothing that it
    /// cannot do by itself.
    Test,
    /// 16 MiB everywhere, 1 MiB with utp-rs, however long that takes.
    Full,
}

/// All transfers with `kind`, one of [`Kind::FOREIGN`].
#[must_use]
pub fn transfers(kind: Kind, scale: Scale, seed: u64) -> Vec<Case> {
    let mut cases = Vec::new();
    let paths = [
        Faults::none(seed),
        Faults::disorder(seed),
        Faults::loss(seed, 0.02),
        Faults::mixed(seed, 0.02),
        Faults::loss(seed, 0.1),
    ];
    for we_dial in [true, false] {
        for faults in &paths {
            for &flow in flows(kind) {
                let case = case(kind, we_dial, flow, faults, scale);
                if let Some(patient) = patient(&case) {
                    cases.push(patient);
                }
                if scale == Scale::Full || !recuts(&case) {
                    cases.push(case);
                }
            }
        }
        let v6 = |case| Case { v6: true, ..case };
        cases.push(v6(case(kind, we_dial, Flow::DialerSends, &Faults::none(seed), scale)));
        let toward = if we_dial { Flow::DialerSends } else { Flow::AcceptorSends };
        cases.push(v6(case(kind, we_dial, toward, &Faults::mixed(seed, 0.02), scale)));
        for lost in lost_openings(kind, we_dial) {
            let faults = Faults::exactly(seed, &[lost]);
            cases.push(Case { bytes: SMALL, ..case(kind, we_dial, Flow::DialerSends, &faults, scale) });
        }
    }
    cases
}

fn flows(kind: Kind) -> &'static [Flow] {
    let all = &[
        Flow::DialerSends,
        Flow::AcceptorSends,
        Flow::BothSend,
        Flow::DialerHalfCloses,
        Flow::AcceptorHalfCloses,
    ];
    match kind {
        _ if kind.half_close() => all,
        // A read waits until a write is over: its stream has no halves.
        Kind::Ethereum => &all[..2],
        _ => &all[..3],
    }
}

fn case(kind: Kind, we_dial: bool, flow: Flow, faults: &Faults, scale: Scale) -> Case {
    let (dialer, acceptor) = if we_dial { (Kind::Ours, kind) } else { (kind, Kind::Ours) };
    let (bytes, limit) = size(kind, sends(kind, dialer, flow), faults.loss, scale);
    Case { dialer, acceptor, flow, bytes, faults: faults.clone(), v6: false, limit }
}

/// Whether `kind` sends, beyond its part in the handshake.
fn sends(kind: Kind, dialer: Kind, flow: Flow) -> bool {
    match flow {
        Flow::DialerSends => dialer == kind,
        Flow::AcceptorSends => dialer != kind,
        Flow::BothSend | Flow::DialerHalfCloses | Flow::AcceptorHalfCloses => true,
    }
}

/// The same with the settings under which the peer can do it by itself, if it needs any.
fn patient(case: &Case) -> Option<Case> {
    let swap = |kind| if kind == Kind::Librqbit { Kind::LibrqbitPatient } else { kind };
    recuts(case).then(|| Case { dialer: swap(case.dialer), acceptor: swap(case.acceptor), ..case.clone() })
}

/// Which of SYN and SYN-ACK may get lost without the peer being unable to open the connection.
///
/// A libutp acceptor ignores the repeated SYN. A librqbit-utp dialer sends its SYN once and waits for
/// ever, though its acceptor repeats the SYN-ACK by itself.
fn lost_openings(kind: Kind, we_dial: bool) -> impl Iterator<Item = (Direction, u64)> {
    let syn = kind != Kind::Librqbit || we_dial;
    let syn_ack = if we_dial { kind != Kind::Libutp } else { kind != Kind::Librqbit };
    [(syn, (Direction::Forth, 0)), (syn_ack, (Direction::Back, 0))]
        .into_iter()
        .filter_map(|(can, lost)| can.then_some(lost))
}

/// Bytes to send and time to do it in. What the peers need for the same with themselves is what
/// `interop-baseline` prints.
fn size(kind: Kind, they_send: bool, loss: f64, scale: Scale) -> (u64, Duration) {
    let full = if kind == Kind::Ethereum { 1 << 20 } else { 16 << 20 };
    let slow = they_send && loss > 0.0;
    let bytes = match (scale, kind) {
        // libutp waits at least 1 s for each packet that is lost twice: 7 to 237 s for 16 MiB with itself
        // at 2 %, over 300 s for 2 to 7 MiB at 10 %.
        (Scale::Test, Kind::Libutp) if slow && loss >= 0.1 => 64 << 10,
        (Scale::Test, Kind::Libutp) if slow => 512 << 10,
        // 30 to over 150 s for 1 MiB with itself at 10 %, as patient as can be: its time-outs double up to
        // a minute.
        (Scale::Test, Kind::Librqbit) if slow && loss >= 0.1 => 64 << 10,
        (Scale::Full, Kind::Librqbit) if slow && loss >= 0.1 => 1 << 20,
        (Scale::Test, Kind::Librqbit) if slow => 1 << 20,
        // 15 to 19 s for 1 MiB with itself at 10 %.
        (Scale::Test, Kind::Ethereum) if slow && loss >= 0.1 => 256 << 10,
        _ => full,
    };
    let limit = match scale {
        Scale::Test if slow => SLOW_TEST_LIMIT,
        Scale::Full if slow => FULL_LIMIT,
        _ => LIMIT,
    };
    (bytes, limit)
}

/// Why a peer cannot do what a case asks for, or not every time, if `interop-baseline` shows that it
/// cannot do that with itself either.
#[must_use]
pub fn peer_cannot(case: &Case) -> Option<&'static str> {
    match foreign(case) {
        Kind::Librqbit if recuts(case) => Some(RECUT),
        Kind::LibrqbitPatient if is_slow(case) && case.faults.loss >= 0.1 => Some(GIVES_UP),
        _ => None,
    }
}

/// Whether librqbit-utp, as it comes, may have to repeat an MTU probe.
fn recuts(case: &Case) -> bool {
    foreign(case) == Kind::Librqbit && is_slow(case)
}

/// Whether it depends on the loss recovery of a foreign peer.
fn is_slow(case: &Case) -> bool {
    case.faults.loss > 0.0 && sends(foreign(case), case.dialer, case.flow)
}

fn foreign(case: &Case) -> Kind {
    if case.dialer == Kind::Ours { case.acceptor } else { case.dialer }
}

/// All endings with `kind`.
#[must_use]
pub fn endings(kind: Kind, seed: u64) -> Vec<EndingCase> {
    let mut cases = Vec::new();
    for we_dial in [true, false] {
        let case = |ending| EndingCase { kind, we_dial, ending, seed, alone: false };
        cases.extend(
            [
                Ending::ReceiverKilled,
                Ending::SenderKilled,
                Ending::Restarted,
                Ending::TheyDrop,
                Ending::WeDrop,
                Ending::WeAbort,
            ]
            .map(case),
        );
        if !kind.half_close() {
            cases.push(case(Ending::TheyForget));
        }
        if !we_dial {
            cases.push(case(Ending::WeSpeakFirst));
            cases.push(case(Ending::WeRefuse));
        } else if kind != Kind::Libutp {
            // A libutp acceptor may not write before it has received data.
            cases.push(case(Ending::TheySpeakFirst));
        }
    }
    cases
}

/// Why a peer does not end as the case asks for, whatever this project does.
#[must_use]
pub fn peer_does_not_end(case: &EndingCase) -> Option<&'static str> {
    (case.kind == Kind::Librqbit && case.ending == Ending::WeRefuse).then_some(NO_REFUSAL)
}

/// Runs transfers, so many at a time: those with loss mostly wait. Reports come in the order of the
/// cases.
///
/// A foreign peer that sends over a lossy path may have bad luck: its time-outs double up to a minute, and
/// it gives up after a few. At [`Scale::Test`] such a case, and no other, is tried again a few times.
pub async fn run(cases: Vec<Case>, at_a_time: usize, scale: Scale) -> Vec<Report> {
    let attempts = if scale == Scale::Test { ATTEMPTS } else { 1 };
    let run = move |mut case: Case| async move {
        let mut attempt = 1;
        loop {
            let report = case::run(&case).await;
            eprintln!("{report}");
            let unlucky = report.result.as_ref().is_err_and(Failure::is_patience) && is_slow(&case);
            if !unlucky || attempt >= attempts {
                return report;
            }
            attempt += 1;
            case.faults.seed += 1_000;
        }
    };
    some_at_a_time(cases, at_a_time, run).await
}

/// Runs endings, so many at a time.
pub async fn run_endings(cases: Vec<EndingCase>, at_a_time: usize) -> Vec<Result<String, String>> {
    some_at_a_time(cases, at_a_time, |case: EndingCase| async move { case.run().await }).await
}

async fn some_at_a_time<C, R, F>(cases: Vec<C>, at_a_time: usize, run: impl Fn(C) -> F) -> Vec<R>
where
    R: Send + 'static,
    F: Future<Output = R> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(at_a_time));
    let start = |case| {
        let (places, run) = (Arc::clone(&places), run(case));
        tokio::spawn(async move {
            let _place = places.acquire().await;
            run.await
        })
    };
    let running: Vec<_> = cases.into_iter().map(start).collect();
    let mut results = Vec::new();
    for result in running {
        results.push(result.await.expect("a case does not panic"));
    }
    results
}

const RECUT: &str = "as with itself (4 MiB at 10 %, 6 runs of 6): librqbit-utp cuts a lost MTU probe anew under the same \
    number, which damages the stream if only the acknowledgement was lost, and gives up after 5 losses of one packet \
    or 10 s of silence";

const GIVES_UP: &str =
    "as with itself (1 MiB, 2 runs of 6): the time-outs of librqbit-utp double up to a minute";

const NO_REFUSAL: &str = "goes on waiting, as with itself: it ignores a RESET that answers its SYN";

/// What depends on this project alone takes seconds.
const LIMIT: Duration = Duration::from_secs(120);

/// Of one attempt: nine in ten take less than 10 s.
const SLOW_TEST_LIMIT: Duration = Duration::from_secs(20);

/// One in ten to a hundred takes longer than that.
const ATTEMPTS: u32 = 6;

const FULL_LIMIT: Duration = Duration::from_secs(3_600);

const SMALL: u64 = 64 << 10;
