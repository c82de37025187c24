//! Every public future of the asynchronous adapters, dropped at every one of its await points.
//!
//! Each operation is run in a world of its own: polled once and dropped, polled twice and dropped, and so on until it
//! completes. After each of these the connection of that world has to carry every byte both ways, datagrams and
//! connections that came meanwhile have to be there, and once all is dropped no descriptor and, on tokio, no
//! allocation may be left. [`list`] compares them with the [`sources`].

mod list;
mod sources;

use std::future::Future;
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use utp_driver::Bytes;
use utp_driver::text::Encoding;
use utp_tests::conformance::tools::give_up_after;
use utp_tests::conformance::{LIMIT, within};
use utp_tests::counting::{self, Counting};
use utp_tokio::{Config, StreamEvent};

#[global_allocator]
static COUNTING: Counting = Counting;

/// Descriptors and allocations are the process's: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// What either side writes: letters, so that it is text as well.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|position| b'a' + ((position * 7 + position / 251) % 26) as u8).collect()
}

fn config() -> Config {
    let mut config = Config::default();
    config.linger(Duration::from_millis(100)).unwrap();
    config.connect_timeout(CONNECT_TIMEOUT).unwrap();
    config.send_buffer(8 << 10).unwrap().receive_buffer(8 << 10).unwrap();
    config
}

/// An address where nobody answers.
fn silent() -> std::net::UdpSocket {
    std::net::UdpSocket::bind("127.0.0.1:0").unwrap()
}

type Operation<N> = for<'a> fn(&'a mut N) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Bytes that the far side writes on the connection, and the near one at most.
const LENGTH: usize = 60_000;
const DATAGRAMS: usize = 3;
/// What comes over a connection that the far side opens.
const GREETING: usize = 100;
/// What those wait who try to reach nobody.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1_500);
/// Times that an operation may leave something before it counts.
const ATTEMPTS: u32 = 5;
/// More await points than any operation has here.
const POLLS: u32 = 10_000;

macro_rules! operations {
    ($($name:literal => |$near:ident| $body:block)*) => {
        /// Name and operation. A name is a type and its method (without `poll_`, if it is a trait's), or a function;
        /// `a+b` are two on the way. What is in brackets tells several cases of one apart.
        const OPERATIONS: &[(&str, Operation<Near>)] = &[$(($name, |$near| Box::pin(async move { $body }))),*];
    };
}

/// Reads all that the far side writes, and keeps it.
macro_rules! read_all {
    ($reader:ident, $read:ident) => {
        while $read.len() < LENGTH {
            let mut buf = [0; 3000];
            let len = $reader.read(&mut buf).await.unwrap();
            $read.extend_from_slice(&buf[..len]);
        }
    };
    ($reader:ident, $read:ident, vectored) => {
        while $read.len() < LENGTH {
            let (mut one, mut other) = ([0; 1000], [0; 2000]);
            let mut bufs = [std::io::IoSliceMut::new(&mut one), std::io::IoSliceMut::new(&mut other)];
            let len = $reader.read_vectored(&mut bufs).await.unwrap();
            $read.extend_from_slice(&one[..len.min(1000)]);
            $read.extend_from_slice(&other[..len.saturating_sub(1000)]);
        }
    };
}

/// Writes all that the near side has to write, piece by piece.
macro_rules! write_all {
    (|$piece:ident| $write:expr) => {{
        let data = pattern(LENGTH);
        let mut written = 0;
        while written < LENGTH {
            let $piece = &data[written..LENGTH.min(written + 5000)];
            let len = $write.await.unwrap();
            assert_ne!(len, 0);
            written += len;
        }
    }};
}

fn two(data: &[u8]) -> [IoSlice<'_>; 2] {
    let (one, other) = data.split_at(data.len() / 3);
    [IoSlice::new(one), IoSlice::new(other)]
}

