//! Packets that are longer than the next link carries: the sender is told, or the packet is cut.

use std::net::Ipv4Addr;

use mooring_nat::Place;
use mooring_packet::{Offload, Packet};
use mooring_session::{NextHopIndex, Tick};
use mooring_wire::Protocol;
use mooring_wire::checksum;
use mooring_wire::ethernet::HEADER_LEN;
use mooring_wire::ipv4::{Header, Ipv4};
use mooring_wire::udp::Udp;
use rand_chacha::rand_core::Rng;

use crate::classify::Flow;
use crate::family::Family;
use crate::hairpin::Halves;
use crate::originate::Complaint;
use crate::outbox::Outbox;
use crate::walk::Scene;
use crate::{DropReason, Engine, Verdict};

impl Engine {
    /// A packet that is longer than `mtu`, that of the link it would leave by.
    #[cold]
    pub(crate) fn too_long<A: Family>(
        &mut self,
        scene: Scene,
        (halves, mtu): (Halves, u16),
        flow: &Flow<A>,
        packet: &mut Packet<'_>,
        outbox: &mut Outbox,
    ) -> Result<Verdict, DropReason> {
        if flow.dont_fragment {
            self.complain(scene, Complaint::TooBig(mtu), flow, packet, outbox);
            return Err(DropReason::TooBig);
        }
        if packet.offload.is_gso() && flow.key.protocol == Protocol::UDP {
            if packet.offload.gso_size() == 0 {
                return Err(DropReason::UnsupportedOffload);
            }
            may_leave_cut(mtu, flow.place, lens_of_datagrams(packet, flow), outbox)?;
            let hop = self.translate_halves(scene, halves, flow, packet);
            return self.leave_as_datagrams(scene.now, (hop, mtu), flow, packet, outbox);
        }
        if packet.offload.is_gso() {
            shorten_segments(packet, flow, mtu)?;
            let hop = self.translate_halves(scene, halves, flow, packet);
            return self.leave(scene.now, hop, packet, outbox);
        }
        may_leave_cut(mtu, flow.place, [payload_of(flow.place, flow.ip_len)], outbox)?;
        let hop = self.translate_halves(scene, halves, flow, packet);
        self.leave_in_pieces(scene.now, (hop, mtu), packet, outbox)
    }

    /// Cuts an IPv4 packet into fragments of at most `mtu` bytes (RFC 791 §3.2), which leave by the
    /// outbox. A packet that is a fragment already is cut further, a whole one gets an identification
    /// of ours.
    pub(crate) fn leave_in_pieces(
        &mut self,
        now: Tick,
        (hop, mtu): (NextHopIndex, u16),
        packet: &mut Packet<'_>,
        outbox: &mut Outbox,
    ) -> Result<Verdict, DropReason> {
        complete_checksum(packet);
        let ip = Ipv4::parse(&packet.bytes()[HEADER_LEN..]).map_err(|_| DropReason::Malformed)?;
        let headers = &packet.bytes()[..HEADER_LEN + ip.header_len()];
        let (first, more_follow) = (usize::from(ip.fragment_offset()), ip.more_fragments());
        // RFC 6864 §4.3, "Sources ... MUST NOT repeat IPv4 ID values": packets of several hosts go out
        // with one address, and two of them may have the same.
        let whole = first == 0 && !more_follow;
        let identification = match whole {
            true => {
                let (ends, random) = ((ip.source(), ip.destination()), self.random.next_u32());
                self.fragments.identify_cut(ends, ip.protocol(), random)?
            }
            false => ip.identification(),
        };
        let place = Cut { first, more_follow, identification };
        self.leave_cut(now, (hop, mtu), place, (headers, ip.payload()), outbox)
    }

    /// Cuts `payload` into packets of at most `mtu` bytes, each behind these headers of Ethernet and
    /// IPv4; into one, where it fits.
    fn leave_cut(
        &mut self,
        now: Tick,
        (hop, mtu): (NextHopIndex, u16),
        cut: Cut,
        (headers, payload): (&[u8], &[u8]),
        outbox: &mut Outbox,
    ) -> Result<Verdict, DropReason> {
        let most = usize::from(mtu).saturating_sub(headers.len() - HEADER_LEN);
        let room = room_of_piece(payload.len(), most);
        if room == 0 {
            return Err(DropReason::TooBig);
        }
        let Cut { first, more_follow, identification } = cut;
        let mut pieces = payload.chunks(room).enumerate().peekable();
        while let Some((number, payload)) = pieces.next() {
            let len = headers.len() + payload.len();
            let mut piece = outbox.take(len).ok_or(DropReason::RateLimited)?;
            let bytes = piece.bytes_mut();
            // All options that pass here are of the kind that every fragment carries.
            bytes[..headers.len()].copy_from_slice(headers);
            bytes[headers.len()..].copy_from_slice(payload);
            let offset = (first + number * room) as u16;
            let more = more_follow || pieces.peek().is_some();
            let header = Header::mut_at_front(&mut bytes[HEADER_LEN..])
                .expect("the header was just written");
            header.become_piece((len - HEADER_LEN) as u16, offset, more);
            header.set_identification(identification);
            Ipv4::parse(&mut bytes[HEADER_LEN..])
                .expect("the lengths of the piece were just written")
                .fill_checksum();
            self.leave_owned(now, hop, piece, outbox)?;
        }
        Ok(Verdict::Cut)
    }

