//! Completes the checksum that a sender left to the next device.

use mooring_packet::Offload;
use mooring_packet::offload::PartialChecksum;
use mooring_wire::Protocol;
use mooring_wire::checksum;
use mooring_wire::crc32c::crc32c;

use super::layout::Layout;

/// Whether the checksum left to do is that of SCTP: a `virtio_net_hdr` says where it lies, but not that
/// it is a CRC, so no port would complete it rightly. Its field lies where no other protocol has one.
#[inline]
pub(super) const fn is_crc(offload: Offload) -> bool {
    matches!(offload.partial(), Some(PartialChecksum { offset: SCTP_CHECKSUM, .. }))
}

/// Completes the checksum of `frame`; the field holds the sum of the pseudo-header. `None` when the
/// field is not in the frame.
pub(super) fn complete(frame: &mut [u8], partial: PartialChecksum) -> Option<()> {
    if partial.offset == SCTP_CHECKSUM {
        return complete_crc(frame, partial);
    }
    let covered = frame.get_mut(usize::from(partial.start)..)?;
    let sum = checksum::sum(covered);
    let field = covered.get_mut(usize::from(partial.offset)..)?.first_chunk_mut()?;
    // RFC 768: "If the computed checksum is zero, it is transmitted as all ones"; the same for others.
    *field = if sum == 0xffff { sum } else { !sum }.to_be_bytes();
    Some(())
}

/// RFC 9260 §6.8: the CRC32c of the whole SCTP packet, computed with zero in the field.
fn complete_crc(frame: &mut [u8], partial: PartialChecksum) -> Option<()> {
    let layout = Layout::of(frame)?;
    if layout.protocol != Protocol::SCTP || layout.transport != usize::from(partial.start) {
        return None;
    }
    let packet = &mut frame[layout.transport..layout.end];
    let field = usize::from(SCTP_CHECKSUM);
    packet.get_mut(field..field + 4)?.fill(0);
    let crc = crc32c(packet);
    packet[field..field + 4].copy_from_slice(&crc.to_le_bytes());
    Some(())
}

/// Where the checksum lies in an SCTP header (RFC 9260 §3.1).
const SCTP_CHECKSUM: u16 = 8;