macro_rules! suite {
    ($module:ident: $krate:ident, $read:path, $write:path, $spawn:path, $finish:ident, $($more:tt)*) => {
        mod $module {
            use super::*;
            use futures_util::StreamExt;
            use $krate::{OwnedReadHalf, OwnedWriteHalf, SocketEvent, UtpListener, UtpSocket, UtpStream};
            use $read as ReadExt;
            use $write as WriteExt;

            /// The side that operations are run on, with all that they got.
            pub(super) struct Near {
                socket: UtpSocket,
                /// The connection, whole or split.
                stream: Option<UtpStream>,
                halves: Option<(OwnedReadHalf, OwnedWriteHalf)>,
                far: std::net::SocketAddr,
                read: Vec<u8>,
                datagrams: Vec<u8>,
                greetings: usize,
                /// Whether the socket was closed, so that nobody can be accepted any more.
                closed: bool,
            }

            impl Near {
                fn stream(&mut self) -> &mut UtpStream {
                    self.stream.as_mut().expect("nothing took it")
                }

                fn halves(&mut self) -> (&mut OwnedReadHalf, &mut OwnedWriteHalf) {
                    if let Some(stream) = self.stream.take() {
                        self.halves = Some(stream.into_split());
                    }
                    let (reader, writer) = self.halves.as_mut().expect("nothing took them");
                    (reader, writer)
                }

                /// Reads on until there are `len` bytes, or to the end.
                async fn read_to(&mut self, len: usize) {
                    let mut buf = [0; 3000];
                    while self.read.len() < len {
                        let read = self.stream().read(&mut buf).await.expect("read");
                        if read == 0 {
                            break;
                        }
                        self.read.extend_from_slice(&buf[..read]);
                    }
                }

                async fn greeted(&mut self, mut stream: UtpStream) {
                    // It is counted by now: what is not accepted again must not be waited for.
                    self.greetings += 1;
                    let mut greeting = Vec::new();
                    stream.read_to_end(&mut greeting).await.expect("read");
                    assert_eq!(greeting, pattern(GREETING));
                }

                async fn datagram(&mut self) {
                    let mut buf = [0; 8];
                    let (len, from) = self.socket.recv_from(&mut buf).await.expect("receive");
                    assert_eq!((len, from), (2, self.far));
                    self.datagrams.push(buf[1]);
                }
            }

            operations! {
                "UtpSocket::bind" => |_near| { UtpSocket::bind("localhost:0").await.unwrap(); }
                "UtpSocket::bind_with" => |_near| { UtpSocket::bind_with("localhost:0", config()).await.unwrap(); }
                "UtpSocket::bind_port" => |_near| { UtpSocket::bind_port(0).await.unwrap(); }
                "UtpSocket::connect" => |near| {
                    let far = format!("localhost:{}", near.far.port());
                    near.socket.connect(far).await.unwrap();
                }
                "UtpSocket::connect_any" => |near| {
                    let silent = silent();
                    let addrs = [silent.local_addr().unwrap(), near.far];
                    let stream = near.socket.connect_any(&addrs[..]).await.unwrap();
                    assert_eq!(stream.peer_addr(), near.far);
                }
                "race" => |near| {
                    let silent = silent();
                    let addrs = [silent.local_addr().unwrap(), near.far];
                    let socket = &near.socket;
                    let attempt = |addr| async move {
                        let mut stream = socket.connect(addr).await?;
                        stream.write_all(b"hello").await?;
                        std::io::Result::Ok(stream)
                    };
                    assert_eq!($krate::race(&addrs[..], attempt).await.unwrap().peer_addr(), near.far);
                }
                "UtpSocket::connect_port" => |near| { near.socket.connect_port(near.far.port()).await.unwrap(); }
                "UtpSocket::accept" => |near| {
                    let (stream, _) = near.socket.accept().await.unwrap();
                    near.greeted(stream).await;
                }
                "UtpSocket::next_event" => |near| {
                    loop {
                        match near.socket.next_event().await {
                            Some(SocketEvent::Connection(stream)) => break near.greeted(stream).await,
                            Some(_) => {}
                            None => panic!("it is not closed"),
                        }
                    }
                }
                "UtpSocket::recv_from" => |near| {
                    while near.datagrams.len() < DATAGRAMS {
                        near.datagram().await;
                    }
                }
                "UtpSocket::send_to" => |near| {
                    for _ in 0..100 {
                        near.socket.send_to(b"d", near.far).await.unwrap();
                    }
                }
                "UtpSocket::close" => |near| {
                    near.closed = true;
                    near.stream().finish().unwrap();
                    near.read_to(LENGTH + 1).await;
                    near.socket.close().await.unwrap();
                }
                "UtpSocket::idle" => |near| {
                    near.stream().finish().unwrap();
                    near.read_to(LENGTH + 1).await;
                    while near.greetings == 0 {
                        let (stream, _) = near.socket.accept().await.unwrap();
                        near.greeted(stream).await;
                    }
                    near.socket.idle().await.unwrap();
                }
                "UtpSocket::unreferenced" => |near| {
                    near.socket.unreference();
                    near.stream().finish().unwrap();
                    near.read_to(LENGTH + 1).await;
                    while near.greetings == 0 {
                        let (stream, _) = near.socket.accept().await.unwrap();
                        near.greeted(stream).await;
                    }
                    near.socket.unreferenced().await.unwrap();
                }
                "UtpListener::bind+UtpListener::accept" => |_near| {
                    let listener = UtpListener::bind("127.0.0.1:0").await.unwrap();
                    let mut stream = UtpStream::connect(listener.local_addr()).await.unwrap();
                    let (mut accepted, _) = listener.accept().await.unwrap();
                    stream.write_all(b"hello").await.unwrap();
                    accepted.read_exact(&mut [0; 5]).await.unwrap();
                }
                "UtpListener::bind_with+UtpListener::next_event" => |_near| {
                    let listener = UtpListener::bind_with("127.0.0.1:0", config()).await.unwrap();
                    let _stream = UtpStream::connect(listener.local_addr()).await.unwrap();
                    assert!(matches!(listener.next_event().await, Some(SocketEvent::Listening)));
                    assert!(matches!(listener.next_event().await, Some(SocketEvent::Connection(_))));
                }
                "UtpListener::bind_port+UtpListener::close" => |_near| {
                    UtpListener::bind_port(0).await.unwrap().close().await.unwrap();
                }
                "UtpStream::connect" => |near| {
                    UtpStream::connect(format!("localhost:{}", near.far.port())).await.unwrap();
                }
                "UtpStream::connect_with" => |near| { UtpStream::connect_with(near.far, config()).await.unwrap(); }
                "UtpStream::connect_any" => |near| {
                    UtpStream::connect_any(format!("localhost:{}", near.far.port())).await.unwrap();
                }
                "UtpStream::connect_any_with" => |near| {
                    let silent = silent();
                    let addrs = [silent.local_addr().unwrap(), near.far];
                    UtpStream::connect_any_with(&addrs[..], config()).await.unwrap();
                }
                "UtpStream::connect_port" => |near| { UtpStream::connect_port(near.far.port()).await.unwrap(); }
                "UtpStream::read" => |near| { near.read_to(LENGTH + 1).await; }
                "UtpStream::next_event" => |near| {
                    while near.read.len() < LENGTH {
                        match near.stream().next_event().await {
                            Some(StreamEvent::Data(data)) => near.read.extend_from_slice(data.as_ref()),
                            Some(StreamEvent::Connect) => {}
                            event => panic!("{event:?}"),
                        }
                    }
                }
                "UtpStream::write+UtpStream::flush" => |near| {
                    let data = pattern(LENGTH);
                    while (near.stream().bytes_written() as usize) < LENGTH {
                        let from = near.stream().bytes_written() as usize;
                        let to = LENGTH.min(from + 5000);
                        assert_ne!(near.stream().write(&data[from..to]).await.unwrap(), 0);
                    }
                    near.stream().flush().await.unwrap();
                }
                "UtpStream::shutdown" => |near| { WriteExt::$finish(near.stream()).await.unwrap(); }
                "UtpStream::write_bytes" => |near| {
                    let mut data = Bytes::from(pattern(LENGTH));
                    near.stream().write_bytes(&mut data).await.unwrap();
                }
                "UtpStream::write_text" => |near| {
                    let data = String::from_utf8(pattern(LENGTH)).unwrap();
                    near.stream().write_text(&data, Encoding::Utf8).await.unwrap();
                }
                "UtpStream::acked" => |near| {
                    near.stream().write_all(&pattern(5000)).await.unwrap();
                    near.stream().acked().await.unwrap();
                }
                "UtpStream::closed" => |near| {
                    near.stream().finish().unwrap();
                    near.read_to(LENGTH + 1).await;
                    near.stream().closed().await;
                }
                "OwnedWriteHalf::write_bytes" => |near| {
                    near.halves().1.write_bytes(&mut Bytes::from(pattern(LENGTH))).await.unwrap();
                }
                "OwnedWriteHalf::write_text" => |near| {
                    let data = String::from_utf8(pattern(LENGTH)).unwrap();
                    near.halves().1.write_text(&data, Encoding::Utf8).await.unwrap();
                }
                "UtpSocket::connect (nobody answers)" => |near| {
                    let silent = silent();
                    near.socket.connect(silent.local_addr().unwrap()).await.unwrap_err();
                }
                "UtpStream::connect_with (nobody answers)" => |_near| {
                    let silent = silent();
                    UtpStream::connect_with(silent.local_addr().unwrap(), config()).await.unwrap_err();
                }
                "Incoming::next" => |near| {
                    let mut incoming = near.socket.listener().incoming();
                    let stream = incoming.next().await.unwrap();
                    near.greeted(stream).await;
                }
                "ReadHalf::read" => |near| {
                    let Near { stream, read, .. } = near;
                    let (mut reader, _writer) = stream.as_mut().unwrap().split();
                    read_all!(reader, read);
                }
                "OwnedReadHalf::read" => |near| {
                    near.halves();
                    let Near { halves, read, .. } = near;
                    let reader = &mut halves.as_mut().unwrap().0;
                    read_all!(reader, read);
                }
                "WriteHalf::write+WriteHalf::flush" => |near| {
                    let (_reader, mut writer) = near.stream().split();
                    write_all!(|data| writer.write(data));
                    writer.flush().await.unwrap();
                }
                "OwnedWriteHalf::write+OwnedWriteHalf::flush" => |near| {
                    let writer = near.halves().1;
                    write_all!(|data| writer.write(data));
                    writer.flush().await.unwrap();
                }
                "UtpStream::write_vectored" => |near| {
                    let writer = near.stream();
                    write_all!(|data| writer.write_vectored(&two(data)));
                }
                "WriteHalf::write_vectored" => |near| {
                    let (_reader, mut writer) = near.stream().split();
                    write_all!(|data| writer.write_vectored(&two(data)));
                }
                "OwnedWriteHalf::write_vectored" => |near| {
                    let writer = near.halves().1;
                    write_all!(|data| writer.write_vectored(&two(data)));
                }
                "WriteHalf::shutdown" => |near| {
                    WriteExt::$finish(&mut near.stream().split().1).await.unwrap();
                }
                "OwnedWriteHalf::shutdown" => |near| { WriteExt::$finish(near.halves().1).await.unwrap(); }
                $($more)*
            }

            /// The other side: writes and reads on the connection, sends datagrams, opens a connection, and takes
            /// whatever else comes. Gives what it read on the connection.
            async fn far(socket: UtpSocket, stream: UtpStream, near: std::net::SocketAddr) -> Vec<u8> {
                for number in 0..DATAGRAMS {
                    socket.send_to(&[b'd', number as u8], near).await.expect("send");
                }
                let (mut reader, mut writer) = stream.into_split();
                let writing = async move {
                    // The near side may be gone: not what is tested.
                    let _ = writer.write_all(&pattern(LENGTH)).await;
                    let _ = WriteExt::$finish(&mut writer).await;
                };
                let reading = async move {
                    let mut data = Vec::new();
                    let _ = reader.read_to_end(&mut data).await;
                    data
                };
                let greeting = async {
                    if let Ok(mut stream) = socket.connect(near).await {
                        let _ = stream.write_all(&pattern(GREETING)).await;
                        let _ = WriteExt::$finish(&mut stream).await;
                        let _ = stream.read_to_end(&mut Vec::new()).await;
                    }
                };
                let accepting = async {
                    while let Ok((mut stream, _)) = socket.accept().await {
                        let _ = stream.read_to_end(&mut Vec::new()).await;
                    }
                };
                let talk = futures_util::future::join3(writing, reading, greeting);
                let mut talk = std::pin::pin!(talk);
                let mut accepting = std::pin::pin!(accepting);
                match futures_util::future::select(talk.as_mut(), accepting.as_mut()).await {
                    futures_util::future::Either::Left((((), data, ()), _)) => data,
                    futures_util::future::Either::Right(_) => panic!("the socket is not closed"),
                }
            }

            /// One world, in which `operation` is given up after `polls`. Whether it was done before.
            async fn given_up_after(polls: u32, operation: Operation<Near>) -> bool {
                let near = UtpSocket::bind_with("127.0.0.1:0", config()).await.expect("bind");
                let other = UtpSocket::bind_with("127.0.0.1:0", config()).await.expect("bind");
                let (to, back) = (other.local_addr(), near.local_addr());
                let (connected, accepted) = futures_util::future::join(near.connect(to), other.accept()).await;
                let far_side = $spawn(far(other, accepted.expect("accept").0, back));
                let mut near = Near {
                    socket: near,
                    stream: Some(connected.expect("connect")),
                    halves: None,
                    far: to,
                    read: Vec::new(),
                    datagrams: Vec::new(),
                    greetings: 0,
                    closed: false,
                };
                let done = give_up_after(polls, operation(&mut near)).await.is_some();

                if let Some((reader, writer)) = near.halves.take() {
                    near.stream = Some(reader.reunite(writer).expect("of one stream"));
                }

                // Everything that was there for the near side still is.
                while near.datagrams.len() < DATAGRAMS && !near.closed {
                    near.datagram().await;
                }
                assert!(near.closed || near.datagrams == [0, 1, 2], "{:?}", near.datagrams);
                while near.greetings == 0 && !near.closed {
                    let (stream, _) = near.socket.accept().await.expect("accept");
                    near.greeted(stream).await;
                }
                let mut written = None;
                if near.stream.is_some() {
                    near.stream().finish().expect("finish");
                    written = Some(near.stream().bytes_written() as usize);
                    near.read_to(LENGTH + 1).await;
                    assert!(near.read == pattern(LENGTH), "{} bytes, or altered", near.read.len());
                    near.stream().acked().await.expect("delivery");
                }
                drop(near);
                // And everything that it had written arrives.
                let got = far_side.await;
                let got: Vec<u8> = got.into();
                assert!(got == pattern(written.unwrap_or(got.len())), "{} bytes of {written:?}", got.len());
                done
            }

            /// Gives the number of await points at which the operation was dropped.
            pub(super) async fn at_every_await(operation: Operation<Near>) -> u32 {
                for polls in 1..POLLS {
                    if given_up_after(polls, operation).await {
                        return polls - 1;
                    }
                }
                panic!("it does not end");
            }

            pub(super) fn operations() -> &'static [(&'static str, Operation<Near>)] {
                OPERATIONS
            }
        }
    };
}

