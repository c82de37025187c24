//! `utp send` and `utp recv`: what arrives is what was sent, under its name once it is whole, and not before.

mod common;

use std::fs;
use std::io::Read;
use std::net::UdpSocket;
use std::path::Path;

use common::{Running, arg, data, names, run, start, start_fed, start_held, until};

/// A receiver that writes to `out`, and where it listens.
fn receiver(out: &Path) -> (Running, String) {
    let recv = start(["recv", "--listen", "127.0.0.1:0", "--out", arg(out), "--idle-timeout=3s"]);
    let at = recv.address();
    (recv, at)
}

/// A transfer that has begun and will not end by itself: the receiver has `PART` bytes in a temporary file.
fn half_way(out: &Path) -> (Running, Running) {
    let (recv, at) = receiver(out);
    let mut send = start_fed(["send", "-", &at, "--give-up-after=2s"]);
    send.feed(&data(PART, 1));
    let directory = out.parent().unwrap();
    until("half a file", || {
        let names = names(directory);
        let part = names.iter().find(|name| name.ends_with(".part"))?;
        (fs::metadata(directory.join(part)).ok()?.len() == PART as u64).then_some(())
    });
    (recv, send)
}

const PART: usize = 300_000;

#[test]
fn a_file_arrives_byte_for_byte() {
    let directory = tempfile::tempdir().unwrap();
    let (from, to) = (directory.path().join("from"), directory.path().join("to"));
    for (len, seed) in [(0, 1), (1, 2), (5_000_001, 3)] {
        let bytes = data(len, seed);
        fs::write(&from, &bytes).unwrap();
        // From the second time on, there is a file to be replaced.
        let (recv, at) = receiver(&to);
        let send = run(["send", arg(&from), &at]).succeeded();
        let recv = recv.finish().succeeded();
        assert!(fs::read(&to).unwrap() == bytes, "{len} bytes");
        assert_eq!(names(directory.path()), ["from", "to"]);
        assert_eq!((send.stdout, send.stderr.as_str(), recv.stdout), (vec![], "", vec![]));
    }
}

#[test]
fn stdin_arrives_at_stdout() {
    let bytes = data(3_000_000, 1);
    let recv = start(["recv", "--listen", "127.0.0.1:0"]);
    let mut send = start_fed(["send", "-", &recv.address()]);
    send.feed_all(bytes.clone());
    // What has been written is passed on before there is more.
    recv.stdout_is(&bytes);
    send.finish().succeeded();
    assert!(recv.finish().succeeded().stdout == bytes);
}

#[test]
fn output_appears_as_it_comes() {
    let recv = start(["recv", "--listen", "127.0.0.1:0", "--out", "-"]);
    let mut send = start_fed(["send", "-", &recv.address()]);
    send.feed(b"one");
    recv.stdout_is(b"one");
    send.feed(b"two");
    recv.stdout_is(b"onetwo");
    send.close_stdin();
    recv.finish().succeeded();
    send.finish().succeeded();
}

#[test]
fn over_ipv6() {
    if UdpSocket::bind("[::1]:0").is_err() {
        eprintln!("no IPv6 here");
        return;
    }
    let recv = start(["recv", "--listen", "[::1]:0"]);
    let mut send = start_fed(["send", "-", &recv.address()]);
    send.feed_all(b"six".to_vec());
    assert_eq!(recv.finish().succeeded().stdout, b"six");
    send.finish().succeeded();
}

#[test]
fn without_a_host() {
    let recv = start(["recv", "--listen", ":0"]);
    let port = recv.address().rsplit_once(':').unwrap().1.to_owned();
    let mut send = start_fed(["send", "-", &format!(":{port}")]);
    send.feed_all(b"here".to_vec());
    assert_eq!(recv.finish().succeeded().stdout, b"here");
    send.finish().succeeded();
}

#[test]
fn sender_killed() {
    // One after the other is begun and broken off before any of them times out.
    let (empty, full) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let old = full.path().join("file");
    fs::write(&old, "old").unwrap();
    let (no_file, mut send) = half_way(&empty.path().join("file"));
    send.kill();
    let (old_file, mut send) = half_way(&old);
    assert_eq!(fs::read(&old).unwrap(), b"old");
    send.kill();

    assert!(no_file.finish().failed().contains("timed out"));
    assert_eq!(names(empty.path()), [""; 0]);
    assert!(old_file.finish().failed().contains("timed out"));
    assert_eq!(names(full.path()), ["file"]);
    assert_eq!(fs::read(&old).unwrap(), b"old");
}

#[test]
fn receiver_killed() {
    let directory = tempfile::tempdir().unwrap();
    let (mut recv, mut send) = half_way(&directory.path().join("file"));
    recv.kill();
    send.feed_all(data(100_000, 2));
    assert!(send.finish().failed().contains("timed out"));
    assert!(!directory.path().join("file").exists());
}

