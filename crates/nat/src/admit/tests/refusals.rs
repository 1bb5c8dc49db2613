//! Every refusal, by a configuration that somebody could write, and that it leaves nothing behind.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use mooring_policy::{Generation, InterfaceId, load};
use mooring_session::{Direction, FlowKey, KeyedHash, Tick};
use mooring_wire::Protocol;
use mooring_wire::tcp::Flags;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::fixture::{CountedHops, INSIDE, OUTSIDE, World, flow};
use crate::{Admission, Arrival, EventKind, Nat, Owners, Refusal, Share};

/// Three ports, four sessions, of which a source may have two.
const SMALL: &str = r#"
    limits = { sessions = 4, sessions_per_source = 2 }

    [[pool]]
    name = "egress"
    addresses = ["203.0.113.10"]
    ports = "4000-4002"

    [[rule]]
    name = "no-mail"
    kind = "drop"
    destination_ports = "25"

    [[rule]]
    name = "egress"
    kind = "source-nat"
    from = "inside"
    destination = ["198.51.100.0/25", "10.0.0.0/24"]
    pool = "egress"
"#;

const REMOTE: &str = "198.51.100.1:53";

/// Asserts that the packet is refused like this and that nothing changes.
fn refuses(
    world: &mut World,
    ingress: InterfaceId,
    key: FlowKey<Ipv4Addr>,
    flags: Option<Flags>,
    expected: Refusal,
) {
    let before = world.holdings();
    assert_eq!(world.arrive(ingress, key, flags), Err(expected), "{key:?}");
    assert_eq!(world.holdings(), before, "{expected:?} left something behind");
    assert_eq!(world.nat.sessions.find_key(&key), None);
}

fn udp(source: &str, destination: &str) -> FlowKey<Ipv4Addr> {
    flow(Protocol::UDP, source, destination)
}

/// A world with a session of 10.0.0.2:5000, and the key of its replies.
fn with_a_session() -> (World, FlowKey<Ipv4Addr>) {
    let mut world = World::new(SMALL);
    let session = world.session(udp("10.0.0.2:5000", REMOTE));
    (world, session.key(Direction::Reverse))
}

#[test]
fn nobody_asked() {
    let (mut world, reply) = with_a_session();
    let not_mapped = FlowKey { destination_port: 9, ..reply };
    refuses(&mut world, OUTSIDE, not_mapped, None, Refusal::NoSession);
    let other_protocol = FlowKey { protocol: Protocol::TCP, ..reply };
    refuses(&mut world, OUTSIDE, other_protocol, Some(Flags::SYN), Refusal::NoSession);
    let to_the_interface = udp("198.51.100.1:53", "192.0.2.1:4000");
    refuses(&mut world, OUTSIDE, to_the_interface, None, Refusal::NoSession);
}

/// Only who might pass hears that the time ended here (RFC 1812 §5.3.1); all else stays as silent as
/// with time left.
#[test]
fn time_that_ends_here_comes_after_what_refuses_in_silence() {
    let mut world = World::new(SMALL);
    world.ttl = 1;
    refuses(&mut world, INSIDE, udp("10.0.0.2:5000", REMOTE), None, Refusal::TtlExpired);
    refuses(&mut world, INSIDE, udp("10.0.0.2:5000", "198.51.100.1:25"), None, Refusal::RuleDrop);
    refuses(&mut world, OUTSIDE, udp(REMOTE, "203.0.113.10:4000"), None, Refusal::NoSession);
}

/// Filtering is address and port dependent (RFC 4787 §5).
#[test]
fn mapped_but_not_for_this_remote() {
    let (mut world, reply) = with_a_session();
    let other_port = FlowKey { source_port: 54, ..reply };
    refuses(&mut world, OUTSIDE, other_port, None, Refusal::Filtered);
    let other_host = FlowKey { source: Ipv4Addr::new(198, 51, 100, 2), ..reply };
    refuses(&mut world, OUTSIDE, other_host, None, Refusal::Filtered);
    let from_inside = FlowKey { source: Ipv4Addr::new(10, 0, 0, 3), ..reply };
    // A hairpin, if a rule said so.
    refuses(&mut world, INSIDE, from_inside, None, Refusal::NoRule);
    assert!(world.arrive(OUTSIDE, reply, None).is_ok());
}

/// A connection begins with a SYN (RFC 9293 §3.5); a segment of one that nobody knows is none.
#[test]
fn tcp_without_syn_alone() {
    let mut world = World::new(SMALL);
    let key = flow(Protocol::TCP, "10.0.0.2:5000", "198.51.100.1:443");
    let (syn, ack, rst, fin) = (Flags::SYN, Flags::ACK, Flags::RST, Flags::FIN);
    for flags in
        [Flags::default(), ack, rst, fin, Flags::PSH | ack, syn | ack, syn | rst, syn | fin]
    {
        refuses(&mut world, INSIDE, key, Some(flags), Refusal::NoSession);
    }
    // RFC 3168 §6.1.1: a SYN that asks for ECN.
    assert!(world.arrive(INSIDE, key, Some(syn | Flags::ECE | Flags::CWR)).is_ok());
}

