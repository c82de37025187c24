use super::super::STRETCH;
use super::drain::DRAIN_FIRST;
use super::*;

const MSS: u64 = 1000;
const BASE: Duration = Duration::from_millis(80);

/// A bottleneck with this window's worth of room, steered round trip by round trip.
pub(super) struct World {
    pub(super) ebb: Ebb,
    pub(super) now: Instant,
    /// Packets that the empty path holds.
    holds: u64,
    /// Queue of others, milliseconds.
    pub(super) others: u64,
    limited: bool,
    /// Packets that an acknowledgement covers.
    stretch: u64,
}

impl World {
    #[allow(clippy::disallowed_methods)]
    pub(super) fn new(holds: u64) -> Self {
        let now = Instant::now();
        let ebb = Ebb::new(EbbConfig::default(), now, MSS as usize);
        Self { ebb, now, holds, others: 0, limited: true, stretch: STRETCH }
    }

    pub(super) fn packets(&self) -> u64 {
        self.ebb.window() / MSS
    }

    fn queueing(&self) -> Duration {
        let own = self.packets().saturating_sub(self.holds) * 80_000 / self.holds;
        Duration::from_micros(own) + Duration::from_millis(self.others)
    }

    /// One round trip: what was sent together comes back at the pace of the bottleneck.
    pub(super) fn round(&mut self) {
        let rtt = BASE + self.queueing();
        let sent = self.now;
        let packets = self.packets();
        let gap = rtt / packets as u32;
        self.now += rtt;
        for i in (0..packets as u32).step_by(self.stretch as usize) {
            let now = self.now + gap * i;
            self.ebb.on_ack(&Ack {
                now,
                bytes: MSS * self.stretch.min(packets - u64::from(i)),
                in_flight: packets * MSS,
                sent: sent + gap * i,
                rtt: Some(rtt),
                srtt: rtt,
                min_rtt: BASE,
                delay: None,
                reverse_delay: None,
                app_limited: !self.limited,
            });
        }
        self.now += gap * (packets as u32 - 1);
    }

    pub(super) fn rounds(&mut self, n: u32) {
        (0..n).for_each(|_| self.round());
    }

    pub(super) fn lose(&mut self, timeouts: u32) {
        let sent = self.now;
        self.now += BASE;
        let in_flight = self.ebb.window();
        self.ebb.on_loss(&Loss { now: self.now, bytes: MSS, sent, in_flight, timeouts });
    }
}

#[test]
fn the_target_grows_with_the_round_trip_up_to_its_bound() {
    let target = |ms| EbbConfig::default().target(Duration::from_millis(ms)).as_micros();
    assert_eq!([5, 80, 100, 200, 1000].map(target), [5_625, 15_000, 17_500, 25_000, 25_000]);
}

#[test]
fn the_target_is_three_packets_where_the_link_is_slow() {
    let mut world = World::new(500);
    world.round();
    let mut target = |rate: f64| {
        world.ebb.rate = rate;
        world.ebb.target()
    };
    assert_eq!([1e9, 150_000.0, 1_000.0].map(&mut target), [15_000, 20_000, 25_000]);
}

#[test]
fn the_window_shrinks_from_half_of_the_target_on_and_earlier_where_round_trips_are_long() {
    let lean = |base: u64| {
        let mut world = World::new(500);
        world.ebb.path.sample(Time(0), base, None, None, 0);
        world.ebb.lean()
    };
    assert_eq!([80_000, 100_000, 150_000, 200_000, 400_000].map(lean), [7_500, 8_750, 8_906, 6_250, 6_250]);
}

#[test]
fn on_short_round_trips_two_packets_in_25_ms_are_left_and_sent_as_a_pair() {
    let least = |base: u64| {
        let mut world = World::new(500);
        world.ebb.path.sample(Time(0), base, None, None, 0);
        world.ebb.set(0.0);
        assert_eq!(world.packets(), 2);
        world.ebb.spread = base as u32;
        world.ebb.flood = 0.0;
        // Bytes per second, without what the pace is faster than the window.
        world.ebb.pacing_rate().unwrap() as f64 / PACE
    };
    assert_eq!([5_000, 20_000, 25_000, 50_000].map(least), [80_000.0, 80_000.0, 80_000.0, 40_000.0]);
}

