//! The same by IPv6 (RFC 8200 §4.5).

use std::net::Ipv6Addr;

use mooring_wire::{Mac, Protocol, checksum};

use super::memory;
use crate::test_bench::{
    Bench, GATEWAY_MAC, HOST_MAC, INSIDE, OUR_INSIDE, OUR_OUTSIDE, OUTSIDE, config_with,
};
use crate::{DropReason, Verdict};

const HOST: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x10, 0, 0, 0, 0, 0, 2);
const OTHER_HOST: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x10, 0, 0, 0, 0, 0, 3);
const GATEWAY: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 2);
const POOL: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 0x10);
const SERVER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 7);

const OUT: (Mac, Mac) = (HOST_MAC, OUR_INSIDE);
const BACK: (Mac, Mac) = (GATEWAY_MAC, OUR_OUTSIDE);

fn ready() -> Bench {
    ready_with("")
}

fn ready_with(more: &str) -> Bench {
    let mut bench = Bench::ready_with(&config_with(&format!(
        r#"
        {more}
        [[route]]
        destination = "::/0"
        via = "2001:db8:1::2"
        [[pool]]
        name = "egress6"
        addresses = ["2001:db8:f::10/128"]
        [[rule]]
        name = "egress6"
        kind = "source-nat"
        from = "inside"
        to = "outside"
        source = ["fd00:10::/64"]
        pool = "egress6"
    "#
    )));
    let ours = [
        Ipv6Addr::new(0xfd00, 0x10, 0, 0, 0, 0, 0, 1),
        Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1),
    ];
    for (link, macs, neighbour, own) in
        [(INSIDE, OUT, HOST, ours[0]), (OUTSIDE, BACK, GATEWAY, ours[1])]
    {
        let question = [&own.octets()[..], &[1, 1], &macs.0.0].concat();
        let mut l4 = [&[135, 0, 0, 0, 0, 0, 0, 0][..], &question].concat();
        let sum = checksum_of(neighbour, own, Protocol::ICMPV6, &l4);
        l4[2..4].copy_from_slice(&sum);
        assert_eq!(
            bench.send(link, &frame(macs, (neighbour, own), 255, 58, &l4)).0,
            Verdict::Local
        );
        bench.sent();
    }
    bench
}

fn checksum_of(source: Ipv6Addr, destination: Ipv6Addr, protocol: Protocol, l4: &[u8]) -> [u8; 2] {
    let pseudo = checksum::pseudo_v6(source, destination, protocol, l4.len() as u32);
    (!checksum::add(checksum::sum(l4), pseudo)).to_be_bytes()
}

fn frame(
    macs: (Mac, Mac),
    ends: (Ipv6Addr, Ipv6Addr),
    hops: u8,
    next: u8,
    payload: &[u8],
) -> Vec<u8> {
    let len = (payload.len() as u16).to_be_bytes();
    let ip = [0x60, 0, 0, 0, len[0], len[1], next, hops];
    let macs = [&macs.1.0[..], &macs.0.0, &[0x86, 0xdd]].concat();
    [&macs, &ip[..], &ends.0.octets(), &ends.1.octets(), payload].concat()
}

fn udp(ends: (Ipv6Addr, Ipv6Addr), ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let len = (payload.len() + 8) as u16;
    let header = [ports.0, ports.1, len, 0].map(u16::to_be_bytes).concat();
    let mut l4 = [&header[..], payload].concat();
    let sum = checksum_of(ends.0, ends.1, Protocol::UDP, &l4);
    l4[6..8].copy_from_slice(&sum);
    l4
}

fn tcp(
    ends: (Ipv6Addr, Ipv6Addr),
    ports: (u16, u16),
    flags: u8,
    numbers: (u32, u32),
    payload: &[u8],
) -> Vec<u8> {
    let ports = [ports.0, ports.1].map(u16::to_be_bytes).concat();
    let numbers = [numbers.0, numbers.1].map(u32::to_be_bytes).concat();
    let mut l4 = [&ports[..], &numbers, &[0x50, flags, 0x40, 0, 0, 0, 0, 0], payload].concat();
    let sum = checksum_of(ends.0, ends.1, Protocol::TCP, &l4);
    l4[16..18].copy_from_slice(&sum);
    l4
}

