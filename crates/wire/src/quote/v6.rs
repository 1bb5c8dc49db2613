//! The IPv6 packet quoted in an ICMPv6 error.

use std::net::Ipv6Addr;

use zerocopy::{Ref, SplitByteSlice, SplitByteSliceMut};

use crate::checksum::Delta;
use crate::error::{Field, Layer, ParseError};
use crate::ipv6::fragment::{self, Fragment};
use crate::ipv6::{HEADER_LEN, Header, upper_layer_of};
use crate::protocol::Protocol;
use crate::view;

/// The start of an IPv6 packet: its fixed header, its extension headers, and what is there of the
/// rest.
#[derive(Debug)]
pub struct QuotedIpv6<B: SplitByteSlice> {
    header: Ref<B, Header>,
    extensions: B,
    l4: B,
    protocol: Protocol,
    /// The header of a piece, and where it lies behind the fixed one.
    piece: Option<(Fragment, usize)>,
}

impl<B: SplitByteSlice> QuotedIpv6<B> {
    /// The view of the quote at the front of `bytes`, the payload of an ICMPv6 error.
    ///
    /// What follows the quoted packet (padding and extensions, RFC 4884) is cut off where the
    /// payload length tells. Extension headers are walked to the transport header, through the
    /// fragment header of a first piece; behind that of a later piece no header is looked for, and
    /// where a piece is itself in pieces the [`Protocol::FRAGMENT`] in it is what is found.
    ///
    /// # Errors
    /// `Truncated` if the fixed header or an extension header goes beyond `bytes`; `BadValue` for
    /// another version, and as [`Ipv6::upper_layer`](crate::ipv6::Ipv6::upper_layer): there may be 8
    /// extension headers in front of the fragment header and 8 behind it.
    #[inline]
    pub fn parse(bytes: B) -> Result<Self, ParseError> {
        let (header, rest) = view::split_header::<B, Header>(bytes, Layer::QuotedIpv6)?;
        let version = header.version();
        if version != 6 {
            let (layer, field) = (Layer::QuotedIpv6, Field::Version);
            return Err(ParseError::BadValue { layer, field, value: version });
        }
        // A length of 0 is that of a super-packet or a jumbogram: it cuts nothing off.
        let end = match usize::from(header.payload_len.get()) {
            0 => rest.len(),
            payload_len => payload_len.min(rest.len()),
        };
        let (rest, _padding) = view::split(rest, end, Layer::QuotedIpv6, HEADER_LEN)?;
        let (protocol, len, piece) = walk(header.next_header, &rest)?;
        let (extensions, l4) = view::split(rest, len, Layer::QuotedIpv6, HEADER_LEN)?;
        Ok(Self { header, extensions, l4, protocol, piece })
    }

    /// The payload length field: bytes that the quoted packet had behind its first header, not that are quoted.
    #[inline]
    pub fn payload_len(&self) -> u16 {
        self.header.payload_len.get()
    }

    /// Bytes of the fixed header and the extension headers.
    #[inline]
    pub fn header_len(&self) -> usize {
        HEADER_LEN + self.extensions.len()
    }

    /// Where the quoted payload lies in that of the whole packet, in bytes. Only at 0 does
    /// [`Self::l4`] start with a transport header.
    #[inline]
    pub fn fragment_offset(&self) -> u16 {
        self.piece.map_or(0, |(piece, _)| piece.offset())
    }

    /// What the fragments of the quoted packet have in common; 0 if it was none.
    #[inline]
    pub fn identification(&self) -> u32 {
        self.piece.map_or(0, |(piece, _)| piece.identification())
    }

    /// Whether the quoted packet is a fragment, be it the first one.
    #[inline]
    pub fn is_piece(&self) -> bool {
        self.piece.is_some()
    }

    /// What the quoted payload is, behind the extension headers.
    #[inline]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Who sent the packet that the error is about.
    #[inline]
    pub fn source(&self) -> Ipv6Addr {
        self.header.source()
    }

