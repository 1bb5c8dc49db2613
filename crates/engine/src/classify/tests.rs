//! Packets and what they are. The cases go by the reason that `classify` gives.

mod plain;

use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::{EtherType, IcmpEchoHeader, Icmpv6Type, Ipv4Options};
use mooring_packet::offload::GsoKind;
use mooring_packet::{Offload, Packet};
use mooring_wire::tcp::Flags;
use mooring_wire::{Mac, Protocol};

use super::{Class, Classified, Flow, classify};
use crate::DropReason;
use crate::test_bench::frames::{arp_request, icmpv6, inside, to_mac, with_byte, with_ether_type};
use crate::test_bench::{HOST, HOST_MAC, OUR_INSIDE, OUR_INSIDE_IP, SERVER};

/// What a frame without offload metadata is.
fn class(frame: &[u8]) -> Class {
    class_offloaded(frame, Offload::NONE)
}

fn class_offloaded(frame: &[u8], offload: Offload) -> Class {
    let mut frame = frame.to_vec();
    let len = frame.len();
    classified(&Packet::new(&mut frame, 0, len, offload)).class
}

fn classified(packet: &Packet<'_>) -> Classified {
    let mut classified = Classified::NOTHING;
    classify(packet, OUR_INSIDE, &mut classified);
    classified
}

fn flow_and_class(frame: &[u8]) -> (Flow<Ipv4Addr>, Class) {
    let mut frame = frame.to_vec();
    let len = frame.len();
    let Classified { class, v4, .. } = classified(&Packet::new(&mut frame, 0, len, Offload::NONE));
    (v4, class)
}

fn flow(frame: &[u8]) -> Flow<Ipv4Addr> {
    match flow_and_class(frame) {
        (flow, Class::Flow) => flow,
        (_, other) => panic!("not a flow: {other:?}"),
    }
}

fn dropped(frame: &[u8]) -> Option<DropReason> {
    reason(class(frame))
}

fn reason(class: Class) -> Option<DropReason> {
    match class {
        Class::Drop(reason) => Some(reason),
        _ => None,
    }
}

fn udp() -> Vec<u8> {
    inside(HOST, SERVER).udp(5000, 53, b"question")
}

fn tcp() -> Vec<u8> {
    inside(HOST, SERVER).tcp(5000, 80, "S", b"")
}

/// An error about a packet that HOST had from SERVER.
fn error() -> Vec<u8> {
    let quoted = inside(SERVER, HOST).udp(53, 5000, b"");
    inside(HOST, SERVER).error((3, 3), 0, &quoted)
}

/// The same bytes with the right header checksum again.
fn with_header_checksum(mut frame: Vec<u8>) -> Vec<u8> {
    let header = 14 + usize::from(frame[14] & 15) * 4;
    frame[24..26].fill(0);
    let checksum = mooring_wire::checksum::rfc1071(&frame[14..header]);
    frame[24..26].copy_from_slice(&(!checksum).to_be_bytes());
    frame
}

/// An IPv4 header edited at `at` (counted from its start), its checksum right again.
fn edited(frame: Vec<u8>, at: usize, value: u8) -> Vec<u8> {
    with_header_checksum(with_byte(frame, 14 + at, value))
}

#[test]
fn a_datagram_is_a_flow_between_two_ports() {
    let flow = flow(&udp());
    assert_eq!((flow.key.source, flow.key.destination), (HOST, SERVER));
    assert_eq!((flow.key.source_port, flow.key.destination_port), (5000, 53));
    assert_eq!((flow.key.protocol, flow.key.vrf, flow.key.tag), (Protocol::UDP, 0, 0));
    assert_eq!((flow.place.l3, flow.place.l4, flow.headers_len), (14, 34, 42));
    assert_eq!((flow.ip_len, flow.ttl, flow.flags), (36, 64, None));
    assert!(flow.dont_fragment);
}

#[test]
fn a_segment_is_a_flow_with_flags() {
    let flow = flow(&tcp());
    assert_eq!((flow.key.source_port, flow.key.destination_port), (5000, 80));
    assert_eq!((flow.key.protocol, flow.headers_len), (Protocol::TCP, 54));
    assert_eq!(flow.flags, Some(Flags::SYN));
}

