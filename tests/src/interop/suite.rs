//! What the tests call: runs the chosen cases of a peer, and panics with all that is known about those
//! that failed.

use super::case::{Case, Report};
use super::endings::{Ending, EndingCase};
use super::matrix::{self, Scale};
use super::peer::Kind;

/// Runs the transfers with `kind` that are `chosen`, at [`Scale::Test`].
///
/// # Panics
/// If one fails, or if none is chosen.
pub fn transfers_succeed(kind: Kind, chosen: impl Fn(&Case) -> bool) {
    let cases: Vec<_> =
        matrix::transfers(kind, Scale::Test, SEED).into_iter().filter(|case| chosen(case)).collect();
    assert!(!cases.is_empty(), "no case is chosen");
    let at_a_time = if cases.iter().all(|case| case.faults.loss == 0.0) { 1 } else { AT_A_TIME };
    let reports = runtime().block_on(matrix::run(cases, at_a_time, Scale::Test));
    let failed: Vec<_> =
        reports.iter().filter(|report| report.result.is_err()).map(Report::to_string).collect();
    assert!(failed.is_empty(), "{} of {} cases failed:\n{}", failed.len(), reports.len(), failed.join("\n"));
}

/// Runs the `chosen` endings with `kind`, in both directions of dialing where there are two.
///
/// # Panics
/// If one fails, or if one that is chosen does not exist.
pub fn endings_are_seen(kind: Kind, chosen: &[Ending]) {
    let cases: Vec<_> =
        matrix::endings(kind, SEED).into_iter().filter(|case| chosen.contains(&case.ending)).collect();
    let exists = |ending: &Ending| cases.iter().any(|case: &EndingCase| case.ending == *ending);
    assert!(chosen.iter().all(exists), "of {chosen:?} there are only {cases:?}");
    let results = runtime().block_on(matrix::run_endings(cases, AT_A_TIME));
    let failed: Vec<_> = results.into_iter().filter_map(Result::err).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// Any will do: what a run does to a packet depends on how the threads happen to run.
const SEED: u64 = 1;

/// Cases with loss mostly wait for time-outs.
const AT_A_TIME: usize = 8;
