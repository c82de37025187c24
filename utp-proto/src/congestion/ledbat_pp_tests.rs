use super::super::STRETCH;
use super::*;

const MSS: u64 = 1000;
const RTT: Duration = Duration::from_millis(120);

struct World {
    ledbat: LedbatPp,
    now: Instant,
}

impl World {
    #[allow(clippy::disallowed_methods)]
    fn new() -> Self {
        let now = Instant::now();
        Self { ledbat: LedbatPp::new(LedbatPpConfig::default(), now, MSS as usize), now }
    }

    /// One round trip in which everything is acknowledged, with so much queueing.
    fn round_at(&mut self, base: Duration, queueing: u64) {
        let rtt = base + Duration::from_millis(queueing);
        let sent = self.now;
        self.now += rtt;
        let mut left = self.packets();
        let each = if left > 100 { STRETCH } else { 1 };
        while left > 0 {
            let packets = left.min(each);
            left -= packets;
            self.ledbat.on_ack(&Ack {
                now: self.now,
                bytes: packets * MSS,
                in_flight: self.ledbat.window(),
                sent,
                rtt: Some(rtt),
                srtt: rtt,
                min_rtt: base,
                delay: None,
                reverse_delay: None,
                app_limited: false,
            });
        }
    }

    fn round(&mut self, queueing: u64) {
        self.round_at(RTT, queueing);
    }

    fn packets(&self) -> u64 {
        self.ledbat.window() / MSS
    }
}

#[test]
fn slow_start_ends_at_three_quarters_of_the_target_and_a_slowdown_follows() {
    let mut world = World::new();
    world.round(0);
    world.round(44);
    assert_eq!(world.packets(), 40);
    world.round(46);
    assert!(world.packets() < 45, "{}", world.packets());
    let threshold = world.ledbat.ssthresh();
    world.round(20);
    world.round(20);
    world.round(20);
    assert_eq!(world.packets(), 2, "the initial slowdown");
    world.round(0);
    world.round(0);
    world.round(0);
    assert!((4..=16).contains(&world.packets()));
    (0..4).for_each(|_| world.round(0));
    assert!(world.ledbat.window() >= threshold);
}

#[test]
fn short_paths_grow_by_a_sixteenth() {
    let mut world = World::new();
    (0..16).for_each(|_| world.round_at(Duration::from_millis(5), 0));
    assert!((22..30).contains(&world.packets()), "{}: 10 * (17/16)^16", world.packets());
}

#[test]
fn twice_the_target_halves_the_window_once_per_round_trip() {
    let mut world = World::new();
    (0..5).for_each(|_| world.round(0));
    world.round(46); // leaves slow start
    let before = world.packets();
    world.round(130);
    world.round(130);
    assert!(world.packets() <= before / 2 + 2, "{before} {}", world.packets());
}

#[test]
fn slowdowns_take_a_tenth_of_the_time() {
    let mut world = World::new();
    (0..5).for_each(|_| world.round(0));
    world.round(46);
    let (mut slow, rounds) = (0, if cfg!(miri) { 150 } else { 1_000 });
    for _ in 0..rounds {
        world.round(if world.packets() > 280 { 50 } else { 0 });
        slow += u32::from(matches!(world.ledbat.slowdown, Slowdown::Frozen(..) | Slowdown::Ramp(_)));
    }
    // Each begins and ends within a round trip, which counts whole here.
    assert!((80..=160).contains(&(slow * 1_000 / rounds)), "{slow} of {rounds} round trips");
}