#[test]
fn options_of_both_headers_count_as_headers() {
    let router_alert = Ipv4Options::from([0x94, 4, 0, 0]);
    let frame = inside(HOST, SERVER).options(router_alert).tcp(1, 2, "S", b"");
    let flow = flow(&frame);
    assert_eq!((flow.place.l3, flow.place.l4, flow.headers_len), (14, 38, 58));
}

#[test]
fn an_identifier_stands_where_its_query_or_answer_has_it() {
    let query = flow(&inside(HOST, SERVER).echo_request(77, 1));
    assert_eq!((query.key.source_port, query.key.destination_port, query.icmp_kind), (77, 0, 8));
    let answer = flow(&inside(HOST, SERVER).echo_reply(77, 1));
    assert_eq!((answer.key.source_port, answer.key.destination_port), (0, 77));
}

#[test]
fn a_protocol_without_ports_is_a_flow_between_addresses() {
    let flow = flow(&inside(HOST, SERVER).other(47, &[]));
    assert_eq!((flow.key.protocol, flow.key.source_port), (Protocol(47), 0));
    assert_eq!(flow.key.destination_port, 0);
}

/// So that a rule about its ports decides.
#[test]
fn the_ports_of_sctp_are_read() {
    let packet = [0x13, 0x88, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0];
    let flow = flow(&inside(HOST, SERVER).other(132, &packet));
    assert_eq!((flow.key.source_port, flow.key.destination_port), (5000, 80));
    assert_eq!(
        dropped(&inside(HOST, SERVER).other(132, &packet[..11])),
        Some(DropReason::Malformed)
    );
}

#[test]
fn icmpv6_in_ipv4_is_no_flow() {
    let echo = [128, 0, 0, 0, 0, 7, 0, 1];
    let frame = inside(HOST, SERVER).other(58, &echo);
    assert_eq!(dropped(&frame), Some(DropReason::UnsupportedProtocol));
}

#[test]
fn errors_are_told_from_queries_and_from_what_is_neither() {
    for kind in 0..=u8::MAX {
        let frame = inside(HOST, SERVER).icmp(kind, 0, [[0, 7], [0, 1]], &error()[42..]);
        let (flow, class) = flow_and_class(&frame);
        match (kind, class) {
            (0 | 8 | 13 | 14, Class::Flow) => assert_eq!(flow.icmp_kind, kind),
            (3 | 11 | 12, Class::QuotedError) => assert_eq!(flow.place.l4, 34),
            (1 | 2 | 4..=7 | 9 | 10 | 15.., Class::Drop(DropReason::UnsupportedProtocol)) => {}
            (_, other) => panic!("type {kind} is {other:?}"),
        }
    }
}

#[test]
fn only_what_is_for_our_mac_is_carried() {
    let group = Mac([1, 0, 0x5e, 0, 0, 1]);
    for mac in [HOST_MAC, Mac::BROADCAST, group, Mac::ZERO] {
        assert_eq!(dropped(&to_mac(udp(), mac)), Some(DropReason::NotForUs), "{mac:?}");
    }
}

#[test]
fn arp_is_heard_from_groups_and_for_us() {
    let question = arp_request((HOST_MAC, HOST), OUR_INSIDE_IP);
    assert!(matches!(class(&question), Class::Arp));
    assert!(matches!(class(&to_mac(question.clone(), OUR_INSIDE)), Class::Arp));
    assert_eq!(dropped(&to_mac(question, HOST_MAC)), Some(DropReason::NotForUs));
}

#[test]
fn neither_ip_nor_arp_is_not_for_us() {
    for ether_type in [0x8100, 0x88a8, 0x88cc, 0x0060, 0xffff] {
        let frame = with_ether_type(udp(), EtherType(ether_type));
        assert_eq!(dropped(&frame), Some(DropReason::NotForUs), "{ether_type:#x}");
    }
}

