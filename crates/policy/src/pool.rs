//! Pools: the outside addresses and ports that translation may use.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use ipnet::IpNet;
use serde::Deserialize;

use crate::access::Access;
use crate::lines::Lines;

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
    /// Whether an inside host keeps to one address of the pool.
    pub pooling: Pooling,
    /// Which address of the pool it gets.
    pub address_choice: AddressChoice,
    /// Which port of the address.
    pub allocation: Allocation,
    /// An even inside port gets an even outside port, an odd one an odd (RFC 4787 REQ-4). TCP and UDP.
    pub parity: bool,
    /// The outside port next to that of a host's neighbouring port is tried first (RFC 4787 §4.2.3).
    pub contiguity: bool,
    /// Ports within `ports` that no mapping gets: shared between remotes once an endpoint-independent
    /// mapping finds no port.
    pub overflow_ports: Option<RangeInclusive<u16>>,
    /// How long a port rests before another host gets it (RFC 6888 REQ-8).
    pub hold_down: HoldDown,
    /// Which packets keep its sessions alive (RFC 4787 REQ-6).
    pub refresh: Refresh,
    /// How much all its hosts together may have.
    pub limits: PoolLimits,
    /// Which remote ends may begin something.
    pub access: Access,
    /// Where it stands, `allow`, `deny`, `filtering`, `hairpin` and `ping`.
    pub lines: Lines,
    /// The numbers of the addresses that are held, in their order; `None`: all are.
    pub held: Option<Vec<u32>>,
}

/// Whether an inside host keeps to one address of the pool (RFC 4787 §4.1, REQ-2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pooling {
    /// One address for all sessions that a host has at a time.
    #[default]
    Paired,
    /// Every mapping, or session of an endpoint-dependent pool, chooses anew.
    Arbitrary,
}

/// Which address a host, or with arbitrary pooling a mapping, gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AddressChoice {
    /// By a keyed hash of what chooses: always the same answer, without memory.
    #[default]
    Hash,
    /// The address with the fewest sessions of this worker.
    LeastUsed,
}

/// How a port of an address is chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Allocation {
    /// Any free one, hard to guess (RFC 6056 §3.3.1).
    #[default]
    Random,
    /// The host's own if it is free and in range, else a random one.
    Preserve,
    /// A host gets blocks of ports, and its ports are random in them.
    PortBlock(PortBlocks),
    /// A host's ports follow from its address (RFC 7422).
    Deterministic(Deterministic),
}

/// Port-block allocation: one event a block instead of one a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortBlocks {
    /// Ports of a block.
    pub size: u16,
    /// Blocks that a host may have at a time: one to [`Self::MAX_BLOCKS`].
    pub max_blocks: u16,
    /// Seconds that a block rests before another host gets it.
    pub quarantine: u32,
}

impl PortBlocks {
    /// The most blocks that a host may have: a packet that begins a session looks at all of them, also
    /// one that is refused because they are full. More ports than these have is what `size` is for.
    pub const MAX_BLOCKS: u16 = 64;
}

/// RFC 7422: host `n` of `source` gets the `n`-th slice of the pool's ports, counted through its
/// addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deterministic {
    /// The hosts; no host bits, of the pool's family.
    pub source: IpNet,
    /// Ports of each.
    pub ports_per_host: u16,
}

/// How long a port rests before another host gets it (RFC 6888 REQ-8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldDown {
    /// Seconds; 0: it does not rest.
    pub seconds: u32,
    /// Ports that rest at a time; the one that has rested longest makes room.
    pub ports: u32,
    /// The exceptions of REQ-8 a and c are not made: TCP ports rest as well, and those that only
    /// known remotes may send to.
    pub strict: bool,
}

/// Which packets keep a session alive (RFC 4787 §4.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refresh {
    /// Those of both directions.
    #[default]
    Both,
    /// Those from inside: nobody outside keeps a port from others.
    Outbound,
}

/// How much all hosts of a pool may have, or there may be by a rule; `None`: no limit but that of the tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolLimits {
    /// Sessions.
    pub sessions: Option<u32>,
    /// Endpoint-independent mappings; of a pool.
    pub mappings: Option<u32>,
    /// TCP sessions that are not open yet.
    pub half_open: Option<u32>,
    /// TCP sessions that are no longer open.
    pub transitory: Option<u32>,
    /// New sessions in a second, and a burst of as many.
    pub session_rate: Option<u32>,
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

    /// How many of its addresses are held.
    #[must_use]
    pub fn held_count(&self) -> u32 {
        self.held.as_ref().map_or_else(|| self.address_count(), |held| held.len() as u32)
    }

    /// Whether none of its addresses is held.
    #[must_use]
    pub fn holds_none(&self) -> bool {
        self.held.as_ref().is_some_and(Vec::is_empty)
    }

    /// The number of the `n`-th address that is held, counted from that with the number `from` on and
    /// round to it. `None` when none is held.
    #[must_use]
    pub fn nth_held(&self, from: u32, n: u32) -> Option<u32> {
        let Some(held) = &self.held else {
            let (at, count) = (u64::from(from) + u64::from(n), u64::from(self.address_count()));
            // Mostly it is the first that is asked for: no round, no division.
            return Some(if at < count { at } else { at.checked_rem(count)? } as u32);
        };
        let first = held.partition_point(|number| *number < from);
        let at = (first as u64 + u64::from(n)).checked_rem(held.len() as u64)?;
        held.get(at as usize).copied()
    }

    /// Whether the address with this number is held.
    #[must_use]
    pub fn is_held(&self, number: u32) -> bool {
        self.held.as_ref().is_none_or(|held| held.binary_search(&number).is_ok())
    }

    /// Whether the address belongs to the pool.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|prefix| prefix.contains(&address))
    }

    /// The most addresses that all pools together may have: each costs memory in every worker.
    pub const MAX_ADDRESSES: u32 = 65_536;

    /// What an address costs in a worker: a bit for each port of TCP, of UDP, and each identifier.
    pub const BYTES_PER_ADDRESS: u32 = 3 * 65_536 / 8;
}

impl Default for HoldDown {
    fn default() -> Self {
        Self { seconds: 120, ports: 4096, strict: false }
    }
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
