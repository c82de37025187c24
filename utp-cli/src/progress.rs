//! A progress bar for one transfer.

use std::future::Future;
use std::time::Duration;

use indicatif::{BinaryBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::sleep;
use utp_tokio::UtpStream;

/// Drawn on stderr while it exists.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
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
        Self { bar }
    }

    /// Shows, while `work` is done, how the connection does and how many bytes are done according to
    /// `position`.
    pub(crate) async fn during<T>(
        &self,
        work: impl Future<Output = T>,
        stream: &UtpStream,
        position: fn(&UtpStream) -> u64,
    ) -> T {
        let watch = async {
            loop {
                self.at(position(stream));
                let stats = stream.stats();
                // Whoever sends nothing measures nothing.
                if !stats.rtt.is_zero() {
                    self.bar.set_message(format!("rtt {:.1?}, {} resent", stats.rtt, stats.retransmits));
                }
                sleep(LOOK).await;
            }
        };
        tokio::select! {
            result = work => result,
            () = watch, if !self.bar.is_hidden() => unreachable!("it watches for ever"),
        }
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

/// How often to look at the connection: fast enough for eyes.
const LOOK: Duration = Duration::from_millis(100);

const WITH_TOTAL: &str = "{prefix} [{bar:30}] {bytes}/{total_bytes} {binary_bytes_per_sec}, {eta} left {msg}";

const WITHOUT_TOTAL: &str = "{prefix} {spinner} {bytes} {binary_bytes_per_sec} {msg}";
