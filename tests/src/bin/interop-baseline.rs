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

use utp_tests::interop::case::{self, Case, Flow, Report};
use utp_tests::interop::faults::Faults;
use utp_tests::interop::peer::Kind;

#[tokio::main(worker_threads = 2)]
async fn main() {
    let mut args = std::env::args().skip(1);
    let mib: Option<u64> = args.next().map(|n| n.parse().expect("MIB is a number"));
    let limit = args.next().map_or(300, |n| n.parse().expect("LIMIT_SECONDS is a number"));
    let only = args.next();

    println!("| peer, with itself | path | sender | MiB | seconds | result |");
    println!("|---|---|---|---|---|---|");
    for kind in Kind::FOREIGN {
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
    }
}

fn cases(kind: Kind, bytes: u64, limit: Duration) -> impl Iterator<Item = Case> {
    let faults = [Faults::none(1), Faults::disorder(1)]
        .into_iter()
        .chain([0.02, 0.1].into_iter().flat_map(|loss| [1, 2, 3].map(|seed| Faults::loss(seed, loss))));
    faults.flat_map(move |faults| {
        [Flow::DialerSends, Flow::AcceptorSends].map(|flow| Case {
            dialer: kind,
            acceptor: kind,
            flow,
            bytes,
            faults: faults.clone(),
            v6: false,
            limit,
        })
    })
}

fn print(report: &Report) {
    let Case { dialer, flow, bytes, faults, .. } = &report.case;
    let (mib, seed) = (bytes >> 20, faults.seed);
    let seconds = report.elapsed.as_secs_f64();
    let result = report.result.as_ref().map_or_else(String::as_str, |()| "byte-exact");
    println!("| {dialer} | {faults} (seed {seed}) | {flow} | {mib} | {seconds:.2} | {result} |");
    eprintln!("{report}");
}
