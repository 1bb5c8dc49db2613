//! Frames of neighbours: ARP, neighbor discovery, pings by IPv6.

use std::net::{Ipv4Addr, Ipv6Addr};

use mooring_packet::Offload;
use mooring_policy::InterfaceId;
use mooring_wire::arp::{self, Arp};
use mooring_wire::ethernet::{self, EtherType, HEADER_LEN};
use mooring_wire::ndp::{
    Advertisement, MAX_LEN, Solicitation, emit_advertisement, emit_solicitation,
    solicited_node_group,
};
use mooring_wire::{Mac, Protocol, icmpv6, ipv6};

use super::{
    ANYBODY, Arguments, GATEWAY, Given, INSIDE, LINKS, MOVED, OUTSIDE, OWN, POOL, fill_checksums,
};

/// The questions by which neighbours become known: the gateways, a machine outside, four hosts inside
/// of each family.
pub(crate) fn introductions() -> impl Iterator<Item = (InterfaceId, Given)> {
    let near = Ipv4Addr::new(192, 0, 2, 55);
    let outside = [GATEWAY, near].map(|address| (OUTSIDE, address));
    let inside = (2..6).map(|last| (INSIDE, Ipv4Addr::new(10, 0, 0, last)));
    let v4 = outside.into_iter().chain(inside).map(|(link, address)| {
        let us = OWN[usize::from(link.0)];
        let frame = message(arp::REQUEST, (neighbour_mac(address), address), (ANYBODY, us));
        (link, Given { frame, offload: Offload::NONE, forged: false })
    });
    v4.chain(introductions_v6())
}

/// As [`introductions`].
fn introductions_v6() -> impl Iterator<Item = (InterfaceId, Given)> {
    let inside = (2..6).map(|last| (INSIDE, Ipv6Addr::new(0xfd00, 0x10, 0, 0, 0, 0, 0, last)));
    let gateway = (OUTSIDE, addresses_v6(OUTSIDE).1);
    std::iter::once(gateway).chain(inside).map(|(link, address)| {
        let mut frame = solicitation(NEIGHBOUR_V6, address, addresses_v6(link).0);
        fill_checksums(&mut frame);
        (link, Given { frame, offload: Offload::NONE, forged: false })
    })
}

/// The question of a neighbour for an address.
fn solicitation(mac: Mac, source: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    let mut frame = vec![0; HEADER_LEN + MAX_LEN];
    ethernet::emit(&mut frame, Mac::solicited_node(target), mac, EtherType::IPV6);
    let solicitation = Solicitation {
        source,
        destination: solicited_node_group(target),
        target,
        source_link_layer: (!source.is_unspecified()).then_some(mac),
    };
    let len = emit_solicitation(&mut frame[HEADER_LEN..], &solicitation);
    frame.truncate(HEADER_LEN + len);
    frame
}

/// The MAC of whoever has the address.
pub(super) fn neighbour_mac(address: Ipv4Addr) -> Mac {
    let [a, b, c, d] = address.octets();
    Mac([2, 0xee, a, b, c, d])
}

pub(super) fn question(link: InterfaceId, with: Arguments) -> Vec<u8> {
    let (own, other) = (OWN[usize::from(link.0)], OWN[usize::from(1 - link.0)]);
    let [a, b, c, _] = own.octets();
    let sender = match with.b & 15 {
        8 => Ipv4Addr::UNSPECIFIED,
        9 => own,
        10 => POOL[0],
        11 => other,
        last => Ipv4Addr::new(a, b, c, 2 + last),
    };
    let target = match with.c & 7 {
        0..3 => own,
        3 => POOL[0],
        4 => POOL[1],
        5 => other,
        _ => GATEWAY,
    };
    message(arp::REQUEST, (moved(neighbour_mac(sender), with), sender), (ANYBODY, target))
}

