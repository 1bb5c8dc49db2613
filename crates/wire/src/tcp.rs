//! The TCP header (RFC 9293 §3.1).

use std::fmt;
use std::ops::BitOr;

use zerocopy::byteorder::network_endian::{U16, U32};
use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Ref, SplitByteSlice, SplitByteSliceMut, Unaligned,
};

use crate::checksum;
use crate::error::{Field, Layer, ParseError};
use crate::view;

/// A segment whose data offset agrees with the bytes.
#[derive(Debug)]
pub struct Tcp<B: SplitByteSlice> {
    header: Ref<B, Header>,
    options: B,
    payload: B,
}

impl<B: SplitByteSlice> Tcp<B> {
    /// The view of `bytes`, all of which belong to the segment.
    ///
    /// # Errors
    /// `Truncated` if header or options go beyond `bytes`; `BadValue` for a data offset below 5.
    #[inline]
    pub fn parse(bytes: B) -> Result<Self, ParseError> {
        let (header, rest) = view::split_header::<B, Header>(bytes, Layer::Tcp)?;
        let Some(options_len) = header.len().checked_sub(HEADER_LEN) else {
            return Err(ParseError::BadValue {
                layer: Layer::Tcp,
                field: Field::DataOffset,
                value: (header.data_offset >> 4).into(),
            });
        };
        let (options, payload) = view::split(rest, options_len, Layer::Tcp, HEADER_LEN)?;
        Ok(Self { header, options, payload })
    }

    /// Port of the sender.
    #[inline]
    pub fn source_port(&self) -> u16 {
        self.header.source_port.get()
    }

    /// Port of the receiver.
    #[inline]
    pub fn destination_port(&self) -> u16 {
        self.header.destination_port.get()
    }

    /// Number of the first byte, or of the SYN.
    #[inline]
    pub fn sequence(&self) -> u32 {
        self.header.sequence.get()
    }

    /// Number of the byte that the sender expects next; means something with [`Flags::ACK`].
    #[inline]
    pub fn acknowledgment(&self) -> u32 {
        self.header.acknowledgment.get()
    }

    /// Bytes of the header with its options: 20 to 60.
    #[inline]
    pub fn header_len(&self) -> usize {
        self.header.len()
    }

    /// The control bits.
    #[inline]
    pub fn flags(&self) -> Flags {
        self.header.flags
    }

    /// The receive window, not scaled.
    #[inline]
    pub fn window(&self) -> u16 {
        self.header.window.get()
    }

    /// The checksum field.
    #[inline]
    pub fn checksum(&self) -> u16 {
        self.header.checksum.get()
    }

    /// Whether the checksum is right, given the sum of the pseudo-header
    /// ([`checksum::pseudo_v4`], [`checksum::pseudo_v6`]). Reads the whole segment.
    pub fn checksum_is_valid(&self, pseudo_sum: u16) -> bool {
        checksum::add(pseudo_sum, self.sum()) == 0xffff
    }

    /// Where urgent data ends; means something with [`Flags::URG`].
    #[inline]
    pub fn urgent(&self) -> u16 {
        self.header.urgent.get()
    }

    /// The options with their padding: 0 to 40 bytes.
    #[inline]
    pub fn options(&self) -> &[u8] {
        &self.options
    }

    /// What follows the header.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    fn sum(&self) -> u16 {
        let header = checksum::sum(self.header.as_bytes());
        let options = checksum::sum(&self.options);
        checksum::add(checksum::add(header, options), checksum::sum(&self.payload))
    }
}

/// Setters leave the checksum alone.
impl<B: SplitByteSliceMut> Tcp<B> {
    /// Writes the port of the sender.
    #[inline]
    pub fn set_source_port(&mut self, port: u16) {
        self.header.source_port.set(port);
    }

    /// Writes the port of the receiver.
    #[inline]
    pub fn set_destination_port(&mut self, port: u16) {
        self.header.destination_port.set(port);
    }

    /// Writes the number of the first byte.
    #[inline]
    pub fn set_sequence(&mut self, sequence: u32) {
        self.header.sequence.set(sequence);
    }

    /// Writes the control bits.
    #[inline]
    pub fn set_flags(&mut self, flags: Flags) {
        self.header.flags = flags;
    }

    /// Writes the checksum.
    #[inline]
    pub fn set_checksum(&mut self, checksum: u16) {
        self.header.checksum.set(checksum);
    }

    /// Computes the checksum afresh, given the sum of the pseudo-header.
    pub fn fill_checksum(&mut self, pseudo_sum: u16) {
        self.header.checksum.set(0);
        let sum = self.sum();
        self.header.checksum.set(!checksum::add(pseudo_sum, sum));
    }
}

/// The control bits of a segment.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(transparent)]
pub struct Flags(pub u8);

