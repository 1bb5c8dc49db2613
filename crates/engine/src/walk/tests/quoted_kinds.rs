//! ICMP errors of others, of every type and code, about every protocol, in both directions.

use std::net::Ipv4Addr;

use etherparse::Ipv4Options;

use crate::test_bench::frames::{Ip, inside, outside};
use crate::test_bench::seen::{Seen, Transport};
use crate::test_bench::{
    Bench, CONFIG, HOST, INSIDE, OTHER_HOST, OUTSIDE, POOL, SERVER, STRANGER, config_with,
};
use crate::{DropReason, Share, Verdict, WorkerId};

/// The codes of each type of error that crosses (RFC 792; RFC 1812 §5.2.7.1 for 6 to 15 of type 3).
const KINDS: [(u8, u8); 3] = [(3, 15), (11, 1), (12, 2)];

/// A router knows its host 10.0.0.3 as 203.0.113.20, whatever it speaks.
fn with_a_static_host() -> String {
    let rule = "[[rule]]\nname = \"host\"\nkind = \"static\"\ninside = \"10.0.0.3\"\n\
                outside = \"203.0.113.20\"\n\n[[rule]]";
    CONFIG.replacen("[[rule]]", rule, 1)
}

const STATIC: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 20);

/// What the sender of `frame` gets quoted when the packet has passed one hop.
fn quote_of(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame[14..frame.len().min(14 + 28)].to_vec();
    frame[8] -= 1;
    frame[10..12].fill(0);
    let header = usize::from(frame[0] & 15) * 4;
    let sum = !mooring_wire::checksum::rfc1071(&frame[..header]);
    frame[10..12].copy_from_slice(&sum.to_be_bytes());
    frame
}

/// RFC 5508 REQ-4 and REQ-5, RFC 4787 REQ-12, RFC 5382 REQ-9: type, code and the word behind the
/// checksum (the MTU, the pointer of a Parameter Problem) are those of the router; the quote is the
/// packet as its sender sent it.
#[test]
fn every_error_crosses_in_both_directions() {
    let mut bench = Bench::ready();
    let packets: [&dyn Fn(Ip) -> Vec<u8>; 3] = [
        &|ip: Ip| ip.udp(5000, 53, b"question"),
        &|ip: Ip| ip.tcp(5000, 80, "S", b""),
        &|ip: Ip| ip.echo_request(77, 1),
    ];
    for packet in packets {
        let request = packet(inside(HOST, SERVER));
        let sent = bench.forward(INSIDE, &request);
        let answer = answer_to(&sent);
        let delivered = bench.forward(OUTSIDE, &answer);
        for (kind, last) in KINDS {
            for code in 0..=last {
                // A Parameter Problem points at a byte, Fragmentation Needed at a length.
                let rest = if kind == 12 { [[20, 0], [0, 0]] } else { [[0, 0], [5, 0]] };
                let [[a, b], [c, d]] = rest;
                let words = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
                let inward = outside(STRANGER, POOL).icmp(kind, code, rest, &sent[14..42]);
                let seen = Seen::read(&bench.forward(OUTSIDE, &inward));
                assert_eq!(seen.transport, Transport::Icmp(kind, code, words.0, words.1));
                assert_eq!((seen.source, seen.destination), (STRANGER, HOST));
                assert_eq!(seen.payload, quote_of(&request), "inward, {kind}/{code}");

                let outward = inside(OTHER_HOST, SERVER).icmp(kind, code, rest, &delivered[14..42]);
                let seen = Seen::read(&bench.forward(INSIDE, &outward));
                assert_eq!(seen.transport, Transport::Icmp(kind, code, words.0, words.1));
                assert_eq!((seen.source, seen.destination), (POOL, SERVER));
                assert_eq!(seen.payload, quote_of(&answer), "outward, {kind}/{code}");
            }
        }
    }
    assert_eq!(bench.sessions(), 3);
}

/// The answer of the server to a packet that it saw as `sent`.
fn answer_to(sent: &[u8]) -> Vec<u8> {
    let word = |at: usize| u16::from_be_bytes([sent[at], sent[at + 1]]);
    let back = outside(SERVER, POOL);
    match sent[23] {
        17 => back.udp(word(36), word(34), b"answers!"),
        6 => back.tcp(word(36), word(34), "SA", b""),
        _ => back.echo_reply(word(38), 1),
    }
}

