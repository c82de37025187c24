//! Bad input: noise, truncated packets, fields at their extremes, packets of connections that do not exist.
//! All of it is counted and dropped; nothing else changes, and nobody can be made to send more than he is sent.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;

use utp_proto::{CloseReason, Config, ConnectionStats, EndpointStats, Verdict};
use utp_tests::puppet::{Kind, Packet, Puppet, Raw, addr, data, ms, piece, pieces, reset, seconds, state};
use utp_tests::sim::Random;

/// A connection with something on its way in either direction and something to be read.
fn busy() -> Puppet {
    let mut p = Puppet::initiator(Config::default());
    p.write(&vec![3; 3_000]);
    p.take();
    p.send_batch([data(0), data(1), data(3)]);
    p.take();
    p
}

/// All that bad input must not change.
#[derive(Debug, PartialEq)]
struct Snapshot {
    connection: ConnectionStats,
    endpoint: EndpointStats,
    bytes: (u64, u64, u64, usize),
}

fn look(p: &mut Puppet) -> Snapshot {
    let mut connection = p.stats();
    connection.invalid_packets = 0;
    let stats = p.endpoint.stats();
    let bytes = {
        let connection = p.connection();
        (connection.bytes_read(), connection.bytes_acked(), connection.bytes_sent(), connection.readable())
    };
    let mut endpoint = EndpointStats::default();
    endpoint.connections = stats.connections;
    endpoint.half_open = stats.half_open;
    endpoint.lingering = stats.lingering;
    endpoint.backlog = stats.backlog;
    endpoint.datagrams_accepted = stats.datagrams_accepted;
    Snapshot { connection, endpoint, bytes }
}

/// Each datagram ended up in one counter.
fn expect_accounts(p: &mut Puppet) {
    let stats = p.endpoint.stats();
    let invalid = p.stats().invalid_packets;
    let dropped = stats.datagrams_not_utp + stats.datagrams_malformed + stats.datagrams_unmatched + invalid;
    // The SYN was answered and not given to a connection.
    assert_eq!(stats.datagrams_received, dropped + stats.datagrams_accepted + 1, "{stats:#?}");
}

/// The connection goes on as if nothing had been.
fn expect_health(p: &mut Puppet) {
    p.take();
    p.send_batch([data(2), data(4).ack(2)]);
    p.wait(ms(5));
    assert_eq!(p.read(), pieces(0..5));
    assert_eq!((p.closed(), p.connection().bytes_acked()), (None, 2 * 1_212));
    p.write(&piece(0));
}

#[test]
fn noise_changes_nothing() {
    let mut p = busy();
    let before = look(&mut p);
    let mut rng = Random::new(1, 1);
    for n in 0..50_000u32 {
        let len = rng.range(0..=60) as usize;
        let mut datagram: Vec<u8> = (0..len).map(|_| rng.bits() as u8).collect();
        if n % 2 == 0
            && let Some(first) = datagram.first_mut()
        {
            *first = (*first % 4) << 4 | 1; // uTP, and no SYN
        }
        let from =
            if n % 3 == 0 { addr() } else { SocketAddr::from(([10, 1, n as u8, 1], 1 + n as u16 % 999)) };
        let _ = p.send_from(from, &datagram);
    }
    assert_eq!(look(&mut p), before);
    expect_accounts(&mut p);
    let resets = p.take();
    assert!(
        resets.len() <= 100 && resets.iter().all(|seen| seen.raw.kind == Kind::Reset),
        "one second's worth"
    );
    expect_health(&mut p);
}

