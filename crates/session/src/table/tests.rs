//! The table against literal expectations and against a slow model.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use mooring_wire::Protocol;
use mooring_wire::checksum::Delta;
use mooring_wire::tcp::Flags;
use proptest::option::of;
use proptest::prelude::{
    Just, Strategy, any, prop, prop_assert, prop_assert_eq, prop_assume, prop_oneof, proptest,
};
use proptest::sample::select;

use super::{InsertError, Renewed, SessionRef, SessionTable};
use crate::{
    Counts, Direction, FlowKey, Held, KeyedHash, NextHopIndex, OUTBOUND_REFRESH, Session, Stamp,
    State, Tick, Timeouts,
};

const HASH: [u64; 4] = [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344, 0xa409_3822_299f_31d0, 7];

fn table(capacity: usize) -> SessionTable<Ipv4Addr> {
    SessionTable::new(capacity, KeyedHash::new(HASH), Timeouts::default())
}

fn session(protocol: Protocol, port: u16, outside_port: u16) -> Session<Ipv4Addr> {
    Session {
        inside: Ipv4Addr::new(10, 0, 0, 2),
        outside: Ipv4Addr::new(203, 0, 113, 10),
        remote: Ipv4Addr::new(192, 0, 2, 2),
        inside_port: port,
        outside_port,
        remote_port: 443,
        vrf: 0,
        tag: 0,
        protocol,
        state: State::initial(protocol, Direction::Forward),
        address_delta: Delta::default(),
        l4_delta: Delta::default(),
        forward_hop: NextHopIndex(0),
        reverse_hop: NextHopIndex(1),
        ingress: [0, 1],
        rule: 0,
        flags: 0,
        generation: 1,
        last_seen: Stamp::default(),
        packets: [0; 2],
        bytes: [0; 2],
    }
}

fn expired(table: &mut SessionTable<Ipv4Addr>, now: Tick) -> Vec<u16> {
    let mut budget = u32::MAX;
    std::iter::from_fn(|| table.expire(now, &mut budget).map(|(_, s, _)| s.inside_port)).collect()
}

#[test]
fn both_directions_find_the_session() {
    let mut table = table(4);
    let index =
        table.insert(session(Protocol::UDP, 5000, 6000), Held::NOTHING, Tick::ZERO).expect("room");
    let forward = session(Protocol::UDP, 5000, 6000).key(Direction::Forward);
    let reverse = FlowKey {
        source: Ipv4Addr::new(192, 0, 2, 2),
        destination: Ipv4Addr::new(203, 0, 113, 10),
        source_port: 443,
        destination_port: 6000,
        ..forward
    };
    for (key, direction) in [(forward, Direction::Forward), (reverse, Direction::Reverse)] {
        let found = table.find_key(&key).expect("inserted");
        assert_eq!((found.index, found.direction), (index, direction));
    }
    assert!(table.find_key(&forward.exchanged()).is_none());
}

#[test]
fn a_full_table_and_a_taken_key_are_refused() {
    let mut table = table(2);
    assert!(table.insert(session(Protocol::UDP, 1, 1), Held::NOTHING, Tick::ZERO).is_ok());
    let same_outside = session(Protocol::UDP, 2, 1);
    assert_eq!(table.insert(same_outside, Held::NOTHING, Tick::ZERO), Err(InsertError::KeyTaken));
    assert!(table.insert(session(Protocol::UDP, 2, 2), Held::NOTHING, Tick::ZERO).is_ok());
    assert_eq!(
        table.insert(session(Protocol::UDP, 3, 3), Held::NOTHING, Tick::ZERO),
        Err(InsertError::Full)
    );
    assert_eq!(table.len(), 2);
}

/// Also across the carry, and no further than to nothing.
#[test]
fn what_was_refused_after_all_is_counted_out_again() {
    let mut table = table(1);
    let index = table
        .insert(session(Protocol::UDP, 5000, 40_000), Held::NOTHING, Tick::ZERO)
        .expect("room");
    let found = SessionRef { index, direction: Direction::Forward };
    for _ in 0..2 {
        table.touch(found, Tick::ZERO, (1 << 31) + 50, None);
    }
    let counts = |packets, bytes| [Counts { packets, bytes }, Counts::default()];
    assert_eq!(table.counts(index), counts(2, (1 << 32) + 100));
    for left in [counts(1, (1 << 31) + 50), counts(0, 0), counts(0, 0)] {
        table.uncount(found, (1 << 31) + 50);
        assert_eq!(table.counts(index), left);
    }
}

