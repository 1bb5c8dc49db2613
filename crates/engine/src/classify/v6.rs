//! What an IPv6 packet is, behind its extension headers.

use std::net::Ipv6Addr;

use mooring_nat::Place;
use mooring_nat::rewrite::min_l4_len;
use mooring_packet::Packet;
use mooring_session::{FlowKey, Likely};
use mooring_wire::Protocol;
use mooring_wire::ethernet::HEADER_LEN;
use mooring_wire::icmpv6::{self, Icmpv6};
use mooring_wire::ipv6::fragment::{self, Fragment};
use mooring_wire::ipv6::{self, Ipv6};

use super::{Class, Extent, Flow, Ports, check_offload, reason, reason_of_piece};
use crate::DropReason;
use crate::neighbours::is_neighbour_message;

/// A flow is written to `flow`.
#[inline]
pub(super) fn classify_v6(
    packet: &Packet<'_>,
    bytes: &[u8],
    to_us: bool,
    flow: &mut Flow<Ipv6Addr>,
) -> Result<Class, DropReason> {
    let ip = Ipv6::parse(bytes).map_err(reason)?;
    let (protocol, l4_at) = ip.upper_layer().map_err(reason)?;
    let l4 = &ip.payload()[l4_at - ipv6::HEADER_LEN..];
    if let Some(class) = of_the_link(protocol, l4, to_us) {
        return class;
    }
    let extended = l4_at != ipv6::HEADER_LEN;
    if extended && extensions_show_or_choose_the_way(ip.next_header(), ip.payload()) {
        return Err(DropReason::IpOption);
    }
    if protocol == Protocol::FRAGMENT {
        return Ok(Class::PieceV6);
    }
    let is_error = read(packet, &ip, (protocol, l4_at), Extent::Whole, flow)?;
    Ok(if is_error { Class::QuotedErrorV6 } else { Class::FlowV6 })
}

/// The flow of the first piece of a packet, which has passed [`classify_v6`] and whose fragment
/// header lies `at` bytes behind the start of the IP header.
pub(crate) fn first_piece_v6(packet: &Packet<'_>, at: usize) -> Result<Flow<Ipv6Addr>, DropReason> {
    let ip = Ipv6::parse(&packet.bytes()[HEADER_LEN..]).map_err(reason)?;
    let bytes = &ip.payload()[at - ipv6::HEADER_LEN..];
    let next = Fragment::parse(bytes).map_err(reason)?.next_header();
    let behind = &bytes[fragment::HEADER_LEN..];
    // RFC 7112 §5: all headers are in the first piece, or a firewall could not judge the packet.
    let (protocol, l4_at) = ipv6::upper_layer_of(next, behind).map_err(reason_of_piece)?;
    if behind.len() - l4_at < min_l4_len(protocol) {
        return Err(DropReason::FragmentTiny);
    }
    if next == Protocol::HOP_BY_HOP || protocol == Protocol::FRAGMENT {
        return Err(DropReason::Malformed);
    }
    if extensions_show_or_choose_the_way(next, behind) {
        return Err(DropReason::IpOption);
    }
    let mut flow = Flow::none(Ipv6Addr::UNSPECIFIED);
    let l4_at = at + fragment::HEADER_LEN + l4_at;
    match read(packet, &ip, (protocol, l4_at), Extent::FirstPiece, &mut flow)? {
        false => Ok(flow),
        true => Err(DropReason::FragmentUntranslated),
    }
}

/// Reads what lies behind the extension headers, a `protocol` at `l4_at`, into `flow`. True when it is
/// an ICMP error.
#[inline(always)]
fn read(
    packet: &Packet<'_>,
    ip: &Ipv6<&[u8]>,
    (protocol, l4_at): (Protocol, usize),
    extent: Extent,
    flow: &mut Flow<Ipv6Addr>,
) -> Result<bool, DropReason> {
    let l4 = &ip.payload()[l4_at - ipv6::HEADER_LEN..];
    let place = Place { l3: HEADER_LEN as u16, l4: (HEADER_LEN + l4_at) as u16 };
    check_offload(packet, place, protocol)?;
    if l4.len() < min_l4_len(protocol) {
        return Err(DropReason::Malformed);
    }
    let ports = match protocol {
        Protocol::ICMPV6 => icmp(l4)?,
        _ => Ports::of(protocol, l4, extent)?,
    };
    if protocol == Protocol::UDP && packet.offload.partial().is_none() && lacks_checksum(l4) {
        return Err(DropReason::BadChecksum);
    }
    *flow = Flow {
        key: FlowKey {
            source: ip.source(),
            destination: ip.destination(),
            source_port: ports.source,
            destination_port: ports.destination,
            vrf: 0,
            protocol,
            tag: 0,
        },
        hash: 0,
        likely: Likely::ABSENT,
        drawn: None,
        place,
        flags: ports.flags,
        ttl: ip.hop_limit(),
        icmp_kind: ports.icmp_kind,
        dont_fragment: true,
        ip_len: ipv6::HEADER_LEN as u32 + u32::from(ip.payload_len()),
        headers_len: place.l4 + ports.header_len,
    };
    Ok(ports.is_error)
}

