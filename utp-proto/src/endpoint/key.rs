//! What connections are looked up by, and the keyed hash of it.

use std::hash::{BuildHasher, Hash, Hasher};
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use siphasher::sip::SipHasher13;

/// Remote address and the connection id that we receive on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    ip: [u8; 16],
    /// Of an IPv6 address; [`IPV4`] stands for an IPv4 one, which is mapped.
    scope: u32,
    port: u16,
    pub(crate) id: u16,
}

impl Key {
    pub(crate) fn new(remote: SocketAddr, id: u16) -> Self {
        match remote {
            SocketAddr::V4(a) => {
                Self { ip: a.ip().to_ipv6_mapped().octets(), scope: IPV4, port: a.port(), id }
            }
            SocketAddr::V6(a) => Self { ip: a.ip().octets(), scope: a.scope_id(), port: a.port(), id },
        }
    }

    /// The same peer, another id.
    pub(crate) fn with_id(self, id: u16) -> Self {
        Self { id, ..self }
    }

    /// The address, less an IPv6 flow label.
    pub(crate) fn remote(self) -> SocketAddr {
        let ip = Ipv6Addr::from(self.ip);
        match ip.to_ipv4_mapped() {
            Some(v4) if self.scope == IPV4 => SocketAddrV4::new(v4, self.port).into(),
            _ => SocketAddrV6::new(ip, self.port, 0, self.scope).into(),
        }
    }

    /// The network that one attacker may own all of: /24 of IPv4, mapped or not, and /64 of IPv6.
    pub(crate) fn network(self) -> u64 {
        let [a, b, c, d, e, f, g, h, .., i, j, k, _] = self.ip;
        match Ipv6Addr::from(self.ip).to_ipv4_mapped() {
            // No global unicast IPv6 network begins with these bits.
            Some(_) => u64::from_be_bytes([0xff, 0xff, 0xff, 0xff, 0xff, i, j, k]),
            None => u64::from_be_bytes([a, b, c, d, e, f, g, h]),
        }
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // One write instead of one per field; equal keys have equal bytes here.
        let mut bytes = [0; 20];
        bytes[..16].copy_from_slice(&self.ip);
        bytes[16..18].copy_from_slice(&self.port.to_le_bytes());
        bytes[18..].copy_from_slice(&self.id.to_le_bytes());
        state.write(&bytes);
    }
}

/// SipHash with a key that nobody knows outside.
#[derive(Clone, Copy)]
pub(crate) struct Keyed(u64, u64);

impl Keyed {
    pub(crate) fn new(key0: u64, key1: u64) -> Self {
        Self(key0, key1)
    }
}

impl BuildHasher for Keyed {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.0, self.1)
    }
}

impl std::fmt::Debug for Keyed {
    /// Shows nothing of the key: whoever knows it can make cookies and colliding addresses.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keyed")
    }
}

