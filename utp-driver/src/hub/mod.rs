//! The state that the driver's task and the application's tasks share, behind one mutex that is never
//! held during a system call. What is on its way to the socket is behind another one (`direct.rs`).
//!
//! [`SocketHandle`] and [`StreamHandle`] are the application's side: everything that an asynchronous
//! adapter offers is implemented by them, once. The driver's task is the other side;
//! it does its work in turns (`turn.rs`, `driver.rs`).

mod congestion;
mod direct;
mod events;
mod ports;
mod references;
mod socket;
mod stream;
mod turn;

use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use utp_proto::Endpoint;

pub use ports::Ending;
pub use socket::{Incoming, SocketHandle};
pub use stream::StreamHandle;
pub(crate) use turn::{Next, Turn};

use crate::addr::canonical;
use crate::driver::Driver;
use crate::events::SocketEvents;
use crate::references::References;
use crate::runtime::{AsyncUdpSocket, Runtime};
use crate::stats::{ReceiveStats, SendStats};
use crate::sync::{Mutex, MutexGuard, PoisonError};
use crate::udp::{Datagrams, Outlet, Udp};
use crate::{SocketConfig, stats::SocketStats};
use ports::{Ports, Waiters};

/// One UDP socket, its endpoint, and everybody who waits for either.
#[derive(Debug)]
pub(crate) struct Hub<S: AsyncUdpSocket> {
    pub(crate) udp: Udp<S>,
    pub(crate) now: fn() -> Instant,
    state: Mutex<State>,
    outlet: Mutex<Outlet>,
}

#[derive(Debug)]
pub(crate) struct State {
    endpoint: Endpoint,
    ports: Ports,
    datagrams: Datagrams,
    /// Tasks that wait for an incoming connection.
    accepting: Waiters,
    /// Tasks that wait until no connection is open.
    unused: Waiters,
    /// Tasks that wait until nothing at all is left to do.
    idle: Waiters,
    /// Tasks that wait until nothing that is left is referenced.
    unreferenced: Waiters,
    /// Tasks that wait for an event of the socket.
    eventful: Waiters,
    events: SocketEvents,
    references: References,
    /// Tasks that wait for a foreign datagram.
    receiving: Waiters,
    /// Tasks that wait to send a foreign datagram.
    sending: Waiters,
    /// Times that the socket was seen writable on behalf of `sending`.
    writable: u64,
    /// [`SocketHandle`]s. Without one nobody can accept or connect.
    owners: usize,
    /// Whether an application's task left something for the driver to do that the endpoint does not
    /// know of.
    work: bool,
    /// Whether the application's task has just left so much to be sent that it is better done by the
    /// driver, on another core.
    bulk: bool,
    /// When the driver came last.
    now: Instant,
    /// When the driver will come by itself.
    deadline: Option<Instant>,
    /// The driver's task, while it sleeps and wants to know of `work`.
    driver: Option<Waker>,
    /// Whether there is no driver any more: its runtime was shut down.
    orphaned: bool,
    receive: ReceiveStats,
    send: SendStats,
    foreign_sent: u64,
}

/// Something that any number of tasks may wait for.
#[derive(Debug, Clone, Copy)]
enum Queue {
    Accepting,
    Unused,
    Idle,
    Unreferenced,
    Eventful,
    Receiving,
    Sending,
    Acked(usize),
    Ended(usize),
}

/// Sets a bound `socket` up, starts its driver and gives the handle that owns it.
///
/// # Errors
/// `InvalidInput` if it is not a UDP socket; otherwise those of the system.
pub fn open<R: Runtime>(
    socket: std::net::UdpSocket,
    config: &SocketConfig,
) -> io::Result<SocketHandle<R::Socket>> {
    let udp = Udp::new(socket, config, R::register)?;
    let now = R::now();
    let endpoint = crate::endpoint::new(config, now)?;
    let state = State {
        events: SocketEvents::new(&endpoint),
        endpoint,
        ports: Ports::default(),
        datagrams: Datagrams::new(config),
        accepting: Waiters::default(),
        unused: Waiters::default(),
        idle: Waiters::default(),
        unreferenced: Waiters::default(),
        eventful: Waiters::default(),
        references: References::default(),
        receiving: Waiters::default(),
        sending: Waiters::default(),
        writable: 0,
        owners: 1,
        work: false,
        bulk: false,
        now,
        deadline: None,
        driver: None,
        orphaned: false,
        receive: ReceiveStats::default(),
        send: SendStats::default(),
        foreign_sent: 0,
    };
    let outlet = Mutex::new(Outlet::new(&udp, now));
    let hub = Arc::new(Hub { udp, now: R::now, state: Mutex::new(state), outlet });
    R::spawn(Driver::<R>::new(Arc::clone(&hub)));
    Ok(SocketHandle::new(hub))
}

