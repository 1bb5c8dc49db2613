//! Packets before and after, byte by byte: 10.0.0.2 behind 203.0.113.10, talking to 198.51.100.1.

mod properties;
mod v6;

use std::net::Ipv4Addr;

use mooring_session::Direction::{self, Forward, Reverse};
use mooring_session::Session;
use mooring_wire::Protocol;
use mooring_wire::checksum::{add, pseudo_v4, sum};

use super::{Place, min_l4_len, rewrite_v4};
use crate::fixture::packets::{bytes, session};

/// Asserts that the packet `before` leaves as `after`; both from the IP header on.
fn check(
    session: &Session<Ipv4Addr>,
    direction: Direction,
    partial: bool,
    before: &str,
    after: &str,
) {
    let mut packet = bytes(before);
    let header_len = u16::from(packet[0] & 0xf) * 4;
    let place = Place { l3: 0, l4: header_len };
    rewrite_v4(&mut packet, place, session, direction, partial);
    assert_eq!(packet, bytes(after), "\n{packet:02x?}\n{:02x?}", bytes(after));
}

fn udp() -> Session<Ipv4Addr> {
    session(Protocol::UDP, "10.0.0.2:5000", "203.0.113.10:40000", "198.51.100.1:53")
}

fn tcp() -> Session<Ipv4Addr> {
    session(Protocol::TCP, "10.0.0.2:5000", "203.0.113.10:40000", "198.51.100.1:443")
}

fn icmp(inside: u16, outside: u16) -> Session<Ipv4Addr> {
    let (inside, outside) = (format!("10.0.0.2:{inside}"), format!("203.0.113.10:{outside}"));
    session(Protocol::ICMP, &inside, &outside, "198.51.100.1:0")
}

#[test]
fn udp_out_and_in() {
    check(
        &udp(),
        Forward,
        false,
        "4500 001e 1234 4000 4011 f464 0a00 0002 c633 6401  1388 0035 000a 4f7d 6869",
        "4500 001e 1234 4000 3f11 c35b cb00 710a c633 6401  9c40 0035 000a 94bb 6869",
    );
    check(
        &udp(),
        Reverse,
        false,
        "4500 001e 1234 4000 4011 c25b c633 6401 cb00 710a  0035 9c40 000a 83b5 796f",
        "4500 001e 1234 4000 3f11 f564 c633 6401 0a00 0002  0035 1388 000a 3e77 796f",
    );
}

#[test]
fn tcp_out_and_in() {
    check(
        &tcp(),
        Forward,
        false,
        "4500 0028 1234 4000 4006 f465 0a00 0002 c633 6401
         1388 01bb 0000 0001 0000 0000 5002 ffff 6668 0000",
        "4500 0028 1234 4000 3f06 c35c cb00 710a c633 6401
         9c40 01bb 0000 0001 0000 0000 5002 ffff aba6 0000",
    );
    check(
        &tcp(),
        Reverse,
        false,
        "4500 0028 1234 4000 4006 c25c c633 6401 cb00 710a
         01bb 9c40 0000 0009 0000 0002 5012 ffff ab8c 0000",
        "4500 0028 1234 4000 3f06 f565 c633 6401 0a00 0002
         01bb 1388 0000 0009 0000 0002 5012 ffff 664e 0000",
    );
}

/// RFC 5508 REQ-1: the identifier is translated; the checksum of ICMP covers no address.
#[test]
fn ping_out_and_in() {
    check(
        &icmp(0x77, 0x9c40),
        Forward,
        false,
        "4500 001e 1234 4000 4001 f474 0a00 0002 c633 6401  0800 9625 0077 0001 6162",
        "4500 001e 1234 4000 3f01 c36b cb00 710a c633 6401  0800 fa5b 9c40 0001 6162",
    );
    check(
        &icmp(0x77, 0x9c40),
        Reverse,
        false,
        "4500 001e 1234 4000 4001 c26b c633 6401 cb00 710a  0000 025c 9c40 0001 6162",
        "4500 001e 1234 4000 3f01 f574 c633 6401 0a00 0002  0000 9e25 0077 0001 6162",
    );
}

/// RFC 768: "an all zero transmitted checksum value means that the transmitter generated no
/// checksum".
#[test]
fn no_udp_checksum_stays_none() {
    check(
        &udp(),
        Forward,
        false,
        "4500 001e 1234 4000 4011 f464 0a00 0002 c633 6401  1388 0035 000a 0000 6869",
        "4500 001e 1234 4000 3f11 c35b cb00 710a c633 6401  9c40 0035 000a 0000 6869",
    );
    check(
        &udp(),
        Reverse,
        false,
        "4500 001e 1234 4000 4011 c25b c633 6401 cb00 710a  0035 9c40 000a 0000 796f",
        "4500 001e 1234 4000 3f11 f564 c633 6401 0a00 0002  0035 1388 000a 0000 796f",
    );
}

