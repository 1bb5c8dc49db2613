//! Frames as literal bytes, and as etherparse understands them.

use std::net::IpAddr;

use clap::ValueEnum;
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use mooring_wire::Mac;
use mooring_wire::crc32c::crc32c;

use super::{Direction, Frames, LinkEnds, Template};
use crate::flows::Ends;
use crate::stamp::Stamp;

const STAMP: Stamp = Stamp { run: 0x1122, slot: 0x334455, sequence: 0x667788, time: 0x99aabb };

fn ends(is_ipv4: bool) -> Ends {
    let [source, destination] =
        if is_ipv4 { ["10.0.0.33", "198.51.100.7"] } else { ["fd00:10::21", "2001:db8:2::7"] };
    let [source, destination]: [IpAddr; 2] =
        [source.parse().unwrap(), destination.parse().unwrap()];
    Ends { source, destination, port: 0x1234 }
}

fn frame(template: Template, direction: Direction, is_ipv4: bool, size: u16) -> Vec<u8> {
    let link = LinkEnds { source: Mac([2, 0, 0, 0, 0, 1]), destination: Mac([2, 0, 0, 0, 0, 2]) };
    let frames = Frames::new(template, is_ipv4, link, 9, direction, &[size]);
    // What was there before must not shine through.
    let mut buffer = [0xa5; 1_600];
    let len = frames.write(5, &ends(is_ipv4), &STAMP, &mut buffer);
    assert_eq!(len, frames.longest());
    buffer[..len].to_vec()
}