    /// Whom the packet was for that the error is about.
    #[inline]
    pub fn destination(&self) -> Ipv6Addr {
        self.header.destination()
    }

    /// What is quoted of the payload; possibly nothing.
    #[inline]
    pub fn l4(&self) -> &[u8] {
        &self.l4
    }
}

impl<B: SplitByteSliceMut> QuotedIpv6<B> {
    /// Writes the source address.
    #[inline]
    pub fn set_source(&mut self, address: Ipv6Addr) {
        self.header.set_source(address);
    }

    /// Writes the destination address.
    #[inline]
    pub fn set_destination(&mut self, address: Ipv6Addr) {
        self.header.set_destination(address);
    }

    /// Writes what the fragments of the packet have in common, if it is one, and says what the sum over
    /// it changed by.
    #[inline]
    pub fn set_identification(&mut self, identification: u32) -> Delta {
        let Some((piece, at)) = &mut self.piece else { return Delta::ZERO };
        let old = piece.identification();
        piece.set_identification(identification);
        if let Some(header) = Fragment::mut_at_front(&mut self.extensions[*at..]) {
            header.set_identification(identification);
        }
        let half = |shift: u32| Delta::of((old >> shift) as u16, (identification >> shift) as u16);
        half(16).plus(half(0))
    }

    /// What is quoted of the payload.
    #[inline]
    pub fn l4_mut(&mut self) -> &mut [u8] {
        &mut self.l4
    }
}

/// The protocol behind the extension headers of `payload`, the first of which is a `next`, their length
/// in bytes, and the header of a piece.
fn walk(next: Protocol, payload: &[u8]) -> Result<Walked, ParseError> {
    let (protocol, at) = upper_layer_of(next, payload)?;
    if protocol != Protocol::FRAGMENT {
        return Ok((protocol, at, None));
    }
    let piece = Fragment::parse(&payload[at..])?;
    let (next, behind) = (piece.next_header(), at + fragment::HEADER_LEN);
    if piece.offset() != 0 {
        return Ok((next, behind, Some((piece, at))));
    }
    let (protocol, len) = upper_layer_of(next, &payload[behind..])?;
    Ok((protocol, behind + len, Some((piece, at))))
}

