//! A program in the manner of Node.js: what happens comes as events, text is text, and it ends when only
//! what is unreferenced is left.
//!
//! ```text
//! cargo run -p utp-async-std --example events
//! ```

use std::io;

use async_std::task;
use utp_async_std::text::Encoding;
use utp_async_std::{Data, SocketEvent, StreamEvent, UtpSocket, UtpStream};

fn main() -> io::Result<()> {
    task::block_on(async {
        let server = UtpSocket::bind_port(0).await?; // new uTP.Server(0)
        let port = server.local_addr().port(); // server.address().port
        server.unreference(); // server.unref()
        task::spawn(on_server_events(server.clone()));

        let socket = UtpSocket::bind_port(0).await?;
        socket.unreference();
        let stream = socket.connect_port(port).await?; // socket.connect(port)
        let client = task::spawn(on_client_events(stream));

        // The end of a program for Node.js: nothing is left that is referenced, neither the listeners nor
        // the streams that have ended.
        server.unreferenced().await?;
        socket.unreferenced().await?;
        client.await
    })
}

async fn on_server_events(server: UtpSocket) {
    while let Some(event) = server.next_event().await {
        match event {
            SocketEvent::Listening => println!("server: listening at {}", server.local_addr()),
            SocketEvent::Connection(stream) => {
                println!("server: connection from {}", stream.peer_addr());
                task::spawn(on_peer_events(stream));
            }
            SocketEvent::Error(error) => println!("server: error: {error}"),
            SocketEvent::Close => println!("server: close"),
            _ => {}
        }
    }
}

/// Answers in capitals.
async fn on_peer_events(mut stream: UtpStream) -> io::Result<()> {
    stream.set_encoding(Encoding::Utf8); // socket.setEncoding('utf8')
    while let Some(event) = stream.next_event().await {
        match event {
            StreamEvent::Data(Data::Text(text)) => {
                println!("server: data: {text:?}");
                stream.write_text(&text.to_uppercase(), Encoding::Utf8).await?; // socket.write(text)
            }
            StreamEvent::End => stream.finish()?, // socket.end()
            StreamEvent::Error(error) => println!("server: error: {error}"),
            _ => {}
        }
    }
    Ok(())
}

async fn on_client_events(mut stream: UtpStream) -> io::Result<()> {
    stream.set_encoding(Encoding::Utf8);
    let mut heard = String::new();
    while let Some(event) = stream.next_event().await {
        match event {
            StreamEvent::Connect => {
                println!("client: connect to {}", stream.peer_addr());
                stream.write_text("smørrebrød på æblekage", Encoding::Utf8).await?;
                stream.acked().await?;
                println!("client: acknowledged");
                stream.finish()?;
            }
            StreamEvent::Data(Data::Text(text)) => heard += &text,
            StreamEvent::End => println!("client: end"),
            StreamEvent::Error(error) => return Err(error),
            StreamEvent::Close(ending) => println!("client: close, {} bytes read", ending.bytes_read),
            _ => {}
        }
    }
    assert_eq!(heard, "SMØRREBRØD PÅ ÆBLEKAGE");
    Ok(())
}
