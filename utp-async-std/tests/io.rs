//! What futures-io asks of a stream beyond what the conformance suite uses, and halves put together again.

use std::future::{Future, poll_fn};
use std::io::{self, IoSliceMut};
use std::pin::Pin;
use std::time::Duration;

use async_std::future::timeout;
use async_std::io::{ReadExt, WriteExt};
use async_std::stream::StreamExt;
use async_std::task;
use futures_io::AsyncRead;
use utp_async_std::{OwnedReadHalf, OwnedWriteHalf, UtpListener, UtpStream};

fn run(case: impl Future<Output = io::Result<()>>) {
    task::block_on(timeout(Duration::from_secs(60), case)).expect("in time").unwrap();
}

async fn connection() -> io::Result<(UtpStream, UtpStream)> {
    let listener = UtpListener::bind("127.0.0.1:0").await?;
    let connected = UtpStream::connect(listener.local_addr()).await?;
    Ok((listener.accept().await?.0, connected))
}

#[test]
fn vectored_reads_fill_one_buffer_after_another() {
    run(async {
        let (mut accepted, mut connected) = connection().await?;
        connected.write_all(b"onetwothr").await?;
        connected.finish()?;
        // All of it is there: the peer's acknowledgement says so.
        connected.acked().await?;
        let (mut one, mut none, mut other, mut rest) = ([0; 3], [0; 0], [0; 3], [0; 10]);
        let mut bufs = [&mut one[..], &mut none, &mut other, &mut rest].map(IoSliceMut::new);
        let read = poll_fn(|cx| Pin::new(&mut accepted).poll_read_vectored(cx, &mut bufs)).await?;
        assert_eq!(read, 9);
        assert_eq!((&one, &other, &rest[..3]), (b"one", b"two", &b"thr"[..]));
        let mut bufs = [IoSliceMut::new(&mut rest)];
        let read = poll_fn(|cx| Pin::new(&mut accepted).poll_read_vectored(cx, &mut bufs)).await?;
        assert_eq!(read, 0, "the end");
        Ok(())
    });
}

#[test]
fn a_shared_reference_reads_and_writes() {
    run(async {
        let (accepted, connected) = connection().await?;
        (&connected).write_all(b"ping").await?;
        let mut buf = [0; 4];
        (&accepted).read_exact(&mut buf).await?;
        (&accepted).write_all(&buf).await?;
        (&connected).read_exact(&mut buf).await?;
        assert_eq!(&buf, b"ping");
        Ok(())
    });
}

#[test]
fn halves_are_reunited_with_their_own() {
    run(async {
        let (accepted, connected) = connection().await?;
        let (reader, writer): (OwnedReadHalf, OwnedWriteHalf) = connected.into_split();
        let (other_reader, other_writer) = accepted.into_split();
        let error = reader.reunite(other_writer).unwrap_err();
        assert_eq!(error.to_string(), "the halves are not of one stream");
        let (reader, other_writer) = (error.0, error.1);
        // That has not finished anything.
        let mut connected = writer.reunite(reader).unwrap();
        let mut accepted = other_writer.reunite(other_reader).unwrap();
        connected.write_all(b"still open").await?;
        let mut buf = [0; 10];
        accepted.read_exact(&mut buf).await?;
        assert_eq!(&buf, b"still open");
        // And to drop one half does.
        let (mut reader, writer) = accepted.into_split();
        drop(writer);
        assert_eq!(connected.read(&mut [0; 8]).await?, 0);
        connected.write_all(b"the other way").await?;
        connected.finish()?;
        let mut rest = String::new();
        reader.read_to_string(&mut rest).await?;
        assert_eq!(rest, "the other way");
        Ok(())
    });
}

#[test]
fn incoming_ends_with_the_socket() {
    run(async {
        let listener = UtpListener::bind("127.0.0.1:0").await?;
        let mut incoming = listener.incoming();
        for _ in 0..3 {
            let connected = UtpStream::connect(listener.local_addr()).await?;
            let accepted = incoming.next().await.expect("a stream");
            assert_eq!(accepted.peer_addr().port(), connected.local_addr().port());
        }
        listener.close().await?;
        assert!(incoming.next().await.is_none());
        assert!(incoming.next().await.is_none());
        Ok(())
    });
}

#[test]
fn every_half_knows_addresses_and_counters() {
    run(async {
        let (mut accepted, mut connected) = connection().await?;
        connected.write_all(b"hello").await?;
        accepted.read_exact(&mut [0; 5]).await?;
        let both = (connected.local_addr(), accepted.local_addr());
        let (reader, writer) = connected.split();
        assert_eq!((reader.local_addr().port(), reader.peer_addr()), (both.0.port(), both.1));
        assert_eq!((writer.local_addr().port(), writer.peer_addr()), (both.0.port(), both.1));
        let (reader, writer) = connected.into_split();
        assert_eq!((reader.local_addr().port(), reader.peer_addr()), (both.0.port(), both.1));
        assert_eq!((writer.local_addr().port(), writer.peer_addr()), (both.0.port(), both.1));
        assert!(reader.stats().data_packets_sent > 0 && writer.stats().data_packets_sent > 0);
        Ok(())
    });
}
