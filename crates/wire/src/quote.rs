//! The packet quoted in an ICMP error (RFC 792, RFC 1812 §4.3.2.3; RFC 4443 §3).
//!
//! A quote is a packet cut off: its length field may go beyond the quoted bytes, and of the
//! transport header at least 8 bytes *should* be there, more may be, less can be. So [`QuotedIpv4`]
//! and [`QuotedIpv6`] promise the IP header alone (with its options or extension headers), and
//! whoever reads the transport header looks at how much there is.

mod v6;

use std::net::Ipv4Addr;

use zerocopy::{Ref, SplitByteSlice, SplitByteSliceMut};

use crate::checksum::Delta;
use crate::error::{Layer, ParseError};
use crate::ipv4::{HEADER_LEN, Header};
use crate::protocol::Protocol;
use crate::view;

pub use v6::QuotedIpv6;

/// The start of an IPv4 packet: all of its header, and what is there of its payload.
#[derive(Debug)]
pub struct QuotedIpv4<B: SplitByteSlice> {
    header: Ref<B, Header>,
    options: B,
    l4: B,
}

impl<B: SplitByteSlice> QuotedIpv4<B> {
    /// The view of the quote at the front of `bytes`, the payload of an ICMP error.
    ///
    /// What follows the quoted packet (padding and extensions, RFC 4884) is cut off where the
    /// total length tells; where it cannot be right (some senders quote a header that they have
    /// worked on) it is ignored.
    ///
    /// # Errors
    /// `Truncated` if header or options go beyond `bytes`; `BadValue` for another version or a
    /// header length below 5.
    #[inline]
    pub fn parse(bytes: B) -> Result<Self, ParseError> {
        let had = bytes.len();
        let (header, rest) = view::split_header::<B, Header>(bytes, Layer::QuotedIpv4)?;
        let header_len = header.checked_len(Layer::QuotedIpv4)?;
        let (options, rest) =
            view::split(rest, header_len - HEADER_LEN, Layer::QuotedIpv4, HEADER_LEN)?;
        let total_len = usize::from(header.total_len.get());
        let end = if total_len < header_len { had } else { total_len.min(had) };
        let (l4, _extensions) = view::split(rest, end - header_len, Layer::QuotedIpv4, header_len)?;
        Ok(Self { header, options, l4 })
    }

    /// Bytes of the quoted header with its options: 20 to 60.
    #[inline]
    pub fn header_len(&self) -> usize {
        self.header.len()
    }

    /// The total length field: bytes that the quoted packet had, not that are quoted.
    #[inline]
    pub fn total_len(&self) -> u16 {
        self.header.total_len.get()
    }

    /// What the fragments of the quoted packet have in common.
    #[inline]
    pub fn identification(&self) -> u16 {
        self.header.identification.get()
    }

    /// Where the quoted payload lies in that of the whole packet, in bytes. Only at 0 does
    /// [`Self::l4`] start with a transport header.
    #[inline]
    pub fn fragment_offset(&self) -> u16 {
        self.header.fragment_offset()
    }

    /// Whether the quoted packet is a fragment, be it the first one.
    #[inline]
    pub fn is_piece(&self) -> bool {
        self.header.is_piece()
    }

    /// What the quoted payload is.
    #[inline]
    pub fn protocol(&self) -> Protocol {
        self.header.protocol
    }

    /// The quoted header checksum field.
    #[inline]
    pub fn checksum(&self) -> u16 {
        self.header.checksum.get()
    }

    /// Whether the quoted header checksum is right.
    #[inline]
    pub fn checksum_is_valid(&self) -> bool {
        self.header.sum(&self.options) == 0xffff
    }

    /// Who sent the packet that the error is about.
    #[inline]
    pub fn source(&self) -> Ipv4Addr {
        self.header.source.into()
    }

    /// Whom the packet was for that the error is about.
    #[inline]
    pub fn destination(&self) -> Ipv4Addr {
        self.header.destination.into()
    }

    /// What is quoted of the payload; possibly nothing.
    #[inline]
    pub fn l4(&self) -> &[u8] {
        &self.l4
    }
}

/// Setters leave the checksum alone.
impl<B: SplitByteSliceMut> QuotedIpv4<B> {
    /// Writes the source address.
    #[inline]
    pub fn set_source(&mut self, address: Ipv4Addr) {
        self.header.source = address.octets();
    }

    /// Writes the destination address.
    #[inline]
    pub fn set_destination(&mut self, address: Ipv4Addr) {
        self.header.destination = address.octets();
    }

    /// Writes what the fragments of the packet have in common, and says what the header's sum changed by.
    #[inline]
    pub fn set_identification(&mut self, identification: u16) -> Delta {
        self.header.set_identification(identification)
    }

