//! Who owns what, under policies that follow each other.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use mooring_session::{Direction, FlowKey, Session};
use mooring_wire::Protocol;

use super::{FORMER, Owners};
use crate::fixture::{OUTSIDE, World, flow, policy};
use crate::{Refusal, Share};

/// A pool at one address with these ports, and more said of it; sessions of its rule drain.
fn pool(ports: &str, more: &str) -> String {
    format!(
        r#"
        pool = [{{ name = "egress", addresses = ["203.0.113.10"], ports = "{ports}"{more} }}]
        rule = [{{ name = "egress", kind = "source-nat", from = "inside", to = "outside", pool = "egress", drain = true }}]
        "#
    )
}

/// A port of the same address that a rule forwards.
fn forwarded(port: u16) -> String {
    format!(
        r#"rule = [{{ name = "web", kind = "port-forward", address = "203.0.113.10", protocol = "udp", port = "{port}", target = "10.0.0.3:80", from = "outside", drain = true }}]"#
    )
}

const BLOCKS: &str = ", allocation = { kind = \"port-block\", size = 8, max_blocks = 8 }";
const SLICES: &str =
    ", allocation = { kind = \"deterministic\", source = \"10.0.0.0/29\", ports_per_host = 32 }";
const PORTS: &str = "2000-2255";
const NOBODY: &str = "";

fn udp(host: u8, port: u16) -> FlowKey<Ipv4Addr> {
    flow(Protocol::UDP, &format!("10.0.0.{host}:{port}"), "198.51.100.1:53")
}

/// Some workers of one appliance, each with its own table.
struct Workers(Vec<World>);

impl Workers {
    fn new(of: u8, config: &str) -> Self {
        let share = |worker| Share::new(worker, of).expect("one of them");
        Self((0..of).map(|worker| World::of_share(share(worker), config, 3)).collect())
    }

    /// Flows of five hosts, each where it belongs.
    fn begin(&mut self) {
        for host in 2..=6 {
            for port in 5000..5003 {
                let key = udp(host, port);
                let owner = self.0[0].owners.of_flow(&key);
                self.0[usize::from(owner)].send(key).expect("it begins");
            }
        }
    }

    fn reload(&mut self, config: &str) {
        for world in &mut self.0 {
            world.reload(config);
            world.sweep();
        }
    }

    fn sessions(&self) -> Vec<(usize, Session<Ipv4Addr>)> {
        let of = |world: &World| -> Vec<_> {
            let all = world.all();
            all.into_iter().map(|at| world.nat.sessions.session(at).clone()).collect()
        };
        let all = self.0.iter().enumerate();
        all.flat_map(|(at, world)| of(world).into_iter().map(move |session| (at, session)))
            .collect()
    }

    /// How many sessions there are; each is its worker's by both directions, as every worker says.
    fn check(&self) -> usize {
        let sessions = self.sessions();
        for (at, session) in &sessions {
            for way in [Direction::Forward, Direction::Reverse] {
                for world in &self.0 {
                    let owner = world.owners.of_flow(&session.key(way));
                    assert_eq!(usize::from(owner), *at, "{way:?} of {session:?}");
                }
            }
        }
        sessions.len()
    }
}

/// What drains is found for as long as it lives, whatever policies follow.
#[test]
fn answers_to_an_address_that_no_pool_has_any_more_find_their_worker() {
    for of in 1..=4 {
        for allocation in ["", BLOCKS, SLICES] {
            let mut workers = Workers::new(of, &pool(PORTS, allocation));
            workers.begin();
            assert_eq!(workers.check(), 15);
            let elsewhere = pool(PORTS, "").replace("203.0.113.10", "203.0.113.77");
            let narrow = pool("3000-3255", "");
            for next in [NOBODY, &elsewhere, NOBODY, &narrow, &forwarded(80), NOBODY] {
                workers.reload(next);
                assert_eq!(workers.check(), 15, "{of} workers, {allocation}, {next}");
            }
        }
    }
}

/// A former owner has no say where the policy of now has one: what drains there ends.
#[test]
fn what_drains_ends_where_its_port_is_given_to_another_worker() {
    for of in 1..=4 {
        for (first, last) in [(BLOCKS, ""), ("", BLOCKS), (SLICES, "")] {
            let mut workers = Workers::new(of, &pool(PORTS, first));
            workers.begin();
            workers.reload(NOBODY);
            let elsewhere =
                pool(PORTS, last).replace("from = \"inside\"", "source = [\"10.9.0.0/24\"]");
            workers.reload(&elsewhere);
            let left = workers.check();
            assert!(if of == 1 && last.is_empty() { left == 15 } else { left < 15 }, "{left}");
        }
    }
}

