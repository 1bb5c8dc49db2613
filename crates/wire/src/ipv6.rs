//! The fixed IPv6 header (RFC 8200 §3) and the walk over extension headers (§4).

use std::net::Ipv6Addr;

use zerocopy::byteorder::network_endian::{U16, U32};
use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Ref, SplitByteSlice, SplitByteSliceMut, Unaligned,
};

use crate::error::{Field, Layer, ParseError};
use crate::protocol::Protocol;
use crate::view;

pub mod fragment;

/// An IPv6 packet whose version and payload length agree with the bytes.
#[derive(Debug)]
pub struct Ipv6<B: SplitByteSlice> {
    header: Ref<B, Header>,
    payload: B,
}

impl<B: SplitByteSlice> Ipv6<B> {
    /// The view of the packet at the front of `bytes`. What follows its payload length (the
    /// padding of a short Ethernet frame) is not part of it.
    ///
    /// # Errors
    /// `Truncated` if header or payload length go beyond `bytes`; `BadValue` for another version;
    /// `BigTcp` for a payload length of 0 on hop-by-hop options (which need 8 bytes, so it is a
    /// jumbogram, RFC 2675 §3) or on more bytes than the field can tell.
    #[inline]
    pub fn parse(bytes: B) -> Result<Self, ParseError> {
        let had = bytes.len();
        let (header, rest) = view::split_header::<B, Header>(bytes, Layer::Ipv6)?;
        let version = header.version();
        if version != 6 {
            return Err(ParseError::BadValue {
                layer: Layer::Ipv6,
                field: Field::Version,
                value: version,
            });
        }
        let payload_len = header.payload_len.get();
        let jumbo = header.next_header == Protocol::HOP_BY_HOP || rest.len() > 0xffff;
        if payload_len == 0 && jumbo {
            return Err(ParseError::BigTcp { layer: Layer::Ipv6, had });
        }
        let (payload, _padding) =
            view::split(rest, usize::from(payload_len), Layer::Ipv6, HEADER_LEN)?;
        Ok(Self { header, payload })
    }

    /// DSCP and ECN.
    #[inline]
    pub fn traffic_class(&self) -> u8 {
        (self.header.version_class_flow.get() >> 20) as u8
    }

    /// The flow label, 20 bits.
    #[inline]
    pub fn flow_label(&self) -> u32 {
        self.header.version_class_flow.get() & FLOW_LABEL_MASK
    }

    /// Bytes after the fixed header.
    #[inline]
    pub fn payload_len(&self) -> u16 {
        self.header.payload_len.get()
    }

    /// What follows the fixed header: an upper layer or an extension header.
    #[inline]
    pub fn next_header(&self) -> Protocol {
        self.header.next_header
    }

    /// Hops that are left.
    #[inline]
    pub fn hop_limit(&self) -> u8 {
        self.header.hop_limit
    }

    /// Who sent the packet.
    #[inline]
    pub fn source(&self) -> Ipv6Addr {
        self.header.source.into()
    }

    /// Whom the packet is for.
    #[inline]
    pub fn destination(&self) -> Ipv6Addr {
        self.header.destination.into()
    }

    /// What follows the fixed header, up to the payload length, extension headers included.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// What follows the fixed header, for as long as the bytes live.
    #[inline]
    pub fn into_payload(self) -> B {
        self.payload
    }

    /// The protocol behind the extension headers, and its offset in bytes from the start of the
    /// IPv6 header.
    ///
    /// A packet that is a piece of a larger one gives [`Protocol::FRAGMENT`] and the offset of
    /// the fragment header; one whose fragment header says that it is whole is walked through
    /// (RFC 6946). Headers that are not known to be extensions are upper layers.
    ///
    /// # Errors
    /// `Truncated` if an extension header goes beyond the packet; `BadValue` for hop-by-hop
    /// options behind another header (RFC 8200 §4.1: they "must immediately follow the IPv6
    /// header"), an authentication header of length 0, and more than 8 extension headers.
    #[inline]
    pub fn upper_layer(&self) -> Result<(Protocol, usize), ParseError> {
        let next = self.next_header();
        if is_extension(next) { walk(next, &self.payload) } else { Ok((next, HEADER_LEN)) }
    }
}

