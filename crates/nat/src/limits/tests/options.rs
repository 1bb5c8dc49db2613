//! The limits that are options, of a source and of a pool, one by one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use mooring_policy::Limits;
use mooring_session::Direction::{Forward, Reverse};
use mooring_session::{Address, FlowKey, KeyedHash, SessionRef};
use mooring_wire::Protocol;
use mooring_wire::tcp::Flags;

use crate::fixture::{OUTSIDE, World, flow};
use crate::{EventKind, Nat, Refusal, Share};

const OPEN: &str = "filtering = \"endpoint-independent\"";

/// A world with these keys in `[limits]` and in the pool.
fn world(limits: &str, pool: &str) -> World {
    World::new(&config(limits, pool))
}

fn config(limits: &str, pool: &str) -> String {
    format!(
        r#"
        limits = {{ sessions = 64, {limits} }}
        pool = [{{ name = "egress", addresses = ["203.0.113.10"], {pool} }}]
        rule = [
            {{ name = "web", kind = "port-forward", address = "203.0.113.10", port = 80, target = "10.0.0.2:80" }},
            {{ name = "egress", kind = "source-nat", from = "inside", to = "outside", pool = "egress" }},
        ]"#
    )
}

fn udp(source: &str, destination: &str) -> FlowKey<Ipv4Addr> {
    flow(Protocol::UDP, source, destination)
}

/// A connection of this host begins.
fn syn(world: &mut World, source: &str) -> Result<SessionRef, Refusal> {
    world.send(flow(Protocol::TCP, source, "198.51.100.1:80"))
}

/// One to the forwarded port, by a remote with this port.
fn syn_from_outside(world: &mut World, port: u16) -> Result<SessionRef, Refusal> {
    let key = flow(Protocol::TCP, &format!("198.51.100.7:{port}"), "203.0.113.10:80");
    world.arrive(OUTSIDE, key, Some(Flags::SYN))
}

fn told(world: &mut World) -> Vec<(EventKind, Option<u16>)> {
    std::iter::from_fn(|| world.nat.events.read()).map(|event| (event.kind, event.pool)).collect()
}

/// RFC 6888 REQ-4: "A CGN MUST support limiting the number of external ports [...] per subscriber".
#[test]
fn a_source_has_so_many_mappings_and_as_many_sessions_of_them_as_it_likes() {
    let mut world = world("mappings_per_source = 2", "");
    for port in ["10.0.0.2:1", "10.0.0.2:2"] {
        assert!(world.send(udp(port, "198.51.100.1:53")).is_ok());
    }
    assert_eq!(world.send(udp("10.0.0.2:3", "198.51.100.1:53")), Err(Refusal::SourceLimit));
    assert!(world.send(udp("10.0.0.2:1", "198.51.100.2:53")).is_ok(), "of a mapping it has");
    assert!(world.send(udp("10.0.0.3:1", "198.51.100.1:53")).is_ok(), "another source");
    assert_eq!(told(&mut world), [(EventKind::SourceLimit, Some(0))]);
    world.pass(302_000);
    assert!(world.send(udp("10.0.0.2:3", "198.51.100.1:53")).is_ok());
}

#[test]
fn a_source_has_so_many_connections_that_are_not_open() {
    let mut world = world("half_open_per_source = 2", "");
    let first = syn(&mut world, "10.0.0.2:1").expect("room");
    assert!(syn(&mut world, "10.0.0.2:2").is_ok());
    assert_eq!(syn(&mut world, "10.0.0.2:3"), Err(Refusal::HalfOpenLimit));
    assert!(syn(&mut world, "10.0.0.3:1").is_ok(), "a flood of one hurts no other");
    assert!(world.send(udp("10.0.0.2:3", "198.51.100.1:53")).is_ok(), "nor what is no connection");
    assert_eq!(told(&mut world), [(EventKind::HalfOpenLimit, Some(0))]);
    // An answer opens the first one. It closes and begins anew: not open again.
    world.segment(first.index, Reverse, Flags::SYN | Flags::ACK);
    assert!(syn(&mut world, "10.0.0.2:3").is_ok());
    world.segment(first.index, Forward, Flags::FIN);
    world.segment(first.index, Reverse, Flags::FIN);
    world.segment(first.index, Forward, Flags::SYN);
    assert_eq!(syn(&mut world, "10.0.0.2:4"), Err(Refusal::HalfOpenLimit));
    world.pass(242_000);
    assert!(syn(&mut world, "10.0.0.2:4").is_ok(), "they have ended");
}

