//! What the foreign implementations can do by themselves: each of them on both ends of the relay that
//! the interop tests use, without and with faults. This is the yardstick for what may be expected of
//! them against this project, and the evidence where it says that a peer cannot do something itself.
//!
//! ```text
//! cargo run --release -p utp-tests --bin interop-baseline [-- MIB [LIMIT_SECONDS [PEER]]]
//! ```
//!
//! Prints a Markdown table. Default: 16 MiB (1 MiB for utp-rs), 300 s a case, all peers. Cases without
//! loss run one after the other; those with loss at the same time, for they mostly wait for time-outs.

use std::time::Duration;

use utp_tests::interop::case::{self, Case, Failure, Flow, Report};
use utp_tests::interop::endings::{self, Ending, EndingCase};
use utp_tests::interop::faults::{Direction, Faults};
use utp_tests::interop::peer::Kind;

#[tokio::main(worker_threads = 2)]
async fn main() {
    let mut args = std::env::args().skip(1);
    let mib: Option<u64> = args.next().map(|n| n.parse().expect("MIB is a number"));
    let limit = args.next().map_or(300, |n| n.parse().expect("LIMIT_SECONDS is a number"));
    let only = args.next();

    println!("| peer, with itself | path | what happens | seconds | result |");
    println!("|---|---|---|---|---|");
    for kind in [Kind::Libutp, Kind::Librqbit, Kind::LibrqbitPatient, Kind::Ethereum] {
        if only.as_ref().is_some_and(|name| *name != kind.to_string()) {
            continue;
        }
        let mib = mib.unwrap_or(if kind == Kind::Ethereum { 1 } else { 16 });
        let (lossless, lossy): (Vec<_>, Vec<_>) =
            cases(kind, mib << 20, Duration::from_secs(limit)).partition(|case| case.faults.loss == 0.0);
        for case in lossless {
            print(&case::run(&case).await);
        }
        let running: Vec<_> =
            lossy.into_iter().map(|case| tokio::spawn(async move { case::run(&case).await })).collect();
        for report in running {
            print(&report.await.expect("a case does not panic"));
        }
        speak_first(kind).await;
        if kind == Kind::Librqbit {
            let seen = endings::refusal_by_librqbit_itself(1).await.unwrap_or_else(|error| error.to_string());
            println!("| {kind} | no faults | the acceptor refuses | - | {seen} |");
        }
    }
}

fn cases(kind: Kind, bytes: u64, limit: Duration) -> impl Iterator<Item = Case> {
    let case = move |flow, bytes, faults, limit| Case {
        dialer: kind,
        acceptor: kind,
        flow,
        bytes,
        faults,
        v6: false,
        limit,
    };
    let faults = [Faults::none(1), Faults::disorder(1)]
        .into_iter()
        .chain([0.02, 0.1].into_iter().flat_map(|loss| [1, 2, 3].map(|seed| Faults::loss(seed, loss))));
    let transfers = faults.flat_map(move |faults| {
        [Flow::DialerSends, Flow::AcceptorSends].map(|flow| case(flow, bytes, faults.clone(), limit))
    });
    let openings = [Direction::Forth, Direction::Back]
        .map(|direction| case(Flow::DialerSends, 1 << 16, Faults::exactly(1, &[(direction, 0)]), OPENING));
    transfers.chain(openings)
}

fn print(report: &Report) {
    let Case { dialer, flow, bytes, faults, .. } = &report.case;
    let (kib, seed) = (bytes >> 10, faults.seed);
    let seconds = report.elapsed.as_secs_f64();
    let result = report.result.as_ref().map_or_else(Failure::to_string, |()| "byte-exact".into());
    println!("| {dialer} | {faults} (seed {seed}) | {flow} {kib} KiB | {seconds:.2} | {result} |");
    eprintln!("{report}");
}

async fn speak_first(kind: Kind) {
    let case = EndingCase { kind, we_dial: true, ending: Ending::TheySpeakFirst, seed: 1, alone: true };
    let result = case.run().await;
    let result = result.as_deref().unwrap_or_else(|error| error.lines().next().unwrap_or_default());
    println!("| {kind} | no faults | the acceptor speaks first | - | {result} |");
}

/// Longer than any of them waits with its last SYN.
const OPENING: Duration = Duration::from_secs(60);
