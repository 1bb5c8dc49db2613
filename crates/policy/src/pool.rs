//! Pools: the outside addresses and ports that translation may use.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use ipnet::IpNet;
use serde::Deserialize;

/// Which pool of [`Policy::pools`](crate::Policy::pools), in the order of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolId(pub u16);

/// Outside addresses and ports, and how sessions share them.
///
/// No two pools share an (address, port). Every address of a prefix can be used, the first and last
/// too: a pool is a set of addresses, not a subnet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Unique among pools.
    pub name: String,
    /// Disjoint prefixes without host bits, at least one, all of one family.
    pub addresses: Vec<IpNet>,
    /// TCP, UDP and SCTP ports. Does not limit ICMP identifiers.
    pub ports: RangeInclusive<u16>,
    /// How an inside address and port keeps its outside address and port.
    pub mapping: Mapping,
    /// Which inbound packets pass to a mapping.
    pub filtering: Filtering,
    /// Inside hosts reach each other by their outside addresses (RFC 4787 REQ-9).
    pub hairpin: bool,
    /// Its addresses answer pings.
    pub ping: bool,
}

/// How a mapping is reused for other remotes (RFC 4787 §4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mapping {
    /// One outside address and port for all remotes (RFC 4787 REQ-1).
    #[default]
    EndpointIndependent,
    /// Ports are shared between remotes: more sessions per address, less transparent.
    EndpointDependent,
}

/// Which inbound packets pass to a mapping (RFC 4787 §5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Filtering {
    /// From exactly the address and port that the inside host sent to.
    #[default]
    AddressAndPortDependent,
    /// From any port of an address that the inside host sent to.
    AddressDependent,
    /// From anyone.
    EndpointIndependent,
}

impl Pool {
    /// How many addresses the pool has, all prefixes together; at least 1.
    #[must_use]
    pub fn address_count(&self) -> u32 {
        // Validation bounds the sum by `Self::MAX_ADDRESSES`.
        self.addresses.iter().map(address_count).sum::<u128>() as u32
    }

    /// Address `n` from 0, counting through the prefixes as they were written.
    /// `None` from [`Pool::address_count`] on.
    #[must_use]
    pub fn nth_address(&self, n: u32) -> Option<IpAddr> {
        let mut n = u128::from(n);
        for prefix in &self.addresses {
            let count = address_count(prefix);
            if n < count {
                return Some(nth_address(prefix, n));
            }
            n -= count;
        }
        None
    }

    /// Whether the address belongs to the pool.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|prefix| prefix.contains(&address))
    }

    /// The most addresses that one pool may have: the state per address is sized at start.
    pub const MAX_ADDRESSES: u32 = 65_536;
}

/// How many addresses a prefix has; saturates for `::/0`.
pub(crate) fn address_count(prefix: &IpNet) -> u128 {
    1_u128.checked_shl((prefix.max_prefix_len() - prefix.prefix_len()).into()).unwrap_or(u128::MAX)
}

/// Address `n` of a prefix, from 0; `n` is less than [`address_count`].
pub(crate) fn nth_address(prefix: &IpNet, n: u128) -> IpAddr {
    match prefix.network() {
        IpAddr::V4(first) => Ipv4Addr::from_bits(first.to_bits() + n as u32).into(),
        IpAddr::V6(first) => Ipv6Addr::from_bits(first.to_bits() + n).into(),
    }
}
