//! Arbitrary errors: what etherparse writes about the packet before translation is what we make of
//! the error about the packet after it, outer and inner checksums included.

use std::net::Ipv4Addr;

use etherparse::PacketBuilder;
use mooring_session::Direction::{self, Forward, Reverse};
use mooring_session::{FlowKey, Session};
use mooring_wire::Protocol;
use mooring_wire::checksum::checksum;
use mooring_wire::icmpv4::Icmpv4;
use proptest::collection::vec;
use proptest::prelude::{
    Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_assume, proptest,
};
use proptest::prop_oneof;
use proptest::sample::{Index, select};

use super::flow_of_quote;
use super::with_header_checksum;
use crate::Place;
use crate::fixture::packets::{
    any_session, sample, session, session_of, set_word, translated, word,
};
use crate::icmp_error::rewrite_error_v4;
use crate::rewrite::Shape;

/// What an error says: type, code, and the rest of its header.
#[derive(Clone, Copy, Debug)]
struct Says(u8, u8, [u8; 4]);

/// Every type of error with its codes, the next-hop MTU and the pointer among them.
const ERRORS: [Says; 22] = [
    Says(3, 0, [0; 4]),
    Says(3, 1, [0; 4]),
    Says(3, 2, [0; 4]),
    Says(3, 3, [0; 4]),
    Says(3, 4, [0, 0, 0x05, 0x78]),
    Says(3, 5, [0; 4]),
    Says(3, 6, [0; 4]),
    Says(3, 7, [0; 4]),
    Says(3, 9, [0; 4]),
    Says(3, 10, [0; 4]),
    Says(3, 11, [0; 4]),
    Says(3, 12, [0; 4]),
    Says(3, 13, [0; 4]),
    Says(3, 14, [0; 4]),
    Says(3, 15, [0; 4]),
    Says(4, 0, [0; 4]),
    Says(11, 0, [0; 4]),
    Says(11, 1, [0; 4]),
    Says(12, 0, [20, 0, 0, 0]),
    Says(12, 1, [0; 4]),
    Says(12, 2, [0; 4]),
    // RFC 4884: the quote has 128 bytes in words of 4, and extensions may follow.
    Says(11, 0, [0, 32, 0, 0]),
];

/// The Ethernet frame of an error from `source` to `destination` about the packet `quote`.
fn error(says: Says, source: Ipv4Addr, destination: Ipv4Addr, ttl: u8, quote: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4(source.octets(), destination.octets(), ttl)
        .icmpv4_raw(says.0, says.1, says.2)
        .write(&mut frame, quote)
        .expect("a vector takes all bytes");
    frame
}

/// Who the error is for before and after translation, and who has sent it.
fn ends(
    session: &Session<Ipv4Addr>,
    direction: Direction,
    sender: Ipv4Addr,
) -> [(Ipv4Addr, Ipv4Addr); 2] {
    match direction {
        Reverse => [(sender, session.outside), (sender, session.inside)],
        // What is not translated keeps its sender.
        Forward if session.inside == session.outside => [(sender, session.remote); 2],
        // Nobody outside learns which host or router inside has sent it.
        Forward => [(sender, session.remote), (session.outside, session.remote)],
    }
}

const PLACE: Place = Place { l3: 14, l4: 34 };
const QUOTE: usize = 42;

fn any_direction() -> impl Strategy<Value = Direction> {
    select(vec![Forward, Reverse])
}

/// Writes one form of zero for both, see `rewrite::tests::properties`.
fn with_one_zero(frame: &mut [u8], places: &[usize]) {
    for &at in places {
        if at + 2 <= frame.len() && word(frame, at) == 0xffff {
            set_word(frame, at, 0);
        }
    }
}

/// Where the checksums of an error about a packet of `protocol` lie: the message's, those quoted.
fn checksums(frame: &[u8], protocol: Protocol) -> [usize; 3] {
    let quoted_header = usize::from(frame[QUOTE] & 0xf) * 4;
    let shape = Shape::of(protocol).expect("sessions have ports or identifiers");
    [36, QUOTE + 10, QUOTE + quoted_header + shape.checksum]
}

