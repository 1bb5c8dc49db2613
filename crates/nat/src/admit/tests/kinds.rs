//! What each kind of rule makes of a first packet, from either side.

use std::net::Ipv4Addr;

use mooring_policy::InterfaceId;
use mooring_session::{Direction, FlowKey, NextHopIndex, Session, SessionRef, State};
use mooring_wire::Protocol;
use mooring_wire::tcp::Flags;

use crate::fixture::{INSIDE, OUTSIDE, World, flow};
use crate::rewrite::rewrite_v4;
use crate::{HAIRPIN_INTERFACE, Place, Refusal};

/// A static host, a forwarded range of ports, a pool; the mapping and filtering are to be filled in.
const ALL: &str = r#"
    [[pool]]
    name = "egress"
    addresses = ["203.0.113.10"]
    ports = "4000-4015"
    KEYS

    [[rule]]
    name = "no-telnet"
    kind = "drop"
    destination_ports = "23"

    [[rule]]
    name = "server"
    kind = "static"
    inside = "10.0.0.8/30"
    outside = "203.0.113.20/30"

    [[rule]]
    name = "web"
    kind = "port-forward"
    address = "203.0.113.10"
    port = "4004-4007"
    target = "10.0.0.3:80"

    [[rule]]
    name = "egress"
    kind = "source-nat"
    from = "inside"
    to = "outside"
    pool = "egress"
"#;

fn world_of(keys: &str) -> World {
    World::new(&ALL.replace("KEYS", keys))
}

fn udp(source: &str, destination: &str) -> FlowKey<Ipv4Addr> {
    flow(Protocol::UDP, source, destination)
}

fn tcp(source: &str, destination: &str) -> FlowKey<Ipv4Addr> {
    flow(Protocol::TCP, source, destination)
}

/// A first packet that is admitted: its session, and which way it goes.
fn admitted(
    world: &mut World,
    ingress: InterfaceId,
    key: FlowKey<Ipv4Addr>,
) -> (Session<Ipv4Addr>, SessionRef) {
    let flags = (key.protocol == Protocol::TCP).then_some(Flags::SYN);
    let found = world.arrive(ingress, key, flags).unwrap_or_else(|r| panic!("{key:?}: {r:?}"));
    let session = world.nat.sessions.session(found.index).clone();
    for way in [Direction::Forward, Direction::Reverse] {
        let by_key = world.nat.sessions.find_key(&session.key(way));
        assert_eq!(by_key, Some(SessionRef { index: found.index, direction: way }));
    }
    (session, found)
}

/// The flow that a packet of `found` has when it leaves.
fn leaves_as(session: &Session<Ipv4Addr>, found: SessionRef) -> FlowKey<Ipv4Addr> {
    session.key(found.direction.opposite()).exchanged()
}

#[test]
fn a_static_host_is_translated_both_ways_and_keeps_its_ports() {
    let mut world = world_of("");
    let (session, found) = admitted(&mut world, INSIDE, udp("10.0.0.9:7", "198.51.100.1:53"));
    assert_eq!(leaves_as(&session, found), udp("203.0.113.21:7", "198.51.100.1:53"));
    let (session, found) = admitted(&mut world, OUTSIDE, tcp("198.51.100.1:9", "203.0.113.21:22"));
    assert_eq!(leaves_as(&session, found), tcp("198.51.100.1:9", "10.0.0.9:22"));
    assert_eq!((found.direction, session.state), (Direction::Reverse, State::HalfOpenReverse));
    assert_eq!([session.ingress(Direction::Forward), session.ingress(Direction::Reverse)], [0, 1]);
    assert_eq!(world.nat.leased_ports(), 0);
    // Every protocol, SCTP and what has no ports too.
    for protocol in [Protocol::GRE, Protocol::SCTP] {
        let key = flow(protocol, "198.51.100.1:0", "203.0.113.21:0");
        let (session, found) = admitted(&mut world, OUTSIDE, key);
        assert_eq!(leaves_as(&session, found).destination, Ipv4Addr::new(10, 0, 0, 9));
    }
}

