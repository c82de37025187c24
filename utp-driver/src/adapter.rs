//! What asynchronous adapters would otherwise repeat word for word: the methods that only forward to a
//! handle, and, in `halves.rs`, the halves of a stream. As macros, because the types belong to the adapters: each
//! implements its runtime's traits for them, and its users find all methods in one place.
//!
//! An adapter writes by itself what differs: how names are resolved, the constructors, the traits of its
//! runtime, and its examples.

/// The methods of an adapter's `UtpSocket`, in an `impl` of it: `socket_methods!(UtpStream,
/// UtpListener)`. The type has a field `handle`, a [`SocketHandle`](crate::SocketHandle); the two others
/// have a `new` that takes a handle or a socket.
#[macro_export]
macro_rules! socket_methods {
    ($Stream:ident, $Listener:ident) => {
        /// Opens a stream to a port of this machine, `localhost`. (IPv4 if this socket speaks it, as one
        /// does that was bound without naming an address.)
        ///
        /// Cancel-safe: dropping the future aborts the attempt.
        ///
        /// # Errors
        /// As [`connect`](Self::connect).
        pub async fn connect_port(&self, port: u16) -> ::std::io::Result<$Stream> {
            self.handle.connect(self.handle.localhost(port)).await.map($Stream::new)
        }

        /// Begins to open a stream and gives it at once. What is written to it waits for the connection.
        /// Its first event says how it went, see [`next_event`]; so does the first read or flush.
        ///
        #[doc = concat!("[`next_event`]: ", stringify!($Stream), "::next_event")]
        ///
        /// # Errors
        /// `InvalidInput` for an address that cannot be connected to from this socket; `QuotaExceeded` with
        /// [`max_connections`](crate::Config::max_connections) open; `AddrInUse` if every connection id towards
        /// that address is taken; `NotConnected` if the runtime of the socket is gone.
        pub fn start_connect(&self, peer: ::std::net::SocketAddr) -> ::std::io::Result<$Stream> {
            self.handle.start_connect(peer).map($Stream::new)
        }

        /// The next incoming stream and its peer. Several tasks may wait.
        ///
        /// Cancel-safe: no stream is lost.
        ///
        /// # Errors
        /// `NotConnected` once the socket was [closed](Self::close), if it was configured not to
        /// [listen](crate::Config::listen), and if its runtime is gone.
        pub async fn accept(&self) -> ::std::io::Result<($Stream, ::std::net::SocketAddr)> {
            let handle = self.handle.accept().await?;
            let peer = handle.peer_addr();
            Ok(($Stream::new(handle), peer))
        }

        /// What happens next, in the terms of Node.js: an alternative to [`accept`](Self::accept) and
        /// [`close`](Self::close). `None` after `Close`, which comes once and last.
        ///
        /// Cancel-safe: no event is lost. Several tasks may wait; each event comes to one of them.
        pub async fn next_event(&self) -> Option<$crate::events::SocketEvent<$Stream>> {
            Some(self.handle.next_event().await?.map($Stream::new))
        }

        /// A listener on this socket, which stays usable.
        #[must_use]
        pub fn listener(&self) -> $Listener {
            $Listener::new(self.clone())
        }

        /// The address that the socket is bound to: its IP, which tells the family, and its port.
        #[must_use]
        pub fn local_addr(&self) -> ::std::net::SocketAddr {
            self.handle.local_addr()
        }

        /// The kernel buffers that the system granted, often less than was asked for.
        #[must_use]
        pub fn buffer_sizes(&self) -> $crate::BufferSizes {
            self.handle.buffer_sizes()
        }

        /// Counters.
        #[must_use]
        pub fn stats(&self) -> $crate::SocketStats {
            self.handle.stats()
        }

        /// The next datagram that is not uTP: its length, cut to that of `buf`, and its sender.
        ///
        /// uTP are all datagrams of 20 bytes or more that begin with 0x01, 0x11, 0x21, 0x31 or 0x41, whoever
        /// sends them. Of the others, up to [`datagram_queue`](crate::SocketConfig::datagram_queue) bytes wait.
        /// (Messages of a DHT begin with a `d`.)
        ///
        /// Cancel-safe: no datagram is lost.
        ///
        /// # Errors
        /// `NotConnected` if the runtime of the socket is gone.
        pub async fn recv_from(&self, buf: &mut [u8]) -> ::std::io::Result<(usize, ::std::net::SocketAddr)> {
            self.handle.recv_from(buf).await
        }

        /// Sends a datagram that is not uTP.
        ///
        /// Cancel-safe: it is sent whole or not at all.
        ///
        /// # Errors
        /// What the system says to this datagram.
        pub async fn send_to(&self, data: &[u8], to: ::std::net::SocketAddr) -> ::std::io::Result<()> {
            self.handle.send_to(data, to).await
        }

        /// Accepts no more connections, refuses those that nobody has accepted, and resolves when all
        /// others have ended, those too that this side has opened or dropped.
        ///
        /// A peer may still wait for a last acknowledgement then: a program that ends now had better wait for
        /// [`idle`](Self::idle) instead.
        ///
        /// Cancel-safe: the socket accepts no more, whether the future is polled again or not.
        ///
        /// # Errors
        /// `NotConnected` if the runtime of the socket is gone.
        pub async fn close(&self) -> ::std::io::Result<()> {
            self.handle.stop_listening();
            self.handle.unused().await
        }

        /// Accepts no more connections and refuses those that nobody has accepted: [`close`](Self::close) without
        /// waiting. Streams go on, and can still be opened.
        pub fn stop_listening(&self) {
            self.handle.stop_listening();
        }

        /// Whether incoming connections are taken.
        #[must_use]
        pub fn is_listening(&self) -> bool {
            self.handle.is_listening()
        }

        /// Resolves when no connection is open and no peer can be left that still waits for a last
        /// acknowledgement, which takes [`linger`](crate::Config::linger) after the last connection's
        /// end. A program that waits for this before it ends leaves no peer guessing. It says nothing of
        /// connections still to come: see [`close`](Self::close) and
        /// [`unreferenced`](Self::unreferenced).
        ///
        /// Cancel-safe.
        ///
        /// # Errors
        /// `NotConnected` if the runtime of the socket is gone.
        pub async fn idle(&self) -> ::std::io::Result<()> {
            self.handle.idle().await
        }

        /// Resolves when there is no more reason to go on, as a program for Node.js ends: when nothing is
        /// left that is referenced. That is, the socket accepts no more or is
        /// [unreferenced](Self::unreference); each stream that it has connected or accepted has
        /// ended, in the background after it was dropped, or is unreferenced; and, as for
        /// [`idle`](Self::idle), no peer of a referenced one still waits for a last acknowledgement.
        ///
        /// Cancel-safe.
        ///
        /// # Errors
        /// `NotConnected` if the runtime of the socket is gone.
        pub async fn unreferenced(&self) -> ::std::io::Result<()> {
            self.handle.unreferenced().await
        }

        /// Makes [`unreferenced`](Self::unreferenced) wait until this socket is closed, as it does in the
        /// beginning: `ref` in Node.js. It concerns all clones and listeners. Repeating it has no effect.
        pub fn reference(&self) {
            self.handle.set_referenced(true);
        }

        /// The opposite of [`reference`](Self::reference): `unref` in Node.js. Streams are not concerned.
        pub fn unreference(&self) {
            self.handle.set_referenced(false);
        }

        /// Whether the socket is [referenced](Self::reference).
        #[must_use]
        pub fn is_referenced(&self) -> bool {
            self.handle.is_referenced()
        }
    };
}

