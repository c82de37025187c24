//! The application's task sends by itself what it has just caused, if the driver sleeps.
//!
//! Waking the driver for one small packet costs more than sending it: a system call to wake a thread, and the
//! time until that runs. Whoever has the [`Outlet`] sends: the driver, for the length of a turn, or a task of
//! the application, which only ever tries to get it, for one small batch. Bulk is left to the driver, which
//! works on another core meanwhile.

use std::task::Waker;

use super::{Hub, State};
use crate::runtime::AsyncUdpSocket;
use crate::sync::{MutexGuard, PoisonError, TryLockError};
use crate::udp::Outlet;

impl<S: AsyncUdpSocket> Hub<S> {
    /// What is on its way to the socket, for the driver: who else may have it is done with it after one small
    /// batch, and waits for nothing meanwhile. To be taken before the state.
    pub(crate) fn outlet(&self) -> MutexGuard<'_, Outlet> {
        self.outlet.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same for a task of the application, which may have the state: only if nobody has it.
    fn try_outlet(&self) -> Option<MutexGuard<'_, Outlet>> {
        match self.outlet.try_lock() {
            Ok(outlet) => Some(outlet),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Sees to it that what the application has just done takes effect: sends what it caused, or wakes the
    /// driver if that is needed sooner than it would come by itself. Releases the lock, then wakes tasks.
    pub(super) fn follow_up(&self, mut state: MutexGuard<'_, State>, mut wakers: Vec<Waker>) {
        let bulk = std::mem::take(&mut state.bulk);
        let mut outlet = None;
        if state.driver.is_some() && state.is_due() && !state.work && !bulk {
            outlet = self.try_outlet().filter(|outlet| outlet.is_flushed());
            if let Some(outlet) = &mut outlet {
                state.send_directly(outlet, (self.now)(), &mut wakers);
            }
        }
        let needed = state.work || state.is_due();
        let driver = if needed { state.driver.take() } else { None };
        drop(state);
        let unfinished = outlet.is_some_and(|mut outlet| {
            outlet.flush(&self.udp);
            !outlet.is_flushed() || outlet.has_path_errors()
        });
        // Only now: somebody woken may be the driver, on this very thread, and want the outlet.
        for waker in wakers.into_iter().chain(driver) {
            waker.wake();
        }
        if unfinished {
            let driver = self.lock().driver.take();
            driver.into_iter().for_each(Waker::wake);
        }
    }
}

impl State {
    /// Whether the endpoint wants a turn before the driver would come by itself.
    fn is_due(&self) -> bool {
        self.endpoint.poll_timeout().is_some_and(|at| self.deadline.is_none_or(|known| at < known))
    }
}
