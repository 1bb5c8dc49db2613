//! ICMPv6 errors: what etherparse writes about the packet before translation is what we make of the
//! error about the packet after it, the outer and the quoted checksum included.

use std::net::Ipv6Addr;

use etherparse::PacketBuilder;
use mooring_session::Direction::{self, Forward, Reverse};
use mooring_session::{FlowKey, Session};
use mooring_wire::Protocol;
use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, any, prop_assert_eq, proptest};
use proptest::sample::{Index, select};

use crate::Place;
use crate::fixture::packets::set_word;
use crate::fixture::v6::{any_session_v6, packet_v6};
use crate::icmp_error::{
    QuoteRefusal, Quoted, forges_mtu_v6, has_extensions_v6, key_of_quote_v6, quote_in_v6,
    rewrite_error_v6,
};

const PLACE: Place = Place { l3: 0, l4: 40 };

/// Type, code and the word after the checksum: no route, closed port, MTU of 1,280, hop limit,
/// unknown next header.
const ERRORS: [(u8, u8, u8); 5] = [(1, 0, 0), (1, 4, 0), (2, 0, 5), (3, 0, 0), (4, 1, 6)];

/// The flow that a quote names, if it names one.
fn flow_of_quote_v6(quote: &[u8]) -> Option<FlowKey<Ipv6Addr>> {
    key_of_quote_v6(quote).ok().and_then(Quoted::flow)
}

fn error(
    (kind, code, rest): (u8, u8, u8),
    [source, destination]: [Ipv6Addr; 2],
    hop_limit: u8,
    quote: &[u8],
) -> Vec<u8> {
    let mut packet = Vec::new();
    PacketBuilder::ipv6(source.octets(), destination.octets(), hop_limit)
        .icmpv6_raw(kind, code, [0, 0, rest, 0])
        .write(&mut packet, quote)
        .expect("a vector takes all bytes");
    packet
}

/// A fragment header of a first piece in front of the transport header.
fn as_first_fragment(packet: &[u8]) -> Vec<u8> {
    let mut long = [&packet[..40], &[packet[6], 0, 0, 1, 1, 2, 3, 4], &packet[40..]].concat();
    long[6] = Protocol::FRAGMENT.0;
    set_word(&mut long, 4, (packet.len() - 32) as u16);
    long
}

