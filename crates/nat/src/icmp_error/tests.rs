//! Errors before and after, and quotes that tell nothing.

mod properties;
mod v6;

use std::net::Ipv4Addr;

use mooring_session::Direction::{self, Forward, Reverse};
use mooring_session::{FlowKey, Session};
use mooring_wire::Protocol;
use mooring_wire::checksum::checksum;

use super::{
    QuoteRefusal, Quoted, forges_mtu, has_extensions, key_of_quote, quote_in, rewrite_error_v4,
};
use crate::Place;
use crate::fixture::packets::{bytes, session};

/// The flow that a quote names, if it names one.
fn flow_of_quote(quote: &[u8]) -> Option<FlowKey<Ipv4Addr>> {
    key_of_quote(quote).ok().and_then(Quoted::flow)
}

/// Asserts that the error `before` leaves as `after`; both from the IP header on.
fn check(session: &Session<Ipv4Addr>, direction: Direction, before: &str, after: &str) {
    let mut packet = bytes(before);
    assert_eq!(flow_of_quote(&packet[28..]), Some(session.key(direction)));
    rewrite_error_v4(&mut packet, Place { l3: 0, l4: 20 }, session, direction);
    assert_eq!(packet, bytes(after), "\n{packet:02x?}\n{:02x?}", bytes(after));
}

fn udp() -> Session<Ipv4Addr> {
    session(Protocol::UDP, "10.0.0.2:5000", "203.0.113.10:40000", "198.51.100.1:53")
}

/// The first 28 bytes of a UDP datagram as it went out.
const QUOTE: &str = "4500 001e 1234 4000 3f11 c35b cb00 710a c633 6401  9c40 0035 000a 94bb";

/// The quote with the right header checksum, if all of its header is there.
fn with_header_checksum(mut quote: Vec<u8>) -> Vec<u8> {
    let len = quote.first().map_or(0, |first| usize::from(first & 0xf) * 4);
    if (20..=quote.len()).contains(&len) {
        quote[10..12].fill(0);
        let right = checksum(&quote[..len]);
        quote[10..12].copy_from_slice(&right.to_be_bytes());
    }
    quote
}

/// RFC 5508 REQ-3 a.
#[test]
fn a_quote_with_a_wrong_header_checksum_tells_nothing() {
    let mut quote = bytes(QUOTE);
    assert!(flow_of_quote(&quote).is_some());
    quote[11] ^= 1;
    assert_eq!(flow_of_quote(&quote), None);
}

/// [`QUOTE`] with the byte at each of these places replaced.
fn quote_with<const N: usize>(edits: [(usize, u8); N]) -> Vec<u8> {
    let mut quote = bytes(QUOTE);
    for (at, value) in edits {
        quote[at] = value;
    }
    with_header_checksum(quote)
}

/// The remote host says that its port is closed; the whole datagram is quoted.
#[test]
fn port_unreachable_comes_in() {
    check(
        &udp(),
        Reverse,
        "4500 003a 4321 0000 3c01 d562 c633 6401 cb00 710a  0303 6358 0000 0000
         4500 001e 1234 4000 3f11 c35b cb00 710a c633 6401  9c40 0035 000a 94bb 6869",
        "4500 003a 4321 0000 3b01 086c c633 6401 0a00 0002  0303 314f 0000 0000
         4500 001e 1234 4000 3f11 f564 0a00 0002 c633 6401  1388 0035 000a 4f7d 6869",
    );
}

/// An error is never all zero, so its checksum is the one that everybody computes: 0 where that comes out.
#[test]
fn a_checksum_that_becomes_zero_is_written_as_zero() {
    let before = bytes(
        "4500 003a 4321 0000 3c01 d562 c633 6401 cb00 710a  0303 0000 0000 0000
         4500 001e 1234 4000 3f11 c35b cb00 710a c633 6401  9c40 0035 000a 94bb 0000",
    );
    let mut zeros = 0;
    for end in 0..=u16::MAX {
        let mut packet = before.clone();
        packet[56..].copy_from_slice(&end.to_be_bytes());
        let right = checksum(&packet[20..]);
        packet[22..24].copy_from_slice(&right.to_be_bytes());
        rewrite_error_v4(&mut packet, Place { l3: 0, l4: 20 }, &udp(), Reverse);
        let written = u16::from_be_bytes([packet[22], packet[23]]);
        packet[22..24].fill(0);
        assert_eq!(written, checksum(&packet[20..]), "{end:04x}");
        zeros += u32::from(written == 0);
    }
    assert_eq!(zeros, 1);
}

