//! Cases: datagrams that are not uTP, and such that only pretend to be.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use futures_util::future::join;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::Adapter;
use super::tools::{bind, bind_with, config, connection, expect_end, loopback, receive, send, until};

/// A program of another protocol.
struct Stranger(UdpSocket);

impl Stranger {
    fn new() -> Self {
        let socket = UdpSocket::bind(loopback()).expect("bind");
        socket.set_nonblocking(true).expect("non-blocking");
        Self(socket)
    }

    fn addr(&self) -> SocketAddr {
        self.0.local_addr().expect("an address")
    }

    fn send(&self, data: &[u8], to: SocketAddr) {
        assert_eq!(self.0.send_to(data, to).expect("send"), data.len());
    }

    async fn receive<A: Adapter>(&self) -> (Vec<u8>, SocketAddr) {
        let mut buf = [0; 2_000];
        loop {
            match self.0.recv_from(&mut buf) {
                Ok((len, from)) => return (buf[..len].to_vec(), from),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
            A::pause().await;
        }
    }
}

/// Like those of a DHT: bencoded dictionaries, whose first byte no uTP packet has.
fn message(number: usize, length: usize) -> Vec<u8> {
    let mut message = format!("d1:q4:ping1:t4:{number:04}1:x").into_bytes();
    message.resize(length.max(message.len()), b'e');
    message
}

/// They reach the application and come from it, while uTP goes on undisturbed on the same port.
pub async fn foreign_datagrams_both_ways_beside_a_transfer<S: Adapter, C: Adapter>() {
    const LENGTH: usize = 2 << 20;
    const MESSAGES: usize = 50;

    let (server, client) = (bind::<S>().await, bind::<C>().await);
    let (accepted, connected) = connection::<S, C>(&server, &client).await;
    let transfer = async {
        let (mut reader, _writer) = S::split(accepted);
        let (_reader, mut writer) = C::split(connected);
        join(
            async {
                send::<C>(&mut writer, 1, LENGTH).await;
                C::finish(&mut writer).await.expect("finish");
            },
            async {
                receive::<S>(&mut reader, 1, LENGTH).await;
                expect_end::<S>(&mut reader).await;
            },
        )
        .await;
    };
    let stranger = Stranger::new();
    let chat = async {
        let mut buf = [0; 2_000];
        for number in 0..MESSAGES {
            let question = message(number, 20 * number);
            stranger.send(&question, S::local_addr(&server));
            let (len, from) = S::recv_from(&server, &mut buf).await.expect("receive");
            assert_eq!((&buf[..len], from), (&question[..], stranger.addr()));
            let answer = message(number + 1_000, 10 * number);
            S::send_to(&server, &answer, from).await.expect("send");
            assert_eq!(stranger.receive::<S>().await, (answer, S::local_addr(&server)));
        }
        // Between two uTP sockets as well; and what does not fit the buffer is cut off.
        C::send_to(&client, &message(1, 1_000), S::local_addr(&server)).await.expect("send");
        let (len, from) = S::recv_from(&server, &mut buf[..10]).await.expect("receive");
        assert_eq!((len, from), (10, C::local_addr(&client)));
        assert_eq!(buf[..10], message(1, 1_000)[..10]);
    };
    join(transfer, chat).await;
    let stats = S::socket_stats(&server);
    assert_eq!(stats.foreign_received, MESSAGES as u64 + 1);
    assert_eq!(stats.foreign_sent, MESSAGES as u64);
    assert_eq!(stats.foreign_dropped, 0);
}

/// What nobody asks for is dropped beyond the configured bytes, and counted.
pub async fn unread_datagrams_are_bounded<S: Adapter, C: Adapter>() {
    const MESSAGES: u64 = 60;

    let mut bounded = config(|_| ());
    bounded.datagram_queue(10_000);
    let server = bind_with::<S>(bounded).await;
    let client = bind::<C>().await;
    for number in 0..MESSAGES {
        C::send_to(&client, &message(number as usize, 1_000), S::local_addr(&server)).await.expect("send");
    }
    let seen = || {
        let stats = S::socket_stats(&server);
        (stats.foreign_received, stats.foreign_dropped)
    };
    until::<S>(|| seen().0 + seen().1 == MESSAGES).await;
    let (kept, dropped) = seen();
    assert!((5..10).contains(&kept), "{kept} kept, {dropped} dropped");
    let mut buf = [0; 2_000];
    for number in 0..kept {
        let (len, _) = S::recv_from(&server, &mut buf).await.expect("receive");
        assert_eq!(buf[..len], message(number as usize, 1_000));
    }
    // There is room again.
    C::send_to(&client, b"d last", S::local_addr(&server)).await.expect("send");
    let (len, _) = S::recv_from(&server, &mut buf).await.expect("receive");
    assert_eq!(&buf[..len], b"d last");
}

/// Random bytes, cut packets and packets of no connection, from a third party, in the middle of a transfer.
pub async fn garbage_changes_nothing<S: Adapter, C: Adapter>() {
    const LENGTH: usize = 2 << 20;
    const SEED: u64 = 11;

    let (server, client) = (bind::<S>().await, bind::<C>().await);
    let (accepted, connected) = connection::<S, C>(&server, &client).await;
    let stranger = Stranger::new();
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let mut throw = |to: SocketAddr| {
        let mut packet = [0; 100];
        rng.fill_bytes(&mut packet);
        let mut length = usize::from(packet[2] % 101);
        match packet[3] % 3 {
            // Noise.
            0 => {}
            // Something like uTP: a possible or impossible type, broken extensions, cut anywhere.
            1 => packet[0] = (packet[0] % 8) << 4 | 1,
            // A whole packet of some connection that does not exist.
            _ => {
                packet[0] = (packet[0] % 5) << 4 | 1;
                packet[1] = 0;
                length = length.max(20);
            }
        }
        stranger.send(&packet[..length], to);
    };
    let (mut reader, _writer) = S::split(accepted);
    let (_reader, mut writer) = C::split(connected);
    let (to_server, to_client) = (S::local_addr(&server), C::local_addr(&client));
    let mut buf = vec![0; LENGTH / 100];
    let sending = C::spawn(async move {
        send::<C>(&mut writer, 1, LENGTH).await;
        C::finish(&mut writer).await.expect("finish");
        C::closed(C::stream(&writer)).await
    });
    let receiving = async {
        let mut checker = crate::interop::pattern::Checker::new(1, LENGTH as u64);
        while !checker.complete() {
            for _ in 0..5 {
                throw(to_server);
                throw(to_client);
            }
            let read = S::read(&mut reader, &mut buf).await.expect("read");
            assert_ne!(read, 0, "{} bytes are missing (seed {SEED})", checker.left());
            checker.feed(&buf[..read]).expect("what was sent");
        }
        expect_end::<S>(&mut reader).await;
        drop((reader, _writer));
    };
    let (ending, ()) = join(sending, receiving).await;
    assert!(ending.is_delivered());
    let stats = S::socket_stats(&server);
    assert!(stats.endpoint.datagrams_malformed > 0, "{stats:?}");
    assert!(stats.endpoint.datagrams_unmatched > 0, "{stats:?}");
    assert!(stats.foreign_received > 0, "{stats:?}");
}
