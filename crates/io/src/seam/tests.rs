//! Segments are checked by etherparse, which shares no code with the segmenter.

use etherparse::{
    IpHeaders, NetSlice, PacketBuilder, PacketBuilderStep, SlicedPacket, TcpSlice, TransportSlice,
};
use mooring_packet::offload::GsoKind;
use mooring_packet::{Abilities, Offload, Packet, Transmit, Transmitted};
use mooring_wire::Protocol;
use mooring_wire::checksum::{pseudo_v4, pseudo_v6};
use mooring_wire::crc32c::crc32c;
use proptest::prelude::{Strategy, any, prop, prop_assert, prop_assert_eq, proptest};

use super::{SCRATCH, Seam};
use crate::memory::{Frame, Receiver, Sender, pipe};

const NONE: Abilities =
    Abilities { partial_checksum: false, tcp_segmentation: false, udp_segmentation: false };

const ALL: Abilities =
    Abilities { partial_checksum: true, tcp_segmentation: true, udp_segmentation: true };

fn seam(abilities: Abilities) -> (Seam<Sender>, Receiver) {
    let (sender, receiver) = pipe(70_000);
    (Seam::new(sender, abilities), receiver)
}

/// What a seam to a port of these abilities makes of one frame.
fn sent(abilities: Abilities, frame: &Frame) -> (Transmitted, Vec<Frame>) {
    let (mut seam, receiver) = seam(abilities);
    let mut bytes = frame.bytes.clone();
    let len = bytes.len();
    let packet = Packet::new(&mut bytes, 0, len, frame.offload);
    let done = seam.transmit(std::iter::once(&packet));
    (done, std::iter::from_fn(|| receiver.take()).collect())
}

fn ip(ipv6: bool) -> PacketBuilderStep<IpHeaders> {
    let ethernet = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    match ipv6 {
        true => ethernet.ipv6([0xfd; 16], [0x20; 16], 60),
        false => ethernet.ipv4([10, 0, 0, 2], [192, 0, 2, 2], 60),
    }
}

/// TCP with a timestamp option, its checksum left to the device.
fn tcp(ipv6: bool, payload: &[u8]) -> Frame {
    let options = [etherparse::TcpOptionElement::Timestamp(7, 9)];
    let builder = ip(ipv6).tcp(4_000, 80, u32::MAX - 100, 500).ack(77).psh().fin().cwr();
    let builder = builder.options(&options).expect("twelve bytes fit");
    let mut bytes = Vec::new();
    builder.write(&mut bytes, payload).expect("a vector takes it");
    left_to_the_device(bytes, ipv6, Protocol::TCP, 16)
}

fn udp(ipv6: bool, payload: &[u8]) -> Frame {
    let mut bytes = Vec::new();
    ip(ipv6).udp(4_000, 53).write(&mut bytes, payload).expect("a vector takes it");
    left_to_the_device(bytes, ipv6, Protocol::UDP, 6)
}

/// The field then holds the sum of the pseudo-header.
fn left_to_the_device(mut bytes: Vec<u8>, ipv6: bool, protocol: Protocol, field: u16) -> Frame {
    let start = if ipv6 { 54 } else { 34 };
    let len = (bytes.len() - start) as u16;
    let sum = match ipv6 {
        true => pseudo_v6([0xfd; 16].into(), [0x20; 16].into(), protocol, len.into()),
        false => pseudo_v4([10, 0, 0, 2].into(), [192, 0, 2, 2].into(), protocol, len),
    };
    bytes[start + usize::from(field)..][..2].copy_from_slice(&sum.to_be_bytes());
    Frame { bytes, offload: Offload::partial_checksum(start as u16, field) }
}

fn super_packet(frame: &Frame, kind: GsoKind, size: u16) -> Frame {
    Frame { offload: frame.offload.with_gso(kind, size, 0), ..frame.clone() }
}

