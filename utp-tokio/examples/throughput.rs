//! How fast one stream is on the loopback. In one process, or in two:
//!
//! ```text
//! cargo run --release -p utp-tokio --example throughput                          # both ends, 2 GiB
//! cargo run --release -p utp-tokio --example throughput -- listen 127.0.0.1:7000
//! cargo run --release -p utp-tokio --example throughput -- send 127.0.0.1:7000 4096
//! ```

use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use utp_tokio::{Config, SocketConfig, UtpListener, UtpSocket, UtpStream};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => {
            let listener = UtpListener::bind_with("127.0.0.1:0", config()?).await?;
            let addr = listener.local_addr();
            let receiver = tokio::spawn(async move { receive(&listener).await });
            send(addr, 2048).await?;
            receiver.await??;
        }
        ["listen", addr] => receive(&UtpListener::bind_with(addr, config()?).await?).await?,
        ["send", addr, mib] => send(addr.parse()?, mib.parse()?).await?,
        _ => return Err("usage: throughput [listen ADDR | send ADDR MIB]".into()),
    }
    Ok(())
}

/// Windows of 4 MiB; UTP_NO_OFFLOAD=1 switches GSO and GRO off.
fn config() -> Result<SocketConfig, Box<dyn std::error::Error>> {
    let mut config = Config::default();
    config.receive_buffer(4 << 20)?.send_buffer(4 << 20)?;
    let offload = std::env::var_os("UTP_NO_OFFLOAD").is_none();
    let mut config = SocketConfig::from(config);
    config.send_offload(offload).receive_offload(offload);
    Ok(config)
}

/// Takes one stream and throws it away.
async fn receive(listener: &UtpListener) -> std::io::Result<()> {
    let (mut stream, _) = listener.accept().await?;
    let mut buf = vec![0; 256 << 10];
    let mut started = None;
    let mut bytes = 0;
    loop {
        let read = stream.read(&mut buf).await?;
        let started = *started.get_or_insert_with(Instant::now);
        bytes += read;
        if read == 0 {
            report("received", bytes, started);
            break;
        }
    }
    stream.shutdown().await?;
    stream.closed().await;
    report_socket(listener.socket());
    Ok(())
}

/// Sends so many MiB of the same bytes.
async fn send(addr: SocketAddr, mib: usize) -> Result<(), Box<dyn std::error::Error>> {
    let socket = UtpSocket::bind_with("127.0.0.1:0", config()?).await?;
    let mut stream: UtpStream = socket.connect(addr).await?;
    let data = vec![0x5a; 1 << 20];
    let shared = std::env::var_os("UTP_BYTES").map(|_| Bytes::from(data.clone()));
    let started = Instant::now();
    for _ in 0..mib {
        match &shared {
            Some(shared) => stream.write_bytes(&mut shared.clone()).await?,
            None => stream.write_all(&data).await?,
        }
    }
    stream.shutdown().await?;
    stream.acked().await?;
    report("sent and acknowledged", mib << 20, started);
    println!("{:?}", stream.stats());
    stream.closed().await;
    report_socket(&socket);
    Ok(())
}

fn report(what: &str, bytes: usize, started: Instant) {
    let seconds = started.elapsed().as_secs_f64();
    println!("{what} {bytes} bytes in {seconds:.3} s: {:.1} MB/s", bytes as f64 / seconds / 1e6);
}

fn report_socket(socket: &UtpSocket) {
    println!("{:?}", socket.stats());
}
