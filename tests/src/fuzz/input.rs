//! How the bytes of an input become actions. Every choice takes whole bytes from the front, so that a small
//! change of an input is a small change of what happens, and so that `seeds.rs` can write inputs by hand.

use std::sync::Arc;
use std::time::Duration;

use arbitrary::{Arbitrary, Result, Unstructured};
use utp_proto::congestion::{
    ControllerFactory, CubicConfig, EbbConfig, FixedWindow, LedbatConfig, LedbatPpConfig,
};
use utp_proto::wire::{Header, PacketType, SeqNr, Timestamp};

/// A packet with extensions, and where to cut it.
#[derive(Debug)]
pub(super) struct Chain {
    header: Header,
    extensions: Vec<(u8, Vec<u8>)>,
    pub(super) payload: Vec<u8>,
    cut: u16,
}

impl<'a> Arbitrary<'a> for Chain {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let header = Header {
            kind: kind(u.arbitrary()?),
            connection_id: u.arbitrary()?,
            timestamp: Timestamp(u.arbitrary()?),
            timestamp_difference: u.arbitrary()?,
            wnd_size: u.arbitrary()?,
            seq_nr: SeqNr(u.arbitrary()?),
            ack_nr: SeqNr(u.arbitrary()?),
        };
        let cut = u.arbitrary()?;
        let mut extensions = Vec::new();
        for _ in 0..u.arbitrary::<u8>()? % 16 {
            let id = u.arbitrary::<u8>()?.max(1);
            let len = usize::from(u.arbitrary::<u8>()?).min(u.len());
            extensions.push((id, u.bytes(len)?.to_vec()));
        }
        let payload = u.bytes(u.len())?.to_vec();
        Ok(Self { header, extensions, payload, cut })
    }
}

impl Chain {
    pub(super) fn elements(&self) -> Vec<(u8, &[u8])> {
        self.extensions.iter().map(|(id, body)| (*id, &body[..])).collect()
    }

    pub(super) fn packet(&self) -> Vec<u8> {
        packet(&self.header, &self.elements(), &self.payload)
    }

    /// Where to cut a packet of so many bytes.
    pub(super) fn cut(&self, len: usize) -> usize {
        usize::from(self.cut) % (len + 1)
    }
}

/// The bytes of a packet.
pub(super) fn packet(header: &Header, extensions: &[(u8, &[u8])], payload: &[u8]) -> Vec<u8> {
    let mut out = header.encode(extensions.first().map_or(0, |e| e.0)).to_vec();
    for (i, (_, body)) in extensions.iter().enumerate() {
        out.push(extensions.get(i + 1).map_or(0, |e| e.0));
        out.push(body.len() as u8);
        out.extend_from_slice(body);
    }
    out.extend_from_slice(payload);
    out
}

pub(super) fn kind(byte: u8) -> PacketType {
    [PacketType::Data, PacketType::Fin, PacketType::State, PacketType::Reset, PacketType::Syn]
        [usize::from(byte % 5)]
}

/// From no time at all to minutes: small steps are as likely as large ones.
pub(super) fn pause(byte: u8) -> Duration {
    if byte == 0 {
        return Duration::ZERO;
    }
    let (exponent, fraction) = (byte >> 3, u64::from(byte & 7));
    Duration::from_micros(((8 + fraction) << exponent) >> 3).min(Duration::from_secs(120))
}

/// From nothing to 64 KiB.
pub(super) fn size(byte: u8) -> usize {
    match usize::from(byte) {
        small @ 0..=127 => small,
        large => (large - 127) * 512,
    }
}

/// A sack mask of 4 to 32 bytes that repeats the input's bits.
pub(super) fn mask(bits: u32) -> Vec<u8> {
    bits.to_le_bytes().repeat(1 + (bits >> 29) as usize)
}

/// What an application may do to a connection.
#[derive(Debug, Clone, Copy)]
pub(super) enum Call {
    Read(usize),
    Consume(usize),
    Write(usize),
    WriteBytes(usize),
    Finish,
    Close,
    Abort,
    Look,
}

impl<'a> Arbitrary<'a> for Call {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(match u.arbitrary::<u8>()? % 16 {
            0..=3 => Self::Read(size(u.arbitrary()?)),
            4..=5 => Self::Consume(size(u.arbitrary()?)),
            6..=9 => Self::Write(size(u.arbitrary()?)),
            10..=11 => Self::WriteBytes(size(u.arbitrary()?)),
            12 => Self::Finish,
            13 => Self::Close,
            14 => Self::Abort,
            _ => Self::Look,
        })
    }
}

/// Congestion control of both directions: the default for 0 in the lower three bits, and every other for the rest; the
/// fourth is that the peer's sending is controlled too.
pub(super) fn control(config: &mut utp_proto::Config, choice: u8) {
    let controller: Arc<dyn ControllerFactory> = match choice & 7 {
        1 => Arc::new(LedbatConfig::default()),
        2 => Arc::new(LedbatPpConfig::default()),
        3 => Arc::new(CubicConfig::default()),
        4 => Arc::new(FixedWindow { bytes: 200_000 }),
        _ => Arc::new(EbbConfig::default()),
    };
    if choice & 8 != 0 {
        config.receive_congestion(Some(Arc::clone(&controller)));
    }
    config.congestion(controller);
}

/// Settings at which bounds are met early.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings(pub(super) u8);

impl Settings {
    pub(super) fn config(self) -> utp_proto::Config {
        let mut config = utp_proto::Config::default();
        let bit = |n: u8| self.0 >> n & 1 == 1;
        let set = |config: &mut utp_proto::Config| -> std::result::Result<(), utp_proto::ConfigError> {
            if bit(0) {
                config.receive_buffer(4 << 10)?.send_buffer(4 << 10)?;
            }
            if bit(1) {
                config.backlog(2)?.half_open_limit(4)?.max_connections(6)?;
            }
            if bit(2) {
                config.max_packets_in_flight(4)?.reorder_window(16)?.max_sack(4)?;
            }
            if bit(3) {
                config.idle_timeout(Some(Duration::from_secs(40)))?.keep_alive(None)?;
            }
            if bit(4) {
                config.initial_datagram(508)?.max_datagram(8972, 8972)?;
            }
            config.nagle(!bit(5)).pacing(!bit(6)).resets_per_second(if bit(7) { 3 } else { 100 });
            Ok(())
        };
        set(&mut config).expect("values within their ranges");
        config
    }
}
