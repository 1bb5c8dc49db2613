//! ICMP for IPv4 (RFC 792).

use zerocopy::byteorder::network_endian::U16;
use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Ref, SplitByteSlice, SplitByteSliceMut, Unaligned,
};

use crate::checksum;
use crate::error::{Layer, ParseError};
use crate::view;

/// A message of at least 8 bytes, the length of every header that is defined.
#[derive(Debug)]
pub struct Icmpv4<B: SplitByteSlice> {
    header: Ref<B, Header>,
    payload: B,
}

impl<B: SplitByteSlice> Icmpv4<B> {
    /// The view of `bytes`, all of which belong to the message.
    ///
    /// # Errors
    /// `Truncated` below [`HEADER_LEN`] bytes.
    #[inline]
    pub fn parse(bytes: B) -> Result<Self, ParseError> {
        let (header, payload) = view::split_header(bytes, Layer::Icmpv4)?;
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

    /// Whether the checksum is right. Reads the whole message.
    pub fn checksum_is_valid(&self) -> bool {
        self.sum() == 0xffff
    }

    /// The identifier of a query or its reply.
    #[inline]
    pub fn identifier(&self) -> u16 {
        self.header.identifier.get()
    }

    /// The sequence number of a query or its reply.
    #[inline]
    pub fn sequence(&self) -> u16 {
        self.header.sequence.get()
    }

    /// The MTU, in bytes, that an error with [`FRAGMENTATION_NEEDED`] reports; 0 from routers
    /// older than RFC 1191.
    #[inline]
    pub fn next_hop_mtu(&self) -> u16 {
        self.header.sequence.get()
    }

    /// Whether this reports an error and quotes the packet that it is about (RFC 1122 §3.2.2).
    #[inline]
    pub fn is_error(&self) -> bool {
        matches!(
            self.header.kind,
            DEST_UNREACHABLE | SOURCE_QUENCH | REDIRECT | TIME_EXCEEDED | PARAMETER_PROBLEM
        )
    }

    /// Whether this is a query or the reply to one, with an identifier: echo, timestamp,
    /// information or address mask.
    #[inline]
    pub fn is_query(&self) -> bool {
        matches!(
            self.header.kind,
            ECHO_REPLY | ECHO_REQUEST | TIMESTAMP_REQUEST..=ADDRESS_MASK_REPLY
        )
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

    fn sum(&self) -> u16 {
        checksum::add(checksum::sum(self.header.as_bytes()), checksum::sum(&self.payload))
    }
}

/// Setters leave the checksum alone.
impl<B: SplitByteSliceMut> Icmpv4<B> {
    /// Writes the type; the length of a message does not depend on it.
    #[inline]
    pub fn set_kind(&mut self, kind: u8) {
        self.header.kind = kind;
    }

    /// Writes the identifier of a query or its reply.
    #[inline]
    pub fn set_identifier(&mut self, identifier: u16) {
        self.header.identifier.set(identifier);
    }

    /// Writes the checksum.
    #[inline]
    pub fn set_checksum(&mut self, checksum: u16) {
        self.header.checksum.set(checksum);
    }

    /// Computes the checksum afresh.
    pub fn fill_checksum(&mut self) {
        self.header.checksum.set(0);
        let sum = self.sum();
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
    /// The type.
    pub kind: u8,
    /// The code.
    pub code: u8,
    /// Bytes 4 and 5: the identifier; 0 in most errors.
    pub identifier: u16,
    /// Bytes 6 and 7: the sequence number, or the next-hop MTU of [`FRAGMENTATION_NEEDED`].
    pub sequence: u16,
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
            identifier: U16::new(self.identifier),
            sequence: U16::new(self.sequence),
        };
        view::write_header(buf, &header);
        Icmpv4::parse(buf).expect("the header was just written").fill_checksum();
    }
}

/// Bytes before the payload.
pub const HEADER_LEN: usize = size_of::<Header>();

/// Type: reply to an echo request.
pub const ECHO_REPLY: u8 = 0;
/// Type: destination unreachable.
pub const DEST_UNREACHABLE: u8 = 3;
/// Type: source quench (deprecated by RFC 6633).
pub const SOURCE_QUENCH: u8 = 4;
/// Type: redirect.
pub const REDIRECT: u8 = 5;
/// Type: echo request.
pub const ECHO_REQUEST: u8 = 8;
/// Type: time exceeded.
pub const TIME_EXCEEDED: u8 = 11;
/// Type: parameter problem.
pub const PARAMETER_PROBLEM: u8 = 12;
/// Type: timestamp request.
pub const TIMESTAMP_REQUEST: u8 = 13;
/// Type: timestamp reply.
pub const TIMESTAMP_REPLY: u8 = 14;
/// Type: address mask reply, the last query type with an identifier.
pub const ADDRESS_MASK_REPLY: u8 = 18;

/// Code of [`DEST_UNREACHABLE`]: network unreachable.
pub const NET_UNREACHABLE: u8 = 0;
/// Code of [`DEST_UNREACHABLE`]: host unreachable.
pub const HOST_UNREACHABLE: u8 = 1;
/// Code of [`DEST_UNREACHABLE`]: protocol unreachable.
pub const PROTOCOL_UNREACHABLE: u8 = 2;
/// Code of [`DEST_UNREACHABLE`]: port unreachable.
pub const PORT_UNREACHABLE: u8 = 3;
/// Code of [`DEST_UNREACHABLE`]: too big for the next hop, and not to be fragmented.
pub const FRAGMENTATION_NEEDED: u8 = 4;
/// Code of [`DEST_UNREACHABLE`]: communication administratively prohibited (RFC 1812 §5.2.7.1).
pub const ADMINISTRATIVELY_PROHIBITED: u8 = 13;
/// Code of [`TIME_EXCEEDED`]: no hops left in transit.
pub const TTL_EXCEEDED: u8 = 0;
/// Code of [`TIME_EXCEEDED`]: fragments missing for too long.
pub const REASSEMBLY_TIME_EXCEEDED: u8 = 1;

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
    use super::{
        ADDRESS_MASK_REPLY, DEST_UNREACHABLE, ECHO_REPLY, ECHO_REQUEST, Emit, FRAGMENTATION_NEEDED,
        HEADER_LEN, Icmpv4, TIME_EXCEEDED, TIMESTAMP_REQUEST,
    };
    use crate::error::{Layer, ParseError};

