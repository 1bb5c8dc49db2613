//! What an admitted flow gets. What a refused one does not get is in `refusals`.

mod kinds;
mod protocols;
mod refusals;
mod v6;

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};

use mooring_policy::Hop;
use mooring_session::{Direction, FlowKey, SessionRef, State};
use mooring_wire::Protocol;
use mooring_wire::tcp::Flags;

use crate::Refusal;
use crate::fixture::{INSIDE, OUTSIDE, World, flow};

/// One address, all ports.
const EGRESS: &str = r#"
    [[pool]]
    name = "egress"
    addresses = ["203.0.113.10"]

    [[rule]]
    name = "web"
    kind = "drop"
    destination_ports = "80"

    [[rule]]
    name = "egress"
    kind = "source-nat"
    from = "inside"
    pool = "egress"
"#;

/// Sixteen addresses with few ports, so that much is shared.
const WIDE: &str = r#"
    [[pool]]
    name = "wide"
    addresses = ["203.0.113.16/28"]
    ports = "2000-2999"

    [[rule]]
    name = "wide"
    kind = "source-nat"
    pool = "wide"
"#;

const PROTOCOLS: [Protocol; 3] = [Protocol::UDP, Protocol::TCP, Protocol::ICMP];

/// A flow of host `10.1.x.y`; ICMP queries have no destination port.
fn from_host(host: u16, port: u16, protocol: Protocol, destination: &str) -> FlowKey<Ipv4Addr> {
    let destination_port = if protocol == Protocol::ICMP { 0 } else { 443 };
    FlowKey {
        source: Ipv4Addr::from_bits(0x0a01_0000 | u32::from(host)),
        source_port: port,
        ..flow(protocol, "0.0.0.0:0", &format!("{destination}:{destination_port}"))
    }
}

#[test]
fn a_new_flow_gets_a_session_that_both_directions_find() {
    for protocol in PROTOCOLS {
        let mut world = World::new(EGRESS);
        let key = from_host(5, 5000, protocol, "198.51.100.1");
        let found = world.send(key).expect("the rule admits it");
        let session = world.nat.sessions.session(found.index);
        assert_eq!(found.direction, Direction::Forward);
        assert_eq!(session.key(Direction::Forward), key);
        assert_eq!(session.outside, Ipv4Addr::new(203, 0, 113, 10));
        assert_eq!(session.state, State::initial(protocol, Direction::Forward));
        assert_eq!((session.rule, session.generation), (1, 7));
        let reply = session.key(Direction::Reverse);
        assert_eq!((reply.source, reply.destination), (key.destination, session.outside));
        assert_eq!(
            world.nat.sessions.find_key(&reply),
            Some(SessionRef { index: found.index, direction: Direction::Reverse })
        );
    }
}

#[test]
fn packets_leave_by_the_routes_both_ways() {
    let mut world = World::new(EGRESS);
    let session = world.session(flow(Protocol::UDP, "10.1.0.5:5000", "198.51.100.1:53"));
    assert_eq!((session.ingress(Direction::Forward), session.ingress(Direction::Reverse)), (0, 1));
    let hop = |direction| world.hops.users[usize::from(session.next_hop(direction).0)];
    let via = |interface, text: &str| Hop {
        interface,
        next_hop: text.parse::<IpAddr>().expect("an address"),
    };
    assert_eq!(hop(Direction::Forward), (via(OUTSIDE, "192.0.2.2"), 1));
    assert_eq!(hop(Direction::Reverse), (via(INSIDE, "10.0.0.254"), 1));
}

/// The same flow may stand twice in one batch: both packets missed before the first was admitted.
#[test]
fn the_second_packet_of_a_flow_finds_the_session_of_the_first() {
    let mut world = World::new(EGRESS);
    let key = flow(Protocol::TCP, "10.0.0.2:5000", "198.51.100.1:443");
    let first = world.send(key).expect("the rule admits it");
    let before = world.holdings();
    // The ACK that follows the SYN could not begin a session.
    assert_eq!(world.arrive(INSIDE, key, Some(Flags::ACK)), Ok(first));
    let reply = world.nat.sessions.session(first.index).key(Direction::Reverse);
    let answered = world.arrive(OUTSIDE, reply, Some(Flags::SYN | Flags::ACK));
    assert_eq!(answered, Ok(SessionRef { index: first.index, direction: Direction::Reverse }));
    assert_eq!(world.holdings(), before);
}

