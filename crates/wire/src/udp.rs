//! The UDP header (RFC 768).

use zerocopy::byteorder::network_endian::U16;
use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Ref, SplitByteSlice, SplitByteSliceMut, Unaligned,
};

use crate::checksum;
use crate::error::{Field, Layer, ParseError};
use crate::view;

/// A datagram whose length field agrees with the bytes.
#[derive(Debug)]
pub struct Udp<B: SplitByteSlice> {
    header: Ref<B, Header>,
    payload: B,
}

impl<B: SplitByteSlice> Udp<B> {
    /// The view of the datagram at the front of `bytes`. What follows its length is not part of
    /// it.
    ///
    /// # Errors
    /// `Truncated` if the header or the length goes beyond `bytes`; `BadValue` for a length below
    /// the header's.
    #[inline]
    pub fn parse(bytes: B) -> Result<Self, ParseError> {
        let (header, rest) = view::split_header::<B, Header>(bytes, Layer::Udp)?;
        let len = header.len.get();
        let Some(payload_len) = usize::from(len).checked_sub(HEADER_LEN) else {
            let value = len.into();
            return Err(ParseError::BadValue { layer: Layer::Udp, field: Field::Length, value });
        };
        let (payload, _rest) = view::split(rest, payload_len, Layer::Udp, HEADER_LEN)?;
        Ok(Self { header, payload })
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

    /// Bytes of header and payload: the length field.
    #[expect(clippy::len_without_is_empty, reason = "a datagram has at least its header")]
    #[inline]
    pub fn len(&self) -> u16 {
        self.header.len.get()
    }

    /// The checksum field; 0 means that the sender generated none.
    #[inline]
    pub fn checksum(&self) -> u16 {
        self.header.checksum.get()
    }

    /// Whether the checksum is right or absent, given the sum of the pseudo-header
    /// ([`checksum::pseudo_v4`], [`checksum::pseudo_v6`]). Reads the whole datagram.
    pub fn checksum_is_valid(&self, pseudo_sum: u16) -> bool {
        self.checksum() == 0 || checksum::add(pseudo_sum, self.sum()) == 0xffff
    }

    /// What follows the header, up to the length field.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// What follows the header, for as long as the bytes live.
    #[inline]
    pub fn into_payload(self) -> B {
        self.payload
    }

    fn sum(&self) -> u16 {
        checksum::add(checksum::sum(self.header.as_bytes()), checksum::sum(&self.payload))
    }
}

/// Setters of ports leave the checksum alone.
impl<B: SplitByteSliceMut> Udp<B> {
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

    /// Writes the checksum.
    #[inline]
    pub fn set_checksum(&mut self, checksum: u16) {
        self.header.checksum.set(checksum);
    }

    /// Computes the checksum afresh, given the sum of the pseudo-header.
    pub fn fill_checksum(&mut self, pseudo_sum: u16) {
        self.header.checksum.set(0);
        // RFC 768: "If the computed checksum is zero, it is transmitted as all ones".
        let checksum = match !checksum::add(pseudo_sum, self.sum()) {
            0 => 0xffff,
            checksum => checksum,
        };
        self.header.checksum.set(checksum);
    }

    /// What follows the header.
    #[inline]
    pub fn payload_mut(&mut self) -> &mut [u8] {
        &mut self.payload
    }
}

/// Makes `buf`, whose payload is already in place, a datagram; its checksum covers
/// `pseudo_sum`.
///
/// # Panics
/// If `buf` is shorter than [`HEADER_LEN`] or longer than 65,535 bytes.
pub fn emit(buf: &mut [u8], source_port: u16, destination_port: u16, pseudo_sum: u16) {
    let len = u16::try_from(buf.len()).expect("a datagram that we originate fits its length field");
    let header = Header {
        source_port: U16::new(source_port),
        destination_port: U16::new(destination_port),
        len: U16::new(len),
        checksum: U16::ZERO,
    };
    view::write_header(buf, &header);
    Udp::parse(buf).expect("the header was just written").fill_checksum(pseudo_sum);
}

/// Bytes of the header.
pub const HEADER_LEN: usize = size_of::<Header>();

#[derive(Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    source_port: U16,
    destination_port: U16,
    len: U16,
    checksum: U16,
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::{HEADER_LEN, Udp, emit};
    use crate::checksum::pseudo_v4;
    use crate::error::{Field, Layer, ParseError};
    use crate::protocol::Protocol;

