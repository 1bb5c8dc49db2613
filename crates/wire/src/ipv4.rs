//! The IPv4 header (RFC 791).
//!
//! [`Ipv4`] is for packets that we carry: header, options and payload are all there. The header
//! quoted in an ICMP error keeps fewer promises and has its own view in [`crate::quote`].

use std::net::Ipv4Addr;

use zerocopy::byteorder::network_endian::U16;
use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Ref, SplitByteSlice, SplitByteSliceMut, Unaligned,
};

use crate::checksum::{self, Delta};
use crate::error::{Field, Layer, ParseError};
use crate::protocol::Protocol;
use crate::view;

/// An IPv4 packet: its version, header length and total length agree with the bytes.
///
/// Its checksum may be wrong: see [`Self::checksum_is_valid`].
#[derive(Debug)]
pub struct Ipv4<B: SplitByteSlice> {
    header: Ref<B, Header>,
    options: B,
    payload: B,
}

impl<B: SplitByteSlice> Ipv4<B> {
    /// The view of the packet at the front of `bytes`. What follows its total length (the
    /// padding of a short Ethernet frame) is not part of it.
    ///
    /// # Errors
    /// `Truncated` if header, options or total length go beyond `bytes`; `BadValue` for another
    /// version, a header length below 5 or a total length below the header's; `BigTcp` for a
    /// total length of 0.
    #[inline]
    pub fn parse(bytes: B) -> Result<Self, ParseError> {
        let had = bytes.len();
        let (header, rest) = view::split_header::<B, Header>(bytes, Layer::Ipv4)?;
        let header_len = header.checked_len(Layer::Ipv4)?;
        if had < header_len {
            return Err(ParseError::Truncated { layer: Layer::Ipv4, needed: header_len, had });
        }
        let total_len = usize::from(header.total_len.get());
        if total_len == 0 {
            return Err(ParseError::BigTcp { layer: Layer::Ipv4, had });
        }
        if total_len < header_len {
            return Err(ParseError::BadValue {
                layer: Layer::Ipv4,
                field: Field::Length,
                value: total_len as u32,
            });
        }
        let (rest, _padding) = view::split(rest, total_len - HEADER_LEN, Layer::Ipv4, HEADER_LEN)?;
        let (options, payload) =
            view::split(rest, header_len - HEADER_LEN, Layer::Ipv4, HEADER_LEN)?;
        Ok(Self { header, options, payload })
    }

    /// Bytes of the header with its options: 20 to 60.
    #[inline]
    pub fn header_len(&self) -> usize {
        self.header.len()
    }

    /// Bytes of header and payload.
    #[inline]
    pub fn total_len(&self) -> u16 {
        self.header.total_len.get()
    }

    /// Type of service: DSCP and ECN.
    #[inline]
    pub fn tos(&self) -> u8 {
        self.header.tos
    }

    /// What the fragments of one packet have in common.
    #[inline]
    pub fn identification(&self) -> u16 {
        self.header.identification.get()
    }

    /// Whether routers may not fragment the packet.
    #[inline]
    pub fn dont_fragment(&self) -> bool {
        self.header.flags_and_offset.get() & DONT_FRAGMENT != 0
    }

    /// Whether fragments follow this one.
    #[inline]
    pub fn more_fragments(&self) -> bool {
        self.header.flags_and_offset.get() & MORE_FRAGMENTS != 0
    }

    /// Where the payload lies in that of the whole packet, in bytes.
    #[inline]
    pub fn fragment_offset(&self) -> u16 {
        self.header.fragment_offset()
    }

    /// Whether this is a piece of a packet, the first or a later one.
    #[inline]
    pub fn is_fragment(&self) -> bool {
        self.header.flags_and_offset.get() & (MORE_FRAGMENTS | OFFSET_MASK) != 0
    }

    /// Hops that are left.
    #[inline]
    pub fn ttl(&self) -> u8 {
        self.header.ttl
    }

