//! Hop 4: the only code that changes a translated packet.
//!
//! The packet is edited in place: address, port or identifier, TTL, and the checksums that cover
//! them, by the deltas that the session stores. Nothing is rebuilt and no payload is read.

use std::net::{Ipv4Addr, Ipv6Addr};

use mooring_session::{Direction, Session};
use mooring_wire::checksum::{Delta, apply, apply_and_hop, apply_icmpv4, apply_partial, apply_udp};
use mooring_wire::{Protocol, ipv4, ipv6};

/// Where the headers of a packet begin, in bytes from the start of the frame. Made by whoever parsed
/// the packet: both headers lie wholly in the frame, the L4 one with at least the bytes of
/// [`min_l4_len`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The IP header.
    pub l3: u16,
    /// The transport header: behind options or extension headers.
    pub l4: u16,
}

/// Where the headers of a packet without options, or extension headers, lie behind an Ethernet header.
pub const PLAIN_V4: Place = Place { l3: 14, l4: 34 };
/// As [`PLAIN_V4`], of IPv6.
pub const PLAIN_V6: Place = Place { l3: 14, l4: 54 };

/// Translates an IPv4 packet of `session` that travels in `direction`, and takes one from its TTL.
///
/// `partial` says that the L4 checksum is still to be completed by a device (NEEDS_CSUM): its field
/// then holds the sum of the pseudo-header alone, so that only the change of address counts.
///
/// # Panics
/// When `place` does not keep the promises of [`Place`].
#[inline(always)]
pub fn rewrite_v4(
    frame: &mut [u8],
    place: Place,
    session: &Session<Ipv4Addr>,
    direction: Direction,
    partial: bool,
) {
    let (l3, l4) = frame.split_at_mut(usize::from(place.l4));
    let address_delta = edit_header_v4(&mut l3[usize::from(place.l3)..], session, direction);
    rewrite_l4(l4, session, direction, partial.then_some(address_delta));
}

/// Translates an IPv6 packet of `session` that travels in `direction`, and takes one from its hop
/// limit. `partial` is as in [`rewrite_v4`].
///
/// A UDP checksum of zero is not allowed here (RFC 8200 §8.1); such a packet stays what it is.
///
/// # Panics
/// When `place` does not keep the promises of [`Place`].
#[inline]
pub fn rewrite_v6(
    frame: &mut [u8],
    place: Place,
    session: &Session<Ipv6Addr>,
    direction: Direction,
    partial: bool,
) {
    let (l3, l4) = frame.split_at_mut(usize::from(place.l4));
    let address_delta = edit_header_v6(&mut l3[usize::from(place.l3)..], session, direction);
    rewrite_l4(l4, session, direction, partial.then_some(address_delta));
}

/// As [`rewrite_v4`], of a UDP or TCP packet whose headers lie at [`PLAIN_V4`] and whose checksum is complete: at
/// fixed places. Its TTL is not 0.
///
/// # Panics
/// When the headers do not lie wholly in the frame.
#[inline(always)]
pub fn rewrite_plain_v4(frame: &mut [u8], session: &Session<Ipv4Addr>, direction: Direction) {
    let (l3, l4) = frame.split_at_mut(usize::from(PLAIN_V4.l4));
    let header = header_v4(&mut l3[usize::from(PLAIN_V4.l3)..]);
    let address_delta = edit_address_v4(header, session, direction);
    header.decrement_ttl();
    header.set_checksum(apply_and_hop(header.checksum(), address_delta));
    rewrite_plain_l4(l4, session, direction);
}

/// As [`rewrite_plain_v4`], of IPv6.
///
/// # Panics
/// When the headers do not lie wholly in the frame.
#[inline(always)]
pub fn rewrite_plain_v6(frame: &mut [u8], session: &Session<Ipv6Addr>, direction: Direction) {
    let (l3, l4) = frame.split_at_mut(usize::from(PLAIN_V6.l4));
    edit_header_v6(&mut l3[usize::from(PLAIN_V6.l3)..], session, direction);
    rewrite_plain_l4(l4, session, direction);
}

