//! The keyed hash of the tables.
//!
//! Flow keys are chosen by whoever sends packets, so the hash depends on a key that is random for
//! each start: without it nobody can aim keys at one bucket. Two folded 64 x 64 multiplications at least
//! mix everything that a sender chooses (of what only one has mixed, numbers in a row come out in clusters);
//! a cryptographic hash would cost a fifteenth of the packet's whole budget.

use std::hash::{BuildHasher, Hasher};

use mooring_wire::Protocol;

use crate::{Address, FlowKey};

/// A hash function under a secret key.
#[derive(Clone)]
pub struct KeyedHash {
    secret: [u64; 4],
}

/// What a derived hash is for. Some choices are seen outside, as which address of a pool a host gets: what they tell
/// of their secret says nothing of those that keep tables even.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The address of a pool for a host.
    Pairing,
    /// Blocks of ports.
    Blocks,
    /// All that is of IPv6.
    Ipv6,
    /// Packets in pieces.
    Fragments,
    /// Who sends them.
    FragmentSenders,
}

impl KeyedHash {
    /// The hash under `secret`, which the binary draws at random for each start and tests choose.
    #[must_use]
    pub const fn new(secret: [u64; 4]) -> Self {
        Self { secret }
    }

    /// Another hash, whose secret is made from this one's and does not give it away.
    #[must_use]
    pub fn derived(&self, purpose: Purpose) -> Self {
        let secret = &self.secret;
        let own = (purpose as u64).wrapping_mul(APART);
        let word = |at: usize| fold(secret[at] ^ DERIVE[at] ^ own, secret[(at + 1) % 4]);
        Self::new(std::array::from_fn(word))
    }

    /// A number below `count` that is always the same for `address` and spreads addresses evenly;
    /// 0 when `count` is.
    #[must_use]
    pub fn spread<A: Address>(&self, address: A, count: u32) -> u32 {
        let hash = self.end(address, 0, Protocol(0), 0);
        ((u64::from(hash as u32) * u64::from(count)) >> 32) as u32
    }

    /// Hash of a flow.
    #[inline]
    #[must_use]
    pub fn flow<A: Address>(&self, key: &FlowKey<A>) -> u64 {
        let [source, source_high] = key.source.words();
        let [destination, destination_high] = key.destination.words();
        let rest = u64::from(key.source_port) << 48
            | u64::from(key.destination_port) << 32
            | u64::from(key.vrf) << 16
            | u64::from(key.protocol.0);
        let [k0, k1, k2, k3] = self.secret;
        // For IPv4 both addresses fit one word and the high halves vanish at compile time.
        let addresses = if size_of::<A>() == 4 {
            source << 32 | destination
        } else {
            fold(source ^ k2, destination ^ k3) ^ fold(source_high ^ k3, destination_high ^ k1)
        };
        let mixed = fold(addresses ^ k0, rest ^ k1);
        let mixed = if key.tag == 0 { mixed } else { self.tagged(mixed, key.tag) };
        fold(mixed ^ k2, k3)
    }

    /// SCTP alone has tags.
    #[cold]
    fn tagged(&self, mixed: u64, tag: u32) -> u64 {
        let [k0, k1, ..] = self.secret;
        fold(mixed ^ k1, u64::from(tag) ^ k0)
    }

    /// Hash of one end of a flow; `scope` is what tells ends with equal addresses and ports apart.
    #[inline]
    #[must_use]
    pub fn end<A: Address>(&self, address: A, port: u16, protocol: Protocol, scope: u32) -> u64 {
        let [low, high] = address.words();
        let rest = u64::from(scope) << 32 | u64::from(port) << 16 | u64::from(protocol.0);
        let [k0, k1, k2, k3] = self.secret;
        let address = if size_of::<A>() == 4 { low } else { fold(low ^ k3, high ^ k0) };
        let mixed = fold(address ^ k1, rest ^ k2);
        fold(mixed ^ k3, k0)
    }
}

/// As the hash of a map of the standard library whose keys others choose: a third of the cost of its
/// own one, for keys of a few words.
impl BuildHasher for KeyedHash {
    type Hasher = KeyedHasher;

    #[inline]
    fn build_hasher(&self) -> KeyedHasher {
        let [state, word, end, last] = self.secret;
        KeyedHasher { state, word, end: [end, last] }
    }
}

/// What a [`KeyedHash`] makes of the words of a key.
pub struct KeyedHasher {
    state: u64,
    word: u64,
    end: [u64; 2],
}

