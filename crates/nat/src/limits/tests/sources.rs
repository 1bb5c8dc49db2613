//! Sources: hosts or prefixes, and the table of them.

use std::net::Ipv4Addr;

use mooring_session::FlowKey;
use mooring_wire::Protocol;

use crate::fixture::{OUTSIDE, World, flow};
use crate::{EventKind, Refusal};

const RULES: &str = r#"
    pool = [{ name = "egress", addresses = ["203.0.113.10"] }]
    rule = [
        { name = "web", kind = "port-forward", address = "203.0.113.10", protocol = "udp", port = 8080, target = "10.0.0.2:80" },
        { name = "egress", kind = "source-nat", from = "inside", to = "outside", pool = "egress" },
    ]
"#;

fn world(limits: &str) -> World {
    World::new(&format!("limits = {{ {limits} }}\n{RULES}"))
}

fn udp(source: &str) -> FlowKey<Ipv4Addr> {
    flow(Protocol::UDP, source, "198.51.100.1:53")
}

/// RFC 6888 REQ-4 and REQ-5 speak of subscribers, who may have more than one address.
#[test]
fn hosts_of_one_prefix_share_its_limit() {
    let mut world = world("sessions_per_source = 2, source_prefix_v4 = 24");
    assert!(world.send(udp("10.1.7.1:1")).is_ok());
    assert!(world.send(udp("10.1.7.200:1")).is_ok());
    assert_eq!(world.holdings().sources, 1);
    assert_eq!(world.send(udp("10.1.7.3:1")), Err(Refusal::SourceLimit));
    let event = world.nat.events.read().expect("the limit is told");
    assert_eq!((event.kind, event.inside), (EventKind::SourceLimit, Some([10, 1, 7, 0].into())));
    assert!(world.send(udp("10.1.8.3:1")).is_ok(), "another prefix has its own");
    world.pass(302_000);
    assert_eq!(world.holdings().sources, 0);
    assert!(world.send(udp("10.1.7.3:1")).is_ok());
}

/// The table of sources is bounded; a full one refuses the newcomer and leaves the others alone.
#[test]
fn a_full_table_of_sources_refuses_a_new_one() {
    let mut world = world("sources = 2");
    assert!(world.send(udp("10.0.0.2:1")).is_ok());
    assert!(world.send(udp("10.0.0.3:1")).is_ok());
    let before = world.holdings();
    assert_eq!(world.send(udp("10.0.0.4:1")), Err(Refusal::TableFull));
    assert_eq!(world.holdings(), before);
    let event = world.nat.events.read().expect("a full table is told");
    assert_eq!((event.kind, event.inside), (EventKind::TableFull, Some([10, 0, 0, 4].into())));
    assert!(world.send(udp("10.0.0.2:2")).is_ok(), "a known one goes on");
    world.pass(302_000);
    assert!(world.send(udp("10.0.0.4:1")).is_ok());
}

/// What others begin with a host keeps it in the table, but is not its own.
#[test]
fn a_source_is_there_as_long_as_anybody_has_a_session_with_it() {
    let mut world = world("sessions_per_source = 1");
    let inbound = flow(Protocol::UDP, "198.51.100.1:9", "203.0.113.10:8080");
    assert!(world.arrive(OUTSIDE, inbound, None).is_ok());
    assert!(world.send(udp("10.0.0.2:1")).is_ok());
    assert_eq!(world.send(udp("10.0.0.2:2")), Err(Refusal::SourceLimit));
    assert_eq!(world.holdings().sources, 1);
    world.pass(302_000);
    assert_eq!(world.holdings().sources, 0);
}
