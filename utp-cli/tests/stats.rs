//! `--stats`: one JSON object about the run, also about one that failed.

mod common;

use std::fs;
use std::path::Path;

use serde_json::Value;

use common::{arg, data, run, start, start_fed};

fn read(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.ends_with('\n') && text.lines().count() == 1, "one line: {text}");
    serde_json::from_str(&text).unwrap()
}

fn count(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or_else(|| panic!("no {name}: {value}"))
}

#[test]
fn of_both_ends_of_a_transfer() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("recv.json");
    let recv = start(["recv", "--listen", "127.0.0.1:0", &format!("--stats={}", arg(&path))]);
    let at = recv.address();
    let mut send = start_fed(["send", "-", &at, "--stats"]);
    send.feed_all(data(1_000_000, 1));
    let (sent, received) = (send.finish().succeeded(), recv.finish().succeeded());
    let (sent, at_end) = (sent.stats(), read(&path));
    assert_eq!(received.stderr.lines().count(), 1, "the address only");
    for (stats, command) in [(&sent, "send"), (&at_end, "recv")] {
        assert_eq!(stats["command"], command);
        assert_eq!((&stats["ok"], &stats["error"]), (&Value::Bool(true), &Value::Null));
        assert!(stats["seconds"].as_f64().unwrap() > 0.0);
        assert!(count(&stats["connection"], "rtt_us") > 0);
        assert_eq!(stats["sockets"].as_array().unwrap().len(), 1);
        assert!(count(&stats["sockets"][0], "datagrams_received") > 0);
    }
    assert_eq!((count(&sent, "bytes_sent"), count(&sent, "bytes_received")), (1_000_000, 0));
    assert_eq!((count(&at_end, "bytes_sent"), count(&at_end, "bytes_received")), (0, 1_000_000));
    assert_eq!((&sent["peer"], &at_end["local"]), (&at.clone().into(), &at.into()));
    let packets = count(&sent["connection"], "data_packets_sent");
    assert!(packets >= 1_000_000 / 1472, "{packets}");
    assert!(count(&sent["connection"], "wire_bytes_sent") >= 1_000_000 + 20 * packets);
}

#[test]
fn of_a_cat_both_ways() {
    let mut listener = start_fed(["cat", "--listen", "127.0.0.1:0", "--stats"]);
    let mut caller = start_fed(["cat", &listener.address(), "--stats=-"]);
    caller.feed_all(data(30_000, 1));
    listener.feed_all(data(20_000, 2));
    let (listener, caller) = (listener.finish().succeeded().stats(), caller.finish().succeeded().stats());
    assert_eq!((count(&caller, "bytes_sent"), count(&caller, "bytes_received")), (30_000, 20_000));
    assert_eq!((count(&listener, "bytes_sent"), count(&listener, "bytes_received")), (20_000, 30_000));
}

#[test]
fn of_a_run_that_failed_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("stats.json");
    let send = run(["send", "/nonexistent", "127.0.0.1:9", &format!("--stats={}", arg(&path))]);
    let stats = read(&path);
    assert_eq!((&stats["command"], &stats["ok"]), (&"send".into(), &Value::Bool(false)));
    assert_eq!(stats["error"], send.failed());
    assert_eq!(count(&stats, "bytes_sent"), 0);
}

#[cfg(unix)]
#[test]
fn of_a_run_that_was_broken_off() {
    let recv = start(["recv", "--listen", "127.0.0.1:0", "--stats"]);
    let mut send = start_fed(["send", "-", &recv.address(), "--stats"]);
    send.feed(b"four");
    recv.stdout_is(b"four");
    send.signal(nix::sys::signal::Signal::SIGINT);
    for end in [send.finish(), recv.finish()] {
        let stats = end.stats();
        assert_eq!(stats["ok"], false);
        assert_eq!(stats["error"], end.failed());
        assert_eq!(count(&stats, "bytes_sent") + count(&stats, "bytes_received"), 4);
        assert!(count(&stats["connection"], "packets_sent") > 0);
    }
}

#[test]
fn where_they_cannot_be_written_nothing_is_done() {
    let demo = run(["demo", "--size=1KiB", "--stats=/nonexistent/file"]);
    assert!(demo.failed().starts_with("cannot write /nonexistent/file: "));
    assert_eq!(demo.stdout, b"");
}

/// `--stats` takes its file after `=` only, or it would swallow the next argument.
#[test]
fn the_next_argument_is_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "payload").unwrap();
    let demo = run(["demo", "--stats", arg(&file)]).succeeded();
    assert_eq!(demo.stats()["bytes_sent"], 7);
    assert_eq!(fs::read(&file).unwrap(), b"payload");
}