    /// From 192.168.1.1 to 192.168.1.2: the datagram of smoltcp's tests.
    const DATAGRAM: [u8; 12] =
        [0xbf, 0x00, 0x00, 0x35, 0x00, 0x0c, 0x12, 0x4d, 0xaa, 0x00, 0x00, 0xff];

    fn pseudo() -> u16 {
        let (a, b) = (Ipv4Addr::new(192, 168, 1, 1), Ipv4Addr::new(192, 168, 1, 2));
        pseudo_v4(a, b, Protocol::UDP, 12)
    }

    #[test]
    fn deconstruct() {
        let datagram = Udp::parse(&DATAGRAM[..]).unwrap();
        assert_eq!(datagram.source_port(), 48_896);
        assert_eq!(datagram.destination_port(), 53);
        assert_eq!(datagram.len(), 12);
        assert_eq!(datagram.checksum(), 0x124d);
        assert!(datagram.checksum_is_valid(pseudo()));
        assert!(!datagram.checksum_is_valid(pseudo() ^ 1));
        assert_eq!(datagram.payload(), [0xaa, 0x00, 0x00, 0xff]);
        assert_eq!(datagram.into_payload(), [0xaa, 0x00, 0x00, 0xff]);
    }

    #[test]
    fn construct() {
        let mut bytes = [0xee; 12];
        bytes[8..].copy_from_slice(&DATAGRAM[8..]);
        emit(&mut bytes, 48_896, 53, pseudo());
        assert_eq!(bytes, DATAGRAM);
    }

    #[test]
    fn edit() {
        let mut bytes = DATAGRAM;
        let mut datagram = Udp::parse(&mut bytes[..]).unwrap();
        datagram.set_source_port(1);
        datagram.set_destination_port(2);
        datagram.set_checksum(0);
        assert!(datagram.checksum_is_valid(pseudo()), "there is none");
        datagram.payload_mut()[3] = 7;
        assert_eq!(bytes, [0, 1, 0, 2, 0, 12, 0, 0, 0xaa, 0, 0, 7]);
    }

    /// RFC 768: "If the computed checksum is zero, it is transmitted as all ones".
    #[test]
    fn computed_zero_is_sent_as_all_ones() {
        let mut bytes = [0; 10];
        let before_payload = !(8 + 2);
        bytes[8..].copy_from_slice(&u16::to_be_bytes(before_payload));
        emit(&mut bytes, 0, 0, 0);
        assert_eq!(bytes[6..8], [0xff, 0xff]);
        assert!(Udp::parse(&bytes[..]).unwrap().checksum_is_valid(0));
    }

    #[test]
    fn truncated() {
        let error = |needed, had| ParseError::Truncated { layer: Layer::Udp, needed, had };
        assert_eq!(Udp::parse(&DATAGRAM[..7]).unwrap_err(), error(HEADER_LEN, 7));
        assert_eq!(Udp::parse(&DATAGRAM[..11]).unwrap_err(), error(12, 11));
    }

    #[test]
    fn impossible_length() {
        for len in [0u8, 7] {
            let mut bytes = DATAGRAM;
            bytes[5] = len;
            assert_eq!(
                Udp::parse(&bytes[..]).unwrap_err(),
                ParseError::BadValue { layer: Layer::Udp, field: Field::Length, value: len.into() }
            );
        }
    }

    #[test]
    fn trailing_bytes_are_not_payload() {
        let mut bytes = DATAGRAM;
        bytes[5] = 9;
        assert_eq!(Udp::parse(&bytes[..]).unwrap().payload(), [0xaa]);
    }
}
