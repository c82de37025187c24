//! An echo server and its client.
//!
//! ```text
//! cargo run -p utp-async-std --example echo                         # both, in one process
//! cargo run -p utp-async-std --example echo -- serve 0.0.0.0:7007
//! cargo run -p utp-async-std --example echo -- call 127.0.0.1:7007 hello
//! ```

use std::io;

use async_std::io::{self as aio, ReadExt, WriteExt};
use async_std::stream::StreamExt;
use async_std::task;
use utp_async_std::{UtpListener, UtpStream};

fn main() -> io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    task::block_on(async {
        match args[..] {
            ["serve", addr] => serve(UtpListener::bind(addr).await?).await,
            ["call", addr, text] => call(addr, text).await,
            [] => {
                let listener = UtpListener::bind("127.0.0.1:0").await?;
                let addr = listener.local_addr().to_string();
                task::spawn(serve(listener));
                call(&addr, "hello").await?;
                call(&addr, &"a longer text; ".repeat(10_000)).await
            }
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "echo [serve ADDR | call ADDR TEXT]")),
        }
    })
}

/// Gives every peer back what it sends, until it finishes.
async fn serve(listener: UtpListener) -> io::Result<()> {
    println!("serving at {}", listener.local_addr());
    let mut incoming = listener.incoming();
    while let Some(stream) = incoming.next().await {
        task::spawn(async move {
            let peer = stream.peer_addr();
            // A stream is read and written through shared references, like async-std's own.
            match aio::copy(&mut &stream, &mut &stream).await {
                // Dropping the stream finishes it, and delivers what is still under way.
                Ok(bytes) => println!("{peer}: {bytes} bytes"),
                Err(error) => println!("{peer}: {error}"),
            }
        });
    }
    Ok(())
}

/// Sends `text` and checks what comes back.
async fn call(addr: &str, text: &str) -> io::Result<()> {
    let (mut reader, mut writer) = UtpStream::connect(addr).await?.into_split();
    let sending = {
        let text = text.to_owned();
        // An echo comes while we still send, so that neither side's buffers fill up.
        task::spawn(async move {
            writer.write_all(text.as_bytes()).await
            // Dropping the write half finishes this direction.
        })
    };
    let mut echo = String::new();
    reader.read_to_string(&mut echo).await?;
    sending.await?;
    assert_eq!(echo, text);
    println!("{} bytes came back", echo.len());
    Ok(())
}
