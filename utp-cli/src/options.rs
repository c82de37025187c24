//! What can be tuned about the protocol and its sockets, the same for every subcommand.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use bytesize::ByteSize;
use clap::{Args, ValueEnum};
use utp_proto::ConfigError;
use utp_proto::congestion::{ControllerFactory, CubicConfig, EbbConfig, LedbatConfig, LedbatPpConfig};
use utp_tokio::{Config, SocketConfig};

#[derive(Debug, Args)]
#[command(next_help_heading = "Transport options")]
pub(crate) struct Transport {
    /// How long to try to connect to an address [100ms to 10min].
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub(crate) connect_timeout: Duration,
    /// Give up when the peer acknowledges nothing of what is under way for this long [1s to 1h].
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    give_up_after: Duration,
    /// Give up when nothing at all arrives for this long; 0 waits for ever [1s to 24h]. A peer that is
    /// alive sends a keep-alive every 29 s, if it is utp or libutp.
    #[arg(long, value_name = "TIME", default_value = "3min", value_parser = duration)]
    idle_timeout: Duration,
    /// Largest IP packet that the path may take; discovery finds out whether it does [556 to 9000].
    #[arg(long, value_name = "BYTES", default_value = "1500",
        value_parser = clap::value_parser!(u16).range(556..=9000))]
    mtu: u16,
    /// Congestion control. All but cubic step aside for others; cubic takes its share, as TCP does.
    #[arg(long, value_enum, default_value_t = Congestion::Ebb)]
    congestion: Congestion,
    /// Queueing delay at the bottleneck at which to slow down [1ms to 100ms]. By default that of the congestion
    /// control: ebb an eighth of the round trip and 5ms, 25ms at most (which this sets), ledbat 100ms,
    /// ledbat++ 60ms. cubic has none.
    #[arg(long, value_name = "TIME", value_parser = target_delay)]
    target_delay: Option<Duration>,
    /// Memory for data on its way, each direction, exactly [4KiB to 1GiB]. Throughput cannot exceed this
    /// per round trip. Without it: 1 MiB, and up to 32 MiB as the path needs it.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    buffer: Option<ByteSize>,
    /// Packets in flight at most [1 to 30000]. Without it: 950, for deployed peers drop what is more than
    /// 953 ahead, and up to 30000 towards a peer that has proven that it keeps them, as utp does.
    #[arg(long, value_name = "PACKETS")]
    max_in_flight: Option<NonZeroU16>,
    /// Send a window at once instead of spreading it over the round trip.
    #[arg(long)]
    no_pacing: bool,
    /// Hand packets to the kernel one at a time (no UDP GSO).
    #[arg(long)]
    no_gso: bool,
    /// Take packets from the kernel one at a time (no UDP GRO).
    #[arg(long)]
    no_gro: bool,
}

impl Transport {
    /// # Errors
    /// A value is outside of its range: which, and what that is.
    pub(crate) fn settings(&self) -> Result<Settings, String> {
        let about = |option: &'static str| move |error: ConfigError| format!("{option}: {error}");
        let congestion = self.congestion.controllers(self.target_delay)?;
        let mut config = Config::default();
        config
            .connect_timeout(self.connect_timeout)
            .map_err(about("--connect-timeout"))?
            .give_up_after(self.give_up_after)
            .map_err(about("--give-up-after"))?
            .idle_timeout(Some(self.idle_timeout).filter(|timeout| !timeout.is_zero()))
            .map_err(about("--idle-timeout"))?
            .max_datagram(usize::from(self.mtu) - IPV4_UDP, usize::from(self.mtu) - IPV6_UDP)
            .map_err(about("--mtu"))?
            .pacing(!self.no_pacing)
            .congestion(congestion);
        if let Some(buffer) = self.buffer {
            let buffer = usize::try_from(buffer.as_u64()).unwrap_or(usize::MAX);
            let set = |config: &mut Config| config.receive_buffer(buffer)?.send_buffer(buffer).map(drop);
            set(&mut config).map_err(about("--buffer"))?;
        }
        if let Some(packets) = self.max_in_flight.map(NonZeroU16::get) {
            let set = |config: &mut Config| {
                config.max_packets_in_flight(packets)?.max_packets_proven(packets)?;
                config.reorder_window(packets.max(DEPLOYED_WINDOW)).map(drop)
            };
            set(&mut config).map_err(about("--max-in-flight"))?;
        }
        Ok(Settings { protocol: config, gso: !self.no_gso, gro: !self.no_gro })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Congestion {
    Ebb,
    Ledbat,
    #[value(name = "ledbat++")]
    LedbatPp,
    Cubic,
}

impl Congestion {
    /// # Errors
    /// It has no target, and one is given.
    fn controllers(self, target: Option<Duration>) -> Result<Arc<dyn ControllerFactory>, String> {
        Ok(match self {
            Self::Ebb => {
                let mut ebb = EbbConfig::default();
                ebb.max_target = target.unwrap_or(ebb.max_target);
                Arc::new(ebb)
            }
            Self::Ledbat => {
                let mut ledbat = LedbatConfig::default();
                ledbat.target = target.unwrap_or(ledbat.target);
                Arc::new(ledbat)
            }
            Self::LedbatPp => {
                let mut ledbat = LedbatPpConfig::default();
                ledbat.target = target.unwrap_or(ledbat.target);
                Arc::new(ledbat)
            }
            Self::Cubic if target.is_some() => {
                return Err("--target-delay: cubic has no target".to_owned());
            }
            Self::Cubic => Arc::new(CubicConfig::default()),
        })
    }
}

/// What the options say, for a subcommand to adapt and to make sockets with.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) protocol: Config,
    gso: bool,
    gro: bool,
}

impl Settings {
    pub(crate) fn socket(&self) -> SocketConfig {
        let mut socket = SocketConfig::from(self.protocol.clone());
        // Nothing but uTP is expected on these ports.
        socket.send_offload(self.gso).receive_offload(self.gro).datagram_queue(0);
        socket
    }
}

/// `90s`, `1min 30s`, `500ms`; a bare number is seconds.
///
/// # Errors
/// It is none of these.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse() {
        return Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string());
    }
    humantime::parse_duration(text).map_err(|error| error.to_string())
}