impl Hasher for KeyedHasher {
    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(size_of::<u64>()) {
            let mut word = [0; size_of::<u64>()];
            word[..part.len()].copy_from_slice(part);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    #[inline]
    fn write_u8(&mut self, byte: u8) {
        self.write_u64(byte.into());
    }

    #[inline]
    fn write_u32(&mut self, word: u32) {
        self.write_u64(word.into());
    }

    #[inline]
    fn write_u64(&mut self, word: u64) {
        // The state is added again: a word that makes the factor nothing does not forget the others.
        let mixed = fold(self.state ^ word, self.word);
        self.state = mixed.wrapping_add(self.state.rotate_left(23));
    }

    #[inline]
    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    #[inline]
    fn finish(&self) -> u64 {
        let [end, last] = self.end;
        fold(self.state ^ end, last)
    }
}

/// Odd constants without structure: the first digits of the fractions of pi.
const DERIVE: [u64; 4] =
    [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7345, 0xa409_3822_299f_31d1, 0x082e_fa98_ec4e_6c89];

/// Odd, and its multiples have little in common: the next digits of pi.
const APART: u64 = 0x4528_21e6_38d0_1377;

/// The two halves of the 128-bit product, folded together.
#[inline]
const fn fold(a: u64, b: u64) -> u64 {
    let product = (a as u128) * (b as u128);
    (product as u64) ^ ((product >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::BuildHasher;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use mooring_wire::Protocol;

    use super::{KeyedHash, Purpose};
    use crate::FlowKey;

    fn key(host: u32, port: u16) -> FlowKey<Ipv4Addr> {
        FlowKey {
            source: Ipv4Addr::from_bits(host),
            destination: Ipv4Addr::new(192, 0, 2, 2),
            source_port: port,
            destination_port: 53,
            vrf: 0,
            protocol: Protocol::UDP,
            tag: 0,
        }
    }

    const SECRET: [u64; 4] = [
        0x9e37_79b9_7f4a_7c15,
        0xbf58_476d_1ce4_e5b9,
        0x94d0_49bb_1331_11eb,
        0xd6e8_feb8_6659_fd93,
    ];

    #[test]
    fn spreads_neighbouring_flows_evenly() {
        let hash = KeyedHash::new(SECRET);
        let mut buckets = [0u32; 1024];
        for host in 0..64 {
            for port in 0..1024 {
                buckets[(hash.flow(&key(0x0a00_0000 + host, port)) % 1024) as usize] += 1;
            }
        }
        // 64 in each on average; seven standard deviations either way.
        assert!(buckets.iter().all(|&n| (8..120).contains(&n)), "{buckets:?}");
    }

    #[test]
    fn every_field_and_the_secret_count() {
        let hash = KeyedHash::new(SECRET);
        let base = key(1, 1);
        let same = hash.flow(&base);
        let others = [
            hash.flow(&FlowKey { source_port: 2, ..base }),
            hash.flow(&FlowKey { destination_port: 2, ..base }),
            hash.flow(&FlowKey { vrf: 1, ..base }),
            hash.flow(&FlowKey { protocol: Protocol::TCP, ..base }),
            hash.flow(&FlowKey { tag: 1, ..base }),
            hash.flow(&base.exchanged()),
            KeyedHash::new([1, 2, 3, 4]).flow(&base),
        ];
        assert!(!others.contains(&same));
    }

    #[test]
    fn no_two_purposes_share_a_secret() {
        let hash = KeyedHash::new(SECRET);
        let all = [
            Purpose::Pairing,
            Purpose::Blocks,
            Purpose::Ipv6,
            Purpose::Fragments,
            Purpose::FragmentSenders,
        ];
        let once = all.map(|purpose| hash.derived(purpose));
        let twice = once.iter().flat_map(|hash| all.map(|purpose| hash.derived(purpose)));
        let secrets = once.iter().cloned().chain(twice).chain([hash]).map(|hash| hash.secret);
        let different: HashSet<[u64; 4]> = secrets.collect();
        assert_eq!(different.len(), 1 + 5 + 25);
    }

    /// What a map sorts its keys by, the lowest bits, and what it tells them apart by, the highest.
    #[test]
    fn keys_of_a_map_are_spread_and_no_two_secrets_spread_them_alike() {
        let v4 = (0..4096u32).map(|n| IpAddr::from(Ipv4Addr::from_bits(0x0a00_0000 + n)));
        let v6 = (0..4096u128).map(|n| IpAddr::from(Ipv6Addr::from_bits(0xfd00 << 112 | n << 64)));
        let keys: Vec<(u8, IpAddr)> = v4.chain(v6).map(|address| (1, address)).collect();
        let hash = KeyedHash::new([11, 22, 33, 44]).derived(Purpose::Blocks);
        let hashes = |hash: &KeyedHash| keys.iter().map(|key| hash.hash_one(key)).collect();
        let all: HashSet<u64> = hashes(&hash);
        assert_eq!(all.len(), keys.len());
        let places: HashSet<u64> = all.iter().map(|hash| hash & 0x1fff).collect();
        let expected = 8192.0 * (1.0 - (-1.0f64).exp());
        assert!((places.len() as f64 - expected).abs() < 200.0, "{} of 8192", places.len());
        let tops: HashSet<u64> = all.iter().map(|hash| hash >> 57).collect();
        assert_eq!(tops.len(), 128);
        let others: HashSet<u64> = hashes(&hash.derived(Purpose::Blocks));
        assert!(all.is_disjoint(&others));
    }
}
