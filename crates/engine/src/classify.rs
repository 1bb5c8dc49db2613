//! Hop 2: what a packet is, parsed into the places of its headers and the key of its flow; nothing is looked
//! up and nothing is changed. Most packets are read by `plain`; those that it gives up are read here anew.

use std::net::{Ipv4Addr, Ipv6Addr};

use mooring_nat::rewrite::min_l4_len;
use mooring_nat::{Drawn, Place};
use mooring_packet::Packet;
use mooring_session::{FlowKey, Likely};
use mooring_wire::error::Field;
use mooring_wire::ethernet::{EtherType, Ethernet};
use mooring_wire::tcp::{Flags, Tcp};
use mooring_wire::udp::Udp;
use mooring_wire::{Mac, ParseError, Protocol};

use self::v4::classify_v4;
use self::v6::classify_v6;
use crate::DropReason;

pub(crate) use self::v4::first_piece_v4;
pub(crate) use self::v6::first_piece_v6;

mod plain;
mod v4;
mod v6;

/// What a packet is, and its flow if it has one.
///
/// Written in place, field by field: a flow that is handed from call to call is copied as a block behind
/// the stores that made it, and every packet waits for them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Classified {
    pub(crate) class: Class,
    /// Whether the short way has read it.
    pub(crate) plain: Plain,
    /// Of [`Class::Flow`] and [`Class::QuotedError`].
    pub(crate) v4: Flow<Ipv4Addr>,
    /// Of [`Class::FlowV6`] and [`Class::QuotedErrorV6`].
    pub(crate) v6: Flow<Ipv6Addr>,
}

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// A packet of a flow, which a session may know.
    Flow,
    /// The same of IPv6.
    FlowV6,
    /// An ICMP error about a packet that we have translated.
    QuotedError,
    /// The same of IPv6.
    QuotedErrorV6,
    /// A piece of a packet, the first or a later one.
    Piece,
    /// The same of IPv6.
    PieceV6,
    /// ARP.
    Arp,
    /// A neighbor solicitation or advertisement.
    Ndp,
    /// Nothing that we carry.
    Drop(DropReason),
}

/// Whether a packet is a whole UDP or TCP packet without IP options or extension headers, for which no device has
/// anything to do: then its [`Class`] is that of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plain {
    /// It is, of IPv4.
    V4,
    /// It is, of IPv6.
    V6,
    /// It is not.
    No,
}

/// A packet's flow, and where its headers are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flow<A> {
    pub(crate) key: FlowKey<A>,
    /// Of `key`; the lookup fills it in.
    pub(crate) hash: u64,
    /// What the index says of it; the lookup fills it in.
    pub(crate) likely: Likely,
    /// What was drawn for it ahead, if it has no session; the lookup fills it in.
    pub(crate) drawn: Option<Drawn<A>>,
    pub(crate) place: Place,
    /// Flags of a TCP segment.
    pub(crate) flags: Option<Flags>,
    /// TTL or hop limit.
    pub(crate) ttl: u8,
    /// Type of an ICMP message, 0 for every other protocol.
    pub(crate) icmp_kind: u8,
    /// Routers may not cut it; always so in IPv6.
    pub(crate) dont_fragment: bool,
    /// Bytes of the IP packet; the frame may be longer.
    pub(crate) ip_len: u32,
    /// Bytes of all headers, from the start of the frame.
    pub(crate) headers_len: u16,
}

/// Parses a packet that arrived on a link where our address is `own`.
#[inline]
pub(crate) fn classify(packet: &Packet<'_>, own: Mac, classified: &mut Classified) {
    classified.plain = plain::read(packet, own, classified);
    classified.class = match classified.plain {
        Plain::V4 => Class::Flow,
        Plain::V6 => Class::FlowV6,
        Plain::No => class_of(packet, own, classified),
    };
}

/// The long way.
#[inline(never)]
fn class_of(packet: &Packet<'_>, own: Mac, flows: &mut Classified) -> Class {
    let Ok(frame) = Ethernet::parse(packet.bytes()) else {
        return Class::Drop(DropReason::Malformed);
    };
    let to_us = frame.destination() == own;
    match frame.ether_type() {
        // RFC 1812 §5.3.4: what came as a link broadcast is not forwarded.
        EtherType::IPV4 if to_us => {
            classify_v4(packet, frame.into_payload(), &mut flows.v4).unwrap_or_else(Class::Drop)
        }
        EtherType::ARP if to_us || frame.destination().is_group() => Class::Arp,
        EtherType::IPV6 if to_us || frame.destination().is_group() => {
            let bytes = frame.into_payload();
            classify_v6(packet, bytes, to_us, &mut flows.v6).unwrap_or_else(Class::Drop)
        }
        _ => Class::Drop(DropReason::NotForUs),
    }
}

impl Classified {
    /// The place of what a packet is.
    pub(crate) const NOTHING: Self = Self {
        class: Class::Drop(DropReason::Malformed),
        plain: Plain::No,
        v4: Flow::none(Ipv4Addr::UNSPECIFIED),
        v6: Flow::none(Ipv6Addr::UNSPECIFIED),
    };
}

impl<A: Copy> Flow<A> {
    /// The place of a flow.
    pub(crate) const fn none(unspecified: A) -> Self {
        let key = FlowKey {
            source: unspecified,
            destination: unspecified,
            source_port: 0,
            destination_port: 0,
            vrf: 0,
            protocol: Protocol::NO_NEXT_HEADER,
            tag: 0,
        };
        Self {
            key,
            hash: 0,
            likely: Likely::ABSENT,
            drawn: None,
            place: Place { l3: 0, l4: 0 },
            flags: None,
            ttl: 0,
            icmp_kind: 0,
            dont_fragment: true,
            ip_len: 0,
            headers_len: 0,
        }
    }
}

