//! Limits of connections that are no longer open: who ends, and who never does.

use mooring_session::Direction::{Forward, Reverse};
use mooring_session::{SessionRef, State};
use mooring_wire::Protocol;
use mooring_wire::tcp::Flags;

use crate::EventKind;
use crate::fixture::{OUTSIDE, World, flow};

/// A world with these keys in `[limits]` and in the pool.
fn world(limits: &str, pool: &str) -> World {
    World::new(&config(limits, pool))
}

fn config(limits: &str, pool: &str) -> String {
    format!(
        r#"
        limits = {{ sessions = 64, {limits} }}
        pool = [
            {{ name = "egress", addresses = ["203.0.113.10"], {pool} }},
            {{ name = "other", addresses = ["203.0.113.11"] }},
        ]
        rule = [
            {{ name = "web", kind = "port-forward", address = "203.0.113.10", port = 80, target = "10.0.0.2:80" }},
            {{ name = "other", kind = "source-nat", from = "inside", to = "outside", destination = ["198.51.100.9/32"], pool = "other" }},
            {{ name = "egress", kind = "source-nat", from = "inside", to = "outside", pool = "egress" }},
        ]"#
    )
}

/// A connection of this host that is open.
fn open(world: &mut World, source: &str, remote: &str) -> SessionRef {
    let found = world.send(flow(Protocol::TCP, source, remote)).expect("room");
    world.segment(found.index, Reverse, Flags::SYN | Flags::ACK);
    found
}

/// One that has been reset by its host.
fn reset(world: &mut World, source: &str) -> SessionRef {
    let found = open(world, source, "198.51.100.1:80");
    world.segment(found.index, Forward, Flags::RST);
    found
}

/// Who of these still lives, by the flows that they began with.
fn live(world: &World, sources: &[&str]) -> Vec<bool> {
    let key = |source: &&str| flow(Protocol::TCP, source, "198.51.100.1:80");
    sources.iter().map(|source| world.nat.sessions.find_key(&key(source)).is_some()).collect()
}

const FOUR: [&str; 4] = ["10.0.0.2:1", "10.0.0.2:2", "10.0.0.2:3", "10.0.0.2:4"];

#[test]
fn the_oldest_connection_that_closes_ends_for_the_next_of_its_source() {
    let mut world = world("transitory_per_source = 2", "");
    for source in FOUR {
        open(&mut world, source, "198.51.100.1:80");
    }
    // In another order than that of their beginning, and by RST, FIN both ways, and RST from outside.
    let at = |world: &World, nth: usize| {
        let key = flow(Protocol::TCP, FOUR[nth], "198.51.100.1:80");
        world.nat.sessions.find_key(&key).expect("it lives").index
    };
    let third = at(&world, 2);
    world.segment(third, Forward, Flags::FIN);
    world.segment(third, Reverse, Flags::FIN);
    let first = at(&world, 0);
    world.segment(first, Reverse, Flags::RST);
    assert_eq!(live(&world, &FOUR), [true; 4]);
    assert!(world.nat.events.read().is_none(), "two are no more than two");
    let fourth = at(&world, 3);
    world.segment(fourth, Forward, Flags::RST);
    assert_eq!(live(&world, &FOUR), [true, true, false, true]);
    let event = world.nat.events.read().expect("it is told");
    let inside = Some("10.0.0.2".parse().expect("an address"));
    assert_eq!(
        (event.kind, event.inside, event.pool),
        (EventKind::TransitoryLimit, inside, Some(0))
    );
    // One that goes on is no longer among them: the next one finds room.
    world.segment(first, Forward, Flags::ACK);
    let second = at(&world, 1);
    world.segment(second, Forward, Flags::RST);
    assert_eq!(live(&world, &FOUR), [true, true, false, true]);
    // What leaves them and comes back has its place at the end.
    world.segment(first, Forward, Flags::RST);
    assert_eq!(live(&world, &FOUR), [true, true, false, false]);
    assert_eq!(world.nat.leased_ports(), 2, "what they held is given back");
}

