//! Port-block allocation (RFC 6888 REQ-12 to REQ-14): blocks, their holders, their rest.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;

use mooring_session::{Direction, KeyedHash};
use mooring_wire::Protocol;

use super::{config, host_address, to, udp};
use crate::event::{Event, EventKind};
use crate::fixture::World;
use crate::{Nat, Refusal, Share};

const MAPPINGS: [&str; 2] = ["endpoint-independent", "endpoint-dependent"];

/// Ten blocks of ten ports on one address, two for each host.
fn ten(mapping: &str) -> String {
    config(&format!(
        r#"addresses = ["203.0.113.10"]
        ports = "2000-2099"
        mapping = "{mapping}"
        allocation = {{ kind = "port-block", size = 10, max_blocks = 2, quarantine = 120 }}"#
    ))
}

fn block_of(port: u16) -> u16 {
    (port - 2000) / 10
}

fn told(world: &mut World) -> Vec<Event> {
    std::iter::from_fn(|| world.nat.events.read()).collect()
}

#[test]
fn a_host_has_the_ports_of_its_blocks_for_all_protocols() {
    for mapping in MAPPINGS {
        let mut world = World::new(&ten(mapping));
        let mut ports: HashMap<Protocol, HashSet<u16>> = HashMap::new();
        for protocol in [Protocol::UDP, Protocol::TCP, Protocol::ICMP] {
            for n in 1..=10 {
                let port = world.session(to(5, n, protocol, 1)).outside_port;
                assert!(ports.entry(protocol).or_default().insert(port), "{mapping}");
            }
        }
        let blocks: HashSet<u16> = ports.values().flatten().map(|port| block_of(*port)).collect();
        assert_eq!(blocks.len(), 1, "one block is enough, {mapping}: {blocks:?}");
        let second = block_of(world.session(udp(5, 11)).outside_port);
        assert!(!blocks.contains(&second), "the first has no port left");
        for n in 12..=20 {
            assert_eq!(block_of(world.session(udp(5, n)).outside_port), second, "{mapping}");
        }
        assert_eq!(world.send(udp(5, 21)).err(), Some(Refusal::PortsExhausted), "two are all");
        let other = block_of(world.session(udp(6, 21)).outside_port);
        assert!(other != second && !blocks.contains(&other), "another host has its own");
    }
}

/// RFC 8158 events 16 and 17: who had which ports, and when.
#[test]
fn every_block_is_told_when_it_is_given_and_taken_back() {
    for mapping in MAPPINGS {
        let mut world = World::new(&ten(mapping));
        let port = world.session(udp(5, 1)).outside_port;
        world.session(udp(5, 2));
        let first = 2000 + block_of(port) * 10;
        let record = |kind, at: u64| Event {
            pool: Some(0),
            inside: Some(host_address(5).into()),
            outside: Some([203, 0, 113, 10].into()),
            ports: Some(first..=first + 9),
            ..Event::new(kind, mooring_session::Tick::from_millis(at))
        };
        assert_eq!(told(&mut world), [record(EventKind::BlockAllocated, 0)], "{mapping}");
        world.pass(1000);
        world.finish(udp(5, 1));
        assert_eq!(told(&mut world), [], "one session is left");
        world.finish(udp(5, 2));
        assert_eq!(told(&mut world), [record(EventKind::BlockReleased, 1000)], "{mapping}");
    }
}

#[test]
fn a_block_rests_before_another_host_gets_it_and_its_own_gets_it_at_once() {
    for mapping in MAPPINGS {
        let mut world = World::new(&ten(mapping));
        let block = block_of(world.session(udp(1, 1)).outside_port);
        for host in 2..=10 {
            world.session(udp(host, 1));
        }
        world.finish(udp(1, 1));
        assert_eq!(world.send(udp(11, 1)).err(), Some(Refusal::PortsExhausted), "it rests");
        assert_eq!(block_of(world.session(udp(1, 2)).outside_port), block, "it is its own");
        world.finish(udp(1, 2));
        world.pass(119_999);
        assert_eq!(world.send(udp(11, 1)).err(), Some(Refusal::PortsExhausted), "it still rests");
        world.pass(1);
        assert_eq!(block_of(world.session(udp(11, 1)).outside_port), block, "{mapping}");
    }
}

