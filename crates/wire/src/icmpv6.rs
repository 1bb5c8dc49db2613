//! ICMP for IPv6 (RFC 4443). Its checksum covers the IPv6 pseudo-header.

use std::net::Ipv6Addr;

use zerocopy::byteorder::network_endian::U16;
use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Ref, SplitByteSlice, SplitByteSliceMut, Unaligned,
};

use crate::checksum;
use crate::error::{Layer, ParseError};
use crate::protocol::Protocol;
use crate::view;

/// A message of at least 8 bytes, the length of every header that is defined.
#[derive(Debug)]
pub struct Icmpv6<B: SplitByteSlice> {
    header: Ref<B, Header>,
    payload: B,
}

impl<B: SplitByteSlice> Icmpv6<B> {
    /// The view of `bytes`, all of which belong to the message.
    ///
    /// # Errors
    /// `Truncated` below [`HEADER_LEN`] bytes.
    #[inline]
    pub fn parse(bytes: B) -> Result<Self, ParseError> {
        let (header, payload) = view::split_header(bytes, Layer::Icmpv6)?;
        Ok(Self { header, payload })
    }

    /// The type: one of the constants of this module, or another.
    #[inline]
    pub fn kind(&self) -> u8 {
        self.header.kind
    }

    /// The code, which tells more about the type.
    #[inline]
    pub fn code(&self) -> u8 {
        self.header.code
    }

    /// The checksum field.
    #[inline]
    pub fn checksum(&self) -> u16 {
        self.header.checksum.get()
    }

    /// Whether the checksum is right in a packet between these addresses. Reads the whole message.
    pub fn checksum_is_valid(&self, source: Ipv6Addr, destination: Ipv6Addr) -> bool {
        self.sum(source, destination) == 0xffff
    }

    /// The identifier of an echo request or reply.
    #[inline]
    pub fn identifier(&self) -> u16 {
        self.header.identifier.get()
    }

    /// The sequence number of an echo request or reply.
    #[inline]
    pub fn sequence(&self) -> u16 {
        self.header.sequence.get()
    }

    /// The MTU, in bytes, that a [`PACKET_TOO_BIG`] reports.
    #[inline]
    pub fn next_hop_mtu(&self) -> u32 {
        u32::from(self.identifier()) << 16 | u32::from(self.sequence())
    }

    /// Whether this reports an error and quotes the packet that it is about: RFC 4443 §2.1, the
    /// high bit of the type is 0.
    #[inline]
    pub fn is_error(&self) -> bool {
        self.header.kind < ECHO_REQUEST
    }

    /// Whether this is an echo request or reply: what has an identifier.
    #[inline]
    pub fn is_query(&self) -> bool {
        matches!(self.header.kind, ECHO_REQUEST | ECHO_REPLY)
    }

    /// What follows the first 8 bytes: echo data, or the quoted packet of an error.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// What follows the first 8 bytes, for as long as the bytes live.
    #[inline]
    pub fn into_payload(self) -> B {
        self.payload
    }

    fn sum(&self, source: Ipv6Addr, destination: Ipv6Addr) -> u16 {
        let len = HEADER_LEN + self.payload.len();
        let pseudo = checksum::pseudo_v6(source, destination, Protocol::ICMPV6, len as u32);
        let header = checksum::sum(self.header.as_bytes());
        checksum::add(checksum::add(pseudo, header), checksum::sum(&self.payload))
    }
}

/// Setters leave the checksum alone.
impl<B: SplitByteSliceMut> Icmpv6<B> {
    /// Writes the type; the length of a message does not depend on it.
    #[inline]
    pub fn set_kind(&mut self, kind: u8) {
        self.header.kind = kind;
    }

    /// Writes the identifier of an echo request or reply.
    #[inline]
    pub fn set_identifier(&mut self, identifier: u16) {
        self.header.identifier.set(identifier);
    }

    /// Writes the checksum.
    #[inline]
    pub fn set_checksum(&mut self, checksum: u16) {
        self.header.checksum.set(checksum);
    }

    /// Computes the checksum afresh for a packet between these addresses.
    pub fn fill_checksum(&mut self, source: Ipv6Addr, destination: Ipv6Addr) {
        self.header.checksum.set(0);
        let sum = self.sum(source, destination);
        self.header.checksum.set(!sum);
    }

    /// What follows the first 8 bytes.
    #[inline]
    pub fn payload_mut(&mut self) -> &mut [u8] {
        &mut self.payload
    }
}

/// The first 8 bytes of a message that we originate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Emit {
    /// Source address of the packet.
    pub source: Ipv6Addr,
    /// Destination address of the packet.
    pub destination: Ipv6Addr,
    /// The type.
    pub kind: u8,
    /// The code.
    pub code: u8,
    /// Bytes 4 to 7: identifier and sequence number, the MTU of a [`PACKET_TOO_BIG`], or 0.
    pub rest: u32,
}

impl Emit {
    /// Makes `buf`, whose payload is already in place, a message with the right checksum.
    ///
    /// # Panics
    /// If `buf` is shorter than [`HEADER_LEN`].
    pub fn emit(&self, buf: &mut [u8]) {
        let header = Header {
            kind: self.kind,
            code: self.code,
            checksum: U16::ZERO,
            identifier: U16::new((self.rest >> 16) as u16),
            sequence: U16::new(self.rest as u16),
        };
        view::write_header(buf, &header);
        Icmpv6::parse(buf)
            .expect("the header was just written")
            .fill_checksum(self.source, self.destination);
    }
}