#[test]
fn another_source_is_left_alone_and_so_is_what_others_began() {
    let mut world = world("transitory_per_source = 1", "");
    let theirs = flow(Protocol::TCP, "198.51.100.7:1", "203.0.113.10:80");
    let theirs = world.arrive(OUTSIDE, theirs, Some(Flags::SYN)).expect("a forwarded port");
    world.segment(theirs.index, Forward, Flags::SYN | Flags::ACK);
    world.segment(theirs.index, Reverse, Flags::RST);
    reset(&mut world, "10.0.0.3:1");
    let first = reset(&mut world, "10.0.0.2:1");
    assert_eq!(world.nat.sessions.len(), 3, "each has one");
    reset(&mut world, "10.0.0.2:2");
    assert_eq!(world.nat.sessions.len(), 3);
    assert_eq!(live(&world, &["10.0.0.2:1", "10.0.0.2:2", "10.0.0.3:1"]), [false, true, true]);
    assert!(first.direction == Forward && world.nat.sessions.session(theirs.index).state.is_over());
}

#[test]
fn all_hosts_of_a_pool_have_so_many_connections_that_close() {
    let mut world = world("", "limits = { transitory = 2 }");
    // Of another pool, and older: it counts elsewhere.
    let other = open(&mut world, "10.0.0.2:9", "198.51.100.9:80");
    world.segment(other.index, Forward, Flags::RST);
    for source in ["10.0.0.2:1", "10.0.0.2:2", "10.0.0.2:3"] {
        reset(&mut world, source);
    }
    assert_eq!(live(&world, &FOUR), [false, true, true, false]);
    assert!(world.nat.sessions.session(other.index).state.is_over(), "of no full pool");
    // The pool is full by somebody else: who has no other one keeps the one that it has.
    let theirs = reset(&mut world, "10.0.0.3:1");
    assert_eq!(world.nat.sessions.session(theirs.index).state, State::Reset);
    assert_eq!(live(&world, &["10.0.0.2:2", "10.0.0.2:3", "10.0.0.3:1"]), [true; 3]);
    reset(&mut world, "10.0.0.3:2");
    assert_eq!(live(&world, &["10.0.0.3:1", "10.0.0.3:2"]), [false, true]);
}

#[test]
fn of_a_hairpin_both_halves_end_for_the_next_that_closes() {
    let mut world = world("transitory_per_source = 1", "filtering = \"endpoint-independent\"");
    let hairpin = |world: &mut World, source: &str| {
        let first = world.send(flow(Protocol::TCP, source, "203.0.113.10:80")).expect("room");
        let key = world.nat.sessions.session(first.index).key(Reverse).exchanged();
        let second = world.arrive(crate::HAIRPIN_INTERFACE, key, Some(Flags::SYN)).expect("room");
        for (half, way) in [(first, Forward), (second, Reverse)] {
            let back = if way == Forward { Reverse } else { Forward };
            world.segment(half.index, back, Flags::SYN | Flags::ACK);
            world.segment(half.index, way, Flags::RST);
        }
    };
    hairpin(&mut world, "10.0.0.4:1");
    assert_eq!(world.nat.sessions.len(), 2, "the second half is nobody's oldest but its own");
    reset(&mut world, "10.0.0.4:2");
    assert_eq!(world.nat.sessions.len(), 1, "neither half is left");
    assert_eq!(live(&world, &["10.0.0.4:2"]), [true]);
}

#[test]
fn a_lower_limit_of_a_reload_ends_nothing_that_lives() {
    let mut world = world("", "");
    for source in FOUR {
        reset(&mut world, source);
    }
    world.reload(&config("transitory_per_source = 1", ""));
    world.sweep();
    assert_eq!(live(&world, &FOUR), [true; 4]);
    // From then on one goes for each that comes: there are no more than before.
    for (nth, source) in ["10.0.0.2:5", "10.0.0.2:6"].into_iter().enumerate() {
        reset(&mut world, source);
        assert_eq!(world.nat.sessions.len(), 4, "{nth}");
    }
    assert_eq!(live(&world, &FOUR), [false, false, true, true]);
    world.pass(242_000);
    assert_eq!(world.nat.sessions.len(), 0);
    reset(&mut world, "10.0.0.2:7");
    assert_eq!(world.nat.sessions.len(), 1, "those that ended by themselves are no longer counted");
}