/// Nothing is under way then but probes of the window, and nobody answers them.
#[test]
fn receiver_killed_while_it_took_nothing() {
    let mut recv = start_held(["recv", "--listen", "127.0.0.1:0"]);
    let mut send = start_fed(["send", "-", &recv.address(), "--give-up-after=2s", "--stats"]);
    // Pipes and windows full: stdin takes no more, as nothing takes from stdout.
    send.feed_all(data(8_000_000, 1));
    let mut stdout = recv.hold();
    stdout.read_exact(&mut [0; 100_000]).unwrap();
    recv.kill();
    let send = send.finish();
    assert!(send.failed().contains("timed out"));
    assert!(send.stats()["bytes_sent"].as_u64().unwrap() < 8_000_000);
}

#[cfg(unix)]
#[test]
fn sender_interrupted() {
    use nix::sys::signal::Signal;
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let directory = tempfile::tempdir().unwrap();
        let (recv, send) = half_way(&directory.path().join("file"));
        send.signal(signal);
        assert_eq!(send.finish().failed(), "interrupted");
        let recv = recv.finish();
        assert!(recv.failed().contains("reset"), "{recv:?}");
        assert_eq!(names(directory.path()), [""; 0]);
    }
}

#[cfg(unix)]
#[test]
fn receiver_interrupted() {
    let directory = tempfile::tempdir().unwrap();
    let (recv, mut send) = half_way(&directory.path().join("file"));
    recv.signal(nix::sys::signal::Signal::SIGINT);
    assert_eq!(recv.finish().failed(), "interrupted");
    send.feed_all(data(100_000, 2));
    assert!(send.finish().failed().contains("reset"));
    assert_eq!(names(directory.path()), [""; 0]);
}

#[cfg(unix)]
#[test]
fn interrupted_while_it_waits() {
    use nix::sys::signal::Signal::SIGINT;
    let directory = tempfile::tempdir().unwrap();
    let (recv, _) = receiver(&directory.path().join("file"));
    recv.signal(SIGINT);
    assert_eq!(recv.finish().failed(), "interrupted");
    assert_eq!(names(directory.path()), [""; 0]);

    // For the peer's answer: the first SYN shows that it is under way.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    silent.set_read_timeout(Some(common::LIMIT)).unwrap();
    let send = start(["send", "/dev/null", &silent.local_addr().unwrap().to_string()]);
    silent.recv_from(&mut [0; 100]).unwrap();
    send.signal(SIGINT);
    assert_eq!(send.finish().failed(), "interrupted");
}

/// Opening a named pipe blocks until there is somebody at its other end.
#[cfg(target_os = "linux")]
#[test]
fn interrupted_while_a_pipe_has_no_other_end() {
    use nix::sys::signal::Signal::SIGINT;
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for args in
        [["send", arg(&pipe), "127.0.0.1:9"].as_slice(), &["recv", "--listen=:0", "--out", arg(&pipe)]]
    {
        let waits = start(args);
        // It must have come as far as to handle the signal.
        caught(&waits, SIGINT);
        waits.signal(SIGINT);
        assert_eq!(waits.finish().failed(), "interrupted", "{args:?}");
    }
}

/// Waits until a process has a handler for the signal.
#[cfg(target_os = "linux")]
fn caught(process: &Running, signal: nix::sys::signal::Signal) {
    let path = format!("/proc/{}/status", process.id());
    until("a signal handler", || {
        let status = fs::read_to_string(&path).ok()?;
        let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
        let mask = u64::from_str_radix(mask.trim(), 16).ok()?;
        (mask & 1 << (signal as i32 - 1) != 0).then_some(())
    });
}

#[cfg(target_os = "linux")]
#[test]
fn receiver_out_of_space() {
    let (recv, at) = receiver(Path::new("/dev/full"));
    let mut send = start_fed(["send", "-", &at]);
    send.feed_all(data(100_000, 1));
    let recv = recv.finish();
    assert!(recv.failed().contains("cannot write /dev/full: No space"), "{recv:?}");
    assert!(send.finish().failed().contains("reset"));
}

#[test]
fn the_reader_of_stdout_goes_away() {
    let mut recv = start_held(["recv", "--listen", "127.0.0.1:0"]);
    let mut send = start_fed(["send", "-", &recv.address()]);
    send.feed(b"first");
    let mut stdout = recv.hold();
    stdout.read_exact(&mut [0; 5]).unwrap();
    drop(stdout);
    send.feed(b"second");
    assert!(recv.finish().failed().contains("cannot write stdout"));
    // Only now it has something to say that cannot arrive.
    send.feed_all(data(100_000, 1));
    assert!(send.finish().failed().contains("reset"));
}

