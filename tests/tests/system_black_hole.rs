//! A path of IPv6 that takes less from one moment on, without a word, between two real kernels: what was under way is
//! repaired, which takes fragments, that only the sender's own system makes.
#![cfg(target_os = "linux")]

use std::fs::File;
use std::io::{Read, Write};
use std::net::Ipv6Addr;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use utp_tests::conformance::tokio::Tokio;
use utp_tests::conformance::tools::{expect_end, receive, send};
use utp_tests::conformance::{Adapter, LIMIT, within};
use utp_tests::linkemu::host::Host;
use utp_tokio::{SocketConfig, UtpSocket};

/// In a user namespace of its own, if that is allowed here: this program once more.
#[test]
fn a_black_hole_of_ipv6_is_repaired() {
    let script = |script: &str| {
        let inside = [("INSIDE", "1")];
        Command::new("unshare").args(["-rn", "sh", "-c", script]).envs(inside).output()
    };
    if std::env::var_os("INSIDE").is_some() {
        return within(LIMIT, repaired);
    }
    let possible = "ip tuntap add dev em9 mode tun && ip -6 addr add fd00::1 dev em9";
    if !script(possible).is_ok_and(|output| output.status.success()) {
        println!("skipped: no unprivileged network namespaces, no TUN device, no IPv6, or no `ip`");
        return;
    }
    let test = std::env::current_exe().expect("this program");
    let output = script(&format!("exec {} --nocapture", test.display())).expect("a program");
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}");
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn repaired() {
    let [sender, receiver] = [1, 2].map(|number| host(number).expect("a host"));
    let path = Path::default();
    let (told, address) = mpsc::channel();
    receiver.run(move || {
        runtime().block_on(async {
            let socket = bind(2).await;
            told.send(socket.local_addr()).expect("somebody who asks");
            let (mut reader, mut writer) = Tokio::split(Tokio::accept(&socket).await.expect("accept").0);
            receive::<Tokio>(&mut reader, 1, LENGTH).await;
            expect_end::<Tokio>(&mut reader).await;
            Tokio::finish(&mut writer).await.expect("finish");
            Tokio::closed(Tokio::stream(&writer)).await;
        });
    });
    let to = address.recv().expect("an address");
    let stats = thread::scope(|scope| {
        scope.spawn(|| path.carry([&sender.tun, &receiver.tun]));
        let stats = sender.ask(move || {
            runtime().block_on(async {
                let stream = Tokio::connect(&bind(1).await, to).await.expect("connect");
                let (mut reader, mut writer) = Tokio::split(stream);
                send::<Tokio>(&mut writer, 1, LENGTH).await;
                Tokio::finish(&mut writer).await.expect("finish");
                expect_end::<Tokio>(&mut reader).await;
                Tokio::closed(Tokio::stream(&writer)).await;
                Tokio::stats(Tokio::stream(&writer))
            })
        });
        path.over.store(true, Relaxed);
        stats.expect("it arrives")
    });
    let [large, swallowed, fragments] =
        [&path.large, &path.swallowed, &path.fragments].map(|count| count.load(Relaxed));
    println!("{large} large packets, {swallowed} swallowed, {fragments} fragments; then {} bytes", stats.mtu);
    assert!(large > 100 && swallowed > 1 && fragments > 1);
    assert!(stats.mtu as usize <= NARROW - HEADERS, "{}", stats.mtu);
}

/// A host with an address of IPv6 besides.
fn host(number: u8) -> std::io::Result<Host> {
    let host = Host::new(number)?;
    let address = format!("{}/64", ip(number));
    let status = host.ask(move || {
        Command::new("ip").args(["-6", "addr", "add", &address, "dev", "em0", "nodad"]).status()
    })??;
    assert!(status.success());
    Ok(host)
}

fn ip(number: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 9, 0, 0, 0, 0, 0, number.into())
}

async fn bind(number: u8) -> UtpSocket {
    Tokio::bind((ip(number), 0).into(), SocketConfig::default()).await.expect("bind")
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// What lies between the two.
#[derive(Default)]
struct Path {
    over: AtomicBool,
    /// Packets that are longer than what passes later, those of them that no longer passed, and fragments.
    large: AtomicUsize,
    swallowed: AtomicUsize,
    fragments: AtomicUsize,
}

impl Path {
    fn carry(&self, mut tuns: [&File; 2]) {
        let (mut buffer, mut carried) = ([0; 2048], 0);
        while !self.over.load(Relaxed) {
            let mut readable = tuns.map(|tun| PollFd::new(tun.as_fd(), PollFlags::POLLIN));
            let _ = poll(&mut readable, PollTimeout::from(50u8));
            for from in 0..2 {
                while let Ok(len) = tuns[from].read(&mut buffer) {
                    carried += len;
                    self.fragments.fetch_add(usize::from(buffer[6] == FRAGMENT), Relaxed);
                    if len > NARROW {
                        self.large.fetch_add(1, Relaxed);
                        if carried > LENGTH / 2 {
                            self.swallowed.fetch_add(1, Relaxed);
                            continue;
                        }
                    }
                    // A full device loses packets, as any does.
                    let _ = tuns[1 - from].write(&buffer[..len]);
                }
            }
        }
    }
}

/// Bytes to be sent.
const LENGTH: usize = 8 << 20;

/// What the path takes in the end: what every one of IPv6 does.
const NARROW: usize = 1280;

/// Of IPv6 and UDP.
const HEADERS: usize = 48;

/// The next header of a fragment (RFC 8200 4.5).
const FRAGMENT: u8 = 44;