/// RFC 5508 §3.1 makes mappings for queries; a reply that nobody asked for begins nothing.
#[test]
fn an_icmp_reply_begins_nothing() {
    let mut world = World::new(SMALL);
    let reply = flow(Protocol::ICMP, "10.0.0.2:0", "198.51.100.1:77");
    refuses(&mut world, INSIDE, reply, None, Refusal::NoSession);
    assert!(world.send(flow(Protocol::ICMP, "10.0.0.2:77", "198.51.100.1:0")).is_ok());
}

#[test]
fn no_route_there_or_back() {
    let mut world = World::new(SMALL);
    refuses(&mut world, INSIDE, udp("10.0.0.2:5000", "8.8.8.8:53"), None, Refusal::NoRoute);
    refuses(&mut world, INSIDE, udp("10.9.0.2:5000", REMOTE), None, Refusal::NoRoute);
}

/// RFC 2827, and the strict reverse path of RFC 3704 §2.2.
#[test]
fn a_source_that_is_elsewhere_or_ours() {
    let mut world = World::new(SMALL);
    for source in ["192.0.2.50:5000", "198.51.100.9:5000", "10.0.0.1:5000", "192.0.2.1:5000"] {
        refuses(&mut world, INSIDE, udp(source, REMOTE), None, Refusal::SpoofedSource);
    }
}

#[test]
fn no_rule_or_one_that_drops() {
    let mut world = World::new(SMALL);
    let elsewhere = udp("10.0.0.2:5000", "198.51.100.200:53");
    refuses(&mut world, INSIDE, elsewhere, None, Refusal::NoRule);
    let from_outside = udp("198.51.100.1:53", "10.0.0.2:5000");
    refuses(&mut world, OUTSIDE, from_outside, None, Refusal::NoRule);
    let mail = flow(Protocol::TCP, "10.0.0.2:5000", "198.51.100.1:25");
    refuses(&mut world, INSIDE, mail, Some(Flags::SYN), Refusal::RuleDrop);
    refuses(&mut world, INSIDE, mail, Some(Flags::ACK), Refusal::RuleDrop);
}

/// What a rule drops is silent even when there would be no room: a host is told of a full table.
#[test]
fn a_rule_drops_before_limits_count() {
    let mut world = World::new(SMALL);
    for port in [1, 2] {
        let _ = world.session(udp(&format!("10.0.0.2:{port}"), REMOTE));
    }
    refuses(&mut world, INSIDE, udp("10.0.0.2:3", "198.51.100.1:25"), None, Refusal::RuleDrop);
}

#[test]
fn a_protocol_without_ports() {
    let mut world = World::new(SMALL);
    for protocol in [Protocol::GRE, Protocol::ESP, Protocol::SCTP] {
        let key = flow(protocol, "10.0.0.2:0", "198.51.100.1:0");
        refuses(&mut world, INSIDE, key, None, Refusal::UnsupportedProtocol);
    }
}

#[test]
fn a_pool_without_a_free_port() {
    let mut world = World::new(SMALL);
    for host in 2..5 {
        let _ = world.session(udp(&format!("10.0.0.{host}:5000"), REMOTE));
    }
    refuses(&mut world, INSIDE, udp("10.0.0.9:5000", REMOTE), None, Refusal::PortsExhausted);
    // Ports of another protocol, and sessions of a mapping that exists, are not affected.
    assert!(world.send(udp("10.0.0.4:5000", "198.51.100.2:53")).is_ok());
    assert_eq!(world.nat.leased_ports(), 3);
}

#[test]
fn ports_of_other_protocols_stay_free() {
    let mut world = World::new(&SMALL.replace("4000-4002", "4000"));
    let udp = world.session(udp("10.0.0.2:5000", REMOTE));
    let tcp = world.session(flow(Protocol::TCP, "10.0.0.3:5000", "198.51.100.1:443"));
    assert_eq!((udp.outside_port, tcp.outside_port), (4000, 4000));
    assert!(world.send(flow(Protocol::ICMP, "10.0.0.4:5000", "198.51.100.1:0")).is_ok());
}

/// RFC 6888 REQ-11 D: "it MUST NOT delete existing mappings in order to 'make room' for the new
/// one".
#[test]
fn a_full_table() {
    let mut world = World::new(SMALL);
    let flows = [("10.0.0.2:1", 1), ("10.0.0.2:1", 2), ("10.0.0.3:1", 1), ("10.0.0.3:1", 2)]
        .map(|(source, remote)| udp(source, &format!("198.51.100.{remote}:53")));
    for key in flows {
        let _ = world.session(key);
    }
    refuses(&mut world, INSIDE, udp("10.0.0.4:1", REMOTE), None, Refusal::TableFull);
    for key in flows {
        assert!(world.send(key).is_ok(), "a session was deleted to make room");
    }
    assert_eq!(world.pass(302_000).len(), 4);
    assert!(world.send(udp("10.0.0.4:1", REMOTE)).is_ok());
}

