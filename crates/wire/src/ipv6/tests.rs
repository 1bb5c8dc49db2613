//! Literal packets: fixed header, then walks over extension headers.

use std::net::Ipv6Addr;

use super::{Emit, HEADER_LEN, Ipv6, MAX_EXTENSION_HEADERS};
use crate::error::{Field, Layer, ParseError};
use crate::protocol::Protocol;

const PACKET: [u8; 44] = [
    0x6a, 0xb1, 0x23, 0x45, 0x00, 0x04, 0x11, 0x40, 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0x01, 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x02, 0xde, 0xad, 0xbe,
    0xef,
];

const EMIT: Emit = Emit {
    source: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1),
    destination: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2),
    next_header: Protocol::UDP,
    hop_limit: 64,
    traffic_class: 0xab,
    flow_label: 0x1_2345,
    payload_len: 4,
};

#[test]
fn deconstruct() {
    let packet = Ipv6::parse(&PACKET[..]).unwrap();
    assert_eq!(packet.traffic_class(), 0xab);
    assert_eq!(packet.flow_label(), 0x1_2345);
    assert_eq!(packet.payload_len(), 4);
    assert_eq!(packet.next_header(), Protocol::UDP);
    assert_eq!(packet.hop_limit(), 64);
    assert_eq!(packet.source(), EMIT.source);
    assert_eq!(packet.destination(), EMIT.destination);
    assert_eq!(packet.payload(), [0xde, 0xad, 0xbe, 0xef]);
    assert_eq!(packet.upper_layer(), Ok((Protocol::UDP, HEADER_LEN)));
    assert_eq!(packet.into_payload(), [0xde, 0xad, 0xbe, 0xef]);
}

#[test]
fn construct() {
    let mut bytes = [0; 44];
    EMIT.emit(&mut bytes);
    Ipv6::parse(&mut bytes[..]).unwrap().payload_mut().copy_from_slice(&[0xde, 0xad, 0xbe, 0xef]);
    assert_eq!(bytes, PACKET);
}

#[test]
fn edit() {
    let mut bytes = PACKET;
    let mut packet = Ipv6::parse(&mut bytes[..]).unwrap();
    packet.set_hop_limit(63);
    packet.set_source(EMIT.destination);
    packet.set_destination(EMIT.source);
    assert_eq!(bytes[..7], PACKET[..7]);
    assert_eq!(bytes[7], 63);
    assert_eq!(bytes[8..24], PACKET[24..40]);
    assert_eq!(bytes[24..40], PACKET[8..24]);
}

#[test]
fn padding_is_not_payload() {
    let mut bytes = [0xee; 60];
    bytes[..44].copy_from_slice(&PACKET);
    assert_eq!(Ipv6::parse(&bytes[..]).unwrap().payload(), [0xde, 0xad, 0xbe, 0xef]);
    bytes[5] = 0;
    assert!(Ipv6::parse(&bytes[..]).unwrap().payload().is_empty());
}

#[test]
fn truncated() {
    let error = |needed, had| ParseError::Truncated { layer: Layer::Ipv6, needed, had };
    assert_eq!(Ipv6::parse(&PACKET[..39]).unwrap_err(), error(HEADER_LEN, 39));
    assert_eq!(Ipv6::parse(&PACKET[..43]).unwrap_err(), error(44, 43));
}

#[test]
fn impossible_version() {
    let mut bytes = PACKET;
    bytes[0] = 0x45;
    assert_eq!(
        Ipv6::parse(&bytes[..]).unwrap_err(),
        ParseError::BadValue { layer: Layer::Ipv6, field: Field::Version, value: 4 }
    );
}

/// RFC 2675 §3: "The Payload Length field in the IPv6 header must be set to zero in every packet
/// that carries the Jumbo Payload option."
#[test]
fn big_tcp() {
    let mut bytes = vec![0; HEADER_LEN + 0x1_0000];
    Emit { payload_len: 0, ..EMIT }.emit(&mut bytes);
    let error = |had| ParseError::BigTcp { layer: Layer::Ipv6, had };
    assert_eq!(Ipv6::parse(&bytes[..]).unwrap_err(), error(bytes.len()));
    assert!(Ipv6::parse(&bytes[..bytes.len() - 1]).is_ok(), "an empty packet with padding");
    Emit { payload_len: 0, next_header: Protocol::HOP_BY_HOP, ..EMIT }.emit(&mut bytes);
    assert_eq!(Ipv6::parse(&bytes[..64]).unwrap_err(), error(64));
}