/// A SYN in a connection that has ended is asked for as one that begins a session is; of a source, of all
/// hosts of a pool, and each way apart.
#[test]
fn a_connection_opens_again_only_where_one_may_begin() {
    let cases = [("half_open_per_source = 2", ""), ("", "limits = { half_open = 2 }")];
    for (limits, pool) in cases {
        let mut world = world(limits, pool);
        let mut all = Vec::new();
        for port in 1..=4 {
            let found = syn(&mut world, &format!("10.0.0.2:{port}")).expect("room");
            world.segment(found.index, Reverse, Flags::SYN | Flags::ACK);
            world.segment(found.index, Forward, Flags::RST);
            all.push(found);
        }
        let asked = |world: &mut World, found: SessionRef, flags: Flags| {
            let (nat, admission) = world.admission();
            nat.may_turn(found, flags, &admission)
        };
        let open = |world: &mut World, found: SessionRef| {
            asked(world, found, Flags::SYN)?;
            world.segment(found.index, found.direction, Flags::SYN);
            Ok(())
        };
        let again: Vec<_> = all.iter().map(|found| open(&mut world, *found)).collect();
        let full = Err(Refusal::HalfOpenLimit);
        assert_eq!(again, [Ok(()), Ok(()), full, full], "{limits}{pool}");
        assert_eq!(told(&mut world), [(EventKind::HalfOpenLimit, Some(0))], "one a second");
        assert_eq!(syn(&mut world, "10.0.0.2:9"), Err(Refusal::HalfOpenLimit));
        assert_eq!(open(&mut world, all[0]), Ok(()), "repeated, it opens nothing");
        // From outside they are counted apart, and no further.
        let back = |at: usize| SessionRef { direction: Reverse, ..all[at] };
        assert_eq!(open(&mut world, back(2)), Ok(()), "{limits}{pool}");
        world.segment(all[0].index, Reverse, Flags::SYN | Flags::ACK);
        assert_eq!(open(&mut world, all[3]), Ok(()), "an answer makes room");
        assert_eq!(asked(&mut world, all[2], Flags::ACK), Ok(()), "what opens nothing passes");
    }
}

/// A forged remote can be anybody, so it is the host inside that is counted; what it begins itself is
/// counted apart, or a flood would keep it from the world.
#[test]
fn a_syn_flood_of_a_forwarded_port_is_capped_and_keeps_nobody_from_the_world() {
    let mut world = world("half_open_per_source = 3", "");
    for port in 1..=3 {
        assert!(syn_from_outside(&mut world, port).is_ok());
    }
    for port in 4..50 {
        assert_eq!(syn_from_outside(&mut world, port), Err(Refusal::HalfOpenLimit));
    }
    for source in ["10.0.0.2:1", "10.0.0.2:2", "10.0.0.2:3"] {
        assert!(syn(&mut world, source).is_ok());
    }
    assert_eq!(syn(&mut world, "10.0.0.2:4"), Err(Refusal::HalfOpenLimit));
    // The host answers one: there is room for another.
    let found =
        world.nat.sessions.find_key(&flow(Protocol::TCP, "198.51.100.7:1", "203.0.113.10:80"));
    world.segment(found.expect("it is there").index, Forward, Flags::SYN | Flags::ACK);
    assert!(syn_from_outside(&mut world, 4).is_ok());
}

#[test]
fn a_source_begins_so_many_sessions_in_a_second() {
    let mut world = world("session_rate_per_source = 2", "");
    let mut next = 0;
    let mut begin = |world: &mut World, host: &str| {
        next += 1;
        world.send(udp(&format!("{host}:{next}"), "198.51.100.1:53")).map(|_| ())
    };
    assert_eq!([(); 2].map(|()| begin(&mut world, "10.0.0.2")), [Ok(()); 2]);
    assert_eq!(begin(&mut world, "10.0.0.2"), Err(Refusal::SessionRateLimit));
    assert_eq!(begin(&mut world, "10.0.0.3"), Ok(()));
    world.pass(500);
    assert_eq!(begin(&mut world, "10.0.0.2"), Ok(()));
    assert_eq!(begin(&mut world, "10.0.0.2"), Err(Refusal::SessionRateLimit));
    assert!(syn_from_outside(&mut world, 1).is_ok(), "what others begin is not its own");
    world.pass(10_000);
    assert_eq!([(); 2].map(|()| begin(&mut world, "10.0.0.2")), [Ok(()); 2]);
    assert_eq!(
        begin(&mut world, "10.0.0.2"),
        Err(Refusal::SessionRateLimit),
        "a burst of one second"
    );
    assert_eq!(told(&mut world), [(EventKind::SessionRateLimit, Some(0)); 2]);
}

