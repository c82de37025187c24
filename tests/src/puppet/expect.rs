//! What a test says about what the endpoint sends. Whatever comes and was not expected fails it.

use std::time::Duration;

use super::{Kind, Puppet, Seen};

impl Puppet {
    /// The next packet, of this type.
    ///
    /// # Panics
    /// If it is another one, or there is none.
    #[track_caller]
    pub fn expect(&mut self, kind: Kind) -> Seen {
        match self.inbox.pop_front() {
            Some(seen) if seen.raw.kind == kind => seen,
            Some(seen) => self.fail(&format!("{kind:?} was to come, not {}", seen.raw)),
            None => self.fail(&format!("{kind:?} was to come")),
        }
    }

    /// DATA with this number.
    ///
    /// # Panics
    /// If that is not what comes.
    #[track_caller]
    pub fn expect_data(&mut self, number: i32) -> Seen {
        self.expect_number(Kind::Data, number)
    }

    /// FIN with this number.
    ///
    /// # Panics
    /// If that is not what comes.
    #[track_caller]
    pub fn expect_fin(&mut self, number: i32) -> Seen {
        self.expect_number(Kind::Fin, number)
    }

    #[track_caller]
    fn expect_number(&mut self, kind: Kind, number: i32) -> Seen {
        let seen = self.expect(kind);
        if seen.number != number {
            self.fail(&format!("{kind:?} {number} was to come, not {}", seen.number));
        }
        seen
    }

    /// DATA with these numbers, one after the other, and then nothing.
    ///
    /// # Panics
    /// If that is not what comes.
    #[track_caller]
    pub fn expect_all(&mut self, numbers: impl IntoIterator<Item = i32>) -> Vec<Seen> {
        let all = numbers.into_iter().map(|number| self.expect_data(number)).collect();
        self.expect_nothing();
        all
    }

    /// STATE.
    ///
    /// # Panics
    /// If that is not what comes.
    #[track_caller]
    pub fn expect_state(&mut self) -> Seen {
        self.expect(Kind::State)
    }

    /// STATE that acknowledges so many packets, and then nothing.
    ///
    /// # Panics
    /// If that is not what comes.
    #[track_caller]
    pub fn expect_ack(&mut self, acked: i32) -> Seen {
        let seen = self.expect_state();
        if seen.acked != acked {
            self.fail(&format!("an acknowledgement of {acked} was to come, not of {}", seen.acked));
        }
        self.expect_nothing();
        seen
    }

    /// The endpoint has sent nothing else.
    ///
    /// # Panics
    /// If it has.
    #[track_caller]
    pub fn expect_nothing(&mut self) {
        if let Some(seen) = self.inbox.front() {
            self.fail(&format!("nothing was to come, and not {}", seen.raw));
        }
    }

    /// The endpoint sends nothing for so long.
    ///
    /// # Panics
    /// If it does.
    #[track_caller]
    pub fn expect_silence(&mut self, time: Duration) {
        self.expect_nothing();
        self.wait(time);
        self.expect_nothing();
    }

    /// Waits for the next packet.
    ///
    /// # Panics
    /// If none comes for so long, or one of another type.
    #[track_caller]
    pub fn next(&mut self, limit: Duration, kind: Kind) -> Seen {
        let until = self.now() + limit;
        while self.inbox.is_empty() && self.step(until) {}
        self.expect(kind)
    }

    /// All that the endpoint has sent.
    pub fn take(&mut self) -> Vec<Seen> {
        self.inbox.drain(..).collect()
    }
}