/// A ping from outside has the remote host's identifier; it is not translated, nor is the reply's.
#[test]
fn a_ping_to_a_static_host_keeps_its_identifier() {
    let mut world = world_of("");
    let ping = flow(Protocol::ICMP, "198.51.100.1:119", "203.0.113.21:0");
    let (session, found) = admitted(&mut world, OUTSIDE, ping);
    let mut packet = crate::fixture::packets::bytes(
        "4500 001e 1234 4000 4001 c26b c633 6401 cb00 7115  0800 9625 0077 0001 6162",
    );
    let icmp = packet[20..].to_vec();
    rewrite_v4(&mut packet, Place { l3: 0, l4: 20 }, &session, found.direction, false);
    assert_eq!((&packet[16..20], &packet[20..]), (&[10, 0, 0, 9][..], &icmp[..]));
    let reply = flow(Protocol::ICMP, "10.0.0.9:0", "198.51.100.1:119");
    assert_eq!(session.key(Direction::Forward), reply);
    let unasked = flow(Protocol::ICMP, "198.51.100.1:0", "203.0.113.21:120");
    assert_eq!(world.arrive(OUTSIDE, unasked, None), Err(Refusal::NoSession));
}

#[test]
fn a_forwarded_port_leads_to_its_target_and_keeps_its_offset() {
    let mut world = world_of("");
    let (session, found) =
        admitted(&mut world, OUTSIDE, tcp("198.51.100.1:9", "203.0.113.10:4006"));
    assert_eq!(leaves_as(&session, found), tcp("198.51.100.1:9", "10.0.0.3:82"));
    let begun = |way| world.nat.sources.sessions(session.inside, way);
    assert_eq!([Direction::Forward, Direction::Reverse].map(begun), [0, 1], "others began it");
    // The same remote end again is the same session; a segment without SYN begins none.
    let ack = world.arrive(OUTSIDE, tcp("198.51.100.1:10", "203.0.113.10:4006"), Some(Flags::ACK));
    assert_eq!(ack, Err(Refusal::NoSession));
    let forged = world.arrive(OUTSIDE, tcp("10.0.0.77:9", "203.0.113.10:4006"), Some(Flags::SYN));
    assert_eq!(forged, Err(Refusal::SpoofedSource));
    let other = world.arrive(OUTSIDE, udp("198.51.100.1:9", "203.0.113.10:4006"), None);
    assert_eq!(other, Err(Refusal::NoSession), "it is forwarded for TCP alone");
    let telnet = world.arrive(OUTSIDE, tcp("198.51.100.1:9", "203.0.113.21:23"), Some(Flags::SYN));
    assert_eq!(telnet, Err(Refusal::RuleDrop), "an earlier rule drops");
}

/// RFC 4787 REQ-1: "reuse the port mapping for subsequent packets sent from the same internal IP address
/// and port".
#[test]
fn a_host_with_a_forwarded_port_leaves_by_it_when_it_speaks_first() {
    for keys in ["", "mapping = \"endpoint-dependent\""] {
        let mut world = world_of(keys);
        let out = tcp("10.0.0.3:82", "198.51.100.1:9");
        let (session, found) = admitted(&mut world, INSIDE, out);
        assert_eq!(leaves_as(&session, found), tcp("203.0.113.10:4006", "198.51.100.1:9"));
        assert_eq!((found.direction, world.nat.leased_ports()), (Direction::Forward, 0));
        // What that remote sends to the forwarded end is of the same session; another's is its own.
        let back = tcp("198.51.100.1:9", "203.0.113.10:4006");
        let (_, again) = admitted(&mut world, OUTSIDE, back);
        assert_eq!((again.index, again.direction), (found.index, Direction::Reverse));
        let other = tcp("198.51.100.2:9", "203.0.113.10:4006");
        assert_ne!(admitted(&mut world, OUTSIDE, other).1.index, found.index);
        // Ports around it, and other protocols, leave by the pool.
        for key in [
            tcp("10.0.0.3:79", "198.51.100.1:9"),
            tcp("10.0.0.3:84", "198.51.100.1:9"),
            udp("10.0.0.3:82", "198.51.100.1:9"),
            tcp("10.0.0.4:82", "198.51.100.1:9"),
        ] {
            let (session, _) = admitted(&mut world, INSIDE, key);
            assert!(!(4004..=4007).contains(&session.outside_port), "{key:?}");
        }
        // A hairpin begins there, too (REQ-9).
        let hairpin = tcp("10.0.0.3:80", "203.0.113.21:22");
        let (session, found) = admitted(&mut world, INSIDE, hairpin);
        assert_eq!(leaves_as(&session, found), tcp("203.0.113.10:4004", "203.0.113.21:22"));
    }
}

