//! Where the headers of a frame lie.

use mooring_wire::Protocol;
use mooring_wire::checksum;
use mooring_wire::ethernet::{EtherType, Ethernet, HEADER_LEN};
use mooring_wire::ipv4::Ipv4;
use mooring_wire::ipv6::Ipv6;

/// Offsets in bytes from the start of an untagged Ethernet frame that carries a whole IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Whether the packet is IPv6.
    pub(crate) ipv6: bool,
    /// What the transport header is.
    pub(crate) protocol: Protocol,
    /// Where it begins.
    pub(crate) transport: usize,
    /// Where the IP packet ends; padding may follow.
    pub(crate) end: usize,
    /// The sum of the addresses and the protocol, without a length: the pseudo-header's part that all
    /// segments share.
    pub(crate) pseudo_sum: u16,
}

impl Layout {
    /// `None` when the frame is no IP packet, a piece of one, or shorter than it says.
    pub(crate) fn of(frame: &[u8]) -> Option<Self> {
        let ethernet = Ethernet::parse(frame).ok()?;
        match ethernet.ether_type() {
            EtherType::IPV4 => Self::of_ipv4(&Ipv4::parse(ethernet.into_payload()).ok()?),
            EtherType::IPV6 => Self::of_ipv6(&Ipv6::parse(ethernet.into_payload()).ok()?),
            _ => None,
        }
    }

    fn of_ipv4(ip: &Ipv4<&[u8]>) -> Option<Self> {
        (!ip.is_fragment()).then(|| Self {
            ipv6: false,
            protocol: ip.protocol(),
            transport: HEADER_LEN + ip.header_len(),
            end: HEADER_LEN + usize::from(ip.total_len()),
            pseudo_sum: checksum::pseudo_v4(ip.source(), ip.destination(), ip.protocol(), 0),
        })
    }

    fn of_ipv6(ip: &Ipv6<&[u8]>) -> Option<Self> {
        let (protocol, offset) = ip.upper_layer().ok()?;
        (protocol != Protocol::FRAGMENT).then(|| Self {
            ipv6: true,
            protocol,
            transport: HEADER_LEN + offset,
            end: HEADER_LEN + mooring_wire::ipv6::HEADER_LEN + usize::from(ip.payload_len()),
            pseudo_sum: checksum::pseudo_v6(ip.source(), ip.destination(), protocol, 0),
        })
    }
}
