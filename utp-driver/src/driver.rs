//! The task that a socket needs, one per socket.
//!
//! A turn: receive one batch without the lock; under the lock feed it to the endpoint, run time-outs,
//! turn events into wake-ups, collect packets, read the deadline; then, without the lock, wake tasks
//! and send. The rule for waiting: try the system call first, wait for readiness only on `WouldBlock`.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::hub::{Hub, Next, Turn};
use crate::runtime::{AsyncUdpSocket, Runtime, Timer};
use crate::udp::{Flushed, Inbox, Outbox, PathErrors};

/// Drives one socket until no handle is left and every connection has ended.
pub(crate) struct Driver<R: Runtime> {
    hub: Arc<Hub<R::Socket>>,
    inbox: Inbox,
    outbox: Outbox,
    path_errors: PathErrors,
    wakers: Vec<Waker>,
    timer: R::Timer,
    /// What the timer is set to, unless that has passed. Deadlines that move away leave it alone: one
    /// wake-up too many now and then costs less than moving a timer with every packet.
    armed: Option<Instant>,
    /// Whether the socket takes no more, so that the outbox has to wait.
    blocked: bool,
    /// Whether somebody else waits for the socket to be writable.
    wants_writable: bool,
    /// Batches in a row after which time-outs were not looked at.
    untimed: u32,
    /// Receive errors in a row, and until when the socket is left alone because of them.
    failures: u32,
    deaf_until: Option<Instant>,
}

impl<R: Runtime> Driver<R> {
    pub(crate) fn new(hub: Arc<Hub<R::Socket>>) -> Self {
        let outbox = Outbox::new(&hub.udp, R::now());
        Self {
            hub,
            inbox: Inbox::default(),
            outbox,
            path_errors: PathErrors::new(),
            wakers: Vec::new(),
            timer: R::timer(),
            armed: None,
            blocked: false,
            wants_writable: false,
            untimed: 0,
            failures: 0,
            deaf_until: None,
        }
    }

    /// Runs turns until there is nothing to do, or for long enough. Errors: the runtime is going down.
    fn run(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut work = 0;
        let mut due = true;
        loop {
            if work >= WORK_PER_POLL {
                // The rest is for the next time; others want to run. Before the next batch is received: one
                // that was has to be fed to the endpoint, or it is lost.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let received = self.receive(cx)?;
            let writable =
                (self.blocked || self.wants_writable) && self.hub.udp.socket().poll_writable(cx)?.is_ready();
            if !due && received == 0 && !writable {
                return Poll::Pending;
            }
            let (sent, next) = self.turn(received, writable, cx);
            if next.finished && self.outbox.is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.wants_writable = next.wants_writable;
            due = self.arm(next.deadline, cx) || (next.more && !self.blocked);
            work += received + sent + TURN;
        }
    }

    /// A batch's size in bytes; 0 if there is none, and then the task is registered.
    fn receive(&mut self, cx: &mut Context<'_>) -> io::Result<usize> {
        if let Some(until) = self.deaf_until {
            if R::now() < until {
                return Ok(0);
            }
            self.deaf_until = None;
        }
        for _ in 0..RECEIVE_TRIES {
            match self.inbox.receive(&self.hub.udp, R::now) {
                Ok(bytes) => {
                    self.failures = 0;
                    // Datagrams may be empty.
                    return Ok(bytes.max(1));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    match self.hub.udp.socket().poll_readable(cx) {
                        Poll::Ready(result) => result?,
                        Poll::Pending => return Ok(0),
                    }
                }
                Err(_) => {
                    self.failures += 1;
                    if self.failures >= FAILURES {
                        self.failures = 0;
                        self.deaf_until = Some(R::now() + DEAF);
                        return Ok(0);
                    }
                }
            }
        }
        cx.waker().wake_by_ref();
        Ok(0)
    }

    /// One turn; gives the bytes sent.
    fn turn(&mut self, received: usize, writable: bool, cx: &Context<'_>) -> (usize, Next) {
        let more_waits = received > 0 && self.inbox.is_full() && self.untimed < UNTIMED;
        self.untimed = if more_waits { self.untimed + 1 } else { 0 };
        let before = self.outbox.stats().bytes_sent;
        let mut state = self.hub.lock();
        let turn = Turn {
            now: R::now(),
            inbox: &mut self.inbox,
            outbox: &mut self.outbox,
            path_errors: &mut self.path_errors,
            wakers: &mut self.wakers,
            timers: !more_waits,
            writable,
        };
        let next = state.turn(turn, cx);
        drop(state);
        self.wake();
        let flushed = self.outbox.flush(&self.hub.udp, &mut self.path_errors);
        self.blocked = flushed == Flushed::Blocked;
        ((self.outbox.stats().bytes_sent - before) as usize, next)
    }

    fn wake(&mut self) {
        for waker in self.wakers.drain(..) {
            waker.wake();
        }
    }

    /// Sees to it that the task runs at `deadline`. Whether that is now.
    fn arm(&mut self, deadline: Option<Instant>, cx: &mut Context<'_>) -> bool {
        let now = R::now();
        // A path error is news for the endpoint; nothing else would bring it there soon.
        if !self.path_errors.is_empty() {
            return true;
        }
        let deadline = match (deadline, self.deaf_until) {
            (Some(deadline), Some(until)) => Some(deadline.min(until)),
            (deadline, until) => deadline.or(until),
        };
        let Some(mut deadline) = deadline else { return false };
        if self.blocked {
            // What is due cannot be sent, so there is no point in hurrying.
            deadline = deadline.max(now + BLOCKED);
        }
        if deadline <= now {
            return true;
        }
        self.armed = self.armed.filter(|armed| *armed > now);
        if self.armed.is_none_or(|armed| deadline < armed) {
            self.armed = Some(deadline);
            self.timer.reset(deadline);
            if self.timer.poll(cx).is_ready() {
                self.armed = None;
                return true;
            }
        }
        false
    }
}

impl<R: Runtime> Future for Driver<R> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // Either way there is nothing left to do; a runtime that goes down is told to the handles by `drop`.
        self.run(cx).map(|_| ())
    }
}

impl<R: Runtime> Unpin for Driver<R> {}

impl<R: Runtime> Drop for Driver<R> {
    fn drop(&mut self) {
        let mut wakers = std::mem::take(&mut self.wakers);
        self.hub.lock().orphan(&mut wakers);
        self.wakers = wakers;
        self.wake();
    }
}

/// Work of one poll in bytes received and sent: a few hundred microseconds, after which other tasks of
/// the thread get their turn.
const WORK_PER_POLL: usize = 1 << 20;

/// What a turn counts for besides its bytes.
const TURN: usize = 16 << 10;

/// Attempts to receive before other work goes on: readiness may be announced in vain, and errors that
/// concern single datagrams may come in a row.
const RECEIVE_TRIES: u32 = 4;

/// Batches after which time-outs are looked at although more datagrams wait.
const UNTIMED: u32 = 8;

/// Receive errors in a row that mean that the socket, not some datagram, is in trouble (an interface
/// went away); it is then left alone for a while instead of being tried without pause.
const FAILURES: u32 = 64;

/// That while.
const DEAF: Duration = Duration::from_millis(100);

/// How soon due packets are looked at again while the socket is blocked. It becoming writable comes first.
const BLOCKED: Duration = Duration::from_millis(10);
