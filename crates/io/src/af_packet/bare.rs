//! Frames whose kernel puts no [`Offload`] in front of them: what it would say is found out from the frame, and from
//! what the kernel says of every frame.
//!
//! A checksum that is still to be completed is where the protocol has its own, and holds the sum of the
//! pseudo-header: what does not is an inner one, of a tunnel, and nobody can say where. A super-packet is longer than
//! the device's packets; how long its segments were it does not say. Those of TCP become no longer than what every
//! path carries: a sender that is told of a smaller one would send the same super-packets again. Datagrams have lost
//! their ends. A super-packet of UDP that is no longer than one packet looks like one datagram.

use mooring_packet::Offload;
use mooring_packet::offload::GsoKind;
use mooring_wire::Protocol;
use mooring_wire::checksum;
use mooring_wire::ethernet::HEADER_LEN;
use mooring_wire::tcp::Tcp;

use crate::seam::Layout;

/// The metadata of an untagged frame of a device whose IP packets have `mtu` bytes at most; `status` is the
/// kernel's word on it (`TP_STATUS_*`). `None` where it cannot be told.
pub(super) fn offload(frame: &[u8], status: u32, mtu: usize) -> Option<Offload> {
    let unfinished = status & libc::TP_STATUS_CSUMNOTREADY != 0;
    let verified = status & libc::TP_STATUS_CSUM_VALID != 0;
    let complete = if verified { Offload::verified() } else { Offload::NONE };
    if !unfinished && frame.len() <= HEADER_LEN + mtu {
        return Some(complete);
    }
    // What is not of IP is nothing that we would cut.
    let Some(layout) = Layout::of(frame) else { return (!unfinished).then_some(complete) };
    let is_super = layout.end - HEADER_LEN > mtu;
    if !unfinished && !is_super {
        return Some(complete);
    }
    let transport = frame.get(layout.transport..layout.end)?;
    let offset = match layout.protocol {
        Protocol::TCP => 16,
        Protocol::UDP => 6,
        Protocol::SCTP => 8,
        _ => return None,
    };
    let partial = Offload::partial_checksum(layout.transport as u16, offset);
    if is_super {
        let whole = if unfinished { partial } else { complete };
        return super_packet(whole, &layout, transport, mtu);
    }
    let field = transport.get(usize::from(offset)..)?.first_chunk()?;
    let pseudo_sum = checksum::add(layout.pseudo_sum, transport.len() as u16);
    // That of SCTP has no pseudo-header.
    let is_outer = layout.protocol == Protocol::SCTP || u16::from_be_bytes(*field) == pseudo_sum;
    is_outer.then_some(partial)
}

/// The same for a super-packet.
fn super_packet(whole: Offload, layout: &Layout, transport: &[u8], mtu: usize) -> Option<Offload> {
    if layout.protocol != Protocol::TCP {
        return None;
    }
    let headers = layout.transport + Tcp::parse(transport).ok()?.header_len();
    let size = (HEADER_LEN + mtu.min(EVERYWHERE)).checked_sub(headers).filter(|size| *size > 0)?;
    let kind = if layout.ipv6 { GsoKind::TcpV6 } else { GsoKind::TcpV4 };
    Some(whole.with_gso(kind, size as u16, headers as u16))
}

