//! Runs the interop matrix: this project against libutp, librqbit-utp and utp-rs, over a relay on
//! loopback that loses, reorders and duplicates. Prints Markdown tables.
//!
//! ```text
//! cargo run --release -p utp-tests --bin interop [-- [--quick] [--seed N] [--at-a-time N] [PEER...]]
//! ```
//!
//! Moves 16 MiB per case (1 MiB with utp-rs), which takes up to an hour: libutp as the sender waits a
//! second for every packet that is lost twice. `--quick` moves what `cargo test` does. What fails is
//! explained on standard error, with the last packets; `UTP_INTEROP_TRACE=N` shows more of them. The exit
//! code is 1 if a case failed that the peer can do by itself.

use std::process::ExitCode;

use utp_tests::interop::case::{Flow, Report};
use utp_tests::interop::faults::Faults;
use utp_tests::interop::matrix::{self, Scale};
use utp_tests::interop::peer::Kind;

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let options = Options::parse();
    let mut failed = 0;
    println!("| peer | who dials | who sends | path | MiB | seconds | result |");
    println!("|---|---|---|---|---|---|---|");
    for &kind in &options.peers {
        let (fast, slow) = matrix::transfers(kind, options.scale, options.seed)
            .into_iter()
            .partition(|case| case.faults.loss == 0.0 && case.faults.drop_exactly.is_empty());
        // Without loss one by one, for the seconds to mean something.
        for report in matrix::run(fast, 1).await.iter().chain(&matrix::run(slow, options.at_a_time).await) {
            failed += usize::from(!print(kind, report));
        }
    }
    println!("\n| peer | who dials | what happens | seen |");
    println!("|---|---|---|---|");
    for &kind in &options.peers {
        for case in matrix::endings(kind, options.seed) {
            let dials = if case.we_dial { "we" } else { "they" };
            let seen = case.run().await.unwrap_or_else(|error| {
                failed += 1;
                eprintln!("{error}");
                format!("FAILED: {}", error.lines().next().unwrap_or_default())
            });
            let seen = seen.split_once("s, ").map_or(seen.as_str(), |(_, seen)| seen);
            println!("| {kind} | {dials} | {:?} | {seen} |", case.ending);
        }
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints a row. Whether the case went as it should.
fn print(kind: Kind, report: &Report) -> bool {
    let case = &report.case;
    let we_dial = case.dialer == Kind::Ours;
    let dials = if we_dial { "we" } else { "they" };
    let sends = match case.flow {
        Flow::DialerSends => dials,
        Flow::AcceptorSends if we_dial => "they",
        Flow::AcceptorSends => "we",
        Flow::BothSend => "both at once",
        Flow::DialerHalfCloses if we_dial => "we, half-close, they",
        Flow::AcceptorHalfCloses if !we_dial => "we, half-close, they",
        Flow::DialerHalfCloses | Flow::AcceptorHalfCloses => "they, half-close, we",
    };
    let path = path(&case.faults) + if case.v6 { ", IPv6" } else { "" };
    let (result, good) = match (&report.result, matrix::peer_cannot(case)) {
        (Ok(()), _) => ("byte-exact", true),
        (Err(_), Some(why)) => (why, true),
        (Err(_), None) => ("**failed**", false),
    };
    if report.result.is_err() {
        eprintln!("{report}");
    }
    let (mib, seconds) = (case.bytes as f64 / f64::from(1 << 20), report.elapsed.as_secs_f64());
    println!("| {kind} | {dials} | {sends} | {path} | {mib:.3} | {seconds:.2} | {result} |");
    good
}

fn path(faults: &Faults) -> String {
    match faults.drop_exactly.first() {
        Some((utp_tests::interop::faults::Direction::Forth, _)) => "SYN lost".into(),
        Some(_) => "SYN-ACK lost".into(),
        None => faults.to_string(),
    }
}

struct Options {
    scale: Scale,
    seed: u64,
    at_a_time: usize,
    peers: Vec<Kind>,
}

impl Options {
    fn parse() -> Self {
        let mut options = Self { scale: Scale::Full, seed: 1, at_a_time: 16, peers: Vec::new() };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut number = || args.next().and_then(|n| n.parse().ok()).expect("a number after the option");
            match arg.as_str() {
                "--quick" => options.scale = Scale::Test,
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
}