/// A router on the way, 198.51.100.254, asks for packets of 1,400 bytes and quotes 8 bytes of TCP:
/// the quoted checksum is not there.
#[test]
fn fragmentation_needed_comes_in_with_eight_bytes() {
    let tcp = session(Protocol::TCP, "10.0.0.2:5000", "203.0.113.10:40000", "198.51.100.1:443");
    check(
        &tcp,
        Reverse,
        "4500 0038 4321 0000 3c01 d467 c633 64fe cb00 710a  0304 5987 0000 0578
         4500 0028 1234 4000 3f06 c35c cb00 710a c633 6401  9c40 01bb 0000 0001",
        "4500 0038 4321 0000 3b01 0771 c633 64fe 0a00 0002  0304 e23f 0000 0578
         4500 0028 1234 4000 3f06 f565 0a00 0002 c633 6401  1388 01bb 0000 0001",
    );
}

/// A router inside, 10.0.0.254, could not deliver an echo reply. Outside nobody learns of it.
#[test]
fn time_exceeded_goes_out() {
    let icmp = session(Protocol::ICMP, "10.0.0.2:119", "203.0.113.10:40000", "198.51.100.1:0");
    check(
        &icmp,
        Forward,
        "4500 003a 4321 0000 4001 0270 0a00 00fe c633 6401  0b00 f4ff 0000 0000
         4500 001e 1234 4000 0101 3375 c633 6401 0a00 0002  0000 9e25 0077 0001 6162",
        "4500 003a 4321 0000 3f01 d262 cb00 710a c633 6401  0b00 f4ff 0000 0000
         4500 001e 1234 4000 0101 016c c633 6401 cb00 710a  0000 025c 9c40 0001 6162",
    );
}

/// RFC 768, in a quote as well: no checksum stays none.
#[test]
fn a_quoted_datagram_without_checksum() {
    check(
        &udp(),
        Reverse,
        "4500 003a 4321 0000 3c01 d562 c633 6401 cb00 710a  0303 f813 0000 0000
         4500 001e 1234 4000 3f11 c35b cb00 710a c633 6401  9c40 0035 000a 0000 6869",
        "4500 003a 4321 0000 3b01 086c c633 6401 0a00 0002  0303 80cc 0000 0000
         4500 001e 1234 4000 3f11 f564 0a00 0002 c633 6401  1388 0035 000a 0000 6869",
    );
}

/// The quoted checksum is what the remote host sent: all ones for zero.
#[test]
fn a_quoted_checksum_that_becomes_zero() {
    check(
        &udp(),
        Forward,
        "4500 003a 4321 0000 4001 036c 0a00 0002 c633 6401  0303 314f 0000 0000
         4500 001e 1234 4000 0111 3365 c633 6401 0a00 0002  0035 1388 000a bac1 fd24",
        "4500 003a 4321 0000 3f01 d262 cb00 710a c633 6401  0303 6358 0000 0000
         4500 001e 1234 4000 0111 015c c633 6401 cb00 710a  0035 9c40 000a ffff fd24",
    );
}

#[test]
fn the_key_is_that_of_the_answer() {
    let key = FlowKey {
        source: Ipv4Addr::new(198, 51, 100, 1),
        destination: Ipv4Addr::new(203, 0, 113, 10),
        source_port: 53,
        destination_port: 40_000,
        vrf: 0,
        protocol: Protocol::UDP,
        tag: 0,
    };
    assert_eq!(flow_of_quote(&bytes(QUOTE)), Some(key));
    // Ports are enough.
    assert_eq!(flow_of_quote(&bytes(QUOTE)[..24]), Some(key));
    let icmp = |kind| flow_of_quote(&quote_with([(9, 1), (20, kind), (24, 0x77), (25, 0x88)]));
    let of_ping = FlowKey { protocol: Protocol::ICMP, source_port: 0, destination_port: 0, ..key };
    assert_eq!(icmp(8), Some(FlowKey { destination_port: 0x7788, ..of_ping }));
    assert_eq!(icmp(0), Some(FlowKey { source_port: 0x7788, ..of_ping }));
}

