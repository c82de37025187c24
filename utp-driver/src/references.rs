//! Which listener and which connections a program still runs for: the `ref` and `unref` of Node.js.

use std::collections::HashSet;
use std::time::Instant;

use utp_proto::{ConnectionHandle, Endpoint};

/// The referenced connections of one socket, and whether its listener is one more reason to go on.
/// Everything is referenced until it is said otherwise.
#[derive(Debug)]
pub struct References {
    listener: bool,
    open: HashSet<ConnectionHandle>,
    /// Until when a peer of a connection that was referenced to its end may miss our last word.
    last_words: Option<Instant>,
}

impl Default for References {
    fn default() -> Self {
        Self { listener: true, open: HashSet::new(), last_words: None }
    }
}

impl References {
    /// Whether the listener counts.
    #[must_use]
    pub fn listener(&self) -> bool {
        self.listener
    }

    /// Says whether the listener counts. Repeating it has no effect.
    pub fn set_listener(&mut self, referenced: bool) {
        self.listener = referenced;
    }

    /// Whether an open connection counts.
    #[must_use]
    pub fn connection(&self, handle: ConnectionHandle) -> bool {
        self.open.contains(&handle)
    }

    /// Says whether `handle`, an open connection that the application has, counts; true as soon as it
    /// gets it. Repeating it has no effect. It need not go on holding it.
    pub fn set_connection(&mut self, handle: ConnectionHandle, referenced: bool) {
        if referenced {
            self.open.insert(handle);
        } else {
            self.open.remove(&handle);
        }
    }

    /// A connection is over: [`Event::Closed`](utp_proto::Event::Closed) came from `endpoint`.
    pub fn closed(&mut self, handle: ConnectionHandle, endpoint: &Endpoint) {
        if self.open.remove(&handle) {
            self.last_words = endpoint.lingers_until();
        }
    }

    /// Whether there is still a reason to go on: the referenced listener accepts, a referenced connection
    /// is open, or one has ended so lately that its peer may miss our last acknowledgement
    /// ([`Config::linger`](utp_proto::Config::linger)). What `endpoint`'s deadline says comes early
    /// enough to ask again.
    #[must_use]
    pub fn are_left(&self, endpoint: &Endpoint, now: Instant) -> bool {
        (self.listener && endpoint.is_listening())
            || !self.open.is_empty()
            || (endpoint.lingers_until().is_some() && self.last_words.is_some_and(|until| now < until))
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::sync::Arc;
    use std::time::Duration;

    use utp_proto::{Config, Event};

    use super::*;

    /// Aborts a connection, and gives what is left of it.
    fn end(endpoint: &mut Endpoint, handle: ConnectionHandle, references: &mut References) {
        endpoint.connection(handle).unwrap().abort();
        while let Some((handle, event)) = endpoint.poll_event() {
            if let Event::Closed { .. } = event {
                references.closed(handle, endpoint);
            }
        }
        while endpoint.poll_transmit(Instant::now(), NonZeroUsize::MIN, &mut Vec::new()).is_some() {}
    }

    #[test]
    fn whatever_is_referenced_is_a_reason_to_go_on() {
        let now = Instant::now();
        let mut endpoint = Endpoint::new(Arc::new(Config::default()), [1; 32], now);
        let mut references = References::default();
        assert!(references.are_left(&endpoint, now), "a listener");
        for _ in 0..2 {
            references.set_listener(false);
            assert!(!references.are_left(&endpoint, now));
        }
        references.set_listener(true);
        endpoint.stop_listening();
        assert!(!references.are_left(&endpoint, now), "it does not listen");

        let [one, other] = [0, 1].map(|_| endpoint.connect(now, "192.0.2.1:1".parse().unwrap()).unwrap());
        for handle in [one, other] {
            assert!(!references.connection(handle));
            references.set_connection(handle, true);
            references.set_connection(handle, true);
        }
        references.set_connection(other, false);
        references.set_connection(other, false);
        assert!(references.are_left(&endpoint, now) && references.connection(one));

        end(&mut endpoint, one, &mut references);
        let until = endpoint.lingers_until().unwrap();
        let just_before = until - Duration::from_micros(1);
        // What ends later, and was not referenced, does not prolong it.
        endpoint.handle_timeout(just_before);
        end(&mut endpoint, other, &mut references);
        assert!(references.are_left(&endpoint, just_before), "its peer may miss the last word");
        assert!(!references.are_left(&endpoint, until));
        assert!(endpoint.lingers_until().is_some_and(|last| last > until));
    }
}
