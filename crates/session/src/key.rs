//! What a packet is looked up by.

use std::fmt::Debug;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use mooring_wire::Protocol;
use mooring_wire::checksum::Delta;

/// Which way a packet of a session travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the inside host to the remote one.
    Forward,
    /// From the remote host to the inside one.
    Reverse,
}

impl Direction {
    /// The other way.
    #[inline]
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Forward => Self::Reverse,
            Self::Reverse => Self::Forward,
        }
    }
}

/// The flow of a packet as it arrived, before any translation.
///
/// An ICMP query carries its identifier in `source_port` when it goes forward and in
/// `destination_port` when it comes back, so that both directions look like a port pair whose other
/// half is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowKey<A> {
    /// Source address.
    pub source: A,
    /// Destination address.
    pub destination: A,
    /// Source port or ICMP identifier; 0 where the protocol has none.
    pub source_port: u16,
    /// Destination port or ICMP identifier; 0 where the protocol has none.
    pub destination_port: u16,
    /// Routing domain; 0 until VRFs exist.
    pub vrf: u16,
    /// IP protocol number.
    pub protocol: Protocol,
    /// SCTP verification tag; 0 for every other protocol.
    pub tag: u32,
}

impl<A: Copy> FlowKey<A> {
    /// The same key, for whoever knows that it has no routing domain and no tag: so that the compiler knows it, too.
    #[inline(always)]
    pub(crate) const fn plain(&self) -> Self {
        Self { vrf: 0, tag: 0, ..*self }
    }

    /// The key of the packet that answers this one.
    #[inline]
    #[must_use]
    pub const fn exchanged(&self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            vrf: self.vrf,
            protocol: self.protocol,
            tag: self.tag,
        }
    }
}

/// An address family that tables can be made of.
pub trait Address: Copy + Debug + Eq + Hash + Into<IpAddr> + 'static {
    /// How long an address is.
    const BYTES: usize;

    /// The address as 64-bit words for hashing; an IPv4 address leaves the second one 0.
    fn words(self) -> [u64; 2];

    /// Whether the two are those, in this order.
    fn are(two: &[Self; 2], those: &[Self; 2]) -> bool;

    /// What a sum over this address changes by when `new` takes its place.
    fn delta_to(self, new: Self) -> Delta;

    /// The address of this family in `address`.
    fn from_ip(address: IpAddr) -> Option<Self>;

    /// The first address of its prefix of so many bits.
    #[must_use]
    fn network(self, bits: u8) -> Self;

    /// The address that is so many after this one; the first one follows the last.
    #[must_use]
    fn after(self, count: u32) -> Self;
}

impl Address for Ipv4Addr {
    const BYTES: usize = 4;

    #[inline]
    fn words(self) -> [u64; 2] {
        [u64::from(self.to_bits()), 0]
    }

    #[inline(always)]
    fn are(two: &[Self; 2], those: &[Self; 2]) -> bool {
        // One comparison where they lie side by side.
        let word = |[a, b]: &[Self; 2]| u64::from(a.to_bits()) << 32 | u64::from(b.to_bits());
        word(two) == word(those)
    }

    fn delta_to(self, new: Self) -> Delta {
        Delta::between(&self.octets(), &new.octets())
    }

    fn from_ip(address: IpAddr) -> Option<Self> {
        match address {
            IpAddr::V4(v4) => Some(v4),
            IpAddr::V6(_) => None,
        }
    }

    #[inline]
    fn network(self, bits: u8) -> Self {
        let host_bits = Self::BITS.saturating_sub(bits.into());
        Self::from_bits(self.to_bits() & u32::MAX.checked_shl(host_bits).unwrap_or(0))
    }

    #[inline]
    fn after(self, count: u32) -> Self {
        Self::from_bits(self.to_bits().wrapping_add(count))
    }
}

impl Address for Ipv6Addr {
    const BYTES: usize = 16;

    #[inline]
    fn words(self) -> [u64; 2] {
        let bits = self.to_bits();
        [bits as u64, (bits >> 64) as u64]
    }

    #[inline(always)]
    fn are(two: &[Self; 2], those: &[Self; 2]) -> bool {
        two == those
    }

    fn delta_to(self, new: Self) -> Delta {
        Delta::between(&self.octets(), &new.octets())
    }

    fn from_ip(address: IpAddr) -> Option<Self> {
        match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(v6) => Some(v6),
        }
    }

    #[inline]
    fn network(self, bits: u8) -> Self {
        let host_bits = Self::BITS.saturating_sub(bits.into());
        Self::from_bits(self.to_bits() & u128::MAX.checked_shl(host_bits).unwrap_or(0))
    }

    #[inline]
    fn after(self, count: u32) -> Self {
        Self::from_bits(self.to_bits().wrapping_add(count.into()))
    }
}