#[test]
fn a_packet_cut_anywhere_changes_nothing_before_its_payload() {
    let mut p = busy();
    let before = look(&mut p);
    let whole = p.build(data(5).mask(&[1; 12]).extension(2, &[0; 8]).extension(9, &[7; 30])).encode();
    let head = whole.len() - 100;
    for len in 0..head {
        let verdict = p.send_bytes(&whole[..len]);
        assert_eq!(verdict, if len < 20 { Verdict::NotUtp } else { Verdict::Consumed });
    }
    assert_eq!(look(&mut p), before);
    let stats = p.endpoint.stats();
    assert_eq!((stats.datagrams_not_utp, stats.datagrams_malformed), (20, head as u64 - 20));
    p.expect_nothing();
    expect_health(&mut p);
}

#[test]
fn other_versions_and_types_go_back_to_the_caller() {
    let mut p = busy();
    let before = look(&mut p);
    for first in 0..=255u8 {
        let mut datagram = p.build(data(2)).encode();
        datagram[0] = first;
        if first & 15 != 1 || first >> 4 > 4 {
            assert_eq!(p.send_bytes(&datagram), Verdict::NotUtp, "{first:#x}");
        }
    }
    assert_eq!(look(&mut p), before);
    expect_health(&mut p);
}

#[test]
fn ids_and_numbers_at_their_extremes_change_nothing() {
    let mut p = busy();
    let before = look(&mut p);
    let good = p.build(state());
    let around =
        |n: u16, far: u16| [n.wrapping_add(far), n.wrapping_sub(far), n ^ 0x8000, n.wrapping_add(0x7fff)];
    let mut sent = 0;
    for kind in [Kind::Data, Kind::Fin, Kind::State, Kind::Reset] {
        // Acknowledgements of what was never sent, or so long ago that nobody remembers.
        for ack in around(good.ack, 1_000) {
            sent += 1;
            let raw = Raw { kind, ack, window: 7, payload: b"forged".to_vec(), ..good.clone() };
            let _ = p.send_bytes(&raw.encode());
        }
        // Numbers that cannot come.
        for seq in around(good.seq, 5_000).into_iter().filter(|_| kind != Kind::Reset) {
            sent += 1;
            let raw = Raw { kind, seq, window: 7, payload: b"forged".to_vec(), ..good.clone() };
            let _ = p.send_bytes(&raw.encode());
        }
    }
    assert_eq!(look(&mut p), before);
    assert_eq!(p.stats().invalid_packets, sent);
    p.expect_nothing();
    // Ids that nobody has.
    for id in [0, 1, good.id ^ 0x8000, good.id.wrapping_add(2), good.id.wrapping_sub(2), u16::MAX] {
        for kind in [Kind::Data, Kind::Fin, Kind::State, Kind::Reset] {
            let _ = p.send_bytes(&Raw { kind, id, ..good.clone() }.encode());
        }
    }
    assert_eq!(look(&mut p), before);
    assert_eq!(p.take().len(), 18, "a RESET for each that is none");
    expect_accounts(&mut p);
    expect_health(&mut p);
}

#[test]
fn clocks_windows_and_delays_at_their_extremes_break_nothing() {
    let extremes = [0, 1, 0x7fff_fffe, 0x7fff_ffff, 0x8000_0000, u32::MAX];
    let mut p = Puppet::initiator(Config::default());
    let (mut number, mut written, mut acked) = (0, 0, 0);
    for timestamp in extremes {
        for difference in extremes {
            for window in extremes {
                p.write(&piece(written));
                written += 1;
                p.wait(ms(3));
                acked = p
                    .take()
                    .iter()
                    .filter(|s| s.raw.kind == Kind::Data)
                    .map(|s| s.number + 1)
                    .fold(acked, i32::max);
                p.send(data(number).ack(acked).timestamp(timestamp).difference(difference).window(window));
                number += 1;
                assert_eq!(p.read(), piece(number - 1));
            }
        }
    }
    p.send(state().window(1 << 20));
    for _ in 0..50 {
        p.wait(ms(100));
        acked =
            p.take().iter().filter(|s| s.raw.kind == Kind::Data).map(|s| s.number + 1).fold(acked, i32::max);
        p.send(state().ack(acked));
    }
    let connection = p.connection();
    assert_eq!(connection.bytes_acked(), 100 * written as u64);
    assert_eq!(p.closed(), None);
}