#[test]
fn growth_follows_the_window_and_on_large_paths_what_all_have_together() {
    let mut world = World::new(500);
    world.ebb.path.sample(Time(0), 200_000, None, None, 0);
    // Packets per round trip, of a window beside others on a path that holds so many packets.
    let mut gain = |window: f64, holds: f64| {
        world.ebb.cwnd = window * MSS as f64;
        world.ebb.rate = holds * MSS as f64 / 0.2;
        world.ebb.gain() / MSS as f64
    };
    // A small path: the window alone.
    assert_eq!([gain(100.0, 1_000.0), gain(400.0, 1_000.0)], [5.0, 10.0]);
    // A large one: the same for all...
    assert_eq!([gain(4_900.0, 19_600.0), gain(14_700.0, 19_600.0)], [105.0; 2]);
    // ...but for those who have next to nothing of it, or were told too much.
    assert_eq!([gain(100.0, 19_600.0), gain(100.0, 1e9)], [15.0; 2]);
}

#[test]
fn an_empty_path_is_filled_and_the_queue_stays_below_the_target() {
    let mut world = World::new(500);
    world.rounds(12);
    assert!(world.packets() >= 500, "{}", world.packets());
    world.rounds(60);
    for _ in 0..40 {
        world.round();
        let queueing = world.queueing();
        assert!(queueing <= EbbConfig::default().target(BASE), "{queueing:?}");
    }
}

#[test]
fn a_queue_that_does_not_go_drives_it_out_and_an_empty_one_lets_it_back() {
    let mut world = World::new(500);
    world.rounds(40);
    world.others = 60;
    world.rounds(30);
    assert_eq!(world.packets(), 2);
    world.others = 0;
    world.rounds(30);
    assert!(world.packets() >= 450, "{}", world.packets());
}

#[test]
fn an_application_that_has_no_more_to_send_does_not_open_the_window() {
    let mut world = World::new(500);
    world.limited = false;
    world.rounds(30);
    assert_eq!(world.packets(), 10);
}

#[test]
fn time_outs_in_a_row_collapse_it_and_what_the_path_held_is_remembered() {
    let mut world = World::new(500);
    world.rounds(40);
    (1..=8).for_each(|timeouts| world.lose(timeouts));
    assert_eq!(world.packets(), 2);
    world.rounds(25);
    assert!(world.packets() >= 300, "{}", world.packets());
}

#[test]
fn a_needless_reduction_is_undone() {
    let mut world = World::new(500);
    world.rounds(40);
    let before = world.ebb.window();
    world.lose(1);
    assert!(world.ebb.window() <= before / 2 + MSS);
    world.ebb.on_spurious_loss();
    assert_eq!(world.ebb.window(), before);
}

#[test]
fn after_idleness_it_starts_small_and_knows_how_far_to_go() {
    let mut world = World::new(500);
    world.rounds(40);
    world.now += Duration::from_secs(20);
    world.ebb.on_restart(world.now);
    assert_eq!(world.packets(), 10);
    world.rounds(14);
    assert!(world.packets() >= 400, "{}", world.packets());
}

#[test]
fn who_gets_less_than_the_first_burst_told_looks_early_whether_the_path_was_empty() {
    let first_drain = |told: f64| {
        // What arrives in a round trip has to be seen to less than a fifth of it.
        let mut world = World { stretch: 1, ..World::new(100) };
        let since = world.now;
        world.ebb.rate = told;
        while world.ebb.drained_at.at().is_none() {
            world.round();
            assert!(world.now < since + Duration::from_secs(20));
        }
        world.now - since
    };
    let alone = first_drain(0.0);
    assert!(alone >= Duration::from_micros(DRAIN_FIRST), "{alone:?}");
    // The path delivers 1.25 MB/s.
    let second = first_drain(5e6);
    assert!(second <= Duration::from_secs(2), "{second:?}");
}

mod path {
    use super::*;

