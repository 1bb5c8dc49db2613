//! IPv6 goes the same way as IPv4: out, back, errors of others and of ours.

mod errors;
mod limits;
mod own;

use std::net::Ipv6Addr;

use etherparse::PacketBuilder;
use mooring_wire::Mac;

use crate::test_bench::{
    Bench, CONFIG, GATEWAY_MAC, HOST_MAC, INSIDE, OUR_INSIDE, OUR_OUTSIDE, OUTSIDE,
};
use crate::{DropReason, Verdict};

pub(crate) const HOST: &str = "fd00:10::2";
const GATEWAY: &str = "2001:db8:1::2";
pub(crate) const POOL: &str = "2001:db8:f::10";
pub(crate) const SERVER: &str = "2001:db8:9::7";

/// An engine that translates IPv6 and knows its neighbours.
fn ready() -> Bench {
    ready_with(CONFIG)
}

/// As [`ready`], with another policy for IPv4 and the interfaces.
pub(crate) fn ready_with(config: &str) -> Bench {
    let mut bench = Bench::ready_with(&format!("{config}\n{TRANSLATED}"));
    introduce(&mut bench);
    bench
}

/// The neighbours ask for us, by which they become known.
pub(crate) fn introduce(bench: &mut Bench) {
    introduce_as(bench, Verdict::Local);
}

/// As [`introduce`], to one of several workers or to the only one.
pub(super) fn introduce_to_one_of_several(bench: &mut Bench) {
    let alone = bench.engine.share.of() == 1;
    introduce_as(bench, if alone { Verdict::Local } else { Verdict::ToAll });
}

fn introduce_as(bench: &mut Bench, verdict: Verdict) {
    let told = [
        (INSIDE, HOST_MAC, OUR_INSIDE, HOST, "fd00:10::1"),
        (OUTSIDE, GATEWAY_MAC, OUR_OUTSIDE, GATEWAY, "2001:db8:1::1"),
    ];
    for (link, mac, ours, neighbour, own) in told {
        let question = [&address(own).octets()[..], &[1, 1], &mac.0].concat();
        let frame = icmp((mac, ours), (neighbour, own), 255, (135, [0; 4]), &question);
        assert_eq!(bench.send(link, &frame).0, verdict);
        bench.sent();
    }
}

pub(crate) const TRANSLATED: &str = r#"
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
"#;

fn address(text: &str) -> Ipv6Addr {
    text.parse().expect("an address")
}

pub(crate) fn udp(
    macs: (Mac, Mac),
    ends: (&str, &str),
    hops: u8,
    ports: (u16, u16),
    payload: &[u8],
) -> Vec<u8> {
    let (source, destination) = (address(ends.0).octets(), address(ends.1).octets());
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2(macs.0.0, macs.1.0).ipv6(source, destination, hops);
    builder.udp(ports.0, ports.1).write(&mut frame, payload).expect("a vector takes all");
    frame
}

fn icmp(
    macs: (Mac, Mac),
    ends: (&str, &str),
    hops: u8,
    (kind, rest): (u8, [u8; 4]),
    payload: &[u8],
) -> Vec<u8> {
    let (source, destination) = (address(ends.0).octets(), address(ends.1).octets());
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(macs.0.0, macs.1.0)
        .ipv6(source, destination, hops)
        .icmpv6_raw(kind, 0, rest)
        .write(&mut frame, payload)
        .expect("a vector takes all");
    frame
}

fn port(frame: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([frame[at], frame[at + 1]])
}

pub(crate) const OUT: (Mac, Mac) = (HOST_MAC, OUR_INSIDE);
const LEFT: (Mac, Mac) = (OUR_OUTSIDE, GATEWAY_MAC);
pub(crate) const BACK: (Mac, Mac) = (GATEWAY_MAC, OUR_OUTSIDE);
const ARRIVED: (Mac, Mac) = (OUR_INSIDE, HOST_MAC);

#[test]
fn a_datagram_goes_out_and_its_answer_comes_back() {
    let mut bench = ready();
    let sent = bench.forward(INSIDE, &udp(OUT, (HOST, SERVER), 64, (5000, 53), b"question"));
    let leased = port(&sent, 54);
    assert_eq!(sent, udp(LEFT, (POOL, SERVER), 63, (leased, 53), b"question"));
    let answer = udp(BACK, (SERVER, POOL), 60, (53, leased), b"answer");
    let arrived = bench.forward(OUTSIDE, &answer);
    assert_eq!(arrived, udp(ARRIVED, (SERVER, HOST), 59, (53, 5000), b"answer"));
    let (sessions, _) = bench.engine.sessions(bench.now, 1 << 31);
    assert_eq!(sessions.len(), 1);
    assert_eq!((sessions[0].forward.packets, sessions[0].reverse.packets), (1, 1));
}

