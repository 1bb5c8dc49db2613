//! Deterministic allocation (RFC 7422): what a host has is arithmetic.

use std::collections::HashSet;

use mooring_wire::Protocol;

use super::{config, to, udp};
use crate::fixture::World;
use crate::{EventKind, Refusal};

fn hosts(mapping: &str) -> String {
    config(&format!(
        r#"addresses = ["203.0.113.10", "203.0.113.77"]
        ports = "2000-2099"
        mapping = "{mapping}"
        allocation = {{ kind = "deterministic", source = "10.1.0.0/28", ports_per_host = 10 }}"#
    ))
}

#[test]
fn a_host_has_the_ports_of_its_slice_and_all_of_them() {
    for mapping in ["endpoint-independent", "endpoint-dependent"] {
        let mut world = World::new(&hosts(mapping));
        for host in [0, 3, 9, 10, 15] {
            for protocol in [Protocol::UDP, Protocol::TCP, Protocol::ICMP] {
                let mut ports = HashSet::new();
                for n in 1..=10 {
                    let session = world.session(to(host, n, protocol, 1));
                    let slice = world.policy.pools[0].deterministic_slice(session.inside.into());
                    let (outside, range) = slice.expect("it is one of the hosts");
                    assert_eq!(outside, std::net::IpAddr::from(session.outside));
                    assert!(range.contains(&session.outside_port), "{mapping}");
                    ports.insert(session.outside_port);
                    let named =
                        world.policy.pools[0].deterministic_host(outside, session.outside_port);
                    assert_eq!(named, Some(session.inside.into()));
                }
                assert_eq!(ports.len(), 10, "{mapping}");
                let more = world.send(to(host, 11, protocol, 1));
                assert_eq!(more.err(), Some(Refusal::PortsExhausted), "{mapping}");
            }
        }
    }
}

/// Fails closed: nothing stands for a host that the arithmetic does not know.
#[test]
fn a_host_of_no_slice_is_refused() {
    let mut world = World::new(&hosts("endpoint-independent"));
    assert_eq!(world.send(udp(16, 1)).err(), Some(Refusal::PoolEmpty));
    assert!(world.nat.sessions.is_empty());
}

/// RFC 6888 REQ-11 C: who has no address is told of, as who finds no port is.
#[test]
fn a_host_that_has_no_address_is_told_of() {
    let mut world = World::new(&hosts("endpoint-independent"));
    assert_eq!(world.send(udp(16, 1)).err(), Some(Refusal::PoolEmpty));
    let event = world.nat.events.read().expect("it is told");
    assert_eq!((event.kind, event.pool), (EventKind::NoAddress, Some(0)));
    assert_eq!(event.inside, Some([10, 1, 0, 16].into()));
    assert_eq!(event.protocol, Some(Protocol::UDP));
}

#[test]
fn a_reload_keeps_who_keeps_its_slice() {
    let mut world = World::new(&hosts("endpoint-independent"));
    for host in 0..10 {
        world.session(udp(host, 1));
    }
    // Hosts of the first address get half of what they had: that of the first one stays in part.
    let less = hosts("endpoint-independent").replace("ports_per_host = 10", "ports_per_host = 9");
    world.reload(&less);
    world.check_all();
    for index in world.all() {
        let session = world.nat.sessions.session(index);
        let slice = world.policy.pools[0].deterministic_slice(session.inside.into());
        assert!(slice.is_some_and(|(_, ports)| ports.contains(&session.outside_port)));
    }
    assert!(world.nat.sessions.len() < 10);
    assert_eq!(world.nat.leased_ports(), world.nat.mappings.len());
}
