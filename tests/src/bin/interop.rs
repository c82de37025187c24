//! Runs the interop matrix: this project against libutp, librqbit-utp and utp-rs, over a relay on
//! loopback that loses, reorders and duplicates. Prints the tables that README.md shows.
//!
//! ```text
//! cargo run --release -p utp-tests --bin interop [-- [--quick] [--seed N] [--at-a-time N] [--only TEXT] [PEER...]]
//! ```
//!
//! Moves 16 MiB per case (1 MiB with utp-rs), which takes up to an hour: libutp as the sender waits a
//! second for every packet that is lost twice. `--quick` moves what `cargo test` does. `--only` runs the
//! cases whose description contains the text. Each case is described on standard error as it went, one
//! that failed with its last packets; `UTP_INTEROP_TRACE=N` shows N packets of each. The exit code is 1 if a
//! case failed that the peer can do by itself.

use std::process::ExitCode;

use utp_tests::interop::matrix::{self, Scale};
use utp_tests::interop::peer::Kind;
use utp_tests::interop::table;

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let options = Options::parse();
    let (mut reports, mut endings) = (Vec::new(), Vec::new());
    for &kind in &options.peers {
        let cases = matrix::transfers(kind, options.scale, options.seed);
        let (fast, slow): (Vec<_>, Vec<_>) = cases
            .into_iter()
            .filter(|case| options.wants(case))
            .partition(|case| case.faults.loss == 0.0 && case.faults.drop_exactly.is_empty());
        // Without loss one by one, for the seconds to mean something.
        for (cases, at_a_time) in [(fast, 1), (slow, options.at_a_time)] {
            reports.extend(matrix::run(cases, at_a_time, options.scale).await);
        }
        let cases: Vec<_> =
            matrix::endings(kind, options.seed).into_iter().filter(|case| options.wants(case)).collect();
        endings
            .extend(cases.iter().copied().zip(matrix::run_endings(cases.clone(), options.at_a_time).await));
    }
    println!("{}\n{}", table::transfers(&reports), table::endings(&endings));
    let failed = reports.iter().any(|r| r.result.is_err() && matrix::peer_cannot(&r.case).is_none())
        || endings.iter().any(|(case, r)| r.is_err() && matrix::peer_does_not_end(case).is_none());
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

struct Options {
    scale: Scale,
    seed: u64,
    at_a_time: usize,
    only: Option<String>,
    peers: Vec<Kind>,
}

impl Options {
    fn parse() -> Self {
        let mut options = Self { scale: Scale::Full, seed: 1, at_a_time: 16, only: None, peers: Vec::new() };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut number = || args.next().and_then(|n| n.parse().ok()).expect("a number after the option");
            match arg.as_str() {
                "--quick" => options.scale = Scale::Test,
                "--only" => options.only = args.next(),
                "--seed" => options.seed = number(),
                "--at-a-time" => options.at_a_time = number() as usize,
                name => {
                    let known = Kind::FOREIGN.into_iter().find(|kind| kind.to_string() == name);
                    options.peers.push(known.expect("libutp, librqbit-utp or utp-rs"));
                }
            }
        }
        if options.peers.is_empty() {
            options.peers.extend(Kind::FOREIGN);
        }
        options
    }

    fn wants(&self, case: &impl ToString) -> bool {
        self.only.as_ref().is_none_or(|text| case.to_string().contains(text))
    }
}
