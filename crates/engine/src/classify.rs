//! Hop 2: what a packet is. Each packet is parsed once, into the places of its headers and the key of
//! its flow; nothing is looked up and nothing is changed.

use std::net::Ipv4Addr;

use mooring_nat::Place;
use mooring_nat::rewrite::min_l4_len;
use mooring_packet::Packet;
use mooring_session::FlowKey;
use mooring_wire::ethernet::{EtherType, Ethernet, HEADER_LEN};
use mooring_wire::icmpv4::{self, Icmpv4};
use mooring_wire::icmpv6;
use mooring_wire::ipv4::Ipv4;
use mooring_wire::ipv6::Ipv6;
use mooring_wire::tcp::{Flags, Tcp};
use mooring_wire::udp::Udp;
use mooring_wire::{Mac, ParseError, Protocol};

use crate::DropReason;

/// What a packet is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Class {
    /// A packet of a flow, which a session may know.
    Flow(Flow),
    /// An ICMP error about a packet that we have translated.
    QuotedError(Flow),
    /// ARP.
    Arp,
    /// A neighbor solicitation or advertisement.
    Ndp,
    /// An ICMPv6 echo request.
    EchoV6,
    /// Nothing that we carry.
    Drop(DropReason),
}

/// A packet's flow, and where its headers are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flow {
    pub(crate) key: FlowKey<Ipv4Addr>,
    /// Of `key`; the lookup fills it in.
    pub(crate) hash: u64,
    pub(crate) place: Place,
    /// Flags of a TCP segment.
    pub(crate) flags: Option<Flags>,
    pub(crate) ttl: u8,
    /// Type of an ICMP message, 0 for every other protocol.
    pub(crate) icmp_kind: u8,
    pub(crate) dont_fragment: bool,
    /// Bytes of the IP packet; the frame may be longer.
    pub(crate) ip_len: u16,
    /// Bytes of all headers, from the start of the frame.
    pub(crate) headers_len: u16,
}

/// Parses a packet that arrived on a link where our address is `own`.
#[inline]
pub(crate) fn classify(packet: &Packet<'_>, own: Mac) -> Class {
    let Ok(frame) = Ethernet::parse(packet.bytes()) else {
        return Class::Drop(DropReason::Malformed);
    };
    let to_us = frame.destination() == own;
    match frame.ether_type() {
        // RFC 1812 §5.3.4: what came as a link broadcast is not forwarded.
        EtherType::IPV4 if to_us => {
            classify_v4(packet, frame.into_payload()).unwrap_or_else(Class::Drop)
        }
        EtherType::ARP if to_us || frame.destination().is_group() => Class::Arp,
        EtherType::IPV6 if to_us || frame.destination().is_group() => {
            classify_v6(frame.into_payload(), to_us).unwrap_or_else(Class::Drop)
        }
        _ => Class::Drop(DropReason::NotForUs),
    }
}

#[inline]
fn classify_v4(packet: &Packet<'_>, bytes: &[u8]) -> Result<Class, DropReason> {
    let ip = Ipv4::parse(bytes).map_err(reason)?;
    if !ip.checksum_is_valid() {
        return Err(DropReason::BadChecksum);
    }
    if ip.is_fragment() {
        return Err(DropReason::FragmentUntranslated);
    }
    if !ip.options().is_empty() && options_show_or_choose_the_way(ip.options()) {
        return Err(DropReason::IpOption);
    }
    let place = Place { l3: HEADER_LEN as u16, l4: (HEADER_LEN + ip.header_len()) as u16 };
    check_offload(packet, place, ip.protocol())?;
    let l4 = ip.payload();
    if l4.len() < min_l4_len(ip.protocol()) {
        return Err(DropReason::Malformed);
    }
    let ports = Ports::of(ip.protocol(), l4)?;
    let flow = Flow {
        key: FlowKey {
            source: ip.source(),
            destination: ip.destination(),
            source_port: ports.source,
            destination_port: ports.destination,
            vrf: 0,
            protocol: ip.protocol(),
            tag: 0,
        },
        hash: 0,
        place,
        flags: ports.flags,
        ttl: ip.ttl(),
        icmp_kind: ports.icmp_kind,
        dont_fragment: ip.dont_fragment(),
        ip_len: ip.total_len(),
        headers_len: place.l4 + ports.header_len,
    };
    Ok(if ports.is_error { Class::QuotedError(flow) } else { Class::Flow(flow) })
}

