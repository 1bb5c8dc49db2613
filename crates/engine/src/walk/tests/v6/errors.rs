//! ICMPv6 errors of others: of every type and code, in both directions, and those that lie.

use etherparse::PacketBuilder;
use mooring_wire::Mac;

use super::{
    ARRIVED, BACK, GATEWAY, HOST, LEFT, OUT, POOL, SERVER, address, icmp, port, ready, udp,
};
use crate::DropReason;
use crate::test_bench::{INSIDE, OUTSIDE};

/// The codes of each type of error: RFC 4443 §3, and more that others have defined.
const KINDS: [(u8, u8); 4] = [(1, 8), (2, 0), (3, 1), (4, 10)];

/// An error with a code; `rest` is what follows the checksum.
pub(super) fn error(
    macs: (Mac, Mac),
    ends: (&str, &str),
    hops: u8,
    (kind, code, rest): (u8, u8, [u8; 4]),
    quote: &[u8],
) -> Vec<u8> {
    let (source, destination) = (address(ends.0).octets(), address(ends.1).octets());
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(macs.0.0, macs.1.0)
        .ipv6(source, destination, hops)
        .icmpv6_raw(kind, code, rest)
        .write(&mut frame, quote)
        .expect("a vector takes all");
    frame
}

/// The packet from its IP header on, with what comes in front of its L4 header.
fn extended(frame: &[u8], next: u8, headers: &[u8]) -> Vec<u8> {
    let mut frame = [&frame[..54], headers, &frame[54..]].concat();
    frame[20] = next;
    let len = (frame.len() - 54) as u16;
    frame[18..20].copy_from_slice(&len.to_be_bytes());
    frame
}

/// RFC 4443 §3; RFC 5508 REQ-4 and REQ-5 for IPv6.
#[test]
fn every_ipv6_error_crosses_in_both_directions() {
    let mut bench = ready();
    let request = |hops| udp(OUT, (HOST, SERVER), hops, (5000, 53), b"question");
    let sent = bench.forward(INSIDE, &request(64));
    let leased = port(&sent, 54);
    let answer = |hops| udp(BACK, (SERVER, POOL), hops, (53, leased), b"answer");
    let delivered = bench.forward(OUTSIDE, &answer(60));
    for (kind, last) in KINDS {
        for code in 0..=last {
            // An MTU, or a pointer.
            let says = (kind, code, if kind == 2 { [0, 0, 5, 0] } else { [0, 0, 0, 40] });
            let says = if kind == 1 || kind == 3 { (kind, code, [0; 4]) } else { says };
            let inward = error(BACK, (GATEWAY, POOL), 64, says, &sent[14..]);
            let arrived = bench.forward(OUTSIDE, &inward);
            let expected = error(ARRIVED, (GATEWAY, HOST), 63, says, &request(63)[14..]);
            assert_eq!(arrived, expected, "inward, {kind}/{code}");
            let outward = error(OUT, ("fd00:10::9", SERVER), 64, says, &delivered[14..]);
            let left = bench.forward(INSIDE, &outward);
            let expected = error(LEFT, (POOL, SERVER), 63, says, &answer(59)[14..]);
            assert_eq!(left, expected, "outward, {kind}/{code}");
        }
    }
    assert_eq!(bench.sessions(), 1);
}

/// With hop-by-hop options and a fragment header in front of its ports, down to 4 bytes of them.
#[test]
fn a_quote_with_extension_headers_names_its_flow() {
    let mut bench = ready();
    let sent = bench.forward(INSIDE, &udp(OUT, (HOST, SERVER), 64, (5000, 53), b"question"));
    let quoted = extended(&sent, 0, &[44, 0, 1, 4, 0, 0, 0, 0, 17, 0, 0, 1, 0, 0, 0, 7]);
    for len in [74, 78, quoted.len()] {
        let inward = error(BACK, (GATEWAY, POOL), 64, (3, 1, [0; 4]), &quoted[14..len]);
        let arrived = bench.forward(OUTSIDE, &inward);
        assert_eq!(arrived[38..54], address(HOST).octets());
        assert_eq!(arrived[70..86], address(HOST).octets(), "the quoted source");
        assert_eq!(arrived[118..120], 5000_u16.to_be_bytes(), "the quoted port");
    }
}

/// RFC 4443 §2.4 (e.1).
#[test]
fn an_ipv6_error_about_an_error_is_dropped_in_both_directions() {
    let mut bench = ready();
    let sent = bench.forward(INSIDE, &udp(OUT, (HOST, SERVER), 64, (5000, 53), b"question"));
    for kind in [1, 2, 3, 4, 100, 127] {
        let quoted = icmp(LEFT, (POOL, SERVER), 64, (kind, [0, 0, 5, 0]), &sent[14..]);
        let inward = error(BACK, (GATEWAY, POOL), 64, (1, 0, [0; 4]), &quoted[14..]);
        bench.ignore(OUTSIDE, &inward, DropReason::ErrorAboutError);
        let outward = error(OUT, (HOST, SERVER), 64, (1, 0, [0; 4]), &quoted[14..]);
        bench.ignore(INSIDE, &outward, DropReason::ErrorAboutError);
    }
}

/// RFC 8201 §4: "reporting a next-hop MTU that is less than the IPv6 minimum link MTU, it must discard
/// it". RFC 6946 §1 says what came of those that did not.
#[test]
fn a_forged_mtu_does_not_reach_an_ipv6_host() {
    let mut bench = ready();
    let sent = bench.forward(INSIDE, &udp(OUT, (HOST, SERVER), 64, (5000, 53), b"question"));
    let too_big =
        |mtu: u32| error(BACK, (GATEWAY, POOL), 64, (2, 0, mtu.to_be_bytes()), &sent[14..]);
    for mtu in [0, 68, 1279] {
        bench.ignore(OUTSIDE, &too_big(mtu), DropReason::ForgedMtu);
    }
    bench.forward(OUTSIDE, &too_big(1280));
}

/// And what the quote names is not begun.
#[test]
fn a_quote_of_no_ipv6_session_begins_none() {
    let mut bench = ready();
    let sent = bench.forward(INSIDE, &udp(OUT, (HOST, SERVER), 64, (5000, 53), b"question"));
    let leased = port(&sent, 54);
    let later = extended(&sent, 44, &[17, 0, 0, 8, 0, 0, 0, 7]);
    for quoted in [
        udp(LEFT, (POOL, SERVER), 64, (leased ^ 1, 53), b""),
        icmp(LEFT, (POOL, SERVER), 64, (128, [9, 9, 0, 1]), b""),
        icmp(LEFT, (POOL, SERVER), 255, (135, [0; 4]), b""),
        later,
    ] {
        let inward = error(BACK, (GATEWAY, POOL), 64, (1, 4, [0; 4]), &quoted[14..]);
        bench.ignore(OUTSIDE, &inward, DropReason::QuoteUnknown);
    }
    assert_eq!(bench.sessions(), 1);
}
