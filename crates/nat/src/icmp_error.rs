//! ICMP errors of others: a message about a packet of ours, with the front of that packet quoted.
//!
//! The quoted packet was seen after translation, travelling the other way, so it is found by its
//! exchanged ends, and both the message and the quote are translated (RFC 5508 §4.2, RFC 4787
//! REQ-12). An error neither begins a session nor keeps one alive (RFC 5508 REQ-6), and never ends
//! one.

use mooring_session::{Direction, Session};
use mooring_wire::Protocol;
use mooring_wire::checksum::Delta;

use crate::rewrite::{Shape, apply_l4};

mod v4;
mod v6;

pub use v4::{has_extensions, key_of_quote, rewrite_error_v4};
pub use v6::{has_extensions_v6, key_of_quote_v6, rewrite_error_v6};

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

/// Source and destination port of a quoted packet, as its flow's key has them. `echo` are the types
/// of echo request and reply of this family's ICMP, which is `icmp`.
fn ends_of_quote(
    protocol: Protocol,
    l4: &[u8],
    icmp: Protocol,
    [request, reply]: [u8; 2],
) -> Option<(u16, u16)> {
    let word = |at: usize| l4.get(at..at + 2).map(|w| u16::from_be_bytes([w[0], w[1]]));
    match protocol {
        Protocol::TCP | Protocol::UDP | Protocol::SCTP => Some((word(0)?, word(2)?)),
        // RFC 1122 §3.2.2 and RFC 4443 §2.4 (e): there is no error about an error.
        _ if protocol == icmp => match *l4.first()? {
            kind if kind == request => Some((word(4)?, 0)),
            kind if kind == reply => Some((0, word(4)?)),
            _ => None,
        },
        // That of the other family.
        Protocol::ICMP | Protocol::ICMPV6 => None,
        // Without ports, as in the key of such a flow.
        _ => Some((0, 0)),
    }
}

/// Bytes in front of the quote.
const ICMP_HEADER_LEN: usize = 8;

#[cfg(test)]
mod tests;
