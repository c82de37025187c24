//! The transports that are compared, behind one face.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use futures_util::future::{BoxFuture, ready};
use quinn::crypto::rustls::QuicClientConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use utp_tokio::{Config, SocketConfig, SocketStats, UtpSocket};

use crate::interop::peer::{self, Kind, Peer};

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Kernel TCP through tokio.
    Tcp,
    /// This project through `utp-tokio`, as configured by default but for how many may be about to connect.
    Ours,
    /// The same without UDP GSO and GRO.
    OursPlain,
    /// QUIC, encrypted.
    Quinn,
    /// `librqbit-utp`.
    Librqbit,
    /// libutp.
    Libutp,
    /// UDP datagrams, GSO and GRO, no protocol.
    RawBatched,
    /// UDP datagrams, one system call each, no protocol.
    RawSingle,
}

impl Transport {
    /// All of them, in the order of the tables.
    pub const ALL: [Self; 8] = [
        Self::Tcp,
        Self::RawBatched,
        Self::RawSingle,
        Self::Ours,
        Self::OursPlain,
        Self::Quinn,
        Self::Librqbit,
        Self::Libutp,
    ];

    /// As on the command line and in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Ours => "utp",
            Self::OursPlain => "utp-no-offload",
            Self::Quinn => "quinn",
            Self::Librqbit => "librqbit-utp",
            Self::Libutp => "libutp",
            Self::RawBatched => "raw-udp-gso",
            Self::RawSingle => "raw-udp",
        }
    }

    /// The one of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|transport| transport.name() == name)
    }

    /// MiB that take it about a second.
    #[must_use]
    pub fn bulk_mib(self) -> u64 {
        match self {
            Self::Tcp | Self::RawBatched => 4096,
            Self::Ours => 2048,
            Self::RawSingle | Self::OursPlain | Self::Quinn => 512,
            Self::Librqbit => 128,
            Self::Libutp => 12,
        }
    }

    /// Connects that may be under way at once to one address.
    #[must_use]
    pub fn connects_at_once(self) -> usize {
        if self == Self::Librqbit { 1 } else { 64 }
    }

    pub(super) fn is_raw(self) -> bool {
        matches!(self, Self::RawBatched | Self::RawSingle)
    }

    /// A listening end on the loopback.
    ///
    /// # Errors
    /// Those of opening the socket.
    pub async fn listen(self) -> io::Result<Node> {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Ok(match self {
            Self::Tcp => Node::Tcp(TcpListener::bind(any).await?),
            Self::Ours | Self::OursPlain => Node::Utp(UtpSocket::bind_with(any, self.config()).await?),
            Self::Quinn => Node::Quinn(quinn_server(any)?),
            Self::Librqbit => Node::Peer(Kind::Librqbit.bind_to(any, 1).await?),
            Self::Libutp => Node::Peer(Kind::Libutp.bind_to(any, 1).await?),
            Self::RawBatched | Self::RawSingle => return Err(io::ErrorKind::Unsupported.into()),
        })
    }

    /// An end that connects.
    ///
    /// # Errors
    /// Those of opening the socket.
    pub async fn dial(self) -> io::Result<Node> {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        match self {
            Self::Tcp => Ok(Node::TcpDialer),
            Self::Quinn => quinn_client(any).map(Node::Quinn),
            _ => self.listen().await,
        }
    }

    fn config(self) -> SocketConfig {
        let mut config = Config::default();
        config.backlog(65_536).and_then(|c| c.half_open_limit(65_536)).expect("within range");
        let mut config = SocketConfig::from(config);
        let offload = self == Self::Ours;
        config.send_offload(offload).receive_offload(offload);
        config
    }
}

/// One end of a transport: a port that accepts or connects.
pub enum Node {
    /// See [`Transport::Tcp`].
    Tcp(TcpListener),
    /// The connecting side of TCP has no port of its own.
    TcpDialer,
    /// See [`Transport::Ours`].
    Utp(UtpSocket),
    /// See [`Transport::Quinn`].
    Quinn(quinn::Endpoint),
    /// Foreign implementations of uTP.
    Peer(Box<dyn Peer>),
}

