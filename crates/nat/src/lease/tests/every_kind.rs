//! What holds for every kind of allocation, over reloads between them, with several workers.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};

use mooring_session::{Direction, FlowKey, KeyedHash};
use mooring_wire::Protocol;
use proptest::prelude::{
    ProptestConfig, Strategy, any, prop, prop_assert, prop_assert_eq, proptest,
};
use proptest::test_runner::TestCaseError;

use super::{config, to, udp};
use crate::fixture::World;
use crate::{Nat, PortOwner, Share};

/// Pools of the same two addresses; ports of all fit in 2000-2063.
fn kinds() -> Vec<String> {
    let allocations = [
        "",
        "parity = true\ncontiguity = true",
        "allocation = { kind = \"preserve\" }\nhold_down = { strict = true, ports = 9 }",
        "mapping = \"endpoint-dependent\"",
        "mapping = \"endpoint-dependent\"\nallocation = { kind = \"preserve\" }\naddress_choice = \"least-used\"",
        "pooling = \"arbitrary\"\naddress_choice = \"least-used\"",
        "pooling = \"arbitrary\"\nmapping = \"endpoint-dependent\"",
        "overflow_ports = \"2050-2063\"\nfiltering = \"endpoint-independent\"",
        "allocation = { kind = \"port-block\", size = 4, max_blocks = 2, quarantine = 20 }",
        "allocation = { kind = \"port-block\", size = 7, max_blocks = 3, quarantine = 5 }\nmapping = \"endpoint-dependent\"",
        "allocation = { kind = \"port-block\", size = 8, max_blocks = 1, quarantine = 0 }\naddress_choice = \"least-used\"",
        "allocation = { kind = \"deterministic\", source = \"10.1.0.0/29\", ports_per_host = 16 }",
        "allocation = { kind = \"deterministic\", source = \"10.1.0.0/28\", ports_per_host = 8 }\nmapping = \"endpoint-dependent\"",
    ];
    let pool = |more: &&str| {
        config(&format!("addresses = [\"203.0.113.16/31\"]\nports = \"2000-2063\"\n{more}"))
    };
    allocations.iter().map(pool).collect()
}

#[derive(Clone, Debug)]
enum Step {
    Begin(FlowKey<Ipv4Addr>),
    End(usize),
    Pass(u64),
    Reload(usize),
    /// A part of the sweep.
    Check(u32),
}

fn steps(kinds: usize) -> impl Strategy<Value = Vec<Step>> {
    let protocol = prop::sample::select(vec![Protocol::UDP, Protocol::TCP, Protocol::ICMP]);
    let flow = (0u16..9, 2000u16..2012, protocol, 1u8..4);
    let begin = flow
        .prop_map(|(host, port, protocol, remote)| Step::Begin(to(host, port, protocol, remote)));
    let step = proptest::prop_oneof![
        12 => begin,
        4 => any::<usize>().prop_map(Step::End),
        2 => (0u64..30_000).prop_map(Step::Pass),
        1 => (0..kinds).prop_map(Step::Reload),
        1 => (1u32..40).prop_map(Step::Check),
    ];
    prop::collection::vec(step, 50..200)
}

/// Some workers of one policy. A host belongs to one of them.
struct Workers(Vec<World>);

impl Workers {
    fn new(config: &str, of: u8, seed: u64) -> Self {
        let world = |worker| {
            let mut world = World::seeded(config, seed ^ u64::from(worker));
            let share = Share::new(worker, of).expect("one of them");
            let hash = KeyedHash::new([seed, u64::from(worker), 3, 4]);
            world.nat = Nat::new(&world.policy, share, hash);
            world
        };
        Self((0..of).map(world).collect())
    }

    fn of_host(&self, host: IpAddr) -> usize {
        let IpAddr::V4(host) = host else { return 0 };
        host.octets()[3] as usize % self.0.len()
    }

    fn take(&mut self, step: &Step, kinds: &[String]) {
        match step {
            Step::Begin(key) => {
                let at = self.of_host(key.source.into());
                let world = &mut self.0[at];
                match world.nat.sessions.find_key(key) {
                    // Its packet finds it, and asks whether it may go on.
                    Some(found) => {
                        let (nat, mut admission) = world.admission();
                        nat.recheck(found.index, &mut admission);
                    }
                    None => drop(world.send(*key)),
                }
            }
            Step::End(nth) => {
                let at = nth % self.0.len();
                let world = &mut self.0[at];
                let all = world.all();
                if let Some(index) = all.get(nth % all.len().max(1)) {
                    world.nat.end(*index, &mut world.hops, world.now);
                }
            }
            Step::Pass(millis) => self.0.iter_mut().for_each(|world| drop(world.pass(*millis))),
            Step::Reload(kind) => self.0.iter_mut().for_each(|world| world.reload(&kinds[*kind])),
            Step::Check(budget) => {
                for world in &mut self.0 {
                    let mut budget = *budget;
                    let (nat, mut admission) = world.admission();
                    while nat.sweep(&mut admission, &mut budget).is_some() {}
                }
            }
        }
    }

