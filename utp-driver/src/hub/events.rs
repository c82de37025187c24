//! Sockets and streams as sequences of events: [`events`](crate::events) with waiting.

use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

use utp_proto::CloseReason;

use super::ports::{Port, register};
use super::{Queue, SocketHandle, State, StreamHandle, orphaned};
use crate::events::{SocketEvent, StreamEvent, StreamEvents, View};
use crate::runtime::AsyncUdpSocket;
use crate::text::Encoding;

impl<S: AsyncUdpSocket> SocketHandle<S> {
    /// What happens next; `None` after `Close`. Connections that come this way are not given by
    /// [`accept`](Self::accept) and the other way round. Several tasks may wait; each event comes to one of
    /// them. Cancel-safe.
    pub async fn next_event(&self) -> Option<SocketEvent<StreamHandle<S>>> {
        self.hub()
            .wait(Queue::Eventful, |state| {
                loop {
                    let failure = state.check_driver().err();
                    let Poll::Ready(event) = state.events.next(&mut state.endpoint, failure) else {
                        return None;
                    };
                    return Some(match event {
                        Some(SocketEvent::Connection(handle)) => match self.take(state, handle) {
                            Some(stream) => Some(SocketEvent::Connection(stream)),
                            None => continue,
                        },
                        Some(SocketEvent::Listening) => Some(SocketEvent::Listening),
                        Some(SocketEvent::Error(error)) => Some(SocketEvent::Error(error)),
                        Some(SocketEvent::Close) => Some(SocketEvent::Close),
                        None => None,
                    });
                }
            })
            .await
    }
}

impl<S: AsyncUdpSocket> StreamHandle<S> {
    /// What happens next; `None` after `Close`. Data that is given this way is not given to
    /// [`poll_read`](Self::poll_read), and the other way round. Like reading, it is for one task at a time.
    pub fn poll_event(&self, cx: &Context<'_>) -> Poll<Option<StreamEvent>> {
        self.hub().with(|state| {
            let event = state.next_event(self.key());
            if event.is_pending() {
                register(&mut state.ports.get_mut(self.key()).read, cx);
            }
            event
        })
    }

    /// The same as a future. Cancel-safe.
    pub async fn next_event(&self) -> Option<StreamEvent> {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    /// Whether the data of events is text, and in which encoding. Reading gives bytes all the same.
    pub fn set_encoding(&self, encoding: Option<Encoding>) {
        let reader = self.hub().with(|state| {
            let port = state.ports.get_mut(self.key());
            port.events().set_encoding(encoding);
            port.read.take()
        });
        // What the last encoding had held back can be had now.
        reader.into_iter().for_each(Waker::wake);
    }
}

impl State {
    fn next_event(&mut self, key: usize) -> Poll<Option<StreamEvent>> {
        let orphaned = self.orphaned;
        let (port, connection) = self.stream(key);
        if let Some(mut connection) = connection {
            let event = port.events().next(View::Open(&mut connection));
            port.bytes_read = connection.bytes_read();
            if event.is_ready() || !orphaned {
                return event;
            }
        }
        let view = port.over(orphaned);
        port.events().next(view)
    }
}

impl Port {
    fn events(&mut self) -> &mut StreamEvents {
        self.events.get_or_insert_with(|| Box::new(StreamEvents::new(self.outgoing)))
    }

    /// What is to be seen of a connection that is over, or whose driver is gone.
    fn over(&self, is_orphaned: bool) -> View<'static, 'static> {
        let ending = self.ending.unwrap_or_else(|| self.ending_by(CloseReason::Aborted));
        let error = match ending.reason {
            CloseReason::Aborted if is_orphaned => Some(orphaned()),
            // That was this side's own will.
            CloseReason::Aborted => None,
            _ => self.read_after_end().err(),
        };
        View::Over { ending, connected: self.connected, peer_finished: self.peer_finished, error }
    }
}