#[test]
fn a_quote_that_ends_before_its_ports_tells_nothing() {
    for len in 0..24 {
        assert_eq!(flow_of_quote(&bytes(QUOTE)[..len]), None, "{len} bytes");
    }
    // Options that end beyond the quote.
    assert_eq!(flow_of_quote(&quote_with([(0, 0x4f)])), None);
    // A total length that ends within the ports.
    assert_eq!(flow_of_quote(&quote_with([(3, 23)])), None);
    assert_eq!(flow_of_quote(&quote_with([(0, 0x60)])), None, "IPv6");
    assert_eq!(flow_of_quote(&quote_with([(9, Protocol::ICMPV6.0)])), None);
}

/// A path-MTU error about a tunnel that a `bypass` rule lets through finds its session.
#[test]
fn a_quote_of_a_protocol_without_ports_tells_its_addresses() {
    for protocol in [Protocol::GRE, Protocol::ESP] {
        let key = flow_of_quote(&quote_with([(9, protocol.0)])).expect("addresses are enough");
        assert_eq!((key.protocol, key.source_port, key.destination_port), (protocol, 0, 0));
    }
}

/// RFC 4884: with a length, and in the form from before it, which only a checksum tells from a quote.
#[test]
fn extensions_are_recognised_in_both_forms() {
    let mut message = vec![0; 8 + 128];
    assert!(!has_extensions(&message));
    message.extend([0x20, 0, 0, 0, 0, 8, 2, 1, 10, 0, 0, 254]);
    assert!(has_extensions(&message), "no checksum");
    message[138] = 0xff;
    assert!(!has_extensions(&message), "a wrong checksum: it is payload of the quoted packet");
    let sum = checksum(&[&[0x20, 0, 0, 0], &message[140..]].concat());
    message[138..140].copy_from_slice(&sum.to_be_bytes());
    assert!(has_extensions(&message), "the right checksum");
    assert!(has_extensions(&[11, 0, 0, 0, 0, 32, 0, 0]), "a length");
    assert!(!has_extensions(&[11, 0, 0]));
}

/// RFC 4884 §4.1 to §4.3: the length stands in the messages that may have extensions, in no other.
#[test]
fn a_quote_ends_where_its_message_says() {
    let mut message = [0; 8 + 200];
    for (kind, words, end) in [
        (3, 32, 8 + 128),
        (11, 32, 8 + 128),
        (12, 33, 8 + 132),
        (11, 0, 8 + 200),
        (11, 250, 8 + 200),
        (5, 32, 8 + 200),
        (11, 5, 8 + 20),
    ] {
        (message[0], message[5]) = (kind, words);
        assert_eq!(quote_in(&message), 8..end, "type {kind}, {words} words");
    }
    assert_eq!(quote_in(&[11, 0, 0]), 3..3);
    // 20 bytes hold no ports: what follows is not taken for them.
    let quote = bytes(QUOTE);
    message[8..8 + quote.len()].copy_from_slice(&quote);
    assert_eq!(key_of_quote(&message[quote_in(&message)]), Err(QuoteRefusal::Malformed));
}

/// RFC 4884 §6: "if a NAT device modifies the "original datagram" field, it should modify only the
/// leading octets".
#[test]
fn length_padding_and_extensions_of_an_error_stay() {
    let session = udp();
    let extension = [0x20, 0, 0, 0, 0, 8, 1, 1, 0, 1, 0x11, 1];
    let header = bytes("4500 00a8 0001 0000 4001 0000 c000 02fe cb00 710a 0b00 0000 0020 0000");
    let mut packet = [&header[..], &bytes(QUOTE), &[0; 100], &extension].concat();
    let sum = checksum(&packet[20..]);
    packet[22..24].copy_from_slice(&sum.to_be_bytes());
    let before = packet.clone();
    rewrite_error_v4(&mut packet, Place { l3: 0, l4: 20 }, &session, Reverse);
    assert_ne!(packet[28..56], before[28..56], "the quote is the host's");
    assert_eq!(packet[24..28], before[24..28], "the length");
    assert_eq!(packet[56..], before[56..], "padding and extensions");
    assert_eq!(checksum(&packet[20..]), 0, "the sum over all of it");
}