#[test]
fn counters_carry_past_32_bits() {
    let mut table = table(1);
    let index =
        table.insert(session(Protocol::UDP, 1, 1), Held::NOTHING, Tick::ZERO).expect("room");
    let found = SessionRef { index, direction: Direction::Reverse };
    for _ in 0..70_000 {
        table.touch(found, Tick::ZERO, 65_536, None);
    }
    let expected = Counts { packets: 70_000, bytes: 70_000 * 65_536 };
    assert_eq!(table.counts(index), [Counts::default(), expected]);
    assert_eq!(table.session(index).state, State::Established);
}

#[test]
fn a_session_ends_within_two_seconds_of_its_timeout() {
    for start in [0, 777, 1_023, 123_456] {
        let mut table = table(1);
        let index = table
            .insert(session(Protocol::ICMP, 1, 1), Held::NOTHING, Tick::from_millis(start))
            .expect("room");
        let last = Tick::from_millis(start) + Duration::from_secs(45);
        table.touch(SessionRef { index, direction: Direction::Forward }, last, 60, None);
        let mut now = last;
        while expired(&mut table, now).is_empty() {
            now = now + Duration::from_millis(10);
        }
        let lived = now.since(last);
        assert!((60_000..=62_000).contains(&lived), "ended {lived} ms after its last packet");
    }
}

#[test]
fn closing_shortens_the_life() {
    let mut table = table(1);
    let index =
        table.insert(session(Protocol::TCP, 1, 1), Held::NOTHING, Tick::ZERO).expect("room");
    let mut pass = |direction, flags| {
        table.touch(SessionRef { index, direction }, Tick::ZERO, 60, Some(flags));
    };
    pass(Direction::Reverse, Flags::SYN);
    pass(Direction::Forward, Flags::ACK);
    pass(Direction::Forward, Flags::FIN);
    pass(Direction::Reverse, Flags::FIN);
    assert!(expired(&mut table, Tick::from_millis(239_000)).is_empty());
    assert_eq!(expired(&mut table, Tick::from_millis(242_000)), [1]);
}

#[test]
fn a_dead_connection_is_not_kept_alive_from_outside() {
    let opened = [(Direction::Reverse, Flags::SYN), (Direction::Forward, Flags::ACK)];
    let closed = [(Direction::Forward, Flags::FIN), (Direction::Reverse, Flags::FIN)];
    let refused: &[_] = &[];
    for segments in [refused, &[opened, closed].concat()] {
        let mut table = table(1);
        let index =
            table.insert(session(Protocol::TCP, 1, 1), Held::NOTHING, Tick::ZERO).expect("room");
        for &(direction, flags) in segments {
            table.touch(SessionRef { index, direction }, Tick::ZERO, 60, Some(flags));
        }
        let again = SessionRef { index, direction: Direction::Reverse };
        for (seconds, flags) in [(100, Flags::RST), (200, Flags::ACK)] {
            let now = Tick::ZERO + Duration::from_secs(seconds);
            if segments.is_empty() || flags == Flags::ACK {
                table.touch(again, now, 60, Some(flags));
            }
        }
        assert_eq!(expired(&mut table, Tick::from_millis(242_000)), [1], "{segments:?}");
    }
}

/// When a TCP session that begins at 0 ends, in seconds, after these segments at their seconds.
fn life_after(segments: &[(u64, Direction, Flags)], flags: u16) -> u64 {
    let timeouts = Timeouts { tcp_half_open: 30_000, ..Timeouts::default() };
    let mut table = SessionTable::new(1, KeyedHash::new(HASH), timeouts);
    let begun = Session { flags, ..session(Protocol::TCP, 1, 1) };
    let index = table.insert(begun, Held::NOTHING, Tick::ZERO).expect("room");
    let mut segments = segments.iter().peekable();
    for half_second in 0.. {
        let now = Tick::from_millis(half_second * 500);
        while let Some((_, direction, flags)) =
            segments.next_if(|(seconds, ..)| seconds * 2 == half_second)
        {
            let found = SessionRef { index, direction: *direction };
            table.touch(found, now, 60, Some(*flags));
        }
        if !expired(&mut table, now).is_empty() {
            return half_second / 2;
        }
    }
    unreachable!("it ends at some time")
}

