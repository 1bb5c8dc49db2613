//! The part of the tables that is kept for what hosts inside begin.

use mooring_session::SessionRef;
use mooring_wire::Protocol;

use crate::fixture::{OUTSIDE, World, flow};
use crate::{EventKind, HAIRPIN_INTERFACE, Refusal};

/// A world with these limits, where everybody may send to 10.0.0.2:53 and to each of 10.1.0.0/24.
fn world(limits: &str) -> World {
    World::new(&format!(
        r#"
        limits = {{ {limits} }}
        pool = [{{ name = "egress", addresses = ["203.0.113.10"] }}]
        rule = [
            {{ name = "dns", kind = "port-forward", address = "203.0.113.10", protocol = "udp", port = 53, target = "10.0.0.2:53" }},
            {{ name = "many", kind = "static", inside = "10.1.0.0/24", outside = "203.0.114.0/24", from = "inside", to = "outside" }},
            {{ name = "egress", kind = "source-nat", from = "inside", to = "outside", pool = "egress" }},
        ]"#
    ))
}

/// Somebody outside sends a datagram.
fn knock(world: &mut World, port: u16, to: &str) -> Result<SessionRef, Refusal> {
    world.arrive(OUTSIDE, flow(Protocol::UDP, &format!("198.51.100.7:{port}"), to), None)
}

/// How many of these datagrams from outside are let in.
fn flood(world: &mut World, ports: std::ops::Range<u16>) -> usize {
    ports.filter(|port| knock(world, *port, "203.0.113.10:53").is_ok()).count()
}

/// A host inside begins as many as it can.
fn begun(world: &mut World, host: u8) -> usize {
    let mut send = |port| {
        let key = flow(Protocol::UDP, &format!("10.0.0.{host}:{port}"), "198.51.100.1:53");
        world.send(key).is_ok()
    };
    (1..=100).filter(|port| send(*port)).count()
}

/// A part of the neighbours is closed to what others begin, and to nothing else.
#[test]
fn neighbours_that_are_kept_are_for_what_begins_inside() {
    let mut world = world("sessions = 64");
    world.hops.closed_to_others = true;
    for to in ["203.0.113.10:53", "203.0.114.7:1"] {
        assert_eq!(knock(&mut world, 1, to), Err(Refusal::NeighborTableFull), "{to}");
    }
    assert_eq!(world.holdings().hop_users, 0);
    assert_eq!(begun(&mut world, 9), 64);
    let mut world = self::world("sessions = 64");
    world.hops.closed_to_others = true;
    let first = world.send(flow(Protocol::UDP, "10.0.0.9:1", "203.0.113.10:53")).expect("room");
    let way = mooring_session::Direction::Reverse;
    let key = world.nat.sessions.session(first.index).key(way).exchanged();
    assert!(world.arrive(HAIRPIN_INTERFACE, key, None).is_ok(), "a hairpin begins inside");
}

/// RFC 6888 REQ-4 C: one cannot take from all others what they need, and a forged sender is not even one.
#[test]
fn a_flood_from_outside_leaves_a_quarter_of_the_sessions_to_the_hosts() {
    let mut world = world("sessions = 64");
    assert_eq!(flood(&mut world, 1..200), 48);
    let before = world.holdings();
    assert_eq!(knock(&mut world, 200, "203.0.113.10:53"), Err(Refusal::TableFull));
    assert_eq!(world.holdings(), before);
    let event = world.nat.events.read().expect("a full table is told");
    assert_eq!((event.kind, event.inside), (EventKind::TableFull, Some([10, 0, 0, 2].into())));
    assert_eq!([begun(&mut world, 9), begun(&mut world, 8)], [16, 0], "then it is full for all");
}

/// What is kept is kept in any case; it is no share that others have.
#[test]
fn where_hosts_inside_use_three_quarters_others_begin_nothing() {
    let mut world = world("sessions = 64, sessions_per_source = 47");
    assert_eq!(begun(&mut world, 9), 47);
    assert_eq!(flood(&mut world, 1..10), 1);
    assert_eq!(begun(&mut world, 8), 16);
}

/// A session in a full table makes room for another one of the flood, not for one more of it.
#[test]
fn a_flood_that_evicts_keeps_to_its_part() {
    let mut world = world("sessions = 64, on_full = \"evict-transitory\"");
    assert_eq!(flood(&mut world, 1..200), 199);
    assert_eq!((world.nat.sessions.len(), world.nat.evicted), (48, 151));
    assert_eq!(begun(&mut world, 9), 100);
    assert_eq!(world.nat.sessions.len(), 64);
}

/// A scan of the addresses of a `static` rule makes each of its hosts a source.
#[test]
fn a_scan_from_outside_leaves_a_quarter_of_the_sources_to_the_hosts() {
    let mut world = world("sources = 8");
    let scan = |world: &mut World, host| knock(world, 1, &format!("203.0.114.{host}:80"));
    let let_in = (1..=100).filter(|host| scan(&mut world, *host).is_ok()).count();
    assert_eq!(let_in, 6);
    let before = world.holdings();
    assert_eq!(scan(&mut world, 101), Err(Refusal::TableFull));
    assert_eq!(world.holdings(), before);
    assert!(knock(&mut world, 2, "203.0.114.1:80").is_ok(), "to one that is there already");
    assert!(begun(&mut world, 9) > 0 && begun(&mut world, 8) > 0);
    assert_eq!(begun(&mut world, 7), 0, "then it is full for all");
}

/// A host inside that wants another one's outside end begins both halves.
#[test]
fn both_halves_of_a_hairpin_are_begun_inside() {
    let mut world = world("sessions = 8");
    assert_eq!(flood(&mut world, 1..200), 6);
    let to = "203.0.113.10:53";
    let first = world.session(flow(Protocol::UDP, "10.0.0.9:1", to));
    let from = format!("203.0.113.10:{}", first.outside_port);
    let second = world.arrive(HAIRPIN_INTERFACE, flow(Protocol::UDP, &from, to), None);
    assert!(second.is_ok(), "{second:?}");
}
