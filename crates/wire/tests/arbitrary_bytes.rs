//! Whatever the bytes are: no view panics, in parsing, reading or writing, and none reaches
//! beyond the bytes that it was given.

use std::hint::black_box;
use std::net::{Ipv4Addr, Ipv6Addr};

use mooring_wire::Mac;
use mooring_wire::arp::Arp;
use mooring_wire::ethernet::Ethernet;
use mooring_wire::icmpv4::Icmpv4;
use mooring_wire::icmpv6::Icmpv6;
use mooring_wire::ipv4::Ipv4;
use mooring_wire::ipv6::Ipv6;
use mooring_wire::mld::{Query, query_message};
use mooring_wire::ndp::{NeighborAdvertisement, NeighborSolicitation};
use mooring_wire::quote::QuotedIpv4;
use mooring_wire::router::RouterSolicitation;
use mooring_wire::tcp::Tcp;
use mooring_wire::udp::Udp;
use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_assert, proptest};
use proptest::prop_oneof;

const ADDRESS: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);

/// Bytes whose first one often starts a header, so that parsing gets further.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        any::<u8>(),
        Just(0x45),
        Just(0x46),
        Just(0x60),
        Just(130),
        Just(133),
        Just(135),
        Just(136),
        Just(0)
    ];
    (first, vec(prop_oneof![any::<u8>(), 0..16u8], 0..128)).prop_map(|(first, mut bytes)| {
        if let Some(byte) = bytes.first_mut() {
            *byte = first;
        }
        bytes
    })
}

fn walk_ipv4(bytes: &mut [u8]) {
    let had = bytes.len();
    let Ok(mut packet) = Ipv4::parse(bytes) else { return };
    black_box((packet.tos(), packet.identification(), packet.dont_fragment(), packet.ttl()));
    black_box((packet.is_fragment(), packet.more_fragments(), packet.fragment_offset()));
    black_box((packet.protocol(), packet.checksum(), packet.checksum_is_valid()));
    black_box((packet.source(), packet.destination()));
    assert_eq!(packet.header_len(), 20 + packet.options().len());
    assert_eq!(usize::from(packet.total_len()), packet.header_len() + packet.payload().len());
    assert!(usize::from(packet.total_len()) <= had);
    packet.set_ttl(1);
    packet.set_source(ADDRESS);
    packet.set_destination(ADDRESS);
    packet.set_checksum(0);
    packet.fill_checksum();
    assert!(packet.checksum_is_valid());
    packet.payload_mut().fill(0);
}

fn walk_quote(bytes: &mut [u8]) {
    let had = bytes.len();
    let Ok(mut quote) = QuotedIpv4::parse(bytes) else { return };
    black_box((quote.total_len(), quote.identification(), quote.fragment_offset()));
    black_box((quote.protocol(), quote.checksum(), quote.checksum_is_valid()));
    black_box((quote.source(), quote.destination()));
    assert!(quote.header_len() + quote.l4().len() <= had);
    quote.set_source(ADDRESS);
    quote.set_destination(ADDRESS);
    quote.set_checksum(0);
    quote.l4_mut().fill(0);
}

fn walk_ipv6(bytes: &mut [u8]) {
    let had = bytes.len();
    let Ok(mut packet) = Ipv6::parse(bytes) else { return };
    black_box((packet.traffic_class(), packet.flow_label(), packet.next_header()));
    black_box((packet.hop_limit(), packet.source(), packet.destination()));
    assert_eq!(usize::from(packet.payload_len()), packet.payload().len());
    assert!(40 + packet.payload().len() <= had);
    if let Ok((_, offset)) = packet.upper_layer() {
        assert!((40..=40 + packet.payload().len()).contains(&offset));
    }
    packet.set_hop_limit(1);
    packet.set_source(Ipv6Addr::LOCALHOST);
    packet.set_destination(Ipv6Addr::LOCALHOST);
    packet.payload_mut().fill(0);
}

fn walk_tcp(bytes: &mut [u8]) {
    let had = bytes.len();
    let Ok(mut segment) = Tcp::parse(bytes) else { return };
    black_box((segment.source_port(), segment.destination_port(), segment.sequence()));
    black_box((segment.acknowledgment(), segment.flags(), segment.window(), segment.urgent()));
    black_box((segment.checksum(), segment.checksum_is_valid(1)));
    assert_eq!(segment.header_len(), 20 + segment.options().len());
    assert_eq!(segment.header_len() + segment.payload().len(), had);
    segment.set_source_port(1);
    segment.set_destination_port(1);
    segment.set_checksum(1);
    segment.fill_checksum(1);
    assert!(segment.checksum_is_valid(1));
}

