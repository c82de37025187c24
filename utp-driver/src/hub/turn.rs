//! What the driver does under the lock, once per turn.

use std::task::{Context, Waker};
use std::time::Instant;

use utp_proto::{Connection, Endpoint, Event};

use super::State;
use super::ports::{Port, register};
use crate::udp::{Intake, Outlet};

/// What a turn works on, besides the shared state. All of it is the driver's own.
pub(crate) struct Turn<'a> {
    pub(crate) now: Instant,
    /// What was received since the last turn.
    pub(crate) intake: &'a mut Intake,
    /// Takes what is to be sent.
    pub(crate) outlet: &'a mut Outlet,
    /// Takes the tasks to be woken after the lock is released.
    pub(crate) wakers: &'a mut Vec<Waker>,
    /// Whether the socket was found writable for those who wait to send foreign datagrams.
    pub(crate) writable: bool,
}

/// What the driver has to do next.
pub(crate) struct Next {
    /// When the endpoint wants another turn.
    pub(crate) deadline: Option<Instant>,
    /// Whether the endpoint may have more to send already.
    pub(crate) more: bool,
    /// Whether somebody waits for the socket to be writable.
    pub(crate) wants_writable: bool,
    /// Whether, once the outbox is flushed, nothing will ever be left to do.
    pub(crate) finished: bool,
}

impl State {
    /// One turn. Bounded by the inbox, the outbox's arena and the number of events pending, of which
    /// each connection has a few at most.
    pub(crate) fn turn(&mut self, turn: Turn<'_>, cx: &Context<'_>) -> Next {
        let Turn { now, intake, outlet, wakers, writable } = turn;
        self.work = false;
        self.now = now;
        outlet.report(&mut self.endpoint, now);
        intake.feed(&mut self.endpoint, &mut self.datagrams, now);
        if !self.datagrams.is_empty() {
            self.receiving.wake(wakers);
        }
        self.dispatch(wakers);
        let more = outlet.collect(&mut self.endpoint, now);
        self.report_flushed(wakers);
        // What was sent may have ended a connection.
        self.dispatch(wakers);
        if writable {
            self.writable += 1;
            self.sending.wake(wakers);
        }
        (self.receive, self.send) = (*intake.stats(), *outlet.stats());
        self.deadline = self.endpoint.poll_timeout();
        if more {
            self.driver = None;
        } else {
            register(&mut self.driver, cx);
        }
        Next {
            deadline: self.deadline,
            more,
            wants_writable: !self.sending.is_empty(),
            finished: self.owners == 0 && self.ports.is_empty() && self.is_idle() && !more,
        }
    }

    /// What the application's task does in place of the driver: nothing was received, nothing has timed out.
    pub(super) fn send_directly(&mut self, outlet: &mut Outlet, now: Instant, wakers: &mut Vec<Waker>) {
        let more = outlet.collect(&mut self.endpoint, now);
        self.report_flushed(wakers);
        self.dispatch(wakers);
        self.send = *outlet.stats();
        self.work |= more;
    }

    /// Nobody will drive the socket any more: sends what may be sent at once, and tells those peers that would wait for
    /// ever for what is left.
    pub(crate) fn part(&mut self, now: Instant, mut send: impl FnMut(&mut Endpoint, Instant)) {
        if self.endpoint.open_connections() == 0 {
            return;
        }
        send(&mut self.endpoint, now);
        let handles: Vec<_> = self.endpoint.handles().collect();
        for handle in handles {
            // What has arrived can still be read here.
            if let Some(mut connection) = self.endpoint.connection(handle)
                && connection.close_reason().is_none()
                && !connection.is_finish_sent()
            {
                connection.reset_peer();
                send(&mut self.endpoint, now);
            }
        }
    }

    /// Turns the endpoint's events into wake-ups.
    pub(super) fn dispatch(&mut self, wakers: &mut Vec<Waker>) {
        let mut incoming = false;
        while let Some((handle, event)) = self.endpoint.poll_event() {
            match event {
                Event::Incoming => incoming = true,
                event => {
                    if let Event::Closed { .. } = event {
                        self.references.closed(handle, &self.endpoint);
                    }
                    if let Some(port) = self.ports.find(handle) {
                        port.notice(event, self.endpoint.connection(handle), wakers);
                    }
                }
            }
        }
        if incoming {
            if self.endpoint.is_listening() {
                self.accepting.wake(wakers);
                self.eventful.wake(wakers);
            } else {
                crate::endpoint::stop_listening(&mut self.endpoint);
            }
        }
        if self.endpoint.open_connections() == 0 {
            self.unused.wake(wakers);
            if self.events.is_closing() {
                self.eventful.wake(wakers);
            }
        }
        if !self.unreferenced.is_empty() && !self.references.are_left(&self.endpoint, self.now) {
            self.unreferenced.wake(wakers);
        }
        if !self.idle.is_empty() && self.is_idle() {
            self.idle.wake(wakers);
        }
    }

    /// Whether no connection is open, and no peer is left that might ask for its last acknowledgement
    /// again. (A peer that has only begun to open a connection is owed nothing.)
    pub(super) fn is_idle(&self) -> bool {
        self.endpoint.open_connections() == 0 && self.endpoint.stats().lingering == 0
    }

    /// Wakes those whose every written byte has now been handed out.
    fn report_flushed(&mut self, wakers: &mut Vec<Waker>) {
        let Self { endpoint, ports, .. } = self;
        let mut flushing = std::mem::take(&mut ports.flushing);
        flushing.retain(|key| {
            let port = ports.get_mut(*key);
            let waiting =
                endpoint.connection(port.handle).is_some_and(|connection| !port.is_flushed(&connection));
            if !waiting {
                port.flushing = false;
                wakers.extend(port.write.take());
            }
            waiting
        });
        ports.flushing = flushing;
    }
}

impl Port {
    /// Whether all that was written, and the FIN if there is to be one, has been handed out.
    pub(super) fn is_flushed(&self, connection: &Connection<'_>) -> bool {
        connection.bytes_sent() >= connection.bytes_written()
            && (!self.finished || connection.is_finish_sent())
    }

    /// An event of the port's connection, which is gone if the event is that it closed.
    fn notice(&mut self, event: Event, connection: Option<Connection<'_>>, wakers: &mut Vec<Waker>) {
        match event {
            Event::Closed { reason } => {
                self.end(reason);
                self.wake_all(wakers);
            }
            Event::Readable => wakers.extend(self.read.take()),
            Event::Connected => {
                self.connected = true;
                wakers.extend(self.write.take());
                wakers.extend(self.read.take());
            }
            Event::Writable => wakers.extend(self.write.take()),
            Event::Acked => self.acked.wake(wakers),
            Event::Finished => {
                self.peer_finished = true;
                wakers.extend(self.read.take());
            }
            _ => {}
        }
        if let Some(connection) = connection {
            self.bytes_acked = connection.bytes_acked();
            // Any event of a connection that is ending may be the last before it has closed.
            if self.finished || self.peer_finished || connection.close_reason().is_some() {
                **self.last_stats.get_or_insert_default() = connection.stats();
            }
        }
    }
}