/// The last session of a source may be the one that makes room for its next: its rate is not forgotten.
#[test]
fn the_rate_of_a_source_outlives_its_sessions_that_make_room() {
    let limits = "sessions = 1, on_full = \"evict-transitory\", session_rate_per_source = 3";
    let mut world = World::new(&config("", "").replace("sessions = 64,", limits));
    let begun = (1..10).filter(|port| syn(&mut world, &format!("10.0.0.2:{port}")).is_ok());
    assert_eq!(begun.count(), 3);
}

#[test]
fn all_hosts_of_a_pool_have_so_many_sessions() {
    let pool = format!("limits = {{ sessions = 2 }}, {OPEN}");
    let mut world = world("", &pool);
    let first = world.session(udp("10.0.0.2:1", "198.51.100.1:53"));
    assert!(world.send(udp("10.0.0.3:1", "198.51.100.1:53")).is_ok());
    assert_eq!(world.send(udp("10.0.0.4:1", "198.51.100.1:53")), Err(Refusal::PoolLimit));
    assert_eq!(told(&mut world), [(EventKind::PoolLimit, Some(0))]);
    assert!(syn_from_outside(&mut world, 1).is_ok(), "a forwarded port is of no pool");
    // What others begin with a mapping of the pool has as much of its own.
    let outside = format!("203.0.113.10:{}", first.outside_port);
    let mut knock = |port: u16| {
        world.arrive(OUTSIDE, udp(&format!("198.51.100.9:{port}"), &outside), None).map(|_| ())
    };
    assert_eq!([1, 2, 3].map(&mut knock), [Ok(()), Ok(()), Err(Refusal::PoolLimit)]);
    world.pass(302_000);
    assert!(world.send(udp("10.0.0.4:1", "198.51.100.1:53")).is_ok());
}

#[test]
fn all_hosts_of_a_pool_have_so_many_mappings() {
    let mut world = world("", "limits = { mappings = 2 }");
    for host in [2, 3] {
        assert!(world.send(udp(&format!("10.0.0.{host}:1"), "198.51.100.1:53")).is_ok());
    }
    assert_eq!(world.send(udp("10.0.0.4:1", "198.51.100.1:53")), Err(Refusal::PoolLimit));
    assert!(world.send(udp("10.0.0.3:1", "198.51.100.2:53")).is_ok());
    assert_eq!(world.nat.leased_ports(), 2);
}

#[test]
fn all_hosts_of_a_pool_have_so_many_connections_that_are_not_open() {
    let mut world = world("", "limits = { half_open = 2 }");
    let first = syn(&mut world, "10.0.0.2:1").expect("room");
    assert!(syn(&mut world, "10.0.0.3:1").is_ok());
    assert_eq!(syn(&mut world, "10.0.0.4:1"), Err(Refusal::HalfOpenLimit));
    world.segment(first.index, Reverse, Flags::SYN | Flags::ACK);
    assert!(syn(&mut world, "10.0.0.4:1").is_ok());
}

#[test]
fn all_hosts_of_a_pool_begin_so_many_sessions_in_a_second() {
    for mapping in ["endpoint-independent", "endpoint-dependent"] {
        let mut world =
            world("", &format!("limits = {{ session_rate = 2 }}, mapping = \"{mapping}\""));
        let mut begin =
            |host: u8| world.send(udp(&format!("10.0.0.{host}:1"), "198.51.100.1:53")).map(|_| ());
        assert_eq!([2, 3, 4].map(&mut begin), [Ok(()), Ok(()), Err(Refusal::SessionRateLimit)]);
        world.pass(500);
        assert!(world.send(udp("10.0.0.4:1", "198.51.100.1:53")).is_ok());
    }
}