    /// Takes the datagrams out of a super-packet of UDP, as the device would on its way out, and cuts
    /// each: of another length they would be other datagrams.
    fn leave_as_datagrams<A: Family>(
        &mut self,
        now: Tick,
        way: (NextHopIndex, u16),
        flow: &Flow<A>,
        packet: &mut Packet<'_>,
        outbox: &mut Outbox,
    ) -> Result<Verdict, DropReason> {
        let size = usize::from(packet.offload.gso_size()).max(1);
        packet.offload = Offload::NONE;
        let ip = Ipv4::parse(&packet.bytes()[HEADER_LEN..]).map_err(|_| DropReason::Malformed)?;
        let ends = (ip.source(), ip.destination());
        let (l4, payload) = (usize::from(flow.place.l4), usize::from(flow.headers_len));
        let mut headers = [0; MAX_HEADERS];
        headers[..payload].copy_from_slice(&packet.bytes()[..payload]);
        let (headers, udp) = headers[..payload].split_at(l4);
        let end = packet.len();
        for start in (payload..end).step_by(size) {
            let end = end.min(start + size);
            // Over the end of the datagram before, which has left.
            let datagram = &mut packet.bytes_mut()[start - udp.len()..end];
            datagram[..udp.len()].copy_from_slice(udp);
            write_udp_header(datagram, ends);
            let random = self.random.next_u32();
            let identification = self.fragments.identify_cut(ends, Protocol::UDP, random)?;
            let whole = Cut { first: 0, more_follow: false, identification };
            self.leave_cut(now, way, whole, (headers, datagram), outbox)?;
        }
        Ok(Verdict::Cut)
    }
}

/// Whether what lies behind the IP header at `place`, in packets of these lengths, can leave by a link
/// of `mtu`, with a buffer for every piece: asked before anything is done, for part of a packet is of
/// use to nobody.
pub(crate) fn may_leave_cut(
    mtu: u16,
    place: Place,
    payloads: impl IntoIterator<Item = usize>,
    outbox: &Outbox,
) -> Result<(), DropReason> {
    let most = usize::from(mtu).saturating_sub(usize::from(place.l4 - place.l3));
    let mut pieces = 0;
    for payload in payloads {
        match room_of_piece(payload, most) {
            0 => return Err(DropReason::TooBig),
            room => pieces += payload.div_ceil(room),
        }
    }
    // One more: a piece that waits for its neighbour is copied.
    let has_room = outbox.has_room(pieces + 1, HEADER_LEN + usize::from(mtu));
    if has_room { Ok(()) } else { Err(DropReason::RateLimited) }
}

/// Bytes behind the IP header at `place` of a packet of `ip_len`.
pub(crate) fn payload_of(place: Place, ip_len: u32) -> usize {
    (ip_len as usize).saturating_sub(usize::from(place.l4 - place.l3))
}

/// Bytes of `payload` in every piece but the last, where `most` fit: RFC 791 §3.2, a multiple of 8.
fn room_of_piece(payload: usize, most: usize) -> usize {
    if payload <= most { most } else { most & !7 }
}

/// The datagrams of a super-packet of UDP, with their headers.
fn lens_of_datagrams<A>(packet: &Packet<'_>, flow: &Flow<A>) -> impl Iterator<Item = usize> {
    let size = usize::from(packet.offload.gso_size()).max(1);
    let headers = usize::from(flow.headers_len);
    let payload = (HEADER_LEN + flow.ip_len as usize).saturating_sub(headers);
    let udp = headers.saturating_sub(usize::from(flow.place.l4));
    (0..payload).step_by(size).map(move |start| udp + size.min(payload - start))
}

/// What the pieces of a packet have in common, where it was a piece itself.
#[derive(Clone, Copy)]
struct Cut {
    /// Where its payload lies in that of the whole packet, in bytes.
    first: usize,
    more_follow: bool,
    identification: u16,
}

/// Writes length and checksum of a datagram whose ports are there.
fn write_udp_header(datagram: &mut [u8], (source, destination): (Ipv4Addr, Ipv4Addr)) {
    let len = datagram.len() as u16;
    datagram[4..6].copy_from_slice(&len.to_be_bytes());
    let pseudo = checksum::pseudo_v4(source, destination, Protocol::UDP, len);
    Udp::parse(datagram).expect("the length was just written").fill_checksum(pseudo);
}

/// Has a TCP super-packet cut into shorter segments by the device that cuts it anyway.
fn shorten_segments<A>(
    packet: &mut Packet<'_>,
    flow: &Flow<A>,
    mtu: u16,
) -> Result<(), DropReason> {
    let headers = flow.headers_len - HEADER_LEN as u16;
    match mtu.checked_sub(headers) {
        Some(size) if size > 0 && flow.key.protocol == Protocol::TCP => {
            packet.offload = packet.offload.with_segments_of(size);
            Ok(())
        }
        _ => Err(DropReason::TooBig),
    }
}

/// Completes the checksum that a device would: it can not do so for pieces of a packet.
fn complete_checksum(packet: &mut Packet<'_>) {
    let Some((at, sum)) = checksum_to_complete(packet) else { return };
    packet.bytes_mut()[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    packet.offload = Offload::NONE;
}

/// Where in the frame a device would complete a checksum, and to what. The field holds the sum over the
/// pseudo-header.
pub(crate) fn checksum_to_complete(packet: &Packet<'_>) -> Option<(usize, u16)> {
    let partial = packet.offload.partial()?;
    let start = usize::from(partial.start);
    let sum = !checksum::sum(&packet.bytes()[start..]);
    // RFC 768: 0 would say that there is none.
    let sum = if sum == 0 { 0xffff } else { sum };
    Some((start + usize::from(partial.offset), sum))
}

/// Ethernet, IPv4 with all options there may be, UDP.
const MAX_HEADERS: usize = HEADER_LEN + 60 + 8;