    /// The echo request of smoltcp's tests.
    const ECHO: [u8; 12] = [0x08, 0x00, 0x8e, 0xfe, 0x12, 0x34, 0xab, 0xcd, 0xaa, 0x00, 0x00, 0xff];

    #[test]
    fn deconstruct() {
        let echo = Icmpv4::parse(&ECHO[..]).unwrap();
        assert_eq!(echo.kind(), ECHO_REQUEST);
        assert_eq!(echo.code(), 0);
        assert_eq!(echo.checksum(), 0x8efe);
        assert!(echo.checksum_is_valid());
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
        Emit { kind: ECHO_REQUEST, code: 0, identifier: 0x1234, sequence: 0xabcd }.emit(&mut bytes);
        assert_eq!(bytes, ECHO);
    }

    #[test]
    fn reports_the_mtu() {
        let mut bytes = [0; 36];
        let error = Emit {
            kind: DEST_UNREACHABLE,
            code: FRAGMENTATION_NEEDED,
            identifier: 0,
            sequence: 1400,
        };
        error.emit(&mut bytes);
        let error = Icmpv4::parse(&bytes[..]).unwrap();
        assert!(error.is_error());
        assert_eq!(error.next_hop_mtu(), 1400);
        assert!(error.checksum_is_valid());
    }

    #[test]
    fn edit() {
        let mut bytes = ECHO;
        let mut echo = Icmpv4::parse(&mut bytes[..]).unwrap();
        echo.set_kind(ECHO_REPLY);
        echo.set_identifier(1);
        echo.payload_mut()[0] = 0xab;
        assert!(!echo.checksum_is_valid());
        echo.fill_checksum();
        assert!(echo.checksum_is_valid());
        echo.set_checksum(0x0102);
        assert_eq!(bytes, [0, 0, 1, 2, 0, 1, 0xab, 0xcd, 0xab, 0, 0, 0xff]);
    }

    #[test]
    fn truncated() {
        assert_eq!(
            Icmpv4::parse(&ECHO[..7]).unwrap_err(),
            ParseError::Truncated { layer: Layer::Icmpv4, needed: HEADER_LEN, had: 7 }
        );
    }

    #[test]
    fn every_type_is_error_query_or_neither() {
        let errors = [3, 4, 5, TIME_EXCEEDED, 12];
        for kind in 0..=u8::MAX {
            let bytes = [kind, 0, 0, 0, 0, 0, 0, 0];
            let message = Icmpv4::parse(&bytes[..]).unwrap();
            let query = matches!(kind, ECHO_REPLY | ECHO_REQUEST)
                || (TIMESTAMP_REQUEST..=ADDRESS_MASK_REPLY).contains(&kind);
            assert_eq!(message.is_error(), errors.contains(&kind), "{kind}");
            assert_eq!(message.is_query(), query, "{kind}");
        }
    }
}