#[test]
fn an_ipv6_ping_goes_out_and_its_answer_comes_back() {
    let mut bench = ready();
    let echo = |id: u16| [(id >> 8) as u8, id as u8, 0, 1];
    let sent = bench.forward(INSIDE, &icmp(OUT, (HOST, SERVER), 64, (128, echo(77)), b"abc"));
    let leased = port(&sent, 58);
    assert_eq!(sent, icmp(LEFT, (POOL, SERVER), 63, (128, echo(leased)), b"abc"));
    let answer = icmp(BACK, (SERVER, POOL), 60, (129, echo(leased)), b"abc");
    let arrived = bench.forward(OUTSIDE, &answer);
    assert_eq!(arrived, icmp(ARRIVED, (SERVER, HOST), 59, (129, echo(77)), b"abc"));
}

#[test]
fn an_error_of_a_router_is_translated_with_its_quote() {
    let mut bench = ready();
    let question = udp(OUT, (HOST, SERVER), 64, (5000, 53), b"question");
    let sent = bench.forward(INSIDE, &question);
    let error = icmp(BACK, (GATEWAY, POOL), 64, (3, [0; 4]), &sent[14..]);
    let arrived = bench.forward(OUTSIDE, &error);
    let quoted = udp(OUT, (HOST, SERVER), 63, (5000, 53), b"question");
    assert_eq!(arrived, icmp(ARRIVED, (GATEWAY, HOST), 63, (3, [0; 4]), &quoted[14..]));
}

/// RFC 4443 §3.2 and §3.3; the sender's own view is quoted.
#[test]
fn our_errors_quote_what_the_host_has_sent() {
    let mut bench = ready();
    let own = "fd00:10::1";
    let late = udp(OUT, (HOST, SERVER), 1, (5000, 53), b"question");
    let said = bench.refuse(INSIDE, &late, DropReason::TtlExpired);
    assert_eq!(said, [(INSIDE, icmp(ARRIVED, (own, HOST), 64, (3, [0; 4]), &late[14..]))]);
    let long = udp(OUT, (HOST, SERVER), 64, (5000, 53), &[7; 1353]);
    let said = bench.refuse(INSIDE, &long, DropReason::TooBig);
    let quote = &long[14..14 + 1232];
    assert_eq!(said, [(INSIDE, icmp(ARRIVED, (own, HOST), 64, (2, [0, 0, 5, 120]), quote))]);
    bench.forward(INSIDE, &udp(OUT, (HOST, SERVER), 64, (5000, 53), &[7; 1352]));
}

#[test]
fn what_may_not_be_forwarded_is_not() {
    let mut bench = ready();
    for source in ["::", "::1", "fe80::2", "ff02::1", "::ffff:10.0.0.2"] {
        let frame = udp(OUT, (source, SERVER), 64, (5000, 53), b"");
        bench.ignore(INSIDE, &frame, DropReason::Martian);
    }
    for destination in ["fe80::2", "ff0e::1", "::ffff:192.0.2.2"] {
        let frame = udp(OUT, (HOST, destination), 64, (5000, 53), b"");
        bench.ignore(INSIDE, &frame, DropReason::Martian);
    }
    let mut without_checksum = udp(OUT, (HOST, SERVER), 64, (5000, 53), b"");
    without_checksum[60..62].fill(0);
    bench.ignore(INSIDE, &without_checksum, DropReason::BadChecksum);
    let forged = udp(OUT, (POOL, SERVER), 64, (5000, 53), b"");
    bench.ignore(INSIDE, &forged, DropReason::NoRule);
    let unasked = udp(BACK, (SERVER, POOL), 64, (53, 5000), b"");
    bench.ignore(OUTSIDE, &unasked, DropReason::NoSession);
}

/// RFC 8200 §4: options pass, whatever chooses the way or names an address does not.
#[test]
fn extension_headers_pass_unless_they_hold_addresses() {
    let mut bench = ready();
    let plain = udp(OUT, (HOST, SERVER), 64, (5000, 53), b"question");
    let with = |kind: u8, header: [u8; 8]| {
        let mut frame = [&plain[..54], &[17], &header[1..], &plain[54..]].concat();
        frame[18..20].copy_from_slice(&(8 + port(&plain, 18)).to_be_bytes());
        frame[20] = kind;
        frame
    };
    let sent = bench.forward(INSIDE, &plain);
    for kind in [0, 60] {
        let padded = bench.forward(INSIDE, &with(kind, [17, 0, 1, 4, 0, 0, 0, 0]));
        assert_eq!((&padded[22..38], &padded[62..]), (&sent[22..38], &sent[54..]));
    }
    let atomic = bench.forward(INSIDE, &with(44, [17, 0, 0, 0, 1, 2, 3, 4]));
    assert_eq!((&atomic[54..62], &atomic[62..]), (&[17, 0, 0, 0, 1, 2, 3, 4][..], &sent[54..]));
    let home_address = with(60, [17, 0, 0xc9, 4, 0, 0, 0, 0]);
    let routing = with(43, [17, 0, 4, 1, 0, 0, 0, 0]);
    let routing_0 = with(43, [17, 0, 0, 0, 0, 0, 0, 0]);
    for frame in [home_address, routing, routing_0] {
        bench.ignore(INSIDE, &frame, DropReason::IpOption);
    }
}