suite!(
    on_tokio: utp_tokio,
    tokio::io::AsyncReadExt,
    tokio::io::AsyncWriteExt,
    spawn_on_tokio,
    shutdown,
);
suite!(
    on_async_std: utp_async_std,
    futures_util::AsyncReadExt,
    futures_util::AsyncWriteExt,
    async_std::task::spawn,
    close,
    "UtpStream::read_vectored" => |near| {
        let Near { stream, read, .. } = near;
        let reader = stream.as_mut().unwrap();
        read_all!(reader, read, vectored);
    }
    "ReadHalf::read_vectored" => |near| {
        let Near { stream, read, .. } = near;
        let (mut reader, _writer) = stream.as_mut().unwrap().split();
        read_all!(reader, read, vectored);
    }
    "OwnedReadHalf::read_vectored" => |near| {
        near.halves();
        let Near { halves, read, .. } = near;
        let reader = &mut halves.as_mut().unwrap().0;
        read_all!(reader, read, vectored);
    }
);

/// Starts at once, and passes panics on.
fn spawn_on_tokio<T: Send + 'static>(
    task: impl Future<Output = T> + Send + 'static,
) -> impl Future<Output = T> {
    let task = tokio::spawn(task);
    async move { task.await.expect("a task that ends well") }
}