/// The answer to our last question, or one that nobody asked for.
pub(super) fn answer(link: InterfaceId, with: Arguments, asked: &[Option<Vec<u8>>; 2]) -> Vec<u8> {
    let question = asked[usize::from(link.0)].as_deref();
    let target =
        question.and_then(|frame| Some(Arp::parse(&frame[HEADER_LEN..]).ok()?.target_ip()));
    let sender = target.unwrap_or(GATEWAY);
    let us = (LINKS[usize::from(link.0)].mac, OWN[usize::from(link.0)]);
    message(arp::REPLY, (moved(neighbour_mac(sender), with), sender), us)
}

/// Another MAC for the same address, when bit 7 of `a` is set.
fn moved(mut mac: Mac, with: Arguments) -> Mac {
    mac.0[1] ^= with.a & MOVED;
    mac
}

fn message(operation: u16, sender: (Mac, Ipv4Addr), target: (Mac, Ipv4Addr)) -> Vec<u8> {
    let mut frame = vec![0; HEADER_LEN + arp::LEN];
    ethernet::emit(&mut frame, target.0, sender.0, EtherType::ARP);
    let emit = arp::Emit {
        operation,
        sender_mac: sender.0,
        sender_ip: sender.1,
        target_mac: target.0,
        target_ip: target.1,
    };
    emit.emit(&mut frame[HEADER_LEN..]);
    frame
}

/// Our address on the link and that of a neighbour.
fn addresses_v6(link: InterfaceId) -> (Ipv6Addr, Ipv6Addr) {
    let of = |last| match link {
        INSIDE => Ipv6Addr::new(0xfd00, 0x10, 0, 0, 0, 0, 0, last),
        _ => Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, last),
    };
    (of(1), of(2))
}

pub(super) fn ndp(link: InterfaceId, with: Arguments) -> Vec<u8> {
    let (own, neighbour) = addresses_v6(link);
    let target = if with.b & 1 == 0 { own } else { neighbour };
    let source = if with.b & 2 == 0 { neighbour } else { Ipv6Addr::UNSPECIFIED };
    let mac = moved(NEIGHBOUR_V6, with);
    if with.c & 1 == 0 {
        return solicitation(mac, source, target);
    }
    let mut frame = vec![0; HEADER_LEN + MAX_LEN];
    ethernet::emit(&mut frame, Mac::solicited_node(target), mac, EtherType::IPV6);
    let advertisement = Advertisement {
        source: neighbour,
        destination: own,
        target,
        target_link_layer: Some(mac),
        router: with.c & 2 != 0,
        solicited: with.c & 4 != 0,
        overrides: with.c & 8 != 0,
    };
    let len = emit_advertisement(&mut frame[HEADER_LEN..], &advertisement);
    frame.truncate(HEADER_LEN + len);
    frame
}

pub(super) fn ping_us_v6(link: InterfaceId, with: Arguments) -> Vec<u8> {
    let (own, neighbour) = addresses_v6(link);
    let len = icmpv6::HEADER_LEN + usize::from(with.d);
    let mut frame = vec![0; HEADER_LEN + ipv6::HEADER_LEN + len];
    ethernet::emit(&mut frame, LINKS[usize::from(link.0)].mac, NEIGHBOUR_V6, EtherType::IPV6);
    let header = ipv6::Emit {
        source: neighbour,
        destination: if with.b & 1 == 0 { own } else { addresses_v6(InterfaceId(1 - link.0)).0 },
        next_header: Protocol::ICMPV6,
        hop_limit: 64,
        traffic_class: 0,
        flow_label: 0,
        payload_len: len as u16,
    };
    header.emit(&mut frame[HEADER_LEN..]);
    let kind = if with.c & 1 == 0 { icmpv6::ECHO_REQUEST } else { icmpv6::ECHO_REPLY };
    frame[HEADER_LEN + ipv6::HEADER_LEN] = kind;
    frame
}

pub(super) const NEIGHBOUR_V6: Mac = Mac([2, 0xee, 6, 6, 6, 6]);