/// Binds `addr` and starts a driver: [`socket::bind`](crate::socket::bind) and [`open`].
///
/// # Errors
/// Theirs.
pub fn bind<R: Runtime>(addr: SocketAddr, config: &SocketConfig) -> io::Result<SocketHandle<R::Socket>> {
    open::<R>(crate::socket::bind(addr, config)?, config)
}

/// Connects to `peer` from a socket of its own, which nobody can connect to. Cancel-safe: dropping the
/// future aborts the attempt.
///
/// # Errors
/// As [`bind`] and [`SocketHandle::connect`].
pub async fn connect<R: Runtime>(
    peer: SocketAddr,
    config: &SocketConfig,
) -> io::Result<StreamHandle<R::Socket>> {
    let any: SocketAddr = match canonical(peer) {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = bind::<R>(any, config)?;
    socket.stop_listening();
    socket.connect(peer).await
}

impl<S: AsyncUdpSocket> Hub<S> {
    /// The state, for the driver.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // After a panic under the lock the driver is gone, which its handles then report.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `operation` for the application, and wakes or sends what follows from it.
    fn with<T>(&self, operation: impl FnOnce(&mut State) -> T) -> T {
        let mut wakers = Vec::new(); // takes memory only if there is somebody to wake
        let mut state = self.lock();
        let result = operation(&mut state);
        state.dispatch(&mut wakers);
        self.follow_up(state, wakers);
        result
    }

    /// Waits in `queue` until `check` gives something. Dropping the future leaves the queue.
    async fn wait<T>(&self, queue: Queue, mut check: impl FnMut(&mut State) -> Option<T>) -> T {
        let mut place = Place { hub: self, queue, id: 0 };
        poll_fn(|cx| self.poll_wait(cx, queue, &mut place.id, &mut check)).await
    }

    fn poll_wait<T>(
        &self,
        cx: &Context<'_>,
        queue: Queue,
        id: &mut u64,
        check: impl FnOnce(&mut State) -> Option<T>,
    ) -> Poll<T> {
        self.with(|state| match check(state) {
            Some(result) => Poll::Ready(result),
            None => {
                state.waiters(queue).register(id, cx);
                Poll::Pending
            }
        })
    }

    fn stats(&self) -> SocketStats {
        let state = self.lock();
        SocketStats {
            endpoint: state.endpoint.stats(),
            receive: state.receive,
            send: state.send,
            foreign_received: state.datagrams.received(),
            foreign_dropped: state.datagrams.dropped(),
            foreign_sent: state.foreign_sent,
        }
    }
}

impl State {
    fn waiters(&mut self, queue: Queue) -> &mut Waiters {
        match queue {
            Queue::Accepting => &mut self.accepting,
            Queue::Unused => &mut self.unused,
            Queue::Idle => &mut self.idle,
            Queue::Unreferenced => &mut self.unreferenced,
            Queue::Eventful => &mut self.eventful,
            Queue::Receiving => &mut self.receiving,
            Queue::Sending => &mut self.sending,
            Queue::Acked(key) => &mut self.ports.get_mut(key).acked,
            Queue::Ended(key) => &mut self.ports.get_mut(key).ended,
        }
    }

    /// Refuses connections from now on, those that nobody has accepted included.
    fn stop_listening(&mut self) {
        crate::endpoint::stop_listening(&mut self.endpoint);
        self.events.close();
        self.work = true;
    }

    /// The driver is gone: nothing will ever happen again.
    pub(crate) fn orphan(&mut self, wakers: &mut Vec<Waker>) {
        self.orphaned = true;
        self.driver = None;
        for port in self.ports.iter_mut() {
            port.wake_all(wakers);
        }
        let queues = [
            Queue::Accepting,
            Queue::Unused,
            Queue::Idle,
            Queue::Unreferenced,
            Queue::Eventful,
            Queue::Receiving,
            Queue::Sending,
        ];
        for queue in queues {
            self.waiters(queue).wake(wakers);
        }
    }
}

/// A task's place in a queue, given up when the task stops waiting.
struct Place<'a, S: AsyncUdpSocket> {
    hub: &'a Hub<S>,
    queue: Queue,
    id: u64,
}

impl<S: AsyncUdpSocket> Drop for Place<'_, S> {
    fn drop(&mut self) {
        if self.id != 0 {
            self.hub.lock().waiters(self.queue).remove(self.id);
        }
    }
}

/// What every operation says after the runtime that drove the socket was shut down.
fn orphaned() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the runtime that drove this socket is gone")
}
