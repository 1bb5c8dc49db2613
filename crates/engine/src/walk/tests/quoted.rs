//! ICMP errors of others about packets of ours (RFC 5508 §4.2).

use super::open_udp;
use crate::test_bench::frames::{inside, outside};
use crate::test_bench::seen::{Seen, Transport};
use crate::test_bench::{
    Bench, HOST, HOST_MAC, INSIDE, OTHER_HOST, OUR_INSIDE, OUTSIDE, POOL, SERVER, STRANGER,
};
use crate::{DropReason, Verdict};

/// The first 28 bytes of the IP packet in a frame: what these errors quote.
fn quote(frame: &[u8]) -> &[u8] {
    &frame[14..42]
}

/// RFC 5508 REQ-4: inward, both the message and its quote are in the inside view.
#[test]
fn an_error_from_outside_reaches_the_host_in_its_own_view() {
    let mut bench = Bench::ready();
    let request = inside(HOST, SERVER).udp(5000, 53, b"question");
    let sent = bench.forward(INSIDE, &request);
    for (kind, code, mtu) in [(3, 3, 0), (3, 4, 1300), (11, 0, 0), (12, 0, 0)] {
        let error = outside(STRANGER, POOL).error((kind, code), mtu, &sent);
        let seen = Seen::read(&bench.forward(OUTSIDE, &error));
        assert_eq!(seen.macs, (OUR_INSIDE, HOST_MAC));
        assert_eq!((seen.source, seen.destination, seen.ttl), (STRANGER, HOST, 63));
        assert_eq!(seen.transport, Transport::Icmp(kind, code, 0, mtu));
        // The request as it was sent, but for the TTL that we took one from.
        let mut expected = request.clone();
        expected[22] -= 1;
        fill_header_checksum(&mut expected);
        assert_eq!(seen.payload, quote(&expected), "type {kind}");
    }
}

/// A redirect names a router of its own side, and nobody translates that; a source quench has no
/// meaning any more (RFC 6633).
#[test]
fn redirects_and_source_quenches_cross_in_neither_direction() {
    let mut bench = Bench::ready();
    let sent = bench.forward(INSIDE, &inside(HOST, SERVER).udp(5000, 53, b"question"));
    let Transport::Udp(port, 53) = Seen::read(&sent).transport else { panic!("{sent:02x?}") };
    let delivered = bench.forward(OUTSIDE, &outside(SERVER, POOL).udp(53, port, b"answer"));
    for (kind, rest) in [(5, [[10, 0], [0, 254]]), (4, [[0, 0], [0, 0]])] {
        let out = inside(OTHER_HOST, SERVER).icmp(kind, 1, rest, &delivered[14..42]);
        bench.ignore(INSIDE, &out, DropReason::UnsupportedProtocol);
        let back = outside(STRANGER, POOL).icmp(kind, 1, rest, &sent[14..42]);
        bench.ignore(OUTSIDE, &back, DropReason::UnsupportedProtocol);
    }
}

/// RFC 5837: an extension may name an interface of the inside.
#[test]
fn an_error_with_extensions_does_not_leave() {
    let mut bench = Bench::ready();
    let sent = bench.forward(INSIDE, &inside(HOST, SERVER).udp(5000, 53, b"question"));
    let Transport::Udp(port, 53) = Seen::read(&sent).transport else { panic!("{sent:02x?}") };
    let answer = outside(SERVER, POOL).udp(53, port, &[1; 100]);
    let delivered = bench.forward(OUTSIDE, &answer);
    let mut payload = delivered[14..14 + 128].to_vec();
    payload.extend([0x20, 0, 0, 0, 0, 12, 2, 0x04, 0, 1, 0, 0, 10, 0, 0, 254]);
    for length in [32, 0] {
        let error = inside(OTHER_HOST, SERVER).icmp(11, 0, [[0, length], [0, 0]], &payload);
        bench.ignore(INSIDE, &error, DropReason::UnsupportedProtocol);
    }
}

