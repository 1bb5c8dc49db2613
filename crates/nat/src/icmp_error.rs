//! ICMP errors of others: a message about a packet of ours, with the front of that packet quoted.
//!
//! The quoted packet was seen after translation, travelling the other way, so it is found by its
//! exchanged ends, and both the message and the quote are translated (RFC 5508 §4.2, RFC 4787
//! REQ-12). An error neither begins a session nor keeps one alive (RFC 5508 REQ-6), and never ends
//! one.

use std::ops::Range;

use mooring_session::fragments::Datagram;
use mooring_session::{Direction, FlowKey, Session};
use mooring_wire::Protocol;
use mooring_wire::checksum::Delta;

use crate::rewrite::{Shape, apply_l4};

mod v4;
mod v6;

pub use v4::{
    datagram_of_quote, forges_mtu, has_extensions, identify_quote_v4, key_of_quote, quote_in,
    rewrite_error_v4,
};
pub use v6::{
    datagram_of_quote_v6, forges_mtu_v6, has_extensions_v6, identify_quote_v6, key_of_quote_v6,
    quote_in_v6, rewrite_error_v6,
};

/// Whose packet an error quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quoted<A> {
    /// That of a flow, which is given as the packet that answers it would carry it: looking it up gives
    /// the session, and the direction in which the *error* travels.
    Flow(FlowKey<A>),
    /// A later fragment: it has no ports, so only who remembers its datagram knows the flow. Its ends
    /// are those of the quote, and it came in by no interface.
    Piece(Datagram<A>),
}

impl<A> Quoted<A> {
    /// The flow, if the quote names it.
    #[must_use]
    pub fn flow(self) -> Option<FlowKey<A>> {
        match self {
            Self::Flow(key) => Some(key),
            Self::Piece(_) => None,
        }
    }
}

/// Why a quote tells nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuoteRefusal {
    /// It is too short, its header contradicts itself, or its header checksum is wrong.
    Malformed,
    /// The quoted packet is an ICMP error (RFC 1122 §3.2.2, RFC 4443 §2.4 (e)).
    AboutError,
    /// No packet of a session is like this: ICMP that is no query, or that of the other family.
    Unknown,
}

/// The quote of a message that says it has so many bytes, or that says nothing: then all that follows.
fn quote_of(message: &[u8], bytes: Option<usize>) -> Range<usize> {
    let end = bytes.map_or(usize::MAX, |bytes| ICMP_HEADER_LEN + bytes).min(message.len());
    ICMP_HEADER_LEN.min(end)..end
}

/// Edits what is there of the quoted L4 header of a packet that travelled against `direction`, and
/// says what the sum over the quote changed by. A checksum beyond the end of the quote stays away.
fn rewrite_quoted_l4<A>(l4: &mut [u8], session: &Session<A>, direction: Direction) -> Delta {
    let Some(shape) = Shape::of(session.protocol) else { return Delta::ZERO };
    let (at, port, delta) = match direction {
        Direction::Reverse => (shape.source, session.inside_port, session.l4_delta.inverse()),
        Direction::Forward => (shape.destination, session.outside_port, session.l4_delta),
    };
    let stays = session.inside_port == session.outside_port;
    let of_port = if stays { Delta::ZERO } else { edit_word(l4, at, |_| port) };
    let of_checksum = edit_word(l4, shape.checksum, |old| apply_l4(session.protocol, old, delta));
    of_port.plus(of_checksum)
}

/// Edits the word at `at` if all of it is there, and says what the sum over the bytes changed by.
fn edit_word(bytes: &mut [u8], at: usize, edit: impl FnOnce(u16) -> u16) -> Delta {
    let Some(field) = bytes.get_mut(at..at + 2) else { return Delta::ZERO };
    let old = u16::from_be_bytes([field[0], field[1]]);
    let new = edit(old);
    field.copy_from_slice(&new.to_be_bytes());
    Delta::of(old, new)
}

/// What an ICMP message in a quote is.
#[derive(Clone, Copy)]
enum QuotedIcmp {
    Query,
    Reply,
    Error,
    Neither,
}

/// Source and destination port of a quoted packet, as its flow's key has them. `what` tells the types
/// of this family's ICMP, which is `icmp`.
fn ends_of_quote(
    protocol: Protocol,
    l4: &[u8],
    icmp: Protocol,
    what: impl FnOnce(u8) -> QuotedIcmp,
) -> Result<(u16, u16), QuoteRefusal> {
    let word = |at: usize| {
        let word = l4.get(at..at + 2).map(|w| u16::from_be_bytes([w[0], w[1]]));
        word.ok_or(QuoteRefusal::Malformed)
    };
    match protocol {
        Protocol::TCP | Protocol::UDP | Protocol::SCTP => Ok((word(0)?, word(2)?)),
        _ if protocol == icmp => match what(*l4.first().ok_or(QuoteRefusal::Malformed)?) {
            QuotedIcmp::Query => Ok((word(4)?, 0)),
            QuotedIcmp::Reply => Ok((0, word(4)?)),
            // RFC 1122 §3.2.2 and RFC 4443 §2.4 (e): there is no error about an error.
            QuotedIcmp::Error => Err(QuoteRefusal::AboutError),
            QuotedIcmp::Neither => Err(QuoteRefusal::Unknown),
        },
        Protocol::ICMP | Protocol::ICMPV6 => Err(QuoteRefusal::Unknown),
        // Without ports, as in the key of such a flow.
        _ => Ok((0, 0)),
    }
}

/// Bytes in front of the quote.
const ICMP_HEADER_LEN: usize = 8;

#[cfg(test)]
mod tests;
