//! Hop 4: the only code that changes a translated packet.
//!
//! The packet is edited in place: address, port or identifier, TTL, and the checksums that cover
//! them, by the deltas that the session stores. Nothing is rebuilt and no payload is read.

use std::net::Ipv4Addr;

use mooring_session::{Direction, Session};
use mooring_wire::checksum::{Delta, apply, apply_icmpv4, apply_partial, apply_udp};
use mooring_wire::{Protocol, ipv4};

/// Where the headers of a packet begin, in bytes from the start of the frame. Made by whoever parsed
/// the packet: both headers lie wholly in the frame, the L4 one with at least the bytes of
/// [`min_l4_len`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The IP header.
    pub l3: u16,
    /// The header after it.
    pub l4: u16,
}

/// Translates an IPv4 packet of `session` that travels in `direction`, and takes one from its TTL.
///
/// `partial` says that the L4 checksum is still to be completed by a device (NEEDS_CSUM): its field
/// then holds the sum of the pseudo-header alone, so that only the change of address counts.
///
/// # Panics
/// When `place` does not keep the promises of [`Place`].
#[inline]
pub fn rewrite_v4(
    frame: &mut [u8],
    place: Place,
    session: &Session<Ipv4Addr>,
    direction: Direction,
    partial: bool,
) {
    let (header, l4) = split(frame, place);
    let (address_delta, l4_delta) = match direction {
        Direction::Forward => {
            header.set_source(session.outside);
            (session.address_delta, session.l4_delta)
        }
        Direction::Reverse => {
            header.set_destination(session.inside);
            (session.address_delta.inverse(), session.l4_delta.inverse())
        }
    };
    let ttl_delta = header.decrement_ttl();
    header.set_checksum(apply(header.checksum(), address_delta.plus(ttl_delta)));
    rewrite_l4(
        l4,
        session,
        direction,
        if partial { Partial(address_delta) } else { Full(l4_delta) },
    );
}

/// Bytes of the L4 header that translation reads or writes; a shorter one is malformed.
#[inline]
#[must_use]
pub const fn min_l4_len(protocol: Protocol) -> usize {
    match protocol {
        Protocol::TCP => 20,
        Protocol::SCTP => 12,
        Protocol::UDP | Protocol::ICMP | Protocol::ICMPV6 => 8,
        _ => 0,
    }
}

/// Which sum the checksum field of a packet holds, and what it changes by.
#[derive(Clone, Copy)]
enum L4Change {
    /// All that the checksum covers.
    Full(Delta),
    /// The pseudo-header alone.
    Partial(Delta),
}
use L4Change::{Full, Partial};

/// The IP header and what follows it.
#[inline]
fn split(frame: &mut [u8], place: Place) -> (&mut ipv4::Header, &mut [u8]) {
    let (l3, l4) = frame.split_at_mut(usize::from(place.l4));
    let header = ipv4::Header::mut_at_front(&mut l3[usize::from(place.l3)..])
        .expect("the packet was parsed: its IPv4 header is whole");
    (header, l4)
}

/// Writes the port or identifier and adjusts the checksum.
#[inline]
fn rewrite_l4<A>(l4: &mut [u8], session: &Session<A>, direction: Direction, change: L4Change) {
    let Some(shape) = Shape::of(session.protocol) else { return };
    let (at, port) = match direction {
        Direction::Forward => (shape.source, session.outside_port),
        Direction::Reverse => (shape.destination, session.inside_port),
    };
    l4[at..at + 2].copy_from_slice(&port.to_be_bytes());
    let field = &mut l4[shape.checksum..shape.checksum + 2];
    let old = u16::from_be_bytes([field[0], field[1]]);
    let new = match (change, session.protocol) {
        (Partial(delta), _) => apply_partial(old, delta),
        (Full(delta), Protocol::UDP) => apply_udp(old, delta),
        (Full(delta), Protocol::ICMP) => apply_icmpv4(old, delta),
        (Full(delta), _) => apply(old, delta),
    };
    field.copy_from_slice(&new.to_be_bytes());
}

/// Where the fields that translation touches lie in an L4 header.
pub(crate) struct Shape {
    pub(crate) source: usize,
    pub(crate) destination: usize,
    pub(crate) checksum: usize,
}

impl Shape {
    /// `None` for a protocol without ports: only its addresses change.
    #[inline]
    pub(crate) const fn of(protocol: Protocol) -> Option<Self> {
        match protocol {
            Protocol::TCP => Some(Self { source: 0, destination: 2, checksum: 16 }),
            Protocol::UDP => Some(Self { source: 0, destination: 2, checksum: 6 }),
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