#[test]
fn icmpv6_is_a_flow_or_speaks_of_the_link() {
    let (neighbour, own) = ("2001:db8:1::2", "2001:db8:1::1");
    let addresses: (Ipv6Addr, Ipv6Addr) = (neighbour.parse().unwrap(), own.parse().unwrap());
    let group = Mac([0x33, 0x33, 0xff, 0, 0, 1]);
    let message = |to, kind| {
        let message = Icmpv6Type::Unknown { type_u8: kind, code_u8: 0, bytes5to8: [0; 4] };
        class(&icmpv6(to, addresses, message, &[0; 16]))
    };
    assert!(matches!(message(group, 135), Class::Ndp));
    assert!(matches!(message(OUR_INSIDE, 136), Class::Ndp));
    for echo in [128, 129] {
        assert!(matches!(message(OUR_INSIDE, echo), Class::FlowV6));
    }
    for error in 1..=4 {
        assert!(matches!(message(OUR_INSIDE, error), Class::QuotedErrorV6));
    }
    for (to, kind, expected) in [
        (OUR_INSIDE, 5, DropReason::UnsupportedProtocol),
        (OUR_INSIDE, 127, DropReason::UnsupportedProtocol),
        (OUR_INSIDE, 139, DropReason::UnsupportedProtocol),
        (OUR_INSIDE, 200, DropReason::UnsupportedProtocol),
        (OUR_INSIDE, 134, DropReason::NotForUs),
        (group, 143, DropReason::NotForUs),
        (group, 128, DropReason::NotForUs),
        (group, 134, DropReason::NotForUs),
        (HOST_MAC, 128, DropReason::NotForUs),
        (HOST_MAC, 135, DropReason::NotForUs),
    ] {
        assert_eq!(reason(message(to, kind)), Some(expected), "type {kind} to {to:?}");
    }
}

#[test]
fn other_ipv6_and_a_broken_header_of_it() {
    let addresses = (Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST);
    let echo = Icmpv6Type::EchoRequest(IcmpEchoHeader { id: 1, seq: 1 });
    let frame = |to| icmpv6(to, addresses, echo, b"");
    let udp = |to| with_byte(frame(to), 20, 17);
    assert_eq!(dropped(&udp(OUR_INSIDE)), Some(DropReason::Malformed), "an echo is no datagram");
    assert_eq!(dropped(&udp(Mac::BROADCAST)), Some(DropReason::NotForUs));
    assert_eq!(dropped(&with_byte(frame(OUR_INSIDE), 14, 0x40)), Some(DropReason::Malformed));
    for len in 14..62 {
        assert_eq!(dropped(&frame(OUR_INSIDE)[..len]), Some(DropReason::Malformed), "{len} bytes");
    }
}

#[test]
fn a_frame_that_ends_too_early_is_malformed() {
    let request = inside(HOST, SERVER).echo_request(1, 1);
    let error = error();
    for frame in [udp(), tcp(), request, error] {
        assert_eq!(dropped(&frame), None);
        for len in 0..frame.len() {
            assert_eq!(dropped(&frame[..len]), Some(DropReason::Malformed), "{len} bytes");
        }
    }
}

/// The lengths agree with the frame, but the L4 header is not whole.
#[test]
fn a_packet_without_room_for_its_l4_header_is_malformed() {
    for (frame, needed) in [(udp(), 28), (tcp(), 40), (inside(HOST, SERVER).echo_request(1, 1), 28)]
    {
        for len in 20..needed {
            let short = edited(frame.clone(), 3, len);
            assert_eq!(dropped(&short), Some(DropReason::Malformed), "{len} bytes");
        }
    }
}

#[test]
fn headers_that_contradict_themselves_are_malformed() {
    let version_6 = edited(udp(), 0, 0x65);
    let header_of_16_bytes = with_byte(udp(), 14, 0x44);
    let header_beyond_the_packet = with_byte(udp(), 14, 0x4f);
    let total_below_header = edited(udp(), 3, 19);
    let total_beyond_frame = edited(udp(), 3, 37);
    let udp_longer_than_ip = with_byte(udp(), 39, 200);
    let tcp_header_of_16_bytes = with_byte(tcp(), 46, 0x40);
    let tcp_header_beyond_the_packet = with_byte(tcp(), 46, 0xf0);
    for frame in [
        version_6,
        header_of_16_bytes,
        header_beyond_the_packet,
        total_below_header,
        total_beyond_frame,
        udp_longer_than_ip,
        tcp_header_of_16_bytes,
        tcp_header_beyond_the_packet,
    ] {
        assert_eq!(dropped(&frame), Some(DropReason::Malformed), "{frame:02x?}");
    }
}