/// An IPv6 header has no checksum; those of the upper layers cover the addresses.
impl<B: SplitByteSliceMut> Ipv6<B> {
    /// Writes the number of hops that are left.
    #[inline]
    pub fn set_hop_limit(&mut self, hop_limit: u8) {
        self.header.hop_limit = hop_limit;
    }

    /// Writes the source address.
    #[inline]
    pub fn set_source(&mut self, address: Ipv6Addr) {
        self.header.source = address.octets();
    }

    /// Writes the destination address.
    #[inline]
    pub fn set_destination(&mut self, address: Ipv6Addr) {
        self.header.destination = address.octets();
    }

    /// What follows the fixed header, up to the payload length.
    #[inline]
    pub fn payload_mut(&mut self) -> &mut [u8] {
        &mut self.payload
    }
}

/// The fixed header of a packet that we originate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Emit {
    /// Source address.
    pub source: Ipv6Addr,
    /// Destination address.
    pub destination: Ipv6Addr,
    /// What the payload is.
    pub next_header: Protocol,
    /// Hops that it may go.
    pub hop_limit: u8,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// The flow label; only its low 20 bits are written.
    pub flow_label: u32,
    /// Bytes after the header.
    pub payload_len: u16,
}

impl Emit {
    /// Writes the header into the first [`HEADER_LEN`] bytes of `buf`.
    ///
    /// # Panics
    /// If `buf` is shorter than that.
    #[inline]
    pub fn emit(&self, buf: &mut [u8]) {
        let class_and_flow =
            u32::from(self.traffic_class) << 20 | self.flow_label & FLOW_LABEL_MASK;
        let header = Header {
            version_class_flow: U32::new(6 << 28 | class_and_flow),
            payload_len: U16::new(self.payload_len),
            next_header: self.next_header,
            hop_limit: self.hop_limit,
            source: self.source.octets(),
            destination: self.destination.octets(),
        };
        view::write_header(buf, &header);
    }
}

/// The protocol behind the extension headers at the front of `bytes`, the first of which is a `next`
/// if it is one, and its offset in bytes. For what follows a fragment header; see
/// [`Ipv6::upper_layer`].
///
/// # Errors
/// As for [`Ipv6::upper_layer`].
pub fn upper_layer_of(next: Protocol, bytes: &[u8]) -> Result<(Protocol, usize), ParseError> {
    walk(next, bytes).map(|(protocol, offset)| (protocol, offset - HEADER_LEN))
}

/// Walks from the extension header `next` at the front of `payload`.
fn walk(mut next: Protocol, payload: &[u8]) -> Result<(Protocol, usize), ParseError> {
    let bad = |field, value| ParseError::BadValue { layer: Layer::Ipv6Extension, field, value };
    let mut rest = payload;
    for position in 0..MAX_EXTENSION_HEADERS {
        let offset = HEADER_LEN + payload.len() - rest.len();
        if !is_extension(next) {
            return Ok((next, offset));
        }
        if next == Protocol::HOP_BY_HOP && position > 0 {
            return Err(bad(Field::NextHeader, next.0.into()));
        }
        let (header, _) = view::split_header::<&[u8], Extension>(rest, Layer::Ipv6Extension)?;
        if next == Protocol::FRAGMENT && header.is_piece() {
            return Ok((Protocol::FRAGMENT, offset));
        }
        // RFC 4302 §2: the fixed part of an authentication header has 12 bytes.
        if next == Protocol::AH && header.len == 0 {
            return Err(bad(Field::HeaderLength, 0));
        }
        (_, rest) = view::split(rest, header.len(next), Layer::Ipv6Extension, 0)?;
        next = header.next_header;
    }
    if is_extension(next) {
        return Err(bad(Field::ExtensionCount, MAX_EXTENSION_HEADERS as u32 + 1));
    }
    Ok((next, HEADER_LEN + payload.len() - rest.len()))
}