/// A port that is forwarded no longer, or to somebody else, stands for its host no more.
#[test]
fn a_session_by_a_forwarded_port_ends_with_its_rule() {
    let begin = || {
        let mut world = world_of("");
        admitted(&mut world, INSIDE, tcp("10.0.0.3:82", "198.51.100.1:9"));
        world
    };
    let without = ALL.replace("KEYS", "").replace("\"4004-4007\"", "\"5004-5007\"");
    let moved = ALL.replace("KEYS", "").replace("10.0.0.3:80", "10.0.0.4:80");
    for (config, ends) in [(ALL.replace("KEYS", ""), 0), (without, 1), (moved, 1)] {
        let mut world = begin();
        world.reload(&config);
        assert_eq!(world.sweep(), ends, "{config}");
    }
    // And one by the pool once a port is forwarded to its host.
    let mut world = World::new(&ALL.replace("KEYS", "").replace("10.0.0.3:80", "10.0.0.4:80"));
    let (session, _) = admitted(&mut world, INSIDE, tcp("10.0.0.3:82", "198.51.100.1:9"));
    assert!(!(4004..=4007).contains(&session.outside_port));
    world.reload(&ALL.replace("KEYS", ""));
    assert_eq!((world.sweep(), world.nat.leased_ports()), (1, 0));
    let (session, _) = admitted(&mut world, INSIDE, tcp("10.0.0.3:82", "198.51.100.1:9"));
    assert_eq!(session.outside_port, 4006);
}

#[test]
fn forwarded_ports_are_never_leased() {
    for keys in ["", "mapping = \"endpoint-dependent\""] {
        let mut world = world_of(keys);
        let mut ports = Vec::new();
        while let Ok(found) =
            world.send(tcp(&format!("10.0.0.2:{}", ports.len()), "198.51.100.1:80"))
        {
            ports.push(world.nat.sessions.session(found.index).outside_port);
        }
        ports.sort_unstable();
        assert_eq!(ports, [4000, 4001, 4002, 4003, 4008, 4009, 4010, 4011, 4012, 4013, 4014, 4015]);
    }
}

/// RFC 4787 §5, the three behaviours.
#[test]
fn filtering_lets_in_whom_it_says() {
    let stranger = Err(Refusal::Filtered);
    let cases = [
        ("address-and-port-dependent", stranger, stranger),
        ("address-dependent", Ok(()), stranger),
        ("endpoint-independent", Ok(()), Ok(())),
    ];
    for (filtering, other_port, other_host) in cases {
        let mut world = world_of(&format!("filtering = \"{filtering}\""));
        let session = world.session(udp("10.0.0.2:5000", "198.51.100.1:53"));
        let to = format!("203.0.113.10:{}", session.outside_port);
        let mut arrive = |from: &str| world.arrive(OUTSIDE, udp(from, &to), None).map(|_| ());
        assert_eq!(arrive("198.51.100.2:53"), other_host, "{filtering}");
        assert_eq!(arrive("198.51.100.1:54"), other_port, "{filtering}");
        assert_eq!(world.nat.leased_ports(), 1, "the mapping is shared");
        let sessions = world.nat.sessions.len();
        assert_eq!(sessions, 1 + usize::from(other_host.is_ok()) + usize::from(other_port.is_ok()));
        assert_eq!(world.pass(302_000).len(), sessions);
        assert_eq!(world.holdings().hop_users + world.nat.leased_ports() as u32, 0);
        assert!(world.nat.contacts.is_empty());
    }
}