/// The pieces of a packet. Later ones claim another next header, which says nothing.
fn pieces(
    macs: (Mac, Mac),
    ends: (Ipv6Addr, Ipv6Addr),
    next: u8,
    l4: &[u8],
    size: usize,
) -> Vec<Vec<u8>> {
    let parts = l4.chunks(size).enumerate();
    parts
        .map(|(at, part)| {
            let more = u16::from((at + 1) * size < l4.len());
            let [high, low] = ((at * size) as u16 | more).to_be_bytes();
            let next = if at == 0 { next } else { 59 };
            let payload = [&[next, 0, high, low, 1, 2, 3, 4], part].concat();
            frame(macs, ends, 64, 44, &payload)
        })
        .collect()
}

/// Joins pieces; checks what they have in common. The identification, the ends and the L4 bytes.
fn joined(pieces: &[Vec<u8>]) -> (Vec<u8>, [Vec<u8>; 2], Vec<u8>) {
    let mut pieces = pieces.to_vec();
    pieces.sort_by_key(|piece| [piece[56], piece[57]]);
    let front =
        |piece: &[u8]| (piece[58..62].to_vec(), [piece[22..38].to_vec(), piece[38..54].to_vec()]);
    let (identification, ends) = front(&pieces[0]);
    for piece in &pieces {
        assert_eq!(front(piece), (identification.clone(), ends.clone()));
        assert_eq!(piece[21], 63);
    }
    let l4 = pieces.iter().flat_map(|piece| piece[62..].to_vec()).collect();
    (identification, ends, l4)
}

#[test]
fn a_datagram_in_pieces_goes_out_and_its_answer_comes_back_in_any_order() {
    for backwards in [false, true] {
        let mut bench = ready();
        let mut give = |link, mut pieces: Vec<Vec<u8>>| {
            if backwards {
                pieces.reverse();
            }
            let egress = if link == INSIDE { OUTSIDE } else { INSIDE };
            let mut sent = Vec::new();
            for piece in &pieces {
                if let (Verdict::Tx(to), frame) = bench.send(link, piece) {
                    assert_eq!(to, egress);
                    sent.push(frame);
                }
            }
            sent.extend(bench.sent_by(egress));
            assert_eq!(sent.len(), pieces.len());
            assert_eq!(memory(&bench), (0, 0));
            joined(&sent)
        };
        let payload = [0xab; 3_000];
        let l4 = udp((HOST, SERVER), (5000, 53), &payload);
        let (identification, ends, l4) = give(INSIDE, pieces(OUT, (HOST, SERVER), 17, &l4, 1_232));
        assert_eq!(identification, [1, 2, 3, 4]);
        assert_eq!(ends, [POOL.octets().to_vec(), SERVER.octets().to_vec()]);
        let port = u16::from_be_bytes([l4[0], l4[1]]);
        assert_eq!(l4, udp((POOL, SERVER), (port, 53), &payload));
        let l4 = udp((SERVER, POOL), (53, port), &payload);
        let (_, ends, l4) = give(OUTSIDE, pieces(BACK, (SERVER, POOL), 17, &l4, 1_232));
        assert_eq!(ends, [SERVER.octets().to_vec(), HOST.octets().to_vec()]);
        assert_eq!(l4, udp((SERVER, HOST), (53, 5000), &payload));
    }
}