/// Only the first fragment has ports; what stands there in a later one is payload.
#[test]
fn a_later_fragment_names_its_datagram_and_a_first_one_its_flow() {
    for (more, offset) in [(0x20, 1), (0, 1), (0x1f, 0xff)] {
        let piece = match key_of_quote(&quote_with([(6, more), (7, offset)])) {
            Ok(Quoted::Piece(piece)) => piece,
            other => panic!("{other:?}"),
        };
        let ends = (Ipv4Addr::new(203, 0, 113, 10), Ipv4Addr::new(198, 51, 100, 1));
        assert_eq!((piece.source, piece.destination), ends);
        assert_eq!((piece.identification, piece.protocol), (0x1234, Protocol::UDP));
    }
    assert_eq!(flow_of_quote(&quote_with([(6, 0x20), (7, 0)])), flow_of_quote(&bytes(QUOTE)));
}

/// What lies behind the header of a later fragment is payload, and stays.
#[test]
fn of_a_later_fragment_the_header_alone_is_translated() {
    let mut packet = bytes(
        "4500 003a 4321 0000 3c01 d562 c633 6401 cb00 710a  0303 6358 0000 0000
         4500 001e 1234 4000 3f11 c35b cb00 710a c633 6401  9c40 0035 000a 94bb 6869",
    );
    packet[34..36].copy_from_slice(&[0, 2]);
    let quote = with_header_checksum(packet[28..].to_vec());
    packet[28..].copy_from_slice(&quote);
    packet[22..24].fill(0);
    let right = checksum(&packet[20..]);
    packet[22..24].copy_from_slice(&right.to_be_bytes());
    rewrite_error_v4(&mut packet, Place { l3: 0, l4: 20 }, &udp(), Reverse);
    assert_eq!(checksum(&packet[20..]), 0, "the message's checksum is right");
    assert_eq!(packet[16..20], [10, 0, 0, 2]);
    assert_eq!(packet[40..44], [10, 0, 0, 2]);
    assert_eq!(packet[48..], quote[20..], "the payload");
    assert_eq!(with_header_checksum(packet[28..].to_vec()), packet[28..]);
}

/// RFC 1122 §3.2.2: no error about an error. Other messages have no identifier that we translate.
#[test]
fn of_icmp_only_queries_belong_to_a_session() {
    for kind in 0..=255 {
        let told = key_of_quote(&quote_with([(9, 1), (20, kind)]));
        match kind {
            0 | 8 | 13 | 14 => assert!(matches!(told, Ok(Quoted::Flow(_))), "type {kind}"),
            3 | 4 | 5 | 11 | 12 => assert_eq!(told, Err(QuoteRefusal::AboutError), "type {kind}"),
            _ => assert_eq!(told, Err(QuoteRefusal::Unknown), "type {kind}"),
        }
    }
    // The identifier is cut off.
    assert_eq!(key_of_quote(&quote_with([(9, 1), (20, 8)])[..25]), Err(QuoteRefusal::Malformed));
}

/// RFC 1191 §3 and §4: 68 is the least, and 0 is what old routers say.
#[test]
fn an_mtu_below_68_is_forged() {
    for (mtu, forged) in [(0, false), (1, true), (67, true), (68, false), (1500, false)] {
        let [high, low] = u16::to_be_bytes(mtu);
        assert_eq!(forges_mtu(&[3, 4, 0, 0, 0, 0, high, low]), forged, "{mtu}");
        assert!(!forges_mtu(&[3, 3, 0, 0, 0, 0, high, low]), "not about length");
    }
    assert!(!forges_mtu(&[3, 4, 0, 0]));
}
