//! An event loop on a thread of its own, and what it shares with the tasks of its socket.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::sync::{Mutex, MutexGuard};
use std::task::{Poll, Waker};
use std::time::Instant;

use mio::Events;
use utp_mio::{
    Connection, ConnectionEvent, ConnectionHandle, ConnectionStats, Ending, Event, ReadError, StreamEvent,
    StreamEvents, Turn, UtpSocket, View,
};

/// What an event loop and the tasks of its socket share.
pub(super) struct Bridge {
    pub(super) state: Mutex<State>,
    pub(super) waker: mio::Waker,
}

pub(super) struct State {
    pub(super) socket: UtpSocket,
    pub(super) streams: HashMap<ConnectionHandle, Entry>,
    /// Tasks that want to look again after the next turn.
    pub(super) curious: Vec<Waker>,
    /// When they want to in any case.
    pub(super) alarm: Option<Instant>,
    /// Times that the socket said that it is closed.
    pub(super) closed: u64,
    /// [`Socket`](super::Socket)s.
    pub(super) owners: usize,
    /// What `socket_event` still has to tell, and has told.
    pub(super) unannounced: bool,
    pub(super) close_told: bool,
}

/// A stream that a case holds.
pub(super) struct Entry {
    /// Tasks that wait for its next event.
    pub(super) tasks: Vec<Waker>,
    pub(super) finished: bool,
    pub(super) events: StreamEvents,
    pub(super) end: Option<Box<End>>,
}

/// The last look at a connection.
pub(super) struct End {
    pub(super) ending: Ending,
    pub(super) stats: ConnectionStats,
    pub(super) read: Result<bool, ReadError>,
    connected: bool,
    peer_finished: bool,
    error: Option<io::ErrorKind>,
}

/// Whose next event a task waits for.
#[derive(Clone, Copy)]
pub(super) enum About {
    Socket,
    Stream(ConnectionHandle),
}

impl Bridge {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("the event loop is well")
    }

    /// Does something to the socket. If that gives it something to do, the event loop learns it.
    pub(super) fn with<T>(&self, operation: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let result = operation(&mut state);
        if state.socket.deadline().is_some_and(|deadline| deadline <= Instant::now()) {
            self.wake();
        }
        result
    }

    pub(super) fn wake(&self) {
        self.waker.wake().expect("wake the event loop");
    }

    /// Waits until `check` gives something.
    pub(super) async fn wait<T>(&self, about: About, mut check: impl FnMut(&mut State) -> Option<T>) -> T {
        poll_fn(|cx| {
            self.with(|state| {
                if let Some(result) = check(state) {
                    return Poll::Ready(result);
                }
                let tasks = match about {
                    About::Socket => &mut state.curious,
                    About::Stream(handle) => &mut state.entry(handle).tasks,
                };
                if !tasks.iter().any(|known| known.will_wake(cx.waker())) {
                    tasks.push(cx.waker().clone());
                }
                Poll::Pending
            })
        })
        .await
    }

    /// The event loop.
    pub(super) fn run(&self, mut poll: mio::Poll) {
        let mut events = Events::with_capacity(16);
        let mut wakers = Vec::new();
        loop {
            let mut state = self.lock();
            let turn = state.socket.turn(Instant::now()).expect("a turn");
            while let Some(event) = state.socket.poll_event() {
                state.notice(event, &mut wakers);
            }
            wakers.append(&mut state.curious);
            if state.owners == 0 && state.streams.is_empty() && state.socket.is_idle() {
                return;
            }
            state.alarm = state.alarm.filter(|alarm| *alarm > Instant::now());
            let deadline = state.socket.deadline().into_iter().chain(state.alarm).min();
            drop(state);
            wakers.drain(..).for_each(Waker::wake);
            if turn == Turn::Wait {
                let timeout = deadline.map(|at| at.saturating_duration_since(Instant::now()));
                match poll.poll(&mut events, timeout) {
                    Err(error) if error.kind() != io::ErrorKind::Interrupted => panic!("poll: {error}"),
                    _ => {}
                }
            }
        }
    }
}

impl State {
    pub(super) fn notice(&mut self, event: Event, wakers: &mut Vec<Waker>) {
        match event {
            Event::Connection(handle, event) => {
                let Some(entry) = self.streams.get_mut(&handle) else { return };
                assert!(entry.end.is_none(), "{event:?} after the end");
                if let ConnectionEvent::Closed { reason } = event {
                    let mut connection = self.socket.connection(handle).expect("one last look");
                    let (stats, read) = (connection.stats(), connection.read_state());
                    let View::Over { ending, connected, peer_finished, error } = View::of(&mut connection)
                    else {
                        panic!("{event:?} before everything was read")
                    };
                    assert_eq!(ending.reason, reason);
                    let error = error.map(|error| error.kind());
                    entry.end = Some(Box::new(End { ending, stats, read, connected, peer_finished, error }));
                }
                wakers.append(&mut entry.tasks);
            }
            Event::Closed => self.closed += 1,
            // Tasks that wait for these look after each turn.
            _ => {}
        }
    }

    /// The entry of a stream that a case holds.
    pub(super) fn entry(&mut self, handle: ConnectionHandle) -> &mut Entry {
        self.streams.get_mut(&handle).expect("a stream that is held")
    }

    /// What happens next on a stream, in the terms of Node.js.
    pub(super) fn stream_event(&mut self, handle: ConnectionHandle) -> Poll<Option<StreamEvent>> {
        let entry = self.streams.get_mut(&handle).expect("a stream that is held");
        match &entry.end {
            Some(end) => entry.events.next(end.view()),
            None => {
                let mut connection = self.socket.connection(handle).expect("a connection that has not ended");
                entry.events.next(View::of(&mut connection))
            }
        }
    }

    /// A connection, or how it ended.
    pub(super) fn connection(&mut self, handle: ConnectionHandle) -> Result<Connection<'_>, &End> {
        let Self { socket, streams, .. } = self;
        match &streams.get(&handle).expect("a stream that is held").end {
            Some(end) => Err(end),
            None => Ok(socket.connection(handle).expect("a connection that has not ended")),
        }
    }
}

impl End {
    pub(super) fn view(&self) -> View<'static, 'static> {
        let Self { ending, connected, peer_finished, .. } = *self;
        View::Over { ending, connected, peer_finished, error: self.error.map(io::Error::from) }
    }

    /// Whether everything had been delivered.
    pub(super) fn delivered(&self) -> io::Result<()> {
        if self.ending.is_delivered() { Ok(()) } else { Err(self.ending.reason.into()) }
    }
}
