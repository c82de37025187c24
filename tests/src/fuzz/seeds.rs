//! Inputs for the fuzz targets to start from, written by hand: one for each thing that takes more luck than
//! a fuzzer has. `cargo run -p utp-tests --bin fuzz-seeds` writes them to `fuzz/seeds/`, and a test holds
//! that what is checked in there is what this gives.

use utp_proto::wire::{Header, PacketType, SeqNr, Timestamp};

use super::input;

/// Every seed: target, name, bytes.
#[must_use]
pub fn all() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let mut all = Vec::new();
    for target in ["header", "differential"] {
        for (name, bytes) in packets() {
            all.push((target, name, bytes));
        }
    }
    all.extend(chains().into_iter().map(|(name, bytes)| ("extensions", name, bytes)));
    all.extend(endpoints().into_iter().map(|(name, bytes)| ("endpoint", name, bytes)));
    all.extend(connections().into_iter().map(|(name, bytes)| ("connection", name, bytes)));
    all.extend(pairs().into_iter().map(|(name, bytes)| ("pair", name, bytes)));
    all.extend(cookies().into_iter().map(|(name, bytes)| ("cookie", name, bytes)));
    all.extend(handles().into_iter().map(|(name, bytes)| ("handles", name, bytes)));
    all
}

type Named = (&'static str, Vec<u8>);

fn packets() -> Vec<Named> {
    let header = |kind| Header {
        kind,
        connection_id: 0x1234,
        timestamp: Timestamp(0x0102_0304),
        timestamp_difference: 0x0506_0708,
        wnd_size: 1 << 20,
        seq_nr: SeqNr(0xffff),
        ack_nr: SeqNr(0x8001),
    };
    let full = [255; 255];
    vec![
        ("syn", input::packet(&header(PacketType::Syn), &[], &[])),
        ("data", input::packet(&header(PacketType::Data), &[], b"payload")),
        ("fin", input::packet(&header(PacketType::Fin), &[], &[])),
        ("reset", input::packet(&header(PacketType::Reset), &[], &[])),
        ("state-sack", input::packet(&header(PacketType::State), &[(1, &[5, 0, 0, 0x80])], &[])),
        ("state-long-sack", input::packet(&header(PacketType::State), &[(1, &full)], &[])),
        ("probe", input::packet(&header(PacketType::Data), &[(2, &[0; 8]), (0x50, &[0; 40])], b"x")),
        ("close-reason", input::packet(&header(PacketType::Fin), &[(9, b"?"), (3, &[0, 0, 1, 2])], &[])),
        ("two-sacks", input::packet(&header(PacketType::State), &[(1, &[1; 4]), (1, &[])], &[])),
        ("truncated", input::packet(&header(PacketType::State), &[(1, &[1; 32])], &[])[..40].to_vec()),
        ("dht", b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe".to_vec()),
    ]
}

fn chains() -> Vec<Named> {
    let chain = |extensions: &[(u8, &[u8])], payload: &[u8]| {
        let mut out = vec![2; 19]; // kind and header
        out.extend_from_slice(&[30, 0, extensions.len() as u8]); // cut
        for (id, body) in extensions {
            out.extend_from_slice(&[*id, body.len() as u8]);
            out.extend_from_slice(body);
        }
        out.extend_from_slice(payload);
        out
    };
    vec![
        ("none", chain(&[], b"payload")),
        ("sack", chain(&[(1, &[1, 2, 4, 8])], &[])),
        ("sack-every-length", chain(&[(1, &[]), (1, &[255; 1]), (1, &[170; 32]), (1, &[255; 255])], b"x")),
        ("unknown", chain(&[(2, &[0; 8]), (0x50, &[0; 200]), (255, b"?"), (3, &[0, 0, 0, 7])], b"y")),
    ]
}

/// `Action`s of `endpoint.rs` begin with their number: 0 wait, 4 packet, 10 connect, 11 accept, 12 call.
fn endpoints() -> Vec<Named> {
    let packet = |from: u8, kind: u8, seq: i8| {
        let mut out = vec![4, from, kind, 0, seq as u8, 0, 0xff, 0xff, 20];
        out.extend_from_slice(&[0; 4]);
        out
    };
    let (data, fin, state, reset, syn) = (0, 1, 2, 3, 4);
    let script = |settings: u8, parts: &[Vec<u8>]| [vec![settings], parts.concat()].concat();
    let open = [packet(0, syn, 0), packet(0, state, 0), vec![11]].concat();
    vec![
        ("accepts", script(0, &[open.clone(), packet(0, data, 0), vec![12, 0, 0, 127], packet(0, fin, 0)])),
        ("silent-initiator", script(0, &[packet(1, syn, 0), vec![0, 200], packet(1, syn, 0), vec![0, 220]])),
        ("dials", script(0, &[vec![10, 2], packet(2, state, 0), vec![12, 0, 6, 200], packet(2, state, 0)])),
        ("refused", script(0, &[vec![15, 0], packet(0, syn, 0), packet(0, data, 5), packet(0, reset, 0)])),
        (
            "crowded",
            script(
                2,
                &(0..12).map(|n| packet(n, syn, n as i8)).chain([open, vec![0, 215]]).collect::<Vec<_>>(),
            ),
        ),
    ]
}

/// `Action`s of `connection.rs`: 0 wait, 3 call, 7 stream, 9 acknowledge all, 11 near packet.
fn connections() -> Vec<Named> {
    let write = vec![3, 6, 200];
    let read = vec![3, 0, 255];
    let ack = vec![9, 200];
    let near = |kind: u8, seq: i8, ack: i8, mask: [u8; 4]| {
        [vec![11, kind, seq as u8, ack as u8, 200], mask.to_vec()].concat()
    };
    let script = |head: [u8; 2], parts: &[&[u8]]| [&head[..], &parts.concat()].concat();
    // Bulk, round by round, without Nagle and pacing: the flight becomes long enough for a packet to be held back.
    let round = [&[3, 6, 255, 3, 6, 255, 0, 110][..], &[9, 248]].concat();
    let bulk = [&[3, 6, 255, 3, 6, 255, 3, 6, 255, 3, 6, 255][..], &round.repeat(5)].concat();
    let gap = |ack: i8| [&near(2, 1, ack, [1, 0, 0, 0])[..], &[0, 100]].concat();
    let lost = near(2, 1, -9, [0xfe, 0, 0, 0]);
    let losing: [&[u8]; 8] = [&bulk, &lost, &[0, 120], &round, &[0, 230], &round, &[3, 12], &ack];
    // One packet with a clock that goes on by 6 ms, and 40 with the clock of that.
    let data = [14, 0, 1, 0, 0, 0, 200, 0, 0, 0, 0, 0x70, 0x17, 0, 0, 0, 0, 0, 0];
    let receive = [&data[..], &[7, 40, 200, 0, 100], &read, &read].concat();
    vec![
        (
            "held-back",
            script([0x60, 1], &[&bulk, &gap(0), &round, &gap(0), &ack, &[3, 12], &round.repeat(4)]),
        ),
        ("held-back-lie", script([0x60, 1], &[&bulk, &gap(1), &round, &gap(2), &round])),
        // The same rounds and a loss, for each of the other controllers; and a stream that ours holds back.
        ("ledbat", script([0x60, 0x09], &losing)),
        ("ledbat-pp", script([0x60, 0x11], &losing)),
        ("cubic", script([0x60, 0x19], &losing)),
        ("fixed", script([0x60, 0x21], &losing)),
        ("rledbat", script([0, 0x56], &[&receive.repeat(20)])),
        ("receives", script([0, 4], &[&[7, 20, 200], &read, &[7, 63, 200], &read, &near(1, 1, 0, [0; 4])])),
        (
            "gap",
            script([0, 2], &[&near(0, 3, 0, [0; 4]), &near(0, 2, 0, [0; 4]), &near(0, 1, 0, [0; 4]), &read]),
        ),
        ("sends", script([0, 1], &[&write, &[0, 100], &ack, &write, &[0, 100], &ack, &[3, 12], &ack])),
        (
            "loses",
            script(
                [0, 1],
                &[&write, &near(2, 1, -5, [14, 0, 0, 0]), &[0, 150], &ack, &write, &[0, 180], &ack],
            ),
        ),
        ("closed-window", script([1, 1], &[&write, &[9, 0], &[0, 190], &[9, 0], &[0, 190], &ack])),
        ("reset", script([0, 0], &[&[7, 3, 200], &near(3, 1, 0, [0; 4]), &read])),
        ("both-finish", script([8, 5], &[&write, &[3, 12], &near(1, 1, 0, [0; 4]), &read, &ack, &[0, 180]])),
    ]
}

/// `Action`s of `pair.rs`: 0 wait, 3 deliver, 6 overtake, 7 drop, 9 repeat, 11 dial, 12 call.
fn pairs() -> Vec<Named> {
    let open: &[u8] = &[3, 1, 9, 3, 0, 9, 3, 1, 9];
    let write: &[u8] = &[12, 0, 0, 6, 250];
    let answer: &[u8] = &[12, 1, 0, 6, 250];
    let flush: &[u8] = &[3, 1, 255, 3, 0, 255];
    let script = |parts: &[&[u8]]| [&[0, 0][..], &parts.concat()].concat();
    vec![
        ("transfer", script(&[open, write, flush, flush, answer, flush, flush, write, &[0, 120], flush])),
        ("losses", script(&[open, write, &[7, 1, 2, 7, 1, 5], flush, &[0, 180], write, &[7, 1, 0], flush])),
        ("reordered", script(&[open, write, &[6, 1, 7, 6, 1, 3, 9, 1, 2], flush, answer, &[6, 0, 9], flush])),
        (
            "both-ways",
            script(&[open, &[11, 1], flush, flush, write, answer, flush, &[12, 0, 1, 6, 200], flush]),
        ),
        (
            "ends",
            script(&[open, write, &[12, 0, 0, 12], flush, &[12, 1, 0, 13], flush, &[7, 0, 0], &[0, 190]]),
        ),
        ("aborts", script(&[open, write, &[12, 1, 0, 14], flush, &[11, 0], flush, flush, write])),
    ]
}

/// `Action`s of `cookie.rs`: 0 SYN, 4 confirmation, 7 wait, 8 accept and abort.
fn cookies() -> Vec<Named> {
    let syn = |from: u8, id: u8, seq: u8| vec![0, from, id, seq];
    let confirm = |which: u8, kind: u8, seq: u8, ack: u8| vec![4, which, kind, seq, ack];
    let script = |limit: u8, parts: &[Vec<u8>]| [vec![limit], parts.concat()].concat();
    let (data, fin, state) = (0, 1, 2);
    let flood: Vec<u8> = (0..12).flat_map(|n| syn(n, n, n)).collect();
    vec![
        ("entry", script(0, &[syn(0, 0, 0), confirm(0, data, 0, 0), vec![8]])),
        ("cookies", script(0, &[flood.clone(), confirm(11, data, 0, 0), confirm(10, state, 0, 0), vec![8]])),
        ("kept-alive", script(1, &[flood.clone(), vec![7, 190], confirm(11, state, 0, 255), vec![8]])),
        ("too-late", script(1, &[flood.clone(), vec![7, 215, 7, 215], confirm(11, fin, 0, 0)])),
        (
            "guesses",
            script(3, &[flood, confirm(9, data, 1, 0), confirm(9, data, 0, 1), confirm(8, fin, 0, 0)]),
        ),
    ]
}

/// `Action`s of `handles.rs`: 1 connect, 3 accept, 4 call, 7 stale, 10 deliver, 13 settle.
fn handles() -> Vec<Named> {
    let open: &[u8] = &[1, 0, 10, 0, 10, 1, 10, 0, 3, 1];
    let script = |parts: &[&[u8]]| [&[0, 0][..], &parts.concat()].concat();
    vec![
        ("open-abort", script(&[open, &[4, 0, 0, 14], &[7, 0, 0, 6, 9], &[13, 0], &[7, 0, 0, 6, 9], open])),
        (
            "reuse",
            script(&[open, &[4, 0, 0, 14, 13, 0, 14, 0], open, &[7, 0, 0, 0, 9, 7, 0, 1, 6, 9, 9, 1, 0, 13]]),
        ),
    ]
}