/// RFC 768: "If the computed checksum is zero, it is transmitted as all ones".
#[test]
fn a_udp_checksum_that_becomes_zero_is_sent_as_all_ones() {
    check(
        &udp(),
        Forward,
        false,
        "4500 001e 1234 4000 4011 f464 0a00 0002 c633 6401  1388 0035 000a bac1 fd24",
        "4500 001e 1234 4000 3f11 c35b cb00 710a c633 6401  9c40 0035 000a ffff fd24",
    );
}

/// The one message whose checksum equation 3 of RFC 1624 gets wrong: all of it is zero.
#[test]
fn an_icmp_reply_that_becomes_all_zero() {
    check(
        &icmp(0, 5),
        Reverse,
        false,
        "4500 001c 1234 4000 4001 c26d c633 6401 cb00 710a  0000 fffa 0005 0000",
        "4500 001c 1234 4000 3f01 f576 c633 6401 0a00 0002  0000 ffff 0000 0000",
    );
}

/// NEEDS_CSUM: the field holds the sum of the pseudo-header; whoever completes it sees the port.
#[test]
fn a_partial_checksum_follows_the_address_alone() {
    check(
        &tcp(),
        Forward,
        true,
        "4500 0028 1234 4000 4006 f465 0a00 0002 c633 6401
         1388 01bb 0000 0001 0000 0000 5002 ffff 3451 0000",
        "4500 0028 1234 4000 3f06 c35c cb00 710a c633 6401
         9c40 01bb 0000 0001 0000 0000 5002 ffff 665a 0000",
    );
    check(
        &udp(),
        Reverse,
        true,
        "4500 001e 1234 4000 4011 c25b c633 6401 cb00 710a  0035 9c40 000a 665b 796f",
        "4500 001e 1234 4000 3f11 f564 c633 6401 0a00 0002  0035 1388 000a 3452 796f",
    );
}

/// A router alert and padding in front of the ports.
#[test]
fn ip_options_are_kept() {
    check(
        &udp(),
        Forward,
        false,
        "4700 0026 1234 4000 4011 5c57 0a00 0002 c633 6401  9404 0000 0101 0100
         1388 0035 000a 4f7d 6869",
        "4700 0026 1234 4000 3f11 2b4e cb00 710a c633 6401  9404 0000 0101 0100
         9c40 0035 000a 94bb 6869",
    );
}

/// A wrong checksum stays wrong the same way: 1 too much before, 1 too much after.
#[test]
fn wrong_checksums_are_not_repaired() {
    check(
        &udp(),
        Forward,
        false,
        "4500 001e 1234 4000 4011 f465 0a00 0002 c633 6401  1388 0035 000a 4f7e 6869",
        "4500 001e 1234 4000 3f11 c35c cb00 710a c633 6401  9c40 0035 000a 94bc 6869",
    );
}

/// Translated by a `static` rule, address for address: their checksums cover the addresses
/// (RFC 3828 §3.1, RFC 4340 §9.1).
#[test]
fn the_checksums_of_udp_lite_and_dccp_follow_the_address() {
    for protocol in [Protocol::UDP_LITE, Protocol::DCCP] {
        let session = session(protocol, "10.0.0.2:0", "203.0.113.10:0", "198.51.100.1:0");
        let [inside, outside, remote] = [session.inside, session.outside, session.remote];
        let sum_of = |source: Ipv4Addr, l4: &[u8]| {
            add(pseudo_v4(source, remote, protocol, l4.len() as u16), sum(l4))
        };
        let header = "4500 0020 1234 4000 4011 0000 0a00 0002 c633 6401";
        // With every last word; among them the one whose checksum would be zero.
        for word in 0..=u16::MAX {
            let mut packet = bytes(&format!("{header}  1388 0035 0008 0000 6869 {word:04x}"));
            let checksum = match !sum_of(inside, &packet[20..]) {
                0 => 0xffff,
                checksum => checksum,
            };
            packet[26..28].copy_from_slice(&checksum.to_be_bytes());
            let place = Place { l3: 0, l4: 20 };
            rewrite_v4(&mut packet, place, &session, Forward, false);
            assert_eq!(sum_of(outside, &packet[20..]), 0xffff, "{protocol:?} {word:04x}");
            assert!(protocol == Protocol::DCCP || packet[26..28] != [0, 0], "RFC 3828 §3.1");
            assert_eq!(packet[20..24], bytes("1388 0035")[..], "the ports stay");
        }
    }
}

/// GRE, routed by a `bypass` rule: only the hop is counted, nothing after the IP header is read.
#[test]
fn a_routed_packet_loses_a_hop_and_nothing_else() {
    let routed = session(Protocol::GRE, "10.0.0.2:0", "10.0.0.2:0", "198.51.100.1:0");
    check(
        &routed,
        Forward,
        false,
        "4500 0018 1234 4000 402f f44c 0a00 0002 c633 6401  0000 0800",
        "4500 0018 1234 4000 3f2f f54c 0a00 0002 c633 6401  0000 0800",
    );
    assert_eq!(min_l4_len(Protocol::GRE), 0);
}