#[test]
fn masks_of_every_length_and_content_break_nothing() {
    for len in 0..=255 {
        for byte in [0, 1, 0x80, 0xaa, 0xff] {
            let mut p = Puppet::initiator(Config::default());
            p.write(&vec![1; 12_000]);
            p.wait(ms(10));
            p.take();
            p.send(state().mask(&vec![byte; len]));
            p.wait(ms(10));
            assert!(p.stats().bytes_in_flight <= 12_000);
            let outstanding = p.stats().packets_in_flight as i32;
            p.send(state().ack(outstanding));
            assert_eq!((p.connection().bytes_acked(), p.closed()), (9 * 1_212, None));
        }
    }
}

#[test]
fn a_foreign_connection_is_not_ours() {
    let mut p = busy();
    let before = look(&mut p);
    // The right id from another address, port or family.
    let others = ["10.0.0.8:6881", "10.0.0.7:6882", "[::ffff:10.0.0.7]:6881", "[fe80::7]:6881"];
    for other in others {
        let other: SocketAddr = other.parse().unwrap();
        let packets: [Packet; 4] = [data(2), state().ack(2), reset(), data(2).payload(b"forged")];
        for packet in packets {
            let raw = p.build(packet);
            let _ = p.send_from(other, &raw.encode());
        }
    }
    let _ = p.build(state().ack(0)); // the puppet has said nothing else
    assert_eq!(look(&mut p), before);
    let answers = p.take();
    assert_eq!(answers.len(), 4 * 3);
    assert!(answers.iter().all(|seen| seen.raw.kind == Kind::Reset && seen.to != addr()));
    expect_health(&mut p);
}

#[test]
fn nobody_draws_more_than_he_sends_before_he_is_proven() {
    let mut p = Puppet::new(Config::default());
    let mut rng = Random::new(5, 5);
    let (mut bytes_in, mut bytes_out) = (0, 0);
    // The numbers that each has been told, by address and id.
    let mut told: HashMap<(SocketAddr, u16), HashSet<u16>> = HashMap::new();
    for n in 0..30_000u32 {
        let kind = *rng.pick(&[Kind::Data, Kind::Fin, Kind::State, Kind::Reset, Kind::Syn, Kind::Syn]);
        let raw = Raw {
            id: rng.range(0..=40) as u16,
            seq: rng.range(0..=3) as u16,
            ack: rng.bits() as u16,
            timestamp: rng.bits() as u32,
            window: rng.bits() as u32,
            ..Raw::new(kind)
        };
        // Networks of their own, so that nobody is answered with a cookie, for which any number may fit.
        let from = SocketAddr::from(([10, 2, rng.range(1..=3) as u8, 1], 6881));
        let known = told.get(&(from, raw.id));
        if known.is_some_and(|known| (0..4).any(|back| known.contains(&raw.ack.wrapping_add(back)))) {
            continue; // one of 20 000 guesses is right
        }
        let datagram = raw.encode();
        bytes_in += datagram.len();
        let _ = p.send_from(from, &datagram);
        if n % 100 == 0 {
            p.wait(ms(250));
        }
        let sent = p.take();
        assert!(sent.len() <= 1 && sent.iter().all(|seen| seen.size <= datagram.len() && seen.to == from));
        bytes_out += sent.iter().map(|seen| seen.size).sum::<usize>();
        for seen in sent.iter().filter(|seen| seen.raw.kind == Kind::State) {
            told.entry((from, seen.raw.id.wrapping_add(1))).or_default().insert(seen.raw.seq);
        }
    }
    assert!(bytes_out <= bytes_in && bytes_out > 0);
    assert_eq!(p.endpoint.stats().connections, 0, "nobody guessed a number");
    // And nothing comes later by itself.
    p.wait(seconds(100));
    assert!(p.take().is_empty() && p.endpoint.is_idle());
}

