//! rLEDBAT (RFC 9840): congestion control by the receiver. It runs a delay-based controller on what arrives and tells
//! the sender no larger a window than that allows, so that even a sender that fills every queue leaves ours, on the
//! access link, empty. The wire stays as it is.
//!
//! By the RFC's sections, and where uTP makes it easier or we differ:
//! - 4.1, window: the smaller one of what there is room for and RLWND, the controller's window. It never shrinks by
//!   more than what has arrived since it was told last, so that nothing on its way is ever beyond it; and it does not
//!   go below two packets.
//! - 4.2, measuring: every uTP packet has a timestamp and tells the way of our last one, which makes a round trip
//!   (see `tuning.rs`) without waiting for an echo, and the one-way delay of exactly the direction that matters.
//! - 4.3, loss: a packet numbered below the highest but sent later than that is a retransmission; two within four round
//!   trips are a loss (one alone may be a sender's test of our honesty). The window shrinks
//!   for that at most once in two round trips: it takes one until the sender has heard of it.
//! - 4, controller: LEDBAT++ in the RFC; here any [`Controller`].

use std::time::Duration;

use super::{Connection, Context};
use crate::Config;
use crate::buffer::Arrival;
use crate::congestion::{Ack, Controller, ControllerFactory, Loss};
use crate::rtt::Rtt;
use crate::time::Time;
use crate::wire::{Header, NO_SAMPLE, SeqNr, Timestamp};

/// The controller of what the peer sends, and what it is told.
#[derive(Debug)]
pub(super) struct ReceiveControl {
    controller: Box<dyn Controller>,
    rtt: Rtt,
    /// Largest payload so far.
    mss: usize,
    /// The highest number so far, and when its packet was sent.
    highest: Option<(SeqNr, Timestamp)>,
    /// When a packet came last that was sent after one with a higher number.
    resent_at: Option<Time>,
    /// The packet before was numbered far beyond the highest, and not believed.
    jumped: bool,
    /// The window told last, and the bytes that have arrived since.
    told: u64,
    drained: u64,
    round: Round,
    last: Time,
}

/// Bytes that arrived in this round trip and in the one before.
#[derive(Debug, Default)]
struct Round {
    ends: Time,
    bytes: u64,
    before: u64,
}

impl Round {
    fn count(&mut self, now: Time, srtt: u64, bytes: u64) -> u64 {
        if now >= self.ends {
            let missed = now.since(self.ends) > srtt;
            self.before = if missed { 0 } else { self.bytes };
            self.bytes = 0;
            self.ends = now.plus(srtt);
        }
        self.bytes += bytes;
        self.bytes.max(self.before)
    }
}

impl ReceiveControl {
    fn new(controller: Box<dyn Controller>, config: &Config, mss: usize, told: u64, now: Time) -> Self {
        Self {
            controller,
            rtt: Rtt::new(config),
            mss,
            highest: None,
            resent_at: None,
            jumped: false,
            told,
            drained: 0,
            round: Round::default(),
            last: now,
        }
    }

    /// RLWND as it may be told.
    pub(super) fn window(&self) -> u64 {
        let floor = MIN_PACKETS * self.mss as u64;
        self.controller.window().max(floor).max(self.told.saturating_sub(self.drained))
    }

    /// The controller's window.
    pub(super) fn rlwnd(&self) -> u64 {
        self.controller.window()
    }

    /// A header with the window went out.
    pub(super) fn on_told(&mut self) {
        self.told = self.window();
        self.drained = 0;
    }

    /// Whether a packet was sent after one with a higher number.
    fn is_resent(&mut self, seq: SeqNr, sent: Timestamp) -> bool {
        let Some((highest, at)) = self.highest else {
            self.highest = Some((seq, sent));
            return false;
        };
        let ahead = seq.distance_from(highest);
        if ahead < 0x8000 {
            // A single packet far ahead of its turn is a question (see `ahead.rs`), and what follows it not resent.
            self.jumped = ahead >= FAR && !self.jumped;
            if !self.jumped {
                self.highest = Some((seq, sent));
            }
            return false;
        }
        (1..1 << 31).contains(&sent.since(at))
    }
}

impl Connection {
    /// Begins or ends to control what the peer sends.
    pub(crate) fn set_receive_congestion(
        &mut self,
        cx: &Context<'_>,
        factory: Option<&dyn ControllerFactory>,
    ) {
        self.receive_control = factory.map(|factory| {
            let told = match self.acks.advertised {
                0 => self.config.first_window() as u64,
                told => u64::from(told),
            };
            let mss = self.mss();
            let controller = factory.build(cx.clock.instant(cx.now), mss);
            Box::new(ReceiveControl::new(controller, &self.config, mss, told, cx.now))
        });
    }