#[test]
fn two_ipv6_hosts_with_one_identification_leave_with_two() {
    let mut bench = ready();
    let mut identifications = Vec::new();
    for host in [HOST, OTHER_HOST] {
        let l4 = udp((host, SERVER), (5000, 53), &[1; 100]);
        let first = pieces(OUT, (host, SERVER), 17, &l4, 64).remove(0);
        identifications.push(bench.forward(INSIDE, &first)[58..62].to_vec());
    }
    assert_eq!(identifications[0], [1, 2, 3, 4]);
    assert_ne!(identifications[0], identifications[1]);
}

/// RFC 6864 §4.3 in kind: one after the other.
#[test]
fn an_ipv6_host_does_not_take_up_the_identification_of_another_that_has_passed() {
    let mut bench = ready();
    let [first, second] = [HOST, OTHER_HOST].map(|host| {
        let l4 = udp((host, SERVER), (5000, 53), &[1; 100]);
        let pieces = pieces(OUT, (host, SERVER), 17, &l4, 64);
        let sent: Vec<_> = pieces.iter().map(|piece| bench.forward(INSIDE, piece)).collect();
        sent[0][58..62].to_vec()
    });
    assert_eq!(first, [1, 2, 3, 4]);
    assert_ne!(first, second);
}

/// RFC 5508 REQ-4 in kind.
#[test]
fn the_quote_of_an_ipv6_piece_has_the_identification_that_its_sender_knows() {
    let mut bench = ready();
    let first_two = |host| {
        let l4 = udp((host, SERVER), (5000, 53), &[1; 150]);
        let mut pieces = pieces(OUT, (host, SERVER), 17, &l4, 64);
        pieces.truncate(2);
        pieces
    };
    first_two(OTHER_HOST).iter().for_each(|piece| drop(bench.forward(INSIDE, piece)));
    for mut piece in first_two(HOST) {
        let sent = bench.forward(INSIDE, &piece);
        assert_ne!(sent[58..62], [1, 2, 3, 4], "another host has it");
        let mut error = [&[1, 4, 0, 0, 0, 0, 0, 0][..], &sent[14..]].concat();
        let sum = checksum_of(SERVER, POOL, Protocol::ICMPV6, &error);
        error[2..4].copy_from_slice(&sum);
        let seen = bench.forward(OUTSIDE, &frame(BACK, (SERVER, POOL), 64, 58, &error));
        // It has passed one hop.
        piece[21] -= 1;
        assert_eq!(seen[62..], piece[14..]);
        assert_eq!(checksum_of(SERVER, HOST, Protocol::ICMPV6, &seen[54..]), [0, 0]);
    }
}

#[test]
fn fragment_headers_stand_between_other_extensions() {
    let mut bench = ready();
    let l4 = udp((HOST, SERVER), (5000, 53), &[1; 100]);
    let padding = |next| [next, 0, 1, 4, 0, 0, 0, 0];
    let behind = [&padding(17)[..], &l4].concat();
    let sent: Vec<_> = pieces(OUT, (HOST, SERVER), 60, &behind, 64)
        .into_iter()
        .map(|piece| {
            let extended = [&padding(44)[..], &piece[54..]].concat();
            bench.forward(INSIDE, &frame(OUT, (HOST, SERVER), 64, 0, &extended))
        })
        .collect();
    let l4: Vec<u8> = sent.iter().flat_map(|piece| piece[70..].to_vec()).collect();
    let port = u16::from_be_bytes([l4[8], l4[9]]);
    assert_eq!(l4[8..], udp((POOL, SERVER), (port, 53), &[1; 100]));
    let home_address =
        [&[17, 0, 0xc9, 4, 0, 0, 0, 0][..], &udp((HOST, SERVER), (1, 2), &[1; 48])].concat();
    let first = pieces(OUT, (HOST, SERVER), 60, &home_address, 32).remove(0);
    let mut first = first;
    first[61] = 9;
    bench.ignore(INSIDE, &first, DropReason::IpOption);
}