#[test]
fn a_second_sender_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    let (recv, mut first) = half_way(&path);
    let address = recv.address();
    let second = run(["send", arg(&directory.path().join("none")), &address]);
    assert!(second.failed().contains("cannot open"));
    let mut second = start_fed(["send", "-", &address]);
    second.feed_all(b"intruder".to_vec());
    assert!(second.finish().failed().contains("refused"));
    first.close_stdin();
    first.finish().succeeded();
    recv.finish().succeeded();
    assert!(fs::read(&path).unwrap() == data(PART, 1));
}

#[test]
fn nobody_answers() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut send =
        start_fed(["send", "-", &silent.local_addr().unwrap().to_string(), "--connect-timeout=0.3"]);
    send.close_stdin();
    let send = send.finish();
    assert!(send.failed().starts_with("cannot connect to 127.0.0.1:"), "{send:?}");
    assert!(send.failed().ends_with("timed out"), "{send:?}");
}

#[test]
fn the_port_is_taken() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let at = taken.local_addr().unwrap().to_string();
    let recv = run(["recv", "--listen", &at, "--out", arg(&directory.path().join("file"))]);
    assert!(recv.failed().starts_with(&format!("cannot listen on {at}: ")), "{recv:?}");
    assert_eq!(names(directory.path()), [""; 0]);
}

#[test]
fn where_no_file_can_be() {
    let directory = tempfile::tempdir().unwrap();
    let path = arg(directory.path());
    for (out, why) in [
        (path.to_owned(), "is a directory"),
        (format!("{path}/new/"), "names a directory"),
        (format!("{path}/new/file"), "No such file"),
    ] {
        let recv = run(["recv", "--listen=127.0.0.1:0", "--out", &out]);
        assert!(recv.failed().starts_with(&format!("cannot write {out}: ")), "{recv:?}");
        assert!(recv.failed().contains(why), "{recv:?}");
    }
    assert!(run(["send", path, "127.0.0.1:9"]).failed().contains("is a directory"));
}

/// Temporary names are longer.
#[test]
fn a_name_as_long_as_names_can_be() {
    let directory = tempfile::tempdir().unwrap();
    let name = "n".repeat(255);
    let (recv, at) = receiver(&directory.path().join(&name));
    let mut send = start_fed(["send", "-", &at]);
    send.feed_all(b"x".to_vec());
    recv.finish().succeeded();
    send.finish().succeeded();
    assert_eq!(names(directory.path()), [name]);
}

#[cfg(unix)]
#[test]
fn links_and_permissions() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let directory = tempfile::tempdir().unwrap();
    let (real, link, other) =
        (directory.path().join("real"), directory.path().join("link"), directory.path().join("other"));
    fs::write(&real, "old").unwrap();
    symlink("real", &link).unwrap();
    fs::write(&other, "").unwrap();
    let (recv, at) = receiver(&link);
    let mut send = start_fed(["send", "-", &at]);
    send.feed_all(b"new".to_vec());
    recv.finish().succeeded();
    send.finish().succeeded();
    assert!(link.is_symlink() && fs::read(&real).unwrap() == b"new");
    // As the mask of this process has it, for one as for the other.
    let mode = |path| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&real), mode(&other));
}

/// A receiver of another make may take everything and say nothing.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_confirms() {
    use tokio::io::AsyncReadExt;
    let listener = utp_tokio::UtpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().to_string();
    let mut send = start_fed(["send", "-", &at, "--confirm-timeout=0.3"]);
    send.feed_all(b"hello".to_vec());
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut received = Vec::new();
    stream.read_to_end(&mut received).await.unwrap();
    assert_eq!(received, b"hello");
    let send = send.finish();
    assert_eq!(send.code, Some(0));
    assert!(send.stderr.contains("did not confirm"), "{send:?}");
}

/// One may take everything, and then have nowhere to put it.
#[tokio::test(flavor = "multi_thread")]
async fn the_receiver_thinks_better_of_it() {
    use tokio::io::AsyncReadExt;
    let listener = utp_tokio::UtpListener::bind("127.0.0.1:0").await.unwrap();
    let mut send = start_fed(["send", "-", &listener.local_addr().to_string()]);
    send.feed_all(b"hello".to_vec());
    let (mut stream, _) = listener.accept().await.unwrap();
    stream.read_to_end(&mut Vec::new()).await.unwrap();
    stream.abort();
    assert!(send.finish().failed().contains("did not keep it"));
}

/// Whoever sends a FIN has sent everything; whoever is dropped in the middle has not.
#[tokio::test(flavor = "multi_thread")]
async fn a_reset_by_another_make_leaves_no_file() {
    use tokio::io::AsyncWriteExt;
    let directory = tempfile::tempdir().unwrap();
    let (recv, at) = receiver(&directory.path().join("file"));
    let mut stream = utp_tokio::UtpStream::connect(&at).await.unwrap();
    stream.write_all(&data(PART, 1)).await.unwrap();
    stream.acked().await.unwrap();
    stream.abort();
    assert!(recv.finish().failed().contains("reset"));
    assert_eq!(names(directory.path()), [""; 0]);
}