/// RFC 4884 §6: in comes what its length says, with padding and extensions.
#[test]
fn an_error_with_extensions_comes_in_and_one_without_ports_does_not() {
    let mut bench = Bench::ready();
    let question = inside(HOST, SERVER).udp(5000, 53, b"question");
    let sent = bench.forward(INSIDE, &question);
    let mut payload = [&sent[14..], &[0; 128][sent.len() - 14..]].concat();
    payload.extend([0x20, 0, 0, 0, 0, 8, 1, 1, 0, 1, 0x11, 1]);
    let error = outside(STRANGER, POOL).icmp(11, 0, [[0, 32], [0, 0]], &payload);
    let delivered = bench.forward(OUTSIDE, &error);
    assert_eq!(delivered[38..42], error[38..42], "the length");
    assert_eq!(delivered[42 + 36..], error[42 + 36..], "padding and extensions");
    assert_eq!(delivered[42 + 12..42 + 22], question[26..36], "the quote is the host's");
    let short = outside(STRANGER, POOL).icmp(11, 0, [[0, 5], [0, 0]], &payload);
    bench.ignore(OUTSIDE, &short, DropReason::Malformed);
}

#[test]
fn errors_about_a_connection_and_a_ping_come_back_as_well() {
    let mut bench = Bench::ready();
    let syn = inside(HOST, SERVER).tcp(5000, 80, "S", b"");
    let ping = inside(HOST, SERVER).echo_request(77, 1);
    for request in [syn, ping] {
        let sent = bench.forward(INSIDE, &request);
        let error = outside(SERVER, POOL).error((3, 1), 0, &sent);
        let seen = Seen::read(&bench.forward(OUTSIDE, &error));
        assert_eq!((seen.source, seen.destination), (SERVER, HOST));
        assert_eq!(seen.payload[12..20], request[26..34], "the addresses");
        // Without the ICMP checksum's place it would be the ports of TCP.
        let ports = if request[23] == 6 { 34..38 } else { 38..42 };
        let place = ports.start - 14..ports.end - 14;
        assert_eq!(seen.payload[place], request[ports], "the ports, or the identifier");
    }
}

/// RFC 5508 REQ-5: outward, the host inside is not shown, neither as sender nor in the quote.
#[test]
fn an_error_from_inside_leaves_in_the_outside_view() {
    let mut bench = Bench::ready();
    let port = open_udp(&mut bench);
    let answer = outside(SERVER, POOL).udp(53, port, b"answer");
    let delivered = bench.forward(OUTSIDE, &answer);
    for sender in [HOST, OTHER_HOST] {
        let error = inside(sender, SERVER).error((3, 3), 0, &delivered);
        let seen = Seen::read(&bench.forward(INSIDE, &error));
        assert_eq!((seen.source, seen.destination, seen.ttl), (POOL, SERVER, 63));
        let mut expected = answer.clone();
        expected[22] -= 1;
        fill_header_checksum(&mut expected);
        assert_eq!(seen.payload, quote(&expected));
    }
}

/// RFC 5508 REQ-6: "MUST NOT refresh or delete the NAT Session".
#[test]
fn an_error_neither_keeps_a_session_nor_ends_it() {
    let mut bench = Bench::ready();
    let sent = bench.forward(INSIDE, &inside(HOST, SERVER).udp(5000, 53, b""));
    let error = outside(SERVER, POOL).error((3, 3), 0, &sent);
    bench.rest(299_000);
    bench.forward(OUTSIDE, &error);
    assert_eq!(bench.sessions(), 1);
    bench.rest(3_000);
    assert_eq!(bench.sessions(), 0);
    bench.ignore(OUTSIDE, &error, DropReason::QuoteUnknown);
}