const OPENED: [(u64, Direction, Flags); 2] =
    [(0, Direction::Reverse, Flags::SYN), (0, Direction::Forward, Flags::ACK)];

/// RFC 7857 §2.1: a timeout of its own, and a SYN retransmitted into nothing does not pin a mapping.
#[test]
fn a_syn_repeated_into_nothing_does_not_pin_a_mapping() {
    let again: Vec<_> = (1..29).map(|at| (at, Direction::Forward, Flags::SYN)).collect();
    assert!((30..=32).contains(&life_after(&again, 0)));
    let stranger: Vec<_> = (1..29).map(|at| (at, Direction::Reverse, Flags::ACK)).collect();
    assert!((30..=32).contains(&life_after(&stranger, 0)));
}

/// RFC 7857 §7.1: "outbound error packets" do not keep it, nor what the remote end sends after them.
#[test]
fn a_reset_repeated_for_ever_does_not_pin_a_mapping() {
    for way in [Direction::Forward, Direction::Reverse] {
        let mut segments = OPENED.to_vec();
        segments.extend((1..24).map(|at| (at * 10, way, Flags::RST)));
        assert!((250..=252).contains(&life_after(&segments, 0)), "240 s from the first at 10 s");
    }
    let mut segments = OPENED.to_vec();
    for at in 1..24 {
        segments.push((at * 10, Direction::Reverse, Flags::ACK));
        segments.push((at * 10, Direction::Forward, Flags::RST));
    }
    assert!((250..=252).contains(&life_after(&segments, 0)));
}

/// RFC 4787 REQ-6, refresh direction "outbound".
#[test]
fn packets_from_outside_do_not_keep_a_session_that_only_the_inside_refreshes() {
    let mut segments = OPENED.to_vec();
    segments.extend((1..74).map(|at| (at * 100, Direction::Reverse, Flags::ACK)));
    assert!((7_440..=7_442).contains(&life_after(&segments, OUTBOUND_REFRESH)));
    assert!((14_740..=14_742).contains(&life_after(&segments, 0)), "others they do");
    // A RST from outside, and what follows it from there, gives it 4 minutes, not 2 hours.
    let again = [(7_000, Direction::Reverse, Flags::RST), (7_100, Direction::Reverse, Flags::ACK)];
    segments.truncate(2);
    segments.extend(again);
    assert!((7_240..=7_242).contains(&life_after(&segments, OUTBOUND_REFRESH)));
    segments.push((7_200, Direction::Forward, Flags::ACK));
    assert!((14_640..=14_642).contains(&life_after(&segments, OUTBOUND_REFRESH)));
}

#[test]
fn the_tables_keep_within_the_memory_budget() {
    let table = table(1_000_000);
    assert!(
        table.allocated() / 1_000_000 <= 128,
        "{} bytes a session",
        table.allocated() / 1_000_000
    );
}

#[test]
fn pages_cover_every_session_once() {
    let mut table = table(100);
    for port in 0..50 {
        let _ = table
            .insert(session(Protocol::UDP, port, port), Held::NOTHING, Tick::ZERO)
            .expect("room");
    }
    let (mut at, mut seen) = (Some(0), 0);
    while let Some(start) = at {
        let (page, next) = table.page(start, 7);
        seen += page.count();
        at = next;
    }
    assert_eq!(seen, 50);
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u16, u16, bool),
    Touch(u16, bool),
    Remove(u16),
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0u16..12, 0u16..12, prop::bool::ANY).prop_map(|(a, b, tcp)| Step::Insert(a, b, tcp)),
        4 => (0u16..12, prop::bool::ANY).prop_map(|(a, way)| Step::Touch(a, way)),
        1 => (0u16..12).prop_map(Step::Remove),
        2 => (0u64..400_000).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 0..300)
}

