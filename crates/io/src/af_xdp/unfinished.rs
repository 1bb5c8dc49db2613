//! Tells a checksum that its sender left to the next device (NEEDS_CSUM) from a complete one.
//!
//! An AF_XDP socket does not say: the frames of a virtual device come with the field holding the sum of the
//! pseudo-header, uncomplemented, and nothing beside. But that is what gives them away. A complete checksum
//! equals that sum by chance in one packet of 65,536, and then completing it gives what was there already.
//! See docs/decisions/0010-af-xdp.md.

use mooring_packet::Offload;
use mooring_wire::{Protocol, checksum};

use crate::seam::Layout;

/// What the frame's checksum still needs. Reads headers only.
pub(super) fn offload(frame: &[u8]) -> Offload {
    let Some(layout) = Layout::of(frame) else { return Offload::NONE };
    let offset = match layout.protocol {
        Protocol::TCP => 16,
        Protocol::UDP => 6,
        Protocol::SCTP => return sctp(frame, layout),
        _ => return Offload::NONE,
    };
    let Some(field) = frame.get(layout.transport + offset..).and_then(<[u8]>::first_chunk) else {
        return Offload::NONE;
    };
    let len = layout.end.saturating_sub(layout.transport) as u16;
    let pseudo = checksum::add(layout.pseudo_sum, len);
    let is_left = match u16::from_be_bytes(*field) {
        // RFC 768: "an all zero transmitted checksum value means that the transmitter generated no checksum".
        0 => layout.protocol == Protocol::TCP && pseudo == 0xffff,
        sum => sum == pseudo,
    };
    if !is_left {
        return Offload::NONE;
    }
    Offload::partial_checksum(layout.transport as u16, offset as u16)
}

/// What is left of a CRC is zero.
fn sctp(frame: &[u8], layout: Layout) -> Offload {
    match frame.get(layout.transport + SCTP_CHECKSUM..).and_then(<[u8]>::first_chunk) {
        Some([0, 0, 0, 0]) => {
            Offload::partial_checksum(layout.transport as u16, SCTP_CHECKSUM as u16)
        }
        _ => Offload::NONE,
    }
}

/// Where the checksum lies in an SCTP header (RFC 9260 §3.1).
const SCTP_CHECKSUM: usize = 8;

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;
    use mooring_packet::Offload;
    use mooring_wire::checksum;
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::offload;
    use crate::seam::Layout;

    /// A TCP or UDP packet, its checksum complete.
    fn frame(ipv6: bool, tcp: bool, payload: &[u8]) -> Vec<u8> {
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6]);
        let builder = match ipv6 {
            true => builder.ipv6([1; 16], [2; 16], 64),
            false => builder.ipv4([10, 0, 0, 2], [192, 0, 2, 2], 64),
        };
        let mut frame = Vec::new();
        let written = match tcp {
            true => builder.tcp(40_000, 80, 7, 512).write(&mut frame, payload),
            false => builder.udp(40_000, 53).write(&mut frame, payload),
        };
        written.expect("memory has no errors");
        frame
    }

    /// The same with the checksum left to the next device, as the kernel does it, and where.
    fn left(mut frame: Vec<u8>, tcp: bool) -> (Vec<u8>, Offload) {
        let layout = Layout::of(&frame).expect("an IP packet");
        let len = (layout.end - layout.transport) as u16;
        let offset = if tcp { 16 } else { 6 };
        let sum = checksum::add(layout.pseudo_sum, len);
        frame[layout.transport + offset..][..2].copy_from_slice(&sum.to_be_bytes());
        (frame, Offload::partial_checksum(layout.transport as u16, offset as u16))
    }

    proptest! {
        #[test]
        fn a_checksum_that_was_left_is_found(
            ipv6 in any::<bool>(), tcp in any::<bool>(), payload: [u8; 9],
        ) {
            let (frame, expected) = left(frame(ipv6, tcp, &payload), tcp);
            prop_assert_eq!(offload(&frame), expected);
        }
    }

    #[test]
    fn a_complete_checksum_stays_as_it_is() {
        for (ipv6, tcp) in [(false, false), (false, true), (true, false), (true, true)] {
            let mut frame = frame(ipv6, tcp, b"payload");
            assert_eq!(offload(&frame), Offload::NONE);
            // A wrong one is wrong, not left.
            let last = frame.len() - 1;
            frame[last] ^= 0xff;
            assert_eq!(offload(&frame), Offload::NONE);
        }
    }

    /// RFC 768: "an all zero transmitted checksum value means that the transmitter generated no checksum".
    #[test]
    fn a_datagram_without_checksum_gets_none() {
        let mut frame = frame(false, false, b"payload");
        frame[40..42].fill(0);
        assert_eq!(offload(&frame), Offload::NONE);
    }

    #[test]
    fn pieces_and_what_is_cut_off_have_nothing_left() {
        let (mut frame, _) = left(frame(false, false, b"payload"), false);
        assert_eq!(offload(&frame[..40]), Offload::NONE);
        frame[20] = 0x20;
        assert_eq!(offload(&frame), Offload::NONE, "a fragment's checksum is of the whole");
    }

    #[test]
    fn a_crc_of_zero_was_left() {
        let mut frame = frame(false, false, &[7; 8]);
        frame[23] = 132;
        assert_eq!(offload(&frame), Offload::NONE);
        frame[42..46].fill(0);
        assert_eq!(offload(&frame), Offload::partial_checksum(34, 8));
    }
}
