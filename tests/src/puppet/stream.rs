//! A whole transfer from the endpoint to the puppet, acknowledged in the manner of its flavour, when the single
//! packets do not matter.

use std::collections::BTreeMap;
use std::time::Duration;

use utp_proto::WriteError;

use super::{Flavour, Kind, Puppet, Raw, addr, state};
use crate::sim::tape;

/// What a transfer was like.
#[derive(Debug, Clone, Copy, Default)]
pub struct Outcome {
    /// From its first packet to the last acknowledgement.
    pub time: Duration,
    /// Packets with payload that the endpoint sent.
    pub packets: u64,
    /// Most packets that were sent and not acknowledged cumulatively.
    pub most_outstanding: u16,
    /// Packets that were sent ahead of their turn.
    pub early: u64,
}

/// What is on its way.
enum Flying {
    ToPuppet(Raw),
    ToEndpoint(Vec<u8>),
}

/// The puppet as a receiver.
struct Receiver {
    /// Number of the packet that comes next, counted without end.
    expects: i32,
    waiting: BTreeMap<i32, Vec<u8>>,
    received: usize,
    owes: bool,
}

impl Puppet {
    /// The application writes `total` bytes; they reach the puppet over a path of `delay` each way that loses the
    /// packets with payload that `lost` names, by the order in which they are sent. The puppet acknowledges
    /// as its flavour does, with all the window it has. Ends when all of it is acknowledged.
    ///
    /// # Panics
    /// If a byte is wrong, or nothing happens any more.
    pub fn download(&mut self, total: usize, delay: Duration, mut lost: impl FnMut(u64) -> bool) -> Outcome {
        let mut outcome = Outcome::default();
        let mut flying: BTreeMap<(Duration, u64), Flying> = BTreeMap::new();
        let mut order = 0;
        let mut receiver =
            Receiver { expects: self.acked, waiting: BTreeMap::new(), received: 0, owes: false };
        let (start, base) = (self.now, self.connection().bytes_acked());
        let mut written = 0;
        let (mut highest, mut early) = (None::<u16>, None);
        self.looks_later = true;
        loop {
            written = self.write_from(written, total);
            for seen in self.take() {
                order += 1;
                let first = self.their_first.expect("a connection");
                let oldest = first.wrapping_add(self.acked as u16);
                if !seen.raw.payload.is_empty() {
                    outcome.packets += 1;
                    // One that goes ahead of its turn is not counted, nor when it goes again.
                    let next = highest.map_or(seen.raw.seq, |highest| highest.wrapping_add(1));
                    let outstanding = seen.raw.seq.wrapping_sub(oldest).wrapping_add(1);
                    match seen.raw.seq.wrapping_sub(next) {
                        0 => highest = Some(seen.raw.seq),
                        1 if early == Some(next) => highest = Some(seen.raw.seq),
                        1..0x8000 => {
                            early = Some(seen.raw.seq);
                            outcome.early += 1;
                        }
                        _ => {}
                    }
                    if highest == Some(seen.raw.seq) && outstanding < 0x8000 {
                        outcome.most_outstanding = outcome.most_outstanding.max(outstanding);
                    }
                    if lost(outcome.packets - 1) {
                        continue;
                    }
                }
                flying.insert((self.now + delay, order), Flying::ToPuppet(seen.raw));
            }
            if self.connection().bytes_acked() - base == total as u64 {
                break;
            }
            let due = self.endpoint.poll_timeout().map(|at| at.saturating_duration_since(self.origin));
            let arrival = flying.keys().next().map(|(at, _)| *at);
            let Some(next) = due.into_iter().chain(arrival).min() else {
                self.fail("nothing happens any more")
            };
            if next > start + LIMIT {
                self.fail("the transfer does not end");
            }
            self.now = self.now.max(next);
            while let Some(entry) = flying.first_entry().filter(|entry| entry.key().0 <= self.now) {
                match entry.remove() {
                    Flying::ToEndpoint(datagram) => {
                        assert_eq!(self.deliver(addr(), &datagram), utp_proto::Verdict::Consumed);
                    }
                    Flying::ToPuppet(raw) => {
                        self.receive(&mut receiver, raw);
                        if self.flavour == Flavour::Maskless {
                            self.acknowledge(&mut receiver, &mut flying, delay, &mut order);
                        }
                    }
                }
            }
            self.acknowledge(&mut receiver, &mut flying, delay, &mut order);
            self.endpoint.handle_timeout(self.instant());
            self.drain();
        }
        self.looks_later = false;
        outcome.time = self.now - start;
        outcome
    }

    fn write_from(&mut self, mut written: usize, total: usize) -> usize {
        let mut buf = [0; 16 << 10];
        while written < total {
            let len = buf.len().min(total - written);
            tape::fill(STREAM, written as u64, &mut buf[..len]);
            match self.connection().write(&buf[..len]) {
                Ok(n) => written += n,
                Err(WriteError::Blocked) => break,
                Err(error) => self.fail(&format!("writing: {error}")),
            }
        }
        self.drain();
        written
    }

    fn receive(&mut self, receiver: &mut Receiver, raw: Raw) {
        let next = self.their_first.expect("a connection").wrapping_add(receiver.expects as u16);
        let is_stream = matches!(raw.kind, Kind::Data | Kind::Fin);
        if is_stream {
            receiver.owes = true;
        }
        if !self.flavour.takes(&raw, next, None) || !is_stream {
            return;
        }
        self.difference = self.wire_clock().wrapping_sub(raw.timestamp);
        let number = receiver.expects + i32::from(raw.seq.wrapping_sub(next) as i16);
        if number < receiver.expects {
            return;
        }
        let known = receiver.waiting.insert(number, raw.payload.clone());
        if known.is_some_and(|known| known != raw.payload) {
            self.fail(&format!("packet {number} has changed"));
        }
        while let Some(payload) = receiver.waiting.remove(&receiver.expects) {
            if let Some(at) = tape::mismatch(STREAM, receiver.received as u64, &payload) {
                self.fail(&format!("byte {} is not what was written", receiver.received + at));
            }
            receiver.received += payload.len();
            receiver.expects += 1;
        }
    }

    fn acknowledge(
        &mut self,
        receiver: &mut Receiver,
        flying: &mut BTreeMap<(Duration, u64), Flying>,
        delay: Duration,
        order: &mut u64,
    ) {
        if std::mem::take(&mut receiver.owes) {
            let waiting = receiver.waiting.keys().copied();
            let raw = self.build(state().ack(receiver.expects).sack(waiting));
            *order += 1;
            flying.insert((self.now + delay, *order), Flying::ToEndpoint(raw.encode()));
        }
    }
}

/// The bytes that are sent (see `sim/tape.rs`).
const STREAM: u64 = 3;

/// Far more than any test needs.
const LIMIT: Duration = Duration::from_secs(3600);