/// The methods of an adapter's `UtpListener`, in an `impl` of it: `listener_methods!(UtpStream,
/// UtpSocket, Incoming)`. The type has a field `socket`, of that type.
#[macro_export]
macro_rules! listener_methods {
    ($Stream:ident, $Socket:ident, $Incoming:ident) => {
        /// The next incoming stream and its peer. Several tasks may wait.
        ///
        /// Cancel-safe: no stream is lost.
        ///
        /// # Errors
        /// `NotConnected` once the socket was [closed](Self::close), if it was configured not to
        /// [listen](crate::Config::listen), and if its runtime is gone.
        pub async fn accept(&self) -> ::std::io::Result<($Stream, ::std::net::SocketAddr)> {
            self.socket.accept().await
        }

        /// [`accept`](Self::accept) as a stream of streams, which ends when the socket is closed.
        pub fn incoming(&self) -> $Incoming {
            $Incoming { inner: self.socket.handle.incoming() }
        }

        /// What happens next, in the terms of Node.js. `None` after `Close`, which comes once and last.
        ///
        /// Cancel-safe: no event is lost. Several tasks may wait; each event comes to one of them.
        pub async fn next_event(&self) -> Option<$crate::events::SocketEvent<$Stream>> {
            self.socket.next_event().await
        }

        /// The address that the socket is bound to: its IP, which tells the family, and its port.
        #[must_use]
        pub fn local_addr(&self) -> ::std::net::SocketAddr {
            self.socket.local_addr()
        }

        /// The socket listened on.
        #[must_use]
        pub fn socket(&self) -> &$Socket {
            &self.socket
        }

        /// Accepts no more connections, refuses those that nobody has accepted, and resolves when all others
        /// of the socket have ended: those too that it has opened, if it is used for that as well.
        ///
        /// Before the program ends, wait for
        #[doc = concat!("[`", stringify!($Socket), "::idle`]")]
        /// besides: a peer may still wait for a last acknowledgement.
        ///
        /// Cancel-safe: the socket accepts no more, whether the future is polled again or not.
        ///
        /// # Errors
        /// `NotConnected` if the runtime of the socket is gone.
        pub async fn close(&self) -> ::std::io::Result<()> {
            self.socket.close().await
        }

        /// `ref` in Node.js.
        #[doc = concat!("See [`", stringify!($Socket), "::reference`].")]
        pub fn reference(&self) {
            self.socket.reference();
        }

        /// `unref` in Node.js.
        #[doc = concat!("See [`", stringify!($Socket), "::unreference`].")]
        pub fn unreference(&self) {
            self.socket.unreference();
        }

        pub(crate) fn new(socket: $Socket) -> Self {
            Self { socket }
        }
    };
}