/// No scope of an IPv6 address: interface indices are positive 32-bit integers (RFC 3493 4).
const IPV4: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_tell_addresses_and_ids_apart_and_give_the_address_back() {
        let addresses: Vec<SocketAddr> =
            ["127.0.0.1:1", "127.0.0.1:2", "[::ffff:127.0.0.1]:1", "[::1]:1", "[fe80::1%3]:1"]
                .iter()
                .map(|a| a.parse().unwrap())
                .collect();
        for (i, a) in addresses.iter().enumerate() {
            assert_eq!(Key::new(*a, 7).remote(), *a);
            for (j, b) in addresses.iter().enumerate() {
                assert_eq!(Key::new(*a, 7) == Key::new(*b, 7), i == j);
            }
            assert_ne!(Key::new(*a, 7), Key::new(*a, 8));
        }
    }

    #[test]
    fn networks_are_what_one_owner_has() {
        let network = |a: &str| Key::new(a.parse().unwrap(), 1).network();
        assert_eq!(network("192.0.2.1:1"), network("192.0.2.255:9"));
        assert_eq!(network("192.0.2.1:1"), network("[::ffff:192.0.2.7]:1"));
        assert_ne!(network("192.0.2.1:1"), network("192.0.3.1:1"));
        assert_eq!(network("[2001:db8::1]:1"), network("[2001:db8::ffff:0:0:1]:1"));
        assert_ne!(network("[2001:db8::1]:1"), network("[2001:db8:0:1::1]:1"));
    }

    type Pattern = fn(u32) -> Key;

    /// How an attacker might choose addresses and ids.
    const PATTERNS: [(&str, Pattern); 4] = [
        ("ids of one address", |n| Key::new(SocketAddr::from(([10, 0, 0, 1], (n >> 16) as u16)), n as u16)),
        ("one id of many", |n| Key::new(SocketAddr::from((n.to_be_bytes(), 6881)), 1)),
        ("high bits only", |n| Key::new(SocketAddr::from(((n << 12).to_be_bytes(), 6881)), 1)),
        ("ids that follow the port", |n| {
            Key::new(SocketAddr::from(([10, 0, (n >> 16) as u8, 1], n as u16)), !(n as u16))
        }),
    ];

    thread_local! {
        static COMPARED: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
    }

    /// A key that counts how often it is compared.
    #[derive(Clone, Copy, Eq, Hash)]
    #[allow(clippy::derived_hash_with_manual_eq)] // the equality is the same
    struct Counted(Key);

    impl PartialEq for Counted {
        fn eq(&self, other: &Self) -> bool {
            COMPARED.set(COMPARED.get() + 1);
            self.0 == other.0
        }
    }

    /// The p-th of a thousand, and the most.
    fn quantile(mut values: Vec<u32>, p: usize) -> (u32, u32) {
        values.sort_unstable();
        (values[values.len() * p / 1000], values[values.len() - 1])
    }

    /// What finding an entry takes among 2^20 of them, in the kind of table that connections are in: comparisons, and
    /// nanoseconds to be read (`--nocapture`, with `--release`).
    #[test]
    #[allow(clippy::disallowed_types, clippy::disallowed_methods)] // keyed, as the table is; times are only shown
    fn an_entry_among_a_million_of_any_pattern_is_found_by_few_comparisons() {
        let count = if cfg!(miri) { 1 << 8 } else { 1 << 20 };
        for (name, pattern) in PATTERNS {
            let mut table = std::collections::HashMap::with_hasher(Keyed::new(1, 2));
            table.extend((0..count).map(|n| (Counted(pattern(n)), n)));
            let compared = |key: Key, there: bool| {
                COMPARED.set(0);
                assert_eq!(table.contains_key(&Counted(key)), there, "{name}");
                COMPARED.get()
            };
            let found = quantile((0..count).map(|n| compared(pattern(n), true)).collect(), 990);
            let other = |n| Key::new(SocketAddr::from(([203, 0, 113, 1], n as u16)), (n >> 16) as u16);
            let missed = quantile((0..count).map(|n| compared(other(n), false)).collect(), 990);
            let batch = |first: u32| {
                let began = std::time::Instant::now();
                let steps = (0..16).map(|n| (first + n).wrapping_mul(0x9e37_79b1) % count);
                assert!(steps.map(pattern).all(|key| table.contains_key(&Counted(key))));
                (began.elapsed().as_nanos() / 16) as u32
            };
            let nanos = quantile((0..count / 16).map(|n| batch(16 * n)).collect(), 990);
            println!("{name}: p99 and most comparisons {found:?}, of others {missed:?}; {nanos:?} ns");
            // hashbrown compares where 7 bits of the hash are the same: one entry of 128 that stand in the way.
            assert!(
                found.0 <= 1 && found.1 <= 6 && missed.0 <= 1 && missed.1 <= 6,
                "{name}: {found:?} {missed:?}"
            );
        }
    }

    /// Hash flooding: whatever pattern the addresses follow, without the key no bucket gets more than its
    /// share. 2^20 keys into 2^16 buckets are 16 each; a Poisson variable of that mean exceeds 48 with a
    /// probability below 10^-10, in any of 65 536 buckets below 10^-5.
    #[test]
    fn a_million_keys_of_any_pattern_are_spread_evenly() {
        for (name, pattern) in PATTERNS {
            for hasher in [Keyed::new(0, 0), Keyed::new(1, 2), Keyed::new(u64::MAX, 7)] {
                // Under Miri as many to a bucket, of fewer buckets.
                let buckets = if cfg!(miri) { 1 << 3 } else { 1 << 16 };
                let mut loads = vec![0u32; buckets];
                for n in 0..16 * buckets as u32 {
                    // hashbrown takes the low bits for the bucket.
                    loads[hasher.hash_one(pattern(n)) as usize & (buckets - 1)] += 1;
                }
                let most = loads.iter().max().copied().unwrap_or(0);
                assert!(most <= 48, "{name}: {most}");
            }
        }
    }

    #[test]
    fn another_key_gives_other_collisions() {
        let (count, mask) = if cfg!(miri) { (512, 0x1f) } else { (4096, 0xff) };
        let keys: Vec<Key> = (0..count).map(|n| Key::new(SocketAddr::from(([10, 0, 0, 1], 1)), n)).collect();
        let (ours, theirs) = (Keyed::new(1, 2), Keyed::new(3, 4));
        // Keys that an attacker found to collide under a key that he knows.
        let colliding: Vec<_> = keys.iter().filter(|k| theirs.hash_one(k) & mask == 0).collect();
        assert!(colliding.len() >= 8);
        let same = colliding.iter().filter(|k| ours.hash_one(k) & mask == ours.hash_one(colliding[0]) & mask);
        assert!(same.count() <= 3);
    }
}
