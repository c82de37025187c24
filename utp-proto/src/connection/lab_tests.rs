//! A connection alone, for tests of single decisions.

use super::*;
use crate::congestion::FixedWindow;

/// A connection and what its endpoint would lend it.
pub(super) struct Lab {
    pub(super) c: Connection,
    pub(super) pools: Pools,
    pub(super) clock: Clock,
}

/// Number of the first DATA that an accepted one sends.
pub(super) const OURS: SeqNr = SeqNr(100);

/// Number of the first DATA that it receives.
pub(super) const THEIRS: SeqNr = SeqNr(8);

/// Nothing is paced, and the congestion window is 10,000 bytes.
pub(super) fn plain() -> Config {
    let mut config = Config::default();
    config.pacing(false).congestion(Arc::new(FixedWindow { bytes: 10_000 }));
    config
}

impl Lab {
    /// One whose SYN is not sent yet.
    #[allow(clippy::disallowed_methods)]
    pub(super) fn opening(config: Config) -> Self {
        let clock = Clock::new(std::time::Instant::now(), 0);
        let mut pools = Pools::default();
        let cx = Context { now: Time(0), clock, pools: &mut pools };
        let remote = SocketAddr::from(([10, 0, 0, 1], 4000));
        let c =
            Connection::connect(&cx, &Arc::new(config), remote, Ids { receive: 5, send: 6 }, OURS.minus(1));
        Self { c, pools, clock }
    }

    /// An incoming one, whose peer is believed in at once.
    pub(super) fn connected(config: Config) -> Self {
        let mut lab = Self::opening(config);
        let cx = Context { now: Time(0), clock: lab.clock, pools: &mut lab.pools };
        let (config, ids) = (Arc::clone(&lab.c.config), lab.c.ids);
        lab.c = Connection::accept(&cx, &config, lab.c.remote, ids, (OURS, THEIRS.minus(1)), true);
        lab
    }

    /// Calls `f` at a time.
    pub(super) fn at<R>(&mut self, micros: u64, f: impl FnOnce(&mut Connection, &mut Context<'_>) -> R) -> R {
        let mut cx = Context { now: Time(micros), clock: self.clock, pools: &mut self.pools };
        f(&mut self.c, &mut cx)
    }

    /// Takes packets of these sizes from the application, and for sent.
    pub(super) fn sent(&mut self, micros: u64, sizes: &[usize]) {
        for &len in sizes {
            self.c.out.write(&mut self.pools, &vec![7; len]);
            self.c.sent += len as u64;
            self.c.outstanding.push(Time(micros), self.c.sent, len, false, false);
        }
    }

    /// The peer's window, and the largest that it ever told.
    pub(super) fn window(&mut self, now: u32, largest: u32) {
        (self.c.peer_window, self.c.largest_window) = (now, largest);
    }
}
