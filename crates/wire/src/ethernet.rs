//! The Ethernet II header.

use std::fmt;

use zerocopy::byteorder::network_endian::U16;
use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Ref, SplitByteSlice, SplitByteSliceMut, Unaligned,
};

use crate::error::{Layer, ParseError};
use crate::mac::Mac;
use crate::view;

/// A frame, without check sequence.
#[derive(Debug)]
pub struct Ethernet<B: SplitByteSlice> {
    header: Ref<B, Header>,
    payload: B,
}

impl<B: SplitByteSlice> Ethernet<B> {
    /// The view of `bytes`, which start with the destination address.
    ///
    /// # Errors
    /// `Truncated` below [`HEADER_LEN`] bytes.
    #[inline]
    pub fn parse(bytes: B) -> Result<Self, ParseError> {
        let (header, payload) = view::split_header(bytes, Layer::Ethernet)?;
        Ok(Self { header, payload })
    }

    /// Whom the frame is for.
    #[inline]
    pub fn destination(&self) -> Mac {
        self.header.destination
    }

    /// Who sent the frame.
    #[inline]
    pub fn source(&self) -> Mac {
        self.header.source
    }

    /// What the payload is.
    #[inline]
    pub fn ether_type(&self) -> EtherType {
        EtherType(self.header.ether_type.get())
    }

    /// What follows the header, padding included.
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

impl<B: SplitByteSliceMut> Ethernet<B> {
    /// Writes the destination address.
    #[inline]
    pub fn set_destination(&mut self, mac: Mac) {
        self.header.destination = mac;
    }

    /// Writes the source address.
    #[inline]
    pub fn set_source(&mut self, mac: Mac) {
        self.header.source = mac;
    }

    /// What follows the header.
    #[inline]
    pub fn payload_mut(&mut self) -> &mut [u8] {
        &mut self.payload
    }
}

/// Writes a header at the front of `buf`.
///
/// # Panics
/// If `buf` is shorter than [`HEADER_LEN`].
#[inline]
pub fn emit(buf: &mut [u8], destination: Mac, source: Mac, ether_type: EtherType) {
    view::write_header(buf, &Header { destination, source, ether_type: U16::new(ether_type.0) });
}

/// What an Ethernet payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EtherType(pub u16);

impl EtherType {
    /// IPv4.
    pub const IPV4: Self = Self(0x0800);
    /// ARP.
    pub const ARP: Self = Self(0x0806);
    /// A VLAN tag (802.1Q).
    pub const VLAN: Self = Self(0x8100);
    /// IPv6.
    pub const IPV6: Self = Self(0x86dd);
    /// A service VLAN tag (802.1ad).
    pub const QINQ: Self = Self(0x88a8);
}

impl fmt::Display for EtherType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::IPV4 => f.write_str("ipv4"),
            Self::ARP => f.write_str("arp"),
            Self::VLAN => f.write_str("vlan"),
            Self::IPV6 => f.write_str("ipv6"),
            Self::QINQ => f.write_str("qinq"),
            Self(number) => write!(f, "{number:#06x}"),
        }
    }
}

/// Bytes of an untagged header.
pub const HEADER_LEN: usize = size_of::<Header>();

#[derive(Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    destination: Mac,
    source: Mac,
    ether_type: U16,
}

#[cfg(test)]
mod tests {
    use super::{EtherType, Ethernet, HEADER_LEN, emit};
    use crate::error::{Layer, ParseError};
    use crate::mac::Mac;

    const A: Mac = Mac([0x02, 0, 0, 0, 0, 0x0a]);
    const B: Mac = Mac([0x02, 0, 0, 0, 0, 0x0b]);
    const FRAME: [u8; 16] = [2, 0, 0, 0, 0, 0x0a, 2, 0, 0, 0, 0, 0x0b, 0x08, 0x00, 0x45, 0x99];

    #[test]
    fn deconstruct() {
        let frame = Ethernet::parse(&FRAME[..]).unwrap();
        assert_eq!(frame.destination(), A);
        assert_eq!(frame.source(), B);
        assert_eq!(frame.ether_type(), EtherType::IPV4);
        assert_eq!(frame.payload(), [0x45, 0x99]);
        assert_eq!(frame.into_payload(), [0x45, 0x99]);
    }

    #[test]
    fn construct() {
        let mut bytes = [0; 16];
        emit(&mut bytes, A, B, EtherType::IPV4);
        Ethernet::parse(&mut bytes[..]).unwrap().payload_mut().copy_from_slice(&[0x45, 0x99]);
        assert_eq!(bytes, FRAME);
    }

    #[test]
    fn edit() {
        let mut bytes = FRAME;
        let mut frame = Ethernet::parse(&mut bytes[..]).unwrap();
        frame.set_destination(B);
        frame.set_source(A);
        assert_eq!(bytes[..12], [2, 0, 0, 0, 0, 0x0b, 2, 0, 0, 0, 0, 0x0a]);
        assert_eq!(bytes[12..], FRAME[12..]);
    }

    #[test]
    fn truncated() {
        assert_eq!(
            Ethernet::parse(&FRAME[..13]).unwrap_err(),
            ParseError::Truncated { layer: Layer::Ethernet, needed: HEADER_LEN, had: 13 }
        );
        assert!(Ethernet::parse(&FRAME[..HEADER_LEN]).unwrap().payload().is_empty());
    }

    #[test]
    fn ether_types_have_names() {
        assert_eq!(EtherType::ARP.to_string(), "arp");
        assert_eq!(EtherType(0x88b5).to_string(), "0x88b5");
    }
}