/// How much of a packet there is to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    /// All of it.
    Whole,
    /// Its first piece.
    FirstPiece,
}

/// What the L4 header adds to the key.
#[derive(Clone, Copy)]
struct Ports {
    source: u16,
    destination: u16,
    flags: Option<Flags>,
    icmp_kind: u8,
    is_error: bool,
    /// Bytes of the L4 header.
    header_len: u16,
}

impl Ports {
    /// Of a protocol without ports.
    #[inline]
    const fn none(protocol: Protocol) -> Self {
        Self {
            source: 0,
            destination: 0,
            flags: None,
            icmp_kind: 0,
            is_error: false,
            header_len: min_l4_len(protocol) as u16,
        }
    }

    /// Reads the ports of a protocol that is not ICMP. `l4` has at least the bytes of
    /// [`min_l4_len`].
    ///
    /// Its result has to stay in registers: read back from memory in other widths than it was written
    /// in, it costs every packet ten clocks. So this is told the extent and not called by a pointer.
    #[inline(always)]
    fn of(protocol: Protocol, l4: &[u8], extent: Extent) -> Result<Self, DropReason> {
        match extent {
            Extent::Whole => Self::of_whole(protocol, l4),
            Extent::FirstPiece => Self::of_first_piece(protocol, l4),
        }
    }

    #[inline(always)]
    fn of_whole(protocol: Protocol, l4: &[u8]) -> Result<Self, DropReason> {
        let plain = Self::none(protocol);
        match protocol {
            Protocol::TCP => {
                let tcp = Tcp::parse(l4).map_err(reason)?;
                let (source, destination) = (tcp.source_port(), tcp.destination_port());
                let (flags, header_len) = (Some(tcp.flags()), tcp.header_len() as u16);
                Ok(Self { source, destination, flags, header_len, ..plain })
            }
            Protocol::UDP => {
                let udp = Udp::parse(l4).map_err(reason)?;
                let (source, destination) = (udp.source_port(), udp.destination_port());
                Ok(Self { source, destination, ..plain })
            }
            Protocol::SCTP => {
                let port = |at: usize| u16::from_be_bytes([l4[at], l4[at + 1]]);
                Ok(Self { source: port(0), destination: port(2), ..plain })
            }
            // Each belongs to one family alone (RFC 792, RFC 4443 §2.1): as a flow of the other one it
            // would be leased an identifier.
            Protocol::ICMP | Protocol::ICMPV6 => Err(DropReason::UnsupportedProtocol),
            _ => Ok(plain),
        }
    }

    /// As [`Ports::of_whole`], of a first piece, whose length field speaks of the whole packet.
    fn of_first_piece(protocol: Protocol, l4: &[u8]) -> Result<Self, DropReason> {
        match protocol {
            Protocol::UDP => {}
            Protocol::TCP => {
                Tcp::parse(l4).map_err(reason_of_piece)?;
                return Self::of_whole(protocol, l4);
            }
            _ => return Self::of_whole(protocol, l4),
        }
        let port = |at: usize| u16::from_be_bytes([l4[at], l4[at + 1]]);
        Ok(Self { source: port(0), destination: port(2), ..Self::none(protocol) })
    }

    /// A query or its answer: the identifier stands in the place that either gives it.
    #[inline]
    const fn query(protocol: Protocol, icmp_kind: u8, identifier: u16, is_reply: bool) -> Self {
        let (source, destination) = if is_reply { (0, identifier) } else { (identifier, 0) };
        Self { source, destination, icmp_kind, ..Self::none(protocol) }
    }

    /// An ICMP error.
    #[inline]
    const fn error(protocol: Protocol, icmp_kind: u8) -> Self {
        Self { icmp_kind, is_error: true, ..Self::none(protocol) }
    }
}

/// Offload metadata may only speak of the L4 header that we translate: a device that completes or
/// cuts an inner header (a tunnel) would do so with addresses that we have not seen.
#[inline]
fn check_offload(packet: &Packet<'_>, place: Place, protocol: Protocol) -> Result<(), DropReason> {
    let Some(partial) = packet.offload.partial() else {
        // A super-packet has its checksum completed segment by segment.
        return if packet.offload.is_gso() { Err(DropReason::UnsupportedOffload) } else { Ok(()) };
    };
    let field = match protocol {
        Protocol::TCP => 16,
        Protocol::UDP => 6,
        _ => return Err(DropReason::UnsupportedOffload),
    };
    if partial.start != place.l4 || partial.offset != field {
        return Err(DropReason::UnsupportedOffload);
    }
    Ok(())
}

/// As [`reason`], of the first piece of a packet. RFC 1858 §3, RFC 7112 §5: all headers are in it, or a
/// firewall could not judge the packet.
fn reason_of_piece(error: ParseError) -> DropReason {
    match error {
        ParseError::Truncated { .. } => DropReason::FragmentTiny,
        error => reason(error),
    }
}

/// Why a header that does not parse is dropped.
fn reason(error: ParseError) -> DropReason {
    match error {
        ParseError::BigTcp { .. } => DropReason::UnsupportedOffload,
        // Nobody honest has so many; to walk them is work (RFC 8504 §5.3).
        ParseError::BadValue { field: Field::ExtensionCount, .. } => DropReason::IpOption,
        _ => DropReason::Malformed,
    }
}

#[cfg(test)]
mod tests;
