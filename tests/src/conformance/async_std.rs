//! [`Adapter`]: async-std.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use async_std::task;
use futures_util::{AsyncReadExt, AsyncWriteExt, FutureExt};
use utp_async_std::congestion::ControllerFactory;
use utp_async_std::{
    BufferSizes, ConnectionStats, Ending, OwnedReadHalf, OwnedWriteHalf, SocketConfig, SocketEvent,
    SocketStats, StreamEvent, UtpSocket, UtpStream,
};
use utp_driver::text::Encoding;

use super::Adapter;

/// async-std, with its global executor, whatever executor is around.
#[derive(Debug)]
pub struct AsyncStd;

impl Adapter for AsyncStd {
    type Socket = UtpSocket;
    type Stream = UtpStream;
    type Reader = OwnedReadHalf;
    type Writer = OwnedWriteHalf;

    async fn bind(addr: SocketAddr, config: SocketConfig) -> io::Result<UtpSocket> {
        UtpSocket::bind_with(addr, config).await
    }

    async fn bind_port(port: u16) -> io::Result<UtpSocket> {
        UtpSocket::bind_port(port).await
    }

    async fn from_std(socket: std::net::UdpSocket, config: SocketConfig) -> io::Result<UtpSocket> {
        UtpSocket::from_std(socket, config)
    }

    fn local_addr(socket: &UtpSocket) -> SocketAddr {
        socket.local_addr()
    }

    fn buffer_sizes(socket: &UtpSocket) -> BufferSizes {
        socket.buffer_sizes()
    }

    fn socket_stats(socket: &UtpSocket) -> SocketStats {
        socket.stats()
    }

    async fn connect(socket: &UtpSocket, to: SocketAddr) -> io::Result<UtpStream> {
        socket.connect(to).await
    }

    async fn connect_any(socket: &UtpSocket, to: &[SocketAddr]) -> io::Result<UtpStream> {
        socket.connect_any(to).await
    }

    async fn connect_port(socket: &UtpSocket, port: u16) -> io::Result<UtpStream> {
        socket.connect_port(port).await
    }

    fn start_connect(socket: &UtpSocket, to: SocketAddr) -> io::Result<UtpStream> {
        socket.start_connect(to)
    }

    async fn accept(socket: &UtpSocket) -> io::Result<(UtpStream, SocketAddr)> {
        socket.accept().await
    }

    async fn close(socket: &UtpSocket) -> io::Result<()> {
        socket.close().await
    }

    async fn idle(socket: &UtpSocket) -> io::Result<()> {
        socket.idle().await
    }

    fn set_referenced(socket: &UtpSocket, referenced: bool) {
        if referenced { socket.reference() } else { socket.unreference() }
    }

    async fn unreferenced(socket: &UtpSocket) -> io::Result<()> {
        socket.unreferenced().await
    }

    async fn socket_event(socket: &UtpSocket) -> Option<SocketEvent> {
        socket.next_event().await
    }

    async fn recv_from(socket: &UtpSocket, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        socket.recv_from(buf).await
    }

    async fn send_to(socket: &UtpSocket, data: &[u8], to: SocketAddr) -> io::Result<()> {
        socket.send_to(data, to).await
    }

    fn peer_addr(stream: &UtpStream) -> SocketAddr {
        stream.peer_addr()
    }

    fn stream_local_addr(stream: &UtpStream) -> SocketAddr {
        stream.local_addr()
    }

    fn bytes_read(stream: &UtpStream) -> u64 {
        stream.bytes_read()
    }

    fn bytes_written(stream: &UtpStream) -> u64 {
        stream.bytes_written()
    }

    fn bytes_acked(stream: &UtpStream) -> u64 {
        stream.bytes_acked()
    }

    fn stats(stream: &UtpStream) -> ConnectionStats {
        stream.stats()
    }

    async fn acked(stream: &UtpStream) -> io::Result<()> {
        stream.acked().await
    }

    async fn closed(stream: &UtpStream) -> Ending {
        stream.closed().await
    }

    fn abort(stream: &UtpStream) {
        stream.abort();
    }

    fn set_stream_referenced(stream: &UtpStream, referenced: bool) {
        if referenced { stream.reference() } else { stream.unreference() }
    }

    fn set_encoding(stream: &UtpStream, encoding: Option<Encoding>) {
        stream.set_encoding(encoding);
    }

    fn set_congestion(stream: &UtpStream, controller: &dyn ControllerFactory) {
        stream.set_congestion(controller);
    }

    fn set_receive_congestion(stream: &UtpStream, controller: Option<&dyn ControllerFactory>) {
        stream.set_receive_congestion(controller);
    }

    async fn stream_event(stream: &UtpStream) -> Option<StreamEvent> {
        stream.next_event().await
    }

    fn split(stream: UtpStream) -> (OwnedReadHalf, OwnedWriteHalf) {
        stream.into_split()
    }

    fn stream(writer: &OwnedWriteHalf) -> &UtpStream {
        writer.as_ref()
    }

    async fn read(reader: &mut OwnedReadHalf, buf: &mut [u8]) -> io::Result<usize> {
        reader.read(buf).await
    }

    async fn write(writer: &mut OwnedWriteHalf, data: &[u8]) -> io::Result<usize> {
        writer.write(data).await
    }

    async fn write_vectored(writer: &mut OwnedWriteHalf, data: &[io::IoSlice<'_>]) -> io::Result<usize> {
        writer.write_vectored(data).await
    }

    async fn write_text(writer: &mut OwnedWriteHalf, text: &str, encoding: Encoding) -> io::Result<()> {
        writer.write_text(text, encoding).await
    }

    async fn flush(writer: &mut OwnedWriteHalf) -> io::Result<()> {
        writer.flush().await
    }

    async fn finish(writer: &mut OwnedWriteHalf) -> io::Result<()> {
        writer.close().await
    }

    async fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> T {
        // The executor would only say that there was a panic.
        match task::spawn(AssertUnwindSafe(task).catch_unwind()).await {
            Ok(output) => output,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    async fn pause() {
        task::sleep(Duration::from_millis(1)).await;
    }
}