fn walk_udp(bytes: &mut [u8]) {
    let had = bytes.len();
    let Ok(mut datagram) = Udp::parse(bytes) else { return };
    black_box((datagram.source_port(), datagram.destination_port(), datagram.checksum()));
    black_box(datagram.checksum_is_valid(1));
    assert_eq!(usize::from(datagram.len()), 8 + datagram.payload().len());
    assert!(usize::from(datagram.len()) <= had);
    datagram.set_source_port(1);
    datagram.set_destination_port(1);
    datagram.set_checksum(1);
    datagram.fill_checksum(1);
    assert!(datagram.checksum() != 0 && datagram.checksum_is_valid(1));
    datagram.payload_mut().fill(0);
}

fn walk_icmp(bytes: &mut [u8]) {
    let had = bytes.len();
    if let Ok(mut message) = Icmpv4::parse(&mut *bytes) {
        black_box((message.kind(), message.code(), message.identifier(), message.sequence()));
        black_box((message.checksum(), message.checksum_is_valid(), message.next_hop_mtu()));
        assert!(!(message.is_error() && message.is_query()));
        assert_eq!(8 + message.payload().len(), had);
        message.set_identifier(1);
        message.set_checksum(1);
        message.fill_checksum();
        assert!(message.checksum_is_valid());
        message.set_kind(1);
        message.payload_mut().fill(0);
    }
    if let Ok(mut message) = Icmpv6::parse(bytes) {
        let (a, b) = (Ipv6Addr::LOCALHOST, Ipv6Addr::UNSPECIFIED);
        black_box((message.kind(), message.code(), message.identifier(), message.sequence()));
        black_box((message.checksum(), message.checksum_is_valid(a, b), message.next_hop_mtu()));
        assert!(!(message.is_error() && message.is_query()));
        assert_eq!(8 + message.payload().len(), had);
        message.set_kind(1);
        message.set_identifier(1);
        message.set_checksum(1);
        message.fill_checksum(a, b);
        assert!(message.checksum_is_valid(a, b));
        message.payload_mut().fill(0);
    }
}

fn walk_link(bytes: &mut [u8]) {
    if let Ok(mut frame) = Ethernet::parse(&mut *bytes) {
        black_box((frame.destination(), frame.source(), frame.ether_type(), frame.payload()));
        frame.set_destination(Mac::BROADCAST);
        frame.set_source(Mac::ZERO);
        frame.payload_mut().fill(0);
    }
    if let Ok(message) = Arp::parse(bytes) {
        black_box((message.operation(), message.sender_mac(), message.sender_ip()));
        black_box((message.target_mac(), message.target_ip()));
    }
}

fn walk_ndp(bytes: &[u8]) {
    let (a, b) = (Ipv6Addr::LOCALHOST, Ipv6Addr::UNSPECIFIED);
    if let Ok(message) = NeighborSolicitation::parse(bytes) {
        black_box((message.target(), message.source_link_layer()));
        black_box(message.is_acceptable(255, b, a));
    }
    if let Ok(message) = NeighborAdvertisement::parse(bytes) {
        black_box((message.target(), message.target_link_layer(), message.router()));
        black_box((message.solicited(), message.overrides(), message.is_acceptable(255, a)));
    }
    if let Ok(message) = RouterSolicitation::parse(bytes) {
        black_box((message.source_link_layer(), message.is_acceptable(255, a)));
    }
    if let Ok(query) = Query::parse(bytes) {
        black_box((query.group(), query.max_response_millis()));
    }
    if let Ok(packet) = Ipv6::parse(bytes) {
        black_box(query_message(&packet));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn no_view_panics(bytes in bytes()) {
        let walks = [walk_ipv4, walk_quote, walk_ipv6, walk_tcp, walk_udp, walk_icmp, walk_link];
        for walk in walks {
            walk(&mut bytes.clone());
        }
        walk_ndp(&bytes);
    }

    /// A setter changes its own bytes and no others.
    #[test]
    fn setters_keep_to_their_bytes(bytes in bytes(), ttl in any::<u8>(), address in any::<u32>()) {
        let mut edited = bytes.clone();
        if let Ok(mut packet) = Ipv4::parse(&mut edited[..]) {
            packet.set_ttl(ttl);
            packet.set_source(address.into());
        }
        for (at, (before, after)) in bytes.iter().zip(&edited).enumerate() {
            prop_assert!(before == after || at == 8 || (12..16).contains(&at), "byte {}", at);
        }
    }
}
