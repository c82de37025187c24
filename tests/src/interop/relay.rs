//! A UDP relay between two peers on loopback, which drops, reorders and duplicates with a seed. It
//! runs on a thread of its own and moves datagrams in batches, so that it is never the bottleneck.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::Notify;

use super::faults::{Direction, Fate, Faults, Lane};
use super::socket;
use super::trace::{Packet, Record};

/// The relay: the dialer connects to [`addr`](Self::addr), and reaches the target. Dropping it ends it.
#[derive(Debug)]
pub struct Relay {
    addr: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Starts a relay in front of `target`, keeping the last `trace` packets.
    ///
    /// # Errors
    /// Those of opening its two sockets.
    pub fn start(target: SocketAddr, faults: &Faults, trace: usize) -> io::Result<Self> {
        let any = match target.ip() {
            IpAddr::V4(_) => SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            IpAddr::V6(_) => SocketAddr::from((Ipv6Addr::LOCALHOST, 0)),
        };
        let (front, back) = (socket::bind(any)?, socket::bind(any)?);
        let addr = front.local_addr()?;
        let shared = Arc::new(Shared::new(trace));
        let lanes = [Direction::Forth, Direction::Back].map(|d| Lane::new(faults.clone(), d));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread_shared = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("relay".into()).spawn(move || {
            let run = async {
                let [forth, back_lane] = lanes;
                let [front, back] = [Port::new(front)?, Port::new(back)?];
                let mut pump = Pump::new(thread_shared);
                pump.run(front, back, target, forth, back_lane).await
            };
            if let Err(error) = runtime.block_on(run) {
                panic!("the relay failed: {error}");
            }
        })?;
        Ok(Self { addr, shared, thread: Some(thread) })
    }

    /// Where the dialer has to connect to.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// From now on nothing passes, either way.
    pub fn cut(&self) {
        self.shared.cut.store(true, Relaxed);
    }

    /// What happened so far.
    #[must_use]
    pub fn counts(&self) -> RelayCounts {
        RelayCounts { forth: self.shared.forth.load(), back: self.shared.back.load() }
    }

    /// The last packets, oldest first.
    #[must_use]
    pub fn trace(&self) -> Vec<Record> {
        self.shared.records().iter().cloned().collect()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.stop.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !std::thread::panicking()
        {
            panic!("the relay's thread failed");
        }
    }
}

/// What a relay did.
#[derive(Debug, Clone, Copy, Default)]
pub struct RelayCounts {
    /// From the dialer to the acceptor.
    pub forth: LaneCounts,
    /// From the acceptor to the dialer.
    pub back: LaneCounts,
}

/// What a relay did in one direction, in datagrams.
#[derive(Debug, Clone, Copy, Default)]
pub struct LaneCounts {
    /// That arrived.
    pub received: u64,
    /// Their bytes, UDP payload.
    pub bytes: u64,
    /// That were dropped.
    pub dropped: u64,
    /// That were overtaken on purpose.
    pub delayed: u64,
    /// That went on twice.
    pub doubled: u64,
    /// That arrived after the line was cut.
    pub cut: u64,
}

impl fmt::Display for RelayCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dialer>acceptor {}; acceptor>dialer {}", self.forth, self.back)
    }
}

impl fmt::Display for LaneCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { received, bytes, dropped, delayed, doubled, cut } = self;
        write!(
            f,
            "{received} ({bytes} bytes), {dropped} dropped, {delayed} delayed, {doubled} doubled, {cut} cut"
        )
    }
}

#[derive(Debug)]
struct Shared {
    started: Instant,
    cut: AtomicBool,
    stop: Notify,
    forth: Counters,
    back: Counters,
    keep: usize,
    records: Mutex<VecDeque<Record>>,
}

impl Shared {
    fn new(keep: usize) -> Self {
        Self {
            started: Instant::now(),
            cut: AtomicBool::new(false),
            stop: Notify::new(),
            forth: Counters::default(),
            back: Counters::default(),
            keep,
            records: Mutex::default(),
        }
    }

