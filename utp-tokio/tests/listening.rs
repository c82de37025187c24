//! A socket that listens no more still connects, and keeps its streams.

use std::io::ErrorKind;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use utp_tokio::UtpSocket;

#[tokio::test]
async fn who_listens_no_more_refuses_and_goes_on() {
    let (here, there) =
        (UtpSocket::bind("127.0.0.1:0").await.unwrap(), UtpSocket::bind("127.0.0.1:0").await.unwrap());
    let (opened, accepted) = tokio::join!(here.connect(there.local_addr()), there.accept());
    let (mut opened, mut accepted) = (opened.unwrap(), accepted.unwrap().0);
    assert!(there.is_listening());
    there.stop_listening();
    assert!(!there.is_listening());

    assert_eq!(there.accept().await.unwrap_err().kind(), ErrorKind::NotConnected);
    assert_eq!(here.connect(there.local_addr()).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    opened.write_all(b"hello").await.unwrap();
    accepted.read_exact(&mut [0; 5]).await.unwrap();
    let (back, forth) = tokio::join!(there.connect(here.local_addr()), here.accept());
    assert!(back.is_ok() && forth.is_ok());
}
