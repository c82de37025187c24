//! Two endpoints. The input is the network between them, which may do anything but forge, and what the
//! applications do. Whatever happens: what is read is what was written, and once the network behaves,
//! everything that was not given up ends well.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use arbitrary::{Arbitrary, Result, Unstructured};
use utp_proto::CloseReason;
use utp_proto::wire::Packet;

use super::input::{self, Call, Settings};
use super::watch::{App, Watched, address};
use crate::sim::monitor::Monitor;

#[derive(Debug)]
enum Action {
    Wait(Duration),
    /// Delivers so many datagrams in order.
    Deliver {
        to: bool,
        datagrams: u8,
    },
    /// Delivers, drops or repeats one out of order.
    Overtake {
        to: bool,
        which: u8,
    },
    Drop {
        to: bool,
        which: u8,
    },
    Repeat {
        to: bool,
        which: u8,
    },
    /// Delivers one as if from elsewhere.
    Misdirect {
        to: bool,
        which: u8,
    },
    Dial(bool),
    Call {
        end: bool,
        at: u8,
        call: Call,
    },
}

impl<'a> Arbitrary<'a> for Action {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(match u.arbitrary::<u8>()? % 16 {
            0..=2 => Self::Wait(input::pause(u.arbitrary()?)),
            3..=5 => Self::Deliver { to: u.arbitrary()?, datagrams: u.arbitrary()? },
            6 => Self::Overtake { to: u.arbitrary()?, which: u.arbitrary()? },
            7..=8 => Self::Drop { to: u.arbitrary()?, which: u.arbitrary()? },
            9 => Self::Repeat { to: u.arbitrary()?, which: u.arbitrary()? },
            10 => Self::Misdirect { to: u.arbitrary()?, which: u.arbitrary()? },
            11 => Self::Dial(u.arbitrary()?),
            _ => Self::Call { end: u.arbitrary()?, at: u.arbitrary()?, call: u.arbitrary()? },
        })
    }
}

/// The body.
pub fn pair(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let (Ok(a), Ok(b)) = (u.arbitrary().map(Settings), u.arbitrary().map(Settings)) else { return };
    let ends = [(a, 1), (b, 2)].map(|(settings, seed)| Watched::new(settings.config(), seed));
    let mut net =
        Net { ends, flying: Default::default(), monitor: Monitor::default(), dialed: HashMap::new() };
    net.dial(0);
    for _ in 0..ACTIONS {
        let Ok(action) = u.arbitrary() else { break };
        net.act(action);
        net.settle();
    }
    net.finish();
}

struct Net {
    ends: [Watched; 2],
    /// By destination.
    flying: [VecDeque<Vec<u8>>; 2],
    monitor: Monitor,
    /// Connections by their dialing end and the id on which the other end receives.
    dialed: HashMap<(usize, u16), u64>,
}

impl Net {
    fn act(&mut self, action: Action) {
        match action {
            Action::Wait(time) => {
                for end in &mut self.ends {
                    end.now += time;
                }
            }
            Action::Deliver { to, datagrams } => {
                for _ in 0..datagrams {
                    let Some(datagram) = self.flying[usize::from(to)].pop_front() else { break };
                    self.deliver(to.into(), &datagram);
                }
            }
            Action::Overtake { to, which } => {
                if let Some(datagram) = self.take(to, which) {
                    self.deliver(to.into(), &datagram);
                }
            }
            Action::Drop { to, which } => drop(self.take(to, which)),
            Action::Repeat { to, which } => {
                let queue = &self.flying[usize::from(to)];
                let at = usize::from(which).checked_rem(queue.len());
                if let Some(datagram) = at.and_then(|at| queue.get(at)).cloned() {
                    self.deliver(to.into(), &datagram);
                }
            }
            Action::Misdirect { to, which } => {
                if let Some(datagram) = self.take(to, which) {
                    self.ends[usize::from(to)].receive(address(2), &datagram);
                }
            }
            Action::Dial(end) => self.dial(end.into()),
            Action::Call { end, at, call } => self.ends[usize::from(end)].call(at.into(), call),
        }
    }

    fn take(&mut self, to: bool, which: u8) -> Option<Vec<u8>> {
        let queue = &mut self.flying[usize::from(to)];
        let at = usize::from(which).checked_rem(queue.len())?;
        queue.remove(at)
    }

    fn deliver(&mut self, to: usize, datagram: &[u8]) {
        self.ends[to].receive(address(1 - to as u8), datagram);
    }