#[test]
fn the_block_that_has_been_free_for_longest_is_given_first() {
    let config = ten(MAPPINGS[0]).replace("quarantine = 120", "quarantine = 0");
    let mut world = World::new(&config);
    let blocks: Vec<u16> =
        (1..=10).map(|host| block_of(world.session(udp(host, 1)).outside_port)).collect();
    let in_order = blocks.windows(2).filter(|pair| pair[1] == pair[0] + 1).count();
    assert!(in_order < 5, "the order of the start is not to be guessed: {blocks:?}");
    let other_start = World::seeded(&config, 99).session(udp(1, 1)).outside_port;
    let third_start = World::seeded(&config, 98).session(udp(1, 1)).outside_port;
    assert!(block_of(other_start) != blocks[0] || block_of(third_start) != blocks[0]);
    for host in [4, 9, 2, 7] {
        world.finish(udp(host, 1));
    }
    let again: Vec<u16> =
        (21..=24).map(|host| block_of(world.session(udp(host, 1)).outside_port)).collect();
    assert_eq!(again, [4, 9, 2, 7].map(|host| blocks[host - 1]));
}

#[test]
fn the_hosts_of_a_source_share_their_blocks() {
    let more = "[limits]\nsource_prefix_v4 = 24";
    let mut world = World::new(&format!("{}{more}", ten(MAPPINGS[0])));
    let of = |world: &mut World, host| block_of(world.session(udp(host, 1)).outside_port);
    let first = of(&mut world, 0x0105);
    assert_eq!(of(&mut world, 0x0106), first);
    assert_ne!(of(&mut world, 0x0205), first, "of another prefix");
}

#[test]
fn ports_of_rules_are_left_out_of_blocks() {
    for mapping in MAPPINGS {
        // All ports of four blocks, and half of those of a fifth.
        let rule = r#"
            [[rule]]
            name = "web"
            kind = "port-forward"
            address = "203.0.113.10"
            protocol = "udp"
            port = "2000-2044"
            target = "10.0.0.9:3000"
        "#;
        let mut world = World::new(&format!("{}{rule}", ten(mapping)));
        let mut got = HashSet::new();
        for host in 1..=6 {
            for n in 1..=5 {
                let session = world.session(udp(host, n));
                assert!((2045..2100).contains(&session.outside_port), "{mapping}");
                assert!(got.insert(session.outside_port), "{mapping}");
            }
        }
        assert_eq!(world.session(to(7, 1, Protocol::TCP, 1)).outside_port / 2100, 0);
    }
}

/// A block is of one worker, and every worker has its part of them.
#[test]
fn blocks_are_divided_among_the_workers() {
    let mut seen = HashSet::new();
    for worker in 0..3 {
        let mut world = World::new(&ten(MAPPINGS[0]));
        let share = Share::new(worker, 3).expect("one of three");
        world.nat = Nat::new(&world.policy, share, KeyedHash::new([9, 2, 3, 4]));
        let own: u16 = if worker == 0 { 4 } else { 3 };
        for host in 0..own {
            for n in 1..=10 {
                let port = world.session(udp(host, n)).outside_port;
                assert_eq!(block_of(port) % 3, u16::from(worker));
                assert!(seen.insert(port), "port {port} twice");
            }
        }
        assert_eq!(world.send(udp(99, 1)).err(), Some(Refusal::PortsExhausted));
        assert_eq!(world.nat.blocks_of(mooring_policy::PoolId(0)), (own.into(), own.into()));
    }
    assert_eq!(seen.len(), 100);
}

/// A source keeps to the address of its blocks, whatever else is free (RFC 4787 REQ-2).
#[test]
fn all_blocks_of_a_host_are_of_one_address() {
    for choice in ["hash", "least-used"] {
        let pool = ten(MAPPINGS[0]).replace("203.0.113.10", "203.0.113.16/30");
        let config = pool.replace("ports =", &format!("address_choice = \"{choice}\"\nports ="));
        let mut world = World::new(&config);
        let mut used: HashMap<Ipv4Addr, u32> = HashMap::new();
        for host in 1..=8 {
            let addresses: HashSet<Ipv4Addr> =
                (1..=15).map(|n| world.session(udp(host, n)).outside).collect();
            assert_eq!(addresses.len(), 1);
            addresses.into_iter().for_each(|address| *used.entry(address).or_default() += 1);
        }
        if choice == "least-used" {
            assert_eq!(used.len(), 4);
            assert!(used.values().all(|hosts| *hosts == 2), "two blocks each: {used:?}");
        }
    }
}