proptest! {
    /// Inside port -> (outside port, last seen), kept by hand.
    #[test]
    fn agrees_with_a_slow_model(steps in steps()) {
        let mut table = table(8);
        let mut model: HashMap<(bool, u16), (u16, u64)> = HashMap::new();
        let mut now = 0;
        // What the index has ever said, and of which key.
        let mut remembered = HashMap::new();
        for step in steps {
            let tick = Tick::from_millis(now);
            match step {
                Step::Insert(port, outside, tcp) => {
                    let protocol = if tcp { Protocol::TCP } else { Protocol::UDP };
                    let taken = model.contains_key(&(tcp, port))
                        || model.iter().any(|(k, v)| k.0 == tcp && v.0 == outside);
                    let expected = if model.len() == 8 {
                        Err(InsertError::Full)
                    } else if taken {
                        Err(InsertError::KeyTaken)
                    } else {
                        model.insert((tcp, port), (outside, now));
                        Ok(())
                    };
                    let result = table.insert(session(protocol, port, outside), Held::NOTHING, tick).map(|_| ());
                    prop_assert_eq!(result, expected);
                }
                Step::Touch(port, reverse) => {
                    let Some(entry) = model.get_mut(&(false, port)) else { continue };
                    entry.1 = now;
                    let way = if reverse { Direction::Reverse } else { Direction::Forward };
                    let key = session(Protocol::UDP, port, entry.0).key(way);
                    let found = table.find_key(&key).expect("the model has it");
                    prop_assert_eq!(found.direction, way);
                    table.touch(found, tick, 100, None);
                }
                Step::Remove(port) => {
                    let Some((outside, _)) = model.remove(&(false, port)) else { continue };
                    let key = session(Protocol::UDP, port, outside).key(Direction::Forward);
                    let found = table.find_key(&key).expect("the model has it");
                    table.remove(found.index);
                }
                Step::Pass(millis) => now += millis,
            }
            let tick = Tick::from_millis(now);
            let mut budget = u32::MAX;
            while let Some((_, ended, _)) = table.expire(tick, &mut budget) {
                let tcp = ended.protocol == Protocol::TCP;
                let (_, seen) = model.remove(&(tcp, ended.inside_port)).expect("the model has it");
                let timeout = if tcp { 240_000 } else { 300_000 };
                prop_assert!(now - seen >= timeout);
            }
            for (&(tcp, port), &(outside, seen)) in &model {
                let limit = if tcp { 240_000 } else { 300_000 };
                prop_assert!(now - seen <= limit + 2_000, "a session outlived its timeout");
                let protocol = if tcp { Protocol::TCP } else { Protocol::UDP };
                for way in [Direction::Forward, Direction::Reverse] {
                    let key = session(protocol, port, outside).key(way);
                    prop_assert!(table.find_key(&key).is_some());
                    let likely = table.prefetch_session(table.hash(&key));
                    remembered.insert((likely.at(), likely.direction(), key), likely);
                    // Few sessions in few buckets: the first guess may be another one's.
                    if let Some(known) = table.known(likely, likely.direction(), &key) {
                        prop_assert_eq!((known.inside_port, known.protocol), (port, protocol));
                    }
                }
            }
            for ((.., key), likely) in &remembered {
                let found = table.find_key(key);
                if table.known(*likely, likely.direction(), key).is_some() {
                    let found = found.expect("what is known lives");
                    prop_assert_eq!((found.index.at(), found.direction), (likely.at(), likely.direction()));
                }
            }
            prop_assert_eq!(table.len(), model.len());
        }
    }
}

