//! A simulated network in virtual time: endpoints of `utp-proto`, links with every fault that real
//! ones have, applications that follow a script, and oracles that look after every step.
//!
//! - [`World`]: hosts, connections, time. Start here.
//! - [`Link`]: rate, queue, delay, jitter, loss, reordering, duplication, corruption, MTU, blackouts.
//! - [`Script`]: what an application does with its side of a connection.
//! - `monitor.rs`: what packets on the wire must obey. `trace.rs`: the last packets, for the message of a
//!   failed run, and a hash of all of them.
//! - [`random`]: worlds from a seed, with the full mix of faults. `hostile.rs`: the attackers among their peers.
//!
//! The same seed gives the same packets to the last bit ([`World::trace_hash`]). Whatever goes wrong
//! panics with the seed and the last packets.
//!
//! ```
//! use std::time::Duration;
//! use utp_tests::sim::{Link, Script, World};
//!
//! let mut world = World::new(7);
//! let (a, b) = (world.host_default(), world.host_default());
//! world.join(a, b, Link::new(20_000_000, Duration::from_millis(25)).loss(0.01));
//! let c = world.dial(a, b, Script::send(1 << 20), Script::receive());
//! world.run_to_the_end(Duration::from_secs(60));
//! assert_eq!(world.acceptor(c).read, 1 << 20);
//! ```

mod app;
mod host;
mod hostile;
mod link;
pub(crate) mod monitor;
mod network;
pub mod random;
mod rng;
pub mod tape;
mod trace;
mod world;

pub use app::{Ending, Finish, Reading, Script, Side};
pub use host::{Clock, Host};
pub use link::{Blackout, Burst, Link, LinkStats, Waits};
pub use network::{Forgery, LinkId, Order};
pub use rng::Random;
pub use world::{ConnId, HostId, World};