/// Who the error is for before and after translation, and who has sent it.
fn ends(session: &Session<Ipv6Addr>, way: Direction, sender: Ipv6Addr) -> [[Ipv6Addr; 2]; 2] {
    match way {
        Reverse => [[sender, session.outside], [sender, session.inside]],
        Forward if session.inside == session.outside => [[sender, session.remote]; 2],
        Forward => [[sender, session.remote], [session.outside, session.remote]],
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Quoted from 8 bytes of the transport header to the whole packet, as a packet or a first piece.
    #[test]
    fn a_translated_ipv6_error_is_what_etherparse_writes(
        session in any_session_v6(),
        direction in select(vec![Forward, Reverse]),
        says in select(ERRORS.to_vec()),
        sender in any::<u128>(),
        payload in vec(any::<u8>(), 0..64),
        piece in any::<bool>(),
        len in any::<Index>(),
    ) {
        let way = direction.opposite();
        let shape = |packet: Vec<u8>| if piece { as_first_fragment(&packet) } else { packet };
        let seen_key = session.key(direction).exchanged();
        let seen = shape(packet_v6(&seen_key, way, 9, &payload));
        let original = shape(packet_v6(&session.key(way), way, 9, &payload));
        let shortest = if piece { 56 } else { 48 };
        // Not in the middle of a checksum: half a word is left as it is.
        let len = (shortest + len.index(seen.len() - shortest + 1)).next_multiple_of(2);
        let len = len.min(seen.len());
        let [before, after] = ends(&session, direction, Ipv6Addr::from_bits(sender));
        let mut packet = error(says, before, 64, &seen[..len]);
        prop_assert_eq!(flow_of_quote_v6(&packet[48..]), Some(session.key(direction)));
        rewrite_error_v6(&mut packet, PLACE, &session, direction);
        prop_assert_eq!(packet, error(says, after, 63, &original[..len]));
    }

    #[test]
    fn no_quote_makes_a_panic(bytes in vec(any::<u8>(), 0..120), next in select(vec![6u8, 17, 44, 58, 60])) {
        let mut quote = bytes;
        for (at, value) in [(0, 0x60), (6, next)] {
            if let Some(byte) = quote.get_mut(at) {
                *byte = value;
            }
        }
        if let Some(key) = flow_of_quote_v6(&quote) {
            let session = crate::fixture::v6::session_v6(&key, key.destination, 7);
            let ends = [key.source, key.destination];
            let mut packet = error((1, 0, 0), ends, 64, &quote);
            rewrite_error_v6(&mut packet, PLACE, &session, Forward);
            prop_assert_eq!(packet.len(), 48 + quote.len());
        }
    }
}

#[test]
fn an_ipv6_quote_that_ends_before_its_ports_tells_nothing() {
    let key = FlowKey {
        source: Ipv6Addr::LOCALHOST,
        destination: Ipv6Addr::UNSPECIFIED,
        source_port: 1,
        destination_port: 2,
        vrf: 0,
        protocol: Protocol::UDP,
        tag: 0,
    };
    let quote = packet_v6(&key, Forward, 1, &[]);
    assert_eq!(flow_of_quote_v6(&quote[..44]), Some(key.exchanged()));
    assert!((0..44).all(|len| flow_of_quote_v6(&quote[..len]).is_none()));
    let mut later = as_first_fragment(&quote);
    later[43] = 0x08;
    let Ok(Quoted::Piece(piece)) = key_of_quote_v6(&later) else { panic!("a later piece") };
    assert_eq!((piece.source, piece.destination), (key.source, key.destination));
    assert_eq!((piece.identification, piece.protocol), (0x0102_0304, Protocol::FRAGMENT));
}

/// RFC 4443 §2.4 (e): types below 128 are errors, also those that nobody has defined.
#[test]
fn an_error_about_an_error_tells_nothing() {
    for kind in 0..=255 {
        let key = FlowKey {
            source: Ipv6Addr::LOCALHOST,
            destination: Ipv6Addr::UNSPECIFIED,
            source_port: 1,
            destination_port: 0,
            vrf: 0,
            protocol: Protocol::ICMPV6,
            tag: 0,
        };
        let mut quote = packet_v6(&key, Forward, 1, &[]);
        quote[40] = kind;
        match (kind, key_of_quote_v6(&quote)) {
            (128 | 129, Ok(Quoted::Flow(_))) => {}
            (0..128, Err(QuoteRefusal::AboutError)) => {}
            (130.., Err(QuoteRefusal::Unknown)) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// RFC 8201 §4: below the minimum link MTU it is discarded.
#[test]
fn an_mtu_below_1280_is_forged() {
    for (mtu, forged) in [(0_u32, true), (68, true), (1279, true), (1280, false), (1500, false)] {
        let [a, b, c, d] = mtu.to_be_bytes();
        assert_eq!(forges_mtu_v6(&[2, 0, 0, 0, a, b, c, d]), forged, "{mtu}");
        assert!(!forges_mtu_v6(&[1, 0, 0, 0, a, b, c, d]), "not about length");
    }
}

/// RFC 4884 §4.4, §4.5: in words of 8 bytes.
#[test]
fn a_quote_in_icmpv6_ends_where_its_message_says() {
    let mut message = [0; 8 + 200];
    for (kind, words, end) in
        [(1, 16, 8 + 128), (3, 17, 8 + 136), (3, 0, 8 + 200), (2, 16, 8 + 200), (3, 6, 8 + 48)]
    {
        (message[0], message[4]) = (kind, words);
        assert_eq!(quote_in_v6(&message), 8..end, "type {kind}, {words} words");
    }
}

/// RFC 4884 §4: the length stands in the messages that may have extensions, in no other.
#[test]
fn extensions_are_recognised_by_their_length() {
    for (kind, with) in [(1, true), (3, true), (2, false), (4, false)] {
        assert_eq!(has_extensions_v6(&[kind, 0, 0, 0, 9, 0, 0, 0]), with, "type {kind}");
        assert!(!has_extensions_v6(&[kind, 0, 0, 0, 0, 0, 5, 0]));
    }
}