    /// What the payload is.
    #[inline]
    pub fn protocol(&self) -> Protocol {
        self.header.protocol
    }

    /// The header checksum field.
    #[inline]
    pub fn checksum(&self) -> u16 {
        self.header.checksum.get()
    }

    /// Whether the header checksum is right. Reads the whole header.
    #[inline]
    pub fn checksum_is_valid(&self) -> bool {
        self.header.sum(&self.options) == 0xffff
    }

    /// Who sent the packet.
    #[inline]
    pub fn source(&self) -> Ipv4Addr {
        self.header.source.into()
    }

    /// Whom the packet is for.
    #[inline]
    pub fn destination(&self) -> Ipv4Addr {
        self.header.destination.into()
    }

    /// The options with their padding: 0 to 40 bytes.
    #[inline]
    pub fn options(&self) -> &[u8] {
        &self.options
    }

    /// What follows the header, up to the total length.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// What follows the header, for as long as the bytes live.
    #[inline]
    pub fn into_payload(self) -> B {
        self.payload
    }
}

/// Setters leave the checksum alone: apply a delta to it, or [`Ipv4::fill_checksum`].
impl<B: SplitByteSliceMut> Ipv4<B> {
    /// Writes the number of hops that are left.
    #[inline]
    pub fn set_ttl(&mut self, ttl: u8) {
        self.header.ttl = ttl;
    }

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

    /// Writes the header checksum.
    #[inline]
    pub fn set_checksum(&mut self, checksum: u16) {
        self.header.checksum.set(checksum);
    }

    /// Computes the header checksum afresh.
    #[inline]
    pub fn fill_checksum(&mut self) {
        self.header.checksum.set(0);
        let sum = self.header.sum(&self.options);
        self.header.checksum.set(!sum);
    }

    /// What follows the header.
    #[inline]
    pub fn payload_mut(&mut self) -> &mut [u8] {
        &mut self.payload
    }
}

/// The header of a packet that we originate: no options, not a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Emit {
    /// Source address.
    pub source: Ipv4Addr,
    /// Destination address.
    pub destination: Ipv4Addr,
    /// What the payload is.
    pub protocol: Protocol,
    /// Hops that it may go.
    pub ttl: u8,
    /// DSCP and ECN.
    pub tos: u8,
    /// Must not repeat while a fragment of an earlier packet may live, unless `dont_fragment`.
    pub identification: u16,
    /// Whether routers may not fragment it.
    pub dont_fragment: bool,
    /// Bytes after the header, at most 65,515.
    pub payload_len: u16,
}

impl Emit {
    /// Writes the header, checksum included, into the first [`HEADER_LEN`] bytes of `buf`.
    ///
    /// # Panics
    /// If `buf` is shorter than that, or `payload_len` leaves no room for the header in the
    /// total length.
    #[inline]
    pub fn emit(&self, buf: &mut [u8]) {
        let total_len = self
            .payload_len
            .checked_add(HEADER_LEN as u16)
            .expect("a packet that we originate fits the total length field");
        let mut header = Header {
            version_and_len: 0x45,
            tos: self.tos,
            total_len: U16::new(total_len),
            identification: U16::new(self.identification),
            flags_and_offset: U16::new(if self.dont_fragment { DONT_FRAGMENT } else { 0 }),
            ttl: self.ttl,
            protocol: self.protocol,
            checksum: U16::ZERO,
            source: self.source.octets(),
            destination: self.destination.octets(),
        };
        header.checksum.set(!header.sum(&[]));
        view::write_header(buf, &header);
    }
}

/// Bytes of a header without options.
pub const HEADER_LEN: usize = size_of::<Header>();

const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET_MASK: u16 = 0x1fff;

