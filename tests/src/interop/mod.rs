//! Interoperability with the deployed implementations: libutp (the C++ reference), librqbit-utp and
//! utp-rs, over a UDP relay that drops, reorders and duplicates with a seed.
//!
//! - [`peer`]: one face for all implementations, theirs and ours;
//! - [`relay`], [`faults`], [`trace`]: the path between two of them, and what crossed it;
//! - [`case`]: one transfer or one ending between two peers, with a hard time limit;
//! - [`endings`]: how connections begin and end when not everything goes well;
//! - [`matrix`]: the cases that the tests and the `interop` binary run;
//! - [`suite`]: what the tests call; [`table`]: reports for people.
//!
//! ```text
//! cargo test -p utp-tests --test 'interop_*'                     # the matrix, sized for minutes
//! cargo run --release -p utp-tests --bin interop                 # the whole matrix, as a table
//! cargo run --release -p utp-tests --bin interop-baseline        # what the peers can do by themselves
//! ```

pub mod case;
pub mod endings;
pub mod faults;
pub mod matrix;
pub mod pattern;
pub mod peer;
pub mod relay;
pub mod suite;
pub mod table;
pub mod trace;

mod ethereum;
mod librqbit;
mod libutp;
mod ours;
mod side;
mod socket;
mod tokio_io;
