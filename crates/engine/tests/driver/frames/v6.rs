//! Packets of IPv6: the same hosts, remotes and ports as those of IPv4.

use std::net::Ipv6Addr;

use mooring_policy::InterfaceId;
use mooring_wire::ethernet::{self, EtherType, HEADER_LEN};
use mooring_wire::icmpv6::{self, Icmpv6};
use mooring_wire::ipv6::fragment::{self, Fragment};
use mooring_wire::ipv6::{self, Ipv6};
use mooring_wire::tcp::Tcp;
use mooring_wire::udp::Udp;
use mooring_wire::{Protocol, checksum};

use super::link_layer::NEIGHBOUR_V6;
use super::{Arguments, INSIDE, LINKS, Memory, OUTSIDE, PAYLOAD, nth};

/// A packet between the hosts of `a`.
pub(super) fn ip(link: InterfaceId, with: Arguments, protocol: Protocol, l4: &[u8]) -> Vec<u8> {
    let inside = host(2 + u16::from(with.a & 7));
    let remote = match u16::from(with.a >> 4 & 7) {
        far @ 0..5 => Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 7 + far),
        near => Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 50 + near),
    };
    let to_us = match with.a & 7 {
        5 => ONE,
        6 => Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1),
        7 => inside,
        _ => POOL,
    };
    let forged = with.a & 0x88 == 0x88;
    let ends = if (link == INSIDE) != forged { (inside, remote) } else { (remote, to_us) };
    between(link, with, ends, protocol, l4)
}

fn between(
    link: InterfaceId,
    with: Arguments,
    (source, destination): (Ipv6Addr, Ipv6Addr),
    protocol: Protocol,
    l4: &[u8],
) -> Vec<u8> {
    let hop_limit = match with.b >> 4 {
        12 => 255,
        13 => 0,
        14 => 2,
        15 => 1,
        _ => 64,
    };
    let mut frame = vec![0; HEADER_LEN + ipv6::HEADER_LEN];
    let us = LINKS[usize::from(link.0)].mac;
    ethernet::emit(&mut frame, us, NEIGHBOUR_V6, EtherType::IPV6);
    let header = ipv6::Emit {
        source,
        destination,
        next_header: protocol,
        hop_limit,
        traffic_class: 0,
        flow_label: 0,
        payload_len: l4.len() as u16,
    };
    header.emit(&mut frame[HEADER_LEN..]);
    frame.extend(l4);
    frame
}

pub(super) fn ping(with: Arguments, payload: &[u8]) -> Vec<u8> {
    [&[icmpv6::ECHO_REQUEST, 0, 0, 0, 3, with.b & 15, 1, 1], payload].concat()
}

pub(super) fn piece(link: InterfaceId, with: Arguments) -> Vec<u8> {
    let (place, l4) = super::piece(link, with);
    let more = u8::from(with.c & 0x10 == 0);
    let header = [Protocol::UDP.0, 0, 0, (16 * place) | more, 0x4d, 0, 0, with.c >> 5];
    ip(link, with, Protocol::FRAGMENT, &[&header[..], &l4].concat())
}

/// The answer to what left by the link, a first piece too: ends exchanged, a ping become its reply.
pub(super) fn answer(link: InterfaceId, with: Arguments, memory: &Memory) -> Option<Vec<u8>> {
    let left = nth(&memory.left_v6, link, with.a)?;
    let asked = Ipv6::parse(&left[HEADER_LEN..]).ok()?;
    let ends = (asked.destination(), asked.source());
    let (protocol, at) = l4_of(&asked)?;
    let mut payload = asked.payload().to_vec();
    let l4 = &mut payload[at..];
    match protocol {
        Protocol::ICMPV6 if l4[0] == icmpv6::ECHO_REQUEST => l4[0] = icmpv6::ECHO_REPLY,
        Protocol::UDP => l4[..4].rotate_left(2),
        Protocol::TCP => {
            l4[..4].rotate_left(2);
            l4[13] = with.c >> 2;
        }
        _ => {}
    }
    Some(between(link, with, ends, asked.next_header(), &payload))
}