/// Parsed, with every checksum found right.
fn verified(frame: &Frame) -> SlicedPacket<'_> {
    assert_eq!(frame.offload, Offload::NONE, "nothing is left to do");
    let packet = SlicedPacket::from_ethernet(&frame.bytes).expect("a whole packet");
    let (found, right) = match (packet.net.as_ref(), packet.transport.as_ref()) {
        (Some(NetSlice::Ipv4(ip)), Some(transport)) => {
            let ip = ip.header().to_header();
            assert_eq!(ip.calc_header_checksum(), ip.header_checksum);
            match transport {
                TransportSlice::Tcp(tcp) => {
                    (tcp.checksum(), tcp.to_header().calc_checksum_ipv4(&ip, tcp.payload()))
                }
                TransportSlice::Udp(udp) => {
                    (udp.checksum(), udp.to_header().calc_checksum_ipv4(&ip, udp.payload()))
                }
                other => panic!("{other:?}"),
            }
        }
        (Some(NetSlice::Ipv6(ip)), Some(transport)) => {
            let ip = ip.header().to_header();
            match transport {
                TransportSlice::Tcp(tcp) => {
                    (tcp.checksum(), tcp.to_header().calc_checksum_ipv6(&ip, tcp.payload()))
                }
                TransportSlice::Udp(udp) => {
                    (udp.checksum(), udp.to_header().calc_checksum_ipv6(&ip, udp.payload()))
                }
                other => panic!("{other:?}"),
            }
        }
        other => panic!("{other:?}"),
    };
    // Both forms of zero say the same.
    let right = right.expect("short enough");
    assert!(right == found || right == 0 && found == 0xffff, "{found:#x}, not {right:#x}");
    packet
}

fn tcp_of<'f>(packet: &SlicedPacket<'f>) -> TcpSlice<'f> {
    match packet.transport.as_ref() {
        Some(TransportSlice::Tcp(tcp)) => tcp.clone(),
        other => panic!("{other:?}"),
    }
}

fn payload_of<'f>(packet: &SlicedPacket<'f>) -> &'f [u8] {
    match packet.transport.as_ref() {
        Some(TransportSlice::Tcp(tcp)) => tcp.payload(),
        Some(TransportSlice::Udp(udp)) => udp.payload(),
        other => panic!("{other:?}"),
    }
}

fn identification(frame: &Frame) -> u16 {
    u16::from_be_bytes([frame.bytes[18], frame.bytes[19]])
}

#[test]
fn tcp_segments_say_what_their_super_packet_said() {
    let payload: Vec<u8> = (0..250).collect();
    let mut whole = super_packet(&tcp(false, &payload), GsoKind::TcpV4, 100);
    whole.bytes[18..20].fill(0xff);
    let (done, frames) = sent(NONE, &whole);
    assert_eq!((done.packets, done.refused), (3, 0));
    let segments: Vec<_> = frames.iter().map(|frame| tcp_of(&verified(frame))).collect();
    let sequences: Vec<u32> = segments.iter().map(TcpSlice::sequence_number).collect();
    assert_eq!(sequences, [u32::MAX - 100, u32::MAX, 99], "numbers go round");
    // Congestion window reduced in the first alone, push and the end in the last.
    let flags: Vec<u8> = frames.iter().map(|frame| frame.bytes[47]).collect();
    assert_eq!(flags, [0x90, 0x10, 0x19]);
    assert!(segments.iter().all(|segment| segment.options().len() == 12));
    let identifications: Vec<u16> = frames.iter().map(identification).collect();
    assert_eq!(identifications, [0xffff, 0, 1]);
}

#[test]
fn a_port_gets_untouched_what_it_carries() {
    let packet = super_packet(&tcp(true, &[1; 900]), GsoKind::TcpV6, 100);
    let (done, frames) = sent(ALL, &packet);
    assert_eq!((done.packets, frames), (1, vec![packet]));
}

#[test]
fn order_is_kept_around_packets_that_are_cut() {
    let (mut seam, receiver) = seam(NONE);
    let plain = |fill| Frame { bytes: vec![fill; 60], offload: Offload::NONE };
    let long = super_packet(&udp(false, &[3; 30]), GsoKind::UdpL4, 10);
    let mut frames = [plain(1), plain(2), long.clone(), long, plain(4)];
    let packets = frames.each_mut().map(|frame| {
        let len = frame.bytes.len();
        Packet::new(&mut frame.bytes, 0, len, frame.offload)
    });
    let done = seam.transmit(packets.iter());
    assert_eq!((done.packets, done.refused), (9, 0));
    let firsts: Vec<u8> =
        std::iter::from_fn(|| receiver.take()).map(|frame| frame.bytes[51]).collect();
    assert_eq!(firsts, [1, 2, 3, 3, 3, 3, 3, 3, 4]);
}

#[test]
fn a_checksum_of_zero_is_sent_as_all_ones() {
    let zero = (0..=u16::MAX).find(|word| {
        let (_, frames) = sent(NONE, &udp(false, &word.to_be_bytes()));
        frames[0].bytes[40..42] == [0xff, 0xff]
    });
    assert!(zero.is_some(), "one of all words makes it zero");
}

