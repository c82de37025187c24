//! Whether the peer acknowledges what it has not got, to be sent more than the path takes (Savage et al. 1999;
//! RFC 9000 21.4).
//!
//! uTP packets carry no nonce, and numbers cannot be left out, but they can come late: of a long flight one packet is
//! held back, and those behind it go first. An honest peer reports the gap a round trip later, and the packet goes;
//! whoever acknowledges it before that has lied, and the connection ends with
//! [`CloseReason::Violation`](crate::CloseReason). Nothing else can look like it: what was not sent cannot have
//! arrived. The price is a round trip of reordering at the peer, so that it is paid when it is worth something:
//!
//! - when the flight becomes four to five times as long as any that was tested, or a round trip shorter: that is what a
//!   liar wants, and how it shows;
//! - else once in some hundred round trips;
//! - only in the middle of bulk.

use super::{Connection, Sending};
use crate::time::Time;
use crate::wire::SeqNr;

/// When the next test is due.
#[derive(Debug, Clone, Copy)]
pub(super) struct Honesty {
    /// At a flight of so many packets...
    flight: u32,
    /// ...or after so many DATA packets.
    at: u64,
    /// ...or after a round trip shorter than this, in microseconds.
    rtt: u32,
    /// State of a xorshift generator; the peer must not foresee what is held back.
    random: u64,
}

impl Honesty {
    pub(super) fn new() -> Self {
        Self { flight: FIRST as u32, at: INTERVAL, rtt: 0, random: 1 }
    }

    fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below.max(1)
    }

    /// A flight of `packets` was tested, and the peer was honest.
    fn passed(&mut self, packets: usize, sent: u64, min_rtt: u64) {
        let next = 4 * packets as u64 + self.random(packets as u64);
        self.flight = self.flight.max(next as u32);
        let interval = INTERVAL.max(ROUNDS * packets as u64);
        self.at = sent + interval / 2 + self.random(interval);
        self.rtt = (min_rtt - min_rtt / 8).min(u32::MAX.into()) as u32;
    }

    /// A round trip was measured.
    pub(super) fn note_rtt(&mut self, rtt: u64) {
        if rtt < u64::from(self.rtt) {
            (self.at, self.rtt) = (0, rtt as u32);
        }
    }
}

impl Connection {
    /// A secret from which follows which packets will be held back.
    pub(crate) fn set_secret(&mut self, secret: u64) {
        self.honesty.random = secret | 1;
        self.honesty.flight += self.honesty.random(FIRST as u64 / 2) as u32;
    }

    /// Holds back the packet that is next, and makes the one behind it the next, if a test is due.
    pub(super) fn maybe_withhold(&mut self, now: Time, len: usize) {
        let flight = self.outstanding.len() as u32;
        if flight >= self.honesty.flight || self.stats.data_packets_sent >= self.honesty.at {
            self.withhold(now, len);
        }
    }

    #[cold]
    fn withhold(&mut self, now: Time, len: usize) {
        let flight = self.outstanding.len();
        let unsent = (self.out.end() - self.sent) as usize;
        let has_more = self.wants_write && self.state.sending() == Sending::Open;
        let goes_on = unsent >= FIRST * len && (has_more || unsent >= 2 * flight * len);
        let is_bulk = len == self.mss() && flight >= FIRST / 2 && goes_on;
        let is_calm = self.recovery.is_none() && self.timers.after_rto.is_none() && !self.timers.tail_due;
        let fits = self.outstanding.unacked() + 2 * len as u64 <= u64::from(self.peer_window)
            && flight + 2 <= usize::from(self.ahead.limit);
        // What went ahead of its turn counts on the size of all packets before it.
        let next = self.outstanding.next();
        let keeps = |seq: SeqNr, size| size == len && (2..0x8000).contains(&seq.distance_from(next));
        let fits = fits && self.ahead.early.as_ref().is_none_or(|early| keeps(early.seq, early.len));
        if !self.config.distrust || !is_bulk || !is_calm || !fits || self.outstanding.held().is_some() {
            return;
        }
        self.sent += len as u64;
        self.outstanding.hold(now, self.sent, len);
        self.stats.withheld += 1;
        log!(trace, flight, "one packet held back");
    }

