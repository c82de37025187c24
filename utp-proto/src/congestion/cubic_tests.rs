use super::super::STRETCH;
use super::*;

const MSS: u64 = 1000;
const RTT: Duration = Duration::from_millis(100);

struct World {
    cubic: Cubic,
    now: Instant,
}

impl World {
    #[allow(clippy::disallowed_methods)]
    fn new() -> Self {
        Self { cubic: Cubic::new(CubicConfig::default(), MSS as usize), now: Instant::now() }
    }

    fn ack(&self, rtt: Duration) -> Ack {
        Ack {
            now: self.now,
            bytes: MSS,
            in_flight: self.cubic.window(),
            sent: self.now.checked_sub(rtt).unwrap(),
            rtt: Some(rtt),
            srtt: rtt,
            min_rtt: RTT,
            delay: None,
            reverse_delay: None,
            app_limited: false,
        }
    }

    /// One round trip in which everything is acknowledged.
    fn round(&mut self, rtt: Duration) {
        self.now += rtt;
        let mut left = self.cubic.window() / MSS;
        while left > 0 {
            let packets = left.min(STRETCH.min(8)); // HyStart++ asks for 8 samples of a round
            self.cubic.on_ack(&Ack { bytes: packets * MSS, ..self.ack(rtt) });
            left -= packets;
        }
    }

    fn lose(&mut self, timeouts: u32) {
        let sent = self.now;
        self.now += RTT;
        let in_flight = self.cubic.window();
        self.cubic.on_loss(&Loss { now: self.now, bytes: MSS, sent, in_flight, timeouts });
    }

    fn packets(&self) -> u64 {
        self.cubic.window() / MSS
    }
}

#[test]
fn slow_start_doubles_and_ends_softly_when_round_trips_rise() {
    let mut world = World::new();
    (0..4).for_each(|_| world.round(RTT));
    assert_eq!(world.packets(), 160);
    world.round(RTT + Duration::from_millis(13));
    let first = world.packets();
    assert!((161..320).contains(&first), "{first}: a quarter of the pace once eight samples show it");
    (0..5).for_each(|_| world.round(RTT + Duration::from_millis(13)));
    assert!(world.cubic.ssthresh() < u64::MAX);
}

#[test]
fn a_rise_that_passes_lets_slow_start_go_on() {
    let mut world = World::new();
    (0..4).for_each(|_| world.round(RTT));
    world.round(RTT + Duration::from_millis(13));
    world.round(RTT);
    let before = world.packets();
    world.round(RTT);
    assert!(world.packets() >= before * 2 - 8, "{before} {}", world.packets());
    assert_eq!(world.cubic.ssthresh(), u64::MAX);
}

#[test]
fn the_window_returns_to_the_plateau_after_k_and_grows_beyond() {
    let mut world = World::new();
    (0..6).for_each(|_| world.round(RTT));
    let plateau = world.packets();
    world.lose(0);
    assert_eq!(world.packets(), plateau * 7 / 10);
    // K = cbrt(640 * 0.3 / 0.4) = 7.8 s
    let k = (plateau as f64 * 0.3 / 0.4).cbrt();
    let rounds = (k / RTT.as_secs_f64()) as u64;
    (0..rounds).for_each(|_| world.round(RTT));
    let at_k = world.packets();
    assert!(at_k.abs_diff(plateau) <= plateau / 50, "{at_k} at {k} s, {plateau} before");
    (0..rounds).for_each(|_| world.round(RTT));
    assert!(world.packets() > plateau * 12 / 10);
}

#[test]
fn one_reduction_per_round_trip_and_a_needless_one_is_undone() {
    let mut world = World::new();
    (0..5).for_each(|_| world.round(RTT));
    let before = world.cubic.window();
    world.lose(0);
    let sent = world.now - RTT;
    let loss = Loss { now: world.now, bytes: MSS, sent, in_flight: before, timeouts: 0 };
    world.cubic.on_loss(&loss);
    assert_eq!(world.cubic.window(), before * 7 / 10);
    world.cubic.on_spurious_loss();
    assert_eq!((world.cubic.window(), world.cubic.ssthresh()), (before, u64::MAX));
}

#[test]
fn two_time_outs_in_a_row_collapse_it_and_slow_start_goes_back_to_the_threshold() {
    let mut world = World::new();
    (0..5).for_each(|_| world.round(RTT));
    world.lose(1);
    world.lose(2);
    assert_eq!(world.packets(), 2);
    (0..8).for_each(|_| world.round(RTT));
    assert!(world.packets() >= 224, "{}", world.packets());
}

#[test]
fn an_application_that_has_no_more_to_send_does_not_open_the_window() {
    let mut world = World::new();
    (0..5).for_each(|_| world.round(RTT));
    world.lose(0);
    let before = world.cubic.window();
    for _ in 0..1000 {
        world.now += RTT;
        let ack = Ack { app_limited: true, ..world.ack(RTT) };
        world.cubic.on_ack(&ack);
    }
    assert_eq!(world.cubic.window(), before);
    // Nor does the time that passed make it jump.
    world.round(RTT);
    assert!(world.cubic.window() < before * 11 / 10);
}