/// Of several workers each has its part, rounded up, of what a pool may have; a source has one worker.
#[test]
fn a_worker_has_its_part_of_what_a_pool_may_have() {
    let mut world = world("half_open_per_source = 3", "limits = { sessions = 5 }");
    let share = Share::new(0, 2).expect("one of two");
    world.nat = Nat::new(&world.policy, share, KeyedHash::new([1, 2, 3, 4]));
    for port in 1..=3 {
        assert!(syn(&mut world, &format!("10.0.0.2:{port}")).is_ok());
    }
    assert_eq!(syn(&mut world, "10.0.0.2:4"), Err(Refusal::HalfOpenLimit), "not divided");
    assert_eq!(world.send(udp("10.0.0.3:1", "198.51.100.1:53")), Err(Refusal::PoolLimit));
}

/// A reload turns limits on: what lives is counted as the sweep comes by, and a lower limit ends nothing.
#[test]
fn a_reload_counts_what_lives() {
    for mapping in ["endpoint-independent", "endpoint-dependent"] {
        let mapping = format!("mapping = \"{mapping}\"");
        let mut world = world("", &mapping);
        let open = syn(&mut world, "10.0.0.2:9").expect("room");
        world.segment(open.index, Reverse, Flags::SYN | Flags::ACK);
        for port in 1..=3 {
            assert!(syn(&mut world, &format!("10.0.0.2:{port}")).is_ok());
        }
        let pool = format!("{mapping}, limits = {{ sessions = 6 }}");
        world.reload(&config("half_open_per_source = 4", &pool));
        assert_eq!(world.sweep(), 0);
        assert!(syn(&mut world, "10.0.0.2:4").is_ok());
        assert_eq!(syn(&mut world, "10.0.0.2:5"), Err(Refusal::HalfOpenLimit));
        assert!(syn(&mut world, "10.0.0.3:1").is_ok());
        assert_eq!(syn(&mut world, "10.0.0.4:1"), Err(Refusal::PoolLimit));
        // And back to none; later again to one.
        world.reload(&config("", &mapping));
        assert!(syn(&mut world, "10.0.0.2:5").is_ok());
        assert_eq!(world.sweep(), 0);
        world.reload(&config("half_open_per_source = 5", &mapping));
        assert_eq!(world.sweep(), 0);
        assert_eq!(syn(&mut world, "10.0.0.2:6"), Err(Refusal::HalfOpenLimit));
        world.pass(242_000);
        for port in 11..=15 {
            assert!(syn(&mut world, &format!("10.0.0.2:{port}")).is_ok());
        }
        assert_eq!(syn(&mut world, "10.0.0.2:16"), Err(Refusal::HalfOpenLimit));
    }
}

/// A reload gives the pool another name: its mappings and sessions count for the new one.
#[test]
fn a_pool_that_is_renamed_takes_what_it_has_along() {
    let pool = "limits = { mappings = 2, sessions = 3 }";
    let mut world = world("", pool);
    for host in [2, 3] {
        assert!(world.send(udp(&format!("10.0.0.{host}:1"), "198.51.100.1:53")).is_ok());
    }
    world.reload(&config("", pool).replace("egress", "renamed"));
    assert_eq!(world.sweep(), 0);
    assert_eq!(world.send(udp("10.0.0.4:1", "198.51.100.1:53")), Err(Refusal::PoolLimit));
    assert!(world.send(udp("10.0.0.2:1", "198.51.100.2:53")).is_ok());
    assert_eq!(world.send(udp("10.0.0.2:1", "198.51.100.3:53")), Err(Refusal::PoolLimit));
    world.pass(302_000);
    for host in [4, 5] {
        assert!(world.send(udp(&format!("10.0.0.{host}:1"), "198.51.100.1:53")).is_ok());
    }
    assert_eq!(world.send(udp("10.0.0.6:1", "198.51.100.1:53")), Err(Refusal::PoolLimit));
}

