//! One transfer of 4 GiB: sequence numbers wrap more than 40 times.

use std::sync::Arc;

use utp_proto::Config;
use utp_proto::congestion::FixedWindow;
use utp_tests::puppet::{ms, seconds};
use utp_tests::sim::{Link, Script, World};

#[test]
fn four_gibibytes_arrive_byte_for_byte() {
    let mut config = Config::default();
    config.congestion(Arc::new(FixedWindow { bytes: 1 << 20 }));
    let mut world = World::new(40);
    world.without_monitor(); // it has looked at shorter ones of the same kind
    let (a, b) = (world.host(config.clone()), world.host(config));
    // A loss now and then, so that the wraps are met with gaps as well.
    world.join(a, b, Link::new(10_000_000_000, ms(1)).queue(4 << 20).loss(0.00002));
    let bytes = 4 << 30;
    let c = world.dial(a, b, Script::send(bytes).chunk(1 << 20), Script::receive());
    world.run_to_the_end(seconds(3_600));
    assert!(world.all_sides().all(|side| side.is_clean()));
    let (stats, read) = (world.dialer(c).stats, world.acceptor(c).read);
    assert_eq!(read, bytes);
    assert!(stats.data_packets_sent > 40 * 65_536 && stats.mtu == 1472, "{stats:?}");
    assert!(stats.retransmits >= 10 && stats.timeouts == 0, "{stats:?}");
}