/// IPv6 is carried by this version as far as our own addresses need it.
#[inline]
fn classify_v6(bytes: &[u8], to_us: bool) -> Result<Class, DropReason> {
    let ip = Ipv6::parse(bytes).map_err(reason)?;
    if ip.next_header() != Protocol::ICMPV6 {
        return Err(if to_us { DropReason::UnsupportedProtocol } else { DropReason::NotForUs });
    }
    match *ip.payload().first().ok_or(DropReason::Malformed)? {
        icmpv6::NEIGHBOR_SOLICITATION | icmpv6::NEIGHBOR_ADVERTISEMENT => Ok(Class::Ndp),
        icmpv6::ECHO_REQUEST if to_us => Ok(Class::EchoV6),
        _ if to_us => Err(DropReason::UnsupportedProtocol),
        _ => Err(DropReason::NotForUs),
    }
}

/// What the L4 header adds to the key.
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
    /// Reads the ports, or the ICMP identifier in the place that a query or its answer gives it.
    #[inline]
    fn of(protocol: Protocol, l4: &[u8]) -> Result<Self, DropReason> {
        let plain = Self {
            source: 0,
            destination: 0,
            flags: None,
            icmp_kind: 0,
            is_error: false,
            header_len: min_l4_len(protocol) as u16,
        };
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
            Protocol::ICMP => {
                let icmp = Icmpv4::parse(l4).map_err(reason)?;
                let (icmp_kind, identifier) = (icmp.kind(), icmp.identifier());
                match icmp_kind {
                    icmpv4::ECHO_REQUEST => Ok(Self { source: identifier, icmp_kind, ..plain }),
                    icmpv4::ECHO_REPLY => Ok(Self { destination: identifier, icmp_kind, ..plain }),
                    // A redirect names a router of the other side (RFC 5508 REQ-11 leaves it out), a
                    // source quench has no meaning any more (RFC 6633).
                    icmpv4::REDIRECT | icmpv4::SOURCE_QUENCH => {
                        Err(DropReason::UnsupportedProtocol)
                    }
                    _ if icmp.is_error() => Ok(Self { icmp_kind, is_error: true, ..plain }),
                    _ => Err(DropReason::UnsupportedProtocol),
                }
            }
            Protocol::SCTP => {
                let port = |at: usize| u16::from_be_bytes([l4[at], l4[at + 1]]);
                Ok(Self { source: port(0), destination: port(2), ..plain })
            }
            // Of IPv6 alone (RFC 4443 §2.1): as a flow it would be leased an identifier here.
            Protocol::ICMPV6 => Err(DropReason::UnsupportedProtocol),
            _ => Ok(plain),
        }
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
                match rest.first().and_then(|&len| options.get(usize::from(len.max(2))..)) {
                    Some(next) => options = next,
                    None => return true,
                }
            }
            _ => return true,
        }
    }
    false
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

/// Why a header that does not parse is dropped.
fn reason(error: ParseError) -> DropReason {
    match error {
        ParseError::BigTcp { .. } => DropReason::UnsupportedOffload,
        _ => DropReason::Malformed,
    }
}

const END_OF_OPTIONS: u8 = 0;
const NO_OPERATION: u8 = 1;
const BASIC_SECURITY: u8 = 130;
const EXTENDED_SECURITY: u8 = 133;
const COMMERCIAL_SECURITY: u8 = 134;
const ROUTER_ALERT: u8 = 148;

#[cfg(test)]
mod tests;
