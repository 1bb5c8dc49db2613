//! IPv4 options and IPv6 extension headers of every kind, in literal bytes: what shows an address or
//! chooses the way is dropped, and begins nothing; what does not passes.

use crate::test_bench::frames::inside;
use crate::test_bench::{Bench, HOST, HOST_MAC, INSIDE, OUR_INSIDE, SERVER};
use crate::{DropReason, Verdict};

/// A datagram with these options behind its IPv4 header; their length is a multiple of 4.
fn with_options(options: &[u8]) -> Vec<u8> {
    let mut frame = inside(HOST, SERVER).udp(5000, 53, b"question");
    frame.splice(34..34, options.iter().copied());
    frame[14] = 0x45 + (options.len() / 4) as u8;
    frame[17] += options.len() as u8;
    frame[24..26].fill(0);
    let header = 34 + options.len();
    let sum = !mooring_wire::checksum::rfc1071(&frame[14..header]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame
}

/// RFC 7126 §4.
#[test]
fn ipv4_options_that_show_or_choose_the_way_begin_nothing() {
    let mut bench = Bench::ready();
    for (name, options) in [
        ("loose source and record route", &[131, 7, 4, 198, 51, 100, 9, 0][..]),
        ("strict source and record route", &[137, 7, 4, 198, 51, 100, 9, 0]),
        ("record route", &[7, 7, 4, 0, 0, 0, 0, 0]),
        ("timestamp", &[68, 8, 5, 0, 0, 0, 0, 0]),
        ("timestamp with addresses", &[68, 12, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("stream identifier", &[136, 4, 0, 1]),
        ("MTU probe", &[11, 4, 5, 220]),
        ("traceroute", &[82, 12, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2]),
        ("quick start", &[25, 8, 0, 0, 0, 0, 0, 0]),
        ("unknown", &[222, 4, 0, 0]),
        ("padding, then a route", &[1, 131, 7, 4, 198, 51, 100, 9]),
        ("a length of 0", &[130, 0, 0, 0]),
        ("a length of 1", &[148, 1, 0, 0]),
        ("a length beyond the header", &[148, 9, 0, 0]),
        ("no room for its length", &[1, 1, 1, 148]),
    ] {
        assert_eq!(
            bench.send(INSIDE, &with_options(options)).0,
            Verdict::Drop(DropReason::IpOption),
            "{name}"
        );
    }
    assert_eq!((bench.sessions(), bench.engine.occupancy().leased_ports), (0, 0));
    assert_eq!(bench.sent(), []);
}

/// RFC 7126 §4.1, §4.2, §4.8 and §4.12 to §4.14.
#[test]
fn ipv4_options_that_do_neither_pass() {
    let mut bench = Bench::ready();
    for options in [
        &[0, 0, 0, 0][..],
        &[1, 1, 1, 1],
        &[148, 4, 0, 0],
        &[130, 11, 0xab, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[133, 4, 0, 0],
        &[134, 4, 0, 0],
        // What stands behind the end is padding.
        &[0, 131, 7, 4],
    ] {
        let sent = bench.forward(INSIDE, &with_options(options));
        assert_eq!(sent[34..34 + options.len()], *options);
    }
    assert_eq!(bench.sessions(), 1);
}

/// A datagram of IPv6 behind these headers, the first of which is a `next`.
fn with_headers(next: u8, headers: &[u8]) -> Vec<u8> {
    let udp = [0x13, 0x88, 0, 53, 0, 8, 0x12, 0x34];
    let len = (headers.len() + udp.len()) as u8;
    let link = [&OUR_INSIDE.0[..], &HOST_MAC.0, &[0x86, 0xdd]].concat();
    let source = [0xfd, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
    let destination = [0x20, 1, 0xd, 0xb8, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
    let ip = [0x60, 0, 0, 0, 0, len, next, 64];
    [&link, &ip[..], &source, &destination, headers, &udp].concat()
}

/// RFC 5095, RFC 8200 §4.4, RFC 8754, RFC 6275 §6.3 and §6.4, RFC 4302; more headers than anybody needs.
#[test]
fn ipv6_headers_that_show_or_choose_the_way_begin_nothing() {
    let mut bench = Bench::ready();
    let address = [0x20, 1, 0xd, 0xb8, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
    let with_address = |header: [u8; 8]| [&header[..], &address].concat();
    let padding = |next| [next, 0, 1, 4, 0, 0, 0, 0];
    let chain: Vec<u8> = (0..9).flat_map(|at| padding(if at < 8 { 60 } else { 17 })).collect();
    for (name, next, headers, reason) in [
        ("routing type 0", 43, with_address([17, 2, 0, 1, 0, 0, 0, 0]), DropReason::IpOption),
        ("the same, used up", 43, vec![17, 0, 0, 0, 0, 0, 0, 0], DropReason::IpOption),
        ("routing type 2", 43, with_address([17, 2, 2, 1, 0, 0, 0, 0]), DropReason::IpOption),
        ("segment routing", 43, with_address([17, 2, 4, 1, 0, 0, 0, 0]), DropReason::IpOption),
        ("home address", 60, with_address([17, 2, 1, 2, 0, 0, 0xc9, 16]), DropReason::IpOption),
        ("authentication", 51, vec![17, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1], DropReason::IpOption),
        ("nine headers", 60, chain, DropReason::IpOption),
        (
            "hop-by-hop behind another",
            60,
            [padding(0), padding(17)].concat(),
            DropReason::Malformed,
        ),
        ("beyond the packet", 60, vec![17, 9, 1, 4, 0, 0, 0, 0], DropReason::Malformed),
    ] {
        let frame = with_headers(next, &headers);
        assert_eq!(bench.send(INSIDE, &frame).0, Verdict::Drop(reason), "{name}");
    }
    assert_eq!((bench.sessions(), bench.engine.occupancy().fragmented), (0, 0));
    assert_eq!(bench.sent(), []);
}
