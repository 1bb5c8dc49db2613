//! Arbitrary packets: what etherparse writes for the translated flow is what translation makes of
//! the packet before, so no checksum and no other byte can be wrong.

use mooring_session::Direction;
use mooring_wire::Protocol;
use mooring_wire::checksum::{Delta, checksum, pseudo_v4};
use proptest::option::of;
use proptest::prelude::{
    Just, ProptestConfig, Strategy, any, prop_assert_eq, prop_assume, prop_oneof, proptest,
};

use crate::fixture::packets::{
    Sample, any_session, sample, session_of, set_word, translated, word,
};
use crate::fixture::{World, flow};
use crate::rewrite::{PLAIN_V4, Place, Shape, rewrite_plain_v4, rewrite_v4};

fn any_direction() -> impl Strategy<Value = Direction> {
    any::<bool>().prop_map(|out| if out { Direction::Forward } else { Direction::Reverse })
}

/// Where the L4 checksum of the sample's frames lies.
fn field(sample: &Sample, protocol: Protocol) -> usize {
    let shape = Shape::of(protocol).expect("samples have ports or identifiers");
    usize::from(sample.place().l4) + shape.checksum
}

/// Source and destination address of the packet exchanged, and its ports: its sums stay the same.
fn turn_round(frame: &mut [u8], place: Place, protocol: Protocol) {
    let l3 = usize::from(place.l3);
    for at in l3 + 12..l3 + 16 {
        frame.swap(at, at + 4);
    }
    if protocol != Protocol::ICMP {
        let l4 = usize::from(place.l4);
        for at in [l4, l4 + 1] {
            frame.swap(at, at + 2);
        }
    }
}

