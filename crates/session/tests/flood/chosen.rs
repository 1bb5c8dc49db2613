//! Keys as somebody chooses them who knows the hash function, but not the secret that it is used under.
//!
//! Of three kinds: without much entropy, as scans and counters are; such that weak mixing makes the same of all
//! (only high bits differ, ends that cancel, bits flipped in pairs); and solved: under a secret that the attacker
//! has for his own, all of them have one hash, or one part of the table. The benchmark of the tables uses them, too.

use std::net::{Ipv4Addr, Ipv6Addr};

use mooring_session::{Address, FlowKey, KeyedHash};
use mooring_wire::Protocol;

/// Keys, no two of them alike.
pub(crate) struct Chosen<A> {
    /// How they were chosen.
    pub(crate) name: &'static str,
    /// The keys.
    pub(crate) keys: Vec<FlowKey<A>>,
}

/// The secret that the attacker has solved for.
pub(crate) const SOLVED: [u64; 4] =
    [0x0a80_1234_1400_0035, 0x3c6e_f372_fe94_f82b, 0x510e_527f_ade6_82d1, 0x1f83_d9ab_fb41_bd6b];

/// The same numbers for the same `n`, without structure.
pub(crate) const fn scramble(n: u64) -> u64 {
    let mut z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// `count` keys of each kind, 2^24 at most; the first kind is nobody's choice.
pub(crate) fn of_ipv4(count: u32) -> Vec<Chosen<Ipv4Addr>> {
    let set = |name, key: &dyn Fn(u32) -> FlowKey<Ipv4Addr>| Chosen {
        name,
        keys: (0..count).map(key).collect(),
    };
    vec![
        set("random", &random_v4),
        set("hosts in a row", &|n| v4(0x0a00_0000 + n, REMOTE, BOTH_PORTS)),
        set("ports in a row", &|n| v4(HOST, REMOTE, n.rotate_left(16))),
        set("tags in a row", &|n| FlowKey { tag: n, ..v4(HOST, REMOTE, BOTH_PORTS) }),
        set("highest bits of tags", &|n| FlowKey { tag: n.reverse_bits(), ..v4(HOST, REMOTE, 0) }),
        set("highest bits", &|n| v4(n.reverse_bits(), 0, 0)),
        set("both ends alike", &|n| v4(n << 8, n << 8, n << 16 | n & 0xffff)),
        set("ends that add up to one", &|n| v4(n, u32::MAX - n, BOTH_PORTS)),
        set("bits in pairs", &|n| {
            let [address, ports] = [spread_bits(n), spread_bits(n.reverse_bits() >> 8)];
            v4(HOST ^ address, REMOTE ^ address, BOTH_PORTS ^ ports)
        }),
        set("solved for a secret of zeros", &|n| v4(0, 0, n)),
        set("solved for another secret: ends", &|n| {
            v4((SOLVED[0] >> 32) as u32, SOLVED[0] as u32, n)
        }),
        Chosen { name: "solved for another secret: place", keys: one_part(count, random_v4) },
    ]
}

/// The same of IPv6.
pub(crate) fn of_ipv6(count: u32) -> Vec<Chosen<Ipv6Addr>> {
    let set = |name, key: &dyn Fn(u64) -> FlowKey<Ipv6Addr>| Chosen {
        name,
        keys: (0..u64::from(count)).map(key).collect(),
    };
    let [_, k1, k2, k3] = SOLVED;
    vec![
        set("random", &|n| random_v6(n as u32)),
        set("hosts in a row", &|n| v6([NET, n], SERVER, BOTH_PORTS)),
        set("networks in a row", &|n| v6([NET + (n << 16), 1], SERVER, BOTH_PORTS)),
        set("ports in a row", &|n| v6([NET, 1], SERVER, (n as u32).rotate_left(16))),
        set("tags in a row", &|n| FlowKey { tag: n as u32, ..v6([NET, 1], SERVER, BOTH_PORTS) }),
        set("highest bits", &|n| v6([n.reverse_bits(), 0], [0, 0], 0)),
        set("both ends alike", &|n| v6([NET, n << 32], [NET, n << 32], BOTH_PORTS)),
        set("halves that cancel", &|n| v6([n, n], [NET, NET], BOTH_PORTS)),
        set("halves that cancel crosswise", &|n| v6([NET, n], [n, NET], BOTH_PORTS)),
        set("solved for another secret: halves", &|n| {
            let (low, other) = (scramble(n), scramble(!n));
            v6([low ^ k2 ^ k3, low], [other ^ k3 ^ k1, other], BOTH_PORTS)
        }),
        set("solved for another secret: a half", &|n| v6([NET, k2], [NET, n], BOTH_PORTS)),
        Chosen { name: "solved for another secret: place", keys: one_part(count, random_v6) },
    ]
}

/// Those of `key` that fall into one of [`PARTS`] parts of any table under the solved secret.
fn one_part<A: Address>(count: u32, key: fn(u32) -> FlowKey<A>) -> Vec<FlowKey<A>> {
    let hash = KeyedHash::new(SOLVED);
    let falls = |key: &FlowKey<A>| hash.flow(key) as u32 / (u32::MAX / PARTS + 1) == 0;
    (0..).map(key).filter(falls).take(count as usize).collect()
}

fn random_v4(n: u32) -> FlowKey<Ipv4Addr> {
    let [addresses, ports] = [scramble(n.into()), scramble(!u64::from(n))];
    v4((addresses >> 32) as u32, addresses as u32, ports as u32)
}

fn random_v6(n: u32) -> FlowKey<Ipv6Addr> {
    let word = |at: u64| scramble(u64::from(n) << 3 | at);
    v6([word(0), word(1)], [word(2), word(3)], word(4) as u32)
}

/// The bits of `n` below 2^24, each at another place of a word.
const fn spread_bits(n: u32) -> u32 {
    (n & 0xff) << 24 | (n & 0xff00) | (n >> 16 & 0xff)
}

fn v4(source: u32, destination: u32, ports: u32) -> FlowKey<Ipv4Addr> {
    flow(Ipv4Addr::from_bits(source), Ipv4Addr::from_bits(destination), ports)
}

/// Addresses: the high word, the low word.
fn v6(source: [u64; 2], destination: [u64; 2], ports: u32) -> FlowKey<Ipv6Addr> {
    let address =
        |[high, low]: [u64; 2]| Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low));
    flow(address(source), address(destination), ports)
}

const fn flow<A>(source: A, destination: A, ports: u32) -> FlowKey<A> {
    FlowKey {
        source,
        destination,
        source_port: (ports >> 16) as u16,
        destination_port: ports as u16,
        vrf: 0,
        protocol: Protocol::UDP,
        tag: 0,
    }
}

const PARTS: u32 = 128;
const HOST: u32 = 0x0a01_0203;
const REMOTE: u32 = 0xc000_0202;
const BOTH_PORTS: u32 = 40_000 << 16 | 53;
const NET: u64 = 0xfd00_0010_0000_0000;
const SERVER: [u64; 2] = [0x2001_0db8_0020_0000, 1];
