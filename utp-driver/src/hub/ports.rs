//! One entry per stream that the application holds: who waits for it, and how it ended.

use std::task::{Context, Waker};

use slab::Slab;
use utp_proto::{CloseReason, Connection, ConnectionHandle, ConnectionStats};

use crate::events::StreamEvents;

/// Tasks that wait for the same thing. Each names itself by a number that it got here, so that it can
/// be replaced or removed: the list is never longer than the number of waiting tasks.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    waiting: Vec<(u64, Waker)>,
    last_id: u64,
}

impl Waiters {
    /// Adds the task, or renews its waker. `id` is 0 before the first time.
    pub(crate) fn register(&mut self, id: &mut u64, cx: &Context<'_>) {
        if let Some((_, waker)) = self.waiting.iter_mut().find(|(known, _)| known == id) {
            waker.clone_from(cx.waker());
            return;
        }
        self.last_id += 1;
        *id = self.last_id;
        self.waiting.push((*id, cx.waker().clone()));
    }

    /// Forgets a task that waits no more.
    pub(crate) fn remove(&mut self, id: u64) {
        self.waiting.retain(|(known, _)| *known != id);
    }

    /// Moves all wakers to `wakers`.
    pub(crate) fn wake(&mut self, wakers: &mut Vec<Waker>) {
        wakers.extend(self.waiting.drain(..).map(|(_, waker)| waker));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

/// How a connection ended, and what had been moved until then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ending {
    /// Why it is over.
    pub reason: CloseReason,
    /// Payload bytes given to the application.
    pub bytes_read: u64,
    /// Payload bytes taken from the application.
    pub bytes_written: u64,
    /// Payload bytes of those that the peer acknowledged.
    pub bytes_acked: u64,
}

impl Ending {
    /// That of a connection that has ended; for adapters that look at the connection itself.
    #[must_use]
    pub fn of(connection: &Connection<'_>) -> Option<Self> {
        Some(Self {
            reason: connection.close_reason()?,
            bytes_read: connection.bytes_read(),
            bytes_written: connection.bytes_written(),
            bytes_acked: connection.bytes_acked(),
        })
    }

    /// Whether everything that was written has reached the peer's machine.
    #[must_use]
    pub fn is_delivered(&self) -> bool {
        self.bytes_acked == self.bytes_written
    }
}

/// A stream that the application holds.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) handle: ConnectionHandle,
    /// Whether this side opened it.
    pub(crate) outgoing: bool,
    /// Whether it is, or was, established.
    pub(crate) connected: bool,
    /// The task that reads, or waits for events.
    pub(crate) read: Option<Waker>,
    /// The task that writes, flushes, or waits for the connection to be open.
    pub(crate) write: Option<Waker>,
    /// Tasks that wait for acknowledgements.
    pub(crate) acked: Waiters,
    /// Tasks that wait for the end.
    pub(crate) ended: Waiters,
    /// Whether `write` waits for everything to be sent; the port is in [`Ports::flushing`] then.
    pub(crate) flushing: bool,
    /// Whether the application has finished its side.
    pub(crate) finished: bool,
    /// Whether the peer has finished its side.
    pub(crate) peer_finished: bool,
    pub(crate) bytes_read: u64,
    pub(crate) bytes_written: u64,
    pub(crate) bytes_acked: u64,
    /// The connection's counters as it was closing. Its handle is stale by the time that the end is
    /// reported.
    pub(crate) last_stats: Option<Box<ConnectionStats>>,
    /// Set once the handle is stale.
    pub(crate) ending: Option<Ending>,
    /// For those who ask for events or set an encoding.
    pub(crate) events: Option<Box<StreamEvents>>,
}

impl Port {
    pub(crate) fn wake_all(&mut self, wakers: &mut Vec<Waker>) {
        wakers.extend(self.read.take());
        wakers.extend(self.write.take());
        self.acked.wake(wakers);
        self.ended.wake(wakers);
    }

    /// Why the connection is over, if it is.
    pub(crate) fn reason(&self) -> Option<CloseReason> {
        self.ending.map(|ending| ending.reason)
    }

    pub(crate) fn end(&mut self, reason: CloseReason) {
        if reason == CloseReason::Finished {
            self.bytes_acked = self.bytes_written;
        }
        self.ending = Some(self.ending_by(reason));
    }

    /// What it is to end now.
    pub(crate) fn ending_by(&self, reason: CloseReason) -> Ending {
        let Self { bytes_read, bytes_written, bytes_acked, .. } = *self;
        Ending { reason, bytes_read, bytes_written, bytes_acked }
    }
}

/// Remembers `cx`'s task in `slot`.
pub(crate) fn register(slot: &mut Option<Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *slot = Some(cx.waker().clone()),
    }
}

/// All ports of a socket. A port's key stays its own until the application drops the stream, whatever
/// becomes of the connection's handle meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    slab: Slab<Port>,
    /// By [`ConnectionHandle::index`]: key + 1 of the port, 0 for none.
    by_index: Vec<usize>,
    /// Keys of ports in which `flushing` is set.
    pub(crate) flushing: Vec<usize>,
}

impl Ports {
    pub(crate) fn insert(&mut self, handle: ConnectionHandle, outgoing: bool) -> usize {
        let key = self.slab.insert(Port {
            handle,
            outgoing,
            connected: !outgoing,
            read: None,
            write: None,
            acked: Waiters::default(),
            ended: Waiters::default(),
            flushing: false,
            finished: false,
            peer_finished: false,
            bytes_read: 0,
            bytes_written: 0,
            bytes_acked: 0,
            last_stats: None,
            ending: None,
            events: None,
        });
        let index = handle.index();
        if index >= self.by_index.len() {
            self.by_index.resize(index + 1, 0);
        }
        self.by_index[index] = key + 1;
        key
    }

    /// The port of a key that the application holds.
    pub(crate) fn get_mut(&mut self, key: usize) -> &mut Port {
        &mut self.slab[key]
    }

    /// The port of a connection, if the application holds it.
    pub(crate) fn find(&mut self, handle: ConnectionHandle) -> Option<&mut Port> {
        let key = self.by_index.get(handle.index())?.checked_sub(1)?;
        self.slab.get_mut(key).filter(|port| port.handle == handle && port.ending.is_none())
    }

    pub(crate) fn remove(&mut self, key: usize) -> Port {
        let port = self.slab.remove(key);
        if let Some(entry) = self.by_index.get_mut(port.handle.index())
            && *entry == key + 1
        {
            *entry = 0;
        }
        if port.flushing {
            self.flushing.retain(|other| *other != key);
        }
        port
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Port> {
        self.slab.iter_mut().map(|(_, port)| port)
    }
}
