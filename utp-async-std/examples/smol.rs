//! The same streams in a program for smol: its executor, its timers, its traits. (They are those of
//! futures-io, and the reactor, async-io, is the same one. Only the task of each socket runs on async-std's
//! executor, which starts by itself.)
//!
//! ```text
//! cargo run -p utp-async-std --example smol
//! ```

use std::io;
use std::time::Duration;

use smol::Timer;
use smol::future::FutureExt;
use smol::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use smol::stream::StreamExt;
use utp_async_std::{UtpListener, UtpStream};

fn main() -> io::Result<()> {
    smol::block_on(async {
        let listener = UtpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr();
        let server = smol::spawn(async move {
            let (stream, peer) = listener.accept().await?;
            let (reader, mut writer) = stream.into_split();
            let mut lines = BufReader::new(reader).lines();
            while let Some(line) = lines.next().await {
                let line = line?;
                println!("{peer} says {line:?}");
                writer.write_all(line.to_uppercase().as_bytes()).await?;
                writer.write_all(b"\n").await?;
            }
            writer.close().await?; // queues the FIN
            listener.close().await // waits for the connection's end
        });

        let talk = async {
            let stream = UtpStream::connect(addr).await?;
            let (reader, mut writer) = stream.into_split();
            let mut answers = BufReader::new(reader).lines();
            for line in ["one", "two", "three"] {
                writer.write_all(format!("{line}\n").as_bytes()).await?;
                let answer = answers.next().await.ok_or(io::ErrorKind::UnexpectedEof)??;
                println!("and hears {answer:?}");
                assert_eq!(answer, line.to_uppercase());
            }
            writer.close().await?;
            assert!(answers.next().await.is_none());
            let ending = writer.as_ref().closed().await;
            assert!(ending.is_delivered());
            io::Result::Ok(())
        };
        let too_long = async {
            Timer::after(Duration::from_secs(30)).await;
            Err(io::ErrorKind::TimedOut.into())
        };
        talk.or(too_long).await?;
        server.await
    })
}
