//! A socket whose runtime was shut down under it says so, instead of waiting for ever.

use std::io::ErrorKind;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};
use utp_tests::conformance::{LIMIT, within};
use utp_tokio::{CloseReason, Config, Data, SocketConfig, SocketEvent, StreamEvent, UtpSocket, UtpStream};

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// The accepted end of a connection, its socket, and the end that lives on elsewhere.
async fn connection(lives: &Runtime, dies: &Runtime) -> (UtpSocket, UtpStream, UtpStream) {
    let server = dies.spawn(UtpSocket::bind("127.0.0.1:0")).await.unwrap().unwrap();
    let to = server.local_addr();
    let mut client = lives.spawn(UtpStream::connect(to)).await.unwrap().unwrap();
    client.write_text("last words", Default::default()).await.unwrap();
    client.acked().await.unwrap();
    let (stream, _) = server.accept().await.unwrap();
    (server, stream, client)
}

#[test]
fn it_is_an_error_and_a_close() {
    within(LIMIT, || {
        let (lives, dies) = (runtime(), runtime());
        let (server, stream, _client) = lives.block_on(connection(&lives, &dies));
        dies.shutdown_background();
        lives.block_on(async {
            assert!(matches!(server.next_event().await, Some(SocketEvent::Listening)));
            match server.next_event().await {
                Some(SocketEvent::Error(error)) => assert_eq!(error.kind(), ErrorKind::NotConnected),
                event => panic!("{event:?}"),
            }
            assert!(matches!(server.next_event().await, Some(SocketEvent::Close)));
            assert!(server.next_event().await.is_none());

            // What had arrived is there all the same.
            match stream.next_event().await {
                Some(StreamEvent::Data(Data::Bytes(bytes))) => assert_eq!(bytes, "last words"),
                event => panic!("{event:?}"),
            }
            match stream.next_event().await {
                Some(StreamEvent::Error(error)) => assert_eq!(error.kind(), ErrorKind::NotConnected),
                event => panic!("{event:?}"),
            }
            match stream.next_event().await {
                Some(StreamEvent::Close(ending)) => assert_eq!(ending.reason, CloseReason::Aborted),
                event => panic!("{event:?}"),
            }
            assert!(stream.next_event().await.is_none());
        });
    });
}

#[test]
fn every_wait_ends() {
    within(LIMIT, || {
        let (lives, dies) = (runtime(), runtime());
        let (server, mut stream, _client) = lives.block_on(connection(&lives, &dies));
        let waiting = {
            let (accept, idle, unreferenced, receive) =
                (server.clone(), server.clone(), server.clone(), server.clone());
            [
                lives.spawn(async move { accept.accept().await.map(drop) }),
                lives.spawn(async move { idle.idle().await }),
                lives.spawn(async move { unreferenced.unreferenced().await }),
                lives.spawn(async move { receive.recv_from(&mut [0; 8]).await.map(drop) }),
                lives.spawn(async move {
                    let mut text = String::new();
                    stream.read_to_string(&mut text).await.map(drop)
                }),
            ]
        };
        dies.shutdown_background();
        lives.block_on(async {
            for wait in waiting {
                assert_eq!(wait.await.unwrap().unwrap_err().kind(), ErrorKind::NotConnected);
            }
            assert_eq!(server.close().await.unwrap_err().kind(), ErrorKind::NotConnected);
            let error = server.connect(server.local_addr()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotConnected);
        });
    });
}

/// A program that ends without waiting: its runtime goes, and the system knows nothing of its connections.
#[test]
fn peers_are_told() {
    for bytes in [0, 5_000, 10 * WINDOW] {
        for drops in [true, false] {
            within(LIMIT, move || {
                let (lives, dies) = (runtime(), runtime());
                let server = lives.block_on(UtpSocket::bind_with("127.0.0.1:0", narrow())).unwrap();
                let to = server.local_addr();
                let accepted = lives.spawn(async move { server.accept().await.map(|(stream, _)| stream) });
                let (kept, stream) = dies.block_on(async {
                    let mut client = UtpStream::connect(to).await.unwrap();
                    client.write_all(&vec![7; bytes]).await.unwrap();
                    client.shutdown().await.unwrap();
                    // What is reset before anybody has accepted it is never seen.
                    let stream = accepted.await.unwrap().unwrap();
                    ((!drops).then_some(client), stream)
                });
                // Waits for its tasks to be dropped, and nothing is read before.
                drop(dies);
                let (read, end) = lives.block_on(read_to_end(stream));
                if bytes < WINDOW {
                    assert_eq!((read, end), (bytes, Ok(())));
                } else {
                    // What could not be sent at once is lost, and the peer knows it.
                    assert_eq!(end, Err(ErrorKind::ConnectionReset), "{read} of {bytes}");
                    assert!(read <= WINDOW, "{read}");
                }
                drop(kept);
            });
        }
    }
}

/// What a peer takes that does not read. Less than a system's buffer for a socket: nothing is lost on the way to it, which
/// its peer could not know.
const WINDOW: usize = 20_000;

fn narrow() -> SocketConfig {
    let mut config = Config::default();
    config.receive_buffer(WINDOW).unwrap();
    config.into()
}

async fn read_to_end(mut stream: UtpStream) -> (usize, Result<(), ErrorKind>) {
    let mut data = Vec::new();
    let end = stream.read_to_end(&mut data).await;
    (data.len(), end.map(drop).map_err(|error| error.kind()))
}