/// What a `static` rule translates by its addresses alone: GRE, ESP, SCTP (whose checksum covers no
/// address), and UDP-Lite and DCCP (whose checksums do).
#[test]
fn errors_about_protocols_without_ports_cross_by_a_static_address() {
    let mut bench = Bench::ready_with(&with_a_static_host());
    let l4 = [0x13, 0x88, 0x01, 0xbb, 0, 0, 0, 1, 0x12, 0x34, 0x56, 0x78];
    for protocol in [47, 50, 132] {
        let request = inside(OTHER_HOST, SERVER).other(protocol, &l4);
        let sent = bench.forward(INSIDE, &request);
        assert_eq!(sent[26..30], STATIC.octets());
        let inward = outside(STRANGER, STATIC).error((3, 4), 1300, &sent);
        let seen = Seen::read(&bench.forward(OUTSIDE, &inward));
        assert_eq!((seen.source, seen.destination), (STRANGER, OTHER_HOST));
        assert_eq!(seen.payload, quote_of(&request), "protocol {protocol}");

        let turned = [&l4[2..4], &l4[..2], &l4[4..]].concat();
        let answer = outside(SERVER, STATIC).other(protocol, &turned);
        let delivered = bench.forward(OUTSIDE, &answer);
        let outward = inside(HOST, SERVER).error((3, 2), 0, &delivered);
        let seen = Seen::read(&bench.forward(INSIDE, &outward));
        assert_eq!((seen.source, seen.destination), (STATIC, SERVER));
        assert_eq!(seen.payload, quote_of(&answer), "protocol {protocol}");
    }
    for protocol in [136, 33] {
        let request = inside(OTHER_HOST, SERVER).other(protocol, &l4);
        let sent = bench.forward(INSIDE, &request);
        assert_ne!(sent[40..42], request[40..42], "the checksum covers the address");
        let inward = outside(STRANGER, STATIC).error((3, 2), 0, &sent);
        let seen = Seen::read(&bench.forward(OUTSIDE, &inward));
        assert_eq!(seen.payload, quote_of(&request), "protocol {protocol}");
    }
}

/// RFC 5508 REQ-3 b: options of the quoted header are passed over.
#[test]
fn the_options_of_a_quoted_header_are_no_ports() {
    let mut bench = Bench::ready();
    let alert = Ipv4Options::from([148, 4, 0, 0]);
    let request = inside(HOST, SERVER).options(alert).udp(5000, 53, b"question");
    let sent = bench.forward(INSIDE, &request);
    let error = outside(STRANGER, POOL).icmp(11, 0, [[0; 2]; 2], &sent[14..46]);
    let seen = Seen::read(&bench.forward(OUTSIDE, &error));
    assert_eq!(seen.destination, HOST);
    assert_eq!(seen.payload[12..32], request[26..46], "addresses, options, ports, checksum");
}

/// RFC 792: the first fragment has the ports, and is quoted as any packet.
#[test]
fn a_quoted_first_piece_names_its_flow() {
    let mut bench = Bench::ready();
    let pieces = pieces(&inside(HOST, SERVER), 7);
    let sent: Vec<_> = pieces.iter().map(|piece| bench.forward(INSIDE, piece)).collect();
    let error = outside(SERVER, POOL).error((11, 1), 0, &sent[0]);
    let seen = Seen::read(&bench.forward(OUTSIDE, &error));
    assert_eq!((seen.destination, seen.payload), (HOST, quote_of(&pieces[0])));
}

/// A later fragment has no ports: its flow is known as long as its datagram is remembered.
#[test]
fn a_quoted_later_piece_names_its_flow_while_its_datagram_is_remembered() {
    let mut bench = Bench::ready();
    let pieces = pieces(&inside(HOST, SERVER), 7);
    let sent: Vec<_> = pieces[..2].iter().map(|piece| bench.forward(INSIDE, piece)).collect();
    let error = outside(STRANGER, POOL).error((3, 4), 1000, &sent[1]);
    let seen = Seen::read(&bench.forward(OUTSIDE, &error));
    assert_eq!((seen.source, seen.destination), (STRANGER, HOST));
    assert_eq!(seen.payload, quote_of(&pieces[1]));
    for wrong in [outside(SERVER, POOL), outside(SERVER, STATIC)] {
        let other = wrong.error(
            (3, 4),
            1000,
            &inside(POOL, SERVER).piece(2, true).identified(8).other(17, &[0; 16]),
        );
        bench.ignore(OUTSIDE, &other, DropReason::QuoteUnknown);
    }
    bench.forward(INSIDE, &pieces[2]);
    bench.ignore(OUTSIDE, &error, DropReason::QuoteUnknown);
    assert_eq!(bench.sessions(), 1);
}

