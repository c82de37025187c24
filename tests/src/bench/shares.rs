//! Who of many equals gets how much: bytes that each stream brings while all of them are under way, from when the
//! last one has begun until the first one is done.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::cpu;

/// Counts what the streams of one receiver bring.
#[derive(Debug)]
pub(super) struct Shares {
    bytes: Vec<AtomicU64>,
    begun: AtomicUsize,
    /// Processor time of this process when the first byte came.
    cpu: OnceLock<Duration>,
    /// The counts when the last stream had begun, and when the first one was done.
    first: OnceLock<Vec<u64>>,
    last: OnceLock<Vec<u64>>,
}

impl Shares {
    pub(super) fn of(streams: usize) -> Self {
        Self {
            bytes: (0..streams).map(|_| AtomicU64::new(0)).collect(),
            begun: AtomicUsize::new(0),
            cpu: OnceLock::new(),
            first: OnceLock::new(),
            last: OnceLock::new(),
        }
    }

    /// A stream's first byte has come: its number here.
    pub(super) fn begin(&self) -> usize {
        self.cpu.get_or_init(cpu::used);
        self.begun.fetch_add(1, Ordering::Relaxed)
    }

    /// A stream brought `bytes`.
    pub(super) fn add(&self, stream: usize, bytes: u64) {
        if let Some(count) = self.bytes.get(stream) {
            count.fetch_add(bytes, Ordering::Relaxed);
        }
        if self.begun.load(Ordering::Relaxed) == self.bytes.len() {
            self.first.get_or_init(|| self.counts());
        }
    }

    /// A stream is complete.
    pub(super) fn end(&self) {
        self.last.get_or_init(|| self.counts());
    }

    /// Processor time since the first byte.
    pub(super) fn cpu(&self) -> Duration {
        cpu::used() - self.cpu.get().copied().unwrap_or_default()
    }

    /// Jain's index; `None` if the streams were never all under way.
    pub(super) fn fairness(&self) -> Option<f64> {
        let gained = self.first.get()?.iter().zip(self.last.get()?);
        let gained: Vec<f64> =
            gained.map(|(first, last)| last.checked_sub(*first).map(|n| n as f64)).collect::<Option<_>>()?;
        let (sum, squares): (f64, f64) =
            (gained.iter().sum(), gained.iter().map(|share| share * share).sum());
        (squares > 0.0).then(|| sum * sum / (gained.len() as f64 * squares))
    }

    fn counts(&self) -> Vec<u64> {
        self.bytes.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_is_what_comes_while_all_are_under_way() {
        let shares = Shares::of(2);
        assert_eq!(shares.begin(), 0);
        shares.add(0, 1_000_000);
        assert_eq!(shares.begin(), 1);
        shares.add(1, 10);
        shares.add(0, 300);
        shares.add(1, 100);
        shares.end();
        shares.add(1, 1_000_000);
        shares.end();
        // 300 and 100.
        let fairness = shares.fairness().expect("both were under way");
        assert!((fairness - 400.0 * 400.0 / (2.0 * 100_000.0)).abs() < 1e-9, "{fairness}");
    }

    #[test]
    fn streams_one_after_another_are_no_equals() {
        let shares = Shares::of(2);
        shares.begin();
        shares.add(0, 100);
        shares.end();
        shares.begin();
        shares.add(1, 100);
        assert_eq!(shares.fairness(), None);
    }
}
