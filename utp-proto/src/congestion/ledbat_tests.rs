use super::*;

const MSS: usize = 1000;
const RTT: Duration = Duration::from_millis(50);

struct World {
    ledbat: Ledbat,
    now: Instant,
}

impl World {
    #[allow(clippy::disallowed_methods)]
    fn new() -> Self {
        let now = Instant::now();
        Self { ledbat: Ledbat::new(LedbatConfig::default(), now, MSS), now }
    }

    fn ack(&self, delay: Option<u32>) -> Ack {
        Ack {
            now: self.now,
            bytes: MSS as u64,
            in_flight: self.ledbat.window(),
            sent: self.now - RTT,
            rtt: Some(RTT * 4),
            srtt: RTT,
            min_rtt: RTT,
            delay,
            reverse_delay: Some(7),
            app_limited: false,
        }
    }

    /// One round trip in which everything is acknowledged with this delay; under Miri a part of a long one.
    fn round(&mut self, delay: u32) {
        let mut packets = self.ledbat.window() / MSS as u64;
        if cfg!(miri) {
            packets = packets.min(20);
        }
        for _ in 0..packets {
            let ack = self.ack(Some(delay));
            self.ledbat.on_ack(&ack);
            self.now += RTT / packets as u32;
        }
    }

    fn lose(&mut self, sent: Instant, timeouts: u32) {
        let in_flight = self.ledbat.window();
        self.ledbat.on_loss(&Loss { now: self.now, bytes: MSS as u64, sent, in_flight, timeouts });
    }
}

#[test]
fn slow_start_doubles_and_ends_when_the_queue_nears_the_target() {
    let mut w = World::new();
    w.round(5_000_000);
    assert_eq!(w.ledbat.window(), 20_000);
    (0..5).for_each(|_| w.round(5_091_000));
    assert!(w.ledbat.ssthresh() <= 30_000, "{}", w.ledbat.ssthresh());
}

#[test]
fn growth_is_the_gain_on_an_empty_queue_and_stops_at_the_target() {
    let mut w = World::new();
    w.round(1000);
    w.lose(w.now, 0);
    let start = w.ledbat.window();
    w.round(1000);
    let grown = w.ledbat.window() - start;
    assert!((2500..=3100).contains(&grown), "{grown}");
    (0..4).for_each(|_| w.round(101_000));
    let steady = w.ledbat.window();
    (0..20).for_each(|_| w.round(101_000));
    assert!(w.ledbat.window().abs_diff(steady) <= 20);
    w.round(151_000);
    w.round(151_000);
    assert!(w.ledbat.window() < steady - 1500);
}

#[test]
fn the_base_is_followed_across_the_wrap_of_the_clock() {
    let mut w = World::new();
    w.round(u32::MAX - 10);
    w.round(49_989);
    let (_, queueing) = w.ledbat.delays();
    assert_eq!(queueing, Duration::from_millis(50));
}

#[test]
fn a_higher_base_is_believed_after_the_history_ran_out() {
    let mut w = World::new();
    w.round(10_000);
    for _ in 0..14 {
        w.now += Duration::from_secs(60);
        w.round(60_000);
    }
    assert_eq!(w.ledbat.delays().1, Duration::ZERO);
    w.now += Duration::from_secs(86_400);
    w.round(90_000);
    assert_eq!(w.ledbat.delays().1, Duration::ZERO);
}

#[test]
fn one_round_trip_of_losses_halves_once() {
    let mut w = World::new();
    (0..4).for_each(|_| w.round(1000));
    let before = w.ledbat.window();
    let sent = w.now - RTT;
    w.lose(sent, 0);
    w.lose(sent + RTT / 2, 0);
    assert_eq!(w.ledbat.window(), before / 2);
    w.now += RTT;
    w.lose(w.now, 0);
    assert_eq!(w.ledbat.window(), before / 4);
}

#[test]
fn a_needless_reduction_is_undone() {
    let mut w = World::new();
    (0..4).for_each(|_| w.round(1000));
    let before = (w.ledbat.window(), w.ledbat.ssthresh());
    w.lose(w.now, 0);
    w.ledbat.on_spurious_loss();
    assert_eq!((w.ledbat.window(), w.ledbat.ssthresh()), before);
}

#[test]
fn time_outs_in_a_row_collapse_the_window_but_not_the_threshold() {
    let mut w = World::new();
    (0..6).for_each(|_| w.round(1000));
    let before = w.ledbat.window();
    for timeouts in 1..=8 {
        w.now += Duration::from_secs(1);
        w.lose(w.now, timeouts);
    }
    assert_eq!(w.ledbat.window(), 2 * MSS as u64);
    assert_eq!(w.ledbat.ssthresh(), before / 2);
}

#[test]
fn constant_and_missing_delays_do_not_wedge_it() {
    for delay in [None, Some(0), Some(0x7fff_ffff), Some(1_000_000)] {
        let mut w = World::new();
        w.lose(w.now, 0);
        let start = w.ledbat.window();
        for _ in 0..if cfg!(miri) { 40 } else { 200 } {
            let ack = w.ack(delay);
            w.ledbat.on_ack(&ack);
            w.now += Duration::from_millis(5);
        }
        assert!(w.ledbat.window() > start, "{delay:?}");
    }
}

#[test]
fn delays_that_fall_without_end_are_punished() {
    let mut w = World::new();
    let mut delay = 2_000_000_000u32;
    // 1 ms in each 10.
    let step = if cfg!(miri) { 50 } else { 1 };
    for _ in 0..20_000 / step {
        let ack = w.ack(Some(delay));
        w.ledbat.on_ack(&ack);
        delay = delay.wrapping_sub(1000 * step);
        w.now += Duration::from_millis(10) * step;
    }
    assert!(w.ledbat.delays().1 > Duration::from_millis(20), "{:?}", w.ledbat.delays());
}

#[test]
fn a_sender_that_does_not_fill_the_window_does_not_grow_it() {
    let mut w = World::new();
    w.round(1000);
    let before = w.ledbat.window();
    for _ in 0..100 {
        let ack = Ack { app_limited: true, ..w.ack(Some(1000)) };
        w.ledbat.on_ack(&ack);
    }
    assert_eq!(w.ledbat.window(), before);
}

#[test]
fn an_idle_connection_restarts_in_slow_start() {
    let mut w = World::new();
    (0..5).for_each(|_| w.round(1000));
    let before = w.ledbat.window();
    w.ledbat.on_restart(w.now);
    assert_eq!(w.ledbat.window(), 10 * MSS as u64);
    assert!(w.ledbat.ssthresh() >= before);
}
