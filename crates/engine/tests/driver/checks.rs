//! What must hold whatever happens. Checksums are summed by the slow form of RFC 1071.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use mooring_engine::{Engine, Link, Outbox};
use mooring_packet::Offload;
use mooring_policy::{InterfaceId, Policy};
use mooring_session::Tick;
use mooring_wire::ethernet::{EtherType, Ethernet, HEADER_LEN};
use mooring_wire::ipv4::Ipv4;
use mooring_wire::ipv6::Ipv6;
use mooring_wire::ipv6::fragment::{self, Fragment};
use mooring_wire::{Mac, Protocol, checksum, ipv6};

use super::frames::{Given, INSIDE_HOSTS, INSIDE_PREFIX, INSIDE_PREFIX_V6, l4_of_v6};
use super::policies::ENDPOINT_DEPENDENT_RULE;
use super::{LINKS, OUTSIDE, SESSIONS, SESSIONS_PER_SOURCE};

/// With nothing about to leave, every buffer is free or holds a packet that waits for a neighbour or
/// for its first piece.
pub(crate) fn buffers(engine: &Engine, outbox: &Outbox, total: usize) {
    let (small, large) = outbox.free();
    let waiting = held(engine) + engine.occupancy().waiting_fragments;
    assert_eq!(small + large + waiting, total, "no buffer is lost or made");
}

/// The tables of each engine agree with each other and keep the limits, and those of all make no
/// outside end stand for two. `sweeping`: sessions of policies before may still be there.
pub(crate) fn tables<'e>(
    engines: impl Iterator<Item = &'e Engine> + Clone,
    now: Tick,
    sweeping: bool,
) {
    let mut sessions = Vec::new();
    for (worker, engine) in engines.enumerate() {
        let occupancy = engine.occupancy();
        assert_eq!(occupancy.leased_ports, occupancy.mappings, "every lease belongs to a mapping");
        assert!(occupancy.mappings <= occupancy.sessions, "a mapping without a session ends");
        let before = sessions.len();
        let (of_v4, next) = engine.sessions(now, 0);
        let (of_v6, _) = engine.sessions(now, next.expect("those of IPv6 follow"));
        for family in [of_v4, of_v6] {
            assert!(family.len() <= SESSIONS, "{} sessions", family.len());
            sessions.extend(family.into_iter().map(|session| (worker, session)));
        }
        assert_eq!(sessions.len() - before, occupancy.sessions);
        let mut per_source = HashMap::new();
        for (_, session) in sessions[before..].iter().filter(|(_, session)| session.begun_inside) {
            let sessions = per_source.entry(session.inside.0).or_insert(0);
            *sessions += 1;
            assert!(*sessions <= SESSIONS_PER_SOURCE, "too many of {}", session.inside.0);
        }
    }
    let (mut outside_of, mut inside_of) = (HashMap::new(), HashMap::new());
    let mut remotes = HashMap::new();
    for (worker, session) in &sessions {
        // What a policy before has begun no longer passes packets, but may have a port that is another
        // worker's by now.
        let worker = if sweeping { *worker } else { 0 };
        let (inside, outside) =
            ((session.protocol, session.inside), (session.protocol, session.outside));
        let known = remotes.insert((worker, outside, session.remote), session);
        assert!(known.is_none(), "an outside tuple is there once: {known:?} {session:?}");
        if sweeping || session.rule.starts_with(ENDPOINT_DEPENDENT_RULE) {
            continue;
        }
        // RFC 4787 REQ-1, and the other way round. What a host begins itself does not take the end
        // that a rule gives to its server.
        let end = outside_of.entry((inside, session.rule.as_str())).or_insert(outside);
        assert_eq!(*end, outside, "one outside end");
        assert_eq!(*inside_of.entry(outside).or_insert(inside), inside, "one inside end");
    }
}