/// Of one worker and of several: who has the port now has it for himself.
#[test]
fn what_drains_ends_when_a_rule_claims_its_port() {
    for of in 1..=3 {
        let mut workers = Workers::new(of, &pool(PORTS, ""));
        workers.begin();
        let taken = workers.sessions()[0].1.outside_port;
        workers.reload(&forwarded(taken));
        assert_eq!(workers.check(), 14, "{of} workers");
        assert!(workers.sessions().iter().all(|(_, session)| session.outside_port != taken));
        let fixed = r#"rule = [{ name = "one", kind = "static", inside = "10.0.0.9/32", outside = "203.0.113.10/32", from = "inside", to = "outside" }]"#;
        workers.reload(fixed);
        assert_eq!(workers.check(), 0, "a static rule has all of the address");
    }
}

/// The same host behind the same port is nobody else.
#[test]
fn what_drains_goes_on_where_a_rule_gives_its_end_to_the_same_host() {
    let mut world = World::new(&forwarded(8080));
    let key = flow(Protocol::UDP, "198.51.100.1:5000", "203.0.113.10:8080");
    world.arrive(OUTSIDE, key, None).expect("it is forwarded");
    let narrower = forwarded(8080).replace("from = ", "source = [\"198.51.100.9\"], from = ");
    world.reload(&narrower);
    assert_eq!((world.sweep(), world.nat.sessions.len()), (0, 1));
    world.reload(&narrower.replace("10.0.0.3:80", "10.0.0.3:81"));
    assert_eq!((world.sweep(), world.nat.sessions.len()), (1, 0));
}

/// A port that a rule forwarded drains at its host's worker while no pool and no rule has it.
#[test]
fn what_a_forwarded_port_drains_is_found_when_its_rule_is_gone() {
    for of in 1..=5 {
        let mut workers = Workers::new(of, &forwarded(8080));
        let key = flow(Protocol::UDP, "198.51.100.1:5000", "203.0.113.10:8080");
        let owner = usize::from(workers.0[0].owners.of_flow(&key));
        workers.0[owner].arrive(OUTSIDE, key, None).expect("it is forwarded");
        for next in [NOBODY, &pool(PORTS, ""), &forwarded(8081), &pool(PORTS, BLOCKS)] {
            workers.reload(next);
            assert_eq!(workers.check(), 1, "{of} workers, {next}");
        }
    }
}

/// Bounded, and every worker forgets the same: what cannot be found any more ends.
#[test]
fn former_policies_are_forgotten_from_the_eldest_on() {
    let mut workers = Workers::new(3, &pool(PORTS, BLOCKS));
    workers.begin();
    for n in 0..=FORMER as u16 {
        assert_eq!(workers.check(), 15, "after {n} reloads");
        workers.reload(&pool(&format!("{}-{}", 3000 + n, 3255 + n), ""));
    }
    let left = workers.check();
    assert!(0 < left && left < 15, "where they are found by no policy: {left}");
    // One that comes again takes no more room.
    let mut workers = Workers::new(3, &pool(PORTS, BLOCKS));
    workers.begin();
    for n in 0..4 * FORMER as u16 {
        workers.reload(&pool(&format!("{}-{}", 3000 + n % 2, 3255 + n % 2), ""));
        assert_eq!(workers.check(), 15);
    }
}

/// Between the first worker that takes a policy up and the last one: what moves begins nowhere, all else
/// goes on.
#[test]
fn what_moves_between_workers_begins_nowhere_until_all_know() {
    for (first, next) in [("", BLOCKS), (BLOCKS, ""), (SLICES, BLOCKS)] {
        let mut workers = Workers::new(2, &pool(PORTS, first));
        let own = |workers: &Workers, host: u8| workers.0[0].owners.of_flow(&udp(host, 5000)) == 0;
        let host = (2..7).find(|host| own(&workers, *host)).expect("some host is of the first");
        workers.0[0].adopt(&pool(PORTS, next));
        let mut begun = HashSet::new();
        for port in 5000..5064 {
            match workers.0[0].send(udp(host, port)) {
                Ok(found) => {
                    let nat = &workers.0[0].nat;
                    begun.insert(nat.sessions.session(found.index).outside_port);
                }
                Err(refusal) => assert_eq!(refusal, Refusal::PortsExhausted),
            }
        }
        let before = Owners::new(
            Arc::new(policy(&pool(PORTS, first))),
            Share::new(0, 2).expect("one of two"),
        );
        let of = |port| {
            before.of_flow(&flow(Protocol::UDP, "198.51.100.1:53", &format!("203.0.113.10:{port}")))
        };
        assert!(begun.iter().all(|port| of(*port) == 0), "{begun:?}");
        workers.0[0].owners.all_follow();
        let more = (6000..6064).filter(|port| workers.0[0].send(udp(host, *port)).is_ok()).count();
        assert!(begun.len() + more > 16 && more > 0, "{more} after {begun:?}");
    }
}