proptest! {
    /// What changes no state and always refreshes passes at once, and nothing else does; counted is everything.
    #[test]
    fn what_passes_only_goes_on(
        state in select(&ALL_STATES),
        direction in select(&[Direction::Forward, Direction::Reverse]),
        flags in of(any::<u8>().prop_map(Flags)),
        (bytes, packets, total) in (1..65_550u32, near_the_carry(), near_the_carry()),
        outbound in any::<bool>(),
    ) {
        let datagrams = [State::New, State::NewReverse, State::Established].contains(&state);
        prop_assume!(if flags.is_none() { datagrams } else { state == State::Established || !datagrams });
        let protocol = if flags.is_some() { Protocol::TCP } else { Protocol::UDP };
        let mut table = table(1);
        let index = table.insert(session(protocol, 1, 2), Held::NOTHING, Tick::ZERO).expect("room");
        let session = &mut table.hot[index.at()];
        session.state = state;
        session.flags = if outbound { OUTBOUND_REFRESH } else { 0 };
        (session.packets, session.bytes) = ([packets; 2], [total; 2]);
        let (mut once, now) = (session.clone(), Tick::from_millis(77));
        if once.pass(direction, now.stamp(), bytes, flags) {
            let after = match flags {
                Some(flags) => state.after_segment(direction, flags),
                None => state.after_datagram(direction),
            };
            prop_assert!(after == state && state.refreshes(state, direction, flags, outbound));
            prop_assert_eq!((once.state, once.last_seen), (state, now.stamp()));
        } else {
            prop_assert_eq!(format!("{once:?}"), format!("{session:?}"));
        }
        let mut counts = table.counts(index);
        counts[direction as usize].packets += 1;
        counts[direction as usize].bytes += u64::from(bytes);
        table.touch(SessionRef { index, direction }, now, bytes as usize, flags);
        prop_assert_eq!(table.counts(index), counts);
    }
}

#[test]
fn most_packets_pass_shortly() {
    for (protocol, state, flags) in [
        (Protocol::UDP, State::New, None),
        (Protocol::UDP, State::Established, None),
        (Protocol::TCP, State::Established, Some(Flags::ACK)),
    ] {
        let mut session = Session { state, ..session(protocol, 1, 2) };
        assert!(session.pass(Direction::Forward, Tick::ZERO.stamp(), 60, flags), "{state:?}");
        assert_eq!((session.packets, session.bytes), ([1, 0], [60, 0]));
    }
}

const ALL_STATES: [State; 12] = [
    State::New,
    State::NewReverse,
    State::HalfOpen,
    State::HalfOpenReverse,
    State::Established,
    State::FinForward,
    State::FinReverse,
    State::Closing,
    State::Transitory,
    State::Reset,
    State::Reopening,
    State::PickedUp,
];

fn near_the_carry() -> impl Strategy<Value = u32> {
    prop_oneof![any::<u32>(), (u32::MAX - 70_000)..=u32::MAX, Just(u32::MAX)]
}

/// What ends soonest of the sessions in which no conversation goes on.
#[test]
fn only_what_no_conversation_goes_on_in_is_expendable() {
    let mut table = table(4);
    let mut add = |protocol, port| {
        table.insert(session(protocol, port, port), Held::NOTHING, Tick::ZERO).expect("room")
    };
    let (open, half_open, unanswered) =
        (add(Protocol::TCP, 1), add(Protocol::TCP, 2), add(Protocol::UDP, 3));
    let reverse = SessionRef { index: open, direction: Direction::Reverse };
    table.touch(reverse, Tick::ZERO, 60, Some(Flags::SYN | Flags::ACK));
    assert_eq!(table.expendable(|_| true), Some(half_open), "240 s come before 300 s");
    assert_eq!(table.expendable(|index| index != half_open), Some(unanswered));
    table.remove(half_open);
    assert_eq!(table.expendable(|_| true), Some(unanswered));
    table.remove(unanswered);
    assert_eq!(table.expendable(|_| true), None, "an established one never");
}

#[test]
fn a_renewed_session_keeps_its_keys_and_what_it_holds() {
    let mut table = table(1);
    let held = Held { drains: true, began: Direction::Reverse, ..Held::NOTHING };
    let index =
        table.insert(session(Protocol::UDP, 1, 2), held, Tick::from_millis(1600)).expect("room");
    let key = table.session(index).key(Direction::Reverse);
    let hops = [NextHopIndex(7), NextHopIndex::HAIRPIN];
    table.renew(
        index,
        Renewed { rule: 9, flags: OUTBOUND_REFRESH, generation: 5, hops, ingress: [3, 4] },
        Tick::from_millis(1600),
    );
    assert_eq!(table.find_key(&key).map(|found| found.index), Some(index));
    let renewed = table.session(index);
    assert_eq!((renewed.rule, renewed.generation, renewed.ingress), (9, 5, [3, 4]));
    assert_eq!(renewed.flags, OUTBOUND_REFRESH);
    assert_eq!((renewed.forward_hop, renewed.reverse_hop), (hops[0], hops[1]));
    assert_eq!((table.held(index), table.created(index)), (held, Tick::from_millis(1600)));
}
