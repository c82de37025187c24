//! Side by side: this project beside kernel TCP, raw UDP, QUIC and the other uTP implementations, each as two
//! processes on the loopback.
//!
//! - [`transport`]: one face for all of them; `raw.rs`: UDP without any protocol;
//! - [`work`]: what is measured, as the code of either process; `shares.rs`: how evenly many streams share;
//! - [`report`]: rounds, medians, tables.
//!
//! ```text
//! cargo run --release -p utp-tests --bin side-by-side [-- [--quick] [--rounds N] [--json FILE] [SCENARIO...]]
//! ```

mod cpu;
mod raw;
pub mod report;
mod shares;
pub mod transport;
pub mod work;
