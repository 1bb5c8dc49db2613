//! `allow` and `deny`: who may begin something with an address of ours.

use std::net::Ipv4Addr;

use mooring_session::Direction::Reverse;
use mooring_session::FlowKey;
use mooring_wire::Protocol;
use mooring_wire::tcp::Flags;

use crate::fixture::{OUTSIDE, World, flow};
use crate::{HAIRPIN_INTERFACE, Refusal};

/// The pool is open but for 198.51.100.0/28; two rules have lists of their own.
fn config(pool: &str, web: &str) -> String {
    format!(
        r#"
        pool = [{{ name = "egress", addresses = ["203.0.113.10"], filtering = "endpoint-independent", {pool} }}]
        rule = [
            {{ name = "web", kind = "port-forward", address = "203.0.113.10", protocol = "udp", port = 80, target = "10.0.0.2:80", {web} }},
            {{ name = "one", kind = "static", inside = "10.0.0.9", outside = "203.0.113.20", allow = ["198.51.100.64/26"], deny = ["198.51.100.70"] }},
            {{ name = "egress", kind = "source-nat", from = "inside", to = "outside", pool = "egress" }},
        ]"#
    )
}

const POOL: &str = "deny = [\"198.51.100.0/28\"]";
const WEB: &str = "deny = [\"198.51.100.1\", \"203.0.113.10\"]";

fn udp(source: &str, destination: &str) -> FlowKey<Ipv4Addr> {
    flow(Protocol::UDP, source, destination)
}

/// What becomes of a datagram from outside, and that a refused one leaves nothing behind.
fn knock(world: &mut World, source: &str, destination: &str) -> Result<(), Refusal> {
    let before = world.holdings();
    let admitted = world.arrive(OUTSIDE, udp(source, destination), None).map(|_| ());
    assert!(admitted.is_ok() || world.holdings() == before);
    admitted
}

#[test]
fn a_list_of_a_pool_keeps_remotes_from_its_mappings() {
    let mut world = World::new(&config(POOL, ""));
    let session = world.session(udp("10.0.0.2:5000", "198.51.100.1:53"));
    let outside = format!("203.0.113.10:{}", session.outside_port);
    assert_eq!(knock(&mut world, "198.51.100.2:53", &outside), Err(Refusal::Denied));
    assert_eq!(knock(&mut world, "198.51.100.1:54", &outside), Err(Refusal::Denied));
    assert_eq!(knock(&mut world, "198.51.100.16:53", &outside), Ok(()));
    // Its own session goes on: a list says who may begin, and replies need nobody's leave.
    let reply = world.nat.sessions.find_key(&session.key(Reverse));
    assert!(reply.is_some());
    assert_eq!(knock(&mut world, "198.51.100.2:53", "203.0.113.10:9"), Err(Refusal::NoSession));
}

#[test]
fn a_list_of_a_rule_keeps_remotes_from_its_host() {
    let mut world = World::new(&config("", WEB));
    assert_eq!(knock(&mut world, "198.51.100.1:9", "203.0.113.10:80"), Err(Refusal::Denied));
    assert_eq!(knock(&mut world, "198.51.100.2:9", "203.0.113.10:80"), Ok(()));
    let to_one = |world: &mut World, source| knock(world, source, "203.0.113.20:53");
    assert_eq!(to_one(&mut world, "198.51.100.65:9"), Ok(()));
    assert_eq!(to_one(&mut world, "198.51.100.70:9"), Err(Refusal::Denied), "the longer prefix");
    assert_eq!(to_one(&mut world, "198.51.100.9:9"), Err(Refusal::Denied), "not allowed");
    let ping = flow(Protocol::ICMP, "198.51.100.9:7", "203.0.113.20:0");
    assert_eq!(world.arrive(OUTSIDE, ping, None), Err(Refusal::Denied));
    let syn = flow(Protocol::TCP, "198.51.100.9:7", "203.0.113.20:22");
    assert_eq!(world.arrive(OUTSIDE, syn, Some(Flags::SYN)), Err(Refusal::Denied));
    assert!(world.send(udp("10.0.0.9:5", "198.51.100.9:53")).is_ok(), "the host itself may");
}

/// The second half of a hairpin comes from the sender's outside address: that is what lists see.
#[test]
fn a_hairpin_is_seen_as_from_outside() {
    let mut world = World::new(&config("", WEB));
    let first = world.session(udp("10.0.0.3:5000", "203.0.113.10:80"));
    let middle = first.key(Reverse).exchanged();
    assert_eq!(middle.source, Ipv4Addr::new(203, 0, 113, 10));
    assert_eq!(world.arrive(HAIRPIN_INTERFACE, middle, None), Err(Refusal::Denied));
    let mut world = World::new(&config("", "deny = [\"10.0.0.3\"]"));
    let first = world.session(udp("10.0.0.3:5000", "203.0.113.10:80"));
    let middle = first.key(Reverse).exchanged();
    assert!(world.arrive(HAIRPIN_INTERFACE, middle, None).is_ok(), "the inside address is unseen");
}

#[test]
fn a_reload_ends_what_it_denies_and_leaves_what_its_hosts_began() {
    let mut world = World::new(&config("", ""));
    let own = world.session(udp("10.0.0.2:5000", "198.51.100.1:53"));
    let outside = format!("203.0.113.10:{}", own.outside_port);
    for source in ["198.51.100.2:53", "198.51.100.16:53"] {
        assert_eq!(knock(&mut world, source, &outside), Ok(()));
    }
    for source in ["198.51.100.1:9", "198.51.100.16:9"] {
        assert_eq!(knock(&mut world, source, "203.0.113.10:80"), Ok(()));
    }
    world.reload(&config(POOL, WEB));
    assert_eq!(world.sweep(), 2, "one by the list of the pool, one by that of the rule");
    let left = |key: FlowKey<Ipv4Addr>| world.nat.sessions.find_key(&key).is_some();
    assert!(left(own.key(Reverse)));
    assert!(left(udp("198.51.100.16:53", &outside)) && !left(udp("198.51.100.2:53", &outside)));
    assert!(left(udp("198.51.100.16:9", "203.0.113.10:80")));
    assert!(!left(udp("198.51.100.1:9", "203.0.113.10:80")));
}
