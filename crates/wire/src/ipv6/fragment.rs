//! The fragment header (RFC 8200 §4.5), which every piece of an IPv6 packet has.

use zerocopy::byteorder::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::{Layer, ParseError};
use crate::protocol::Protocol;
use crate::view;

/// A fragment header.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct Fragment {
    next_header: Protocol,
    _reserved: u8,
    offset_and_more: U16,
    identification: U32,
}

impl Fragment {
    /// The header at the front of `bytes`.
    ///
    /// # Errors
    /// `Truncated` if there are fewer than [`HEADER_LEN`].
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let (header, _) = view::split_header::<&[u8], Self>(bytes, Layer::Ipv6Extension)?;
        Ok(*header)
    }

    /// The header at the front of `bytes`, to be edited. `None` if there are fewer than
    /// [`HEADER_LEN`].
    #[inline]
    pub fn mut_at_front(bytes: &mut [u8]) -> Option<&mut Self> {
        Self::mut_from_prefix(bytes).ok().map(|(header, _)| header)
    }

    /// What follows the header in the first piece; in a later one it says nothing (RFC 8200 §4.5).
    #[inline]
    #[must_use]
    pub const fn next_header(&self) -> Protocol {
        self.next_header
    }

    /// Where the payload lies in that of the whole packet, in bytes.
    #[inline]
    #[must_use]
    pub fn offset(&self) -> u16 {
        self.offset_and_more.get() & OFFSET_MASK
    }

    /// Whether pieces follow this one.
    #[inline]
    #[must_use]
    pub fn more(&self) -> bool {
        self.offset_and_more.get() & MORE != 0
    }

    /// What the pieces of one packet have in common.
    #[inline]
    #[must_use]
    pub fn identification(&self) -> u32 {
        self.identification.get()
    }

    /// Sets what the pieces of one packet have in common.
    #[inline]
    pub fn set_identification(&mut self, identification: u32) {
        self.identification.set(identification);
    }
}

/// Bytes of the header.
pub const HEADER_LEN: usize = size_of::<Fragment>();

const OFFSET_MASK: u16 = 0xfff8;
const MORE: u16 = 1;

#[cfg(test)]
mod tests {
    use super::Fragment;
    use crate::Protocol;

    const BYTES: [u8; 9] = [17, 0xff, 0x05, 0xa9, 0xde, 0xad, 0xbe, 0xef, 0x77];

    #[test]
    fn fields_of_a_middle_piece() {
        let fragment = Fragment::parse(&BYTES).unwrap();
        assert_eq!(fragment.next_header(), Protocol::UDP);
        assert_eq!((fragment.offset(), fragment.more()), (1448, true));
        assert_eq!(fragment.identification(), 0xdead_beef);
        assert!(Fragment::parse(&BYTES[..7]).is_err());
    }

    #[test]
    fn another_identification_changes_nothing_else() {
        let mut bytes = BYTES;
        Fragment::mut_at_front(&mut bytes).unwrap().set_identification(0x0102_0304);
        assert_eq!(bytes, [17, 0xff, 0x05, 0xa9, 1, 2, 3, 4, 0x77]);
    }
}