#[test]
fn padding_of_a_short_frame_is_not_part_of_the_packet() {
    let mut padded = inside(HOST, SERVER).udp(1, 2, b"");
    padded.resize(60, 0);
    assert_eq!(flow(&padded).ip_len, 28);
}

#[test]
fn every_wrong_bit_of_a_header_is_noticed() {
    for bit in 8 * 8..8 * 20 {
        let mut frame = udp();
        frame[14 + bit / 8] ^= 1 << (bit % 8);
        assert_eq!(dropped(&frame), Some(DropReason::BadChecksum), "bit {bit}");
    }
}

#[test]
fn pieces_are_told_from_whole_packets_by_offset_and_flag() {
    for (offset, more) in [(0, true), (1, true), (1, false), (0x1fff, false)] {
        let frame = inside(HOST, SERVER).piece(offset, more).udp(1, 2, b"12345678");
        assert!(matches!(class(&frame), Class::Piece), "{offset} {more}");
    }
    let whole = inside(HOST, SERVER).piece(0, false).udp(1, 2, b"12345678");
    assert_eq!(class(&whole), Class::Flow);
}

#[test]
fn options_that_show_or_choose_the_way_are_dropped() {
    let with = |options: [u8; 8]| inside(HOST, SERVER).options(options.into()).udp(1, 2, b"");
    let (record, timestamp, loose, strict, traceroute) = (7, 68, 131, 137, 82);
    for kind in [record, timestamp, loose, strict, traceroute] {
        let first = [kind, 7, 4, 0, 0, 0, 0, 0];
        let after_others = [1, 0x94, 4, 0, 0, kind, 3, 4];
        for options in [first, after_others] {
            assert_eq!(dropped(&with(options)), Some(DropReason::IpOption), "{options:?}");
        }
    }
    for harmless in [[1; 8], [0, 7, 7, 7, 7, 7, 7, 7], [0x94, 4, 0, 0, 1, 1, 1, 0]] {
        assert_eq!(dropped(&with(harmless)), None, "{harmless:?}");
    }
    for unreadable in [[0x94, 9, 0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1, 1, 0x94]] {
        assert_eq!(dropped(&with(unreadable)), Some(DropReason::IpOption), "{unreadable:?}");
    }
}

#[test]
fn a_jumbogram_of_the_kernel_is_an_unsupported_offload() {
    let big_tcp = with_byte(edited(tcp(), 3, 0), 16, 0);
    assert_eq!(dropped(&big_tcp), Some(DropReason::UnsupportedOffload));
}

#[test]
fn offloads_speak_of_the_outer_l4_header_only() {
    let gso = |offload: Offload| offload.with_gso(GsoKind::TcpV4, 1360, 54);
    let echo = inside(HOST, SERVER).echo_request(1, 1);
    let with_options = inside(HOST, SERVER).options([1; 4].into()).tcp(5000, 80, "S", b"");
    let fine = [
        (tcp(), Offload::partial_checksum(34, 16)),
        (udp(), Offload::partial_checksum(34, 6)),
        (tcp(), gso(Offload::partial_checksum(34, 16))),
        (with_options.clone(), Offload::partial_checksum(38, 16)),
        (echo.clone(), Offload::NONE),
    ];
    for (frame, offload) in fine {
        assert_eq!(reason(class_offloaded(&frame, offload)), None, "{offload:?}");
    }
    let unsupported = [
        (tcp(), Offload::partial_checksum(84, 16)),
        (tcp(), Offload::partial_checksum(34, 6)),
        (tcp(), Offload::partial_checksum(14, 16)),
        (udp(), Offload::partial_checksum(34, 16)),
        (udp(), Offload::partial_checksum(70, 6)),
        (with_options, Offload::partial_checksum(34, 16)),
        (echo, Offload::partial_checksum(34, 2)),
        (inside(HOST, SERVER).other(47, &[0; 40]), Offload::partial_checksum(34, 16)),
        (tcp(), gso(Offload::NONE)),
        (tcp(), gso(Offload::partial_checksum(84, 16))),
    ];
    for (frame, offload) in unsupported {
        let found = reason(class_offloaded(&frame, offload));
        assert_eq!(found, Some(DropReason::UnsupportedOffload), "{offload:?}");
    }
}
