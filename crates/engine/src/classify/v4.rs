//! What an IPv4 packet is.

use std::net::Ipv4Addr;

use mooring_nat::Place;
use mooring_nat::rewrite::min_l4_len;
use mooring_packet::Packet;
use mooring_session::{FlowKey, Likely};
use mooring_wire::Protocol;
use mooring_wire::ethernet::HEADER_LEN;
use mooring_wire::icmpv4::{self, Icmpv4};
use mooring_wire::ipv4::Ipv4;

use super::{Class, Extent, Flow, Ports, check_offload, reason};
use crate::DropReason;

#[inline]
pub(super) fn classify_v4(
    packet: &Packet<'_>,
    bytes: &[u8],
    flow: &mut Flow<Ipv4Addr>,
) -> Result<Class, DropReason> {
    let ip = Ipv4::parse(bytes).map_err(reason)?;
    if !ip.checksum_is_valid() {
        return Err(DropReason::BadChecksum);
    }
    if !ip.options().is_empty() && options_show_or_choose_the_way(ip.options()) {
        return Err(DropReason::IpOption);
    }
    if ip.is_fragment() {
        return Ok(Class::Piece);
    }
    let is_error = read(packet, &ip, Extent::Whole, flow)?;
    Ok(if is_error { Class::QuotedError } else { Class::Flow })
}

/// The flow of the first piece of a packet, which has passed [`classify_v4`].
pub(crate) fn first_piece_v4(packet: &Packet<'_>) -> Result<Flow<Ipv4Addr>, DropReason> {
    let ip = Ipv4::parse(&packet.bytes()[HEADER_LEN..]).map_err(reason)?;
    // RFC 1858 §3: the first piece holds the whole transport header.
    if ip.payload().len() < min_l4_len(ip.protocol()) {
        return Err(DropReason::FragmentTiny);
    }
    let mut flow = Flow::none(Ipv4Addr::UNSPECIFIED);
    match read(packet, &ip, Extent::FirstPiece, &mut flow)? {
        false => Ok(flow),
        true => Err(DropReason::FragmentUntranslated),
    }
}

/// Reads what lies behind the IP header into `flow`. True when it is an ICMP error.
#[inline(always)]
fn read(
    packet: &Packet<'_>,
    ip: &Ipv4<&[u8]>,
    extent: Extent,
    flow: &mut Flow<Ipv4Addr>,
) -> Result<bool, DropReason> {
    let protocol = ip.protocol();
    let place = Place { l3: HEADER_LEN as u16, l4: (HEADER_LEN + ip.header_len()) as u16 };
    check_offload(packet, place, protocol)?;
    let l4 = ip.payload();
    if l4.len() < min_l4_len(protocol) {
        return Err(DropReason::Malformed);
    }
    let ports = match protocol {
        Protocol::ICMP => icmp(l4)?,
        _ => Ports::of(protocol, l4, extent)?,
    };
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
        ttl: ip.ttl(),
        icmp_kind: ports.icmp_kind,
        dont_fragment: ip.dont_fragment(),
        ip_len: ip.total_len().into(),
        headers_len: place.l4 + ports.header_len,
    };
    Ok(ports.is_error)
}

fn icmp(l4: &[u8]) -> Result<Ports, DropReason> {
    let icmp = Icmpv4::parse(l4).map_err(reason)?;
    match icmp.kind() {
        // RFC 5508 REQ-1: queries and their answers. Information and address mask, the other two, are
        // deprecated (RFC 6918 §2).
        kind @ (icmpv4::ECHO_REQUEST | icmpv4::TIMESTAMP_REQUEST) => {
            Ok(Ports::query(Protocol::ICMP, kind, icmp.identifier(), false))
        }
        kind @ (icmpv4::ECHO_REPLY | icmpv4::TIMESTAMP_REPLY) => {
            Ok(Ports::query(Protocol::ICMP, kind, icmp.identifier(), true))
        }
        // A redirect names a router of the other side (RFC 5508 REQ-11 leaves it out), a source
        // quench has no meaning any more (RFC 6633).
        icmpv4::REDIRECT | icmpv4::SOURCE_QUENCH => Err(DropReason::UnsupportedProtocol),
        kind if icmp.is_error() => Ok(Ports::error(Protocol::ICMP, kind)),
        _ => Err(DropReason::UnsupportedProtocol),
    }
}

/// Whether there is an option that may carry an address, which would show the inside outside, or
/// choose the way (RFC 7126 §4.3 to §4.5, §4.7). Only options that do neither are let through; what
/// cannot be read is not one of them.
#[cold]
fn options_show_or_choose_the_way(mut options: &[u8]) -> bool {
    while let Some((&kind, rest)) = options.split_first() {
        match kind {
            END_OF_OPTIONS => return false,
            NO_OPERATION => options = rest,
            BASIC_SECURITY | EXTENDED_SECURITY | COMMERCIAL_SECURITY | ROUTER_ALERT => {
                // RFC 791 §3.1: the length counts kind and length.
                match rest.first().map(|&len| (len, options.get(usize::from(len)..))) {
                    Some((2.., Some(next))) => options = next,
                    _ => return true,
                }
            }
            _ => return true,
        }
    }
    false
}

const END_OF_OPTIONS: u8 = 0;
const NO_OPERATION: u8 = 1;
const BASIC_SECURITY: u8 = 130;
const EXTENDED_SECURITY: u8 = 133;
const COMMERCIAL_SECURITY: u8 = 134;
const ROUTER_ALERT: u8 = 148;