/// Bytes of hexadecimal digits, white space between them.
fn bytes(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

const LINK4: &str = "020000000002 020000000001 0800";
const LINK6: &str = "020000000002 020000000001 86dd";
const STAMPED: &str = "1122 00334455 00667788 0000000000 99aabb";

#[test]
fn frames_are_these_bytes() {
    let v6 = "fd000010000000000000000000000021 20010db8000200000000000000000007";
    are_these_bytes(
        Direction::There,
        [
            (
                Template::Udp,
                true,
                format!("{LINK4} 4500002e00004000 4011 0664 0a000021 c6336407 1234 0009 001a UUUU"),
            ),
            (Template::Udp, false, format!("{LINK6} 60000000 001a 11 40 {v6} 1234 0009 001a UUUU")),
            (
                Template::Tcp,
                true,
                format!(
                    "{LINK4} 4500003a00004000 4006 0663 0a000021 c6336407 \
                 1234 0009 00000001 00000001 5010 ffff UUUU 0000"
                ),
            ),
            (
                Template::TcpSyn,
                false,
                format!(
                    "{LINK6} 60000000 0026 06 40 {v6} 1234 0009 00000001 00000000 5002 ffff UUUU 0000"
                ),
            ),
            (
                Template::Sctp,
                true,
                format!(
                    "{LINK4} 4500004400004000 4084 05db 0a000021 c6336407 \
                 1234 0009 6d6f6f72 UUUUUUUU 0007 0024 00000000 0000 0000 00000000 0000"
                ),
            ),
            (
                Template::Icmp,
                true,
                format!("{LINK4} 4500002e00004000 4001 0674 0a000021 c6336407 0800 UUUU 1234 7788"),
            ),
            (
                Template::Icmp,
                false,
                format!("{LINK6} 60000000 001a 3a 40 {v6} 8000 UUUU 1234 7788"),
            ),
        ],
    );
}

#[test]
fn answers_are_these_bytes() {
    let v6 = "fd000010000000000000000000000021 20010db8000200000000000000000007";
    let v4 = "0a000021 c6336407";
    are_these_bytes(
        Direction::Back,
        [
            (
                Template::Udp,
                true,
                format!("{LINK4} 4500002e00004000 4011 0664 {v4} 0009 1234 001a UUUU"),
            ),
            (
                Template::TcpSyn,
                true,
                format!(
                    "{LINK4} 4500003a00004000 4006 0663 {v4} \
                     0009 1234 00000001 00000002 5012 ffff UUUU 0000"
                ),
            ),
            (
                Template::Icmp,
                true,
                format!("{LINK4} 4500002e00004000 4001 0674 {v4} 0000 UUUU 1234 7788"),
            ),
            (
                Template::Icmp,
                false,
                format!("{LINK6} 60000000 001a 3a 40 {v6} 8100 UUUU 1234 7788"),
            ),
        ],
    );
}

fn are_these_bytes<const N: usize>(direction: Direction, all: [(Template, bool, String); N]) {
    for (template, is_ipv4, expected) in all {
        let frame = frame(template, direction, is_ipv4, 64);
        // The checksum has a test of its own.
        let at = expected.replace(' ', "").find('U').unwrap() / 2;
        let mut without = frame.clone();
        let width = if template == Template::Sctp { 4 } else { 2 };
        without[at..at + width].fill(0);
        let expected = bytes(&format!("{} {STAMPED}", expected.replace('U', "0")));
        assert_eq!(without, expected, "{template:?} {is_ipv4}");
        assert_ne!(frame, without, "{template:?} {is_ipv4}");
    }
}

#[test]
fn another_implementation_finds_every_checksum_right() {
    for template in Template::value_variants() {
        for is_ipv4 in [true, false] {
            // 81 and 1,499: a stamp at an odd place.
            for (size, direction) in [64, 81, 594, 1_499, 1_518]
                .into_iter()
                .flat_map(|size| [(size, Direction::There), (size, Direction::Back)])
            {
                let frame = frame(*template, direction, is_ipv4, size);
                assert!(frame.len() + 4 >= usize::from(size));
                let rounded = if *template == Template::Sctp { 3 } else { 0 };
                assert!(size < 594 || frame.len() + 4 <= usize::from(size) + rounded);
                check(&frame, (*template, direction));
                assert_eq!(Stamp::of(&frame), Some(STAMP));
            }
        }
    }
}

#[track_caller]
fn check(frame: &[u8], template: (Template, Direction)) {
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    let v4 = match packet.net.as_ref().unwrap() {
        NetSlice::Ipv4(slice) => {
            let header = slice.header().to_header();
            assert_eq!(header.calc_header_checksum(), header.header_checksum);
            Some(header)
        }
        _ => None,
    };
    let v6 = match packet.net.as_ref().unwrap() {
        NetSlice::Ipv6(slice) => Some(slice.header().to_header()),
        _ => None,
    };
    let (found, expected) = match (&packet.transport, &v4, &v6) {
        (Some(TransportSlice::Udp(udp)), Some(ip), _) => {
            let header = udp.to_header();
            (header.checksum, header.calc_checksum_ipv4(ip, udp.payload()).unwrap())
        }
        (Some(TransportSlice::Udp(udp)), _, Some(ip)) => {
            let header = udp.to_header();
            (header.checksum, header.calc_checksum_ipv6(ip, udp.payload()).unwrap())
        }
        (Some(TransportSlice::Tcp(tcp)), Some(ip), _) => {
            let header = tcp.to_header();
            assert_eq!((header.syn, header.ack), syn_and_ack(template));
            (header.checksum, header.calc_checksum_ipv4(ip, tcp.payload()).unwrap())
        }
        (Some(TransportSlice::Tcp(tcp)), _, Some(ip)) => {
            let header = tcp.to_header();
            assert_eq!((header.syn, header.ack), syn_and_ack(template));
            (header.checksum, header.calc_checksum_ipv6(ip, tcp.payload()).unwrap())
        }
        (Some(TransportSlice::Icmpv4(icmp)), ..) => {
            let (kind, payload) = (icmp.icmp_type(), icmp.payload());
            (icmp.checksum(), kind.calc_checksum(payload))
        }
        (Some(TransportSlice::Icmpv6(icmp)), _, Some(ip)) => {
            let kind = icmp.icmp_type();
            let expected = kind.calc_checksum(ip.source, ip.destination, icmp.payload());
            (icmp.checksum(), expected.unwrap())
        }
        // It does not know SCTP: the length of the chunk, and the checksum over what the header says.
        _ => return check_sctp(packet.net.unwrap().ip_payload_ref().unwrap().payload),
    };
    assert_eq!(found, expected, "{template:?}");
}

fn syn_and_ack((template, direction): (Template, Direction)) -> (bool, bool) {
    let is_answer = direction == Direction::Back;
    (template == Template::TcpSyn, template == Template::Tcp || is_answer)
}

#[track_caller]
fn check_sctp(packet: &[u8]) {
    let mut zeroed = packet.to_vec();
    zeroed[8..12].fill(0);
    assert_eq!(packet[8..12], crc32c(&zeroed).to_le_bytes());
    assert_eq!(usize::from(u16::from_be_bytes([packet[14], packet[15]])), packet.len() - 12);
}

#[test]
fn a_udp_checksum_of_zero_is_sent_as_all_ones() {
    let link = LinkEnds { source: Mac::ZERO, destination: Mac::ZERO };
    let frames = Frames::new(Template::Udp, true, link, 9, Direction::There, &[64]);
    let mut buffer = [0; 64];
    let mut seen = Vec::new();
    // One of all the ports makes the sum all ones.
    for port in 0..=u16::MAX {
        frames.write(0, &Ends { port, ..ends(true) }, &STAMP, &mut buffer);
        seen.push([buffer[40], buffer[41]]);
    }
    assert!(!seen.contains(&[0, 0]) && seen.contains(&[0xff, 0xff]));
}
