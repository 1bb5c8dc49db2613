//! What a port says about a packet beside its bytes: a checksum still to be completed, a super-packet
//! still to be cut. Laid out as the kernel's `struct virtio_net_hdr` (include/uapi/linux/virtio_net.h),
//! in native byte order, so that it crosses PACKET_VNET_HDR and IFF_VNET_HDR sockets as it is.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Offload metadata of one packet; all zero means "an ordinary, complete packet".
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Offload {
    flags: u8,
    gso_type: u8,
    header_len: u16,
    gso_size: u16,
    checksum_start: u16,
    checksum_offset: u16,
}

impl Offload {
    /// An ordinary packet: checksums complete, not a super-packet.
    pub const NONE: Self = Self {
        flags: 0,
        gso_type: 0,
        header_len: 0,
        gso_size: 0,
        checksum_start: 0,
        checksum_offset: 0,
    };

    /// A packet whose checksum the next device completes (NEEDS_CSUM).
    ///
    /// `start` is where summing begins, `offset` where the field lies after it, both in bytes;
    /// `start` counts from the first byte of the frame.
    #[must_use]
    pub const fn partial_checksum(start: u16, offset: u16) -> Self {
        Self { flags: NEEDS_CSUM, checksum_start: start, checksum_offset: offset, ..Self::NONE }
    }

    /// The same packet as a super-packet of `kind`, to be cut into segments of `size` payload bytes;
    /// `header_len` is the length of all headers in bytes.
    #[must_use]
    pub const fn with_gso(self, kind: GsoKind, size: u16, header_len: u16) -> Self {
        Self { gso_type: kind as u8, gso_size: size, header_len, ..self }
    }

    /// The same super-packet, to be cut into segments of `size` payload bytes instead.
    #[must_use]
    pub const fn with_segments_of(self, size: u16) -> Self {
        Self { gso_size: size, ..self }
    }

    /// Where the next device must complete a checksum. The field then holds the uncomplemented sum
    /// of the pseudo-header, so only a change of addresses may touch it.
    #[inline]
    #[must_use]
    pub const fn partial(self) -> Option<PartialChecksum> {
        if self.flags & NEEDS_CSUM == 0 {
            return None;
        }
        Some(PartialChecksum { start: self.checksum_start, offset: self.checksum_offset })
    }

    /// True for a packet that is what its bytes say: no checksum to be completed, not a super-packet.
    #[inline]
    #[must_use]
    pub const fn is_complete(self) -> bool {
        self.flags & NEEDS_CSUM == 0 && self.gso_type == 0
    }

    /// True when somebody has found the transport checksum right (DATA_VALID).
    #[inline]
    #[must_use]
    pub const fn is_verified(self) -> bool {
        self.flags & DATA_VALID != 0
    }

    /// An ordinary packet whose transport checksum somebody has found right.
    #[must_use]
    pub const fn verified() -> Self {
        Self { flags: DATA_VALID, ..Self::NONE }
    }

    /// True for a super-packet that a device cuts on its way out (or has joined on its way in).
    #[inline]
    #[must_use]
    pub const fn is_gso(self) -> bool {
        self.gso_type != 0
    }

    /// How a super-packet is cut. `None` for an ordinary packet, and for a kind that is not known here.
    #[inline]
    #[must_use]
    pub const fn gso_kind(self) -> Option<GsoKind> {
        match self.gso_type & !GSO_ECN {
            1 => Some(GsoKind::TcpV4),
            4 => Some(GsoKind::TcpV6),
            5 => Some(GsoKind::UdpL4),
            _ => None,
        }
    }

    /// Payload bytes of each segment of a super-packet; 0 for an ordinary packet.
    #[inline]
    #[must_use]
    pub const fn gso_size(self) -> u16 {
        if self.is_gso() { self.gso_size } else { 0 }
    }

    /// Moves the place of the checksum by `bytes`, after headers grew (positive) or shrank in front
    /// of it.
    #[must_use]
    pub const fn shifted(self, bytes: i16) -> Self {
        if self.flags & NEEDS_CSUM == 0 {
            return self;
        }
        Self {
            checksum_start: self.checksum_start.wrapping_add_signed(bytes),
            header_len: self.header_len.wrapping_add_signed(bytes),
            ..self
        }
    }
}

/// The place of a checksum that is still to be completed, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartialChecksum {
    /// First byte summed, counted from the start of the frame.
    pub start: u16,
    /// The checksum field, counted from `start`.
    pub offset: u16,
}

/// How a super-packet is cut (`VIRTIO_NET_HDR_GSO_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum GsoKind {
    /// TCP over IPv4.
    TcpV4 = 1,
    /// TCP over IPv6.
    TcpV6 = 4,
    /// UDP datagrams of one size (USO).
    UdpL4 = 5,
}

/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`
const NEEDS_CSUM: u8 = 1;

/// `VIRTIO_NET_HDR_F_DATA_VALID`
const DATA_VALID: u8 = 2;

/// `VIRTIO_NET_HDR_GSO_ECN`: the first segment alone carries CWR. A bit beside the kind.
const GSO_ECN: u8 = 0x80;

#[cfg(test)]
mod tests {
    use zerocopy::{FromBytes, IntoBytes};

    use super::{GsoKind, Offload, PartialChecksum};

    #[test]
    fn has_the_kernel_layout() {
        let offload = Offload::partial_checksum(34, 16).with_gso(GsoKind::TcpV4, 1448, 66);
        let mut expected = vec![1, 1];
        for field in [66u16, 1448, 34, 16] {
            expected.extend(field.to_ne_bytes());
        }
        assert_eq!(offload.as_bytes(), expected);
        assert_eq!(Offload::read_from_bytes(&expected[..]).ok(), Some(offload));
    }

    #[test]
    fn an_ordinary_packet_has_neither() {
        assert_eq!(Offload::NONE.partial(), None);
        assert!(!Offload::NONE.is_gso());
        assert_eq!(Offload { gso_size: 9, ..Offload::NONE }.gso_size(), 0);
    }

    #[test]
    fn the_kind_is_told_beside_the_bit_for_ecn() {
        for kind in [GsoKind::TcpV4, GsoKind::TcpV6, GsoKind::UdpL4] {
            let mut offload = Offload::partial_checksum(34, 16).with_gso(kind, 1448, 66);
            assert_eq!(offload.gso_kind(), Some(kind));
            offload.gso_type |= 0x80;
            assert_eq!(offload.gso_kind(), Some(kind));
        }
        assert_eq!(Offload::NONE.gso_kind(), None);
        assert_eq!(Offload { gso_type: 3, ..Offload::NONE }.gso_kind(), None, "UFO");
    }

    #[test]
    fn shifting_moves_only_a_partial_checksum() {
        let moved = Offload::partial_checksum(34, 6).shifted(20);
        assert_eq!(moved.partial(), Some(PartialChecksum { start: 54, offset: 6 }));
        assert_eq!(Offload::NONE.shifted(20), Offload::NONE);
    }
}
