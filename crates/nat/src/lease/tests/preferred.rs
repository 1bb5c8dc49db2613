//! Ports that are wanted before others: the host's own, its parity, its neighbour.

use mooring_session::{FlowKey, KeyedHash};
use mooring_wire::Protocol;
use proptest::prelude::{any, prop_assert, prop_assert_eq, prop_assume, proptest};

use crate::event::EventKind;
use crate::fixture::{World, flow};
use crate::{Nat, Refusal, Share};

const MAPPINGS: [&str; 2] = ["endpoint-independent", "endpoint-dependent"];

/// One address with the ports 2000-2999, and more of the pool.
fn pool(mapping: &str, more: &str) -> String {
    format!(
        r#"
        [[pool]]
        name = "egress"
        addresses = ["203.0.113.10"]
        ports = "2000-2999"
        mapping = "{mapping}"
        {more}

        [[rule]]
        name = "egress"
        kind = "source-nat"
        from = "inside"
        pool = "egress"

        [[rule]]
        name = "web"
        kind = "port-forward"
        address = "203.0.113.10"
        protocol = "udp"
        port = "2080"
        target = "10.0.0.9:80"
        "#
    )
}

fn from(host: u8, port: u16, protocol: Protocol) -> FlowKey<std::net::Ipv4Addr> {
    let to = if protocol == Protocol::ICMP { "198.51.100.1:0" } else { "198.51.100.1:53" };
    flow(protocol, &format!("10.0.0.{host}:{port}"), to)
}

#[test]
fn the_hosts_own_port_comes_first_if_it_may_be_had() {
    for mapping in MAPPINGS {
        let mut world = World::new(&pool(mapping, "allocation = { kind = \"preserve\" }"));
        for protocol in [Protocol::UDP, Protocol::TCP, Protocol::ICMP] {
            assert_eq!(world.session(from(2, 2500, protocol)).outside_port, 2500, "{mapping}");
            let second = world.session(from(3, 2500, protocol)).outside_port;
            assert_ne!(second, 2500, "another host has it");
        }
        let outside_of_range = world.session(from(2, 5000, Protocol::UDP)).outside_port;
        assert!((2000..=2999).contains(&outside_of_range), "{mapping}");
        assert_ne!(world.session(from(2, 2080, Protocol::UDP)).outside_port, 2080, "forwarded");
        assert_eq!(world.session(from(2, 2080, Protocol::TCP)).outside_port, 2080);
    }
}

#[test]
fn without_preserve_the_hosts_own_port_is_one_of_many() {
    let mut world = World::new(&pool(MAPPINGS[0], ""));
    let same = (2000..2100)
        .filter(|port| world.session(from(2, *port, Protocol::TCP)).outside_port == *port);
    assert!(same.count() < 5);
}

proptest! {
    /// RFC 4787 REQ-4. RFC 4787 REQ-11: when no port of its parity is left a host is refused.
    #[test]
    fn parity_is_kept_to_the_last_port(seed in any::<u64>(), tcp in any::<bool>(), odd in 0u16..2) {
        let protocol = if tcp { Protocol::TCP } else { Protocol::UDP };
        for mapping in MAPPINGS {
            let config = pool(mapping, "parity = true").replace("2000-2999", "2001-2040");
            let mut world = World::seeded(&config, seed);
            for n in 0..20 {
                let port = world.session(from(2, 4000 + 2 * n + odd, protocol)).outside_port;
                prop_assert_eq!(port % 2, odd, "{}", mapping);
            }
            let refused = world.send(from(2, 5000 + odd, protocol));
            prop_assert_eq!(refused.err(), Some(Refusal::PortsExhausted));
            let other = world.session(from(2, 5001 - odd, protocol)).outside_port;
            prop_assert_eq!(other % 2, 1 - odd);
        }
    }

    /// RFC 4787 §4.2.3, in either order, beside other hosts, with one worker and with others.
    #[test]
    fn a_pair_of_ports_stays_one(seed in any::<u64>(), first in 0u16..500, up in any::<bool>(), of in 1u8..4) {
        let more = "parity = true\ncontiguity = true";
        let mut world = World::seeded(&pool(MAPPINGS[0], more), seed);
        let share = Share::new(seed as u8 % of, of).expect("one of them");
        world.nat = Nat::new(&world.policy, share, KeyedHash::new([seed, 2, 3, 4]));
        for n in 0..20 {
            world.session(from(9, 6000 + n, Protocol::UDP));
        }
        let even = 5000 + 2 * first;
        let pair = if up { [even, even + 1] } else { [even + 1, even] };
        let first = world.session(from(2, pair[0], Protocol::UDP));
        let beside = first.outside_port ^ 1;
        // Forwarded, or another host's.
        let is_taken = beside == 2080 || world.nat.ports.is_leased(first.outside, Protocol::UDP, beside);
        let second = world.session(from(2, pair[1], Protocol::UDP));
        let ports = [first.outside_port, second.outside_port];
        prop_assume!(!is_taken);
        prop_assert!(ports[0] ^ 1 == ports[1] && ports[0] % 2 == pair[0] % 2, "{:?}", ports);
        prop_assert!(share.has(ports[0]) && share.has(ports[1]));
    }
}