    /// DATA arrived.
    pub(super) fn control_arrival(
        &mut self,
        cx: &Context<'_>,
        header: &Header,
        len: usize,
        arrival: Arrival,
    ) {
        let round_trip = self.round_trip(header);
        let Some(control) = &mut self.receive_control else { return };
        if matches!(arrival, Arrival::Duplicate | Arrival::Overflow) || header.timestamp.0 == 0 {
            return;
        }
        let (now, bytes) = (cx.now, len as u64);
        control.drained += bytes;
        if len > control.mss {
            control.mss = len;
            control.controller.on_mss(len);
        }
        if let Some(rtt) = round_trip {
            control.rtt.sample(now, rtt);
        }
        let srtt = if control.rtt.is_known() { control.rtt.smoothed() } else { UNKNOWN_RTT };
        if now.since(control.last) > control.rtt.rto() {
            control.controller.on_restart(cx.clock.instant(now));
        }
        control.last = now;
        let window = control.controller.window();
        let per_round = control.round.count(now, srtt, bytes);
        let before = |micros| cx.clock.instant(Time(now.0.saturating_sub(micros)));
        if control.is_resent(header.seq_nr, header.timestamp) {
            let repeated = control.resent_at.replace(now).is_some_and(|at| now.since(at) < REPEATED * srtt);
            if !repeated {
                return; // one alone
            }
            control.controller.on_loss(&Loss {
                now: cx.clock.instant(now),
                bytes,
                sent: before(2 * srtt),
                in_flight: window,
                timeouts: 0,
            });
            return;
        }
        let forth = header.timestamp_difference;
        control.controller.on_ack(&Ack {
            now: cx.clock.instant(now),
            bytes,
            in_flight: per_round,
            sent: before(srtt),
            rtt: round_trip.map(Duration::from_micros),
            srtt: Duration::from_micros(control.rtt.smoothed()),
            min_rtt: Duration::from_micros(control.rtt.min()),
            delay: Some(self.reply_micro),
            reverse_delay: (forth != 0 && forth != NO_SAMPLE).then_some(forth),
            // A sender that has less to send, or a smaller window of its own, is not held back by ours: leave it no
            // more room than it needs to grow.
            app_limited: USED * per_round < window,
        });
    }
}

/// Packets: RFC 9840 4.1, LEDBAT++'s least.
const MIN_PACKETS: u64 = 2;

/// Microseconds, as long as the peer's clock told nothing.
const UNKNOWN_RTT: u64 = 100_000;

/// Round trips within which a second retransmission has to come for the two to count as a loss. One alone may be a
/// test of this side's honesty (`honesty.rs`), which no receiver can tell from a retransmission; a queue that overflows
/// drops more than one packet, and is seen in the delay besides.
const REPEATED: u64 = 4;

/// Numbers beyond the highest at which a single packet is taken for a question.
const FAR: u16 = 512;