/// Whoever says that an address is at our MAC address owns it: nothing is answered for foreign ones.
fn is_ours((policy, link): (&Policy, InterfaceId), frame: &[u8]) {
    let address = match (&frame[12..14], frame.get(54)) {
        ([8, 6], _) => IpAddr::V4(Ipv4Addr::from_octets(bytes(frame, 28))),
        ([0x86, 0xdd], Some(&NEIGHBOR_ADVERTISEMENT)) if frame[20] == Protocol::ICMPV6.0 => {
            IpAddr::V6(Ipv6Addr::from_octets(bytes(frame, 62)))
        }
        _ => return,
    };
    // A probe names nobody (RFC 5227 §1.1).
    let nobodys = match address {
        IpAddr::V4(v4) => v4.is_unspecified(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    assert!(nobodys || policy.answers_for(link, address), "{address} is not ours");
}

fn bytes<const N: usize>(frame: &[u8], at: usize) -> [u8; N] {
    *frame[at..].first_chunk().expect("what we say is whole")
}

/// A frame that left, for whatever reason. `forged`: what caused it already had an inside address
/// outside.
pub(crate) fn left(
    (policy, link): (&Policy, InterfaceId),
    frame: &[u8],
    offload: Offload,
    forged: bool,
) {
    is_ours((policy, link), frame);
    let own = LINKS[usize::from(link.0)].mac;
    let ethernet = Ethernet::parse(frame).expect("a frame that leaves has a header");
    assert_eq!(ethernet.source(), own, "we send from our own address");
    assert!(ethernet.destination() != own && ethernet.destination() != Mac::ZERO, "{frame:02x?}");
    if ethernet.ether_type() == EtherType::IPV4 {
        let ip = Ipv4::parse(ethernet.payload()).expect("what leaves is well-formed");
        assert!(ip.checksum_is_valid() && ip.ttl() > 0, "{frame:02x?}");
    }
    if ethernet.ether_type() == EtherType::IPV6 {
        let ip = Ipv6::parse(ethernet.payload()).expect("what leaves is well-formed");
        assert!(ip.hop_limit() > 0, "{frame:02x?}");
    }
    if link == OUTSIDE && !forged {
        assert!(!shows_inside(frame), "an inside address outside: {frame:02x?} {offload:?}");
    }
}

/// A packet that goes from one link to the other, as it came and as it leaves: of a super-packet that routers
/// may cut the segments may have become shorter.
pub(crate) fn translated(given: &Given, (after, offload): (&[u8], Offload), egress: &Link) {
    if given.frame[12..14] == [0x86, 0xdd] {
        return translated_v6(given, after, egress);
    }
    let partial = given.offload.partial().is_some();
    let before = Ipv4::parse(&given.frame[HEADER_LEN..]).expect("it was translated");
    let now = Ipv4::parse(&after[HEADER_LEN..]).expect("it is translated");
    assert_eq!(now.ttl(), before.ttl() - 1);
    assert_eq!(after.len(), HEADER_LEN + usize::from(now.total_len()), "nothing follows it");
    assert_eq!((now.protocol(), now.total_len()), (before.protocol(), before.total_len()));
    assert_eq!(offload.is_gso(), given.offload.is_gso());
    if offload.is_gso() {
        assert!(offload.gso_size() < egress.mtu, "a segment fits the link");
    } else {
        assert!(now.total_len() <= egress.mtu, "a packet fits the link");
    }
    if now.fragment_offset() != 0 {
        assert_eq!(before.payload(), now.payload(), "a later piece has no L4 header");
        return;
    }
    let (before, now) = (residue_v4(&before, partial), residue_v4(&now, partial));
    assert_eq!(before, now, "a right checksum stays right, a wrong one wrong: {after:02x?}");
}

/// As [`translated`].
fn translated_v6(given: &Given, after: &[u8], egress: &Link) {
    let before = Ipv6::parse(&given.frame[HEADER_LEN..]).expect("it was translated");
    let now = Ipv6::parse(&after[HEADER_LEN..]).expect("it is translated");
    assert_eq!(now.hop_limit(), before.hop_limit() - 1);
    assert_eq!(
        (now.next_header(), now.payload_len()),
        (before.next_header(), before.payload_len())
    );
    let len = ipv6::HEADER_LEN + usize::from(now.payload_len());
    assert_eq!(after.len(), HEADER_LEN + len, "nothing follows it");
    assert!(given.offload.is_gso() || len <= usize::from(egress.mtu), "a packet fits the link");
    if let Some(piece) = later_piece(&now) {
        assert_eq!(later_piece(&before), Some(piece), "a later piece has no L4 header");
        return;
    }
    let (before, now) = (residue_v6(&before), residue_v6(&now));
    assert_eq!(before, now, "a right checksum stays right, a wrong one wrong: {after:02x?}");
}

/// After everything has ended.
pub(crate) fn nothing_is_left(engine: &Engine, outbox: &Outbox, buffers: (usize, usize)) {
    let occupancy = engine.occupancy();
    let left = (occupancy.sessions, occupancy.mappings, occupancy.leased_ports, held(engine));
    assert_eq!(left, (0, 0, 0, 0), "sessions, mappings, leases, packets that wait");
    let pieces = (occupancy.fragmented, occupancy.waiting_fragments);
    assert_eq!(pieces, (0, 0), "packets in pieces, pieces that wait");
    assert_eq!(outbox.free(), buffers);
    let users = engine.neighbours().entries().map(|entry| entry.users).sum::<u32>();
    assert_eq!(users, 0, "no session counts on a neighbour");
    let counters = &engine.counters;
    assert_eq!(counters.sessions_created, counters.sessions_expired + counters.sessions_ended);
}

/// By how much the L4 checksum is wrong; `None` when a datagram has none. Translation may not change
/// it. A partial checksum is compared with the pseudo-header that it stands for.
fn residue_v4(ip: &Ipv4<&[u8]>, partial: bool) -> Option<u16> {
    let l4 = ip.payload();
    let len = l4.len() as u16;
    let pseudo = checksum::pseudo_v4(ip.source(), ip.destination(), ip.protocol(), len);
    residue(ip.protocol(), l4, pseudo, partial)
}

/// As [`residue_v4`].
fn residue_v6(ip: &Ipv6<&[u8]>) -> Option<u16> {
    let (protocol, at) = l4_of_v6(ip).expect("it was translated");
    let l4 = &ip.payload()[at..];
    let pseudo = checksum::pseudo_v6(ip.source(), ip.destination(), protocol, l4.len() as u32);
    match protocol {
        Protocol::ICMPV6 => Some(checksum::add(checksum::rfc1071(l4), pseudo) % 0xffff),
        _ => residue(protocol, l4, pseudo, false),
    }
}

/// What translation leaves alone of a later piece: all but the identification (RFC 8200 §4.5). `None`
/// when it is none.
fn later_piece<'i>(ip: &'i Ipv6<&[u8]>) -> Option<(u16, bool, Protocol, &'i [u8])> {
    let (Protocol::FRAGMENT, at) = ip.upper_layer().expect("it was translated") else {
        return None;
    };
    let (header, behind) = ip.payload()[at - ipv6::HEADER_LEN..].split_at(fragment::HEADER_LEN);
    let piece = Fragment::parse(header).expect("it was translated");
    let known = (piece.offset(), piece.more(), piece.next_header(), behind);
    (piece.offset() != 0).then_some(known)
}

fn residue(protocol: Protocol, l4: &[u8], pseudo: u16, partial: bool) -> Option<u16> {
    let at = match protocol {
        Protocol::TCP => 16,
        Protocol::UDP => 6,
        _ => return Some(checksum::rfc1071(l4) % 0xffff),
    };
    let field = u16::from_be_bytes([l4[at], l4[at + 1]]);
    match (partial, protocol) {
        (true, _) => Some(checksum::add(field, !pseudo) % 0xffff),
        (false, Protocol::UDP) if field == 0 => None,
        (false, _) => Some(checksum::add(checksum::rfc1071(l4), pseudo) % 0xffff),
    }
}

/// Packets that wait for a neighbour.
fn held(engine: &Engine) -> usize {
    engine.neighbours().entries().map(|entry| usize::from(entry.held)).sum()
}

/// Whether an address of a host inside stands in the front of a frame. The checksum and identifier of
/// an ICMP message may look like one by chance.
fn shows_inside(frame: &[u8]) -> bool {
    let front = &frame[..frame.len().min(128)];
    if frame[12..14] == [0x86, 0xdd] {
        return front.windows(8).any(|window| window == INSIDE_PREFIX_V6);
    }
    let chance = (frame[12..14] == [8, 0] && frame[23] == Protocol::ICMP.0).then_some(36);
    front.windows(4).enumerate().any(|(at, window)| {
        window[..3] == INSIDE_PREFIX && INSIDE_HOSTS.contains(&window[3]) && Some(at) != chance
    })
}

const NEIGHBOR_ADVERTISEMENT: u8 = 136;