#[test]
fn resets_are_limited_and_never_answer_a_reset() {
    let mut config = Config::default();
    config.resets_per_second(10);
    let mut p = Puppet::new(config);
    for second in 0..5u64 {
        for n in 0..1_000u16 {
            let from = SocketAddr::from(([10, 3, n as u8, 1], 6881));
            let _ = p.send_from(from, &Raw { id: n, ..Raw::new(Kind::Data) }.encode());
        }
        assert_eq!(p.take().len(), 10, "second {second}");
        p.wait(seconds(1));
    }
    let stats = p.endpoint.stats();
    assert_eq!((stats.resets_sent, stats.resets_suppressed, stats.datagrams_unmatched), (50, 4_950, 5_000));
    // One network gets a part of them only.
    for n in 0..1_000u16 {
        let _ = p.send_bytes(&Raw { id: n, ..Raw::new(Kind::Data) }.encode());
    }
    assert!((1..10).contains(&p.take().len()));
    for n in 0..1_000u16 {
        let _ = p.send_bytes(&Raw { id: n, ..Raw::new(Kind::Reset) }.encode());
    }
    p.expect_nothing();
    assert_eq!(p.endpoint.stats().resets_ignored, 1_000);
}

#[test]
fn blind_resets_have_to_guess_the_acknowledgement_too() {
    // Address and id are known. Of all acknowledgements six fit: that of what went last, the number after it (libutp's
    // form in answer to a STATE), and the last four that have arrived. The first of the two packets that are out does not.
    let mut p = busy();
    let raw = p.build(reset().ack(0));
    let fits = |ack: u16| ![4, 7].contains(&ack.wrapping_sub(raw.ack.wrapping_sub(3)).min(7));
    for ack in (0..=u16::MAX).filter(|ack| !fits(*ack)) {
        let _ = p.send_bytes(&Raw { ack, ..raw.clone() }.encode());
    }
    assert_eq!((p.closed(), p.endpoint.stats().resets_ignored), (None, 65_536 - 6));
    expect_health(&mut p);
    for ack in (0..=u16::MAX).filter(|ack| fits(*ack)) {
        let mut p = busy();
        let _ = p.send_bytes(&Raw { ack, ..raw.clone() }.encode());
        assert_eq!(p.read_state(), Ok(true), "what had arrived can be read");
        p.read();
        assert_eq!(p.closed(), Some(CloseReason::Reset));
    }
}

#[test]
fn blind_data_with_a_number_that_fits_still_needs_an_acknowledgement_that_does() {
    let mut p = busy();
    let before = look(&mut p);
    let raw = p.build(data(2).payload(b"forged"));
    let last = raw.ack;
    let mut rng = Random::new(7, 7);
    for _ in 0..20_000 {
        let ack = rng.bits() as u16;
        // What was sent and not acknowledged yet, and what overtaken packets may carry.
        if ack.wrapping_sub(last) <= 3 || last.wrapping_sub(ack) <= 64 {
            continue;
        }
        let _ = p.send_bytes(&Raw { ack, ..raw.clone() }.encode());
    }
    assert_eq!(look(&mut p), before);
    expect_health(&mut p);
}

#[test]
fn far_ahead_packets_pin_no_more_memory_than_the_buffer_and_8_kib() {
    let mut config = Config::default();
    config.receive_buffer(64 << 10).unwrap();
    let mut p = Puppet::initiator(config);
    for number in 1..=1_024 {
        p.send(data(number).payload(&[1; 1_400]));
    }
    let stats = p.stats();
    assert!(stats.overflow_packets > 900, "{stats:?}");
    assert_eq!(p.connection().readable(), 0);
    let kept = 1_024 - stats.overflow_packets as usize;
    assert!(kept * 1_400 <= (64 << 10) + (8 << 10));
    p.send(data(0));
    assert_eq!(p.connection().readable(), 100 + kept * 1_400);
}
