//! The cases: every foreign peer, both directions of dialing and of sending, all kinds of paths.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::case::{self, Case, Flow, Report};
use super::endings::{Ending, EndingCase};
use super::faults::{Direction, Faults};
use super::peer::Kind;

/// How much is moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// What fits into minutes: less where the foreign peer is a slow sender by itself.
    Test,
    /// 16 MiB everywhere, 1 MiB with utp-rs, however long that takes.
    Full,
}

/// All transfers with `kind`.
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
    for (dialer, acceptor) in [(Kind::Ours, kind), (kind, Kind::Ours)] {
        let case = |flow, faults: &Faults, v6| {
            let they_send = match flow {
                Flow::DialerSends => dialer == kind,
                Flow::AcceptorSends => acceptor == kind,
                Flow::BothSend | Flow::DialerHalfCloses | Flow::AcceptorHalfCloses => true,
            };
            let (bytes, limit) = size(kind, they_send, faults.loss, scale);
            Case { dialer, acceptor, flow, bytes, faults: faults.clone(), v6, limit }
        };
        for faults in &paths {
            cases.push(case(Flow::DialerSends, faults, false));
            cases.push(case(Flow::AcceptorSends, faults, false));
            if kind != Kind::Ethereum && faults.loss < 0.1 {
                cases.push(case(Flow::BothSend, faults, false));
            }
            if kind.half_close() && faults.loss < 0.1 {
                cases.push(case(Flow::DialerHalfCloses, faults, false));
                cases.push(case(Flow::AcceptorHalfCloses, faults, false));
            }
        }
        cases.push(case(Flow::DialerSends, &Faults::none(seed), true));
        cases.push(case(Flow::AcceptorSends, &Faults::mixed(seed, 0.02), true));
        for lost in lost_openings(kind, dialer == Kind::Ours) {
            let faults = Faults::exactly(seed, &[lost]);
            cases.push(Case { bytes: SMALL, ..case(Flow::DialerSends, &faults, false) });
        }
    }
    if scale == Scale::Test {
        cases.retain(|case| peer_cannot(case).is_none());
    }
    cases
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
    let bytes = match (scale, kind) {
        // libutp waits at least 1 s for each packet that is lost twice: 7 to 237 s for 16 MiB with itself
        // at 2 %, over 300 s for 2 to 7 MiB at 10 %.
        (Scale::Test, Kind::Libutp) if they_send && loss >= 0.1 => 128 << 10,
        (Scale::Test, Kind::Libutp) if they_send && loss > 0.0 => 1 << 20,
        // 4 to 8 s with itself at 2 %.
        (Scale::Test, Kind::Librqbit) if they_send && loss > 0.0 => 4 << 20,
        // 15 to 19 s for 16 MiB with itself at 10 %.
        _ => full,
    };
    let slow = scale == Scale::Full && they_send && loss > 0.0;
    (bytes, Duration::from_secs(if slow { 3_600 } else { 120 }))
}

/// Why a peer cannot do what a case asks for, if `interop-baseline` shows that it cannot do that with
/// itself either.
#[must_use]
pub fn peer_cannot(case: &Case) -> Option<&'static str> {
    let sender = match case.flow {
        Flow::DialerSends => case.dialer,
        _ => case.acceptor,
    };
    (sender == Kind::Librqbit && case.faults.loss >= 0.1).then_some(
        "librqbit-utp as the sender fails with itself at 10 % loss: it closes after 5 losses of one packet \
         or 10 s without news, or damages the stream by cutting lost MTU probes anew",
    )
}

/// All endings with `kind`.
#[must_use]
pub fn endings(kind: Kind, seed: u64) -> Vec<EndingCase> {
    let mut cases = Vec::new();
    for we_dial in [true, false] {
        let case = |ending| EndingCase { kind, we_dial, ending, seed };
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

/// Runs cases, so many at a time: those with loss mostly wait. Reports come in the order of the cases.
pub async fn run(cases: Vec<Case>, at_a_time: usize) -> Vec<Report> {
    let places = Arc::new(Semaphore::new(at_a_time));
    let running: Vec<_> = cases
        .into_iter()
        .map(|case| {
            let places = Arc::clone(&places);
            tokio::spawn(async move {
                let _place = places.acquire().await;
                case::run(&case).await
            })
        })
        .collect();
    let mut reports = Vec::new();
    for report in running {
        reports.push(report.await.expect("a case does not panic"));
    }
    reports
}

const SMALL: u64 = 64 << 10;
