//! UDP without a protocol: what the kernel can do with datagrams of the size that ours have.

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use socket2::SockRef;

/// A socket with large buffers.
pub(super) fn socket() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let options = SockRef::from(&socket);
    options.set_recv_buffer_size(BUFFER)?;
    options.set_send_buffer_size(BUFFER)?;
    Ok(socket)
}

/// Receives until nothing has come for a while after something did. Gives bytes, the time from the first to
/// the last of them, and system calls.
pub(super) fn receive(socket: &UdpSocket, batched: bool) -> io::Result<(u64, Duration, u64)> {
    socket.set_nonblocking(false)?;
    let mut first = None;
    let (mut last, mut bytes, mut calls) = (Instant::now(), 0, 0);
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    if batched {
        let state = UdpSocketState::new(UdpSockRef::from(socket))?;
        socket.set_nonblocking(false)?;
        let mut storage = vec![vec![0; 64 << 10]; BATCH_SIZE];
        loop {
            let mut slices: Vec<_> = storage.iter_mut().map(|buf| IoSliceMut::new(buf)).collect();
            let mut metas = [RecvMeta::default(); BATCH_SIZE];
            let Ok(count) = state.recv(UdpSockRef::from(socket), &mut slices, &mut metas) else { break };
            calls += 1;
            last = note(socket, &mut first)?;
            bytes += metas[..count].iter().map(|meta| meta.len as u64).sum::<u64>();
        }
    } else {
        let mut buf = [0; 2048];
        while let Ok(len) = socket.recv(&mut buf) {
            calls += 1;
            last = note(socket, &mut first)?;
            bytes += len as u64;
        }
    }
    Ok((bytes, first.map_or(Duration::ZERO, |first| last - first), calls))
}

/// From the first datagram on, silence means the end.
fn note(socket: &UdpSocket, first: &mut Option<Instant>) -> io::Result<Instant> {
    let now = Instant::now();
    if first.is_none() {
        *first = Some(now);
        socket.set_read_timeout(Some(SILENCE))?;
    }
    Ok(now)
}

/// Sends `bytes` as fast as the kernel takes them. Gives system calls.
pub(super) fn send(socket: &UdpSocket, to: SocketAddr, bytes: u64, batched: bool) -> io::Result<u64> {
    let mut calls = 0;
    if batched {
        let state = UdpSocketState::new(UdpSockRef::from(socket))?;
        socket.set_nonblocking(false)?;
        let segments = state.max_gso_segments().min(65_507 / SEGMENT);
        let contents = vec![0x5a; segments * SEGMENT];
        for _ in 0..bytes / contents.len() as u64 {
            let transmit = Transmit {
                destination: to,
                ecn: None,
                contents: &contents,
                segment_size: Some(SEGMENT),
                src_ip: None,
            };
            state.try_send(UdpSockRef::from(socket), &transmit)?;
            calls += 1;
        }
    } else {
        socket.connect(to)?;
        let contents = [0x5a; SEGMENT];
        for _ in 0..bytes / SEGMENT as u64 {
            socket.send(&contents)?;
            calls += 1;
        }
    }
    Ok(calls)
}

/// Answers each datagram until one is empty.
pub(super) fn echo(socket: &UdpSocket) -> io::Result<()> {
    let mut buf = [0; 2048];
    loop {
        let (len, from) = socket.recv_from(&mut buf)?;
        if len == 0 {
            return Ok(());
        }
        socket.send_to(&buf[..len], from)?;
    }
}

/// UDP payload within an MTU of 1500 bytes.
const SEGMENT: usize = 1472;

/// As much as the system grants.
const BUFFER: usize = 8 << 20;

/// What ends a measurement.
const SILENCE: Duration = Duration::from_millis(500);
