//! Calls in any order on handles of any age, those of the other endpoint too: a handle finds its own
//! connection, or nothing.

use std::time::Duration;

use arbitrary::{Arbitrary, Result, Unstructured};
use utp_proto::ConnectionHandle;

use super::input::{self, Call, Settings};
use super::watch::{Watched, address};

#[derive(Debug)]
enum Action {
    Wait(Duration),
    Connect(bool),
    Accept(bool),
    /// A call on a live connection.
    Call {
        end: bool,
        at: u8,
        call: Call,
    },
    /// A call on any handle that was ever given out.
    Stale {
        end: bool,
        handle: u8,
        call: Call,
    },
    /// A handle of the other end.
    Foreign {
        end: bool,
        handle: u8,
        call: Call,
    },
    /// Moves all datagrams to the other end, or loses them.
    Deliver(bool),
    Lose(bool),
    /// Everything that can be done is done, or only events are polled.
    Settle(bool),
    PollEvents(bool),
    Listen(bool, bool),
}

impl<'a> Arbitrary<'a> for Action {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(match u.arbitrary::<u8>()? % 16 {
            0 => Self::Wait(input::pause(u.arbitrary()?)),
            1..=2 => Self::Connect(u.arbitrary()?),
            3 => Self::Accept(u.arbitrary()?),
            4..=6 => Self::Call { end: u.arbitrary()?, at: u.arbitrary()?, call: u.arbitrary()? },
            7..=8 => Self::Stale { end: u.arbitrary()?, handle: u.arbitrary()?, call: u.arbitrary()? },
            9 => Self::Foreign { end: u.arbitrary()?, handle: u.arbitrary()?, call: u.arbitrary()? },
            10..=11 => Self::Deliver(u.arbitrary()?),
            12 => Self::Lose(u.arbitrary()?),
            13 => Self::Settle(u.arbitrary()?),
            14 => Self::PollEvents(u.arbitrary()?),
            _ => Self::Listen(u.arbitrary()?, u.arbitrary()?),
        })
    }
}

/// The body.
pub fn handles(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let (Ok(a), Ok(b)) = (u.arbitrary().map(Settings), u.arbitrary().map(Settings)) else { return };
    let mut desk = Desk {
        ends: [(a, 1), (b, 2)].map(|(settings, seed)| Watched::new(settings.config(), seed)),
        handles: Default::default(),
    };
    for _ in 0..ACTIONS {
        let Ok(action) = u.arbitrary() else { break };
        desk.act(action);
        for end in &mut desk.ends {
            end.check_handles();
        }
    }
    for end in &mut desk.ends {
        end.settle();
        while end.accept().is_some() {}
        for at in 0..end.live.len() {
            end.call(at, Call::Abort);
        }
        end.settle();
        end.check_handles();
        assert_eq!(end.endpoint.open_connections(), 0);
    }
}

struct Desk {
    ends: [Watched; 2],
    /// Every handle ever given out, by end.
    handles: [Vec<ConnectionHandle>; 2],
}

impl Desk {
    fn act(&mut self, action: Action) {
        match action {
            Action::Wait(time) => self.ends.iter_mut().for_each(|end| end.now += time),
            Action::Connect(end) => {
                let end = usize::from(end);
                let handle = self.ends[end].connect(address(1 - end as u8));
                self.handles[end].extend(handle);
            }
            Action::Accept(end) => {
                let handle = self.ends[usize::from(end)].accept();
                self.handles[usize::from(end)].extend(handle);
            }
            Action::Call { end, at, call } => self.ends[usize::from(end)].call(at.into(), call),
            Action::Stale { end, handle, call } => {
                let end = usize::from(end);
                if let Some(handle) = pick(&self.handles[end], handle) {
                    self.on_handle(end, handle, call);
                }
            }
            Action::Foreign { end, handle, call } => {
                let end = usize::from(end);
                if let Some(handle) = pick(&self.handles[1 - end], handle) {
                    self.on_handle(end, handle, call);
                }
            }
            Action::Deliver(from) => {
                let from = usize::from(from);
                self.ends[from].settle();
                let sent = std::mem::take(&mut self.ends[from].sent);
                for (_, datagram) in sent {
                    self.ends[1 - from].receive(address(from as u8), &datagram);
                }
            }
            Action::Lose(from) => self.ends[usize::from(from)].sent.clear(),
            Action::Settle(end) => self.ends[usize::from(end)].settle(),
            Action::PollEvents(end) => self.ends[usize::from(end)].poll_events(),
            Action::Listen(end, true) => self.ends[usize::from(end)].endpoint.start_listening(),
            Action::Listen(end, false) => self.ends[usize::from(end)].endpoint.stop_listening(),
        }
    }

    /// A call through the handle itself, whatever it stands for.
    fn on_handle(&mut self, end: usize, handle: ConnectionHandle, call: Call) {
        let end = &mut self.ends[end];
        match end.live.iter().position(|app| app.handle == handle) {
            Some(at) => end.call(at, call),
            // It may happen to be that of a connection that nobody was told of yet.
            None if end.is_known(handle) => {
                assert!(end.endpoint.connection(handle).is_none(), "a stale handle finds something");
            }
            None => {}
        }
    }
}

fn pick(handles: &[ConnectionHandle], which: u8) -> Option<ConnectionHandle> {
    handles.get(usize::from(which).checked_rem(handles.len())?).copied()
}

/// More would only make an input slow.
const ACTIONS: u32 = 300;