/// The target of a rule that is new does not hear of a remote end that another worker may still serve.
#[test]
fn what_a_new_rule_forwards_begins_when_all_know() {
    let mut workers = Workers::new(2, &pool(PORTS, ""));
    let target = workers.0[0].owners.of_host([10, 0, 0, 3].into());
    let ports = (2000..2256).filter(|port| port / 2 % 2 != u16::from(target));
    let key = |port| flow(Protocol::UDP, "198.51.100.1:53", &format!("203.0.113.10:{port}"));
    for port in ports.take(3) {
        let world = &mut workers.0[usize::from(target)];
        world.adopt(&forwarded(port));
        assert_eq!(world.arrive(OUTSIDE, key(port), None), Err(Refusal::PortsExhausted));
        assert_eq!(world.nat.sessions.len(), 0);
        world.owners.all_follow();
        assert!(world.arrive(OUTSIDE, key(port), None).is_ok());
        world.reload(&pool(PORTS, ""));
        world.sweep();
    }
}

/// Neither direction of a forwarded session is another worker's because the answers alone might pass.
#[test]
fn a_bypass_rule_does_not_part_the_directions_of_what_is_translated() {
    let config = r#"
        pool = [{ name = "egress", addresses = ["203.0.113.10"], ports = "2000-2063" }]
        rule = [
            { name = "web", kind = "port-forward", address = "203.0.113.10", protocol = "udp", port = "8080", target = "10.0.0.3:80", from = "outside" },
            { name = "as-is", kind = "bypass", from = "inside", to = "outside", destination = ["2.0.0.0/8"] },
            { name = "back", kind = "bypass", from = "outside", to = "inside", source = ["3.0.0.0/8"] },
            { name = "egress", kind = "source-nat", from = "inside", to = "outside", pool = "egress" },
        ]"#;
    let owners = Owners::new(Arc::new(policy(config)), Share::new(0, 8).expect("one of eight"));
    let mut seen = HashSet::new();
    for last in 1..=40 {
        let forwarded = flow(Protocol::UDP, &format!("2.0.0.{last}:5000"), "203.0.113.10:8080");
        let answer = flow(Protocol::UDP, "10.0.0.3:80", &format!("2.0.0.{last}:5000"));
        assert_eq!(owners.of_flow(&forwarded), owners.of_flow(&answer));
        // RFC 4787 REQ-1: all that a host begins is with one worker.
        let out = flow(Protocol::UDP, "10.0.0.4:5000", &format!("3.0.0.{last}:53"));
        assert_eq!(owners.of_flow(&out), owners.of_host([10, 0, 0, 4].into()));
        assert_eq!(owners.of_flow(&out), owners.of_flow(&out.exchanged()));
        let passed = flow(Protocol::UDP, "10.0.0.4:5000", &format!("2.0.0.{last}:53"));
        assert_eq!(owners.of_flow(&passed), owners.of_flow(&passed.exchanged()));
        seen.insert(owners.of_flow(&passed));
    }
    assert!(seen.len() > 4, "what passes is spread: {seen:?}");
}

/// Limits per source count in one worker, so hosts of one source have one.
#[test]
fn hosts_of_one_source_have_one_worker() {
    let limits = "limits = { source_prefix_v4 = 24, source_prefix_v6 = 56 }\n";
    let owners = Owners::new(Arc::new(policy(limits)), Share::new(0, 8).expect("one of eight"));
    let mut seen = HashSet::new();
    for net in 0..64u8 {
        let of = |host: u8| {
            let v4 = IpAddr::from([10, 0, net, host]);
            let v6 = [0xfd00, 0x10, 0, u16::from(net) << 8 | 7, 0, 0, 0, host.into()];
            [owners.of_host(v4), owners.of_host(v6.into())]
        };
        seen.insert(of(1));
        assert_eq!(of(1), of(200));
    }
    assert!(seen.len() > 8, "prefixes are spread: {seen:?}");
}