/// The packet that waited is longer than an error quotes, and the cut goes through its options.
#[test]
fn a_packet_of_long_options_that_waits_in_vain_is_dropped() {
    let mut bench = ready();
    let plain = udp(OUT, (HOST, "2001:db8:1::dead"), 64, (5000, 53), b"question");
    let padding =
        [255, 255, 255, 255, 248].map(|len| [&[1, len][..], &vec![0; len.into()]].concat());
    let mut frame = [&plain[..54], &[17, 159], &padding.concat(), &plain[54..]].concat();
    frame[18..20].copy_from_slice(&(1_280 + port(&plain, 18)).to_be_bytes());
    frame[20] = 60;
    assert_eq!(bench.send(INSIDE, &frame).0, Verdict::Hold);
    bench.sent();
    (0..4).for_each(|_| bench.pass(1_000));
    assert_eq!(bench.dropped(DropReason::NeighborUnresolved), 1);
    assert!(bench.sent().iter().all(|(interface, _)| *interface == OUTSIDE), "nobody is told");
}

/// An error with a link-local source would get no further than the first router.
#[test]
fn our_errors_come_from_an_address_that_can_be_answered() {
    let own = "\"fd00:10::1/64\"";
    let config = CONFIG.replace(own, &format!("\"fe80::1/64\", {own}"));
    let mut bench = ready_with(&config);
    let late = udp(OUT, (HOST, SERVER), 1, (5000, 53), b"question");
    let told = bench.refuse(INSIDE, &late, DropReason::TtlExpired);
    assert_eq!(told[0].1[22..38], address("fd00:10::1").octets());
}

/// A TCP segment without data.
pub(crate) fn tcp(
    macs: (Mac, Mac),
    ends: (&str, &str),
    hops: u8,
    ports: (u16, u16),
    (numbers, flags): ((u32, u32), u8),
) -> Vec<u8> {
    let (source, destination) = (address(ends.0).octets(), address(ends.1).octets());
    let mut header = etherparse::TcpHeader::new(ports.0, ports.1, numbers.0, 8_192);
    header.acknowledgment_number = numbers.1;
    (header.syn, header.ack) = (flags & 2 != 0, flags & 16 != 0);
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2(macs.0.0, macs.1.0).ipv6(source, destination, hops);
    builder.tcp_header(header).write(&mut frame, &[]).expect("a vector takes all");
    frame
}

/// RFC 6146 §3.5.2.2.
#[test]
fn a_silent_ipv6_connection_is_asked_before_it_ends() {
    let mut bench = ready_with(&format!("{CONFIG}\n[tcp]\nprobe = true\nwindow_tracking = true"));
    let there = |numbers, flags| tcp(OUT, (HOST, SERVER), 64, (5000, 80), (numbers, flags));
    let leased = port(&bench.forward(INSIDE, &there((99, 0), 2)), 54);
    let back = tcp(BACK, (SERVER, POOL), 64, (80, leased), ((6_999, 100), 18));
    bench.forward(OUTSIDE, &back);
    bench.forward(INSIDE, &there((100, 7_000), 16));
    let blind = tcp(BACK, (SERVER, POOL), 64, (80, leased), ((0x7000_0000, 100), 16));
    bench.ignore(OUTSIDE, &blind, DropReason::OutOfWindow);
    bench.rest(7_439_000);
    introduce(&mut bench);
    bench.pass(3_000);
    let question = tcp(ARRIVED, (SERVER, HOST), 64, (80, 5000), ((6_999, 100), 16));
    assert!(bench.sent().contains(&(INSIDE, question)));
}

/// RFC 5382 REQ-4; RFC 4443 §3.1: code 4.
#[test]
fn a_syn_that_nobody_wants_is_answered_if_the_policy_says_so() {
    let mut bench = ready_with(&format!("{CONFIG}\n[tcp]\nunsolicited_syn = \"icmp\""));
    let syn = tcp(BACK, (SERVER, POOL), 60, (80, 2000), ((1, 0), 2));
    bench.ignore(OUTSIDE, &syn, DropReason::NoSession);
    bench.pass(6_000);
    let mut error = icmp(LEFT, (POOL, SERVER), 64, (1, [0; 4]), &syn[14..]);
    let sent = bench.sent();
    let (_, told) = sent.iter().find(|(link, _)| *link == OUTSIDE).expect("an error");
    assert_eq!(told[55], 4);
    // The code, and what it takes from the checksum.
    error[55] = 4;
    let sum = u16::from_be_bytes([error[56], error[57]]).wrapping_sub(4);
    error[56..58].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(*told, error);
}
