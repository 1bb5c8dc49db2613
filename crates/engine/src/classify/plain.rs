//! The short way of hop 2. Most packets are UDP or TCP right behind an IP header of the shortest length, whole,
//! with nothing for a device to complete: their fields lie at fixed places. Whatever is not so, or not right, is
//! left to the long way, which says why. Both give the same answer
//! (`the_short_way_reads_what_the_long_way_reads`).

use std::net::{Ipv4Addr, Ipv6Addr};

use mooring_nat::rewrite::{PLAIN_V4, PLAIN_V6};
use mooring_packet::Packet;
use mooring_session::{FlowKey, Likely};
use mooring_wire::ethernet::{EtherType, HEADER_LEN};
use mooring_wire::tcp::{self, Flags};
use mooring_wire::{Mac, Protocol, checksum, ipv4, ipv6, udp};

use super::{Classified, Flow, Plain};

/// Reads a packet that arrived on a link where our address is `own`, if it is plain.
#[inline(always)]
pub(super) fn read(packet: &Packet<'_>, own: Mac, flows: &mut Classified) -> Plain {
    let frame = packet.bytes();
    let Some(link) = frame.first_chunk::<HEADER_LEN>() else { return Plain::No };
    if link[..OWN.len()] != own.0 || !packet.offload.is_complete() {
        return Plain::No;
    }
    let read = match EtherType(word(link, ETHER_TYPE)) {
        EtherType::IPV4 => (Plain::V4, read_v4(frame, &mut flows.v4)),
        EtherType::IPV6 => (Plain::V6, read_v6(frame, &mut flows.v6)),
        _ => return Plain::No,
    };
    match read {
        (plain, Some(())) => plain,
        (_, None) => Plain::No,
    }
}

#[inline(always)]
fn read_v4(frame: &[u8], flow: &mut Flow<Ipv4Addr>) -> Option<()> {
    let front = frame.first_chunk::<FRONT_V4>()?;
    let header: &[u8; ipv4::HEADER_LEN] = front[HEADER_LEN..].first_chunk()?;
    let ip_len = word(header, 2);
    let flags_and_offset = word(header, 6);
    // First of all: of a header of which the compiler knows a part it makes words out of bytes.
    let sum = checksum::sum_header_v4(header);
    if sum != 0xffff
        || header[0] != VERSION_AND_LEN_V4
        || usize::from(ip_len) > frame.len() - HEADER_LEN
        || flags_and_offset & MORE_OR_OFFSET != 0
    {
        return None;
    }
    let protocol = Protocol(header[9]);
    let l4_len = usize::from(ip_len).checked_sub(ipv4::HEADER_LEN)?;
    let l4 = &frame[usize::from(PLAIN_V4.l4)..];
    let address = |at: usize| Ipv4Addr::from_octets([0, 1, 2, 3].map(|byte| header[at + byte]));
    *flow = Flow {
        key: FlowKey {
            source: address(12),
            destination: address(16),
            source_port: word(front, usize::from(PLAIN_V4.l4)),
            destination_port: word(front, usize::from(PLAIN_V4.l4) + 2),
            vrf: 0,
            protocol,
            tag: 0,
        },
        hash: 0,
        likely: Likely::ABSENT,
        place: PLAIN_V4,
        flags: None,
        ttl: header[8],
        icmp_kind: 0,
        dont_fragment: flags_and_offset & DONT_FRAGMENT != 0,
        ip_len: ip_len.into(),
        headers_len: PLAIN_V4.l4 + udp::HEADER_LEN as u16,
    };
    read_l4(l4, l4_len, flow)
}

#[inline(always)]
fn read_v6(frame: &[u8], flow: &mut Flow<Ipv6Addr>) -> Option<()> {
    let front = frame.first_chunk::<FRONT_V6>()?;
    let header: &[u8; ipv6::HEADER_LEN] = front[HEADER_LEN..].first_chunk()?;
    let payload_len = usize::from(word(header, 4));
    let l4 = &frame[usize::from(PLAIN_V6.l4)..];
    if header[0] >> 4 != 6 || payload_len > l4.len() {
        return None;
    }
    let protocol = Protocol(header[6]);
    // RFC 8200 §8.1: it is not optional here.
    if protocol == Protocol::UDP && word(l4, 6) == 0 {
        return None;
    }
    let address =
        |at: usize| Ipv6Addr::from(std::array::from_fn::<u8, 16, _>(|byte| header[at + byte]));
    *flow = Flow {
        key: FlowKey {
            source: address(8),
            destination: address(24),
            source_port: word(front, usize::from(PLAIN_V6.l4)),
            destination_port: word(front, usize::from(PLAIN_V6.l4) + 2),
            vrf: 0,
            protocol,
            tag: 0,
        },
        hash: 0,
        likely: Likely::ABSENT,
        place: PLAIN_V6,
        flags: None,
        ttl: header[7],
        icmp_kind: 0,
        dont_fragment: true,
        ip_len: (ipv6::HEADER_LEN + payload_len) as u32,
        headers_len: PLAIN_V6.l4 + udp::HEADER_LEN as u16,
    };
    read_l4(l4, payload_len, flow)
}

/// The rest of a `flow` whose transport header is at the front of `l4`, of which `len` bytes belong to the packet
/// and as many are there: it was written as one of UDP.
#[inline(always)]
fn read_l4<A>(l4: &[u8], len: usize, flow: &mut Flow<A>) -> Option<()> {
    match flow.key.protocol {
        Protocol::UDP => {
            let says = usize::from(word(l4.first_chunk::<{ udp::HEADER_LEN }>()?, 4));
            if says < udp::HEADER_LEN || says > len {
                return None;
            }
            Some(())
        }
        Protocol::TCP => {
            let header = l4.first_chunk::<{ tcp::HEADER_LEN }>()?;
            let header_len = u16::from(header[12] >> 4 << 2);
            flow.flags = Some(Flags(header[13]));
            flow.headers_len = flow.place.l4 + header_len;
            let whole = tcp::HEADER_LEN..=len;
            whole.contains(&usize::from(header_len)).then_some(())
        }
        _ => None,
    }
}

/// Two bytes of `front` in network byte order.
#[inline(always)]
const fn word(front: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([front[at], front[at + 1]])
}

/// Up to the last field that every such packet has.
const FRONT_V4: usize = PLAIN_V4.l4 as usize + udp::HEADER_LEN;
const FRONT_V6: usize = PLAIN_V6.l4 as usize + udp::HEADER_LEN;

/// Of an Ethernet header.
const OWN: std::ops::Range<usize> = 0..size_of::<Mac>();
const ETHER_TYPE: usize = 12;

/// Version 4, and a header of five words.
const VERSION_AND_LEN_V4: u8 = 0x45;

/// Of the word of flags and offset (RFC 791 §3.1).
const DONT_FRAGMENT: u16 = 0x4000;
const MORE_OR_OFFSET: u16 = 0x3fff;