/// Both forms of zero: 0xffff is the one that the sum of a whole packet cannot have.
fn with_one_zero(frame: &mut [u8], at: usize) {
    if word(frame, at) == 0xffff {
        set_word(frame, at, 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    /// Checksums by delta are those that etherparse computes, and all other bytes are kept. Zero has
    /// two forms in ICMP, both of which receivers accept (see `apply_icmpv4`).
    #[test]
    fn translation_is_what_etherparse_writes(
        session in any_session(),
        sample in sample(),
        direction in any_direction(),
    ) {
        let mut frame = sample.frame(&session.key(direction), direction);
        let mut expected = sample.after(1).frame(&translated(&session, direction), direction);
        rewrite_v4(&mut frame, sample.place(), &session, direction, false);
        if session.protocol == Protocol::ICMP {
            let at = field(&sample, Protocol::ICMP);
            with_one_zero(&mut frame, at);
            with_one_zero(&mut expected, at);
        }
        prop_assert_eq!(frame, expected);
    }

    /// Any L4 checksum, right or wrong.
    #[test]
    fn a_plain_packet_is_rewritten_as_any_other(
        session in any_session(),
        sample in sample(),
        direction in any_direction(),
        checksum in of(prop_oneof![any::<u16>(), Just(0), Just(0xffff)]),
    ) {
        let sample = sample.without_options();
        prop_assume!(session.protocol != Protocol::ICMP);
        let mut frame = sample.frame(&session.key(direction), direction);
        if let Some(checksum) = checksum {
            set_word(&mut frame, field(&sample, session.protocol), checksum);
        }
        let mut plain = frame.clone();
        rewrite_plain_v4(&mut plain, &session, direction);
        rewrite_v4(&mut frame, PLAIN_V4, &session, direction, false);
        prop_assert_eq!(plain, frame);
    }

    /// A packet that goes out, is turned round and comes in again is what it was, but for two hops.
    #[test]
    fn out_and_in_is_the_identity(session in any_session(), sample in sample(), l4 in any::<u16>()) {
        let place = sample.place();
        let at = field(&sample, session.protocol);
        let key = session.key(Direction::Forward);
        // Any L4 checksum, right or wrong.
        let with_checksum = |hops| {
            let mut frame = sample.after(hops).frame(&key, Direction::Forward);
            set_word(&mut frame, at, l4);
            frame
        };
        let mut frame = with_checksum(0);
        rewrite_v4(&mut frame, place, &session, Direction::Forward, false);
        turn_round(&mut frame, place, session.protocol);
        rewrite_v4(&mut frame, place, &session, Direction::Reverse, false);
        turn_round(&mut frame, place, session.protocol);
        let mut expected = with_checksum(2);
        if session.protocol == Protocol::UDP {
            // Never a zero that was not there: it would mean that there is no checksum.
            prop_assert_eq!(word(&frame, at), l4);
        }
        with_one_zero(&mut frame, at);
        with_one_zero(&mut expected, at);
        prop_assert_eq!(frame, expected);
    }

    /// What a checksum is wrong by before, it is wrong by after.
    #[test]
    fn wrong_checksums_stay_wrong_the_same_way(
        session in any_session(),
        sample in sample(),
        direction in any_direction(),
        wrong in any::<[u16; 2]>(),
    ) {
        let places = [usize::from(sample.place().l3) + 10, field(&sample, session.protocol)];
        let mut right = sample.frame(&session.key(direction), direction);
        let mut frame = right.clone();
        // A checksum of zero is not a wrong one in UDP: it is none.
        prop_assume!(wrong[1] != 0);
        let mut errors = Vec::new();
        for (at, wrong) in places.into_iter().zip(wrong) {
            set_word(&mut frame, at, wrong);
            errors.push(Delta::of(word(&right, at), wrong));
        }
        rewrite_v4(&mut frame, sample.place(), &session, direction, false);
        rewrite_v4(&mut right, sample.place(), &session, direction, false);
        for (at, error) in places.into_iter().zip(errors) {
            prop_assert_eq!(Delta::of(word(&right, at), word(&frame, at)), error);
            set_word(&mut frame, at, word(&right, at));
        }
        prop_assert_eq!(frame, right);
    }

    /// Completing a partial checksum after translation gives what etherparse computes.
    #[test]
    fn a_partial_checksum_can_be_completed(
        session in any_session(),
        sample in sample(),
        direction in any_direction(),
    ) {
        prop_assume!(session.protocol != Protocol::ICMP);
        let (place, at) = (sample.place(), field(&sample, session.protocol));
        let l4 = usize::from(place.l4);
        let key = session.key(direction);
        let mut frame = sample.frame(&key, direction);
        let l4_len = (frame.len() - l4) as u16;
        let pseudo = pseudo_v4(key.source, key.destination, key.protocol, l4_len);
        set_word(&mut frame, at, pseudo);
        rewrite_v4(&mut frame, place, &session, direction, true);
        let completed = match checksum(&frame[l4..]) {
            0 if session.protocol == Protocol::UDP => 0xffff,
            completed => completed,
        };
        set_word(&mut frame, at, completed);
        prop_assert_eq!(frame, sample.after(1).frame(&translated(&session, direction), direction));
    }

    /// Bytes around the packet (Ethernet, what a short frame is padded with) are not touched.
    #[test]
    fn nothing_around_the_packet_changes(
        session in any_session(),
        sample in sample(),
        direction in any_direction(),
        padding in any::<[u8; 18]>(),
    ) {
        let before = sample.frame(&session.key(direction), direction);
        let mut frame = [&before[..], &padding].concat();
        rewrite_v4(&mut frame, sample.place(), &session, direction, false);
        prop_assert_eq!(&frame[..14], &before[..14]);
        prop_assert_eq!(&frame[before.len()..], &padding);
    }

    /// What admission stores in a session is what these tests compute from its ends.
    #[test]
    fn admission_stores_the_deltas_of_its_translation(
        host in any::<u16>(),
        remote in 1..255u8,
        [port, remote_port] in any::<[u16; 2]>(),
        which in 0..3usize,
        seed in any::<u64>(),
    ) {
        let protocol = [Protocol::UDP, Protocol::TCP, Protocol::ICMP][which];
        let remote_port = if protocol == Protocol::ICMP { 0 } else { remote_port };
        let [high, low] = host.to_be_bytes();
        let key = flow(
            protocol,
            &format!("10.1.{high}.{low}:{port}"),
            &format!("198.51.100.{remote}:{remote_port}"),
        );
        let session = World::seeded(POOL, seed).session(key);
        let expected = session_of(&key, session.outside, session.outside_port);
        prop_assert_eq!(session.address_delta, expected.address_delta);
        prop_assert_eq!(session.l4_delta, expected.l4_delta);
    }
}

const POOL: &str = r#"
    limits = { sessions = 1 }
    pool = [{ name = "egress", addresses = ["203.0.113.0/30"] }]
    rule = [{ name = "egress", kind = "source-nat", pool = "egress" }]
"#;