    /// No outside end is two flows', and that of a session that was checked leads to its worker.
    fn check(&self) -> Result<(), TestCaseError> {
        let mut ends: HashMap<FlowKey<Ipv4Addr>, FlowKey<Ipv4Addr>> = HashMap::new();
        let mut mapped = HashMap::new();
        for (at, world) in self.0.iter().enumerate() {
            let mut mappings = HashSet::new();
            for index in world.all() {
                let session = world.nat.sessions.session(index);
                let inside = (session.inside, session.inside_port);
                let outside = (session.outside, session.outside_port, session.protocol);
                let held = world.nat.sessions.held(index);
                let checked = session.generation == world.generation.0;
                if checked {
                    let forward = session.key(Direction::Forward);
                    let twice = ends.insert(session.key(Direction::Reverse), forward);
                    prop_assert!(twice.is_none(), "{session:?} and {twice:?}");
                    let address = session.outside.into();
                    let of = self.0.len() as u8;
                    let owner = world.nat.numbers.of(&world.policy, address, outside.1, of);
                    let owner = match owner {
                        PortOwner::Worker(worker) => usize::from(worker),
                        PortOwner::HostsWorker(host) => self.of_host(host),
                    };
                    prop_assert_eq!(owner, at, "{:?}", session);
                    if held.mapping.is_some() {
                        let before = mapped.insert(outside, inside);
                        prop_assert!(before.is_none_or(|before| before == inside));
                    }
                }
                mappings.extend(held.mapping);
            }
            prop_assert_eq!(world.nat.mappings.len(), mappings.len());
            prop_assert_eq!(world.nat.leased_ports(), mappings.len(), "a lease was lost");
        }
        Ok(())
    }

    /// Blocks that are held are those that checked sessions are in, of one host each.
    fn check_blocks(&self) -> Result<(), TestCaseError> {
        for world in &self.0 {
            if world.nat.blocks.is_idle() || world.nat.is_sweeping() {
                continue;
            }
            let mut holders = HashMap::new();
            for index in world.all() {
                let session = world.nat.sessions.session(index);
                let block = world.nat.blocks.at(session.outside, session.outside_port);
                let block = block.map(|block| (session.outside, world.nat.blocks.ports(block)));
                let holder = holders.entry(block).or_insert(session.inside);
                prop_assert_eq!(*holder, session.inside);
            }
            let (held, _) = world.nat.blocks_of(mooring_policy::PoolId(0));
            prop_assert_eq!(held as usize, holders.len());
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// After any sequence of packets, ends, time and reloads between all kinds of allocation.
    #[test]
    fn no_outside_end_is_two_flows_and_no_lease_is_lost(
        (of, kind, seed) in (1u8..4, 0usize..13, any::<u64>()),
        steps in steps(13),
    ) {
        let kinds = kinds();
        let mut workers = Workers::new(&kinds[kind], of, seed);
        for step in &steps {
            workers.take(step, &kinds);
            workers.check()?;
            workers.check_blocks()?;
        }
        workers.0.iter_mut().for_each(World::check_all);
        workers.check()?;
        workers.check_blocks()?;
        for world in &mut workers.0 {
            world.pass(20_000_000);
            let left = world.holdings();
            prop_assert_eq!((left.sessions, left.mappings, left.leased_ports), (0, 0, 0));
            prop_assert_eq!((left.hop_users, left.sources), (0, 0));
            prop_assert_eq!(world.nat.blocks_of(mooring_policy::PoolId(0)).0, 0);
        }
    }
}

/// The configurations of the property are such that most flows find a port.
#[test]
fn every_kind_admits_and_refuses() {
    for (at, config) in kinds().iter().enumerate() {
        let mut world = World::new(config);
        let flows = (0..8u16).flat_map(|host| (2000..2020).map(move |port| (host, port)));
        let admitted =
            flows.filter(|(host, port)| world.send(to(*host, *port, Protocol::UDP, 1)).is_ok());
        let admitted = admitted.count();
        assert!((60..160).contains(&admitted), "{admitted} of kind {at}");
    }
}

/// RFC 6056 §4, RFC 7422 §5 and §6: who knows the slice or the block of a host, and one of its ports,
/// knows nothing of the next one.
#[test]
fn ports_of_a_slice_or_a_block_do_not_follow_each_other() {
    let slice = "{ kind = \"deterministic\", source = \"10.1.0.0/30\", ports_per_host = 1000 }";
    let block = "{ kind = \"port-block\", size = 1000, max_blocks = 1 }";
    for (kind, mapping) in [slice, block].into_iter().flat_map(|kind| {
        ["endpoint-independent", "endpoint-dependent"].map(|mapping| (kind, mapping))
    }) {
        let mut world = World::new(&config(&format!(
            "addresses = [\"203.0.113.10\"]\nports = \"2000-5999\"\nmapping = \"{mapping}\"\n\
             allocation = {kind}"
        )));
        let ports: Vec<u16> = (1..=100).map(|n| world.session(udp(1, n)).outside_port).collect();
        let near = |pair: &&[u16]| pair[1].abs_diff(pair[0]) <= 2;
        let near = ports.windows(2).filter(near).count();
        // Of a thousand ports one in 250 is as near as that.
        assert!(near < 5, "{kind} {mapping}: {ports:?}");
    }
}