/// RFC 6946 §4: it is "processed in isolation from any other packets/fragments", also from pieces with
/// its identification.
#[test]
fn an_atomic_fragment_is_a_whole_packet() {
    let mut bench = ready();
    let l4 = udp((HOST, SERVER), (5000, 53), &[1; 100]);
    let in_pieces = pieces(OUT, (HOST, SERVER), 17, &l4, 64);
    let atomic = pieces(OUT, (HOST, SERVER), 17, &l4, 256);
    assert_eq!((in_pieces.len(), atomic.len()), (2, 1));
    for frame in [&in_pieces[0], &atomic[0], &in_pieces[1], &atomic[0]] {
        bench.forward(INSIDE, frame);
    }
    assert_eq!(memory(&bench), (0, 0));
}

/// RFC 7112 §5, RFC 6980 §5.
#[test]
fn what_does_not_show_its_headers_is_dropped() {
    let mut bench = ready();
    let l4 = udp((HOST, SERVER), (5000, 53), &[1; 100]);
    let header_behind = [&[17, 1, 1, 12, 0, 0, 0, 0][..], &[0; 8], &l4].concat();
    let short = pieces(OUT, (HOST, SERVER), 60, &header_behind, 8).remove(0);
    bench.ignore(INSIDE, &short, DropReason::FragmentTiny);
    let solicitation = [&[135, 0, 0, 0, 0, 0, 0, 0][..], &SERVER.octets(), &[0; 16]].concat();
    let mut piece = pieces(OUT, (HOST, SERVER), 58, &solicitation, 24).remove(0);
    piece[61] = 9;
    bench.ignore(INSIDE, &piece, DropReason::UnsupportedProtocol);
}

#[test]
fn a_first_piece_that_is_too_long_is_answered() {
    let mut bench = ready();
    let l4 = udp((HOST, SERVER), (5000, 53), &[1; 3_000]);
    let pieces = pieces(OUT, (HOST, SERVER), 17, &l4, 1_448);
    let said = bench.refuse(INSIDE, &pieces[0], DropReason::TooBig);
    assert_eq!((said.len(), said[0].1[54]), (1, 2), "Packet Too Big");
    bench.ignore(INSIDE, &pieces[1], DropReason::FragmentUntranslated);
}

/// RFC 5961 §4 in kind: where the first piece is not believed, nor are the others.
#[test]
fn a_forged_segment_in_pieces_keeps_nothing_in_ipv6() {
    let mut bench = ready_with("[tcp]\nwindow_tracking = true");
    let out = |flags, numbers| {
        let l4 = tcp((HOST, SERVER), (5000, 80), flags, numbers, b"");
        frame(OUT, (HOST, SERVER), 64, 6, &l4)
    };
    let sent = bench.forward(INSIDE, &out(2, (5_000, 0)));
    let port = u16::from_be_bytes([sent[54], sent[55]]);
    let back = |flags, numbers, payload: &[u8]| {
        let l4 = tcp((SERVER, POOL), (80, port), flags, numbers, payload);
        pieces(BACK, (SERVER, POOL), 6, &l4, 40)
    };
    bench.forward(OUTSIDE, &back(0x12, (900_000, 5_001), b"")[0]);
    bench.forward(INSIDE, &out(0x10, (5_001, 900_001)));
    let session = |bench: &Bench| {
        let behind_ipv4 = bench.engine.sessions(bench.now, 0).1.expect("those of IPv6");
        bench.engine.sessions(bench.now, behind_ipv4).0.remove(0)
    };
    assert_eq!(session(&bench).state, "established");
    bench.rest(1_000);
    for piece in back(2, (0x7000_0000, 0), &[1; 60]) {
        bench.forward(OUTSIDE, &piece);
    }
    assert_eq!((session(&bench).state, session(&bench).idle), ("established", 1_000));
    let [first, later] = &back(0x10, (0x7000_0000, 7), &[1; 52])[..] else { panic!("two") };
    bench.ignore(OUTSIDE, first, DropReason::OutOfWindow);
    bench.ignore(OUTSIDE, later, DropReason::FragmentUntranslated);
}