    fn counters(&self, direction: Direction) -> &Counters {
        match direction {
            Direction::Forth => &self.forth,
            Direction::Back => &self.back,
        }
    }

    fn records(&self) -> std::sync::MutexGuard<'_, VecDeque<Record>> {
        self.records.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn note(&self, now: Instant, direction: Direction, fate: Option<Fate>, data: &[u8]) {
        let counters = self.counters(direction);
        counters.received.fetch_add(1, Relaxed);
        counters.bytes.fetch_add(data.len() as u64, Relaxed);
        match fate {
            Some(Fate::Passed) => {}
            Some(Fate::Dropped) => _ = counters.dropped.fetch_add(1, Relaxed),
            Some(Fate::Delayed) => _ = counters.delayed.fetch_add(1, Relaxed),
            Some(Fate::Doubled) => _ = counters.doubled.fetch_add(1, Relaxed),
            None => _ = counters.cut.fetch_add(1, Relaxed),
        }
        if self.keep > 0 {
            let mut records = self.records();
            if records.len() == self.keep {
                records.pop_front();
            }
            let at = now.duration_since(self.started);
            records.push_back(Record { at, direction, fate, packet: Packet::decode(data) });
        }
    }
}

#[derive(Debug, Default)]
struct Counters {
    received: AtomicU64,
    bytes: AtomicU64,
    dropped: AtomicU64,
    delayed: AtomicU64,
    doubled: AtomicU64,
    cut: AtomicU64,
}

impl Counters {
    fn load(&self) -> LaneCounts {
        LaneCounts {
            received: self.received.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            dropped: self.dropped.load(Relaxed),
            delayed: self.delayed.load(Relaxed),
            doubled: self.doubled.load(Relaxed),
            cut: self.cut.load(Relaxed),
        }
    }
}

/// One of the two sockets.
struct Port {
    socket: UdpSocket,
    state: UdpSocketState,
}

impl Port {
    fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        let state = UdpSocketState::new((&socket).into())?;
        Ok(Self { socket: UdpSocket::from_std(socket)?, state })
    }

    fn receive(&self, bufs: &mut [IoSliceMut<'_>], meta: &mut [RecvMeta]) -> io::Result<usize> {
        self.socket.try_io(Interest::READABLE, || self.state.recv((&self.socket).into(), bufs, meta))
    }

    /// Sends equal-sized neighbours in one call. Errors of a single datagram (the peer is gone) are those
    /// of a network: nobody hears of them.
    async fn send(&self, to: SocketAddr, batch: &Batch) -> io::Result<()> {
        for (contents, segment) in batch.runs(self.state.max_gso_segments()) {
            let transmit = Transmit {
                destination: to,
                ecn: None,
                contents,
                segment_size: (contents.len() > segment).then_some(segment),
                src_ip: None,
            };
            loop {
                self.socket.writable().await?;
                let socket = &self.socket;
                match socket.try_io(Interest::WRITABLE, || self.state.try_send(socket.into(), &transmit)) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    _ => break,
                }
            }
        }
        Ok(())
    }
}

/// Datagrams one behind the other.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Batch {
    fn push(&mut self, datagram: &[u8]) {
        self.bytes.extend_from_slice(datagram);
        self.ends.push(self.bytes.len());
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// Runs of equal-sized datagrams, of which the last may be shorter, with the common size.
    fn runs(&self, max_segments: usize) -> impl Iterator<Item = (&[u8], usize)> {
        let mut next = 0;
        let mut start = 0;
        std::iter::from_fn(move || {
            let (first, mut end) = (start, *self.ends.get(next)?);
            let segment = end - first;
            let mut segments = 1;
            next += 1;
            while let Some(&following) = self.ends.get(next) {
                let size = following - end;
                if segments == max_segments || size > segment || following - first > MAX_RUN {
                    break;
                }
                (end, segments, next) = (following, segments + 1, next + 1);
                if size < segment {
                    break;
                }
            }
            start = end;
            Some((&self.bytes[first..end], segment))
        })
    }
}