impl Node {
    /// Where it listens.
    ///
    /// # Errors
    /// If it does not.
    pub fn addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr(),
            Self::TcpDialer => Err(io::ErrorKind::Unsupported.into()),
            Self::Utp(socket) => Ok(socket.local_addr()),
            Self::Quinn(endpoint) => endpoint.local_addr(),
            Self::Peer(peer) => Ok(peer.addr()),
        }
    }

    /// The next connection that comes in, as what is left to be waited for until it is open: a QUIC stream is
    /// seen only with its first byte, and others come in meanwhile.
    ///
    /// # Errors
    /// Those of the transport.
    pub async fn accept(&self) -> io::Result<BoxFuture<'static, io::Result<End>>> {
        let end = match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                End::split(stream.into_split())
            }
            Self::TcpDialer => return Err(io::ErrorKind::Unsupported.into()),
            Self::Utp(socket) => End::split(socket.accept().await?.0.into_split()),
            Self::Quinn(endpoint) => {
                let incoming = endpoint.accept().await.ok_or(io::ErrorKind::NotConnected)?;
                return Ok(Box::pin(async {
                    let connection = incoming.await?;
                    let (send, receive) = connection.accept_bi().await?;
                    Ok(End::Streams(Box::new(receive), Box::new(send), Some(connection)))
                }));
            }
            Self::Peer(peer) => peer.accept().await.map(End::Peer)?,
        };
        Ok(Box::pin(ready(Ok(end))))
    }

    /// A connection to `to`. (A QUIC stream is seen by the other side with its first byte.)
    ///
    /// # Errors
    /// Those of the transport.
    pub async fn connect(&self, to: SocketAddr) -> io::Result<End> {
        match self {
            Self::Tcp(_) => Err(io::ErrorKind::Unsupported.into()),
            Self::TcpDialer => {
                let stream = TcpStream::connect(to).await?;
                stream.set_nodelay(true)?;
                Ok(End::split(stream.into_split()))
            }
            Self::Utp(socket) => Ok(End::split(socket.connect(to).await?.into_split())),
            Self::Quinn(endpoint) => {
                let connection = endpoint.connect(to, "localhost").map_err(io::Error::other)?.await?;
                let (send, receive) = connection.open_bi().await?;
                Ok(End::Streams(Box::new(receive), Box::new(send), Some(connection)))
            }
            Self::Peer(peer) => peer.connect(to).await.map(End::Peer),
        }
    }

    /// Counters, of this project's sockets.
    #[must_use]
    pub fn stats(&self) -> Option<SocketStats> {
        match self {
            Self::Utp(socket) => Some(socket.stats()),
            _ => None,
        }
    }
}

/// One end of a connection.
pub enum End {
    /// Through tokio's traits; a QUIC connection lives as long as its handle.
    Streams(Box<dyn AsyncRead + Send + Unpin>, Box<dyn AsyncWrite + Send + Unpin>, Option<quinn::Connection>),
    /// Through the interop tests' face.
    Peer(peer::Connection),
}

impl End {
    fn split(
        (read, write): (impl AsyncRead + Send + Unpin + 'static, impl AsyncWrite + Send + Unpin + 'static),
    ) -> Self {
        Self::Streams(Box::new(read), Box::new(write), None)
    }

    /// Reads something into `to`, which is emptied first; 0 is the end.
    ///
    /// # Errors
    /// Those of the transport.
    pub async fn read(&mut self, to: &mut Vec<u8>) -> io::Result<usize> {
        to.clear();
        match self {
            Self::Streams(read, ..) => {
                to.reserve(CHUNK);
                read.read_buf(to).await
            }
            Self::Peer(connection) => connection.source.read(to).await,
        }
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// Those of the transport.
    pub async fn write(&mut self, data: &[u8]) -> io::Result<()> {
        match self {
            Self::Streams(_, write, _) => write.write_all(data).await,
            Self::Peer(connection) => connection.sink.write_all(data).await,
        }
    }

    /// Ends this direction.
    ///
    /// # Errors
    /// Those of the transport.
    pub async fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Streams(_, write, _) => write.shutdown().await,
            Self::Peer(connection) => connection.sink.finish().await,
        }
    }
}

fn quinn_server(addr: SocketAddr) -> io::Result<quinn::Endpoint> {
    let cert = rcgen::generate_simple_self_signed(vec!["localhost".into()]).map_err(io::Error::other)?;
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(cert.signing_key.serialize_der());
    let mut config = quinn::ServerConfig::with_single_cert(vec![cert.cert.der().clone()], key.into())
        .map_err(io::Error::other)?;
    config.transport_config(Arc::new(quinn_transport()));
    quinn::Endpoint::server(config, addr)
}

fn quinn_client(addr: SocketAddr) -> io::Result<quinn::Endpoint> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let crypto = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    let mut config =
        quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(crypto).map_err(io::Error::other)?));
    config.transport_config(Arc::new(quinn_transport()));
    let mut endpoint = quinn::Endpoint::client(addr)?;
    endpoint.set_default_client_config(config);
    Ok(endpoint)
}

/// Windows as large as ours.
fn quinn_transport() -> quinn::TransportConfig {
    let mut transport = quinn::TransportConfig::default();
    transport.stream_receive_window((4u32 << 20).into()).send_window(4 << 20);
    transport
}

/// The two processes are one program: there is nothing to verify.
#[derive(Debug)]
struct AnyCertificate(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &rustls::pki_types::CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &rustls::pki_types::CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Bytes read at once.
const CHUNK: usize = 256 << 10;
