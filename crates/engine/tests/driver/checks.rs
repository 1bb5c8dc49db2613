//! What must hold whatever happens. Checksums are summed by the slow form of RFC 1071.

use std::collections::HashMap;

use mooring_engine::{Engine, Link, Outbox};
use mooring_packet::Offload;
use mooring_policy::InterfaceId;
use mooring_session::Tick;
use mooring_wire::ethernet::{EtherType, Ethernet, HEADER_LEN};
use mooring_wire::ipv4::Ipv4;
use mooring_wire::{Mac, Protocol, checksum};

use super::frames::{Given, INSIDE_HOSTS, INSIDE_PREFIX};
use super::{LINKS, OUTSIDE, SESSIONS, SESSIONS_PER_SOURCE};

/// With nothing about to leave, every buffer is free or holds a packet that waits for a neighbour or
/// for its first piece.
pub(crate) fn buffers(engine: &Engine, outbox: &Outbox, total: usize) {
    let (small, large) = outbox.free();
    let waiting = held(engine) + engine.occupancy().waiting_fragments;
    assert_eq!(small + large + waiting, total, "no buffer is lost or made");
}

/// The tables agree with each other and keep the limits.
pub(crate) fn tables(engine: &Engine, now: Tick) {
    let occupancy = engine.occupancy();
    assert_eq!(occupancy.leased_ports, occupancy.mappings, "every lease belongs to a mapping");
    assert!(occupancy.mappings <= occupancy.sessions, "a mapping without a session ends");
    assert!(occupancy.sessions <= SESSIONS, "{} sessions", occupancy.sessions);
    let (sessions, _) = engine.sessions(now, 0);
    assert_eq!(sessions.len(), occupancy.sessions);
    let (mut outside_of, mut inside_of) = (HashMap::new(), HashMap::new());
    let (mut remotes, mut per_source) = (HashMap::new(), HashMap::new());
    for session in &sessions {
        let (inside, outside) =
            ((session.protocol, session.inside), (session.protocol, session.outside));
        // RFC 4787 REQ-1, and the other way round.
        assert_eq!(*outside_of.entry(inside).or_insert(outside), outside, "one outside end");
        assert_eq!(*inside_of.entry(outside).or_insert(inside), inside, "one inside end");
        assert_eq!(remotes.insert((outside, session.remote), ()), None, "a session is there once");
        let sessions = per_source.entry(session.inside.0).or_insert(0);
        *sessions += 1;
        assert!(*sessions <= SESSIONS_PER_SOURCE, "too many of {}", session.inside.0);
    }
}

/// A frame that left, for whatever reason. `forged`: what caused it already had an inside address
/// outside.
pub(crate) fn left(link: InterfaceId, frame: &[u8], offload: Offload, forged: bool) {
    let own = LINKS[usize::from(link.0)].mac;
    let ethernet = Ethernet::parse(frame).expect("a frame that leaves has a header");
    assert_eq!(ethernet.source(), own, "we send from our own address");
    assert!(ethernet.destination() != own && ethernet.destination() != Mac::ZERO, "{frame:02x?}");
    if ethernet.ether_type() == EtherType::IPV4 {
        let ip = Ipv4::parse(ethernet.payload()).expect("what leaves is well-formed");
        assert!(ip.checksum_is_valid() && ip.ttl() > 0, "{frame:02x?}");
    }
    if link == OUTSIDE && !forged {
        assert!(!shows_inside(frame), "an inside address outside: {frame:02x?} {offload:?}");
    }
}

/// A packet that goes from one link to the other, as it came and as it leaves.
pub(crate) fn translated(given: &Given, after: &[u8], egress: &Link) {
    let partial = given.offload.partial().is_some();
    let before = Ipv4::parse(&given.frame[HEADER_LEN..]).expect("it was translated");
    let now = Ipv4::parse(&after[HEADER_LEN..]).expect("it is translated");
    assert_eq!(now.ttl(), before.ttl() - 1);
    assert_eq!(after.len(), HEADER_LEN + usize::from(now.total_len()), "nothing follows it");
    assert_eq!((now.protocol(), now.total_len()), (before.protocol(), before.total_len()));
    if given.offload.is_gso() {
        assert!(given.offload.gso_size() < egress.mtu, "a segment fits the link");
    } else {
        assert!(now.total_len() <= egress.mtu, "a packet fits the link");
    }
    if now.fragment_offset() != 0 {
        assert_eq!(before.payload(), now.payload(), "a later piece has no L4 header");
        return;
    }
    let (before, now) = (residue(&before, partial), residue(&now, partial));
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
fn residue(ip: &Ipv4<&[u8]>, partial: bool) -> Option<u16> {
    let l4 = ip.payload();
    let len = l4.len() as u16;
    let pseudo = checksum::pseudo_v4(ip.source(), ip.destination(), ip.protocol(), len);
    let at = match ip.protocol() {
        Protocol::TCP => 16,
        Protocol::UDP => 6,
        _ => return Some(checksum::rfc1071(l4) % 0xffff),
    };
    let field = u16::from_be_bytes([l4[at], l4[at + 1]]);
    match (partial, ip.protocol()) {
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
    let chance = (frame[12..14] == [8, 0] && frame[23] == Protocol::ICMP.0).then_some(36);
    front.windows(4).enumerate().any(|(at, window)| {
        window[..3] == INSIDE_PREFIX && INSIDE_HOSTS.contains(&window[3]) && Some(at) != chance
    })
}