/// Translates a piece of an IPv4 packet that is not its first one: it has an IP header and nothing
/// else that translation knows. `l3` is where that lies, in bytes from the start of the frame.
///
/// # Panics
/// When the header does not lie wholly in the frame.
pub fn rewrite_fragment_v4(
    frame: &mut [u8],
    l3: u16,
    session: &Session<Ipv4Addr>,
    direction: Direction,
) {
    edit_header_v4(&mut frame[usize::from(l3)..], session, direction);
}

/// Translates a piece of an IPv6 packet that is not its first one; see [`rewrite_fragment_v4`].
///
/// # Panics
/// When the header does not lie wholly in the frame.
pub fn rewrite_fragment_v6(
    frame: &mut [u8],
    l3: u16,
    session: &Session<Ipv6Addr>,
    direction: Direction,
) {
    edit_header_v6(&mut frame[usize::from(l3)..], session, direction);
}

/// Gives one to the TTL, and to the checksum what that takes. A hairpinned packet is rewritten
/// twice, but it has passed one hop.
///
/// # Panics
/// When the header at `l3` does not lie wholly in the frame.
pub fn give_hop_back_v4(frame: &mut [u8], l3: u16) {
    let header = header_v4(&mut frame[usize::from(l3)..]);
    let ttl_delta = header.increment_ttl();
    header.set_checksum(apply(header.checksum(), ttl_delta));
}

/// Gives one to the hop limit; see [`give_hop_back_v4`].
///
/// # Panics
/// When the header at `l3` does not lie wholly in the frame.
pub fn give_hop_back_v6(frame: &mut [u8], l3: u16) {
    header_v6(&mut frame[usize::from(l3)..]).increment_hop_limit();
}

/// Bytes of the L4 header that translation reads or writes; a shorter one is malformed.
#[inline]
#[must_use]
pub const fn min_l4_len(protocol: Protocol) -> usize {
    match protocol {
        Protocol::TCP => 20,
        Protocol::SCTP => 12,
        Protocol::UDP | Protocol::ICMP | Protocol::ICMPV6 => 8,
        Protocol::UDP_LITE | Protocol::DCCP => 8,
        _ => 0,
    }
}

/// Edits what an IPv4 header says: address, TTL, checksum. The delta of the address is what a sum
/// over the pseudo-header changes by.
#[inline]
fn edit_header_v4(bytes: &mut [u8], session: &Session<Ipv4Addr>, direction: Direction) -> Delta {
    let header = header_v4(bytes);
    let address_delta = edit_address_v4(header, session, direction);
    let ttl_delta = header.decrement_ttl();
    header.set_checksum(apply(header.checksum(), address_delta.plus(ttl_delta)));
    address_delta
}

/// Writes the address that the other side knows; what a sum over it changes by is returned.
#[inline(always)]
fn edit_address_v4(
    header: &mut ipv4::Header,
    session: &Session<Ipv4Addr>,
    direction: Direction,
) -> Delta {
    match direction {
        Direction::Forward => {
            header.set_source(session.outside);
            session.address_delta
        }
        Direction::Reverse => {
            header.set_destination(session.inside);
            session.address_delta.inverse()
        }
    }
}

/// Edits what an IPv6 header says: address and hop limit. It has no checksum (RFC 8200 §3).
#[inline]
fn edit_header_v6(bytes: &mut [u8], session: &Session<Ipv6Addr>, direction: Direction) -> Delta {
    let header = header_v6(bytes);
    header.decrement_hop_limit();
    match direction {
        Direction::Forward => {
            header.set_source(session.outside);
            session.address_delta
        }
        Direction::Reverse => {
            header.set_destination(session.inside);
            session.address_delta.inverse()
        }
    }
}

#[inline]
pub(crate) fn header_v4(bytes: &mut [u8]) -> &mut ipv4::Header {
    ipv4::Header::mut_at_front(bytes).expect("the packet was parsed: its IPv4 header is whole")
}

#[inline]
pub(crate) fn header_v6(bytes: &mut [u8]) -> &mut ipv6::Header {
    ipv6::Header::mut_at_front(bytes).expect("the packet was parsed: its IPv6 header is whole")
}

