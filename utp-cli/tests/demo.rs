//! `utp demo`: what it prints is true.

mod common;

use std::fs;

use sha2::{Digest, Sha256};

use common::{arg, data, run};

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The rest of the line that begins with `name`.
#[track_caller]
fn line<'a>(text: &'a str, name: &str) -> &'a str {
    let found = text.lines().find_map(|line| line.strip_prefix(name));
    found.unwrap_or_else(|| panic!("no line {name}: {text}")).trim()
}

/// The number before `unit`.
#[track_caller]
fn number(text: &str, unit: &str) -> f64 {
    let before = text.split(unit).next().expect("a part");
    let number = before.rsplit([' ', '(']).find(|part| !part.is_empty()).expect("a number");
    number.replace(',', "").parse().unwrap_or_else(|_| panic!("no number before {unit}: {text}"))
}

#[test]
fn generated_data_arrives_and_is_reported() {
    let demo = run(["demo", "--size", "3MiB"]).succeeded();
    assert_eq!(demo.stderr, "", "no progress bar without a terminal");
    let out = String::from_utf8(demo.stdout).unwrap();
    assert!(line(&out, "sent").starts_with("3.00 MiB in "), "{out}");
    assert!(number(line(&out, "goodput"), " MB/s") > 0.0, "{out}");
    assert!(line(&out, "round trip").contains(" smoothed, "), "{out}");
    let packets = line(&out, "packets");
    assert!(number(packets, " of up to") >= (3 << 20) as f64 / 1472.0, "{out}");
    assert!(number(packets, " retransmitted") >= 0.0 && number(packets, " time-outs") >= 0.0, "{out}");
    let digest = line(&out, "SHA-256").strip_suffix(" verified").expect("verified");
    assert!(digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()), "{out}");
}

#[test]
fn a_file_arrives_and_its_digest_is_right() {
    let directory = tempfile::tempdir().unwrap();
    for (name, bytes) in [("some", data(2_000_003, 1)), ("one", data(1, 2)), ("none", Vec::new())] {
        let path = directory.path().join(name);
        fs::write(&path, &bytes).unwrap();
        let demo = run(["demo", "--stats", arg(&path)]).succeeded();
        let stats = demo.stats();
        let out = String::from_utf8(demo.stdout).unwrap();
        assert_eq!(line(&out, "SHA-256"), format!("{} verified", sha256(&bytes)));
        assert_eq!(stats["sha256"], sha256(&bytes));
        assert_eq!(stats["bytes_sent"], bytes.len());
        assert!(!out.contains("NaN") && !out.contains("inf"), "{out}");
    }
}

#[test]
fn options_reach_the_sockets() {
    let demo = run(["demo", "--size=1MiB", "--mtu=1000", "--no-gso", "--no-gro", "--no-pacing", "--stats"]);
    let stats = demo.succeeded().stats();
    assert_eq!(stats["connection"]["datagram_bytes"], 1000 - 28);
    let socket = &stats["sockets"][0];
    let count = |name: &str| socket[name].as_u64().unwrap_or_else(|| panic!("no {name}: {socket}"));
    assert_eq!(count("send_calls_offloaded"), 0, "no GSO, but {socket}");
    assert!(count("send_calls") > 0, "{socket}");
}

#[test]
fn what_is_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    let demo = run(["demo", arg(&missing)]);
    assert!(demo.failed().contains("missing"));
    assert_eq!(demo.stdout, b"");
    assert!(run(["demo", arg(directory.path())]).failed().contains("no regular file"));
}