/// RFC 4787 REQ-1: "A NAT MUST have an 'Endpoint-Independent Mapping' behavior"; RFC 5382 REQ-1 and
/// RFC 5508 REQ-1 say the same of TCP and ICMP queries.
#[test]
fn an_inside_end_has_the_same_outside_end_for_every_remote() {
    let mut world = World::new(WIDE);
    for protocol in PROTOCOLS {
        let mut outside = HashSet::new();
        for remote in ["198.51.100.1", "198.51.100.2", "192.0.2.77"] {
            let session = world.session(from_host(9, 4000, protocol, remote));
            outside.insert((session.outside, session.outside_port));
        }
        let other_port = FlowKey {
            destination_port: if protocol == Protocol::ICMP { 0 } else { 8443 },
            ..from_host(9, 4000, protocol, "198.51.100.3")
        };
        let session = world.session(other_port);
        outside.insert((session.outside, session.outside_port));
        assert_eq!(outside.len(), 1, "{protocol}: {outside:?}");
    }
    assert_eq!(world.nat.leased_ports(), PROTOCOLS.len());
    let (mappings, _) = world.nat.mappings.page(0, 100);
    assert!(mappings.map(|(_, users)| users).eq([4, 4, 4]));
}

#[test]
fn inside_ends_never_share_an_outside_end() {
    let mut world = World::new(WIDE);
    let mut seen = HashSet::new();
    for protocol in PROTOCOLS {
        for host in 0..40 {
            for port in [4000, 4001, 60_000] {
                let session = world.session(from_host(host, port, protocol, "198.51.100.1"));
                assert!(seen.insert((protocol, session.outside, session.outside_port)));
                let ports = if protocol == Protocol::ICMP { 1..=u16::MAX } else { 2000..=2999 };
                assert!(ports.contains(&session.outside_port), "{session:?}");
            }
        }
    }
    assert_eq!(world.nat.leased_ports(), 3 * 40 * 3);
}

/// RFC 4787 REQ-2: "It is RECOMMENDED that a NAT have an 'IP address pooling' behavior of
/// 'Paired'".
#[test]
fn a_host_keeps_to_one_address_of_the_pool() {
    let mut world = World::new(WIDE);
    let mut paired: HashMap<Ipv4Addr, Ipv4Addr> = HashMap::new();
    for host in 0..200 {
        for protocol in PROTOCOLS {
            for port in [4000, 4001] {
                let session = world.session(from_host(host, port, protocol, "198.51.100.1"));
                let outside = *paired.entry(session.inside).or_insert(session.outside);
                assert_eq!(session.outside, outside, "host {}", session.inside);
            }
        }
    }
    // 200 hosts on 16 addresses: 12.5 each on average.
    let mut hosts: HashMap<Ipv4Addr, u32> = HashMap::new();
    for outside in paired.values() {
        *hosts.entry(*outside).or_default() += 1;
    }
    assert_eq!(hosts.len(), 16, "{hosts:?}");
    assert!(hosts.values().all(|n| (3..30).contains(n)), "{hosts:?}");
}

#[test]
fn two_pools_make_two_mappings_of_one_inside_end() {
    let mut world = World::new(
        r#"
        pool = [
            { name = "web", addresses = ["203.0.113.10"], ports = "2000-2999" },
            { name = "rest", addresses = ["203.0.113.10"], ports = "3000-3999" },
        ]
        rule = [
            { name = "web", kind = "source-nat", pool = "web", destination_ports = "443" },
            { name = "rest", kind = "source-nat", pool = "rest" },
        ]
        "#,
    );
    let mut end = |destination: &str| {
        let session = world.session(flow(Protocol::UDP, "10.0.0.2:5000", destination));
        (session.outside_port, session.rule)
    };
    let (web, rest) = (end("198.51.100.1:443"), end("198.51.100.1:53"));
    assert!((2000..=2999).contains(&web.0) && web.1 == 0, "{web:?}");
    assert!((3000..=3999).contains(&rest.0) && rest.1 == 1, "{rest:?}");
    assert_eq!((end("198.51.100.2:443"), end("198.51.100.2:53")), (web, rest));
    assert_eq!((world.nat.mappings.len(), world.nat.leased_ports()), (2, 2));
}

