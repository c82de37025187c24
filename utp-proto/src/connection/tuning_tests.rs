use super::*;
use crate::connection::lab_tests::{Lab, OURS, THEIRS, plain};
use crate::wire::{PacketType, Timestamp};

/// The end of a round of 100 ms.
const ENDS: u64 = 5_000_000;

/// One that holds 64 kB and may hold 1 MB, on a path of 50 ms, when something arrives and so much was read.
fn arrived(now: u64, read: u64, budget: usize) -> Lab {
    let mut config = plain();
    config.receive_buffer(64_000).unwrap().receive_buffer_max(1_000_000).unwrap();
    config.memory_budget(budget).unwrap();
    let mut lab = Lab::connected(config);
    lab.c.tuning = Tuning { ends: Time(ENDS), rtt: 100_000, taken: 0, look_at: 40_000, ..lab.c.tuning };
    lab.c.bytes_read = read;
    lab.c.reply_micro = 20_000;
    let header = Header {
        kind: PacketType::Data,
        connection_id: 5,
        timestamp: Timestamp(1),
        timestamp_difference: 30_000,
        wnd_size: 50_000,
        seq_nr: THEIRS,
        ack_nr: OURS.minus(1),
    };
    lab.at(now, |c, cx| c.note_arrived(cx, &header));
    lab
}

#[test]
fn within_a_round_the_window_grows_each_time_a_part_of_it_was_read() {
    for (read, limit, look_at) in [(39_999, 64_000, 40_000), (40_000, 80_000, 42_500)] {
        let lab = arrived(ENDS - 1, read, 1 << 30);
        assert_eq!((lab.c.tuning.receive_limit(), lab.c.tuning.look_at), (limit, look_at));
        assert_eq!((lab.c.tuning.ends, lab.c.incoming.window()), (Time(ENDS), limit));
    }
}

#[test]
fn a_round_that_is_over_gives_room_for_twice_what_the_path_holds_at_its_rate() {
    // 400 kB in 200 ms, and so 100 kB in a round trip.
    let lab = arrived(ENDS + 100_000, 400_000, 1 << 30);
    assert_eq!((lab.c.tuning.receive_limit(), lab.c.tuning.look_at), (200_000, 406_250));
    let round = &lab.c.tuning;
    assert_eq!((round.ends, round.rtt, round.taken), (Time(ENDS + 150_000), 50_000, 400_000));
}

#[test]
fn no_window_grows_beyond_a_quarter_of_the_endpoints_memory_nor_beyond_what_was_asked_for() {
    for (budget, limit) in [(500_000, 125_000), (4_000_004, 1_000_000), (64 << 10, 64_000)] {
        let lab = arrived(ENDS, 4_000_000, budget);
        assert_eq!(lab.c.tuning.receive_limit(), limit, "{budget}");
    }
}