/// The methods of an adapter's `UtpStream`, in an `impl` of it: `stream_methods!(Socket)`, with the
/// runtime's socket. The type has a field `handle`, a [`StreamHandle`](crate::StreamHandle), and halves
/// made by [`halves`](crate::halves).
#[macro_export]
macro_rules! stream_methods {
    ($UdpSocket:ident) => {
        /// The peer.
        #[must_use]
        pub fn peer_addr(&self) -> ::std::net::SocketAddr {
            self.handle.peer_addr()
        }

        /// The address that the socket is bound to: its IP, which tells the family, and its port.
        #[must_use]
        pub fn local_addr(&self) -> ::std::net::SocketAddr {
            self.handle.local_addr()
        }

        /// Payload bytes read so far.
        #[must_use]
        pub fn bytes_read(&self) -> u64 {
            self.handle.bytes_read()
        }

        /// Payload bytes written so far.
        #[must_use]
        pub fn bytes_written(&self) -> u64 {
            self.handle.bytes_written()
        }

        /// Payload bytes of those that the peer has acknowledged.
        #[must_use]
        pub fn bytes_acked(&self) -> u64 {
            self.handle.bytes_acked()
        }

        /// Counters and gauges; after the end, the last ones.
        #[must_use]
        pub fn stats(&self) -> $crate::ConnectionStats {
            self.handle.stats()
        }

        /// Congestion control of this stream from now on, instead of that of
        /// [`Config::congestion`](crate::Config::congestion): foreground and background transfers can share a
        /// socket. The new controller starts as for a new stream, so best before anything is written.
        pub fn set_congestion(&self, controller: &dyn $crate::congestion::ControllerFactory) {
            self.handle.set_congestion(controller);
        }

        /// Congestion control of what the peer sends on this stream from now on, or none (`None`), instead of
        /// that of [`Config::receive_congestion`](crate::Config::receive_congestion).
        pub fn set_receive_congestion(&self, controller: Option<&dyn $crate::congestion::ControllerFactory>) {
            self.handle.set_receive_congestion(controller);
        }

        /// What happens next, in the terms of Node.js: an alternative to reading. `None` after `Close`,
        /// which comes once and last.
        ///
        /// Nothing is lost if nobody asks: data stays in the receive buffer, and the peer waits once
        /// that is full. What is given here is not given to readers, and the other way round; like
        /// reading, it is for one task at a time.
        ///
        /// Cancel-safe: no event is lost.
        pub async fn next_event(&self) -> Option<$crate::events::StreamEvent> {
            self.handle.next_event().await
        }

        /// Lets the `Data` of [events](Self::next_event) be text: `setEncoding` in Node.js. `None`: bytes
        /// again. Characters that were cut by packets come out whole. Readers get bytes all the same.
        pub fn set_encoding(&self, encoding: impl Into<Option<$crate::text::Encoding>>) {
            self.handle.set_encoding(encoding.into());
        }

        /// Writes all of `text` in `encoding`.
        ///
        /// Not cancel-safe: a part of it may have been written. If that matters, use
        #[doc = "[`write_bytes`](Self::write_bytes) and [`encode`](crate::text::encode)."]
        ///
        /// # Errors
        /// `InvalidInput`, before anything is written, if `text` cannot be encoded; `BrokenPipe` after
        /// [`finish`](Self::finish); how the connection ended, if it did.
        pub async fn write_text(
            &mut self,
            text: &str,
            encoding: $crate::text::Encoding,
        ) -> ::std::io::Result<()> {
            self.handle.write_text(text, encoding).await
        }

        /// Writes all of `data` without copying it.
        ///
        /// Cancel-safe: what is left in `data` was not written.
        ///
        /// # Errors
        /// `BrokenPipe` after [`finish`](Self::finish); how the connection ended, if it did.
        pub async fn write_bytes(&mut self, data: &mut $crate::Bytes) -> ::std::io::Result<()> {
            self.handle.write_all_bytes(data).await
        }

        /// Queues the FIN after everything that was written, and returns at once. The other direction
        /// stays open. Repeating it has no effect.
        ///
        /// # Errors
        /// How the connection ended, if it did before everything was delivered.
        pub fn finish(&self) -> ::std::io::Result<()> {
            self.handle.finish()
        }

        /// Resolves when everything that was written up to now, and the FIN after
        /// [`finish`](Self::finish), has been acknowledged.
        ///
        /// Cancel-safe.
        ///
        /// # Errors
        /// How the connection ended, if it did before that.
        pub async fn acked(&self) -> ::std::io::Result<()> {
            self.handle.acked().await
        }

        /// Resolves when the connection is over in both directions and all that arrived has been read,
        /// and says how it ended and whether everything was delivered.
        ///
        /// Cancel-safe.
        pub async fn closed(&self) -> $crate::Ending {
            self.handle.closed().await
        }

        /// Ends the connection at once: the peer gets a RESET, what is queued is dropped.
        pub fn abort(&self) {
            self.handle.abort();
        }

        /// Makes the socket's `unreferenced` wait for the end of this connection, as it does in the
        /// beginning, even after the stream is dropped: `ref` in Node.js. Repeating it has no effect.
        pub fn reference(&self) {
            self.handle.set_referenced(true);
        }

        /// The opposite of [`reference`](Self::reference): `unref` in Node.js.
        pub fn unreference(&self) {
            self.handle.set_referenced(false);
        }

        /// Whether the stream is [referenced](Self::reference) and has not ended.
        #[must_use]
        pub fn is_referenced(&self) -> bool {
            self.handle.is_referenced()
        }

        /// Both directions, borrowed: for concurrent reading and writing in one task.
        #[must_use]
        pub fn split(&mut self) -> (ReadHalf<'_>, WriteHalf<'_>) {
            split::borrowed(self)
        }

        /// Both directions, owned: for reading and writing in two tasks. Dropping the write half finishes
        /// that direction; dropping both closes the connection gracefully.
        #[must_use]
        pub fn into_split(self) -> (OwnedReadHalf, OwnedWriteHalf) {
            split::owned(self)
        }

        pub(crate) fn new(handle: $crate::StreamHandle<$UdpSocket>) -> Self {
            Self { handle }
        }

        pub(crate) fn handle(&self) -> &$crate::StreamHandle<$UdpSocket> {
            &self.handle
        }
    };
}