#[test]
fn icmp_identifiers_are_all_used_but_zero() {
    let mut world = World::new(&format!(
        "limits = {{ sessions = 70000, sessions_per_source = 70000 }}\n{EGRESS}"
    ));
    let mut unused: HashSet<u16> = (0..=u16::MAX).collect();
    for identifier in 0..u16::MAX {
        let key = from_host(1, identifier, Protocol::ICMP, "198.51.100.1");
        assert!(unused.remove(&world.session(key).outside_port));
    }
    assert_eq!(unused, HashSet::from([0]));
    let last = from_host(1, u16::MAX, Protocol::ICMP, "198.51.100.1");
    assert_eq!(world.send(last), Err(Refusal::PortsExhausted));
    assert!(world.send(from_host(1, 1, Protocol::UDP, "198.51.100.1")).is_ok());
}

#[test]
fn a_bypassed_flow_stays_as_it_is_and_holds_no_port() {
    let mut world = World::new("rule = [{ name = \"routed\", kind = \"bypass\" }]");
    for protocol in [Protocol::UDP, Protocol::TCP, Protocol::ICMP, Protocol::GRE] {
        let key = match protocol {
            Protocol::GRE => flow(protocol, "10.0.0.2:0", "198.51.100.1:0"),
            _ => from_host(2, 5000, protocol, "198.51.100.1"),
        };
        let session = world.session(key);
        assert_eq!((session.outside, session.outside_port), (key.source, key.source_port));
        assert_eq!(session.key(Direction::Reverse), key.exchanged());
        assert_eq!((session.address_delta.bits(), session.l4_delta.bits()), (0, 0));
    }
    assert_eq!((world.nat.mappings.len(), world.nat.leased_ports()), (0, 0));
}

#[test]
fn the_last_session_of_a_mapping_gives_everything_back() {
    let mut world = World::new(WIDE);
    let empty = world.holdings();
    let key = from_host(3, 4000, Protocol::UDP, "198.51.100.1");
    let first = world.session(key);
    let _ = world.pass(200_000);
    let second = world.session(FlowKey { destination_port: 53, ..key });
    assert_eq!(second.outside_port, first.outside_port);
    // The first has been silent for its 300 s, the second for 102 s.
    let ended = world.pass(102_000);
    assert!(ended.iter().map(|session| session.remote_port).eq([443]));
    assert_eq!((world.nat.leased_ports(), world.nat.mappings.len()), (1, 1));
    let third = world.session(key);
    assert_eq!(third.outside_port, first.outside_port, "the mapping lives on in the second");
    assert_eq!(world.pass(302_000).len(), 2);
    assert_eq!(world.holdings(), empty);
}

#[test]
fn a_port_that_was_given_back_can_be_leased_again() {
    let mut world =
        World::new(&EGRESS.replace("[\"203.0.113.10\"]", "[\"203.0.113.10\"]\nports = 4000"));
    let [one, other] = [1, 2].map(|host| from_host(host, 5000, Protocol::UDP, "198.51.100.1"));
    for _ in 0..3 {
        assert_eq!(world.session(one).outside_port, 4000);
        assert_eq!(world.send(other), Err(Refusal::PortsExhausted));
        assert_eq!(world.pass(302_000).len(), 1);
        assert_eq!(world.session(other).outside_port, 4000);
        assert_eq!(world.send(one), Err(Refusal::PortsExhausted));
        assert_eq!(world.pass(302_000).len(), 1);
    }
}