/// An error about what left by the link, from its other end or, by `b`, from somebody else.
pub(super) fn error(link: InterfaceId, with: Arguments, memory: &Memory) -> Option<Vec<u8>> {
    let left = nth(&memory.left_v6, link, with.a)?;
    let len = left.len().min(HEADER_LEN + ipv6::HEADER_LEN + 8 + usize::from(with.d & 63));
    let quoted = Ipv6::parse(&left[HEADER_LEN..]).ok()?;
    let source = match (with.b & 3, link) {
        (0, _) => quoted.destination(),
        (1, INSIDE) => host(9),
        (2, _) => host(3),
        _ => Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 0x99),
    };
    let (kind, code) = [(1, 4), (2, 0), (3, 0), (4, 0)][usize::from(with.c & 3)];
    let [high, low] = [1300_u16, 1280, 1279, 0][usize::from(with.d >> 6)].to_be_bytes();
    let l4 = [&[kind, code, 0, 0, 0, 0, high, low], &left[HEADER_LEN..len]].concat();
    Some(between(link, with, (source, quoted.source()), Protocol::ICMPV6, &l4))
}

/// Whether a packet that left is one that an answer can be made of: not of the link alone, and no
/// later piece.
pub(super) fn is_translated(frame: &[u8]) -> bool {
    let ip = Ipv6::parse(&frame[HEADER_LEN..]).expect("what leaves is well-formed");
    match l4_of(&ip) {
        Some((Protocol::ICMPV6, at)) => ip.payload()[at] < 130,
        Some((protocol, _)) => protocol == Protocol::UDP || protocol == Protocol::TCP,
        None => false,
    }
}

/// What the packet is, or the packet whose first piece this is, and where in the payload the header of
/// that lies. `None` in a later piece, and where the headers cannot be walked.
pub(crate) fn l4_of(ip: &Ipv6<&[u8]>) -> Option<(Protocol, usize)> {
    let (protocol, at) = ip.upper_layer().ok()?;
    let at = at - ipv6::HEADER_LEN;
    if protocol != Protocol::FRAGMENT {
        return Some((protocol, at));
    }
    let piece = Fragment::parse(&ip.payload()[at..]).ok()?;
    let behind = at + fragment::HEADER_LEN;
    let (protocol, len) =
        ipv6::upper_layer_of(piece.next_header(), &ip.payload()[behind..]).ok()?;
    (piece.offset() == 0).then_some((protocol, behind + len))
}

/// As `frames::wash`.
pub(super) fn wash(link: InterfaceId, frame: &mut [u8]) -> bool {
    let byte = |at: usize| frame.get(at).copied().unwrap_or(0);
    let places: &[usize] = match (byte(20), byte(54)) {
        (58, 1..=4) => &[22, 38, 86],
        (58, 133..=137) => &[22, 38, 62],
        _ => &[22, 38],
    };
    let mut forged = false;
    for at in 0..frame.len().saturating_sub(7) {
        if frame[at..at + 8] == INSIDE_PREFIX {
            match places.contains(&at) {
                true => forged |= link == OUTSIDE,
                false => frame[at] = PAYLOAD,
            }
        }
    }
    forged
}

/// Makes the checksums right, as far as there are whole headers.
pub(super) fn fill(packet: &mut [u8]) {
    let Some((protocol, at)) = Ipv6::parse(&*packet).ok().and_then(|ip| l4_of(&ip)) else { return };
    let Ok(mut ip) = Ipv6::parse(packet) else { return };
    let (source, destination) = (ip.source(), ip.destination());
    let l4 = &mut ip.payload_mut()[at..];
    let pseudo = checksum::pseudo_v6(source, destination, protocol, l4.len() as u32);
    match protocol {
        Protocol::TCP => {
            if let Ok(mut tcp) = Tcp::parse(l4) {
                tcp.fill_checksum(pseudo);
            }
        }
        Protocol::UDP => {
            if let Ok(mut udp) = Udp::parse(l4) {
                udp.fill_checksum(pseudo);
            }
        }
        Protocol::ICMPV6 => {
            if let Ok(mut icmp) = Icmpv6::parse(l4) {
                icmp.fill_checksum(source, destination);
            }
        }
        _ => {}
    }
}

const fn host(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0x10, 0, 0, 0, 0, 0, last)
}

/// Of every address inside.
pub(crate) const INSIDE_PREFIX: [u8; 8] = [0xfd, 0, 0, 0x10, 0, 0, 0, 0];
const POOL: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xff, 0, 0, 0, 0, 0x10);
const ONE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xff, 0, 0, 0, 0, 0x20);