/// A packet whose fixed header names `first`, followed by `payload`; the result of its walk.
fn walk(first: Protocol, payload: &[u8]) -> Result<(Protocol, usize), ParseError> {
    let mut bytes = vec![0; HEADER_LEN + payload.len()];
    let payload_len = payload.len().try_into().unwrap();
    Emit { next_header: first, payload_len, ..EMIT }.emit(&mut bytes);
    bytes[HEADER_LEN..].copy_from_slice(payload);
    Ipv6::parse(&bytes[..]).unwrap().upper_layer()
}

#[test]
fn walks_every_extension_header() {
    let chain = [
        &[Protocol::DESTINATION_OPTIONS.0, 0, 1, 4, 0, 0, 0, 0][..],
        &[Protocol::ROUTING.0, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[Protocol::FRAGMENT.0, 0, 4, 0, 0, 0, 0, 0],
        &[Protocol::AH.0, 0xee, 0, 0, 1, 2, 3, 4],
        &[Protocol::TCP.0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[0xaa; 20],
    ]
    .concat();
    assert_eq!(
        walk(Protocol::HOP_BY_HOP, &chain),
        Ok((Protocol::TCP, HEADER_LEN + 8 + 16 + 8 + 8 + 12))
    );
}

#[test]
fn stops_at_a_piece() {
    for fragment in [[0x00, 0x01], [0x00, 0x08], [0x00, 0x09]] {
        let header = [Protocol::UDP.0, 0, fragment[0], fragment[1], 0, 0, 0, 7];
        assert_eq!(walk(Protocol::FRAGMENT, &header), Ok((Protocol::FRAGMENT, HEADER_LEN)));
    }
    let reserved_bits_only = [Protocol::UDP.0, 0, 0x00, 0x06, 0, 0, 0, 7];
    assert_eq!(walk(Protocol::FRAGMENT, &reserved_bits_only), Ok((Protocol::UDP, HEADER_LEN + 8)));
}

#[test]
fn what_cannot_be_walked_is_an_upper_layer() {
    for protocol in [Protocol::NO_NEXT_HEADER, Protocol::ESP, Protocol(253)] {
        assert_eq!(walk(protocol, &[1, 2, 3]), Ok((protocol, HEADER_LEN)));
    }
}

#[test]
fn truncated_extension_headers() {
    let error =
        |needed, had| Err(ParseError::Truncated { layer: Layer::Ipv6Extension, needed, had });
    assert_eq!(walk(Protocol::ROUTING, &[6, 0, 0, 0, 0, 0, 0]), error(8, 7));
    assert_eq!(walk(Protocol::ROUTING, &[6, 1, 0, 0, 0, 0, 0, 0]), error(16, 8));
    assert_eq!(walk(Protocol::AH, &[6, 1, 0, 0, 0, 0, 0, 0, 0]), error(12, 9));
}

/// RFC 4302 §2: the fixed part of an authentication header has 12 bytes.
#[test]
fn authentication_header_without_sequence_number() {
    let (layer, field) = (Layer::Ipv6Extension, Field::HeaderLength);
    let error = ParseError::BadValue { layer, field, value: 0 };
    assert_eq!(walk(Protocol::AH, &[6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), Err(error));
}

/// RFC 8200 §4.1: hop-by-hop options "must immediately follow the IPv6 header".
#[test]
fn hop_by_hop_options_come_first() {
    let payload = [&[Protocol::HOP_BY_HOP.0, 0, 1, 4, 0, 0, 0, 0][..], &[6; 8]].concat();
    let error =
        ParseError::BadValue { layer: Layer::Ipv6Extension, field: Field::NextHeader, value: 0 };
    assert_eq!(walk(Protocol::ROUTING, &payload), Err(error));
}

#[test]
fn the_walk_is_bounded() {
    let chain = |headers: usize| {
        let mut payload = [Protocol::DESTINATION_OPTIONS.0, 0, 1, 4, 0, 0, 0, 0].repeat(headers);
        payload[(headers - 1) * 8] = Protocol::UDP.0;
        walk(Protocol::DESTINATION_OPTIONS, &payload)
    };
    let most = MAX_EXTENSION_HEADERS;
    assert_eq!(chain(most), Ok((Protocol::UDP, HEADER_LEN + most * 8)));
    let error = ParseError::BadValue {
        layer: Layer::Ipv6Extension,
        field: Field::ExtensionCount,
        value: most as u32 + 1,
    };
    assert_eq!(chain(most + 1), Err(error));
}