/// What concerns the link alone, whatever its destination, and what is not for our link address.
#[inline]
fn of_the_link(protocol: Protocol, l4: &[u8], to_us: bool) -> Option<Result<Class, DropReason>> {
    if protocol != Protocol::ICMPV6 {
        return (!to_us).then_some(Err(DropReason::NotForUs));
    }
    match l4.first() {
        None => Some(Err(DropReason::Malformed)),
        Some(&kind) if is_neighbour_message(kind) => Some(Ok(Class::Ndp)),
        Some(
            &(icmpv6::ROUTER_ADVERTISEMENT | icmpv6::REDIRECT)
            | &(MLD_REPORT | MLD_DONE | icmpv6::MLDV2_REPORT),
        ) => Some(Err(DropReason::NotForUs)),
        _ => (!to_us).then_some(Err(DropReason::NotForUs)),
    }
}

fn icmp(l4: &[u8]) -> Result<Ports, DropReason> {
    let icmp = Icmpv6::parse(l4).map_err(reason)?;
    match icmp.kind() {
        kind @ (icmpv6::ECHO_REQUEST | icmpv6::ECHO_REPLY) => {
            let is_reply = kind == icmpv6::ECHO_REPLY;
            Ok(Ports::query(Protocol::ICMPV6, kind, icmp.identifier(), is_reply))
        }
        kind @ icmpv6::DEST_UNREACHABLE..=icmpv6::PARAMETER_PROBLEM => {
            Ok(Ports::error(Protocol::ICMPV6, kind))
        }
        _ => Err(DropReason::UnsupportedProtocol),
    }
}

/// RFC 8200 §8.1: "the default behavior when UDP packets are originated by an IPv6 node is that the
/// UDP checksum is not optional"; a receiver discards one without. The rest of the datagram may be in
/// other pieces.
#[inline]
fn lacks_checksum(l4: &[u8]) -> bool {
    l4[6..8] == [0; 2]
}

/// Whether an extension header carries an address, which would show the inside outside and which the
/// checksum may cover, or chooses the way. A routing header of type 0 always does (RFC 5095), others
/// as long as there are segments left (RFC 8200 §4.4); destination options may name a home address
/// (RFC 6275 §6.3). An authentication header covers the addresses: translated it is void.
#[cold]
fn extensions_show_or_choose_the_way(mut next: Protocol, mut rest: &[u8]) -> bool {
    loop {
        // The walk to the upper layer has found every header whole.
        let [following, len, kind, segments_left, ..] = *rest else { return false };
        let bytes = match next {
            Protocol::ROUTING if kind == 0 || segments_left > 0 => return true,
            Protocol::AH => return true,
            Protocol::FRAGMENT => 8,
            Protocol::HOP_BY_HOP | Protocol::DESTINATION_OPTIONS | Protocol::ROUTING => {
                (usize::from(len) + 1) * 8
            }
            _ => return false,
        };
        let Some((header, behind)) = rest.split_at_checked(bytes) else { return true };
        if next == Protocol::DESTINATION_OPTIONS && names_a_home_address(&header[2..]) {
            return true;
        }
        // What lies behind the header of a later piece is no header.
        let offset_and_more = u16::from_be_bytes([kind, segments_left]) & OFFSET_AND_MORE;
        if next == Protocol::FRAGMENT && offset_and_more != 0 {
            return false;
        }
        (next, rest) = (Protocol(following), behind);
    }
}

fn names_a_home_address(mut options: &[u8]) -> bool {
    while let Some((&kind, rest)) = options.split_first() {
        match (kind, rest.first()) {
            (PAD_1, _) => options = rest,
            (HOME_ADDRESS, _) | (_, None) => return true,
            (_, Some(&len)) => match rest.get(1 + usize::from(len)..) {
                Some(next) => options = next,
                None => return true,
            },
        }
    }
    false
}

/// Of the second word of a fragment header (RFC 8200 §4.5).
const OFFSET_AND_MORE: u16 = 0xfff9;

const PAD_1: u8 = 0;
const HOME_ADDRESS: u8 = 0xc9;

/// Multicast listener discovery (RFC 2710, RFC 3810).
const MLD_REPORT: u8 = 131;
const MLD_DONE: u8 = 132;