    struct Samples {
        path: Path,
        now: Time,
        way_back: Option<u32>,
        held: u64,
    }

    impl Samples {
        fn new() -> Self {
            Self { path: Path::new(), now: Time(0), way_back: None, held: 1_000_000 }
        }

        fn round(&mut self, rtt: u64, delay: impl Fn(u64) -> Option<u32>, starved: bool) -> u64 {
            for i in 0..8 {
                self.path.sample(self.now.plus(i), rtt, delay(i), self.way_back, self.held);
            }
            self.now = self.now.plus(rtt);
            self.path.end_round(self.now, starved);
            self.path.queueing()
        }
    }

    #[test]
    fn one_way_delay_leaves_out_what_the_peer_held_back_even_where_the_clock_wraps() {
        let mut samples = Samples::new();
        let near_wrap = |micros: u32| move |i: u64| Some((u32::MAX - 100).wrapping_add(micros + i as u32));
        assert_eq!(samples.round(50_000, near_wrap(0), false), 0);
        // 5 ms of delayed acknowledgement and 1 ms of queue, with the clock wrapped.
        let queueing = samples.round(56_000, near_wrap(1_000), false);
        assert!((1_000..1_010).contains(&queueing), "{queueing}");
    }

    #[test]
    fn invented_reports_explain_away_so_much_at_most_and_constants_nothing() {
        let mut falling = Samples::new();
        falling.round(50_000, |i| Some(1_000_000 - i as u32), false);
        let queueing = falling.round(150_000, |i| Some(900_000 - i as u32), false);
        assert_eq!(queueing, 60_000);
        // Packets follow each other closely, and the way back has 3 ms of queue: that is all there is to explain.
        let mut busy = Samples { held: 500, way_back: Some(77), ..Samples::new() };
        busy.round(50_000, |i| Some(1_000_000 - i as u32), false);
        busy.way_back = Some(3_077);
        assert_eq!(busy.round(150_000, |i| Some(900_000 - i as u32), false), 96_500);
        let mut constant = Samples::new();
        (0..3).for_each(|_| _ = constant.round(50_000, |_| Some(7), false));
        assert_eq!(constant.round(150_000, |_| Some(7), false), 100_000);
        let mut silent = Samples::new();
        silent.round(50_000, |_| None, false);
        assert_eq!(silent.round(150_000, |_| None, false), 100_000);
    }

    #[test]
    fn a_clock_that_gains_adds_no_queue_to_what_the_round_trip_shows() {
        let mut samples = Samples::new();
        for n in 0..if cfg!(miri) { 100 } else { 2_000u32 } {
            let queueing = samples.round(50_000, |i| Some(1_000 + n * 25 + i as u32), false);
            assert_eq!(queueing, 0, "500 parts per million, round {n}");
        }
    }

    #[test]
    fn few_samples_in_a_round_trip_show_the_queue_that_many_show() {
        // The queue moves between 5 and 8 ms.
        let queueing = |samples: u64| {
            let mut path = Path::new();
            path.sample(Time(0), 50_000, None, None, 0);
            for n in 0..40 {
                path.sample(Time(0), 55_000 + n % 8 * 400, None, None, 0);
                if (n + 1) % samples == 0 {
                    path.end_round(Time(n * 10_000), false);
                }
            }
            path.queueing()
        };
        assert_eq!([2, 4, 8].map(queueing), [5_000; 3]);
    }

    #[test]
    fn a_delay_that_stands_still_is_a_longer_path_and_one_that_moves_is_a_queue() {
        let mut still = Samples::new();
        still.round(50_000, |_| None, false);
        let rounds = (0..600).take_while(|_| still.round(100_000, |_| None, true) > 0).count();
        // The one that completes 20 s is not counted.
        assert!((199..230).contains(&rounds), "{rounds} round trips of 100 ms");
        assert_eq!(still.path.base(), 100_000);
        let mut moving = Samples::new();
        moving.round(50_000, |_| None, false);
        for n in 0..600 {
            moving.round(90_000 + n % 50 * 400, |_| None, true);
        }
        assert_eq!(moving.path.base(), 50_000);
    }
}

