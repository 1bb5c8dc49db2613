//! The short way of hop 2. Most packets are UDP or TCP right behind an IP header of the shortest length, whole,
//! with nothing for a device to complete: their fields lie at fixed places. Whatever is not so, or not right, is
//! left to the long way, which says why. Both give the same answer
//! (`the_short_way_reads_what_the_long_way_reads`).

use std::net::{Ipv4Addr, Ipv6Addr};

use mooring_nat::Place;
use mooring_nat::rewrite::{PLAIN_V4, PLAIN_V6};
use mooring_packet::Packet;
use mooring_session::FlowKey;
use mooring_wire::ethernet::{EtherType, Ethernet};
use mooring_wire::tcp::Tcp;
use mooring_wire::udp::{self, Udp};
use mooring_wire::{Mac, Protocol, checksum, ipv4, ipv6};

use super::{Classified, Flow, Plain};

/// Reads a packet that arrived on a link where our address is `own`, if it is plain.
#[inline(always)]
pub(super) fn read(packet: &Packet<'_>, own: Mac, flows: &mut Classified) -> Plain {
    let Ok(link) = Ethernet::parse(packet.bytes()) else { return Plain::No };
    if link.destination() != own || !packet.offload.is_complete() {
        return Plain::No;
    }
    let plain = match link.ether_type() {
        EtherType::IPV4 => read_v4(link.payload(), &mut flows.v4).map(|()| Plain::V4),
        EtherType::IPV6 => read_v6(link.payload(), &mut flows.v6).map(|()| Plain::V6),
        _ => None,
    };
    plain.unwrap_or(Plain::No)
}

#[inline(always)]
fn read_v4(bytes: &[u8], flow: &mut Flow<Ipv4Addr>) -> Option<()> {
    let (header, rest) = bytes.split_first_chunk::<{ ipv4::HEADER_LEN }>()?;
    // First of all: of a header of which the compiler knows a part it makes words out of bytes.
    let sum = checksum::sum_header_v4(header);
    let ip_len = word(header, 2);
    let flags_and_offset = word(header, 6);
    if sum != 0xffff || header[0] != VERSION_AND_LEN_V4 || flags_and_offset & MORE_OR_OFFSET != 0 {
        return None;
    }
    let l4 = rest.get(..usize::from(ip_len).checked_sub(ipv4::HEADER_LEN)?)?;
    let address = |at: usize| Ipv4Addr::from_octets([0, 1, 2, 3].map(|byte| header[at + byte]));
    *flow = Flow {
        ttl: header[8],
        dont_fragment: flags_and_offset & DONT_FRAGMENT != 0,
        ip_len: ip_len.into(),
        ..Flow::plain([address(12), address(16)], Protocol(header[9]), PLAIN_V4)
    };
    read_l4(l4, flow)
}

#[inline(always)]
fn read_v6(bytes: &[u8], flow: &mut Flow<Ipv6Addr>) -> Option<()> {
    let (header, rest) = bytes.split_first_chunk::<{ ipv6::HEADER_LEN }>()?;
    let payload_len = word(header, 4);
    let l4 = rest.get(..usize::from(payload_len))?;
    let protocol = Protocol(header[6]);
    // RFC 8200 §8.1: it is not optional here.
    let no_checksum = || l4.get(6..8) == Some(&[0; 2]);
    if header[0] >> 4 != 6 || protocol == Protocol::UDP && no_checksum() {
        return None;
    }
    let address =
        |at: usize| Ipv6Addr::from(std::array::from_fn::<u8, 16, _>(|byte| header[at + byte]));
    *flow = Flow {
        ttl: header[7],
        dont_fragment: true,
        ip_len: ipv6::HEADER_LEN as u32 + u32::from(payload_len),
        ..Flow::plain([address(8), address(24)], protocol, PLAIN_V6)
    };
    read_l4(l4, flow)
}

impl<A: Copy> Flow<A> {
    /// Of what an IP header says; the rest is of its reader and of [`read_l4`].
    #[inline(always)]
    const fn plain([source, destination]: [A; 2], protocol: Protocol, place: Place) -> Self {
        let none = Self::none(source);
        Self { key: FlowKey { source, destination, protocol, ..none.key }, place, ..none }
    }
}

/// What a transport header says, `l4` being all of its packet.
#[inline(always)]
fn read_l4<A>(l4: &[u8], flow: &mut Flow<A>) -> Option<()> {
    let header_len = match flow.key.protocol {
        Protocol::UDP => {
            let udp = Udp::parse(l4).ok()?;
            flow.key.source_port = udp.source_port();
            flow.key.destination_port = udp.destination_port();
            udp::HEADER_LEN
        }
        Protocol::TCP => {
            let tcp = Tcp::parse(l4).ok()?;
            flow.key.source_port = tcp.source_port();
            flow.key.destination_port = tcp.destination_port();
            flow.flags = Some(tcp.flags());
            tcp.header_len()
        }
        _ => return None,
    };
    flow.headers_len = flow.place.l4 + header_len as u16;
    Some(())
}

/// Two bytes of a header in network byte order.
#[inline(always)]
const fn word(header: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([header[at], header[at + 1]])
}

/// Version 4, and a header of five words.
const VERSION_AND_LEN_V4: u8 = 0x45;

/// Of the word of flags and offset (RFC 791 §3.1).
const DONT_FRAGMENT: u16 = 0x4000;
const MORE_OR_OFFSET: u16 = 0x3fff;
