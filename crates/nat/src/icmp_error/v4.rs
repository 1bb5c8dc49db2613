//! ICMP errors about IPv4 packets.

use std::net::Ipv4Addr;
use std::ops::Range;

use mooring_session::fragments::Datagram;
use mooring_session::{Address, Direction, FlowKey, Session};
use mooring_wire::checksum::{Delta, apply, sum};
use mooring_wire::quote::QuotedIpv4;
use mooring_wire::{Protocol, icmpv4};

use super::{
    ICMP_HEADER_LEN, QuoteRefusal, Quoted, QuotedIcmp, ends_of_quote, quote_of, rewrite_quoted_l4,
};
use crate::rewrite::{Place, header_v4};

/// The key of the packet that an ICMPv4 error quotes.
///
/// # Errors
/// When the quote does not tell.
pub fn key_of_quote(quote: &[u8]) -> Result<Quoted<Ipv4Addr>, QuoteRefusal> {
    let quote = QuotedIpv4::parse(quote).map_err(|_| QuoteRefusal::Malformed)?;
    // RFC 5508 REQ-3 a: "If the IP checksum of the embedded packet fails to validate, the NAT SHOULD
    // silently drop the Error packet".
    if !quote.checksum_is_valid() {
        return Err(QuoteRefusal::Malformed);
    }
    // Ports stand in the first fragment only.
    if quote.fragment_offset() != 0 {
        return Ok(Quoted::Piece(datagram_of(&quote)));
    }
    let (source_port, destination_port) =
        ends_of_quote(quote.protocol(), quote.l4(), Protocol::ICMP, quoted_icmp)?;
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

/// What a fragment is one of that an ICMPv4 error quotes, the first one included, as it left here;
/// `None` if it quotes a whole packet.
#[must_use]
pub fn datagram_of_quote(quote: &[u8]) -> Option<Datagram<Ipv4Addr>> {
    let quote = QuotedIpv4::parse(quote).ok()?;
    quote.is_piece().then(|| datagram_of(&quote))
}

fn datagram_of(quote: &QuotedIpv4<&[u8]>) -> Datagram<Ipv4Addr> {
    Datagram {
        source: quote.source(),
        destination: quote.destination(),
        identification: quote.identification().into(),
        protocol: quote.protocol(),
        ingress: 0,
    }
}

/// Writes another identification into the quote of an ICMPv4 error, given whole. The sum over a header
/// with its checksum stays the same, and so does the checksum of the message.
pub fn identify_quote_v4(message: &mut [u8], identification: u32) {
    let Some(quote) = message.get_mut(ICMP_HEADER_LEN..) else { return };
    let Ok(mut quote) = QuotedIpv4::parse(quote) else { return };
    let delta = quote.set_identification(identification as u16);
    quote.set_checksum(apply(quote.checksum(), delta));
}

/// What an ICMPv4 message is, by its type.
const fn quoted_icmp(kind: u8) -> QuotedIcmp {
    match kind {
        icmpv4::ECHO_REQUEST | icmpv4::TIMESTAMP_REQUEST => QuotedIcmp::Query,
        icmpv4::ECHO_REPLY | icmpv4::TIMESTAMP_REPLY => QuotedIcmp::Reply,
        icmpv4::DEST_UNREACHABLE
        | icmpv4::SOURCE_QUENCH
        | icmpv4::REDIRECT
        | icmpv4::TIME_EXCEEDED
        | icmpv4::PARAMETER_PROBLEM => QuotedIcmp::Error,
        _ => QuotedIcmp::Neither,
    }
}

/// Whether an ICMPv4 message, given whole, is Fragmentation Needed with an MTU that no link has. RFC
/// 1191 §3: "A host MUST never reduce its estimate of the Path MTU below 68 octets"; who asks for it
/// wants to harm (RFC 5927 §7).
///
/// An MTU of 0 is not one: it is what routers from before RFC 1191 send (its §4), and the host
/// guesses (§5).
#[must_use]
pub fn forges_mtu(message: &[u8]) -> bool {
    let [icmpv4::DEST_UNREACHABLE, icmpv4::FRAGMENTATION_NEEDED, _, _, _, _, high, low, ..] =
        *message
    else {
        return false;
    };
    (1..MIN_MTU).contains(&u16::from_be_bytes([high, low]))
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

/// Where the quote of an ICMPv4 error, given whole, lies in it. Where the message says how much it quotes,
/// padding included, nothing behind that is of the quoted packet (RFC 4884 §4.1 to §4.3): if that is too
/// little, what stands there is not taken for ports.
#[must_use]
pub fn quote_in(message: &[u8]) -> Range<usize> {
    let tells = matches!(
        message.first(),
        Some(&(icmpv4::DEST_UNREACHABLE | icmpv4::TIME_EXCEEDED | icmpv4::PARAMETER_PROBLEM))
    );
    let words = message.get(EXTENSION_LENGTH_AT).copied().filter(|words| tells && *words != 0);
    quote_of(message, words.map(|words| usize::from(words) * 4))
}

/// Translates an ICMPv4 error about a packet of `session`; the error travels in `direction`. Takes
/// one from its TTL.
///
/// An error that goes out carries the outside address as its source whoever inside sent it: the
/// inside is never shown (RFC 5508 REQ-5).
///
/// # Panics
/// When `place` does not keep its promises.
pub fn rewrite_error_v4(
    frame: &mut [u8],
    place: Place,
    session: &Session<Ipv4Addr>,
    direction: Direction,
) {
    let (l3, icmp) = frame.split_at_mut(usize::from(place.l4));
    let header = header_v4(&mut l3[usize::from(place.l3)..]);
    // RFC 4884 §6: a NAT "should modify only the leading octets of that field": length, padding and
    // extensions stay.
    let quote = quote_in(icmp);
    let change = rewrite_quote(&mut icmp[quote], session, direction);
    let old = u16::from_be_bytes([icmp[2], icmp[3]]);
    icmp[2..4].copy_from_slice(&apply(old, change).to_be_bytes());
    let address_delta = match direction {
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
    let ttl_delta = header.decrement_ttl();
    header.set_checksum(apply(header.checksum(), address_delta.plus(ttl_delta)));
}

/// Edits the quoted packet, which travelled against `direction`, and says what the sum over the
/// quote changed by. A quote that [`key_of_quote`] would refuse may stay as it is; of a later
/// fragment the header is all that there is.
fn rewrite_quote(bytes: &mut [u8], session: &Session<Ipv4Addr>, direction: Direction) -> Delta {
    let Ok(mut quote) = QuotedIpv4::parse(bytes) else { return Delta::ZERO };
    let address_delta = match direction {
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
    let old = quote.checksum();
    quote.set_checksum(apply(old, address_delta));
    let of_header = address_delta.plus(Delta::of(old, quote.checksum()));
    if quote.fragment_offset() != 0 {
        return of_header;
    }
    of_header.plus(rewrite_quoted_l4(quote.l4_mut(), session, direction))
}

/// The shortest packet that every link carries whole, in bytes (RFC 791 §3.2).
const MIN_MTU: u16 = 68;

/// Where an error says how long its quote is, if extensions follow: in 32-bit words.
const EXTENSION_LENGTH_AT: usize = 5;

/// Bytes of the quote in front of extensions without that length.
const OLD_QUOTE_LEN: usize = 128;

const EXTENSION_VERSION: u8 = 2;
