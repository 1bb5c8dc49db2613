//! Who talks to whom: the ends of session number n.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The family of all packets of a scene.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// NAT44.
    V4,
    /// NAT66.
    V6,
}

/// An address and a port.
pub(crate) type End = (IpAddr, u16);

/// The outside end of a session: which address of the pool, and the port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Outside {
    pub(crate) at: u32,
    pub(crate) port: u16,
}

impl Family {
    /// The inside end of session `n`: 63 ports of each host, a host for each prefix that limits count by.
    pub(crate) fn inside(self, n: u32) -> End {
        let (host, port) = (n / 63, 1024 + (n % 63) as u16);
        let address = match self {
            Self::V4 => Ipv4Addr::from_bits(0x0a80_0000 + host).into(),
            Self::V6 => {
                let [high, low] = [(host >> 16) as u16, host as u16];
                Ipv6Addr::new(0xfd20, 0, high, low, 0, 0, 0, 1).into()
            }
        };
        (address, port)
    }

    /// Its remote end: one of sixteen.
    pub(crate) fn remote(self, n: u32) -> End {
        let server = (n % 16) as u16;
        let address = match self {
            Self::V4 => Ipv4Addr::new(20, 0, server as u8, 1).into(),
            Self::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0x20, server, 0, 0, 0, 1).into(),
        };
        (address, 53)
    }

    /// An outside end as packets have it.
    pub(crate) fn outside(self, outside: Outside) -> End {
        let address = match self {
            Self::V4 => Ipv4Addr::from_bits(POOL_V4.to_bits() + outside.at).into(),
            Self::V6 => Ipv6Addr::from_bits(POOL_V6.to_bits() + u128::from(outside.at)).into(),
        };
        (address, outside.port)
    }

    /// The source of a UDP frame, if it is of a pool of so many addresses.
    pub(crate) fn read_source(self, frame: &[u8], addresses: u32) -> Option<Outside> {
        let (at, l4) = match self {
            Self::V4 => {
                let bits = u32::from_be_bytes(frame.get(26..30)?.try_into().ok()?);
                (u128::from(bits).checked_sub(u128::from(POOL_V4.to_bits()))?, 34)
            }
            Self::V6 => {
                let bits = u128::from_be_bytes(frame.get(22..38)?.try_into().ok()?);
                (bits.checked_sub(POOL_V6.to_bits())?, 54)
            }
        };
        let port = u16::from_be_bytes(frame.get(l4..l4 + 2)?.try_into().ok()?);
        let at = u32::try_from(at).ok().filter(|at| *at < addresses)?;
        Some(Outside { at, port })
    }

    /// Payload bytes of a frame that has 64 bytes on the wire; of IPv6 the least that names its session, for 74.
    pub(crate) const fn least_payload(self) -> usize {
        match self {
            Self::V4 => 18,
            Self::V6 => 8,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        })
    }
}

/// Sessions 0 to `sessions`, over and over in random orders, `least` or more in all.
pub(crate) fn orders(sessions: u32, least: usize, seed: u64) -> Vec<u32> {
    let mut all = Vec::with_capacity(least.max(sessions as usize));
    let mut round = seed;
    while all.len() < least.max(1) {
        let start = all.len();
        all.extend(0..sessions);
        shuffle(&mut all[start..], round);
        round += 1;
    }
    all
}

/// A shuffle that is the same for the same seed.
pub(crate) fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut state = 0x9e37_79b9_7f4a_7c15 ^ seed.wrapping_mul(0xd134_2543_de82_ef95);
    for at in (1..items.len()).rev() {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        items.swap(at, ((u128::from(state) * (at as u128 + 1)) >> 64) as usize);
    }
}

/// The first address of the pool.
const POOL_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);
const POOL_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 0, 0);
