//! Literal messages, and what RFC 4861 §7.1 refuses.

use std::net::Ipv6Addr;

use super::{
    Advertisement, HOP_LIMIT, MAX_LEN, NeighborAdvertisement, NeighborSolicitation, Solicitation,
    emit_advertisement, emit_solicitation, solicited_node_group,
};
use crate::error::{Field, Layer, ParseError};
use crate::icmpv6::Icmpv6;
use crate::ipv6::{HEADER_LEN, Ipv6};
use crate::mac::Mac;
use crate::protocol::Protocol;

const MAC: Mac = Mac([0x02, 0, 0, 0, 0, 0x01]);
const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const HOST: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0x0012, 0x3456);
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// `ROUTER` asks for `HOST`.
const SOLICITATION: [u8; 32] = [
    0x87, 0x00, 0x11, 0xcb, 0, 0, 0, 0, 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x12, 0x34,
    0x56, 0x01, 0x01, 0x02, 0, 0, 0, 0, 0x01,
];

fn solicitation() -> Solicitation {
    Solicitation {
        source: ROUTER,
        destination: solicited_node_group(HOST),
        target: HOST,
        source_link_layer: Some(MAC),
    }
}

fn advertisement() -> Advertisement {
    Advertisement {
        source: ROUTER,
        destination: HOST,
        target: ROUTER,
        target_link_layer: Some(MAC),
        router: true,
        solicited: true,
        overrides: false,
    }
}

#[test]
fn deconstruct_solicitation() {
    let message = NeighborSolicitation::parse(&SOLICITATION[..]).unwrap();
    assert_eq!(message.target(), HOST);
    assert_eq!(message.source_link_layer(), Some(MAC));
    let without_option = NeighborSolicitation::parse(&SOLICITATION[..24]).unwrap();
    assert_eq!(without_option.source_link_layer(), None);
}

#[test]
fn construct_solicitation() {
    let mut bytes = [0xee; MAX_LEN];
    let len = emit_solicitation(&mut bytes, &solicitation());
    assert_eq!(len, MAX_LEN);
    let packet = Ipv6::parse(&bytes[..]).unwrap();
    assert_eq!(packet.source(), ROUTER);
    assert_eq!(packet.destination(), "ff02::1:ff12:3456".parse::<Ipv6Addr>().unwrap());
    assert_eq!(packet.hop_limit(), HOP_LIMIT);
    assert_eq!(packet.next_header(), Protocol::ICMPV6);
    assert_eq!(packet.payload(), SOLICITATION);
    let icmp = Icmpv6::parse(packet.payload()).unwrap();
    assert!(icmp.checksum_is_valid(packet.source(), packet.destination()));
}

#[test]
fn construct_and_deconstruct_advertisement() {
    for (router, solicited, overrides) in
        [(true, false, false), (false, true, false), (false, false, true), (true, true, true)]
    {
        let mut bytes = [0xee; MAX_LEN];
        let emit = Advertisement { router, solicited, overrides, ..advertisement() };
        let len = emit_advertisement(&mut bytes, &emit);
        let packet = Ipv6::parse(&bytes[..len]).unwrap();
        assert_eq!((packet.source(), packet.destination()), (ROUTER, HOST));
        let icmp = Icmpv6::parse(packet.payload()).unwrap();
        assert!(icmp.checksum_is_valid(ROUTER, HOST));
        let message = NeighborAdvertisement::parse(packet.payload()).unwrap();
        assert_eq!(message.target(), ROUTER);
        assert_eq!(message.target_link_layer(), Some(MAC));
        assert_eq!(message.router(), router);
        assert_eq!(message.solicited(), solicited);
        assert_eq!(message.overrides(), overrides);
        let flags = packet.payload()[4];
        assert_eq!(
            flags,
            u8::from(router) << 7 | u8::from(solicited) << 6 | u8::from(overrides) << 5
        );
    }
}

