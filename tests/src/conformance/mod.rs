//! What every adapter must do, written once and run for each: alone, and against each other one.
//!
//! - [`Adapter`]: the few operations that the cases need; [`tokio`] and its siblings implement it;
//! - [`transfer`], [`ending`], [`cancel`], [`pressure`], [`race`], [`datagrams`], and for what programs for
//!   Node.js are used to, [`addresses`], [`events`], [`text`], [`references`]: the cases. Each takes the
//!   adapter of the accepting and that of the connecting side;
//! - [`for_each_case!`](crate::for_each_case): their list, from which the test files make tests.
//!
//! Cases use real sockets on the loopback, never wait for a fixed time, and are stopped by
//! [`within`] if they hang.

pub mod addresses;
pub mod async_std;
pub mod cancel;
pub mod datagrams;
pub mod ending;
pub mod events;
pub mod mio;
pub mod pressure;
pub mod race;
pub mod references;
pub mod text;
pub mod tokio;
pub mod tools;
pub mod transfer;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use utp_driver::events::{SocketEvent, StreamEvent};
use utp_driver::text::Encoding;
use utp_driver::{BufferSizes, Ending, SocketConfig, SocketStats};
use utp_proto::ConnectionStats;
use utp_proto::congestion::ControllerFactory;

/// An adapter as the cases use it. All of it is what its own users would write.
#[allow(missing_docs)] // the names are those of the adapters' methods
pub trait Adapter: 'static {
    type Socket: Clone + Send + Sync + 'static;
    type Stream: Send + Sync + 'static;
    type Reader: Send + 'static;
    type Writer: Send + 'static;

    fn bind(addr: SocketAddr, config: SocketConfig) -> impl Future<Output = io::Result<Self::Socket>> + Send;
    /// Of any IPv4 address.
    fn bind_port(port: u16) -> impl Future<Output = io::Result<Self::Socket>> + Send;
    fn from_std(
        socket: std::net::UdpSocket,
        config: SocketConfig,
    ) -> impl Future<Output = io::Result<Self::Socket>> + Send;
    fn local_addr(socket: &Self::Socket) -> SocketAddr;
    fn buffer_sizes(socket: &Self::Socket) -> BufferSizes;
    fn socket_stats(socket: &Self::Socket) -> SocketStats;
    fn connect(
        socket: &Self::Socket,
        to: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::Stream>> + Send;
    /// To the one that answers first.
    fn connect_any(
        socket: &Self::Socket,
        to: &[SocketAddr],
    ) -> impl Future<Output = io::Result<Self::Stream>> + Send;
    /// On `localhost`.
    fn connect_port(
        socket: &Self::Socket,
        port: u16,
    ) -> impl Future<Output = io::Result<Self::Stream>> + Send;
    /// Without waiting for the connection.
    fn start_connect(socket: &Self::Socket, to: SocketAddr) -> io::Result<Self::Stream>;
    fn accept(socket: &Self::Socket) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;
    fn close(socket: &Self::Socket) -> impl Future<Output = io::Result<()>> + Send;
    fn idle(socket: &Self::Socket) -> impl Future<Output = io::Result<()>> + Send;
    fn set_referenced(socket: &Self::Socket, referenced: bool);
    fn unreferenced(socket: &Self::Socket) -> impl Future<Output = io::Result<()>> + Send;
    /// `None` once it is closed.
    fn socket_event(socket: &Self::Socket) -> impl Future<Output = Option<SocketEvent<Self::Stream>>> + Send;
    fn recv_from(
        socket: &Self::Socket,
        buf: &mut [u8],
    ) -> impl Future<Output = io::Result<(usize, SocketAddr)>> + Send;
    fn send_to(
        socket: &Self::Socket,
        data: &[u8],
        to: SocketAddr,
    ) -> impl Future<Output = io::Result<()>> + Send;

    fn peer_addr(stream: &Self::Stream) -> SocketAddr;
    fn stream_local_addr(stream: &Self::Stream) -> SocketAddr;
    fn bytes_read(stream: &Self::Stream) -> u64;
    fn bytes_written(stream: &Self::Stream) -> u64;
    fn bytes_acked(stream: &Self::Stream) -> u64;
    fn stats(stream: &Self::Stream) -> ConnectionStats;
    fn acked(stream: &Self::Stream) -> impl Future<Output = io::Result<()>> + Send;
    fn closed(stream: &Self::Stream) -> impl Future<Output = Ending> + Send;
    fn abort(stream: &Self::Stream);
    fn set_stream_referenced(stream: &Self::Stream, referenced: bool);
    fn set_encoding(stream: &Self::Stream, encoding: Option<Encoding>);
    fn set_congestion(stream: &Self::Stream, controller: &dyn ControllerFactory);
    fn set_receive_congestion(stream: &Self::Stream, controller: Option<&dyn ControllerFactory>);
    /// `None` once it is closed.
    fn stream_event(stream: &Self::Stream) -> impl Future<Output = Option<StreamEvent>> + Send;

    fn split(stream: Self::Stream) -> (Self::Reader, Self::Writer);
    fn stream(writer: &Self::Writer) -> &Self::Stream;
    fn read(reader: &mut Self::Reader, buf: &mut [u8]) -> impl Future<Output = io::Result<usize>> + Send;
    fn write(writer: &mut Self::Writer, data: &[u8]) -> impl Future<Output = io::Result<usize>> + Send;
    fn write_vectored(
        writer: &mut Self::Writer,
        data: &[io::IoSlice<'_>],
    ) -> impl Future<Output = io::Result<usize>> + Send;
    fn write_text(
        writer: &mut Self::Writer,
        text: &str,
        encoding: Encoding,
    ) -> impl Future<Output = io::Result<()>> + Send;
    fn flush(writer: &mut Self::Writer) -> impl Future<Output = io::Result<()>> + Send;
    fn finish(writer: &mut Self::Writer) -> impl Future<Output = io::Result<()>> + Send;

    /// Lets a task run by itself. Its panics come out of the future that is returned.
    fn spawn<T: Send + 'static>(
        task: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> + Send;

    /// Lets others run for a moment; for conditions that nothing announces.
    fn pause() -> impl Future<Output = ()> + Send;
}

/// Runs `case` on a thread of its own and fails if it takes longer than `limit`.
///
/// # Panics
/// If the case does, or is not done in time.
pub fn within(limit: Duration, case: impl FnOnce() + Send + 'static) {
    let (done, wait) = mpsc::channel();
    let name = thread::current().name().unwrap_or("case").to_owned();
    let runner = thread::Builder::new().name(name).spawn(move || {
        case();
        // If nobody waits any more, the limit has been reported already.
        let _ = done.send(());
    });
    let runner = runner.expect("a thread for the case");
    match wait.recv_timeout(limit) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("not done after {limit:?}"),
        // The sender is dropped without a word if the case panics.
        Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => {
            if let Err(panic) = runner.join() {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

/// What a case may take at most, on a machine that is busy with other things.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Calls `$callback! { $args [case case ...] }` with the path of each case below
/// `utp_tests::conformance`.
#[macro_export]
macro_rules! for_each_case {
    ($callback:ident $args:tt) => {
        $callback! { $args [
            transfer::echo
            transfer::bulk_both_ways_at_once
            transfer::two_hundred_connections
            transfer::half_close
            transfer::the_acceptor_speaks_first
            transfer::vectored_writes
            transfer::flush_and_acked
            transfer::each_stream_may_have_controllers_of_its_own
            transfer::ipv6
            transfer::dual_stack
            transfer::the_address_family_must_fit
            ending::refused_by_a_socket_that_does_not_listen
            ending::refused_after_close
            ending::a_silent_peer_times_out
            ending::abort_reaches_both_sides
            ending::writing_after_the_finish_is_a_broken_pipe
            ending::a_dropped_stream_delivers_what_was_written
            ending::streams_outlive_their_sockets
            ending::nobody_accepts
            ending::accepted_after_the_peer_had_finished
            ending::close_waits_for_the_streams
            ending::idle_wait
            ending::last_counters
            cancel::connect_dropped_at_every_await
            cancel::races_dropped_at_every_await
            cancel::accept_dropped_at_every_await
            cancel::reads_and_writes_dropped_at_every_await
            cancel::waits_dropped_at_every_await
            cancel::datagram_waits_dropped_at_every_await
            cancel::events_dropped_at_every_await
            cancel::reference_waits_dropped_at_every_await
            pressure::a_reader_that_stops_and_resumes
            pressure::a_slow_reader_among_fast_ones
            race::a_silent_address_is_not_waited_for
            race::a_refusal_leads_to_the_next_address
            race::families_take_turns
            race::when_all_have_failed_the_most_telling_error_is_given
            datagrams::foreign_datagrams_both_ways_beside_a_transfer
            datagrams::unread_datagrams_are_bounded
            datagrams::garbage_changes_nothing
            addresses::a_port_alone_is_any_ipv4_address_and_localhost
            addresses::both_ends_know_both_addresses
            addresses::a_taken_port_is_an_error_and_no_socket
            addresses::over_an_existing_descriptor
            events::a_conversation_in_order
            events::connect_comes_by_itself
            events::a_refused_connect_is_an_error_and_a_close
            events::a_timed_out_connect_is_an_error_and_a_close
            events::a_reset_is_an_error_and_a_close
            events::an_own_abort_is_a_close_without_an_error
            events::an_error_after_the_end
            events::closing_keeps_what_exists
            events::nobody_listens_and_nothing_is_lost
            text::every_encoding_both_ways
            text::characters_cut_by_packets_come_out_whole
            text::invalid_input_is_replaced
            text::the_encoding_can_be_changed
            text::what_cannot_be_encoded_is_not_written
            references::a_referenced_listener_keeps_the_program
            references::a_referenced_stream_keeps_the_program
            references::a_dropped_stream_counts_until_its_end
        ] }
    };
}