/// `4096`, `64KiB`, `1GiB`, `1GB`.
///
/// # Errors
/// It is none of these.
pub(crate) fn size(text: &str) -> Result<ByteSize, String> {
    text.parse().map_err(|_| "a number of bytes is expected, such as 65536, 64KiB or 1GB".to_owned())
}

fn target_delay(text: &str) -> Result<Duration, String> {
    let target = duration(text)?;
    // RFC 6817 2.5: the target must not exceed 100 ms.
    match (Duration::from_millis(1)..=Duration::from_millis(100)).contains(&target) {
        true => Ok(target),
        false => Err("1ms to 100ms is expected".to_owned()),
    }
}

/// IPv4 and UDP headers.
const IPV4_UDP: usize = 20 + 8;

/// IPv6 and UDP headers.
const IPV6_UDP: usize = 40 + 8;

/// What libutp keeps out of order, and the library's default.
const DEPLOYED_WINDOW: u16 = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        transport: Transport,
    }

    fn parse(args: &[&str]) -> Result<(), String> {
        let cli = Cli::try_parse_from([&["utp"], args].concat()).map_err(|error| error.to_string())?;
        cli.transport.settings().map(drop).map_err(|error| error.to_string())
    }

    #[test]
    fn ranges() {
        parse(&[]).unwrap();
        parse(&["--mtu=556", "--buffer=4KiB", "--connect-timeout=100ms", "--idle-timeout=0"]).unwrap();
        parse(&["--mtu=9000", "--buffer=1GiB", "--connect-timeout=10min", "--max-in-flight=30000"]).unwrap();
        for wrong in [
            "--mtu=555",
            "--mtu=9001",
            "--buffer=4095",
            "--buffer=2GiB",
            "--buffer=99999999999999999999",
            "--connect-timeout=99ms",
            "--give-up-after=0",
            "--idle-timeout=2days",
            "--max-in-flight=0",
            "--max-in-flight=30001",
            "--target-delay=101ms",
            "--target-delay=0",
        ] {
            assert!(parse(&[wrong]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_congestion_control_but_cubic_has_a_target() {
        for name in ["ebb", "ledbat", "ledbat++"] {
            parse(&["--congestion", name]).unwrap();
            parse(&["--congestion", name, "--target-delay=30ms"]).unwrap();
        }
        parse(&["--congestion=cubic"]).unwrap();
        assert!(parse(&["--congestion=cubic", "--target-delay=30ms"]).unwrap_err().contains("cubic"));
        assert!(parse(&["--congestion=reno"]).is_err());
    }

    #[test]
    fn a_value_out_of_range_is_named() {
        assert!(parse(&["--buffer=1"]).unwrap_err().contains("--buffer"));
        assert!(parse(&["--give-up-after=2h"]).unwrap_err().contains("--give-up-after"));
    }

    #[test]
    fn sizes() {
        assert_eq!(size("4096"), Ok(ByteSize::b(4096)));
        assert_eq!(size("1.5MiB"), Ok(ByteSize::kib(1536)));
        assert_eq!(size("1 GB"), Ok(ByteSize::gb(1)));
        for wrong in ["", "x", "-1", "1x"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations() {
        assert_eq!(duration("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("1min 30s"), Ok(Duration::from_secs(90)));
        for wrong in ["", "x", "-1", "nan", "inf", "1e400", "5 parsecs"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