    /// Writes the header checksum.
    #[inline]
    pub fn set_checksum(&mut self, checksum: u16) {
        self.header.checksum.set(checksum);
    }

    /// What is quoted of the payload.
    #[inline]
    pub fn l4_mut(&mut self) -> &mut [u8] {
        &mut self.l4
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::QuotedIpv4;
    use crate::error::{Field, Layer, ParseError};
    use crate::protocol::Protocol;

    /// 28 bytes of a UDP packet that had 276.
    const QUOTE: [u8; 28] = [
        0x45, 0x00, 0x01, 0x14, 0x12, 0x34, 0x00, 0x00, 0x40, 0x11, 0xe5, 0x8c, 0xc0, 0xa8, 0x00,
        0x01, 0xc0, 0xa8, 0x00, 0xc7, 0x13, 0x88, 0x00, 0x35, 0x01, 0x00, 0xab, 0xcd,
    ];

    #[test]
    fn deconstruct() {
        let quote = QuotedIpv4::parse(&QUOTE[..]).unwrap();
        assert_eq!(quote.source(), Ipv4Addr::new(192, 168, 0, 1));
        assert_eq!(quote.destination(), Ipv4Addr::new(192, 168, 0, 199));
        assert_eq!(quote.protocol(), Protocol::UDP);
        assert_eq!(quote.header_len(), 20);
        assert_eq!(quote.total_len(), 276);
        assert_eq!(quote.identification(), 0x1234);
        assert_eq!(quote.fragment_offset(), 0);
        assert_eq!(quote.checksum(), 0xe58c);
        assert!(quote.checksum_is_valid());
        assert_eq!(quote.l4(), &QUOTE[20..]);
    }

    #[test]
    fn gives_what_is_there() {
        assert_eq!(QuotedIpv4::parse(&QUOTE[..20]).unwrap().l4(), []);
        assert_eq!(QuotedIpv4::parse(&QUOTE[..23]).unwrap().l4(), [0x13, 0x88, 0x00]);
    }

    /// RFC 4884 §3: the quote is padded, and extensions follow.
    #[test]
    fn extensions_are_not_quoted_bytes() {
        let mut bytes = [0xee; 40];
        bytes[..28].copy_from_slice(&QUOTE);
        bytes[2..4].copy_from_slice(&[0, 28]);
        assert_eq!(QuotedIpv4::parse(&bytes[..]).unwrap().l4(), &QUOTE[20..]);
        bytes[2..4].copy_from_slice(&[0, 0]);
        assert_eq!(QuotedIpv4::parse(&bytes[..]).unwrap().l4().len(), 20, "no length to trust");
    }

    #[test]
    fn total_length_inside_the_options_is_ignored() {
        let mut bytes = QUOTE;
        bytes[0] = 0x46;
        bytes[2..4].copy_from_slice(&[0, 21]);
        assert_eq!(QuotedIpv4::parse(&bytes[..]).unwrap().l4(), &QUOTE[24..]);
    }

    #[test]
    fn edit() {
        let mut bytes = QUOTE;
        let mut quote = QuotedIpv4::parse(&mut bytes[..]).unwrap();
        quote.set_source(Ipv4Addr::new(10, 0, 0, 2));
        quote.set_destination(Ipv4Addr::new(10, 0, 0, 3));
        quote.set_checksum(0x0102);
        quote.l4_mut()[0] = 0xff;
        assert_eq!(bytes[10..21], [1, 2, 10, 0, 0, 2, 10, 0, 0, 3, 0xff]);
        assert_eq!(bytes[21..], QUOTE[21..]);
    }

    #[test]
    fn refuses_what_has_no_whole_header() {
        let layer = Layer::QuotedIpv4;
        assert_eq!(
            QuotedIpv4::parse(&QUOTE[..19]).unwrap_err(),
            ParseError::Truncated { layer, needed: 20, had: 19 }
        );
        let mut bytes = QUOTE;
        bytes[0] = 0x48;
        assert_eq!(
            QuotedIpv4::parse(&bytes[..]).unwrap_err(),
            ParseError::Truncated { layer, needed: 32, had: 28 }
        );
        bytes[0] = 0x43;
        assert_eq!(
            QuotedIpv4::parse(&bytes[..]).unwrap_err(),
            ParseError::BadValue { layer, field: Field::HeaderLength, value: 3 }
        );
        bytes[0] = 0x60;
        assert_eq!(
            QuotedIpv4::parse(&bytes[..]).unwrap_err(),
            ParseError::BadValue { layer, field: Field::Version, value: 6 }
        );
    }
}