/// The window counts as used if this many times the arrivals of a round trip fill it: a sender that doubles its
/// window sends half of it, and rounds do not begin when its do.
const USED: u64 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_counts_what_arrived_in_it_or_in_the_one_before() {
        let mut round = Round::default();
        assert_eq!(round.count(Time(1_000), 100, 10), 10); // until 1,100
        assert_eq!(round.count(Time(1_099), 100, 5), 15);
        assert_eq!(round.count(Time(1_100), 100, 1), 15, "the one before had more");
        assert_eq!(round.count(Time(1_101), 100, 30), 31);
        // Late, but by no more than a round trip: the one before counts; and a whole one later it does not.
        assert_eq!(round.count(Time(1_300), 100, 2), 31);
        assert_eq!(round.count(Time(1_501), 100, 3), 3);
    }

    #[allow(clippy::disallowed_methods)]
    fn control() -> ReceiveControl {
        let config = Config::default();
        let controller = config.controller.build(std::time::Instant::now(), 1_000);
        ReceiveControl::new(controller, &config, 1_000, 50_000, Time(0))
    }

    #[test]
    fn what_was_sent_later_than_a_higher_number_was_sent_again() {
        let mut control = control();
        let mut is_resent = |seq, at| control.is_resent(SeqNr(seq), Timestamp(at));
        assert!(!is_resent(0xfff0, 1_000), "the first");
        assert!(!is_resent(0x0010, 2_000), "higher, across the wrap");
        assert!(!is_resent(0x0000, 1_500), "overtaken");
        assert!(!is_resent(0x0000, 2_000), "of the same time");
        assert!(is_resent(0x0000, 2_001));
        assert!(!is_resent(0x0010, 2_500), "the highest again: its time counts");
        assert!(!is_resent(0x000f, 2_400));
        // One far ahead is a question; a second one is where the stream has got to.
        assert!(!is_resent(0x0210, 3_000));
        assert!(!is_resent(0x0011, 3_001));
        assert!(!is_resent(0x0211, 3_002));
        assert!(!is_resent(0x0212, 3_003));
        assert!(is_resent(0x0012, 3_004));
    }

    #[test]
    fn the_window_told_shrinks_by_no_more_than_what_has_arrived() {
        let mut control = control();
        let rlwnd = control.rlwnd();
        assert!((2_000..40_000).contains(&rlwnd));
        control.drained = 10_000;
        assert_eq!(control.window(), 40_000);
        control.on_told();
        assert_eq!((control.told, control.drained, control.window()), (40_000, 0, 40_000));
        control.drained = 40_000;
        assert_eq!(control.window(), rlwnd);
        control.mss = 30_000;
        assert_eq!(control.window(), 60_000, "two packets at least");
    }

    /// What a controller was told.
    #[derive(Debug, Default)]
    struct Seen {
        acks: Vec<Ack>,
        losses: u32,
        restarts: u32,
        mss: Vec<usize>,
    }

    #[derive(Debug, Default)]
    struct Record(std::sync::Arc<std::sync::Mutex<Seen>>);

    impl Controller for Record {
        fn on_ack(&mut self, ack: &Ack) {
            self.0.lock().unwrap().acks.push(*ack);
        }

        fn on_loss(&mut self, _: &Loss) {
            self.0.lock().unwrap().losses += 1;
        }

        fn on_restart(&mut self, _: std::time::Instant) {
            self.0.lock().unwrap().restarts += 1;
        }

        fn on_mss(&mut self, mss: usize) {
            self.0.lock().unwrap().mss.push(mss);
        }

        fn window(&self) -> u64 {
            3_000
        }
    }

    #[test]
    fn the_controller_of_arrivals_learns_what_a_sender_would() {
        use crate::connection::lab_tests::{Lab, OURS, THEIRS, plain};
        use crate::wire::PacketType;
        let mut lab = Lab::connected(plain());
        let record = Record::default();
        let seen = std::sync::Arc::clone(&record.0);
        let mut control = ReceiveControl::new(Box::new(record), &lab.c.config, 1_000, 50_000, Time(0));
        control.mss = 1_000;
        lab.c.receive_control = Some(Box::new(control));
        lab.c.reply_micro = 0u32.wrapping_sub(50_000);
        let mut arrives = |now, number, sent, forth, len, arrival| {
            let header = Header {
                kind: PacketType::Data,
                connection_id: 5,
                timestamp: Timestamp(sent),
                timestamp_difference: forth,
                wnd_size: 50_000,
                seq_nr: THEIRS.plus(number),
                ack_nr: OURS.minus(1),
            };
            lab.at(now, |c, cx| c.control_arrival(cx, &header, len, arrival));
        };
        let fresh = Arrival::InOrder { bytes: 1, filled_gap: false };
        let counts = || {
            let seen = seen.lock().unwrap();
            (seen.acks.len(), seen.losses, seen.restarts, seen.mss.len())
        };
        arrives(1_000, 0, 1_000, 0, 1_000, fresh);
        arrives(1_000, 1, 1_000, NO_SAMPLE, 1_001, fresh);
        assert_eq!(counts(), (2, 0, 0, 1));
        assert_eq!(seen.lock().unwrap().mss, [1_001]);
        // What does not count.
        arrives(1_000, 1, 1_000, 0, 1_000, Arrival::Duplicate);
        arrives(1_000, 2, 1_000, 0, 1_000, Arrival::Overflow);
        arrives(1_000, 2, 0, 0, 1_000, fresh);
        assert_eq!(counts(), (2, 0, 0, 1));
        // With a round trip of 100 ms; the time-out is half a second.
        arrives(2_000, 2, 2_000, 150_000, 500, fresh);
        arrives(502_000, 3, 3_000, 150_000, 999, fresh);
        assert_eq!(counts(), (4, 0, 0, 1));
        arrives(1_002_001, 4, 4_000, 150_000, 1_000, fresh);
        assert_eq!(counts(), (5, 0, 1, 1));
        let acks = seen.lock().unwrap().acks.clone();
        let reverse: Vec<_> = acks.iter().map(|ack| ack.reverse_delay).collect();
        assert_eq!(reverse, [None, None, Some(150_000), Some(150_000), Some(150_000)]);
        assert!(acks.iter().all(|ack| ack.delay == Some(0u32.wrapping_sub(50_000))));
        // A third of the window in a round trip uses it.
        let limited: Vec<_> = acks.iter().map(|ack| (ack.in_flight, ack.app_limited)).collect();
        assert_eq!(limited, [(1_000, false), (2_001, false), (2_501, false), (999, true), (1_000, false)]);
        // One retransmission is none, two within four round trips are a loss.
        arrives(1_100_000, 1, 5_000, 150_000, 10, fresh);
        assert_eq!(counts(), (5, 0, 1, 1));
        arrives(1_500_000, 1, 5_001, 150_000, 10, fresh);
        assert_eq!(counts(), (5, 0, 1, 1), "four round trips later");
        arrives(1_899_999, 1, 5_002, 150_000, 10, fresh);
        assert_eq!(counts(), (5, 1, 1, 1));
    }
}