#[test]
fn ports_beside_a_pair_are_beside_it_outside_too() {
    let mut world = World::new(&pool(MAPPINGS[0], "contiguity = true"));
    let port = world.session(from(2, 5001, Protocol::UDP)).outside_port;
    assert_eq!(world.session(from(2, 5002, Protocol::UDP)).outside_port, port + 1);
    assert_eq!(world.session(from(2, 5003, Protocol::UDP)).outside_port, port + 2);
    assert_eq!(world.session(from(2, 5000, Protocol::UDP)).outside_port, port - 1);
    let of_another = world.session(from(3, 5004, Protocol::UDP)).outside_port;
    assert_ne!(of_another, port + 3, "the port of another host has no neighbour here");
}

/// RFC 4787 REQ-3a: ports below 1024 stay there, others in theirs, and where the range is used up there is no
/// other. Where the pool has none of a range it is any of them.
#[test]
fn with_preserve_a_port_stays_below_1024_or_above() {
    for mapping in MAPPINGS {
        let config = pool(mapping, "allocation = { kind = \"preserve\" }");
        let mut world = World::new(&config.replace("2000-2999", "1000-2999"));
        for host in 2..26 {
            for (port, range) in [(1010, 1000..1024), (80, 1000..1024), (1500, 1024..3000)] {
                let protocol = if port == 80 { Protocol::TCP } else { Protocol::UDP };
                let outside = world.session(from(host, port, protocol)).outside_port;
                assert!(range.contains(&outside), "{mapping}: {port} of {host} is {outside}");
            }
        }
        let more = world.send(from(99, 1010, Protocol::UDP));
        assert_eq!(more.err(), Some(Refusal::PortsExhausted), "{mapping}: all 24 are taken");
        let mut world = World::new(&config);
        assert!(world.session(from(2, 80, Protocol::UDP)).outside_port >= 2000, "{mapping}");
    }
}

/// RFC 6888 REQ-11 C and REQ-13: who found no port is told of, and the packet goes nowhere.
#[test]
fn a_host_that_finds_no_port_is_told_of() {
    for mapping in MAPPINGS {
        let mut world = World::new(&pool(mapping, "").replace("2000-2999", "2000-2001"));
        world.session(from(2, 1, Protocol::TCP));
        world.session(from(2, 2, Protocol::TCP));
        assert!(world.nat.events.read().is_none());
        assert_eq!(world.send(from(3, 3, Protocol::TCP)).err(), Some(Refusal::PortsExhausted));
        let event = world.nat.events.read().expect("it is told");
        assert_eq!((event.kind, event.pool), (EventKind::PortsExhausted, Some(0)), "{mapping}");
        assert_eq!(event.inside, Some([10, 0, 0, 3].into()));
        assert_eq!(event.protocol, Some(Protocol::TCP));
        assert_eq!(event.outside, None, "RFC 6888 REQ-12: where the host wanted to is not told");
        assert_eq!(world.nat.sessions.len(), 2);
    }
}

/// RFC 6888 REQ-13 in kind: as long as there is a port for a remote it is found, also the last one.
#[test]
fn all_ports_are_found_where_remotes_share_them() {
    let config = pool(MAPPINGS[1], "").replace("2000-2999", "3000-5999");
    let mut world = World::new(&config);
    let mut found = std::collections::HashSet::new();
    for n in 0..3000u16 {
        let key = from((n % 200) as u8 + 2, 1 + n / 200, Protocol::TCP);
        assert!(found.insert(world.session(key).outside_port));
    }
    assert_eq!(world.send(from(2, 99, Protocol::TCP)).err(), Some(Refusal::PortsExhausted));
}
