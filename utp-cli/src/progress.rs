//! A progress bar for one transfer.

use std::cell::Cell;
use std::time::{Duration, Instant};

use indicatif::{BinaryBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use utp_tokio::UtpStream;

/// Drawn on stderr while it exists.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    /// When the connection was last asked for its counters.
    looked: Cell<Option<Instant>>,
}

impl Progress {
    /// `visible`: somebody watches. Without a `total` only the rate is shown.
    pub(crate) fn new(visible: bool, doing: &'static str, total: Option<u64>) -> Self {
        let target = if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(total, target).with_prefix(doing);
        let template = if total.is_some() { WITH_TOTAL } else { WITHOUT_TOTAL };
        // Only a malformed template fails, and a plain bar is better than none.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        if visible {
            bar.enable_steady_tick(LOOK);
        }
        Self { bar, looked: Cell::new(None) }
    }

    /// For those who show nothing.
    pub(crate) fn none() -> Self {
        Self::new(false, "", None)
    }

    /// Shows that `bytes` are done, and now and then how the connection does.
    pub(crate) fn show(&self, bytes: u64, stream: &UtpStream) {
        self.bar.set_position(bytes);
        if self.bar.is_hidden() || self.looked.get().is_some_and(|at| at.elapsed() < LOOK) {
            return;
        }
        self.looked.set(Some(Instant::now()));
        let stats = stream.stats();
        self.bar.set_message(format!("rtt {:.1?}, {} resent", stats.rtt, stats.retransmits));
    }

    /// Shows that `bytes` are done.
    pub(crate) fn at(&self, bytes: u64) {
        self.bar.set_position(bytes);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// `64.0 MiB in 1.2s, 53.3 MiB/s`.
pub(crate) fn summary(bytes: u64, elapsed: Duration) -> String {
    let rate = bytes as f64 / elapsed.as_secs_f64();
    format!("{} in {elapsed:.1?}, {}/s", BinaryBytes(bytes), BinaryBytes(rate as u64))
}

/// How often to look at the counters: fast enough for eyes.
const LOOK: Duration = Duration::from_millis(100);

const WITH_TOTAL: &str = "{prefix} [{bar:30}] {bytes}/{total_bytes} {binary_bytes_per_sec}, {eta} left {msg}";

const WITHOUT_TOTAL: &str = "{prefix} {spinner} {bytes} {binary_bytes_per_sec} {msg}";
