//! The short way against the long one, on packets of which a few bytes are anything.

use etherparse::Ipv4Options;
use mooring_packet::offload::GsoKind;
use mooring_packet::{Offload, Packet};
use mooring_wire::Protocol;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::with_header_checksum;
use crate::classify::{Class, Classified, Plain, class_of, plain};
use crate::test_bench::frames::inside;
use crate::test_bench::{HOST, OUR_INSIDE, SERVER};
use crate::walk::tests::v6;

/// Packets of all kinds.
fn packets() -> Vec<Vec<u8>> {
    let ip = || inside(HOST, SERVER);
    vec![
        ip().udp(5000, 53, b"question"),
        ip().udp(5000, 53, b""),
        ip().tcp(5000, 80, "A", b"GET /"),
        ip().tcp(5000, 80, "S", b""),
        ip().echo_request(7, 1),
        ip().piece(0, true).udp(1, 2, b"a piece."),
        ip().options(Ipv4Options::from([1, 1, 1, 0])).udp(1, 2, b"x"),
        ip().other(47, &[0; 24]),
        v6::udp(v6::OUT, (v6::HOST, "2001:db8:9::7"), 64, (5000, 53), b"question"),
        v6::tcp(v6::OUT, (v6::HOST, "2001:db8:9::7"), 64, (5000, 80), ((1, 2), 16)),
    ]
}

/// A packet of which some bytes are anything, its IPv4 header right again in most.
fn any_packet(random: &mut ChaCha8Rng, packets: &[Vec<u8>]) -> (Vec<u8>, Offload) {
    let mut below = |n: usize| random.next_u32() as usize % n;
    let mut frame = packets[below(packets.len())].clone();
    match below(4) {
        0 => frame.truncate(below(frame.len() + 1)),
        1 => frame.extend(vec![0xee; below(30)]),
        _ => {}
    }
    for _ in 0..below(3) {
        let at = below(frame.len().max(1));
        // Zero and what is near the byte are more telling than any other.
        let value = [0, 1, 0xff, 5, 20, 64, below(256)][below(7)] as u8;
        if let Some(byte) = frame.get_mut(at) {
            *byte = if below(2) == 0 { value } else { byte.wrapping_add(value) };
        }
    }
    let is_v4 = frame.get(12..14) == Some(&[8, 0]);
    let header = frame.get(14).map_or(0, |byte| usize::from(byte & 15) * 4);
    if is_v4 && header >= 12 && frame.len() >= 14 + header && below(8) > 0 {
        frame = with_header_checksum(frame);
    }
    let offload = match below(12) {
        0 => Offload::partial_checksum(34, 6),
        1 => Offload::partial_checksum(34, 16).with_gso(GsoKind::TcpV4, 1448, 54),
        2 => Offload::NONE.with_gso(GsoKind::TcpV4, 1448, 54),
        3 => Offload::verified(),
        _ => Offload::NONE,
    };
    (frame, offload)
}

/// Whether the short way has to read it.
fn is_plain(long: &Classified, packet: &Packet<'_>) -> Plain {
    let ports = |protocol| matches!(protocol, Protocol::UDP | Protocol::TCP);
    match long.class {
        _ if !packet.offload.is_complete() => Plain::No,
        Class::Flow if long.v4.place.l4 == 34 && ports(long.v4.key.protocol) => Plain::V4,
        Class::FlowV6 if long.v6.place.l4 == 54 && ports(long.v6.key.protocol) => Plain::V6,
        _ => Plain::No,
    }
}

#[test]
fn the_short_way_reads_what_the_long_way_reads() {
    let packets = packets();
    let mut random = ChaCha8Rng::seed_from_u64(0x6d6f_6f72);
    let mut plain_ones = [0; 2];
    let mut long_ones = 0;
    for _ in 0..300_000 {
        let (mut frame, offload) = any_packet(&mut random, &packets);
        let len = frame.len();
        let packet = Packet::new(&mut frame, 0, len, offload);
        let (mut short, mut long) = (Classified::NOTHING, Classified::NOTHING);
        long.class = class_of(&packet, OUR_INSIDE, &mut long);
        let plain = plain::read(&packet, OUR_INSIDE, &mut short);
        assert_eq!(plain, is_plain(&long, &packet), "{long:?} {packet:?}");
        match plain {
            Plain::V4 => {
                plain_ones[0] += 1;
                assert_eq!(format!("{:?}", short.v4), format!("{:?}", long.v4));
            }
            Plain::V6 => {
                plain_ones[1] += 1;
                assert_eq!(format!("{:?}", short.v6), format!("{:?}", long.v6));
            }
            Plain::No => long_ones += 1,
        }
    }
    let enough = plain_ones[0] > 30_000 && plain_ones[1] > 10_000 && long_ones > 30_000;
    assert!(enough, "otherwise this proves little: {plain_ones:?} {long_ones}");
}
