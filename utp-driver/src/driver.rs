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
use std::time::Instant;

use crate::hub::{Hub, Next, Turn};
use crate::runtime::{AsyncUdpSocket, Runtime, Timer};
use crate::udp::{Intake, Moment, Received};

/// Drives one socket until no handle is left and every connection has ended.
pub(crate) struct Driver<R: Runtime> {
    hub: Arc<Hub<R::Socket>>,
    intake: Intake,
    /// Whether packets wait for the socket to be writable.
    blocked: bool,
    wakers: Vec<Waker>,
    timer: R::Timer,
    /// What the timer is set to, unless that has passed. Deadlines that move away leave it alone: one
    /// wake-up too many now and then costs less than moving a timer with every packet.
    armed: Option<Instant>,
    /// Whether somebody besides the link waits for the socket to be writable.
    wants_writable: bool,
}

impl<R: Runtime> Driver<R> {
    pub(crate) fn new(hub: Arc<Hub<R::Socket>>) -> Self {
        Self {
            hub,
            intake: Intake::default(),
            blocked: false,
            wakers: Vec::new(),
            timer: R::timer(),
            armed: None,
            wants_writable: false,
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
            let (sent, next) = self.turn(writable, cx);
            if next.finished {
                return Poll::Ready(Ok(()));
            }
            self.wants_writable = next.wants_writable;
            due = self.arm(next.deadline, cx) || (next.more && !self.blocked);
            work += received + sent + TURN;
        }
    }

    /// A batch's size in bytes; 0 if there is none, and then the task is registered.
    fn receive(&mut self, cx: &mut Context<'_>) -> io::Result<usize> {
        for _ in 0..RECEIVE_TRIES {
            match self.intake.receive(&self.hub.udp, || Moment::of(R::now())) {
                Received::Batch(bytes) => return Ok(bytes),
                Received::Nothing => match self.hub.udp.socket().poll_readable(cx) {
                    Poll::Ready(result) => result?,
                    Poll::Pending => return Ok(0),
                },
                Received::Failed => {}
                Received::Deaf => return Ok(0),
            }
        }
        cx.waker().wake_by_ref();
        Ok(0)
    }

    /// One turn; gives the bytes sent.
    fn turn(&mut self, writable: bool, cx: &Context<'_>) -> (usize, Next) {
        let Self { hub, intake, wakers, .. } = self;
        let mut outlet = hub.outlet();
        let now = R::now();
        let mut state = hub.lock();
        let mut next = state.turn(Turn { now, intake, outlet: &mut outlet, wakers, writable }, cx);
        drop(state);
        // With nothing to send, those woken may find the outlet free.
        let outlet = (!outlet.is_flushed() || outlet.has_path_errors()).then_some(outlet);
        for waker in wakers.drain(..) {
            waker.wake();
        }
        next.deadline = next.deadline.into_iter().chain(intake.deaf_until()).min();
        let mut sent = 0;
        self.blocked = false;
        if let Some(mut outlet) = outlet {
            sent = outlet.flush(&hub.udp);
            self.blocked = outlet.is_blocked();
            next.finished &= outlet.is_flushed();
            next.deadline = outlet.deadline(next.deadline, R::now());
        }
        (sent, next)
    }

    /// The runtime goes down, and the system knows nothing of our connections: peers would wait for what never comes.
    /// As far as the socket takes it without waiting.
    fn part(&self) {
        if std::thread::panicking() {
            return;
        }
        let mut outlet = self.hub.outlet();
        let mut state = self.hub.lock();
        state.part(R::now(), |endpoint, now| {
            for _ in 0..LAST_BATCHES {
                let more = outlet.collect(endpoint, now);
                outlet.flush(&self.hub.udp);
                if !more || outlet.is_blocked() {
                    break;
                }
            }
        });
    }

    /// Sees to it that the task runs at `deadline`. Whether that is now.
    fn arm(&mut self, deadline: Option<Instant>, cx: &mut Context<'_>) -> bool {
        let Some(deadline) = deadline else { return false };
        let now = R::now();
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
        self.part();
        self.hub.lock().orphan(&mut wakers);
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// Work of one poll in bytes received and sent: a few hundred microseconds, after which other tasks of
/// the thread get their turn.
const WORK_PER_POLL: usize = 1 << 20;

/// Batches that a driver sends when it ends: what the windows of a few connections hold.
const LAST_BATCHES: u32 = 16;

/// What a turn counts for besides its bytes.
const TURN: usize = 16 << 10;

/// Attempts to receive before other work goes on: readiness may be announced in vain, and errors that
/// concern single datagrams may come in a row.
const RECEIVE_TRIES: u32 = 4;
