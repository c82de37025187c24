//! The halves of a stream say what the stream says.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use utp_tokio::UtpSocket;

#[tokio::test]
async fn every_half_knows_addresses_and_counters() {
    let (here, there) =
        (UtpSocket::bind("127.0.0.1:0").await.unwrap(), UtpSocket::bind("127.0.0.1:0").await.unwrap());
    let (opened, accepted) = tokio::join!(here.connect(there.local_addr()), there.accept());
    let (mut opened, mut accepted) = (opened.unwrap(), accepted.unwrap().0);
    opened.write_all(b"hello").await.unwrap();
    accepted.read_exact(&mut [0; 5]).await.unwrap();

    let both = (here.local_addr(), there.local_addr());
    let (reader, writer) = opened.split();
    assert_eq!((reader.local_addr(), reader.peer_addr()), both);
    assert_eq!((writer.local_addr(), writer.peer_addr()), both);
    assert!(reader.stats().data_packets_sent > 0 && writer.stats().data_packets_sent > 0);

    let (reader, writer) = opened.into_split();
    assert_eq!((reader.local_addr(), reader.peer_addr()), both);
    assert_eq!((writer.local_addr(), writer.peer_addr()), both);
    assert!(reader.stats().data_packets_sent > 0 && writer.stats().data_packets_sent > 0);
}
