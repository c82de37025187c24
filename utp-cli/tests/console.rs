//! What people and scripts see: exit codes, one line for a failure, help, progress, and nothing on stdout
//! that does not belong there.

mod common;

use common::{run, start};

#[test]
fn wrong_usage() {
    for args in [
        [].as_slice(),
        &["fly"],
        &["--fly"],
        &["demo", "file", "--size=1"],
        &["demo", "--size", "much"],
        &["send"],
        &["send", "file"],
        &["send", "file", "nowhere"],
        &["send", "file", "host:http"],
        &["send", "file", "tcp://host:1"],
        &["recv"],
        &["recv", "--listen", "::1:80"],
        &["recv", "--listen", ":1", "--out", ""],
        &["cat"],
        &["cat", ":1", "--listen", ":1"],
        &["cat", ":1", "--speak-first"],
        &["proxy", "--listen", "tcp://:1"],
        &["proxy", "--listen", ":1", "--to", "utp://:1"],
        &["proxy", "--listen", "tcp://:1", "--to", "tcp://:2"],
        &["proxy", "--listen", "tcp://:1", "--to", "utp://:2", "--max-connections=0"],
        &["demo", "--mtu=1"],
        &["demo", "--buffer=1"],
        &["demo", "--target-delay=1s"],
        &["demo", "--connect-timeout=never"],
        &["demo", "--give-up-after=2days"],
    ] {
        let wrong = run(args);
        assert_eq!(wrong.code, Some(2), "{args:?}: {wrong:?}");
        assert_eq!(wrong.stdout, b"", "{args:?}");
        assert!(
            wrong.stderr.contains("Usage: utp") || wrong.stderr.contains("--help"),
            "{args:?}: {wrong:?}"
        );
    }
    // What is out of range is named as it is on the command line, and so is the command.
    let wrong = run(["demo", "--buffer=1"]).stderr;
    assert!(wrong.contains("--buffer") && wrong.contains("Usage: utp demo"), "{wrong}");
}

#[test]
fn help_and_version() {
    let help = run(["help"]).succeeded();
    let text = String::from_utf8(help.stdout).unwrap();
    for command in ["demo", "send", "recv", "cat", "proxy"] {
        assert!(text.lines().any(|line| line.trim_start().starts_with(command)), "{text}");
        let of_command = run(["help", command]).succeeded();
        assert!(String::from_utf8(of_command.stdout).unwrap().contains(&format!("Usage: utp {command}")));
    }
    assert!(text.contains("Exit codes: 0"), "{text}");
    let version = run(["--version"]).succeeded();
    let version = String::from_utf8(version.stdout).unwrap();
    assert_eq!(version.trim(), concat!("utp ", env!("CARGO_PKG_VERSION")));
}

#[test]
fn quiet() {
    let recv = start(["recv", "--listen", "127.0.0.1:0", "-q"]);
    // Nobody else knows the port.
    let at = recv.address();
    let send = run(["--quiet", "send", "/nonexistent", &at]);
    assert!(send.failed().starts_with("cannot open /nonexistent: "));
    drop(recv);
    // A port that was asked for needs no announcement; that it is taken is an error.
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let recv = run(["recv", "-q", "--listen", &taken.local_addr().unwrap().to_string()]);
    assert!(recv.failed().starts_with("cannot listen on "));
}

#[test]
fn a_name_that_does_not_resolve() {
    // RFC 6761: there is no such name, and never will be.
    let cat = run(["cat", "nobody.invalid:1"]);
    assert!(cat.failed().starts_with("cannot resolve nobody.invalid: "), "{cat:?}");
}

#[cfg(unix)]
mod on_a_terminal {
    use std::fs::File;
    use std::process::Stdio;

    use nix::pty::{Winsize, openpty};

    use super::common::{Gather, Running, start, start_fed, utp};

    /// Starts the command with a terminal for its stderr, and gives what appears there.
    fn watched(args: &[&str]) -> (Running, Gather) {
        let size = Winsize { ws_row: 24, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
        let terminal = openpty(&size, None).unwrap();
        let mut command = utp(args);
        command.stdin(Stdio::piped()).stderr(terminal.slave).env("TERM", "xterm").env_remove("NO_COLOR");
        (Running::new(command), Gather::new(File::from(terminal.master)))
    }

    fn shows(screen: &Gather, expected: &str) {
        screen.wait(expected, |bytes, ended| {
            let text = String::from_utf8_lossy(bytes);
            assert!(text.contains(expected) || !ended, "it ended: {text}");
            text.contains(expected).then_some(())
        });
    }

    #[test]
    fn a_sender_shows_progress_and_a_summary() {
        let recv = start(["recv", "--listen", "127.0.0.1:0"]);
        let (mut send, screen) = watched(&["send", "-", &recv.address()]);
        send.feed(&[0; 100_000]);
        shows(&screen, "sending");
        // While nothing is to be read and nothing else happens.
        shows(&screen, "97.66 KiB ");
        shows(&screen, ", 0 resent");
        send.close_stdin();
        shows(&screen, "utp: sent 97.66 KiB in ");
        assert_eq!(send.finish().stdout, b"");
        assert_eq!(recv.finish().succeeded().stdout.len(), 100_000);
    }

    #[test]
    fn a_receiver_shows_progress_and_keeps_stdout_clean() {
        let (recv, screen) = watched(&["recv", "--listen", "127.0.0.1:0"]);
        let at = screen.wait("the address", |bytes, _| {
            let text = String::from_utf8_lossy(bytes);
            let (_, rest) = text.split_once("listening on utp://")?;
            Some(rest.split_once('\r')?.0.to_owned())
        });
        let mut send = start_fed(["send", "-", &at]);
        send.feed(b"data");
        recv.stdout_is(b"data");
        shows(&screen, "receiving");
        send.close_stdin();
        assert_eq!(recv.finish().stdout, b"data");
        shows(&screen, "utp: received 4 B in ");
        send.finish().succeeded();
    }

    #[test]
    fn the_demo_shows_progress_apart_from_its_results() {
        let (demo, screen) = watched(&["demo", "--size=8MiB"]);
        let demo = demo.finish();
        assert_eq!(demo.code, Some(0));
        let out = String::from_utf8(demo.stdout).unwrap();
        assert!(out.starts_with("sent ") && !out.contains('\u{1b}'), "{out}");
        let screen = String::from_utf8(screen.all("the end")).unwrap();
        assert!(screen.contains("hashing") && screen.contains("8.00 MiB"), "{screen}");
        assert!(!screen.contains("goodput"), "{screen}");
    }

    #[test]
    fn quiet_shows_nothing() {
        let recv = start(["recv", "--listen", "127.0.0.1:0"]);
        let (mut send, screen) = watched(&["send", "-", &recv.address(), "--quiet"]);
        send.feed(&[0; 100_000]);
        recv.stdout_is(&[0; 100_000]);
        send.close_stdin();
        assert_eq!(send.finish().code, Some(0));
        assert_eq!(screen.all("the end"), b"");
        recv.finish().succeeded();
    }
}