/// RFC 6888 REQ-4: "A CGN MUST support limiting the number of external ports (or, equivalently,
/// 'identifiers' for ICMP) that are assigned per subscriber".
#[test]
fn a_source_with_as_many_sessions_as_it_may_have() {
    let mut world = World::new(SMALL);
    for remote in ["198.51.100.1:53", "198.51.100.2:53"] {
        let _ = world.session(udp("10.0.0.2:1", remote));
    }
    refuses(&mut world, INSIDE, udp("10.0.0.2:1", "198.51.100.3:53"), None, Refusal::SourceLimit);
    assert!(world.send(udp("10.0.0.3:1", REMOTE)).is_ok());
    assert_eq!(world.pass(302_000).len(), 3);
    assert!(world.send(udp("10.0.0.2:1", "198.51.100.3:53")).is_ok());
}

/// What others begin to a server inside is not its own.
#[test]
fn the_sessions_of_others_do_not_count() {
    let mut world = World::new(
        r#"
        limits = { sessions = 8, sessions_per_source = 1 }
        pool = [{ name = "egress", addresses = ["203.0.113.10"] }]
        rule = [
            { name = "web", kind = "port-forward", address = "203.0.113.10", protocol = "udp", port = 8080, target = "10.0.0.2:80" },
            { name = "egress", kind = "source-nat", from = "inside", to = "outside", pool = "egress" },
        ]"#,
    );
    for remote in ["198.51.100.1:9", "198.51.100.2:9"] {
        assert!(world.arrive(OUTSIDE, udp(remote, "203.0.113.10:8080"), None).is_ok());
    }
    assert!(world.send(udp("10.0.0.2:1", REMOTE)).is_ok());
    refuses(&mut world, INSIDE, udp("10.0.0.2:2", REMOTE), None, Refusal::SourceLimit);
    assert_eq!(world.holdings().sources, 1);
    assert_eq!(world.pass(302_000).len(), 3);
    assert_eq!(world.holdings().sources, 0);
}

#[test]
fn a_full_table_of_next_hops() {
    for capacity in [0, 1] {
        let mut world = World::new(SMALL);
        world.hops.capacity = capacity;
        refuses(&mut world, INSIDE, udp("10.0.0.2:1", REMOTE), None, Refusal::NeighborTableFull);
        let event = world.nat.events.read().expect("RFC 6888 REQ-11 C: it is told");
        assert_eq!((event.kind, event.inside), (EventKind::TableFull, Some([10, 0, 0, 2].into())));
    }
}

/// A routed flow whose replies would look like the packets of a translated one. No pool is short.
#[test]
fn a_reply_key_that_another_flow_has() {
    let mut world = World::new(
        r#"
        pool = [{ name = "back", addresses = ["203.0.113.10"] }]
        rule = [
            { name = "back", kind = "source-nat", from = "outside", pool = "back" },
            { name = "routed", kind = "bypass", from = "inside" },
        ]
        "#,
    );
    let from_outside = udp("198.51.100.1:53", "10.0.0.2:5000");
    assert!(world.arrive(OUTSIDE, from_outside, None).is_ok());
    refuses(&mut world, INSIDE, udp("10.0.0.2:5000", REMOTE), None, Refusal::PortsExhausted);
    assert!(world.nat.events.read().is_none());
}

/// The pool's addresses are of the other family.
#[test]
fn a_pool_without_an_address() {
    let text = r#"
        pool = [{ name = "egress", addresses = ["203.0.113.10"] }]
        rule = [{ name = "egress", kind = "source-nat", pool = "egress" }]

        [[interface]]
        name = "inside"
        device = "in0"
        addresses = ["fd00:10::1/64"]

        [[interface]]
        name = "outside"
        device = "out0"
        addresses = ["2001:db8:1::1/64"]
    "#;
    let policy = load(text).expect("a valid configuration").policy;
    let mut nat: Nat<Ipv6Addr> = Nat::new(&policy, Share::ALL, KeyedHash::new([1, 2, 3, 4]));
    let key = FlowKey {
        source: "fd00:10::2".parse().expect("an address"),
        destination: "2001:db8:1::2".parse().expect("an address"),
        source_port: 5000,
        destination_port: 53,
        vrf: 0,
        protocol: Protocol::UDP,
        tag: 0,
    };
    let arrival = Arrival {
        ingress: INSIDE,
        key,
        hash: nat.sessions.hash(&key),
        flags: None,
        ttl: 64,
        looked_up: false,
        number: 0,
        drawn: None,
    };
    let mut admission = Admission {
        policy: &policy,
        owners: &Owners::new(Arc::new(policy.clone()), Share::ALL),
        generation: Generation(1),
        now: Tick::ZERO,
        random: &mut ChaCha8Rng::seed_from_u64(1),
        hops: &mut CountedHops { users: Vec::new(), capacity: 8, closed_to_others: false },
    };
    assert_eq!(nat.admit(&arrival, &mut admission), Err(Refusal::PoolEmpty));
    assert!(nat.sessions.is_empty() && nat.mappings.is_empty() && nat.leased_ports() == 0);
}