#[test]
fn probe_has_no_option() {
    let mut bytes = [0xee; MAX_LEN];
    let probe =
        Solicitation { source: Ipv6Addr::UNSPECIFIED, source_link_layer: None, ..solicitation() };
    let len = emit_solicitation(&mut bytes, &probe);
    assert_eq!(len, HEADER_LEN + 24);
    assert_eq!(bytes[len..], [0xee; 8]);
    let packet = Ipv6::parse(&bytes[..len]).unwrap();
    let message = NeighborSolicitation::parse(packet.payload()).unwrap();
    assert_eq!(message.source_link_layer(), None);
    assert!(message.is_acceptable(packet.hop_limit(), packet.source(), packet.destination()));
}

/// RFC 4861 §4.6: options of unknown kind are skipped; §4.6.1: this one has length 1.
#[test]
fn other_options_are_skipped() {
    let bytes = [
        &SOLICITATION[..24],
        &[14, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[2, 1, 9, 9, 9, 9, 9, 9],
        &[1, 2, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8],
        &SOLICITATION[24..],
        &[1, 1, 7, 7, 7, 7, 7, 7],
    ]
    .concat();
    assert_eq!(NeighborSolicitation::parse(&bytes[..]).unwrap().source_link_layer(), Some(MAC));
}

#[test]
fn truncated() {
    let error = |needed, had| ParseError::Truncated { layer: Layer::Ndp, needed, had };
    let parse = |bytes: &[u8]| NeighborSolicitation::parse(bytes).map(|_| ()).unwrap_err();
    assert_eq!(parse(&SOLICITATION[..23]), error(24, 23));
    assert_eq!(parse(&SOLICITATION[..31]), error(8, 7));
    let mut long = SOLICITATION;
    long[25] = 2;
    assert_eq!(parse(&long), error(16, 8));
}

/// RFC 4861 §7.1.1: type, code, target and option lengths.
#[test]
fn impossible_values() {
    for (at, value, field, held) in [
        (0, 136, Field::Kind, 136),
        (1, 1, Field::Code, 1),
        (8, 0xff, Field::Target, 0xff80_0000),
        (25, 0, Field::OptionLength, 0),
    ] {
        let mut bytes = SOLICITATION;
        bytes[at] = value;
        assert_eq!(
            NeighborSolicitation::parse(&bytes[..]).unwrap_err(),
            ParseError::BadValue { layer: Layer::Ndp, field, value: held }
        );
    }
    assert_eq!(
        NeighborAdvertisement::parse(&SOLICITATION[..]).unwrap_err(),
        ParseError::BadValue { layer: Layer::Ndp, field: Field::Kind, value: 135 }
    );
}

/// RFC 4861 §7.1.1: hop limit 255; an unspecified source asks a solicited-node group and does not
/// tell its link-layer address.
#[test]
fn acceptable_solicitations() {
    let group = solicited_node_group(HOST);
    let full = NeighborSolicitation::parse(&SOLICITATION[..]).unwrap();
    assert!(full.is_acceptable(255, ROUTER, group));
    assert!(full.is_acceptable(255, ROUTER, HOST));
    assert!(!full.is_acceptable(254, ROUTER, group));
    assert!(!full.is_acceptable(255, Ipv6Addr::UNSPECIFIED, group));
    let probe = NeighborSolicitation::parse(&SOLICITATION[..24]).unwrap();
    assert!(probe.is_acceptable(255, Ipv6Addr::UNSPECIFIED, group));
    assert!(!probe.is_acceptable(255, Ipv6Addr::UNSPECIFIED, HOST));
    assert!(!probe.is_acceptable(255, Ipv6Addr::UNSPECIFIED, ALL_NODES));
}

/// RFC 4861 §7.1.2: hop limit 255; nobody solicits a multicast.
#[test]
fn acceptable_advertisements() {
    let mut bytes = [0; MAX_LEN];
    emit_advertisement(&mut bytes, &advertisement());
    let solicited = NeighborAdvertisement::parse(&bytes[HEADER_LEN..]).unwrap();
    assert!(solicited.is_acceptable(255, HOST));
    assert!(!solicited.is_acceptable(64, HOST));
    assert!(!solicited.is_acceptable(255, ALL_NODES));
    emit_advertisement(&mut bytes, &Advertisement { solicited: false, ..advertisement() });
    let announced = NeighborAdvertisement::parse(&bytes[HEADER_LEN..]).unwrap();
    assert!(announced.is_acceptable(255, ALL_NODES));
}
