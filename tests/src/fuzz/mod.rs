//! Bodies of the fuzz targets: each takes bytes, does with them what its target is about, and panics if
//! something is wrong. They are here rather than in `fuzz/`, so that stable builds compile them and
//! `tests/tests/fuzz_corpora.rs` replays what was found; the targets of cargo-fuzz are shims.
//!
//! - `wire.rs`: header, extension chain, and both against `reference.rs`, a parser written from BEP 29 in
//!   the most naive way.
//! - `endpoint.rs`: one endpoint in front of the open Internet.
//! - `connection.rs`: one established connection, its peer being the input.
//! - `pair.rs`: two endpoints, the network between them being the input.
//! - `cookie.rs`: an endpoint flooded with SYNs.
//! - `handles.rs`: calls in any order on handles of any age.
//! - `input.rs`: how bytes become actions. `watch.rs`: an endpoint whose contract is checked at each step.
//! - [`seeds`]: inputs to start from.

mod connection;
mod cookie;
mod endpoint;
mod handles;
mod input;
mod pair;
mod reference;
pub mod seeds;
mod watch;
mod wire;

pub use connection::connection;
pub use cookie::cookie;
pub use endpoint::endpoint;
pub use handles::handles;
pub use pair::pair;
pub use wire::{differential, extensions, header};

/// The body of a target.
pub type Body = fn(&[u8]);

/// Every target: its name, as in `fuzz/fuzz_targets/`, and its body.
pub const TARGETS: &[(&str, Body)] = &[
    ("header", header),
    ("extensions", extensions),
    ("differential", differential),
    ("endpoint", endpoint),
    ("connection", connection),
    ("pair", pair),
    ("cookie", cookie),
    ("handles", handles),
];