/// The fixed part of a header, for a translator that edits a packet parsed before: it names the few
/// fields that translation touches, and no setter can break what [`Ipv4::parse`] found.
#[derive(Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    pub(crate) version_and_len: u8,
    pub(crate) tos: u8,
    pub(crate) total_len: U16,
    pub(crate) identification: U16,
    pub(crate) flags_and_offset: U16,
    pub(crate) ttl: u8,
    pub(crate) protocol: Protocol,
    pub(crate) checksum: U16,
    pub(crate) source: [u8; 4],
    pub(crate) destination: [u8; 4],
}

impl Header {
    /// The header at the front of `bytes`, not parsed again. `None` if there are fewer than
    /// [`HEADER_LEN`].
    #[inline]
    pub fn mut_at_front(bytes: &mut [u8]) -> Option<&mut Self> {
        Self::mut_from_prefix(bytes).ok().map(|(header, _)| header)
    }

    /// The header checksum field.
    #[inline]
    pub fn checksum(&self) -> u16 {
        self.checksum.get()
    }

    /// Who sent the packet.
    #[inline]
    pub fn source(&self) -> Ipv4Addr {
        self.source.into()
    }

    /// Whom the packet is for.
    #[inline]
    pub fn destination(&self) -> Ipv4Addr {
        self.destination.into()
    }

    /// Sets the header checksum field.
    #[inline]
    pub fn set_checksum(&mut self, checksum: u16) {
        self.checksum.set(checksum);
    }

    /// Sets the source, not the checksum.
    #[inline]
    pub fn set_source(&mut self, address: Ipv4Addr) {
        self.source = address.octets();
    }

    /// Sets the destination, not the checksum.
    #[inline]
    pub fn set_destination(&mut self, address: Ipv4Addr) {
        self.destination = address.octets();
    }

    /// Whether the packet is a fragment, be it the first one.
    #[inline]
    pub fn is_piece(&self) -> bool {
        self.flags_and_offset.get() & (MORE_FRAGMENTS | OFFSET_MASK) != 0
    }

    /// Sets what the fragments of one packet have in common, and says what the header's sum changed by.
    #[inline]
    pub fn set_identification(&mut self, identification: u16) -> Delta {
        let old = self.identification.get();
        self.identification.set(identification);
        Delta::of(old, identification)
    }

    /// Makes it the header of a piece of its packet, `total_len` bytes long with the header, whose
    /// payload begins at byte `offset` of the whole one; `more` pieces follow. Not the checksum.
    #[inline]
    pub fn become_piece(&mut self, total_len: u16, offset: u16, more: bool) {
        self.total_len.set(total_len);
        let more = if more { MORE_FRAGMENTS } else { 0 };
        self.flags_and_offset.set(more | offset >> 3 & OFFSET_MASK);
    }

    /// Makes it the header of the segment `number` (from 0) of a packet that a sender left to be cut:
    /// `total_len` bytes with the header, identifications counting up. Not the checksum.
    #[inline]
    pub fn become_segment(&mut self, total_len: u16, number: u16) {
        self.total_len.set(total_len);
        self.identification.set(self.identification.get().wrapping_add(number));
    }

    /// Takes one from the hops that are left, down to 0, and says what the header's sum changed by.
    #[inline]
    pub fn decrement_ttl(&mut self) -> Delta {
        let old = self.ttl;
        self.ttl = old.saturating_sub(1);
        Delta::of(
            u16::from_be_bytes([old, self.protocol.0]),
            u16::from_be_bytes([self.ttl, self.protocol.0]),
        )
    }

    /// Gives one hop back, up to 255, and says what the header's sum changed by.
    #[inline]
    pub fn increment_ttl(&mut self) -> Delta {
        let old = self.ttl;
        self.ttl = old.saturating_add(1);
        Delta::of(
            u16::from_be_bytes([old, self.protocol.0]),
            u16::from_be_bytes([self.ttl, self.protocol.0]),
        )
    }