#[test]
fn an_error_about_nothing_of_ours_is_dropped() {
    let mut bench = Bench::ready();
    let port = open_udp(&mut bench);
    let about = |source, sport, destination, dport| {
        outside(STRANGER, POOL).error(
            (3, 3),
            0,
            &inside(source, destination).udp(sport, dport, b""),
        )
    };
    bench.ignore(OUTSIDE, &about(POOL, port ^ 1, SERVER, 53), DropReason::QuoteUnknown);
    bench.ignore(OUTSIDE, &about(POOL, port, SERVER, 54), DropReason::QuoteUnknown);
    bench.ignore(OUTSIDE, &about(POOL, port, STRANGER, 53), DropReason::QuoteUnknown);
    bench.ignore(OUTSIDE, &about(HOST, 5000, STRANGER, 53), DropReason::QuoteUnknown);
    assert_eq!(bench.engine.counters.translated, 1);
}

#[test]
fn an_error_whose_quote_tells_nothing_is_malformed() {
    let mut bench = Bench::ready();
    let port = open_udp(&mut bench);
    let sent = inside(POOL, SERVER).udp(port, 53, b"");
    for len in 0..28 {
        let error = outside(STRANGER, POOL).icmp(3, 3, [[0; 2]; 2], &quote(&sent)[..len]);
        let (verdict, _) = bench.send(OUTSIDE, &error);
        // From 24 bytes on the quote has the ports.
        let expected =
            if len < 24 { Verdict::Drop(DropReason::Malformed) } else { Verdict::Tx(INSIDE) };
        assert_eq!(verdict, expected, "{len} bytes");
    }
}

/// RFC 5508 REQ-3: a wrong ICMP checksum is dropped.
#[test]
fn an_error_with_a_wrong_checksum_is_dropped() {
    let mut bench = Bench::ready();
    let sent = bench.forward(INSIDE, &inside(HOST, SERVER).udp(5000, 53, b""));
    let mut error = outside(STRANGER, POOL).error((3, 3), 0, &sent);
    error[60] ^= 1;
    bench.ignore(OUTSIDE, &error, DropReason::BadChecksum);
}

#[test]
fn an_error_is_for_whom_its_quote_names_and_from_where_that_can_be() {
    let mut bench = Bench::ready();
    let sent = bench.forward(INSIDE, &inside(HOST, SERVER).udp(5000, 53, b""));
    let to_another = outside(STRANGER, OTHER_HOST).error((3, 3), 0, &sent);
    bench.ignore(OUTSIDE, &to_another, DropReason::QuoteUnknown);
    let from_the_wrong_side = inside(STRANGER, POOL).error((3, 3), 0, &sent);
    bench.ignore(INSIDE, &from_the_wrong_side, DropReason::SpoofedSource);
    let forged = outside(OTHER_HOST, POOL).error((3, 3), 0, &sent);
    bench.ignore(OUTSIDE, &forged, DropReason::SpoofedSource);
    let from_nobody = outside([127, 0, 0, 1].into(), POOL).error((3, 3), 0, &sent);
    bench.ignore(OUTSIDE, &from_nobody, DropReason::Martian);
}

#[test]
fn an_error_longer_than_the_link_is_dropped() {
    let mut bench = Bench::ready();
    let port = open_udp(&mut bench);
    let delivered = bench.forward(OUTSIDE, &outside(SERVER, POOL).udp(53, port, &[7; 1400]));
    let error = |len: usize| inside(HOST, SERVER).icmp(3, 3, [[0; 2]; 2], &delivered[14..14 + len]);
    bench.forward(INSIDE, &error(1372));
    bench.ignore(INSIDE, &error(1373), DropReason::TooBig);
}

fn fill_header_checksum(frame: &mut [u8]) {
    frame[24..26].fill(0);
    let checksum = !mooring_wire::checksum::rfc1071(&frame[14..34]);
    frame[24..26].copy_from_slice(&checksum.to_be_bytes());
}