#[test]
fn on_tokio_nothing_is_lost_and_nothing_is_left() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for (name, operation) in on_tokio::operations() {
        // The first time also counts what stays for good. The harness has threads of its own, and what the other
        // test left may end meanwhile: what is there every time is a leak.
        on_tokio_once(*operation);
        let mut left = (0, 0);
        for _ in 0..ATTEMPTS {
            let (alive, open) = (counting::alive(), descriptors());
            let dropped = on_tokio_once(*operation);
            left = (counting::alive() - alive, descriptors().saturating_sub(open));
            if left.0 <= 0 && left.1 == 0 {
                println!("{name}: dropped at {dropped} await points");
                break;
            }
        }
        assert!(
            left.0 <= 0 && left.1 == 0,
            "{name}: {} allocations, {} descriptors are left every time",
            left.0,
            left.1
        );
    }
}

/// The number of await points of `operation`, on a runtime of its own.
fn on_tokio_once(operation: Operation<on_tokio::Near>) -> u32 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::time::timeout(LIMIT, on_tokio::at_every_await(operation)).await.expect("it hangs")
    })
}

#[test]
fn on_async_std_nothing_is_lost_and_nothing_is_left() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut open = None;
    for (name, operation) in on_async_std::operations() {
        let dropped = async_std::task::block_on(async {
            let dropped = on_async_std::at_every_await(*operation);
            async_std::future::timeout(LIMIT, dropped).await.expect("it hangs")
        });
        println!("{name}: dropped at {dropped} await points");
        // Drivers end on threads of the executor, soon after their sockets were dropped.
        let open = *open.get_or_insert_with(descriptors);
        within(LIMIT, move || {
            while descriptors() > open {
                std::thread::yield_now();
            }
        });
    }
}
