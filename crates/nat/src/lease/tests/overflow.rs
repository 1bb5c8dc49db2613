//! Overflow: ports that remotes share once an endpoint-independent pool runs short.

use std::collections::HashSet;

use mooring_wire::Protocol;

use super::{config, to};
use crate::Refusal;
use crate::fixture::World;

const OVERFLOW: &str = r#"addresses = ["203.0.113.10"]
    ports = "2000-2009"
    overflow_ports = "2008-2009""#;

#[test]
fn mappings_leave_the_overflow_alone_and_then_remotes_share_it() {
    for protocol in [Protocol::UDP, Protocol::TCP, Protocol::ICMP] {
        let mut world = World::new(&config(OVERFLOW));
        let most = if protocol == Protocol::ICMP { 500 } else { 8 };
        for n in 1..=most {
            let session = world.session(to(1, n, protocol, 1));
            assert!(!(2008..=2009).contains(&session.outside_port), "{protocol:?}");
        }
        if protocol == Protocol::ICMP {
            continue;
        }
        // A host with a mapping goes on with it, whoever it talks to (RFC 4787 REQ-1).
        assert!(world.session(to(1, 1, protocol, 2)).outside_port < 2008);
        for remote in 1..=20 {
            let ports: HashSet<u16> =
                [9, 10].map(|n| world.session(to(2, n, protocol, remote)).outside_port).into();
            assert_eq!(ports, HashSet::from([2008, 2009]));
            let third = world.send(to(3, 11, protocol, remote));
            assert_eq!(third.err(), Some(Refusal::PortsExhausted));
        }
        assert_eq!((world.nat.mappings.len(), world.nat.leased_ports()), (8, 8));
        world.finish(to(1, 2, protocol, 1));
        let mapped = world.session(to(3, 11, protocol, 1)).outside_port;
        assert!(mapped < 2008, "there is a port again");
    }
}

#[test]
fn sessions_in_the_overflow_live_through_a_reload_that_leaves_it() {
    let mut world = World::new(&config(OVERFLOW));
    for n in 1..=10 {
        world.session(to(1, n, Protocol::UDP, 1));
    }
    world.reload(&config(OVERFLOW));
    world.check_all();
    assert_eq!(world.nat.sessions.len(), 10);
    world.reload(&config(&OVERFLOW.replace("2008-2009", "2009")));
    world.check_all();
    assert_eq!(world.nat.sessions.len(), 9, "2008 is no longer shared");
    world.reload(&config(r#"addresses = ["203.0.113.10"]"#));
    world.check_all();
    assert_eq!(world.nat.sessions.len(), 8, "nothing is");
}
