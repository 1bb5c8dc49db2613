//! How a packet shows whose it is, and the numbers that its step gives it.

use std::collections::HashMap;
use std::net::IpAddr;

use super::bed::{Side, address, gateway, port};
use super::packets::{Datagram, ICMPV6, Message};
use super::sequence::{ACK, End, FIN, Protocol, SYN, Send, Sequence, Step, conversation};

/// Sequence and acknowledgement numbers that fit what was sent before.
pub(crate) fn numbers(sequence: &Sequence, at: usize, send: Send, flags: u8) -> (u32, u32) {
    let (inside, peer, outward) = conversation(send);
    let mut next = [1_000, 900_000];
    for step in &sequence.steps[..at] {
        let Step::Send(before) = step else { continue };
        let Protocol::Tcp { flags } = before.protocol else { continue };
        let (other_inside, other_peer, other_outward) = conversation(*before);
        if (other_inside, other_peer) == (inside, peer) {
            let marks = u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
            next[usize::from(!other_outward)] += PAYLOAD as u32 + marks;
        }
    }
    let (mine, theirs) = if outward { (next[0], next[1]) } else { (next[1], next[0]) };
    (mine, if flags & ACK == 0 { 0 } else { theirs })
}

/// The whole datagram, when this was its last piece.
pub(crate) fn put_together(
    pieces: &mut HashMap<(Side, IpAddr, IpAddr, u8, u32), Vec<Datagram>>,
    side: Side,
    datagram: Datagram,
) -> Option<Datagram> {
    if datagram.place == (0, false) {
        return Some(datagram);
    }
    let Datagram { source, target, protocol, identification, .. } = datagram;
    let key = (side, source, target, protocol, identification);
    let parts = pieces.entry(key).or_default();
    parts.push(datagram);
    parts.sort_by_key(|part| part.place.0);
    let mut body = Vec::new();
    for part in &*parts {
        if part.place.0 != body.len() {
            return None;
        }
        body.extend(&part.body);
    }
    if parts.last()?.place.1 {
        return None;
    }
    let first = pieces.remove(&key)?.into_iter().next()?;
    Some(Datagram { body, place: (0, false), ..first })
}

/// The sequence whose host a packet is for; every host is of one, but for the forwarded one, whose
/// ports are.
pub(crate) fn owner(datagram: &Datagram, side: Side) -> Option<u16> {
    let v6 = datagram.source.is_ipv6();
    let candidates: &[End] = match side {
        Side::Inside => &[End::A(0), End::B(0), End::S(0)],
        Side::Outside => &[End::P(0), End::Q(0)],
    };
    let number = match datagram.target {
        IpAddr::V4(target) => u16::from_be_bytes([target.octets()[2], target.octets()[3]]),
        IpAddr::V6(target) => target.segments()[7],
    };
    if candidates.iter().any(|end| address(*end, number, v6) == datagram.target) {
        return Some(number);
    }
    if datagram.target != address(End::F, 0, v6) {
        return None;
    }
    let port = match datagram.message() {
        Message::Udp { ports, .. } | Message::Tcp { ports, .. } => ports.1,
        Message::Error { quote, .. } => match Datagram::read(quote, true)?.message() {
            Message::Udp { ports, .. } | Message::Tcp { ports, .. } => ports.0,
            _ => return None,
        },
        _ => return None,
    };
    port.checked_sub(self::port(End::F, 0))
}

/// What neighbours say to each other.
pub(crate) fn is_of_the_link(datagram: &Datagram) -> bool {
    datagram.target.is_multicast()
        || datagram.protocol == ICMPV6 && matches!(datagram.body.first(), Some(133..=137))
}

pub(crate) fn name(of: IpAddr, number: u16, v6: bool) -> String {
    let ends = [
        ("A", End::A(0)),
        ("B", End::B(0)),
        ("S", End::S(0)),
        ("static S", End::Static(0)),
        ("F", End::F),
        ("forwarded F", End::Forward),
        ("P", End::P(0)),
        ("Q", End::Q(0)),
        ("pool", End::Pool(0)),
        ("router", End::Router),
    ];
    let end = ends.iter().find(|(_, end)| address(*end, number, v6) == of);
    if let Some((name, _)) = end {
        return (*name).to_owned();
    }
    match [Side::Inside, Side::Outside].into_iter().find(|side| gateway(*side, v6) == of) {
        Some(side) => format!("gateway {side:?}"),
        None => of.to_string(),
    }
}

/// Bytes that say whose and of which step they are.
pub(crate) fn payload(number: u16, at: usize, length: usize) -> Vec<u8> {
    let [high, low] = number.to_be_bytes();
    let mut bytes = vec![0x4d, 0x52, high, low, at as u8];
    bytes.extend((5..length).map(|position| (position % 251) as u8 ^ low));
    bytes.truncate(length);
    bytes
}

pub(crate) const PAYLOAD: usize = 24;