#[test]
fn a_reload_that_leaves_the_blocks_leaves_their_holders_and_their_rest() {
    let mut world = World::new(&ten(MAPPINGS[0]));
    let held = block_of(world.session(udp(1, 1)).outside_port);
    for host in 2..=10 {
        world.session(udp(host, 1));
    }
    world.finish(udp(2, 1));
    // Another pool comes, so that all blocks are counted anew, and hosts may have more of them.
    let other = r#"
        [[pool]]
        name = "other"
        addresses = ["203.0.113.77"]
        ports = "2000-2099"
        allocation = { kind = "port-block", size = 10, max_blocks = 1 }
    "#;
    world.reload(&format!(
        "{other}{}",
        ten(MAPPINGS[0]).replace("max_blocks = 2", "max_blocks = 3")
    ));
    world.check_all();
    assert_eq!(world.nat.sessions.len(), 9, "all go on");
    assert_eq!(block_of(world.session(udp(1, 2)).outside_port), held);
    assert_eq!(world.send(udp(11, 1)).err(), Some(Refusal::PortsExhausted), "one rests");
    world.pass(120_000);
    assert!(world.send(udp(11, 1)).is_ok());
}

/// Whatever a reload does to the size, a block has the sessions of one source only, no port is lost,
/// and in the end every block is free.
#[test]
fn a_reload_that_changes_the_size_keeps_what_still_fits() {
    for mapping in MAPPINGS {
        for (size, most) in [(5, 2), (20, 1), (25, 2)] {
            let mut world = World::new(&ten(mapping));
            for host in 1..=5 {
                for n in 1..=8 {
                    world.session(udp(host, n));
                }
            }
            let now = ten(mapping).replace(
                "size = 10, max_blocks = 2",
                &format!("size = {size}, max_blocks = {most}"),
            );
            world.reload(&now);
            // Some find out with a packet, before the sweep gets to them; new ones come between.
            for host in 1..=9 {
                world.send(udp(host, 100)).ok();
            }
            world.check_all();
            assert!(!world.nat.sessions.is_empty(), "{mapping} {size}: some fit");
            let mut holders: HashMap<u16, Ipv4Addr> = HashMap::new();
            let mut ends = HashSet::new();
            for index in world.all() {
                let session = world.nat.sessions.session(index);
                let block = (session.outside_port - 2000) / size;
                assert_eq!(*holders.entry(block).or_insert(session.inside), session.inside);
                assert!(ends.insert(session.key(Direction::Reverse)));
            }
            let (held, _) = world.nat.blocks_of(mooring_policy::PoolId(0));
            assert_eq!(held as usize, holders.len(), "{mapping} {size}");
            world.pass(10_000_000);
            assert_eq!(world.nat.blocks_of(mooring_policy::PoolId(0)).0, 0, "{mapping} {size}");
            let left = world.holdings();
            assert_eq!((left.sessions, left.mappings, left.leased_ports), (0, 0, 0));
        }
    }
}

/// Nothing of what a refused flow took is left behind.
#[test]
fn a_flow_that_fails_late_leaves_no_block() {
    let mut world = World::new(&ten(MAPPINGS[0]));
    world.hops.capacity = 0;
    assert_eq!(world.send(udp(1, 1)).err(), Some(Refusal::NeighborTableFull));
    assert_eq!(world.nat.blocks_of(mooring_policy::PoolId(0)), (0, 10));
    let kinds: Vec<EventKind> = told(&mut world).iter().map(|event| event.kind).collect();
    let expected = [EventKind::BlockAllocated, EventKind::BlockReleased, EventKind::TableFull];
    assert_eq!(kinds, expected);
}

/// Sessions of a rule that is gone go on, and have their block: nobody else gets a port of it.
#[test]
fn what_drains_has_its_block_to_itself() {
    let draining =
        |config: String| config.replace("pool = \"egress\"", "pool = \"egress\"\ndrain = true");
    let blocks = ten(MAPPINGS[1]);
    let random: Vec<&str> = blocks.lines().filter(|line| !line.contains("allocation")).collect();
    let mut world = World::new(&draining(random.join("\n")));
    for host in 1..=30 {
        world.session(udp(host, 1));
    }
    let mut hosts: HashMap<u16, HashSet<Ipv4Addr>> = HashMap::new();
    for index in world.all() {
        let session = world.nat.sessions.session(index);
        hosts.entry(block_of(session.outside_port)).or_default().insert(session.inside);
    }
    let only_new = "source = [\"10.1.9.0/24\"]\npool = \"egress\"";
    world.reload(&ten(MAPPINGS[1]).replace("pool = \"egress\"", only_new));
    world.check_all();
    assert_eq!(world.nat.sessions.len(), hosts.len(), "one of each block goes on");
    assert_eq!(world.nat.blocks_of(mooring_policy::PoolId(0)).0 as usize, hosts.len());
    let others = 10 - hosts.len();
    let begun = (0..12).filter(|n| world.send(udp(0x0900 + n, 1)).is_ok()).count();
    assert_eq!(begun, others, "blocks that nothing drains in are given out");
    world.pass(1_000_000);
    assert_eq!(world.nat.blocks_of(mooring_policy::PoolId(0)).0, 0);
}