/// Bytes of an IP packet that every link of IPv6 carries (RFC 8200 §5), and next to all of IPv4.
const EVERYWHERE: usize = 1280;

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;
    use mooring_packet::Offload;
    use mooring_packet::offload::GsoKind;

    use super::offload;

    const UNFINISHED: u32 = libc::TP_STATUS_USER | libc::TP_STATUS_CSUMNOTREADY;

    fn frame(tcp: bool, payload: usize) -> Vec<u8> {
        let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let builder = builder.ipv4([10, 0, 0, 2], [192, 0, 2, 2], 64);
        let (mut frame, payload) = (Vec::new(), vec![7; payload]);
        if tcp {
            builder.tcp(4_000, 80, 1, 1_000).write(&mut frame, &payload)
        } else {
            builder.udp(4_000, 53).write(&mut frame, &payload)
        }
        .expect("a vector takes it");
        frame
    }

    /// The frame as its sender leaves it: the sum of the pseudo-header in the field of the checksum.
    fn unfinished(tcp: bool, payload: usize) -> Vec<u8> {
        let mut frame = frame(tcp, payload);
        let len = frame.len() - 34;
        let protocol = if tcp { 6 } else { 17 };
        let words = [0x0a00, 2, 0xc000, 0x0202, protocol, len];
        let sum: usize = words.into_iter().sum();
        let sum = ((sum & 0xffff) + (sum >> 16)) as u16;
        let field = if tcp { 50 } else { 40 };
        frame[field..field + 2].copy_from_slice(&sum.to_be_bytes());
        frame
    }

    #[test]
    fn what_is_complete_has_nothing_to_be_said() {
        let complete = frame(false, 100);
        assert_eq!(offload(&complete, libc::TP_STATUS_USER, 1500), Some(Offload::NONE));
        let valid = libc::TP_STATUS_USER | libc::TP_STATUS_CSUM_VALID;
        assert_eq!(offload(&complete, valid, 1500), Some(Offload::verified()));
        assert_eq!(offload(&[0; 20], libc::TP_STATUS_USER, 1500), Some(Offload::NONE));
    }

    #[test]
    fn an_unfinished_checksum_is_where_the_protocol_has_it() {
        let (tcp, udp) = (unfinished(true, 100), unfinished(false, 100));
        assert_eq!(offload(&tcp, UNFINISHED, 1500), Some(Offload::partial_checksum(34, 16)));
        assert_eq!(offload(&udp, UNFINISHED, 1500), Some(Offload::partial_checksum(34, 6)));
    }

    /// The outer header of a tunnel has another one, or none at all.
    #[test]
    fn an_inner_checksum_is_not_taken_for_the_outer_one() {
        let mut udp = unfinished(false, 100);
        udp[41] ^= 1;
        assert_eq!(offload(&udp, UNFINISHED, 1500), None);
        udp[40..42].fill(0);
        assert_eq!(offload(&udp, UNFINISHED, 1500), None);
        assert_eq!(offload(&[0; 20], UNFINISHED, 1500), None);
    }

    #[test]
    fn a_super_packet_of_tcp_is_cut_to_what_every_path_carries() {
        let tcp = unfinished(true, 9_000);
        let expected = Offload::partial_checksum(34, 16).with_gso(GsoKind::TcpV4, 1_240, 54);
        assert_eq!(offload(&tcp, UNFINISHED, 1500), Some(expected));
        let shorter = Offload::partial_checksum(34, 16).with_gso(GsoKind::TcpV4, 960, 54);
        assert_eq!(offload(&tcp, UNFINISHED, 1000), Some(shorter));
        assert_eq!(offload(&tcp, UNFINISHED, 9_040), Some(Offload::partial_checksum(34, 16)));
        assert_eq!(offload(&tcp, UNFINISHED, 40), None, "no room for a byte");
    }

    /// Joined by a device that has verified what it joined.
    #[test]
    fn a_super_packet_whose_checksum_is_complete_is_one_as_well() {
        let valid = libc::TP_STATUS_USER | libc::TP_STATUS_CSUM_VALID;
        let expected = Offload::verified().with_gso(GsoKind::TcpV4, 1_240, 54);
        assert_eq!(offload(&frame(true, 9_000), valid, 1500), Some(expected));
        assert_eq!(offload(&frame(false, 9_000), valid, 1500), None);
        // Padding is no part of a packet.
        let mut padded = frame(true, 1_460);
        padded.extend([0; 8]);
        assert_eq!(offload(&padded, valid, 1500), Some(Offload::verified()));
    }

    /// Where one datagram of it ends and the next begins nobody can tell.
    #[test]
    fn a_super_packet_of_udp_is_nothing_that_could_be_sent() {
        assert_eq!(offload(&unfinished(false, 9_000), UNFINISHED, 1500), None);
    }
}
