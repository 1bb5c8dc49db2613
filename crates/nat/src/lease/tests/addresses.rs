//! Which address of a pool a flow gets: pooling and choice (RFC 4787 §4.1).

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;

use mooring_wire::Protocol;

use super::{config, to, udp};
use crate::Refusal;
use crate::fixture::World;

/// Eight addresses of four ports each.
fn eight(more: &str) -> String {
    config(&format!("addresses = [\"203.0.113.16/29\"]\nports = \"2000-2003\"\n{more}"))
}

const LEAST: &str = "address_choice = \"least-used\"";
const ARBITRARY: &str = "pooling = \"arbitrary\"";
const SHARED: &str = "mapping = \"endpoint-dependent\"";

/// RFC 4787 REQ-2: "paired". A host that finds no port on its address gets no other one.
#[test]
fn paired_hosts_keep_to_their_address_and_are_refused_when_it_is_full() {
    for more in [String::new(), LEAST.into(), SHARED.into(), format!("{LEAST}\n{SHARED}")] {
        let mut world = World::new(&eight(&more));
        for host in 1..=3 {
            let addresses: HashSet<Ipv4Addr> = (1..=4)
                .filter_map(|n| {
                    let found = world.send(udp(host, n)).ok()?;
                    Some(world.nat.sessions.session(found.index).outside)
                })
                .collect();
            assert!(addresses.len() <= 1, "{more}: {addresses:?}");
        }
        assert_eq!(world.send(udp(1, 5)).err(), Some(Refusal::PortsExhausted), "{more}");
        assert!(world.nat.sessions.len() <= 12, "most of the 32 ports are free");
    }
}

#[test]
fn least_used_addresses_come_first() {
    for more in [LEAST.to_owned(), format!("{LEAST}\n{ARBITRARY}"), format!("{LEAST}\n{SHARED}")] {
        let mut world = World::new(&eight(&more));
        let mut used: HashMap<Ipv4Addr, u32> = HashMap::new();
        for host in 1..=16 {
            *used.entry(world.session(udp(host, 1)).outside).or_default() += 1;
        }
        assert!(used.len() == 8 && used.values().all(|hosts| *hosts == 2), "{more}: {used:?}");
        let free = world.nat.sessions.session(world.all()[4]).outside;
        world.finish(udp(5, 1));
        assert_eq!(world.session(udp(99, 1)).outside, free, "{more}");
    }
}

/// What a host has is remembered as long as it has a session, and no longer.
#[test]
fn a_host_keeps_its_least_used_address_while_it_has_a_session() {
    let mut world = World::new(&eight(LEAST));
    let first = world.session(udp(1, 1)).outside;
    world.session(udp(2, 1));
    assert_eq!(world.session(udp(1, 2)).outside, first);
    world.finish(udp(1, 1));
    assert_eq!(world.session(udp(1, 3)).outside, first, "one of its sessions is left");
    world.finish(udp(1, 2));
    world.finish(udp(1, 3));
    assert_eq!(world.session(udp(3, 1)).outside, first, "the first without a session");
    assert_ne!(world.session(udp(1, 1)).outside, first, "it begins anew");
}

#[test]
fn hosts_that_cannot_be_remembered_are_refused() {
    let limits = "[limits]\nsessions = 64\nsources = 2\n";
    let mut world = World::new(&format!("{}{limits}", eight(LEAST)));
    world.session(udp(1, 1));
    world.session(udp(2, 1));
    assert_eq!(world.send(udp(3, 1)).err(), Some(Refusal::TableFull));
    world.finish(udp(2, 1));
    assert!(world.send(udp(3, 1)).is_ok());
}

/// An inside end keeps its address, or the flow where remotes share ports; another one chooses anew.
#[test]
fn arbitrary_pooling_chooses_for_each_mapping_or_flow() {
    let addresses = |more: &str, keys: &mut dyn Iterator<Item = _>| {
        let mut world = World::new(&eight(more));
        let found: HashSet<Ipv4Addr> = keys.map(|key| world.session(key).outside).collect();
        found.len()
    };
    let ends = |port| udp(1, port);
    let remotes = |remote| to(1, 1, Protocol::UDP, remote);
    assert!(addresses(ARBITRARY, &mut (1..=20).map(ends)) > 3);
    assert_eq!(addresses(ARBITRARY, &mut (1..=20).map(remotes)), 1);
    let shared = format!("{ARBITRARY}\n{SHARED}");
    assert!(addresses(&shared, &mut (1..=20).map(ends)) > 3);
    assert!(addresses(&shared, &mut (1..=20).map(remotes)) > 3);
    assert_eq!(addresses(SHARED, &mut (1..=4).map(remotes)), 1, "paired");
}

#[test]
fn arbitrary_pooling_goes_on_to_other_addresses_when_one_is_full() {
    for more in [ARBITRARY.to_owned(), format!("{ARBITRARY}\n{LEAST}")] {
        let mut world = World::new(&eight(&more));
        for n in 1..=32 {
            assert!(world.send(udp(1, n)).is_ok(), "{more}: all 32 ports are found");
        }
        assert_eq!(world.send(udp(1, 33)).err(), Some(Refusal::PortsExhausted));
    }
}

/// Sessions that were there before an address was counted are counted once they are checked.
#[test]
fn a_reload_to_least_used_counts_what_there_is() {
    let mut world = World::new(&eight(""));
    for host in 1..=12 {
        world.send(udp(host, 1)).ok();
    }
    let mut used: HashMap<Ipv4Addr, u32> = HashMap::new();
    for index in world.all() {
        *used.entry(world.nat.sessions.session(index).outside).or_default() += 1;
    }
    world.reload(&eight(LEAST));
    // One ends before it is checked: it was never counted.
    world.finish(udp(1, 1));
    let gone = world.nat.pairing.spread(super::host_address(1), 8);
    let gone = Ipv4Addr::from_bits(Ipv4Addr::new(203, 0, 113, 16).to_bits() + gone);
    *used.get_mut(&gone).expect("it had a session") -= 1;
    world.check_all();
    let fewest = (16..24).map(|n| used.get(&Ipv4Addr::new(203, 0, 113, n)).copied().unwrap_or(0));
    let fewest = fewest.min().expect("there are eight");
    let next = world.session(udp(50, 1)).outside;
    assert_eq!(used.get(&next).copied().unwrap_or(0), fewest);
    world.pass(1_000_000);
    assert_eq!(world.nat.sessions.len(), 0);
    let spread: HashSet<Ipv4Addr> =
        (60..68).map(|host| world.session(udp(host, 1)).outside).collect();
    assert_eq!(spread.len(), 8, "all are back to nothing");
}
