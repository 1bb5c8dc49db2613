//! `on_full = "evict-transitory"`: who loses a session to whom.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use mooring_session::{Direction, FlowKey, SessionRef};
use mooring_wire::Protocol;
use mooring_wire::tcp::Flags;
use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

use crate::fixture::{OUTSIDE, World, flow};
use crate::{HAIRPIN_INTERFACE, Refusal};

/// A world with room for so many sessions.
fn world(sessions: u32) -> World {
    World::new(&format!(
        r#"
        limits = {{ sessions = {sessions}, on_full = "evict-transitory" }}
        pool = [{{ name = "egress", addresses = ["203.0.113.10"] }}]
        rule = [
            {{ name = "web", kind = "port-forward", address = "203.0.113.10", port = 8080, target = "10.0.0.9:80" }},
            {{ name = "egress", kind = "source-nat", from = "inside", to = "outside", pool = "egress" }},
        ]"#
    ))
}

fn tcp(source: &str, destination: &str) -> FlowKey<Ipv4Addr> {
    flow(Protocol::TCP, source, destination)
}

/// A connection of host 10.0.0.`host` begins.
fn begin(world: &mut World, host: u8, port: u16) -> Result<SessionRef, Refusal> {
    world.send(tcp(&format!("10.0.0.{host}:{port}"), "198.51.100.1:80"))
}

/// A connection to the forwarded port begins: both halves of a hairpin, the key of the second one.
fn hairpin(world: &mut World) -> (FlowKey<Ipv4Addr>, SessionRef) {
    let first = world.send(tcp("10.0.0.2:1", "203.0.113.10:8080")).expect("a hairpin");
    let middle = world.nat.sessions.session(first.index).key(Direction::Reverse).exchanged();
    let second = world.arrive(HAIRPIN_INTERFACE, middle, Some(Flags::SYN));
    (middle, second.expect("its other half"))
}

fn answer(world: &mut World, found: SessionRef) {
    for direction in [Direction::Reverse, Direction::Forward] {
        let flags = Some(Flags::SYN | Flags::ACK);
        world.nat.sessions.touch(SessionRef { direction, ..found }, world.now, 60, flags);
    }
}

/// Sessions that each host has begun, or others with it.
fn sessions(world: &World, way: Direction) -> HashMap<u8, u32> {
    let (live, _) = world.nat.sessions.page(0, u32::MAX);
    let mut sessions = HashMap::new();
    for index in live.filter(|index| world.nat.sessions.held(*index).began == way) {
        *sessions.entry(world.nat.sessions.session(index).inside.octets()[3]).or_default() += 1;
    }
    sessions
}

#[test]
fn a_greedy_source_takes_its_own_sessions_room_not_that_of_others() {
    let mut world = world(8);
    for host in [2, 3] {
        assert!(begin(&mut world, host, 1).is_ok());
    }
    for port in 1..=100 {
        assert!(begin(&mut world, 4, port).is_ok());
    }
    let expected = HashMap::from([(2, 1), (3, 1), (4, 6)]);
    assert_eq!(sessions(&world, Direction::Forward), expected);
    assert_eq!(world.nat.evicted, 94);
}

#[test]
fn a_newcomer_takes_the_room_of_who_has_most() {
    let mut world = world(4);
    for port in 1..=4 {
        assert!(begin(&mut world, 4, port).is_ok());
    }
    for host in [2, 3] {
        assert!(begin(&mut world, host, 1).is_ok());
    }
    let expected = HashMap::from([(2, 1), (3, 1), (4, 2)]);
    assert_eq!(sessions(&world, Direction::Forward), expected);
}

#[test]
fn who_has_more_than_all_whose_sessions_may_end_is_refused() {
    let mut world = world(3);
    for port in [1, 2] {
        let open = begin(&mut world, 4, port).expect("room");
        answer(&mut world, open);
    }
    assert!(begin(&mut world, 2, 1).is_ok());
    assert_eq!(begin(&mut world, 4, 3), Err(Refusal::TableFull), "that would be host 2's room");
    assert!(begin(&mut world, 2, 2).is_ok(), "its own");
    assert_eq!(sessions(&world, Direction::Forward), HashMap::from([(4, 2), (2, 1)]));
}

/// What floods a forwarded port ends itself, neither what the host begins nor what others do; of the six
/// places one is kept for hosts inside.
#[test]
fn a_flood_from_outside_takes_its_own_room() {
    let mut world = world(6);
    for host in [2, 9] {
        assert!(begin(&mut world, host, 1).is_ok());
    }
    for port in 1..100 {
        let flood = tcp(&format!("198.51.100.7:{port}"), "203.0.113.10:8080");
        assert!(world.arrive(OUTSIDE, flood, Some(Flags::SYN)).is_ok());
    }
    assert_eq!(sessions(&world, Direction::Forward), HashMap::from([(2, 1), (9, 1)]));
    assert_eq!(sessions(&world, Direction::Reverse), HashMap::from([(9, 3)]));
}

/// Both halves of a hairpin end, or none.
#[test]
fn eviction_never_takes_half_of_a_hairpin() {
    let mut open = world(3);
    let (middle, second) = hairpin(&mut open);
    assert!(begin(&mut open, 3, 1).is_ok());
    answer(&mut open, second);
    assert!(begin(&mut open, 3, 2).is_ok(), "the first half would be nearer to its end");
    assert_eq!((open.nat.sessions.len(), open.nat.evicted), (3, 1));
    assert!(open.nat.sessions.find_key(&middle).is_some());

    let mut waiting = world(2);
    hairpin(&mut waiting);
    assert!(begin(&mut waiting, 3, 1).is_ok(), "both halves end for it");
    assert_eq!((waiting.nat.sessions.len(), waiting.nat.evicted), (1, 2));
}

proptest! {
    /// Whoever loses a session had at least as many as who takes its room.
    #[test]
    fn nobody_loses_a_session_to_one_who_has_more(
        steps in prop::collection::vec((2u8..7, 1u16.., any::<bool>()), 1..120),
    ) {
        let mut world = world(12);
        for (host, port, answered) in steps {
            let before = sessions(&world, Direction::Forward);
            let admitted = begin(&mut world, host, port);
            let after = sessions(&world, Direction::Forward);
            let has = |of: &HashMap<u8, u32>, host| of.get(&host).copied().unwrap_or(0);
            for other in (2..7).filter(|other| *other != host) {
                let lost = has(&before, other) - has(&after, other);
                prop_assert!(lost == 0 || has(&before, other) > has(&before, host));
            }
            match admitted {
                Ok(found) if answered => answer(&mut world, found),
                Ok(_) => {}
                Err(_) => prop_assert_eq!(before, after, "who is refused takes nothing"),
            }
        }
    }
}
