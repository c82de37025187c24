//! Company: met, gone, parted from.

use super::tests::World;
use super::*;

/// Pushed down to two packets by a queue of 60 ms that stands.
fn crowded() -> World {
    let mut world = World::new(500);
    world.rounds(40);
    world.others = 60;
    world.rounds(30);
    assert_eq!(world.packets(), 2);
    world
}

fn meet(world: &mut World) {
    let since = world.now;
    while !world.ebb.company.is_there() {
        world.round();
        assert!(world.now < since + Duration::from_secs(20));
    }
}

#[test]
fn a_queue_that_stands_is_company_and_a_longer_path_if_pushing_does_not_add_to_it() {
    let mut world = crowded();
    meet(&mut world);
    let (floor, most) = (world.ebb.path.floor(), world.ebb.company.most());
    assert!((59_000..=61_000).contains(&floor), "{floor}");
    while world.ebb.company.is_there() {
        assert!(world.ebb.cwnd <= most);
        world.round();
    }
    // It took all of its part, and the queue stayed as it was.
    assert!(world.ebb.cwnd >= 0.9 * most);
    assert_eq!((world.ebb.path.base(), world.ebb.path.floor()), (140_000, 0));
}

#[test]
fn those_who_have_gone_are_no_company() {
    let mut world = crowded();
    meet(&mut world);
    assert!(world.ebb.company.is_there());
    world.others = 0;
    world.rounds(5);
    assert!(!world.ebb.company.is_there());
    assert_eq!(world.ebb.path.floor(), 0);
}

#[test]
fn time_outs_part_and_it_is_not_looked_for_again_for_a_while() {
    let mut world = crowded();
    meet(&mut world);
    let at = world.now;
    (1..=4).for_each(|timeouts| world.lose(timeouts));
    assert!(!world.ebb.company.is_there());
    while world.now < at + Duration::from_secs(25) {
        world.round();
        assert!(!world.ebb.company.is_there());
    }
}
