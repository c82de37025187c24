//! This project beside kernel TCP, raw UDP, quinn, librqbit-utp and libutp: separate processes on the loopback,
//! rounds that take turns, medians and ratios.
//!
//! ```text
//! cargo run --release -p utp-tests --bin side-by-side [-- OPTIONS] [SCENARIO...]
//!   SCENARIO       bulk, many, idle, handshakes, ping-pong; all of them by default
//!   --quick        a small run, under a minute
//!   --rounds N     rounds of each (5, with --quick 1)
//!   --json FILE    the rows besides as JSON
//! ```

use std::process::ExitCode;

use utp_tests::bench::report::{self, Row};
use utp_tests::bench::transport::Transport;
use utp_tests::bench::work::{self, Work};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--serve", name, task] => child(name, task, None),
        ["--work", addr, name, task] => child(name, task, Some(addr)),
        _ => compare(&args),
    }
}

/// One of the two processes of a measurement.
fn child(name: &str, task: &str, to: Option<&str>) -> ExitCode {
    let transport = Transport::named(name).expect("a transport");
    let task: Work = serde_json::from_str(task).expect("a task");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let result = runtime.expect("a runtime").block_on(async {
        match to {
            None => work::serve(transport, task).await,
            Some(addr) => work::work(transport, task, addr.parse().expect("an address")).await,
        }
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(args: &[String]) -> ExitCode {
    let (mut quick, mut rounds, mut json) = (false, None, None);
    let mut scenarios = Vec::new();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--quick" => quick = true,
            "--rounds" => rounds = args.next().and_then(|n| n.parse().ok()),
            "--json" => json = args.next().cloned(),
            name => scenarios.push(name),
        }
    }
    let rounds = rounds.unwrap_or(if quick { 1 } else { 5 });
    let wanted = |name: &str| scenarios.is_empty() || scenarios.contains(&name);
    let mut all: Vec<Row> = Vec::new();
    let mut show = |name: &str, title: &str, jobs: &[(Transport, Work)]| {
        if wanted(name) {
            let rows = report::measure(title, jobs, rounds);
            report::print(title, &rows);
            all.extend(rows);
        }
    };
    show("bulk", "One stream", &bulk(quick));
    for connections in if quick { &[64][..] } else { &[64, 1_000, 10_000] } {
        show("many", &format!("{connections} streams at the same time"), &many(*connections, quick));
    }
    show("idle", "One stream beside none, and beside 10,000 idle connections", &idle(quick));
    show("handshakes", "Connect, one byte each way, close: one at a time", &handshakes(quick, 1));
    show("handshakes", "Connect, one byte each way, close: 16 at a time", &handshakes(quick, 16));
    show("ping-pong", "A message of 64 bytes there and back", &ping_pong(quick));
    if let Some(file) = json {
        let text = serde_json::to_string_pretty(&all).expect("numbers");
        if let Err(error) = std::fs::write(&file, text) {
            eprintln!("{file}: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn bulk(quick: bool) -> Vec<(Transport, Work)> {
    let job = |transport: Transport| {
        let bytes = transport.bulk_mib() << if quick { 19 } else { 20 };
        (transport, Work::Bulk { connections: 1, bytes, check: false, idle: 0 })
    };
    Transport::ALL.into_iter().map(job).collect()
}

fn many(connections: usize, quick: bool) -> Vec<(Transport, Work)> {
    let total: u64 = if quick { 256 << 20 } else { 1 << 30 };
    // Long enough for all of them to be under way at the same time, and for what happens in the first second, when all
    // begin at once, to be the smaller part.
    let least = match connections {
        0..1_000 => 1 << 20,
        1_000..10_000 => 8 << 20,
        _ => 2 << 20,
    };
    let job = |transport, connections: usize, share: u64| {
        let bytes = (total / share / connections as u64).max(least);
        (transport, Work::Bulk { connections, bytes, check: true, idle: 0 })
    };
    let mut jobs = vec![job(Transport::Ours, 1, 1), job(Transport::Ours, connections, 1)];
    if connections <= 64 {
        jobs.push(job(Transport::Tcp, connections, 1));
        jobs.push(job(Transport::Quinn, connections, 4));
        jobs.push(job(Transport::Librqbit, connections, 16));
    }
    jobs
}

fn idle(quick: bool) -> Vec<(Transport, Work)> {
    let bytes = if quick { 512 << 20 } else { 2 << 30 };
    [0, if quick { 1_000 } else { 10_000 }]
        .map(|idle| (Transport::Ours, Work::Bulk { connections: 1, bytes, check: false, idle }))
        .to_vec()
}

fn handshakes(quick: bool, at_once: usize) -> Vec<(Transport, Work)> {
    let count = if quick { 500 } else { 5_000 };
    let work = Work::Handshakes { count, at_once };
    [Transport::Tcp, Transport::Ours, Transport::Quinn].map(|transport| (transport, work)).to_vec()
}

fn ping_pong(quick: bool) -> Vec<(Transport, Work)> {
    let work = Work::PingPong { count: if quick { 5_000 } else { 50_000 } };
    [Transport::RawSingle, Transport::Tcp, Transport::Ours, Transport::Quinn]
        .map(|transport| (transport, work))
        .to_vec()
}