#[inline]
fn is_extension(protocol: Protocol) -> bool {
    matches!(
        protocol,
        Protocol::HOP_BY_HOP
            | Protocol::ROUTING
            | Protocol::FRAGMENT
            | Protocol::AH
            | Protocol::DESTINATION_OPTIONS
    )
}

/// Bytes of the fixed header.
pub const HEADER_LEN: usize = size_of::<Header>();

/// RFC 8200 §4.1 names seven occurrences in a packet that keeps its recommendations.
const MAX_EXTENSION_HEADERS: usize = 8;

const FLOW_LABEL_MASK: u32 = 0x000f_ffff;

/// The fixed header alone, for editing a packet that was parsed before.
#[derive(Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    pub(crate) version_class_flow: U32,
    pub(crate) payload_len: U16,
    pub(crate) next_header: Protocol,
    hop_limit: u8,
    pub(crate) source: [u8; 16],
    pub(crate) destination: [u8; 16],
}

impl Header {
    /// The header at the front of `bytes`, not parsed again. `None` if there are fewer than
    /// [`HEADER_LEN`].
    #[inline]
    pub fn mut_at_front(bytes: &mut [u8]) -> Option<&mut Self> {
        Self::mut_from_prefix(bytes).ok().map(|(header, _)| header)
    }

    /// Who sent the packet.
    #[inline]
    pub fn source(&self) -> Ipv6Addr {
        self.source.into()
    }

    /// Whom the packet is for.
    #[inline]
    pub fn destination(&self) -> Ipv6Addr {
        self.destination.into()
    }

    /// Writes the source address. Checksums of upper layers are not touched.
    #[inline]
    pub fn set_source(&mut self, address: Ipv6Addr) {
        self.source = address.octets();
    }

    /// Writes the destination address. Checksums of upper layers are not touched.
    #[inline]
    pub fn set_destination(&mut self, address: Ipv6Addr) {
        self.destination = address.octets();
    }

    /// Writes the number of bytes that follow the fixed header, as when the packet is cut.
    #[inline]
    pub fn set_payload_len(&mut self, len: u16) {
        self.payload_len.set(len);
    }

    /// Takes one from the hops that are left, down to 0.
    #[inline]
    pub fn decrement_hop_limit(&mut self) {
        self.hop_limit = self.hop_limit.saturating_sub(1);
    }

    /// Gives one hop back, up to 255.
    #[inline]
    pub fn increment_hop_limit(&mut self) {
        self.hop_limit = self.hop_limit.saturating_add(1);
    }

    /// The IP version, 6 in a packet of this family.
    #[inline]
    pub(crate) fn version(&self) -> u32 {
        self.version_class_flow.get() >> 28
    }
}

/// The first 8 bytes of an extension header, which all of them have.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Extension {
    next_header: Protocol,
    len: u8,
    fragment: U16,
    _rest: U32,
}

impl Extension {
    /// Bytes of this header, which is a `kind`.
    fn len(&self, kind: Protocol) -> usize {
        match kind {
            Protocol::FRAGMENT => 8,
            // RFC 4302 §2.2: in 32-bit words, minus 2.
            Protocol::AH => (usize::from(self.len) + 2) * 4,
            // RFC 8200 §4.3: in 8-octet units, not counting the first.
            _ => (usize::from(self.len) + 1) * 8,
        }
    }

    /// Whether this fragment header stands in a piece: an offset, or more to follow.
    fn is_piece(&self) -> bool {
        self.fragment.get() & 0xfff9 != 0
    }
}

#[cfg(test)]
mod tests;