    fn dial(&mut self, from: usize) {
        let number = self.dialed.len() as u64;
        if number >= DIALS {
            return;
        }
        let end = &mut self.ends[from];
        let Some(handle) = end.connect(address(1 - from as u8)) else { return };
        let mut connection = end.endpoint.connection(handle).expect("just opened");
        let (receive, send) = connection.ids();
        // Ids that meet, at either end, belong to connections that cannot be told apart.
        let near =
            |id: u16| (0..2).any(|f| (0..5).any(|d| self.dialed.contains_key(&(f, id.wrapping_add(d)))));
        if near(receive.wrapping_sub(2)) {
            connection.abort();
            end.live.last_mut().expect("just opened").given_up = true;
            return;
        }
        self.dialed.insert((from, send), number);
        let app = end.live.last_mut().expect("just opened");
        (app.writes, app.reads) = (2 * number, Some(2 * number + 1));
    }

    fn settle(&mut self) {
        for end in 0..2 {
            let us = &mut self.ends[end];
            us.settle();
            while us.accept().is_some() {}
            for app in us.live.iter_mut().filter(|app| app.reads.is_none()) {
                let connection = us.endpoint.connection(app.handle).expect("live");
                // What was sent with these ids before was of an earlier attempt, with a number of its own.
                self.monitor.forget(end, 1 - end, connection.ids().1);
                // A late copy of a SYN may open what nobody dialed: nothing is ever written to that.
                if let Some(number) = self.dialed.get(&(1 - end, connection.ids().0)) {
                    (app.writes, app.reads) = (2 * number + 1, Some(2 * number));
                }
            }
            us.settle();
            for (to, datagram) in us.sent.drain(..) {
                if to == address(2) {
                    continue;
                }
                assert_eq!(to, address(1 - end as u8));
                let id = Packet::parse(&datagram).expect("uTP").header.connection_id;
                let mut live = us.live.iter().filter_map(|app| {
                    us.endpoint.connection(app.handle).map(|c| (c.remote_addr(), c.ids().1))
                });
                if !live.any(|other| other == (to, id)) {
                    // Answers for what is not, or not any more: a late SYN may begin it all over again.
                    self.monitor.forget(end, 1 - end, id);
                } else if let Err(what) = self.monitor.check(end, 1 - end, &datagram) {
                    panic!("end {end} sends what it must not: {what}: {:?}", Packet::parse(&datagram));
                }
                if self.flying[1 - end].len() < IN_FLIGHT {
                    self.flying[1 - end].push_back(datagram);
                }
            }
            for app in &us.live {
                app.look(&us.endpoint.connection(app.handle).expect("live"));
            }
        }
    }

    /// From now on the network behaves, and so do the applications.
    fn finish(&mut self) {
        let deadline = self.ends[0].now + LIMIT;
        while self.ends.iter().any(|end| !end.live.is_empty()) {
            for end in &mut self.ends {
                for at in 0..end.live.len() {
                    end.call(at, Call::Finish);
                    end.read_all(at);
                }
            }
            self.settle();
            let mut idle = true;
            for to in 0..2 {
                while let Some(datagram) = self.flying[to].pop_front() {
                    idle = false;
                    self.deliver(to, &datagram);
                }
            }
            let next =
                self.ends.iter().filter_map(|end| Some(end.endpoint.poll_timeout()? - end.instant())).min();
            let step = if idle { next.unwrap_or_default() } else { DELAY };
            for end in &mut self.ends {
                end.now += step;
            }
            assert!(self.ends[0].now < deadline, "stuck: {:#?}", self.ends[0].endpoint);
        }
        for end in 0..2 {
            for app in &self.ends[end].over {
                self.judge(end, app);
            }
        }
    }

    /// Whoever was told that everything arrived was told the truth.
    fn judge(&self, end: usize, app: &App) {
        assert_ne!(app.closed, Some(CloseReason::Violation), "ended for a lie that nobody told");
        // Of several, the last: one that timed out may be opened again by what its peer repeats, from the first
        // byte on, as long as none was acknowledged.
        let peer = self.ends[1 - end].over.iter().rev().find(|peer| app.reads == Some(peer.writes));
        let Some(peer) = peer.filter(|peer| peer.reads == Some(app.writes)) else { return };
        assert!(app.read <= peer.written && peer.read <= app.written);
        if app.closed == Some(CloseReason::Finished) && !peer.given_up {
            assert_eq!(peer.read, app.written, "not all of it arrived: {app:?}, {peer:?}");
        }
        if app.peer_finished && !peer.given_up {
            assert_eq!(app.read, peer.written, "the stream ended early: {app:?}, {peer:?}");
        }
    }
}

/// Most connections that are dialed.
const DIALS: u64 = 4;

/// Datagrams that the network keeps per direction.
const IN_FLIGHT: usize = 500;

/// Propagation, once the network behaves.
const DELAY: Duration = Duration::from_millis(10);

/// Longer than any time-out, give-up and back-off together.
const LIMIT: Duration = Duration::from_secs(900);

/// More would only make an input slow.
const ACTIONS: u32 = 300;
