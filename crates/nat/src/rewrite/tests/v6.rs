//! IPv6: what etherparse writes for the translated flow is what translation makes of the packet
//! before, checksums included.

use std::net::Ipv6Addr;

use mooring_session::{Direction, FlowKey, Session};
use mooring_wire::Protocol;
use mooring_wire::checksum::{checksum, pseudo_v6};
use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, any, prop_assert_eq, prop_assume, proptest};
use proptest::sample::select;

use crate::fixture::packets::set_word;
use crate::fixture::v6::{any_session_v6, packet_v6};
use crate::rewrite::{
    PLAIN_V6, Place, Shape, give_hop_back_v6, rewrite_fragment_v6, rewrite_plain_v6, rewrite_v6,
};

const PLACE: Place = Place { l3: 0, l4: 40 };
const WAYS: [Direction; 2] = [Direction::Forward, Direction::Reverse];

/// The flow of a packet of `way` once it is translated.
fn translated(session: &Session<Ipv6Addr>, way: Direction) -> FlowKey<Ipv6Addr> {
    session.key(way.opposite()).exchanged()
}

/// Puts an extension header of 16 bytes in front of the transport header.
fn with_options(packet: &[u8]) -> Vec<u8> {
    let mut long = packet[..40].to_vec();
    long.extend([packet[6], 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    long.extend(&packet[40..]);
    long[6] = Protocol::DESTINATION_OPTIONS.0;
    set_word(&mut long, 4, (packet.len() - 40 + 16) as u16);
    long
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn ipv6_translation_is_what_etherparse_writes(
        session in any_session_v6(),
        way in select(&WAYS),
        hop_limit in 2..=255u8,
        payload in vec(any::<u8>(), 0..64),
        options in any::<bool>(),
    ) {
        let shape = |packet: Vec<u8>| if options { with_options(&packet) } else { packet };
        let place = Place { l4: if options { 56 } else { 40 }, ..PLACE };
        let mut packet = shape(packet_v6(&session.key(way), way, hop_limit, &payload));
        let key = translated(&session, way);
        rewrite_v6(&mut packet, place, &session, way, false);
        prop_assert_eq!(&packet, &shape(packet_v6(&key, way, hop_limit - 1, &payload)));
        give_hop_back_v6(&mut packet, 0);
        prop_assert_eq!(packet, shape(packet_v6(&key, way, hop_limit, &payload)));
    }

    #[test]
    fn a_plain_packet_is_rewritten_as_any_other(
        session in any_session_v6(),
        way in select(&WAYS),
        hop_limit in 2..=255u8,
        payload in vec(any::<u8>(), 0..64),
    ) {
        prop_assume!(session.protocol != Protocol::ICMPV6);
        let packet = packet_v6(&session.key(way), way, hop_limit, &payload);
        let mut frame = [&[7; 14][..], &packet].concat();
        let mut plain = frame.clone();
        rewrite_plain_v6(&mut plain, &session, way);
        rewrite_v6(&mut frame, PLAIN_V6, &session, way, false);
        prop_assert_eq!(plain, frame);
    }

    #[test]
    fn a_partial_checksum_can_be_completed(
        session in any_session_v6(),
        way in select(&WAYS),
        payload in vec(any::<u8>(), 0..64),
    ) {
        let key = session.key(way);
        let mut packet = packet_v6(&key, way, 64, &payload);
        let at = 40 + Shape::of(key.protocol).expect("sessions have ports").checksum;
        let l4_len = packet.len() as u32 - 40;
        set_word(&mut packet, at, pseudo_v6(key.source, key.destination, key.protocol, l4_len));
        rewrite_v6(&mut packet, PLACE, &session, way, true);
        let completed = match checksum(&packet[40..]) {
            0 if key.protocol == Protocol::UDP => 0xffff,
            completed => completed,
        };
        set_word(&mut packet, at, completed);
        prop_assert_eq!(packet, packet_v6(&translated(&session, way), way, 63, &payload));
    }

    /// Of a later fragment the addresses and the hop limit change, nothing else.
    #[test]
    fn a_later_fragment_has_addresses_only(session in any_session_v6(), way in select(&WAYS)) {
        let mut packet = packet_v6(&session.key(way), way, 64, &[7; 32]);
        let payload = packet[40..].to_vec();
        rewrite_fragment_v6(&mut packet, 0, &session, way);
        let expected = packet_v6(&translated(&session, way), way, 63, &[7; 32]);
        prop_assert_eq!(&packet[..40], &expected[..40]);
        prop_assert_eq!(&packet[40..], payload);
    }
}