/// RFC 5508 REQ-4: also where that had to be another one, because a host before had the same.
#[test]
fn the_quote_of_a_piece_has_the_identification_that_its_sender_knows() {
    let mut bench = Bench::ready();
    let mut left = Vec::new();
    for host in [OTHER_HOST, HOST] {
        let pieces = pieces(&inside(host, SERVER), 7);
        let sent: Vec<_> = pieces[..2].iter().map(|piece| bench.forward(INSIDE, piece)).collect();
        for (piece, sent) in pieces.iter().zip(&sent) {
            let error = outside(STRANGER, POOL).error((3, 4), 1000, sent);
            let seen = Seen::read(&bench.forward(OUTSIDE, &error));
            assert_eq!((seen.destination, seen.payload), (host, quote_of(piece)));
            left.push(sent[18..20].to_vec());
        }
    }
    assert_eq!(left[0], [0, 7]);
    assert_ne!(left[0], left[2]);
}

/// A datagram of three pieces, from port 5000 to port 53.
fn pieces(ip: &Ip, identification: u16) -> Vec<Vec<u8>> {
    let whole = ip.clone().udp(5000, 53, &[9; 40]);
    ip.clone().pieces(identification, 17, &whole[34..], 16)
}

const WEB: &str = "[[rule]]\nname = \"web\"\nkind = \"port-forward\"\naddress = \"203.0.113.10\"\n\
                   protocol = \"udp\"\nport = \"8080\"\ntarget = \"10.0.0.3:80\"\n";

/// RFC 5508 REQ-7 b: both translations of a hairpinned packet are undone in its quote, wherever its
/// halves are.
#[test]
fn every_error_about_a_hairpinned_packet_takes_the_way_back() {
    let mut bench = Bench::ready_with(&config_with(WEB));
    let request = inside(HOST, POOL).udp(5000, 8080, b"hello");
    let (_, there) = bench.send(INSIDE, &request);
    let port = u16::from_be_bytes([there[34], there[35]]);
    let answer = inside(OTHER_HOST, POOL).udp(80, port, b"hello");
    let (_, back) = bench.send(INSIDE, &answer);
    for (kind, last) in KINDS {
        for code in 0..=last {
            for (about, sender, receiver, original) in
                [(&there, OTHER_HOST, HOST, &request), (&back, HOST, OTHER_HOST, &answer)]
            {
                let error = inside(sender, POOL).error((kind, code), 1300, about);
                let (verdict, frame) = bench.send(INSIDE, &error);
                assert_eq!(verdict, Verdict::Tx(INSIDE), "{kind}/{code}");
                let seen = Seen::read(&frame);
                assert_eq!((seen.source, seen.destination, seen.ttl), (POOL, receiver, 63));
                assert_eq!(seen.transport, Transport::Icmp(kind, code, 0, 1300));
                assert_eq!(seen.payload, quote_of(original));
            }
        }
    }
    assert_eq!(bench.sessions(), 2);
}

/// The same, where the halves may be of two workers: the half-translated error is handed over.
#[test]
fn an_error_about_a_hairpinned_packet_crosses_two_workers() {
    let share = |worker| Share::new(worker, 2).expect("one of two");
    let mut crossed = false;
    for last in 2..16 {
        let mut workers = [0, 1].map(|worker| Bench::ready_as(share(worker), &config_with(WEB)));
        for worker in &mut workers {
            worker.learn(INSIDE, Ipv4Addr::new(10, 0, 0, last), crate::test_bench::HOST_MAC);
        }
        let sender = Ipv4Addr::new(10, 0, 0, if last == 3 { 2 } else { last });
        let request = inside(sender, POOL).udp(5000, 8080, b"hello");
        let (there, _) = walk(&mut workers, &request);
        let error = inside(OTHER_HOST, POOL).error((3, 3), 0, &there);
        let (frame, halves) = walk(&mut workers, &error);
        let seen = Seen::read(&frame);
        assert_eq!((seen.source, seen.destination, seen.ttl), (POOL, sender, 63));
        assert_eq!(seen.payload, quote_of(&request));
        crossed |= halves;
    }
    assert!(crossed, "otherwise the case was not met");
}

/// Gives a frame from inside to worker 0 and follows it; how it leaves inside, and whether it was
/// handed over half-translated.
fn walk(workers: &mut [Bench; 2], frame: &[u8]) -> (Vec<u8>, bool) {
    let mut halves = false;
    let mut outcome = workers[0].send(INSIDE, frame);
    for _ in 0..4 {
        let (verdict, frame) = outcome;
        outcome = match verdict {
            Verdict::Tx(INSIDE) => return (frame, halves),
            Verdict::HandOver(WorkerId(owner)) => {
                workers[usize::from(owner)].send_handed(INSIDE, false, &frame)
            }
            Verdict::HandOverHalf(WorkerId(owner)) => {
                halves = true;
                workers[usize::from(owner)].send_handed(INSIDE, true, &frame)
            }
            other => panic!("{other:?}"),
        };
    }
    panic!("handed round and round");
}
