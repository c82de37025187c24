//! Faults of the system under a socket of any adapter: an [`Injector`] decides which of its calls fail, and how.

use std::io;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::libc;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use utp_driver::SocketConfig;
use utp_driver::faults::Faults;
use utp_driver::runtime::Direction;

use crate::conformance::Adapter;
use crate::conformance::async_std::AsyncStd;
use crate::conformance::mio::{self, Mio};
use crate::conformance::tokio::Tokio;

/// Which calls fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failing {
    /// None.
    Nothing,
    /// One call in eight begins a row of one to 16 that fail, each row in one way of these.
    Rows(&'static [i32]),
    /// One call in eight fails, in one way of these.
    Some(&'static [i32]),
    /// Storms: one call in eight begins a row of 100 to 400 that fail in this way.
    Storms(i32),
    /// All calls, in this way: the network is down, say.
    Everything(i32),
}

/// What becomes of the calls of one socket. Random, from a seed.
#[derive(Debug)]
pub struct Injector {
    row: Mutex<Row>,
    injected: AtomicU64,
    /// Of those, how many said `WouldBlock`.
    blocked: AtomicU64,
    /// Nanoseconds by which the clock of the machine was set since datagrams arrived.
    set: AtomicI64,
    waker: Mutex<Option<Waker>>,
}

#[derive(Debug)]
struct Row {
    random: ChaCha8Rng,
    failing: Failing,
    /// Calls that fail in a row from now on, and how.
    left: u32,
    errno: i32,
}

struct Waker(Box<dyn Fn() + Send>);

impl std::fmt::Debug for Waker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Waker")
    }
}

impl Injector {
    /// For a socket of its own. No call fails until [`set`](Self::set).
    #[must_use]
    pub fn new(seed: u64) -> Arc<Self> {
        let random = ChaCha8Rng::seed_from_u64(seed);
        Arc::new(Self {
            row: Mutex::new(Row { random, failing: Failing::Nothing, left: 0, errno: 0 }),
            injected: AtomicU64::new(0),
            blocked: AtomicU64::new(0),
            set: AtomicI64::new(0),
            waker: Mutex::new(None),
        })
    }

    /// `config` for a socket whose calls fail.
    #[must_use]
    pub fn under(self: &Arc<Self>, mut config: SocketConfig) -> SocketConfig {
        let faults: Arc<Self> = Arc::clone(self);
        config.faults(faults);
        config
    }

    /// From now on, `failing`.
    pub fn set(&self, failing: Failing) {
        {
            let mut row = self.row();
            (row.failing, row.left) = (failing, 0);
        }
        self.wake();
    }

    /// The clock of the machine is set, forward if positive, between the arrival of each datagram and the call that
    /// receives it.
    pub fn set_clock(&self, nanos: i64) {
        self.set.store(nanos, Ordering::Relaxed);
    }

    /// Calls that failed.
    #[must_use]
    pub fn injected(&self) -> u64 {
        self.injected.load(Ordering::Relaxed)
    }

    /// Those of them that said `WouldBlock`.
    #[must_use]
    pub fn blocked(&self) -> u64 {
        self.blocked.load(Ordering::Relaxed)
    }

    fn row(&self) -> std::sync::MutexGuard<'_, Row> {
        self.row.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        if let Some(Waker(wake)) = &*self.waker.lock().unwrap_or_else(PoisonError::into_inner) {
            wake();
        }
    }
}

impl Row {
    fn next(&mut self) -> Option<i32> {
        let (kinds, least, most) = match self.failing {
            Failing::Nothing => return None,
            Failing::Everything(errno) => return Some(errno),
            Failing::Rows(kinds) => (kinds, 1, 16),
            Failing::Some(kinds) => (kinds, 1, 1),
            Failing::Storms(errno) => (&[errno][..], 100, 400),
        };
        if self.left == 0 {
            if !self.random.next_u32().is_multiple_of(8) {
                return None;
            }
            self.left = least + self.random.next_u32() % (most - least + 1);
            self.errno = kinds[self.random.next_u32() as usize % kinds.len()];
        }
        self.left -= 1;
        Some(self.errno)
    }
}

impl Faults for Injector {
    fn before(&self, _: Direction) -> io::Result<()> {
        let Some(errno) = self.row().next() else { return Ok(()) };
        self.injected.fetch_add(1, Ordering::Relaxed);
        let error = io::Error::from_raw_os_error(errno);
        if error.kind() == io::ErrorKind::WouldBlock {
            self.blocked.fetch_add(1, Ordering::Relaxed);
            self.wake();
        }
        Err(error)
    }

    fn arrived(&self, stamp: Duration) -> Duration {
        let set = self.set.load(Ordering::Relaxed);
        let by = Duration::from_nanos(set.unsigned_abs());
        if set > 0 { stamp.saturating_sub(by) } else { stamp + by }
    }
}

/// An adapter whose sockets can be made to fail.
pub trait Faulty: Adapter {
    /// Lets `injector` tell `socket` that a call which said `WouldBlock` may be worth another try. Where tasks wait for
    /// readiness, they see that for themselves: the socket is ready.
    fn attach(_: &Self::Socket, _: &Injector) {}
}

impl Faulty for Tokio {}

impl Faulty for AsyncStd {}

impl Faulty for Mio {
    /// A readiness that mio has announced is not announced again.
    fn attach(socket: &mio::Socket, injector: &Injector) {
        let waker = Waker(Box::new(socket.waker()));
        *injector.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker);
    }
}

/// What calls of sockets say on Linux: refused and reset (ICMP about an earlier datagram), not now, no buffers, no
/// memory, too big, unreachable, interrupted, down, forbidden.
pub const ERRORS: &[i32] = &[
    libc::ECONNREFUSED,
    libc::ECONNRESET,
    libc::EAGAIN,
    libc::ENOBUFS,
    libc::ENOMEM,
    libc::EMSGSIZE,
    libc::EHOSTUNREACH,
    libc::ENETUNREACH,
    libc::EINTR,
    libc::ENETDOWN,
    libc::EPERM,
    libc::EACCES,
];

/// A test of each case, a function of the adapter, on every adapter; `run` takes that function.
#[macro_export]
macro_rules! on_every_adapter {
    ($run:ident: $($case:ident)*) => {
        $crate::on_every_adapter! { @ on_tokio tokio Tokio $run [$($case)*] }
        $crate::on_every_adapter! { @ on_async_std async_std AsyncStd $run [$($case)*] }
        $crate::on_every_adapter! { @ on_mio mio Mio $run [$($case)*] }
    };
    (@ $module:ident $from:ident $adapter:ident $run:ident [$($case:ident)*]) => {
        mod $module {
            $(
                #[test]
                fn $case() {
                    super::$run(super::$case::<$crate::conformance::$from::$adapter>);
                }
            )*
        }
    };
}