impl Flags {
    /// No more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// Synchronise sequence numbers: the first segment of a side.
    pub const SYN: Self = Self(0x02);
    /// Reset.
    pub const RST: Self = Self(0x04);
    /// Push.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgment field means something.
    pub const ACK: Self = Self(0x10);
    /// The urgent field means something.
    pub const URG: Self = Self(0x20);
    /// Congestion experienced was echoed (RFC 3168).
    pub const ECE: Self = Self(0x40);
    /// Congestion window reduced (RFC 3168).
    pub const CWR: Self = Self(0x80);

    /// Whether all bits of `other` are set.
    #[inline]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The bits that are not in `other`.
    #[inline]
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether any bit of `other` is set.
    #[inline]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for Flags {
    type Output = Self;

    #[inline]
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// As in `syn|ack`; `none` if no bit is set.
impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (bit, name) in
            ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"].iter().enumerate()
        {
            if self.0 >> bit & 1 != 0 {
                write!(f, "{separator}{name}")?;
                separator = "|";
            }
        }
        if separator.is_empty() { f.write_str("none") } else { Ok(()) }
    }
}

/// Bytes of a header without options.
pub const HEADER_LEN: usize = size_of::<Header>();

#[derive(Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    source_port: U16,
    destination_port: U16,
    sequence: U32,
    acknowledgment: U32,
    data_offset: u8,
    flags: Flags,
    window: U16,
    checksum: U16,
    urgent: U16,
}

impl Header {
    /// The header length in bytes, as its field says.
    #[inline]
    fn len(&self) -> usize {
        usize::from(self.data_offset >> 4) * 4
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::{Flags, HEADER_LEN, Tcp};
    use crate::checksum::pseudo_v4;
    use crate::error::{Field, Layer, ParseError};
    use crate::protocol::Protocol;

    /// From 192.168.1.1 to 192.168.1.2: the segment of smoltcp's tests.
    const SEGMENT: [u8; 28] = [
        0xbf, 0x00, 0x00, 0x50, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0x60, 0x35, 0x01,
        0x23, 0x01, 0xb6, 0x02, 0x01, 0x03, 0x03, 0x0c, 0x01, 0xaa, 0x00, 0x00, 0xff,
    ];

    fn pseudo() -> u16 {
        let (a, b) = (Ipv4Addr::new(192, 168, 1, 1), Ipv4Addr::new(192, 168, 1, 2));
        pseudo_v4(a, b, Protocol::TCP, 28)
    }

    #[test]
    fn deconstruct() {
        let segment = Tcp::parse(&SEGMENT[..]).unwrap();
        assert_eq!(segment.source_port(), 48_896);
        assert_eq!(segment.destination_port(), 80);
        assert_eq!(segment.sequence(), 0x0123_4567);
        assert_eq!(segment.acknowledgment(), 0x89ab_cdef);
        assert_eq!(segment.header_len(), 24);
        assert_eq!(segment.flags(), Flags::FIN | Flags::RST | Flags::ACK | Flags::URG);
        assert_eq!(segment.window(), 0x0123);
        assert_eq!(segment.urgent(), 0x0201);
        assert_eq!(segment.checksum(), 0x01b6);
        assert!(segment.checksum_is_valid(pseudo()));
        assert!(!segment.checksum_is_valid(pseudo() ^ 1));
        assert_eq!(segment.options(), [3, 3, 0x0c, 1]);
        assert_eq!(segment.payload(), [0xaa, 0x00, 0x00, 0xff]);
    }

    #[test]
    fn edit_and_fill_checksum() {
        let mut bytes = SEGMENT;
        let mut segment = Tcp::parse(&mut bytes[..]).unwrap();
        segment.set_source_port(1024);
        segment.set_destination_port(443);
        segment.set_checksum(0xbeef);
        assert!(!segment.checksum_is_valid(pseudo()));
        segment.fill_checksum(pseudo());
        assert!(segment.checksum_is_valid(pseudo()));
        segment.set_source_port(48_896);
        segment.set_destination_port(80);
        segment.fill_checksum(pseudo());
        assert_eq!(bytes, SEGMENT);
    }

    #[test]
    fn truncated() {
        let error = |needed, had| ParseError::Truncated { layer: Layer::Tcp, needed, had };
        assert_eq!(Tcp::parse(&SEGMENT[..19]).unwrap_err(), error(HEADER_LEN, 19));
        assert_eq!(Tcp::parse(&SEGMENT[..23]).unwrap_err(), error(24, 23));
    }

    #[test]
    fn impossible_data_offset() {
        let mut bytes = SEGMENT;
        bytes[12] = 0x40;
        assert_eq!(
            Tcp::parse(&bytes[..]).unwrap_err(),
            ParseError::BadValue { layer: Layer::Tcp, field: Field::DataOffset, value: 4 }
        );
    }

    #[test]
    fn flags() {
        let syn_ack = Flags::SYN | Flags::ACK;
        assert!(syn_ack.contains(Flags::SYN));
        assert!(!Flags::SYN.contains(syn_ack));
        assert!(Flags::SYN.intersects(syn_ack));
        assert!(!Flags::SYN.intersects(Flags::FIN | Flags::RST));
        assert_eq!(syn_ack.to_string(), "syn|ack");
        assert_eq!(Flags::default().to_string(), "none");
    }
}
