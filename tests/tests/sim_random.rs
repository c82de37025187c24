//! Random worlds: the full mix of faults and attackers, a thousand seeds.

use std::time::Duration;

use utp_tests::sim::random::{self, Outcome};

/// Runs seeds on both cores; gives what all of them together did.
fn run_all(seeds: std::ops::Range<u64>) -> Outcome {
    let half = seeds.start + (seeds.end - seeds.start) / 2;
    let run = |seeds: std::ops::Range<u64>| {
        seeds.fold(Outcome::default(), |sum, seed| {
            // Shown only if the test fails: the seed to look at.
            println!("seed {seed}");
            sum.plus(random::run(seed))
        })
    };
    std::thread::scope(|scope| {
        let first = scope.spawn(|| run(seeds.start..half));
        let second = run(half..seeds.end);
        first.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).plus(second)
    })
}

#[test]
fn a_thousand_worlds_with_every_fault_and_attackers_deliver_every_byte() {
    let all = run_all(0..1000);
    println!("{all:?}");
    // The mix is what it is meant to be: mostly whole connections, some given up, a lot of traffic.
    assert!(all.clean > 1_500 && all.broken > 100, "{all:?}");
    // Only when the last acknowledgements are lost many times over.
    assert!(all.unconfirmed < 20, "{all:?}");
    // Attackers were there, and the one thing that can be guessed was guessed about as seldom as its 16 bits say.
    assert!(all.forged > 200_000 && all.guesses < 20, "{all:?}");
    assert!(all.lied_to > 200 && all.violations > 0, "{all:?}");
    assert!(all.delivered > 100 << 20, "{all:?}");
    assert!(all.time > Duration::from_secs(20_000));
}