/// Bytes before the payload.
pub const HEADER_LEN: usize = size_of::<Header>();

/// Type: destination unreachable.
pub const DEST_UNREACHABLE: u8 = 1;
/// Type: packet too big.
pub const PACKET_TOO_BIG: u8 = 2;
/// Type: time exceeded.
pub const TIME_EXCEEDED: u8 = 3;
/// Type: parameter problem.
pub const PARAMETER_PROBLEM: u8 = 4;
/// Type: echo request.
pub const ECHO_REQUEST: u8 = 128;
/// Type: reply to an echo request.
pub const ECHO_REPLY: u8 = 129;
/// Type: multicast listener query.
pub const MLD_QUERY: u8 = 130;
/// Type: router solicitation.
pub const ROUTER_SOLICITATION: u8 = 133;
/// Type: router advertisement.
pub const ROUTER_ADVERTISEMENT: u8 = 134;
/// Type: neighbor solicitation.
pub const NEIGHBOR_SOLICITATION: u8 = 135;
/// Type: neighbor advertisement.
pub const NEIGHBOR_ADVERTISEMENT: u8 = 136;
/// Type: redirect.
pub const REDIRECT: u8 = 137;
/// Type: version 2 multicast listener report.
pub const MLDV2_REPORT: u8 = 143;

/// Code of [`DEST_UNREACHABLE`]: no route to destination.
pub const NO_ROUTE: u8 = 0;
/// Code of [`DEST_UNREACHABLE`]: communication administratively prohibited.
pub const ADMINISTRATIVELY_PROHIBITED: u8 = 1;
/// Code of [`DEST_UNREACHABLE`]: address unreachable.
pub const ADDRESS_UNREACHABLE: u8 = 3;
/// Code of [`DEST_UNREACHABLE`]: port unreachable.
pub const PORT_UNREACHABLE: u8 = 4;
/// Code of [`TIME_EXCEEDED`]: no hops left in transit.
pub const HOP_LIMIT_EXCEEDED: u8 = 0;

#[derive(Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    kind: u8,
    code: u8,
    checksum: U16,
    identifier: U16,
    sequence: U16,
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::{ECHO_REPLY, ECHO_REQUEST, Emit, HEADER_LEN, Icmpv6, PACKET_TOO_BIG};
    use crate::error::{Layer, ParseError};

    /// The echo request of smoltcp's tests.
    const ECHO: [u8; 12] = [0x80, 0x00, 0x19, 0xb3, 0x12, 0x34, 0xab, 0xcd, 0xaa, 0x00, 0x00, 0xff];
    const A: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
    const B: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);

    #[test]
    fn deconstruct() {
        let echo = Icmpv6::parse(&ECHO[..]).unwrap();
        assert_eq!(echo.kind(), ECHO_REQUEST);
        assert_eq!(echo.code(), 0);
        assert_eq!(echo.checksum(), 0x19b3);
        assert!(echo.checksum_is_valid(A, B));
        assert!(!echo.checksum_is_valid(A, A));
        assert_eq!(echo.identifier(), 0x1234);
        assert_eq!(echo.sequence(), 0xabcd);
        assert_eq!(echo.payload(), [0xaa, 0x00, 0x00, 0xff]);
        assert!(echo.is_query());
        assert!(!echo.is_error());
        assert_eq!(echo.into_payload(), [0xaa, 0x00, 0x00, 0xff]);
    }

    #[test]
    fn construct() {
        let mut bytes = [0xee; 12];
        bytes[8..].copy_from_slice(&ECHO[8..]);
        let echo =
            Emit { source: A, destination: B, kind: ECHO_REQUEST, code: 0, rest: 0x1234_abcd };
        echo.emit(&mut bytes);
        assert_eq!(bytes, ECHO);
    }

    #[test]
    fn reports_the_mtu() {
        let mut bytes = [0; 48];
        Emit { source: A, destination: B, kind: PACKET_TOO_BIG, code: 0, rest: 0x0001_0578 }
            .emit(&mut bytes);
        let error = Icmpv6::parse(&bytes[..]).unwrap();
        assert!(error.is_error());
        assert!(!error.is_query());
        assert_eq!(error.next_hop_mtu(), 0x0001_0578);
    }

    #[test]
    fn edit() {
        let mut bytes = ECHO;
        let mut echo = Icmpv6::parse(&mut bytes[..]).unwrap();
        echo.set_kind(ECHO_REPLY);
        echo.set_identifier(1);
        echo.payload_mut()[0] = 0xab;
        echo.fill_checksum(B, A);
        assert!(echo.checksum_is_valid(B, A));
        echo.set_checksum(0x0102);
        assert_eq!(bytes, [0x81, 0, 1, 2, 0, 1, 0xab, 0xcd, 0xab, 0, 0, 0xff]);
    }

    #[test]
    fn truncated() {
        assert_eq!(
            Icmpv6::parse(&ECHO[..7]).unwrap_err(),
            ParseError::Truncated { layer: Layer::Icmpv6, needed: HEADER_LEN, had: 7 }
        );
    }
}
