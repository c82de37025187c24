//! Processor time of this process.

use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};

/// User and system time so far.
pub(super) fn used() -> Duration {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return Duration::ZERO };
    let time = |t: nix::sys::time::TimeVal| {
        Duration::new(t.tv_sec().max(0) as u64, 1000 * t.tv_usec().max(0) as u32)
    };
    time(usage.user_time()) + time(usage.system_time())
}
