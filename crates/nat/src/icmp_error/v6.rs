//! ICMPv6 errors about IPv6 packets.

use std::net::Ipv6Addr;
use std::ops::Range;

use mooring_session::fragments::Datagram;
use mooring_session::{Address, Direction, FlowKey, Session};
use mooring_wire::checksum::{Delta, apply};
use mooring_wire::quote::QuotedIpv6;
use mooring_wire::{Protocol, icmpv6};

use super::{
    ICMP_HEADER_LEN, QuoteRefusal, Quoted, QuotedIcmp, ends_of_quote, quote_of, rewrite_quoted_l4,
};
use crate::rewrite::{Place, header_v6};

/// The key of the packet that an ICMPv6 error quotes.
///
/// # Errors
/// When the quote does not tell: cut off before its ports, extension headers without an end.
pub fn key_of_quote_v6(quote: &[u8]) -> Result<Quoted<Ipv6Addr>, QuoteRefusal> {
    let quote = QuotedIpv6::parse(quote).map_err(|_| QuoteRefusal::Malformed)?;
    // Ports stand in the first fragment only.
    if quote.fragment_offset() != 0 {
        return Ok(Quoted::Piece(datagram_of(&quote)));
    }
    let (source_port, destination_port) =
        ends_of_quote(quote.protocol(), quote.l4(), Protocol::ICMPV6, quoted_icmp)?;
    let quoted = FlowKey {
        source: quote.source(),
        destination: quote.destination(),
        source_port,
        destination_port,
        vrf: 0,
        protocol: quote.protocol(),
        tag: 0,
    };
    Ok(Quoted::Flow(quoted.exchanged()))
}

/// What a fragment is one of that an ICMPv6 error quotes, the first one included, as it left here;
/// `None` if it quotes a whole packet.
#[must_use]
pub fn datagram_of_quote_v6(quote: &[u8]) -> Option<Datagram<Ipv6Addr>> {
    let quote = QuotedIpv6::parse(quote).ok()?;
    quote.is_piece().then(|| datagram_of(&quote))
}

fn datagram_of(quote: &QuotedIpv6<&[u8]>) -> Datagram<Ipv6Addr> {
    Datagram {
        source: quote.source(),
        destination: quote.destination(),
        identification: quote.identification(),
        protocol: Protocol::FRAGMENT,
        ingress: 0,
    }
}

/// Writes another identification into the quote of an ICMPv6 error, given whole.
pub fn identify_quote_v6(message: &mut [u8], identification: u32) {
    let Some(quote) = message.get_mut(ICMP_HEADER_LEN..) else { return };
    let Ok(mut quote) = QuotedIpv6::parse(quote) else { return };
    let delta = quote.set_identification(identification);
    let old = u16::from_be_bytes([message[2], message[3]]);
    message[2..4].copy_from_slice(&apply(old, delta).to_be_bytes());
}

/// What an ICMPv6 message is, by its type: RFC 4443 §2.1 gives those below 128 to errors.
const fn quoted_icmp(kind: u8) -> QuotedIcmp {
    match kind {
        icmpv6::ECHO_REQUEST => QuotedIcmp::Query,
        icmpv6::ECHO_REPLY => QuotedIcmp::Reply,
        0..128 => QuotedIcmp::Error,
        _ => QuotedIcmp::Neither,
    }
}

/// Whether an ICMPv6 message, given whole, is Packet Too Big with an MTU that no link has. RFC 8201 §4:
/// "If a node receives a Packet Too Big message reporting a next-hop MTU that is less than the IPv6
/// minimum link MTU, it must discard it."
#[must_use]
pub fn forges_mtu_v6(message: &[u8]) -> bool {
    let [icmpv6::PACKET_TOO_BIG, _, _, _, a, b, c, d, ..] = *message else { return false };
    u32::from_be_bytes([a, b, c, d]) < MIN_MTU
}

/// Whether an ICMPv6 error carries extensions behind its quote (RFC 4884 §4.4, §4.5): these may hold
/// addresses of the side that it comes from, which nobody translates. `message` is the whole ICMPv6
/// message.
#[must_use]
pub fn has_extensions_v6(message: &[u8]) -> bool {
    let tells =
        matches!(message.first(), Some(&(icmpv6::DEST_UNREACHABLE | icmpv6::TIME_EXCEEDED)));
    tells && message.get(EXTENSION_LENGTH_AT).is_some_and(|&length| length != 0)
}

/// Where the quote of an ICMPv6 error, given whole, lies in it: see
/// [`quote_in`](crate::icmp_error::quote_in). RFC 4884 §4.4, §4.5.
#[must_use]
pub fn quote_in_v6(message: &[u8]) -> Range<usize> {
    let words = message.get(EXTENSION_LENGTH_AT).filter(|_| has_extensions_v6(message));
    quote_of(message, words.map(|words| usize::from(*words) * 8))
}

/// Translates an ICMPv6 error about a packet of `session`; the error travels in `direction`. Takes
/// one from its hop limit.
///
/// As with IPv4, an error that goes out carries the outside address as its source. The checksum of
/// the message covers the pseudo-header (RFC 4443 §2.3), so it follows both changes.
///
/// # Panics
/// When `place` does not keep its promises.
pub fn rewrite_error_v6(
    frame: &mut [u8],
    place: Place,
    session: &Session<Ipv6Addr>,
    direction: Direction,
) {
    let (l3, icmp) = frame.split_at_mut(usize::from(place.l4));
    let header = header_v6(&mut l3[usize::from(place.l3)..]);
    let quote = quote_in_v6(icmp);
    let of_quote = rewrite_quote(&mut icmp[quote], session, direction);
    let of_address = match direction {
        // Untranslated: then it is no secret which router has sent it, and traceroute wants to know.
        Direction::Forward if session.inside == session.outside => Delta::ZERO,
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
    header.decrement_hop_limit();
    let old = u16::from_be_bytes([icmp[2], icmp[3]]);
    icmp[2..4].copy_from_slice(&apply(old, of_quote.plus(of_address)).to_be_bytes());
}

/// Edits the quoted packet, which travelled against `direction`, and says what the sum over the
/// quote changed by. A quote that [`key_of_quote_v6`] would refuse may stay as it is; of a later
/// fragment the header is all that there is.
fn rewrite_quote(bytes: &mut [u8], session: &Session<Ipv6Addr>, direction: Direction) -> Delta {
    let Ok(mut quote) = QuotedIpv6::parse(bytes) else { return Delta::ZERO };
    let of_address = match direction {
        // It was sent by the inside host and translated: its source is the outside end.
        Direction::Reverse => {
            quote.set_source(session.inside);
            session.address_delta.inverse()
        }
        // It was sent to the inside host: its destination is the inside end.
        Direction::Forward => {
            quote.set_destination(session.outside);
            session.address_delta
        }
    };
    if quote.fragment_offset() != 0 {
        return of_address;
    }
    of_address.plus(rewrite_quoted_l4(quote.l4_mut(), session, direction))
}

/// What every link carries (RFC 8200 §5), in bytes.
const MIN_MTU: u32 = 1280;

/// Where an error says how long its quote is, if extensions follow: in 64-bit words.
const EXTENSION_LENGTH_AT: usize = 4;