/// One outside port serves several remote ends, none of them twice.
#[test]
fn an_endpoint_dependent_pool_shares_its_ports_between_remotes() {
    let mut world = world_of("mapping = \"endpoint-dependent\"");
    for remote in 1..=3 {
        for port in 0..12 {
            let key = udp(&format!("10.0.0.2:{port}"), &format!("198.51.100.{remote}:53"));
            let _ = admitted(&mut world, INSIDE, key);
        }
        // UDP may have the four ports that are forwarded for TCP.
        for port in 12..16 {
            let key = udp(&format!("10.0.0.2:{port}"), &format!("198.51.100.{remote}:53"));
            let _ = admitted(&mut world, INSIDE, key);
        }
        let full = world.send(udp("10.0.0.2:16", &format!("198.51.100.{remote}:53")));
        assert_eq!(full, Err(Refusal::PortsExhausted));
    }
    assert_eq!((world.nat.mappings.len(), world.nat.leased_ports()), (0, 0));
}

/// RFC 4787 REQ-9: two sessions, and the target sees the sender's outside end.
#[test]
fn a_hairpin_is_two_sessions() {
    let mut world = world_of("filtering = \"endpoint-independent\"");
    let target = world.session(udp("10.0.0.2:5000", "198.51.100.1:53"));
    let mapped = format!("203.0.113.10:{}", target.outside_port);
    let (first, found) = admitted(&mut world, INSIDE, udp("10.0.0.4:6000", &mapped));
    assert!(first.is_hairpin(Direction::Forward) && !first.is_hairpin(Direction::Reverse));
    assert_eq!(first.forward_hop, NextHopIndex::HAIRPIN);
    let middle = leaves_as(&first, found);
    let (second, found) = admitted(&mut world, HAIRPIN_INTERFACE, middle);
    let last = leaves_as(&second, found);
    assert_eq!((last.destination, last.destination_port), ("10.0.0.2".parse().unwrap(), 5000));
    assert_eq!((last.source, last.source_port), (first.outside, first.outside_port));
    // The answer takes the same way back, and needs no third session.
    let answer = second.key(Direction::Forward);
    assert_eq!(answer, last.exchanged());
    assert!(second.is_hairpin(Direction::Forward));
    assert_eq!(second.key(Direction::Reverse).exchanged(), first.key(Direction::Reverse));
    assert_eq!(world.nat.sessions.len(), 3);
    assert_eq!(world.pass(302_000).len(), 3);
    assert_eq!(world.holdings().hop_users, 0);
}

#[test]
fn a_hairpin_to_static_and_forwarded_addresses() {
    let mut world = world_of("");
    for (to, target) in [("203.0.113.22:22", "10.0.0.10:22"), ("203.0.113.10:4004", "10.0.0.3:80")]
    {
        let (first, found) = admitted(&mut world, INSIDE, tcp("10.0.0.4:6000", to));
        let middle = leaves_as(&first, found);
        let (second, found) = admitted(&mut world, HAIRPIN_INTERFACE, middle);
        let source = format!("203.0.113.10:{}", first.outside_port);
        assert_eq!(leaves_as(&second, found), tcp(&source, target));
    }
}