struct Pump {
    shared: Arc<Shared>,
    buffers: Vec<Vec<u8>>,
    batch: Batch,
    /// Learned from what the dialer sends.
    dialer: Option<SocketAddr>,
}

impl Pump {
    fn new(shared: Arc<Shared>) -> Self {
        Self { shared, buffers: vec![vec![0; 65_536]; BATCH_SIZE], batch: Batch::default(), dialer: None }
    }

    async fn run(
        &mut self,
        front: Port,
        back: Port,
        target: SocketAddr,
        mut forth: Lane,
        mut back_lane: Lane,
    ) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        loop {
            let deadline = forth.deadline().into_iter().chain(back_lane.deadline()).min();
            tokio::select! {
                () = shared.stop.notified() => return Ok(()),
                ready = front.socket.readable() => {
                    ready?;
                    if let Some(from) = self.take(&front, &mut forth, Direction::Forth) {
                        self.dialer = Some(from);
                    }
                    back.send(target, &self.batch).await?;
                }
                ready = back.socket.readable() => {
                    ready?;
                    self.take(&back, &mut back_lane, Direction::Back);
                    if let Some(dialer) = self.dialer {
                        front.send(dialer, &self.batch).await?;
                    }
                }
                () = until(deadline) => {
                    self.release(&mut forth);
                    back.send(target, &self.batch).await?;
                    self.release(&mut back_lane);
                    if let Some(dialer) = self.dialer {
                        front.send(dialer, &self.batch).await?;
                    }
                }
            }
        }
    }

    /// Leaves in `self.batch` what was held long enough.
    fn release(&mut self, lane: &mut Lane) {
        self.batch.clear();
        lane.release(Instant::now(), |datagram| self.batch.push(datagram));
        if self.shared.cut.load(Relaxed) {
            self.batch.clear();
        }
    }

    /// Receives one batch and leaves in `self.batch` what has to go on. Returns the last sender.
    fn take(&mut self, port: &Port, lane: &mut Lane, direction: Direction) -> Option<SocketAddr> {
        let Self { shared, buffers, batch, .. } = self;
        batch.clear();
        let mut meta = [RecvMeta::default(); BATCH_SIZE];
        let mut slices: Vec<_> = buffers.iter_mut().map(|b| IoSliceMut::new(b)).collect();
        // An error is an ICMP message about a peer that is gone, or a false alarm.
        let count = port.receive(&mut slices, &mut meta).unwrap_or(0);
        let now = Instant::now();
        let cut = shared.cut.load(Relaxed);
        for (meta, buffer) in meta.iter().zip(buffers.iter()).take(count) {
            for datagram in buffer[..meta.len].chunks(meta.stride.max(1)) {
                let fate = (!cut).then(|| lane.push(now, datagram, |d| batch.push(d)));
                shared.note(now, direction, fate, datagram);
            }
        }
        count.checked_sub(1).map(|last| meta[last].addr)
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

const MAX_RUN: usize = 65_507 - 20; // what one UDP send may carry, less the difference of IPv6

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(sizes: &[usize], max: usize) -> Vec<(usize, usize)> {
        let mut batch = Batch::default();
        sizes.iter().for_each(|&size| batch.push(&vec![0; size]));
        batch.runs(max).map(|(run, segment)| (run.len(), segment)).collect()
    }

    #[test]
    fn neighbours_of_equal_size_go_out_together() {
        assert_eq!(runs(&[100, 100, 100], 64), [(300, 100)]);
        assert_eq!(runs(&[100, 100, 40, 100], 64), [(240, 100), (100, 100)]);
        assert_eq!(runs(&[40, 100, 100], 64), [(40, 40), (200, 100)]);
        assert_eq!(runs(&[100; 5], 2), [(200, 100), (200, 100), (100, 100)]);
        assert_eq!(runs(&[40_000, 40_000], 64), [(40_000, 40_000), (40_000, 40_000)]);
        assert_eq!(runs(&[], 64), []);
    }
}