/// Nor does it go on where its port is another worker's now.
#[test]
fn what_drains_ends_when_its_port_is_another_workers() {
    let draining = ten(MAPPINGS[0]).replace("pool = \"egress\"", "pool = \"egress\"\ndrain = true");
    let mut world = World::new(&draining);
    let share = Share::new(1, 2).expect("one of two");
    world.nat = Nat::new(&world.policy, share, KeyedHash::new([9, 2, 3, 4]));
    for host in 1..=5 {
        for n in 1..=10 {
            world.session(udp(host, n));
        }
    }
    let only_new = "source = [\"10.1.9.0/24\"]\npool = \"egress\"";
    let sizes = ten(MAPPINGS[0]).replace("size = 10, max_blocks = 2", "size = 5, max_blocks = 4");
    world.reload(&sizes.replace("pool = \"egress\"", only_new));
    world.check_all();
    assert_eq!(world.nat.sessions.len(), 25, "every second block of five");
    for index in world.all() {
        assert_eq!((world.nat.sessions.session(index).outside_port - 2000) / 5 % 2, 1);
    }
}

/// As many as can be configured. Each packet looks at a block once: what is refused, too, costs no more
/// than the blocks that there are.
#[test]
fn a_host_uses_all_ports_of_as_many_blocks_as_there_may_be() {
    for mapping in MAPPINGS {
        let all = ten(mapping).replace("2000-2099", "2000-2255");
        let mut world =
            World::new(&all.replace("size = 10, max_blocks = 2", "size = 2, max_blocks = 64"));
        for n in 1..=128 {
            world.session(udp(5, n));
        }
        assert_eq!(world.nat.blocks_of(mooring_policy::PoolId(0)), (64, 128), "{mapping}");
        assert_eq!(world.send(udp(5, 129)).err(), Some(Refusal::PortsExhausted), "{mapping}");
        let (pool, end) = (world.nat.pools.number(mooring_policy::PoolId(0)), host_address(5));
        let address = world.nat.sessions.session(world.all()[0]).outside;
        let there = world.nat.blocks.held_there(pool, end, address);
        let ports: HashSet<u16> =
            there.iter().map(|block| *world.nat.blocks.ports(block).start()).collect();
        assert_eq!((there.iter().count(), ports.len()), (64, 64), "each of them once");
        world.finish(udp(5, 77));
        world.session(udp(5, 129));
    }
}

/// Who has a block is known by any of its ports, and of a resting one who had it.
#[test]
fn a_block_names_its_source() {
    let mut world = World::new(&ten(MAPPINGS[1]));
    let session = world.session(udp(5, 1));
    let first = 2000 + block_of(session.outside_port) * 10;
    let at = |world: &World, port| world.nat.block_at(session.outside, port);
    for port in first..first + 10 {
        assert_eq!(at(&world, port), Some((host_address(5), first..=first + 9, true)));
    }
    let other = if first == 2000 { 2010 } else { 2000 };
    assert_eq!(at(&world, other), None, "nobody had it");
    world.finish(udp(5, 1));
    assert_eq!(at(&world, first), Some((host_address(5), first..=first + 9, false)));
}

/// RFC 6888 REQ-13 in kind: a host gets the last port of its block for a remote, also when searches have
/// looked at as much as they may.
#[test]
fn the_last_port_of_a_block_is_found_at_once() {
    let mut world = World::new(&config(
        r#"addresses = ["203.0.113.10"]
        ports = "2000-2999"
        mapping = "endpoint-dependent"
        allocation = { kind = "port-block", size = 1000, max_blocks = 1 }"#,
    ));
    for n in 1..=1000 {
        world.nat.sweeps.allowed(world.now);
        world.nat.sweeps.spend(usize::MAX);
        assert!(world.send(udp(5, n)).is_ok(), "port {n} of a thousand");
    }
    assert_eq!(world.send(udp(5, 1001)).err(), Some(Refusal::PortsExhausted));
}
