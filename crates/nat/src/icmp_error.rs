//! ICMP errors of others: a message about a packet of ours, with the front of that packet quoted.
//!
//! The quoted packet was seen after translation, travelling the other way, so it is found by its
//! exchanged ends, and both the message and the quote are translated (RFC 5508 §4.2, RFC 4787
//! REQ-12). An error neither begins a session nor keeps one alive (RFC 5508 REQ-6), and never ends
//! one.

use std::net::Ipv4Addr;

use mooring_session::{Address, Direction, FlowKey, Session};
use mooring_wire::checksum::{Delta, apply, apply_icmpv4, apply_udp, sum};
use mooring_wire::quote::QuotedIpv4;
use mooring_wire::{Protocol, icmpv4, ipv4};

use crate::rewrite::{Place, Shape};

/// The flow that a quoted packet belongs to, as the packet that answers it would carry it: looking
/// it up gives the session, and the direction in which the *error* travels. `None` when the quote
/// does not tell (a later fragment, too short, a protocol without ports).
#[must_use]
pub fn key_of_quote(quote: &[u8]) -> Option<FlowKey<Ipv4Addr>> {
    let quote = QuotedIpv4::parse(quote).ok()?;
    // Ports stand in the first fragment only.
    if quote.fragment_offset() != 0 {
        return None;
    }
    let (source_port, destination_port) = ends_of_quote(quote.protocol(), quote.l4())?;
    let quoted = FlowKey {
        source: quote.source(),
        destination: quote.destination(),
        source_port,
        destination_port,
        vrf: 0,
        protocol: quote.protocol(),
        tag: 0,
    };
    Some(quoted.exchanged())
}

/// Whether an ICMPv4 error carries extensions behind its quote (RFC 4884): these may hold addresses
/// of the side that it comes from (RFC 5837), which nobody translates.
///
/// `message` is the whole ICMP message. The form without a length, from before RFC 4884 (its §5.5),
/// is recognised by its version and checksum behind 128 bytes of quote.
#[must_use]
pub fn has_extensions(message: &[u8]) -> bool {
    let length = message.get(EXTENSION_LENGTH_AT).copied().unwrap_or(0);
    let old_form = message.get(ICMP_HEADER_LEN + OLD_QUOTE_LEN..).is_some_and(|extension| {
        extension.len() >= 4
            && extension[0] >> 4 == EXTENSION_VERSION
            && (extension[2..4] == [0, 0] || sum(extension) == 0xffff)
    });
    length != 0 || old_form
}

/// Translates an ICMPv4 error about a packet of `session`; the error travels in `direction`. Takes
/// one from its TTL.
///
/// An error that goes out carries the outside address as its source whoever inside sent it: the
/// inside is never shown (RFC 5508 REQ-5).
///
/// # Panics
/// When `place` does not keep its promises, or the quote was not accepted by [`key_of_quote`].
pub fn rewrite_error_v4(
    frame: &mut [u8],
    place: Place,
    session: &Session<Ipv4Addr>,
    direction: Direction,
) {
    let (l3, icmp) = frame.split_at_mut(usize::from(place.l4));
    let header = ipv4::Header::mut_at_front(&mut l3[usize::from(place.l3)..])
        .expect("the packet was parsed: its IPv4 header is whole");
    let change = rewrite_quote(&mut icmp[ICMP_HEADER_LEN..], session, direction);
    let old = u16::from_be_bytes([icmp[2], icmp[3]]);
    icmp[2..4].copy_from_slice(&apply_icmpv4(old, change).to_be_bytes());
    let address_delta = match direction {
        Direction::Forward => {
            let delta = header.source().delta_to(session.outside);
            header.set_source(session.outside);
            delta
        }
        Direction::Reverse => {
            header.set_destination(session.inside);
            session.address_delta.inverse()
        }
    };
    let ttl_delta = header.decrement_ttl();
    header.set_checksum(apply(header.checksum(), address_delta.plus(ttl_delta)));
}

/// Edits the quoted packet, which travelled against `direction`, and says what the sum over the
/// quote changed by.
fn rewrite_quote(bytes: &mut [u8], session: &Session<Ipv4Addr>, direction: Direction) -> Delta {
    let covered = bytes.len().min(QUOTE_HEADERS) & !1;
    let mut before = [0; QUOTE_HEADERS];
    before[..covered].copy_from_slice(&bytes[..covered]);
    let mut quote = QuotedIpv4::parse(&mut *bytes).expect("the quote was parsed for its key");
    let (address_delta, l4_delta) = match direction {
        // It was sent by the inside host and translated: its source is the outside end.
        Direction::Reverse => {
            quote.set_source(session.inside);
            (session.address_delta.inverse(), session.l4_delta.inverse())
        }
        // It was sent to the inside host: its destination is the inside end.
        Direction::Forward => {
            quote.set_destination(session.outside);
            (session.address_delta, session.l4_delta)
        }
    };
    quote.set_checksum(apply(quote.checksum(), address_delta));
    rewrite_quoted_l4(quote.l4_mut(), session, direction, l4_delta);
    Delta::between(&before[..covered], &bytes[..covered])
}

/// Edits what is there of the quoted L4 header; a checksum beyond the end of the quote stays away.
fn rewrite_quoted_l4(
    l4: &mut [u8],
    session: &Session<Ipv4Addr>,
    direction: Direction,
    delta: Delta,
) {
    let Some(shape) = Shape::of(session.protocol) else { return };
    let (at, port) = match direction {
        Direction::Reverse => (shape.source, session.inside_port),
        Direction::Forward => (shape.destination, session.outside_port),
    };
    if let Some(field) = l4.get_mut(at..at + 2) {
        field.copy_from_slice(&port.to_be_bytes());
    }
    if let Some(field) = l4.get_mut(shape.checksum..shape.checksum + 2) {
        let old = u16::from_be_bytes([field[0], field[1]]);
        let new = match session.protocol {
            Protocol::UDP => apply_udp(old, delta),
            Protocol::ICMP => apply_icmpv4(old, delta),
            _ => apply(old, delta),
        };
        field.copy_from_slice(&new.to_be_bytes());
    }
}

/// Source and destination port of a quoted packet, as its flow's key has them.
fn ends_of_quote(protocol: Protocol, l4: &[u8]) -> Option<(u16, u16)> {
    let word = |at: usize| l4.get(at..at + 2).map(|w| u16::from_be_bytes([w[0], w[1]]));
    match protocol {
        Protocol::TCP | Protocol::UDP | Protocol::SCTP => Some((word(0)?, word(2)?)),
        Protocol::ICMP => match *l4.first()? {
            icmpv4::ECHO_REQUEST => Some((word(4)?, 0)),
            icmpv4::ECHO_REPLY => Some((0, word(4)?)),
            _ => None,
        },
        Protocol::ICMPV6 => None,
        // Without ports, as in the key of such a flow.
        _ => Some((0, 0)),
    }
}

/// Bytes in front of the quote.
const ICMP_HEADER_LEN: usize = 8;

/// Where an error says how long its quote is, if extensions follow: in 32-bit words.
const EXTENSION_LENGTH_AT: usize = 5;

/// Bytes of the quote in front of extensions without that length.
const OLD_QUOTE_LEN: usize = 128;

const EXTENSION_VERSION: u8 = 2;

/// The most bytes of a quote that translation can change: an IPv4 header with options and a TCP
/// header up to its checksum.
const QUOTE_HEADERS: usize = 60 + 20;

#[cfg(test)]
mod tests;