/// Writes the port or identifier and adjusts the checksum. `partial` is the delta of the addresses
/// when the field holds the sum of the pseudo-header alone.
#[inline(always)]
fn rewrite_l4<A>(
    l4: &mut [u8],
    session: &Session<A>,
    direction: Direction,
    partial: Option<Delta>,
) {
    let Some(shape) = Shape::of(session.protocol) else { return };
    let (at, port, l4_delta) = match direction {
        Direction::Forward => (shape.source, session.outside_port, session.l4_delta),
        Direction::Reverse => (shape.destination, session.inside_port, session.l4_delta.inverse()),
    };
    // An ICMP identifier that stays may be the remote end's: a query from outside (see `FlowKey`).
    if session.inside_port != session.outside_port {
        l4[at..at + 2].copy_from_slice(&port.to_be_bytes());
    }
    let field = &mut l4[shape.checksum..shape.checksum + 2];
    let old = u16::from_be_bytes([field[0], field[1]]);
    let new = match partial {
        Some(address_delta) => apply_partial(old, address_delta),
        None => apply_l4(session.protocol, old, l4_delta),
    };
    field.copy_from_slice(&new.to_be_bytes());
}

/// As [`rewrite_l4`] of a UDP or TCP header, without its other questions.
#[inline(always)]
fn rewrite_plain_l4<A>(l4: &mut [u8], session: &Session<A>, direction: Direction) {
    match session.protocol {
        Protocol::UDP => edit_l4(l4, session, direction, &UDP, apply_udp),
        _ => edit_l4(l4, session, direction, &TCP, apply),
    }
}

/// Writes the port, and what `apply` makes of the checksum.
#[inline(always)]
fn edit_l4<A>(
    l4: &mut [u8],
    session: &Session<A>,
    direction: Direction,
    shape: &Shape,
    apply: impl Fn(u16, Delta) -> u16,
) {
    let (at, port, delta) = match direction {
        Direction::Forward => (shape.source, session.outside_port, session.l4_delta),
        Direction::Reverse => (shape.destination, session.inside_port, session.l4_delta.inverse()),
    };
    l4[at..at + 2].copy_from_slice(&port.to_be_bytes());
    let field = &mut l4[shape.checksum..shape.checksum + 2];
    let old = u16::from_be_bytes([field[0], field[1]]);
    field.copy_from_slice(&apply(old, delta).to_be_bytes());
}

const UDP: Shape = Shape::of(Protocol::UDP).expect("it has ports");
const TCP: Shape = Shape::of(Protocol::TCP).expect("it has ports");

/// The checksum of a packet of `protocol` after an edit of what it covers.
#[inline]
pub(crate) const fn apply_l4(protocol: Protocol, checksum: u16, delta: Delta) -> u16 {
    match protocol {
        // RFC 3828 §3.1: zero is sent as all ones here too. One that came as zero stays invalid.
        Protocol::UDP | Protocol::UDP_LITE => apply_udp(checksum, delta),
        Protocol::ICMP => apply_icmpv4(checksum, delta),
        _ => apply(checksum, delta),
    }
}

/// Where the fields that translation touches lie in an L4 header.
pub(crate) struct Shape {
    pub(crate) source: usize,
    pub(crate) destination: usize,
    pub(crate) checksum: usize,
}

impl Shape {
    /// `None` for a protocol whose checksum covers no address, if it has one: only its addresses
    /// change. The ports of UDP-Lite and DCCP are never asked for: no pool has them, and what is
    /// translated by address alone keeps them.
    #[inline]
    pub(crate) const fn of(protocol: Protocol) -> Option<Self> {
        match protocol {
            Protocol::TCP => Some(Self { source: 0, destination: 2, checksum: 16 }),
            // RFC 3828 §3.1, RFC 4340 §5.1 and §9.1: as in UDP.
            Protocol::UDP | Protocol::UDP_LITE | Protocol::DCCP => {
                Some(Self { source: 0, destination: 2, checksum: 6 })
            }
            // The identifier stands for both ports.
            Protocol::ICMP | Protocol::ICMPV6 => {
                Some(Self { source: 4, destination: 4, checksum: 2 })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