/// Addresses and ports of the quoted packet exchanged, and the addresses of the error.
fn turn_round(frame: &mut [u8], protocol: Protocol) {
    for at in (26..30).chain(QUOTE + 12..QUOTE + 16) {
        frame.swap(at, at + 4);
    }
    let l4 = QUOTE + usize::from(frame[QUOTE] & 0xf) * 4;
    // The ports of other protocols nobody asks for, and a quote may end before them.
    if matches!(protocol, Protocol::TCP | Protocol::UDP | Protocol::SCTP) {
        frame.swap(l4, l4 + 2);
        frame.swap(l4 + 1, l4 + 3);
    }
}

/// A quote that has most of what it needs, in any state.
fn any_quote() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![4 => Just(0x45), 2 => 0x45..=0x4fu8, 1 => any::<u8>()];
    let protocol = prop_oneof![4 => select(vec![1u8, 6, 17]), 1 => any::<u8>()];
    let kind = prop_oneof![2 => select(vec![0u8, 8]), 1 => any::<u8>()];
    let fragment = prop_oneof![4 => Just(0), 1 => any::<u8>()];
    let length = prop_oneof![any::<u16>(), 0..100u16];
    let fields = (first, protocol, kind, fragment, length);
    (vec(any::<u8>(), 0..140), fields).prop_map(|(mut quote, fields)| {
        let (first, protocol, kind, fragment, length) = fields;
        let [high, low] = length.to_be_bytes();
        let l4 = usize::from(first & 0xf) * 4;
        let edits =
            [(0, first), (2, high), (3, low), (6, fragment & 0x20), (7, fragment), (9, protocol)];
        for (at, value) in edits.into_iter().chain([(l4, kind)]) {
            if let Some(byte) = quote.get_mut(at) {
                *byte = value;
            }
        }
        with_header_checksum(quote)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    /// RFC 5508 §4.2, §4.3 and RFC 4787 REQ-12, for any session, quoted from 4 bytes of its ports
    /// (8 for ICMP) to the whole packet.
    #[test]
    fn a_translated_error_is_what_etherparse_writes(
        session in any_session(),
        sample in sample(),
        direction in any_direction(),
        says in select(ERRORS.to_vec()),
        sender in any::<u32>(),
        ttl in 2..=255u8,
        len in any::<Index>(),
    ) {
        // The packet travelled the other way and is quoted as it arrived there.
        let way = direction.opposite();
        let seen = sample.frame(&translated(&session, way), way).split_off(14);
        let original = sample.frame(&session.key(way), way).split_off(14);
        let shortest = usize::from(sample.place().l4) - 14 + 8;
        // Not in the middle of a checksum: half a word is left as it is.
        let len = shortest + len.index(seen.len() - shortest + 1);
        let len = len.next_multiple_of(2).min(seen.len());
        let [before, after] = ends(&session, direction, Ipv4Addr::from_bits(sender));
        let mut frame = error(says, before.0, before.1, ttl, &seen[..len]);
        let mut expected = error(says, after.0, after.1, ttl - 1, &original[..len]);
        prop_assert_eq!(flow_of_quote(&frame[QUOTE..]), Some(session.key(direction)));
        rewrite_error_v4(&mut frame, PLACE, &session, direction);
        if session.protocol == Protocol::ICMP {
            let places = checksums(&frame, session.protocol);
            with_one_zero(&mut frame, &places[2..]);
            with_one_zero(&mut expected, &places[2..]);
        }
        with_one_zero(&mut frame, &[36]);
        with_one_zero(&mut expected, &[36]);
        prop_assert_eq!(frame, expected);
    }

    /// Whatever is quoted: no panic, no byte beside the named fields, a checksum that stays right,
    /// and the way back gives what was there.
    #[test]
    fn any_quote_can_be_translated_and_back(
        quote in any_quote(),
        direction in any_direction(),
        inside in any::<(u32, u16)>(),
        sender in any::<u32>(),
    ) {
        let Some(key) = flow_of_quote(&quote) else { return Ok(()) };
        // The others are never translated, only let through as they are.
        prop_assume!(Shape::of(key.protocol).is_some());
        // A session has the identifier at its inside end, never at the remote one.
        let at_remote = if direction == Forward { key.destination_port } else { key.source_port };
        prop_assume!(key.protocol != Protocol::ICMP || at_remote == 0);
        // Without a port in the key there is none to translate.
        let has_port = (key.source_port, key.destination_port) != (0, 0);
        let (address, port) = (Ipv4Addr::from_bits(inside.0), if has_port { inside.1 } else { 0 });
        let session = match direction {
            Forward => session_of(&key, address, port),
            Reverse => {
                let end = FlowKey { source: address, source_port: port, ..key.exchanged() };
                session_of(&end, key.destination, key.destination_port)
            }
        };
        prop_assert_eq!(session.key(direction), key);
        // As the engine has it: an error is for the sender of the packet that it quotes.
        let sender = match direction {
            Reverse => Ipv4Addr::from_bits(sender),
            Forward => session.inside,
        };
        let [(source, destination), _] = ends(&session, direction, sender);
        let mut frame = error(Says(3, 1, [0; 4]), source, destination, 64, &quote);
        let mut expected = error(Says(3, 1, [0; 4]), source, destination, 62, &quote);
        rewrite_error_v4(&mut frame, PLACE, &session, direction);
        prop_assert!(Icmpv4::parse(&frame[34..]).is_ok_and(|icmp| icmp.checksum_is_valid()));
        prop_assert_eq!(checksum(&frame[14..34]), 0);

        turn_round(&mut frame, session.protocol);
        rewrite_error_v4(&mut frame, PLACE, &session, direction.opposite());
        turn_round(&mut frame, session.protocol);
        let places = checksums(&frame, session.protocol);
        with_one_zero(&mut frame, &places);
        with_one_zero(&mut expected, &places);
        if direction == Reverse {
            prop_assert_eq!(frame, expected);
        } else {
            prop_assert_eq!(&frame[34..], &expected[34..]);
        }
    }
}

/// RFC 5508 REQ-5, and the promise of translation: neither realm sees the other's addresses.
#[test]
fn no_error_shows_the_other_realm() {
    let shows =
        |frame: &[u8], address: Ipv4Addr| frame.windows(4).any(|bytes| *bytes == address.octets());
    let router = Ipv4Addr::new(10, 77, 88, 1);
    for protocol in [Protocol::UDP, Protocol::TCP, Protocol::ICMP] {
        let remote = if protocol == Protocol::ICMP { "198.51.100.1:0" } else { "198.51.100.1:53" };
        let session = session(protocol, "10.77.88.99:5000", "203.0.113.10:40000", remote);
        for (direction, says) in ERRORS.iter().flat_map(|says| [(Forward, says), (Reverse, says)]) {
            let way = direction.opposite();
            let packet = plain_packet(&translated(&session, way), way);
            for len in 28..=packet.len() {
                let (sender, hidden) = match direction {
                    Forward => (router, [session.inside, router]),
                    Reverse => (session.remote, [session.outside, session.outside]),
                };
                let [(source, destination), _] = ends(&session, direction, sender);
                let mut frame = error(*says, source, destination, 64, &packet[..len]);
                assert!(hidden.iter().all(|address| shows(&frame, *address)));
                rewrite_error_v4(&mut frame, PLACE, &session, direction);
                assert!(!hidden.iter().any(|address| shows(&frame, *address)), "{frame:02x?}");
            }
        }
    }
}

/// A packet without options and with 16 bytes of payload, from its IP header on.
fn plain_packet(key: &FlowKey<Ipv4Addr>, direction: Direction) -> Vec<u8> {
    let builder = PacketBuilder::ipv4(key.source.octets(), key.destination.octets(), 64);
    let mut packet = Vec::new();
    let written = match (key.protocol, direction) {
        (Protocol::TCP, _) => builder
            .tcp(key.source_port, key.destination_port, 1, 1024)
            .write(&mut packet, &[0x55; 16]),
        (Protocol::UDP, _) => {
            builder.udp(key.source_port, key.destination_port).write(&mut packet, &[0x55; 16])
        }
        (_, Forward) => {
            builder.icmpv4_echo_request(key.source_port, 1).write(&mut packet, &[0x55; 16])
        }
        (_, Reverse) => {
            builder.icmpv4_echo_reply(key.destination_port, 1).write(&mut packet, &[0x55; 16])
        }
    };
    written.expect("a vector takes all bytes");
    packet
}