/// RFC 4787 REQ-9a: the source of a static host is its outside address, and its own port.
#[test]
fn a_static_host_hairpins_with_its_outside_address() {
    let mut world = world_of("");
    let sent = tcp("10.0.0.10:6000", "203.0.113.10:4004");
    let (first, found) = admitted(&mut world, INSIDE, sent);
    let (second, found) = admitted(&mut world, HAIRPIN_INTERFACE, leaves_as(&first, found));
    assert_eq!(leaves_as(&second, found), tcp("203.0.113.22:6000", "10.0.0.3:80"));
}

#[test]
fn half_a_hairpin_can_be_taken_back() {
    let mut world = world_of("");
    let before = world.holdings();
    let (first, found) = admitted(&mut world, INSIDE, udp("10.0.0.4:6000", "203.0.113.10:4001"));
    let second = world.arrive(HAIRPIN_INTERFACE, leaves_as(&first, found), None);
    assert_eq!(second, Err(Refusal::NoSession));
    world.nat.end(found.index, &mut world.hops, world.now);
    assert_eq!(world.holdings(), before);
    let mut world = world_of("hairpin = false");
    assert_eq!(world.send(udp("10.0.0.4:6000", "203.0.113.10:4001")), Err(Refusal::NoRule));
}

/// A deviation that the configuration asks for: what is established is never ended.
#[test]
fn a_full_table_may_end_what_is_not_established() {
    let limits = "limits = { sessions = 2, on_full = \"evict-transitory\" }\n";
    let mut world = World::new(&format!("{limits}{}", ALL.replace("KEYS", "")));
    let (_, old) = admitted(&mut world, INSIDE, tcp("10.0.0.2:1", "198.51.100.1:80"));
    let (_, open) = admitted(&mut world, INSIDE, tcp("10.0.0.2:2", "198.51.100.1:80"));
    let answer = SessionRef { direction: Direction::Reverse, ..open };
    world.nat.sessions.touch(answer, world.now, 60, Some(Flags::SYN | Flags::ACK));
    let (new, found) = admitted(&mut world, INSIDE, tcp("10.0.0.2:3", "198.51.100.1:80"));
    assert_eq!((new.inside_port, found.index), (3, old.index), "it took the old one's place");
    assert_eq!((world.nat.created, world.nat.evicted, world.nat.leased_ports()), (3, 1, 2));
    let answer = SessionRef { direction: Direction::Reverse, ..found };
    world.nat.sessions.touch(answer, world.now, 60, Some(Flags::SYN | Flags::ACK));
    let full = world.send(tcp("10.0.0.2:4", "198.51.100.1:80"));
    assert_eq!(full, Err(Refusal::TableFull));
}

/// The processes behind a tap have the address itself, in both directions.
#[test]
fn a_delivered_address_is_not_translated() {
    let mut world = World::new(
        r#"
        rule = [{ name = "own", kind = "deliver", address = "203.0.113.30", interface = "tap" }]
        interface = [
            { name = "inside", device = "in0", addresses = ["10.0.0.1/24"] },
            { name = "outside", device = "out0", addresses = ["192.0.2.1/24"] },
            { name = "tap", device = "tap0", backend = "tap", addresses = ["10.255.0.1/30"] },
        ]
        route = [{ destination = "198.51.100.0/24", via = "192.0.2.2" }]
        "#,
    );
    let tap = InterfaceId(2);
    let (session, found) = admitted(&mut world, OUTSIDE, tcp("198.51.100.1:9", "203.0.113.30:80"));
    assert_eq!(leaves_as(&session, found), tcp("198.51.100.1:9", "203.0.113.30:80"));
    assert_eq!(session.egress(Direction::Reverse), tap.0);
    let (session, found) = admitted(&mut world, tap, udp("203.0.113.30:7", "198.51.100.1:53"));
    assert_eq!(leaves_as(&session, found), udp("203.0.113.30:7", "198.51.100.1:53"));
    let forged = world.arrive(OUTSIDE, udp("203.0.113.30:8", "198.51.100.1:53"), None);
    assert_eq!(forged, Err(Refusal::SpoofedSource));
}