    /// The header length in bytes, once version and length are found to be possible.
    #[inline]
    pub(crate) fn checked_len(&self, layer: Layer) -> Result<usize, ParseError> {
        let version = self.version_and_len >> 4;
        if version != 4 {
            let value = version.into();
            return Err(ParseError::BadValue { layer, field: Field::Version, value });
        }
        if self.len() < HEADER_LEN {
            let value = (self.version_and_len & 0x0f).into();
            return Err(ParseError::BadValue { layer, field: Field::HeaderLength, value });
        }
        Ok(self.len())
    }

    /// The header length in bytes, as its field says.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        usize::from(self.version_and_len & 0x0f) * 4
    }

    #[inline]
    pub(crate) fn fragment_offset(&self) -> u16 {
        (self.flags_and_offset.get() & OFFSET_MASK) << 3
    }

    /// The sum of the header with these options; 0xffff if the checksum in it is right.
    #[inline]
    pub(crate) fn sum(&self, options: &[u8]) -> u16 {
        let header = checksum::sum(self.as_bytes());
        // Nearly no packet has options, and the sum of 20 bytes has no loop.
        if options.is_empty() { header } else { checksum::add(header, checksum::sum(options)) }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::{Emit, HEADER_LEN, Header, Ipv4};
    use crate::checksum::apply;
    use crate::error::{Field, Layer, ParseError};
    use crate::protocol::Protocol;

    /// From 192.168.0.1 to 192.168.0.199, with four bytes of payload.
    const PACKET: [u8; 24] = [
        0x45, 0x00, 0x00, 0x18, 0x12, 0x34, 0x40, 0x00, 0x40, 0x11, 0xa6, 0x88, 0xc0, 0xa8, 0x00,
        0x01, 0xc0, 0xa8, 0x00, 0xc7, 0xde, 0xad, 0xbe, 0xef,
    ];

    const EMIT: Emit = Emit {
        source: Ipv4Addr::new(192, 168, 0, 1),
        destination: Ipv4Addr::new(192, 168, 0, 199),
        protocol: Protocol::UDP,
        ttl: 64,
        tos: 0,
        identification: 0x1234,
        dont_fragment: true,
        payload_len: 4,
    };

    #[test]
    fn deconstruct() {
        let packet = Ipv4::parse(&PACKET[..]).unwrap();
        assert_eq!(packet.header_len(), 20);
        assert_eq!(packet.total_len(), 24);
        assert_eq!(packet.tos(), 0);
        assert_eq!(packet.identification(), 0x1234);
        assert!(packet.dont_fragment());
        assert!(!packet.more_fragments());
        assert!(!packet.is_fragment());
        assert_eq!(packet.fragment_offset(), 0);
        assert_eq!(packet.ttl(), 64);
        assert_eq!(packet.protocol(), Protocol::UDP);
        assert_eq!(packet.source(), EMIT.source);
        assert_eq!(packet.destination(), EMIT.destination);
        assert!(packet.options().is_empty());
        assert_eq!(packet.payload(), [0xde, 0xad, 0xbe, 0xef]);
        assert!(packet.checksum_is_valid());
        assert_eq!(packet.checksum(), 0xa688);
    }

    #[test]
    fn construct() {
        let mut bytes = [0; 24];
        EMIT.emit(&mut bytes);
        Ipv4::parse(&mut bytes[..])
            .unwrap()
            .payload_mut()
            .copy_from_slice(&[0xde, 0xad, 0xbe, 0xef]);
        assert_eq!(bytes, PACKET);
    }

    #[test]
    fn another_identification_is_told_to_the_checksum() {
        let mut bytes = PACKET;
        let header = Header::mut_at_front(&mut bytes).unwrap();
        let delta = header.set_identification(0xbeef);
        header.set_checksum(apply(header.checksum(), delta));
        let packet = Ipv4::parse(&bytes[..]).unwrap();
        assert_eq!(packet.identification(), 0xbeef);
        assert!(packet.checksum_is_valid());
    }

    #[test]
    fn edit_and_fill_checksum() {
        let mut bytes = PACKET;
        let mut packet = Ipv4::parse(&mut bytes[..]).unwrap();
        packet.set_ttl(63);
        packet.set_source(Ipv4Addr::new(203, 0, 113, 10));
        packet.set_destination(Ipv4Addr::new(10, 0, 0, 2));
        assert!(!packet.checksum_is_valid());
        packet.fill_checksum();
        assert!(packet.checksum_is_valid());
        assert_eq!(bytes[8], 63);
        assert_eq!(bytes[12..20], [203, 0, 113, 10, 10, 0, 0, 2]);
        Ipv4::parse(&mut bytes[..]).unwrap().set_checksum(0xbeef);
        assert_eq!(bytes[10..12], [0xbe, 0xef]);
    }

    #[test]
    fn options_and_padding_are_not_payload() {
        let mut bytes = [0u8; 46];
        bytes[..20].copy_from_slice(&PACKET[..20]);
        bytes[0] = 0x46;
        bytes[3] = 26;
        bytes[20..24].copy_from_slice(&[0x94, 0x04, 0, 0]);
        bytes[24..26].copy_from_slice(&[1, 2]);
        let mut packet = Ipv4::parse(&mut bytes[..]).unwrap();
        packet.fill_checksum();
        assert!(packet.checksum_is_valid());
        assert_eq!(packet.header_len(), 24);
        assert_eq!(packet.options(), [0x94, 0x04, 0, 0]);
        assert_eq!(packet.payload(), [1, 2]);
        assert_eq!(packet.into_payload(), [1, 2]);
    }

    #[test]
    fn fragments() {
        for (field, more, offset, fragment) in [
            (0x0000u16, false, 0, false),
            (0x4000, false, 0, false),
            (0x2000, true, 0, true),
            (0x2001, true, 8, true),
            (0x1fff, false, 65_528, true),
        ] {
            let mut bytes = PACKET;
            bytes[6..8].copy_from_slice(&field.to_be_bytes());
            let packet = Ipv4::parse(&bytes[..]).unwrap();
            assert_eq!(packet.more_fragments(), more, "{field:#06x}");
            assert_eq!(packet.fragment_offset(), offset, "{field:#06x}");
            assert_eq!(packet.is_fragment(), fragment, "{field:#06x}");
        }
    }

    #[test]
    fn truncated() {
        let error = |needed, had| ParseError::Truncated { layer: Layer::Ipv4, needed, had };
        assert_eq!(Ipv4::parse(&PACKET[..19]).unwrap_err(), error(HEADER_LEN, 19));
        assert_eq!(Ipv4::parse(&PACKET[..23]).unwrap_err(), error(24, 23));
        let mut bytes = PACKET;
        bytes[0] = 0x4f;
        assert_eq!(Ipv4::parse(&bytes[..]).unwrap_err(), error(60, 24));
    }

    #[test]
    fn impossible_values() {
        let with = |at: usize, value: u8| {
            let mut bytes = PACKET;
            bytes[at] = value;
            Ipv4::parse(&bytes[..]).map(|_| ()).unwrap_err()
        };
        let error = |field, value| ParseError::BadValue { layer: Layer::Ipv4, field, value };
        assert_eq!(with(0, 0x65), error(Field::Version, 6));
        assert_eq!(with(0, 0x44), error(Field::HeaderLength, 4));
        assert_eq!(with(3, 19), error(Field::Length, 19));
        let mut with_options = PACKET;
        with_options[0] = 0x46;
        with_options[3] = 22;
        assert_eq!(Ipv4::parse(&with_options[..]).unwrap_err(), error(Field::Length, 22));
        assert_eq!(with(3, 0), ParseError::BigTcp { layer: Layer::Ipv4, had: 24 });
    }
}