#[test]
fn the_crc_of_sctp_is_completed_for_every_port() {
    let mut frame = udp(false, &[5; 20]);
    frame.bytes[23] = 132;
    frame.bytes[42..46].fill(0xee);
    let len = frame.bytes.len();
    frame.bytes.extend([9; 6]);
    frame.offload = Offload::partial_checksum(34, 8);
    for abilities in [NONE, ALL] {
        let (done, frames) = sent(abilities, &frame);
        assert_eq!((done.packets, frames[0].offload), (1, Offload::NONE));
        let mut packet = frames[0].bytes[34..len].to_vec();
        let field: [u8; 4] = packet[8..12].try_into().expect("four bytes");
        packet[8..12].fill(0);
        assert_eq!(field, crc32c(&packet).to_le_bytes(), "padding is not covered");
        assert_eq!(frames[0].bytes[len..], [9; 6]);
    }
}

#[test]
fn what_contradicts_its_metadata_is_refused() {
    let tcp_v4 = tcp(false, &[0; 500]);
    let mut fragment = super_packet(&tcp_v4, GsoKind::TcpV4, 100);
    fragment.bytes[20] |= 0x20;
    let mut inner = super_packet(&tcp_v4, GsoKind::TcpV4, 100);
    inner.offload = Offload::partial_checksum(54, 16).with_gso(GsoKind::TcpV4, 100, 0);
    let mut short = super_packet(&tcp_v4, GsoKind::TcpV4, 100);
    short.bytes.truncate(200);
    let long = Frame { bytes: vec![0; SCRATCH + 1], offload: fragment.offload };
    let past_the_end = Frame { bytes: vec![0; 60], offload: Offload::partial_checksum(59, 0) };
    for (what, frame) in [
        ("another family", super_packet(&tcp_v4, GsoKind::TcpV6, 100)),
        ("another protocol", super_packet(&tcp_v4, GsoKind::UdpL4, 100)),
        ("segments of nothing", super_packet(&tcp_v4, GsoKind::TcpV4, 0)),
        ("a piece of a packet", fragment),
        ("an inner header", inner),
        ("less than its length says", short),
        ("longer than anything", long),
        ("a checksum past the end", past_the_end),
    ] {
        let (done, frames) = sent(NONE, &frame);
        assert_eq!((done.packets, done.refused, frames.len()), (0, 1, 0), "{what}");
    }
}

fn payloads() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..6_000)
}

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(128))]

    /// Cut, checked and put together again, it is what it was.
    #[test]
    fn segments_are_the_super_packet(
        payload in payloads(), size in 1u16..3_000, ipv6: bool, is_tcp: bool
    ) {
        let (whole, kind) = match (is_tcp, ipv6) {
            (true, false) => (tcp(ipv6, &payload), GsoKind::TcpV4),
            (true, true) => (tcp(ipv6, &payload), GsoKind::TcpV6),
            (false, _) => (udp(ipv6, &payload), GsoKind::UdpL4),
        };
        let (_, completed) = sent(NONE, &whole);
        prop_assert_eq!(payload_of(&verified(&completed[0])), &payload);
        let (done, frames) = sent(NONE, &super_packet(&whole, kind, size));
        let packets: Vec<_> = frames.iter().map(verified).collect();
        let parts: Vec<&[u8]> = packets.iter().map(payload_of).collect();
        prop_assert_eq!(parts.concat(), payload);
        let (_, all_but_last) = parts.split_last().expect("at least one");
        prop_assert!(all_but_last.iter().all(|part| part.len() == usize::from(size)));
        prop_assert_eq!((done.packets as usize, done.refused), (frames.len(), 0));
        prop_assert_eq!(done.bytes, frames.iter().map(|f| f.bytes.len() as u64).sum::<u64>());
    }

    /// Whatever the bytes and the metadata are: no panic, and only what the port carries.
    #[test]
    fn nothing_gets_past_the_seam(
        damaged in prop::collection::vec((0usize..200, any::<u8>()), 0..4),
        header in any::<[u8; 10]>(), ipv6: bool, cut in 0usize..300,
    ) {
        let mut frame = tcp(ipv6, &[7; 150]);
        for (at, byte) in damaged {
            frame.bytes[at] = byte;
        }
        frame.bytes.truncate(cut.max(14));
        frame.offload = zerocopy::FromBytes::read_from_bytes(&header[..]).expect("ten bytes");
        let (done, frames) = sent(NONE, &frame);
        prop_assert!(done.packets + done.refused >= 1);
        prop_assert!(frames.iter().all(|frame| NONE.carry(frame.offload)));
    }
}