mod losses {
    use super::*;

    /// So many round trips; the last loss's verdict.
    fn run(losses: &mut Losses, rounds: u32, lost: f32, queueing: u64) -> bool {
        let mut verdict = false;
        for _ in 0..rounds {
            losses.on_delivered(100.0, queueing, queueing);
            verdict = lost > 0.0 && losses.on_lost(lost, queueing, false);
            losses.end_round();
        }
        verdict
    }

    #[test]
    fn the_first_loss_with_a_long_queue_is_congestion() {
        let mut losses = Losses::default();
        run(&mut losses, 20, 0.0, 100);
        assert!(run(&mut losses, 1, 1.0, 1_200), "however short the longest queue is");
    }

    #[test]
    fn what_is_lost_with_a_short_queue_is_the_paths_own() {
        let mut losses = Losses::default();
        run(&mut losses, 1, 0.0, 20_000);
        assert!(!run(&mut losses, 20, 5.0, 100));
        assert!(!run(&mut losses, 1, 5.0, 18_000), "no more than without a queue");
        assert!(run(&mut losses, 1, 40.0, 18_000), "more than that");
        assert!(run(&mut losses, 1, 50.0, 100), "so much is congestion, whatever the delay says");
    }

    #[test]
    fn one_lost_of_the_first_packets_of_a_round_trip_says_nothing_unless_nothing_else_is_known() {
        let begin = || {
            let mut losses = Losses::default();
            run(&mut losses, 1, 0.0, 20_000);
            run(&mut losses, 20, 1.0, 100);
            losses.on_delivered(2.0, 18_000, 18_000);
            losses
        };
        assert!(!begin().on_lost(1.0, 18_000, false));
        assert!(begin().on_lost(1.0, 18_000, true));
        assert!(!begin().on_lost(4.0, 18_000, false), "of a hundred");
        assert!(begin().on_lost(6.0, 18_000, false));
    }

    #[test]
    fn a_reduction_that_does_not_help_was_in_vain() {
        let mut losses = Losses::default();
        losses.on_delivered(100.0, 0, 0);
        losses.on_lost(5.0, 0, false);
        assert!(losses.try_less());
        let verdicts = |losses: &mut Losses, lost: f32| {
            (0..10).find_map(|_| {
                losses.on_delivered(50.0, 0, 0);
                losses.on_lost(lost, 0, false);
                losses.end_round()
            })
        };
        assert_eq!(verdicts(&mut losses, 2.5), Some(true));
        losses.on_delivered(100.0, 0, 0);
        losses.on_lost(5.0, 0, false);
        assert!(losses.try_less());
        assert_eq!(verdicts(&mut losses, 0.0), Some(false));
    }
}

#[test]
#[allow(clippy::disallowed_methods)]
fn a_burst_tells_the_rate_of_the_bottleneck() {
    let start = Instant::now();
    let car = |n: u32, bytes: u64| Ack {
        now: start + BASE + Duration::from_micros(u64::from(n) * 160),
        bytes,
        in_flight: 10 * MSS,
        sent: start,
        rtt: None,
        srtt: BASE,
        min_rtt: BASE,
        delay: None,
        reverse_delay: None,
        app_limited: false,
    };
    let at = |at: Instant| Time(micros(at - start));
    let take = |train: &mut Train, ack: &Ack| train.on_ack(at(ack.now), at(ack.sent), ack, MSS as f64);
    let mut train = Train::default();
    let rates: Vec<_> = (0..5).filter_map(|n| take(&mut train, &car(n, 2 * MSS))).collect();
    // 2000 bytes every 160 microseconds: 100 Mbit/s, told once.
    assert_eq!(rates.len(), 1);
    assert!((rates[0] / 12.5e6 - 1.0).abs() < 0.01, "{rates:?}");
    // Acknowledgements of single packets may have been held back.
    let mut train = Train::default();
    assert!((0..10).all(|n| take(&mut train, &car(n, MSS)).is_none()));
}

#[test]
fn it_is_small() {
    assert!(size_of::<Ebb>() <= 576, "{}", size_of::<Ebb>());
}
