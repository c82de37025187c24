//! Cases: a reader that does not keep up holds its writer back, and only its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::join;
use utp_tokio::SocketConfig;

use super::Adapter;
use super::tools::{bind_with, config, connection, expect_end, receive, send, until};
use crate::interop::pattern::{Checker, Pattern};

/// Send buffer and receive buffer of the cases.
pub(super) const BUFFER: u64 = 64 << 10;

/// What may be under way besides the two buffers: a packet.
pub(super) const SLACK: u64 = 1500;

pub(super) fn small_buffers() -> SocketConfig {
    config(|config| {
        let bytes = BUFFER as usize;
        config.send_buffer(bytes).expect("a size").receive_buffer(bytes).expect("a size");
    })
}

/// Writes `length` bytes of stream `seed` and finishes; `written` tells how far it is.
pub(super) async fn write_counted<A: Adapter>(
    stream: A::Stream,
    seed: u64,
    length: u64,
    written: Arc<AtomicU64>,
) {
    let (_reader, mut writer) = A::split(stream);
    let mut data = vec![0; length as usize];
    Pattern::new(seed).fill(&mut data);
    let mut rest = &data[..];
    while !rest.is_empty() {
        let taken = A::write(&mut writer, rest).await.expect("write");
        rest = &rest[taken..];
        written.fetch_add(taken as u64, Ordering::Relaxed);
    }
    A::finish(&mut writer).await.expect("finish");
    A::acked(A::stream(&writer)).await.expect("delivery");
}

/// Memory stays bounded on both sides while nobody reads, and everything comes once somebody does.
pub async fn a_reader_that_stops_and_resumes<S: Adapter, C: Adapter>() {
    const LENGTH: u64 = 4 << 20;

    let (server, client) = (bind_with::<S>(small_buffers()).await, bind_with::<C>(small_buffers()).await);
    let (accepted, connected) = connection::<S, C>(&server, &client).await;
    let written = Arc::new(AtomicU64::new(0));
    let writing = C::spawn(write_counted::<C>(connected, 1, LENGTH, Arc::clone(&written)));
    let reading = async {
        let (mut reader, _writer) = S::split(accepted);
        // Both buffers fill up,
        until::<S>(|| written.load(Ordering::Relaxed) > BUFFER + BUFFER / 2).await;
        // and no more than that, however long nobody reads.
        for _ in 0..50 {
            S::pause().await;
            assert!(written.load(Ordering::Relaxed) <= 2 * BUFFER + SLACK);
        }
        let mut checker = Checker::new(1, LENGTH);
        let mut buf = vec![0; 10_000];
        while !checker.complete() {
            let read = S::read(&mut reader, &mut buf).await.expect("read");
            assert_ne!(read, 0, "{} bytes are missing", checker.left());
            checker.feed(&buf[..read]).expect("what was sent");
            let under_way = written.load(Ordering::Relaxed).saturating_sub(checker.checked());
            assert!(under_way <= 2 * BUFFER + SLACK, "{under_way} bytes are kept somewhere");
        }
        expect_end::<S>(&mut reader).await;
    };
    join(writing, reading).await;
}

/// Other connections of the same sockets are not held back.
pub async fn a_slow_reader_among_fast_ones<S: Adapter, C: Adapter>() {
    const LENGTH: u64 = 1 << 20;

    let (server, client) = (bind_with::<S>(small_buffers()).await, bind_with::<C>(small_buffers()).await);
    let (slow, connected) = connection::<S, C>(&server, &client).await;
    let written = Arc::new(AtomicU64::new(0));
    let writing = C::spawn(write_counted::<C>(connected, 1, LENGTH, Arc::clone(&written)));
    let reading = async {
        until::<S>(|| written.load(Ordering::Relaxed) > BUFFER + BUFFER / 2).await;
        let (fast, connected) = connection::<S, C>(&server, &client).await;
        let (mut reader, _writer) = S::split(fast);
        let (_reader, mut writer) = C::split(connected);
        let length = LENGTH as usize;
        join(send::<C>(&mut writer, 2, length), receive::<S>(&mut reader, 2, length)).await;
        assert!(written.load(Ordering::Relaxed) <= 2 * BUFFER + SLACK);
        let (mut reader, _writer) = S::split(slow);
        receive::<S>(&mut reader, 1, length).await;
        expect_end::<S>(&mut reader).await;
    };
    join(writing, reading).await;
}
