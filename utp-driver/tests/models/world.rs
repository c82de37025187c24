//! A runtime under the model checker: each task is a thread of the checker's, which decides at every lock who runs;
//! sockets are real ones on the loopback, on which a datagram has arrived by the time that it was sent; time is
//! virtual and passes only while everybody sleeps. So a wake-up that got lost is not made up for by a timer: either
//! nobody is left who could wake anybody, or time goes beyond what the world should need.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::UdpSocket;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::atomic::{AtomicU32, Ordering};
use shuttle::sync::{Condvar, Mutex, PoisonError};
use shuttle::thread::{self, JoinHandle};
use utp_driver::runtime::{self, AsyncUdpSocket, Direction, Runtime};

thread_local! {
    /// All threads of the checker run on one of the system's. Never borrowed across one of the checker's operations.
    static WORLD: RefCell<World> = RefCell::new(World::new());
}

/// What the tasks of one execution share besides the code that is tested.
struct World {
    began: Instant,
    now: Instant,
    /// Tasks that have not ended, and those of them that sleep.
    tasks: usize,
    asleep: usize,
    /// Whether somebody is being woken because all of them slept.
    waking: bool,
    timers: BTreeMap<u64, (Instant, Waker)>,
    sockets: BTreeMap<u64, Watched>,
    /// By driver, in order of creation: whether it is to die, and its task.
    drivers: Vec<(bool, Option<Waker>)>,
    threads: Vec<JoinHandle<()>>,
    last_id: u64,
}

/// A socket and who waits for it.
struct Watched {
    socket: UdpSocket,
    read: Option<Waker>,
    write: Option<Waker>,
    /// Whether it pretends that its buffer is full.
    full: bool,
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            began: now,
            now,
            tasks: 0,
            asleep: 0,
            waking: false,
            timers: BTreeMap::new(),
            sockets: BTreeMap::new(),
            drivers: Vec::new(),
            threads: Vec::new(),
            last_id: 0,
        }
    }

    fn id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// The readers that have something to read.
    fn readable(&mut self) -> Vec<Waker> {
        let waiting = self.sockets.values_mut().filter(|socket| socket.read.is_some());
        let ready = waiting.filter(|watched| {
            let peeked = watched.socket.peek_from(&mut [0]);
            !peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
        });
        ready.filter_map(|watched| watched.read.take()).collect()
    }

    /// Everybody sleeps: what happens next, if anything can.
    fn next(&mut self) -> Vec<Waker> {
        let mut wakers = self.readable();
        for watched in self.sockets.values_mut() {
            watched.full = false;
            wakers.extend(watched.write.take());
        }
        if wakers.is_empty() {
            let next = self.timers.iter().min_by_key(|(_, (at, _))| *at).map(|(id, (at, _))| (*id, *at));
            let (id, at) = next.expect("a wake-up was lost: everybody sleeps, and no timer is set");
            self.now = self.now.max(at);
            let past = self.now - self.began;
            assert!(
                past < LIMIT,
                "a wake-up was lost: everybody sleeps, and the next timer ends at {past:?}"
            );
            wakers.extend(self.timers.remove(&id).map(|(_, waker)| waker));
        }
        wakers
    }
}

fn world<T>(operation: impl FnOnce(&mut World) -> T) -> T {
    WORLD.with_borrow_mut(operation)
}

/// Runs `scenario`, and all that it spawned, to their end.
pub(crate) fn run(scenario: impl FnOnce()) {
    // What is left of an execution that failed must not take the checker's locks: it is forgotten.
    std::mem::forget(WORLD.replace(World::new()));
    world(|world| world.tasks = 1);
    scenario();
    end_task();
    while let Some(thread) = world(|world| world.threads.pop()) {
        thread.join().expect("a task that ends well");
    }
    assert_eq!(world(|world| world.sockets.len()), 0, "a socket is left behind");
    drop(WORLD.replace(World::new()));
}

/// Starts a task.
pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    world(|world| world.tasks += 1);
    let thread = thread::spawn(|| {
        block_on(task);
        end_task();
    });
    world(|world| world.threads.push(thread));
}

/// Ends the task of the driver of that number at its next await point, as a runtime does that is shut down.
pub(crate) fn kill_driver(number: usize) {
    let waker = world(|world| {
        let (killed, waker) = &mut world.drivers[number];
        *killed = true;
        waker.take()
    });
    waker.into_iter().for_each(Waker::wake);
}

/// A chance for others to run.
pub(crate) async fn pause() {
    thread::yield_now();
}

/// Lets virtual time pass.
pub(crate) async fn sleep(time: Duration) {
    let mut timer = Model::timer();
    runtime::Timer::reset(&mut timer, Model::now() + time);
    std::future::poll_fn(|cx| runtime::Timer::poll(&mut timer, cx)).await;
}

fn end_task() {
    world(|world| world.tasks -= 1);
    if_all_sleep();
}