    /// The peer has reported the gap.
    pub(super) fn note_honesty(&mut self) {
        self.honesty.passed(self.outstanding.len(), self.stats.data_packets_sent, self.rtt.min());
    }
}

/// A flight of so many packets is the first to be tested, or of half as many more: the second of a connection. Half of
/// it is the shortest ever, and twice the flight has to be there still to be sent, or the application to have more, so
/// that the end of a transfer waits for no test.
const FIRST: usize = 16;

/// DATA packets between two tests on average, at least...
const INTERVAL: u64 = 1024;

/// ...and round trips: what a test costs at worst, one of them, is not seen among so many.
const ROUNDS: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_xorshift64() {
        let mut honesty = Honesty::new();
        let numbers = [(); 3].map(|()| honesty.random(u64::MAX));
        // Marsaglia 2003, shifts 13, 7 and 17, from 1 on.
        assert_eq!(numbers, [1_082_269_761, 1_152_992_998_833_853_505, 11_177_516_664_432_764_457]);
        let mut seen = [0; 10];
        (0..10_000).for_each(|_| seen[honesty.random(10) as usize] += 1);
        assert!(seen.iter().all(|n| (900..1_100).contains(n)), "{seen:?}");
        assert_eq!(honesty.random(0), 0);
    }

    #[test]
    fn the_next_test_comes_at_four_to_five_times_the_flight_or_after_some_rounds_or_when_the_path_is_shorter()
    {
        let (mut flights, mut waits) = ((u32::MAX, 0), (u64::MAX, 0));
        let mut honesty = Honesty::new();
        honesty.random = 12_345;
        for _ in 0..1_000 {
            honesty.flight = 0;
            honesty.passed(100, 50_000, 80_000);
            flights = (flights.0.min(honesty.flight), flights.1.max(honesty.flight));
            waits = (waits.0.min(honesty.at), waits.1.max(honesty.at));
            assert_eq!(honesty.rtt, 70_000);
        }
        // 64 rounds of 100 packets, half of it more or less.
        assert!(flights.0 >= 400 && flights.0 < 403 && flights.1 < 500 && flights.1 > 496, "{flights:?}");
        assert!(waits.0 >= 53_200 && waits.0 < 53_250 && waits.1 < 59_600 && waits.1 > 59_550, "{waits:?}");
        // A short flight: never more often than each 512th packet, and the flight that was tested stays tested.
        honesty.flight = 1_000;
        honesty.passed(2, 0, 80_000);
        assert!((512..1_536).contains(&honesty.at) && honesty.flight == 1_000);
    }

    #[test]
    fn a_shorter_round_trip_than_any_tested_is_tested_at_once() {
        let mut honesty = Honesty::new();
        honesty.passed(100, 50_000, 80_000);
        let at = honesty.at;
        honesty.note_rtt(70_000);
        assert_eq!((honesty.at, honesty.rtt), (at, 70_000));
        honesty.note_rtt(69_999);
        assert_eq!((honesty.at, honesty.rtt), (0, 69_999));
    }

    /// Whether a packet is held back where everything is as it must be, but for what `f` does.
    fn withholds(packets: usize, f: impl FnOnce(&mut crate::connection::lab_tests::Lab)) -> bool {
        use crate::connection::lab_tests::{Lab, plain};
        let mut lab = Lab::connected(plain());
        let mss = lab.c.mss();
        lab.window(1 << 20, 1 << 20);
        lab.sent(0, &vec![mss; packets]);
        lab.c.wants_write = true;
        lab.c.out.write(&mut lab.pools, &vec![7; FIRST * mss]);
        f(&mut lab);
        lab.c.withhold(Time(0), mss);
        assert_eq!(lab.c.outstanding.held().is_some(), lab.c.stats.withheld == 1);
        lab.c.stats.withheld == 1
    }

    #[test]
    fn only_bulk_that_goes_on_calmly_is_tested() {
        let more = |lab: &mut crate::connection::lab_tests::Lab, packets: usize, bytes: usize| {
            lab.c.wants_write = false;
            let mss = lab.c.mss();
            lab.c.out.write(&mut lab.pools, &vec![7; packets * mss + bytes]);
        };
        assert!(withholds(16, |_| {}) && withholds(8, |_| {}) && !withholds(7, |_| {}));
        assert!(!withholds(16, |lab| lab.c.sent += 1), "too little to be sent");
        assert!(!withholds(16, |lab| lab.c.finish()), "no more comes");
        assert!(withholds(16, |lab| more(lab, 16, 0)), "twice the flight");
        assert!(!withholds(16, |lab| (more(lab, 16, 0), lab.c.sent += 1).1));
        assert!(withholds(16, |lab| lab.c.peer_window = 18 * lab.c.mss() as u32));
        assert!(!withholds(16, |lab| lab.c.peer_window = 18 * lab.c.mss() as u32 - 1));
        assert!(withholds(16, |lab| lab.c.ahead.limit = 18) && !withholds(16, |lab| lab.c.ahead.limit = 17));
        assert!(!withholds(16, |lab| lab.c.timers.after_rto = Some(1)));
        assert!(!withholds(16, |lab| lab.c.timers.tail_due = true));
        assert!(!withholds(16, |lab| {
            let prr = crate::connection::Prr::new(0, 0);
            let end = lab.c.outstanding.next();
            lab.c.recovery = Some(crate::connection::Recovery { prr, end, lost: 1, spurious: 0 });
        }));
        // What went ahead of its turn counts on the size of the packets before it.
        let asked = |less: usize, distance: Option<u16>| {
            withholds(16, |lab| {
                lab.c.ask(Time(0), lab.c.mss() - less);
                let next = lab.c.outstanding.next();
                if let (Some(early), Some(distance)) = (&mut lab.c.ahead.early, distance) {
                    early.seq = next.plus(distance);
                }
            })
        };
        assert!(asked(0, None) && !asked(1, None));
        assert!(asked(0, Some(2)) && !asked(0, Some(1)) && !asked(0, Some(0x8000)));
    }

    #[test]
    fn a_test_is_due_at_a_flight_or_after_so_many_packets() {
        let due = |flight, at, sent| {
            let mut lab = crate::connection::lab_tests::Lab::connected(crate::connection::lab_tests::plain());
            let mss = lab.c.mss();
            lab.window(1 << 20, 1 << 20);
            lab.sent(0, &[mss; 16]);
            lab.c.wants_write = true;
            lab.c.out.write(&mut lab.pools, &vec![7; FIRST * mss]);
            (lab.c.honesty.flight, lab.c.honesty.at, lab.c.stats.data_packets_sent) = (flight, at, sent);
            lab.c.maybe_withhold(Time(0), mss);
            lab.c.stats.withheld == 1
        };
        assert!(due(16, 100, 0) && !due(17, 100, 99) && due(17, 100, 100));
    }

    #[test]
    fn the_secret_decides_when_the_first_test_comes() {
        let mut flights = std::collections::BTreeSet::new();
        for secret in 0..200u64 {
            let mut lab = crate::connection::lab_tests::Lab::connected(crate::connection::lab_tests::plain());
            let mut expected = Honesty::new();
            expected.random = if secret % 2 == 0 { secret + 1 } else { secret };
            let more = expected.random(8) as u32;
            let first = lab.c.honesty.flight;
            lab.c.set_secret(secret);
            assert_eq!((lab.c.honesty.flight, lab.c.honesty.random), (first + more, expected.random));
            flights.insert(more);
        }
        assert_eq!(flights.len(), 8);
    }
}