/// "SYN flood cap per source and per pool": what is forwarded is of no pool, so its rule has the cap. What
/// the host begins itself is counted by its pool.
#[test]
fn a_syn_flood_of_a_forwarded_port_is_capped_by_its_rule() {
    let limited = |half_open: u32| {
        let limits = format!("10.0.0.2:80\", limits = {{ half_open = {half_open} }} }}");
        config("", "").replace("10.0.0.2:80\" }", &limits)
    };
    let mut world = World::new(&limited(3));
    for port in 1..=3 {
        assert!(syn_from_outside(&mut world, port).is_ok());
    }
    for port in 4..50 {
        assert_eq!(syn_from_outside(&mut world, port), Err(Refusal::HalfOpenLimit));
    }
    assert_eq!(told(&mut world), [(EventKind::HalfOpenLimit, None)]);
    assert!(syn(&mut world, "10.0.0.2:1").is_ok(), "nobody is kept from the world");
    // The host answers one: there is room for another.
    let end = |port| flow(Protocol::TCP, &format!("198.51.100.7:{port}"), "203.0.113.10:80");
    let found = world.nat.sessions.find_key(&end(1)).expect("it is there");
    world.segment(found.index, Forward, Flags::SYN | Flags::ACK);
    assert!(syn_from_outside(&mut world, 4).is_ok());
    assert_eq!(syn_from_outside(&mut world, 5), Err(Refusal::HalfOpenLimit));
    // It ends and opens again, like one that begins.
    world.segment(found.index, Forward, Flags::RST);
    let (nat, admission) = world.admission();
    assert_eq!(nat.may_turn(found, Flags::SYN, &admission), Err(Refusal::HalfOpenLimit));
    // A reload asks for more, and counts what is there.
    world.reload(&limited(4));
    world.sweep();
    assert!(syn_from_outside(&mut world, 5).is_ok());
    assert_eq!(syn_from_outside(&mut world, 6), Err(Refusal::HalfOpenLimit));
}

/// Of a `static` rule what others begin and what its hosts begin, each as much.
#[test]
fn a_rule_has_so_many_sessions_and_begins_so_many_in_a_second() {
    let config = |limits: &str| {
        format!(
            r#"
            limits = {{ sessions = 64 }}
            rule = [
                {{ name = "web", kind = "static", inside = "10.0.0.2", outside = "203.0.113.40", limits = {{ {limits} }} }},
            ]"#
        )
    };
    for (limits, refusal, kind) in [
        ("sessions = 2", Refusal::PoolLimit, EventKind::PoolLimit),
        ("session_rate = 2", Refusal::SessionRateLimit, EventKind::SessionRateLimit),
    ] {
        let mut world = World::new(&config(limits));
        for (port, expected) in [(1, Ok(())), (2, Ok(())), (3, Err(refusal))] {
            let key = udp(&format!("10.0.0.2:{port}"), "198.51.100.1:53");
            assert_eq!(world.send(key).map(|_| ()), expected, "{limits}");
        }
        for (port, expected) in [(1, Ok(())), (2, Ok(())), (3, Err(refusal))] {
            let key = udp(&format!("198.51.100.7:{port}"), "203.0.113.40:80");
            assert_eq!(world.arrive(OUTSIDE, key, None).map(|_| ()), expected, "{limits}");
        }
        assert_eq!(told(&mut world), [(kind, None)], "one a second");
    }
}

/// All of a forwarded port is one host's, and so one worker's: its limit is not divided.
#[test]
fn the_limit_of_a_rule_of_one_host_is_not_divided() {
    let forward = "10.0.0.2:80\", limits = { half_open = 4 } }";
    let policy = crate::fixture::policy(&config("", "").replace("10.0.0.2:80\" }", forward));
    let prefix = crate::fixture::policy(
        r#"rule = [{ name = "all", kind = "static", inside = "10.0.0.0/28", outside = "203.0.113.0/28", limits = { half_open = 4 } }]"#,
    );
    let share = Share::new(1, 2).expect("one of two");
    let nat: Nat<Ipv4Addr> = Nat::new(&policy, share, KeyedHash::new([1, 2, 3, 4]));
    let rule = crate::limits::Holder::Rule(mooring_policy::RuleId(0));
    assert_eq!(nat.part(rule, &policy, |limits| limits.half_open), Some(4));
    assert_eq!(nat.part(rule, &prefix, |limits| limits.half_open), Some(2), "of many hosts it is");
}

/// Who the policy says is one source is one here, where the same is reckoned without its detours.
#[test]
fn a_source_is_the_prefix_that_the_policy_says() {
    for bits in [16, 24, 31, 32] {
        let limits =
            Limits { source_prefix_v4: bits, source_prefix_v6: bits * 4, ..Limits::default() };
        let (v4, v6) = (Ipv4Addr::new(10, 1, 2, 255), Ipv6Addr::from_bits(u128::MAX / 3));
        assert_eq!(IpAddr::from(v4.network(bits)), limits.source_of(v4.into()));
        assert_eq!(IpAddr::from(v6.network(bits * 4)), limits.source_of(v6.into()));
    }
    let v4 = Ipv4Addr::new(10, 1, 2, 255);
    assert_eq!([v4.network(0), v4.network(200)], [Ipv4Addr::UNSPECIFIED, v4]);
}