/// Lets things happen while everybody sleeps. To be called by whoever has just fallen asleep or ended.
fn if_all_sleep() {
    loop {
        let wakers = world(|world| {
            if world.asleep < world.tasks || world.tasks == 0 || world.waking {
                return Vec::new();
            }
            world.waking = true;
            world.next()
        });
        if wakers.is_empty() {
            return;
        }
        wakers.into_iter().for_each(Waker::wake);
        world(|world| world.waking = false);
    }
}

/// Polls `future` until it is ready, and sleeps meanwhile.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let sleeper = Arc::new(Sleeper::default());
    let waker = Waker::from(Arc::clone(&sleeper));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(result) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return result;
        }
        sleeper.sleep();
    }
}

#[derive(Default)]
struct Sleeper {
    state: Mutex<State>,
    woken: Condvar,
}

#[derive(Default, PartialEq)]
enum State {
    #[default]
    Awake,
    Woken,
    Asleep,
}

impl Sleeper {
    fn sleep(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if *state == State::Awake {
            *state = State::Asleep;
            world(|world| world.asleep += 1);
            drop(state);
            if_all_sleep();
            state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        }
        while *state != State::Woken {
            state = self.woken.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        *state = State::Awake;
    }
}

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        if std::thread::panicking() {
            return; // it failed, which is what is to be printed
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if *state == State::Asleep {
            world(|world| world.asleep -= 1);
            self.woken.notify_one();
        }
        *state = State::Woken;
    }
}

/// The runtime of the models.
pub(crate) struct Model;

impl Runtime for Model {
    type Socket = Socket;
    type Timer = Timer;

    fn now() -> Instant {
        world(|world| world.now)
    }

    fn register(socket: UdpSocket) -> io::Result<Socket> {
        // Times of arrival are the virtual ones.
        nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::ReceiveTimestampns, &false)?;
        let watched = Watched { socket: socket.try_clone()?, read: None, write: None, full: false };
        let id = world(|world| {
            let id = world.id();
            world.sockets.insert(id, watched);
            id
        });
        Ok(Socket { socket, id, calls: AtomicU32::new(0) })
    }

    fn timer() -> Timer {
        Timer { id: world(World::id), deadline: None }
    }

    fn spawn(driver: impl Future<Output = ()> + Send + 'static) {
        let number = world(|world| {
            world.drivers.push((false, None));
            world.drivers.len() - 1
        });
        spawn(async move {
            let mut driver = pin!(driver);
            std::future::poll_fn(|cx| {
                let killed = world(|world| {
                    world.drivers[number].1 = Some(cx.waker().clone());
                    world.drivers[number].0
                });
                if killed { Poll::Ready(()) } else { driver.as_mut().poll(cx) }
            })
            .await;
        });
    }
}

/// A socket that lets others run before each system call, and now and then takes nothing.
pub(crate) struct Socket {
    socket: UdpSocket,
    id: u64,
    calls: AtomicU32,
}

impl std::os::fd::AsFd for Socket {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Socket {
    fn watched<T>(&self, operation: impl FnOnce(&mut Watched) -> T) -> T {
        world(|world| {
            operation(world.sockets.get_mut(&self.id).expect("a socket is watched until it is dropped"))
        })
    }
}

impl runtime::UdpSocket for Socket {
    fn try_io<R>(&self, direction: Direction, operation: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
        self.calls.fetch_add(1, Ordering::SeqCst); // where the checker may let another thread run
        if direction == Direction::Read {
            return operation();
        }
        let fills = thread_rng().gen_range(0..FULL) == 0;
        let full = self.watched(|watched| {
            watched.full |= fills;
            watched.full
        });
        if full {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let result = operation();
        world(World::readable).into_iter().for_each(Waker::wake);
        result
    }
}

impl AsyncUdpSocket for Socket {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.watched(|watched| {
            let peeked = watched.socket.peek_from(&mut [0]);
            if peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
                watched.read = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(Ok(()))
        })
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.watched(|watched| {
            if watched.full {
                watched.write = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(Ok(()))
        })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let watched = world(|world| world.sockets.remove(&self.id));
        drop(watched);
    }
}

/// A timer in virtual time.
pub(crate) struct Timer {
    id: u64,
    deadline: Option<Instant>,
}

impl runtime::Timer for Timer {
    fn reset(&mut self, deadline: Instant) {
        self.deadline = Some(deadline);
        world(|world| world.timers.remove(&self.id));
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.deadline else { return Poll::Pending };
        world(|world| {
            if deadline <= world.now {
                return Poll::Ready(());
            }
            world.timers.insert(self.id, (deadline, cx.waker().clone()));
            Poll::Pending
        })
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let timer = world(|world| world.timers.remove(&self.id));
        drop(timer);
    }
}

/// Virtual time that no scenario may need: time-outs of retransmission begin far later (`main.rs`), those of
/// acknowledgements, pacing and lingering are far shorter.
const LIMIT: Duration = Duration::from_secs(2);

/// One system call in so many finds the socket's buffer full.
const FULL: u32 = 12;
