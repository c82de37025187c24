//! Addresses on the command line: `HOST:PORT`, `utp://HOST:PORT`, `tcp://HOST:PORT`.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use anyhow::Context;

/// A host, by name or number, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// Without brackets. Empty: what suits the purpose.
    host: String,
    port: u16,
}

/// An [`Address`] and the protocol to speak there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) scheme: Scheme,
    pub(crate) address: Address,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    Tcp,
    Utp,
}

impl Address {
    /// What to bind for listening. Without a host: any IPv4 address.
    ///
    /// # Errors
    /// The name does not resolve.
    pub(crate) async fn resolve_local(&self) -> anyhow::Result<Vec<SocketAddr>> {
        self.resolve("0.0.0.0").await
    }

    /// What to connect to. Without a host: this machine, by IPv4, as listeners without a host do.
    ///
    /// # Errors
    /// The name does not resolve.
    pub(crate) async fn resolve_remote(&self) -> anyhow::Result<Vec<SocketAddr>> {
        self.resolve("127.0.0.1").await
    }

    /// Whether the system is to choose the port.
    pub(crate) fn is_any_port(&self) -> bool {
        self.port == 0
    }

    async fn resolve(&self, default: &str) -> anyhow::Result<Vec<SocketAddr>> {
        let host = if self.host.is_empty() { default } else { &self.host };
        let resolved = tokio::net::lookup_host((host, self.port)).await.map(Vec::from_iter);
        let found = resolved.and_then(|addresses| match addresses.is_empty() {
            true => Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address")),
            false => Ok(addresses),
        });
        found.with_context(|| format!("cannot resolve {host}"))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.parse() {
            Ok(IpAddr::V6(host)) => write!(f, "[{host}]:{}", self.port),
            _ => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl FromStr for Address {
    type Err = String;

    /// Takes `utp://HOST:PORT` as well, which is how listeners announce themselves.
    fn from_str(text: &str) -> Result<Self, String> {
        host_and_port(text.strip_prefix("utp://").unwrap_or(text))
    }
}

fn host_and_port(text: &str) -> Result<Address, String> {
    let (host, port) = text.rsplit_once(':').ok_or("a port is missing: HOST:PORT is expected")?;
    let port = port.parse().map_err(|_| format!("'{port}' is no port: a number up to 65535 is"))?;
    let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(inner) if inner.parse::<std::net::Ipv6Addr>().is_ok() || has_zone(inner) => inner,
        None if !host.contains([':', '/', '[', ']', '@']) && !host.contains(char::is_whitespace) => host,
        _ => return Err(format!("'{host}' is no host; IPv6 addresses stand in brackets")),
    };
    Ok(Address { host: host.to_owned(), port })
}

/// `fe80::1%eth0`: the resolver knows how to read that.
fn has_zone(host: &str) -> bool {
    host.split_once('%')
        .is_some_and(|(ip, zone)| ip.parse::<std::net::Ipv6Addr>().is_ok() && !zone.is_empty())
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.address)
    }
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (scheme, address) = match text.split_once("://") {
            Some(("tcp", address)) => (Scheme::Tcp, address),
            Some(("utp", address)) => (Scheme::Utp, address),
            _ => return Err("tcp://HOST:PORT or utp://HOST:PORT is expected".to_owned()),
        };
        Ok(Self { scheme, address: host_and_port(address)? })
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Utp => "utp",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports() {
        for (text, host, shown) in [
            ("example.org:80", "example.org", "example.org:80"),
            ("127.0.0.1:80", "127.0.0.1", "127.0.0.1:80"),
            ("[::1]:80", "::1", "[::1]:80"),
            ("utp://[::1]:80", "::1", "[::1]:80"),
            (":80", "", ":80"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!((address.host.as_str(), address.port), (host, 80), "{text}");
            assert_eq!(address.to_string(), shown);
        }
        assert_eq!("[fe80::1%lo]:1".parse::<Address>().unwrap().host, "fe80::1%lo");
    }

    #[test]
    fn what_is_no_address() {
        for text in [
            "",
            "host",
            "host:",
            "host:x",
            "host:65536",
            "host:-1",
            "::1:80",
            "[::1]",
            "[host]:1",
            "a b:1",
            "tcp://a:1",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    #[test]
    fn urls() {
        let url: Url = "tcp://[::1]:22".parse().unwrap();
        assert_eq!(url.scheme, Scheme::Tcp);
        assert_eq!(url.to_string(), "tcp://[::1]:22");
        assert_eq!("utp://h:1".parse::<Url>().unwrap().scheme, Scheme::Utp);
        for text in ["h:1", "http://h:1", "tcp://h", "tcp://utp://h:1"] {
            assert!(text.parse::<Url>().is_err(), "{text}");
        }
    }
}