/// What the payload is, where it begins, and the header of a piece and where that lies.
type Walked = (Protocol, usize, Option<(Fragment, usize)>);

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::QuotedIpv6;
    use crate::checksum::{apply, sum};
    use crate::error::{Field, Layer, ParseError};
    use crate::ipv6::Emit;
    use crate::protocol::Protocol;

    /// A quote whose payload, of the kind `next`, is `payload`.
    fn quote(next: Protocol, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 40];
        Emit {
            source: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1),
            destination: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2),
            next_header: next,
            hop_limit: 64,
            traffic_class: 0,
            flow_label: 0,
            payload_len: 1000,
        }
        .emit(&mut bytes);
        bytes.extend(payload);
        bytes
    }

    const UDP: [u8; 8] = [0x13, 0x88, 0x00, 0x35, 0x03, 0xe8, 0xab, 0xcd];

    #[test]
    fn deconstruct() {
        let bytes = quote(Protocol::UDP, &UDP);
        let quote = QuotedIpv6::parse(&bytes[..]).unwrap();
        assert_eq!(quote.source(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
        assert_eq!(quote.destination(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2));
        assert_eq!((quote.protocol(), quote.header_len()), (Protocol::UDP, 40));
        assert_eq!((quote.fragment_offset(), quote.l4()), (0, &UDP[..]));
    }

    #[test]
    fn walks_through_extension_headers_to_a_first_piece() {
        let hop_by_hop = [44, 0, 5, 2, 0, 0, 1, 0];
        let first_piece = [17, 0, 0, 1, 1, 2, 3, 4];
        let bytes = quote(Protocol::HOP_BY_HOP, &[hop_by_hop, first_piece, UDP].concat());
        let quote = QuotedIpv6::parse(&bytes[..]).unwrap();
        assert_eq!((quote.protocol(), quote.header_len()), (Protocol::UDP, 56));
        assert_eq!((quote.fragment_offset(), quote.l4()), (0, &UDP[..]));
    }

    #[test]
    fn a_later_piece_has_no_transport_header() {
        let later = [43, 0, 0x05, 0xa8, 1, 2, 3, 4];
        let bytes = quote(Protocol::FRAGMENT, &[later, UDP].concat());
        let quote = QuotedIpv6::parse(&bytes[..]).unwrap();
        assert_eq!((quote.protocol(), quote.fragment_offset()), (Protocol::ROUTING, 0x05a8));
        assert_eq!((quote.identification(), quote.is_piece()), (0x0102_0304, true));
    }

    #[test]
    fn another_identification_of_a_quoted_piece_is_told_to_its_sum() {
        let hop_by_hop = [44, 0, 5, 2, 0, 0, 1, 0];
        let first_piece = [17, 0, 0, 1, 1, 2, 3, 4];
        let mut bytes = quote(Protocol::HOP_BY_HOP, &[hop_by_hop, first_piece, UDP].concat());
        let before = bytes.clone();
        let mut quote = QuotedIpv6::parse(&mut bytes[..]).unwrap();
        let delta = quote.set_identification(0xdead_beef);
        assert_eq!(quote.identification(), 0xdead_beef);
        assert_eq!(bytes[52..56], [0xde, 0xad, 0xbe, 0xef]);
        assert_eq!((&bytes[..52], &bytes[56..]), (&before[..52], &before[56..]));
        assert_eq!(apply(!sum(&before), delta), !sum(&bytes));
    }

    #[test]
    fn gives_what_is_there_and_no_more() {
        let bytes = quote(Protocol::UDP, &UDP);
        assert_eq!(QuotedIpv6::parse(&bytes[..40]).unwrap().l4(), []);
        assert_eq!(QuotedIpv6::parse(&bytes[..45]).unwrap().l4(), &UDP[..5]);
        let mut short = bytes.clone();
        short[4..6].copy_from_slice(&[0, 4]);
        assert_eq!(QuotedIpv6::parse(&short[..]).unwrap().l4(), &UDP[..4], "the rest is padding");
        short[4..6].copy_from_slice(&[0, 0]);
        assert_eq!(QuotedIpv6::parse(&short[..]).unwrap().l4(), UDP, "no length to trust");
    }

    #[test]
    fn refuses_what_has_no_whole_headers() {
        let bytes = quote(Protocol::DESTINATION_OPTIONS, &[17, 1, 0, 0, 0, 0, 0, 0]);
        let layer = Layer::Ipv6Extension;
        let short = ParseError::Truncated { layer, needed: 16, had: 8 };
        assert_eq!(QuotedIpv6::parse(&bytes[..]).unwrap_err(), short);
        let short = ParseError::Truncated { layer: Layer::QuotedIpv6, needed: 40, had: 39 };
        assert_eq!(QuotedIpv6::parse(&bytes[..39]).unwrap_err(), short);
        let chain = quote(Protocol::DESTINATION_OPTIONS, &[60, 0, 0, 0, 0, 0, 0, 0].repeat(9));
        let field = Field::ExtensionCount;
        let long = ParseError::BadValue { layer, field, value: 9 };
        assert_eq!(QuotedIpv6::parse(&chain[..]).unwrap_err(), long);
    }

    #[test]
    fn edit() {
        let mut bytes = quote(Protocol::UDP, &UDP);
        let mut quote = QuotedIpv6::parse(&mut bytes[..]).unwrap();
        quote.set_source(Ipv6Addr::UNSPECIFIED);
        quote.set_destination(Ipv6Addr::LOCALHOST);
        quote.l4_mut()[0] = 0xff;
        assert_eq!(bytes[8..39], [0; 31]);
        assert_eq!(bytes[39..42], [1, 0xff, 0x88]);
    }
}
