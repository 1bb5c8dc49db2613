//! Addresses that somebody else gives, keeps back and takes away, at random, under sessions of both
//! families and several workers (`crates/policy/src/holding.rs`). While an address is not held nothing
//! leaves from it and nothing comes in; a session goes on as it was if nobody else can have had its
//! address since, and is another one if somebody can.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use mooring_policy::{Assignment, Assignments, Facts, Generation, Policy, Standing, load_with};

use crate::packet::{ACK, Body, End, Key, Packet, SYN, TCP, UDP};
use crate::random::Random;
use crate::rig::{Rig, Tally, frame};
use crate::spec::{Action, Net, Pool, Rule, Side, Spec, ip};
use crate::step::body_of;
use crate::tracking::Way;

/// Whose an address is; of ours, the generation since which it was nobody else's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    Held(u32),
    Kept(u32),
    Others,
}

struct Assigned {
    rig: Rig,
    text: String,
    generation: u32,
    addresses: BTreeMap<IpAddr, Whose>,
    flows: BTreeMap<Key, Flow>,
    random: Random,
    suspended: usize,
    resumed: usize,
    /// The engines are not told since when an address is ours, which is wrong.
    forgets: bool,
}

/// What a flow left as, and under which policy that was seen last.
#[derive(Clone, Copy, Debug)]
struct Flow {
    outside: End,
    generation: u32,
    suspended: bool,
}

impl Assigned {
    fn new(workers: usize, seed: u64) -> Self {
        let pool = |name, net: &str| {
            let addresses = [16, 17].map(|last| format!("{net}{last}"));
            let mut pool = Pool::new(name, &[&addresses[0], &addresses[1]], (30_000, 30_999));
            pool.hold_down = (0, false);
            pool
        };
        let rule = |name, source: &str| {
            let mut rule = Rule::new(name, Action::SourceNat(name));
            rule.source = Some(Net::of(source));
            rule
        };
        let pools = vec![pool("four", "203.0.113."), pool("six", "2001:db8:ff::")];
        let mut spec =
            Spec::new(pools, vec![rule("four", "10.0.0.0/24"), rule("six", "fd00:10::/64")]);
        (spec.sessions, spec.per_source) = (600, 300);
        let text = spec.toml().replace("\"out0\"", "\"out0\"\nnetwork = \"wan\"");
        let all = spec.pools.iter().flat_map(|pool| pool.addresses.clone());
        let mut assigned = Self {
            rig: Rig::new(&spec, workers, seed),
            text: format!("[control]\nsource = \"kubernetes\"\n{text}"),
            generation: 1,
            addresses: all.map(|address| (address, Whose::Others)).collect(),
            flows: BTreeMap::new(),
            random: Random::new(seed),
            suspended: 0,
            resumed: 0,
            forgets: false,
        };
        assigned.adopt();
        assigned
    }

    fn policy(&self) -> Policy {
        let given = self.addresses.iter().map(|(address, whose)| Assignment {
            address: *address,
            route: "edge".to_owned(),
            labels: BTreeMap::new(),
            network: "wan".to_owned(),
            standing: match whose {
                Whose::Held(_) if self.forgets => Standing::Held { since: Generation(0) },
                Whose::Held(since) => Standing::Held { since: Generation(*since) },
                Whose::Kept(since) => Standing::Kept { since: Generation(*since) },
                Whose::Others => Standing::Claimed,
            },
        });
        let assignments = Assignments { addresses: given.collect() };
        let facts = Facts { assignments: Some(&assignments), ..Facts::default() };
        load_with(&self.text, &facts).expect("a configuration").policy
    }

    /// All workers take up what is now.
    fn adopt(&mut self) {
        self.generation += 1;
        let policy = Arc::new(self.policy());
        for worker in 0..self.rig.workers() {
            self.rig.take_up(worker, NOW, &policy, self.generation);
        }
        for worker in 0..self.rig.workers() {
            self.rig.all_follow(worker, self.generation);
        }
    }

    /// An address is given, kept back, given back or taken away.
    fn change(&mut self) {
        let all: Vec<IpAddr> = self.addresses.keys().copied().collect();
        let address = self.random.of(&all);
        let next = match self.addresses[&address] {
            Whose::Held(since) if self.random.once_in(3) => Whose::Kept(since),
            Whose::Held(_) => Whose::Others,
            Whose::Kept(since) if !self.random.once_in(4) => Whose::Held(since),
            Whose::Kept(_) => Whose::Others,
            Whose::Others => Whose::Held(self.generation + 1),
        };
        self.addresses.insert(address, next);
        self.adopt();
    }

    /// Whether a flow goes on as it was: now, or when its address is held again.
    fn lives(&self, flow: &Flow) -> bool {
        match self.addresses[&flow.outside.0] {
            Whose::Held(since) | Whose::Kept(since) => flow.generation >= since,
            Whose::Others => false,
        }
    }

    fn is_held(&self, address: IpAddr) -> bool {
        matches!(self.addresses.get(&address), Some(Whose::Held(_)))
    }

    /// A packet of a flow leaves.
    fn out(&mut self, key: Key) -> Result<(), String> {
        let old = self.flows.get(&key).copied().filter(|flow| self.lives(flow));
        let v4 = key.source.0.is_ipv4();
        let any = self.addresses.keys().any(|one| one.is_ipv4() == v4 && self.is_held(*one));
        let passes = old.map_or(any, |flow| self.is_held(flow.outside.0));
        let (dropped, left) = self.give(Side::Inside, key, SYN)?;
        let why =
            || format!("{key:?} of {old:?} came to {left:?}, {dropped:?}: {:?}", self.addresses);
        if !passes {
            if dropped != Some("address_not_held") || left.is_some() {
                return Err(why());
            }
            if let Some(flow) = self.flows.get_mut(&key) {
                self.suspended += usize::from(old.is_some());
                flow.suspended |= old.is_some();
            }
            return Ok(());
        }
        let Some((Side::Outside, left)) = left else { return Err(why()) };
        let same = old.is_none_or(|flow| flow.outside == left.source);
        if !same || left.destination != key.destination || !self.is_held(left.source.0) {
            return Err(why());
        }
        self.resumed += usize::from(old.is_some_and(|flow| flow.suspended));
        let generation = self.generation;
        self.flows.insert(key, Flow { outside: left.source, generation, suspended: false });
        Ok(())
    }

    /// An answer comes to where a flow left from, whoever has that now.
    fn back(&mut self, key: Key) -> Result<(), String> {
        let Some(Flow { outside, .. }) = self.flows.get(&key).copied() else { return Ok(()) };
        let is = |(other, flow): &(&Key, &Flow)| {
            let ends = (other.protocol, other.destination, flow.outside);
            ends == (key.protocol, key.destination, outside) && self.lives(flow)
        };
        let owner = self.flows.iter().find(is).map(|(other, _)| *other);
        let owner = owner.filter(|_| self.is_held(outside.0));
        let Key { protocol, destination: remote, .. } = key;
        let answer = Key { protocol, source: remote, destination: outside };
        let (dropped, left) = self.give(Side::Outside, answer, ACK)?;
        let to = left.map(|(side, left)| (side, left.destination));
        let held = self.is_held(outside.0) || dropped == Some("address_not_held");
        if to != owner.map(|owner| (Side::Inside, owner.source)) || !held {
            return Err(format!("{answer:?} of {owner:?} came to {left:?}, {dropped:?}"));
        }
        if let Some(flow) = owner.and_then(|owner| self.flows.get_mut(&owner)) {
            self.resumed += usize::from(flow.suspended);
            (flow.generation, flow.suspended) = (self.generation, false);
        }
        Ok(())
    }

    /// Why a packet was dropped, or where and as what it left.
    #[expect(clippy::type_complexity, reason = "two things that are looked at beside each other")]
    fn give(
        &mut self,
        side: Side,
        key: Key,
        flags: u8,
    ) -> Result<(Option<&'static str>, Option<(Side, Key)>), String> {
        let body = body_of(key.protocol, (Way::Forward, Way::Forward), key.source.0, (flags, 1));
        let packet = Packet::new(key.source.0, key.destination.0, body).with_key(key);
        let worker = self.random.below(self.rig.workers());
        let seen = self.rig.give(NOW, side, &frame(side, &packet.bytes()), worker)?;
        let left = seen.sent.iter().find(|(_, sent)| !matches!(sent.body, Body::Error { .. }));
        Ok((seen.dropped, left.and_then(|(side, sent)| Some((*side, sent.key()?)))))
    }

    /// The sweep asks about every session.
    fn sweep(&mut self) -> Result<(), String> {
        self.rig.poll(NOW)?;
        let mut flows = std::mem::take(&mut self.flows);
        flows.retain(|_, flow| self.lives(flow));
        for flow in flows.values_mut().filter(|flow| self.is_held(flow.outside.0)) {
            flow.generation = self.generation;
        }
        self.flows = flows;
        let (sessions, mappings, leases) = self.rig.occupancy();
        match sessions == self.flows.len() && mappings == leases {
            true => Ok(()),
            false => Err(format!(
                "{sessions} sessions, {mappings} mappings, {leases} leases, not {:?}",
                self.flows
            )),
        }
    }

    fn step(&mut self) -> Result<(), String> {
        let v6 = self.random.once_in(2);
        let (hosts, remotes) = match v6 {
            false => (["10.0.0.2", "10.0.0.3", "10.0.0.4"], ["198.51.100.1", "192.0.2.7"]),
            true => {
                (["fd00:10::2", "fd00:10::3", "fd00:10::4"], ["2001:db8:2::1", "2001:db8:1::7"])
            }
        };
        let source = (ip(self.random.of(&hosts)), 1 + self.random.below(3) as u16);
        let destination = (ip(self.random.of(&remotes)), 53);
        let key = Key { protocol: self.random.of(&[UDP, TCP]), source, destination };
        match self.random.below(20) {
            0 | 1 => self.change(),
            2 => self.sweep()?,
            n if n < 12 => self.out(key)?,
            _ => self.back(key)?,
        }
        self.rig.check_balance()
    }
}

/// Takes random steps; what the engines have counted.
pub(crate) fn run(workers: usize, steps: usize) -> Tally {
    let mut assigned = Assigned::new(workers, 11);
    for step in 0..steps {
        assigned.step().unwrap_or_else(|why| panic!("step {step} of {workers} workers: {why}"));
    }
    let Assigned { suspended, resumed, .. } = assigned;
    println!("{workers} workers: {suspended} packets of sessions that wait, {resumed} went on");
    assert!(suspended > 50 && resumed > 10, "{suspended} {resumed}");
    assigned.rig.tally()
}

#[test]
fn sessions_wait_for_their_address_and_go_on_unless_another_had_it() {
    for workers in 1..=3 {
        run(workers, 8_000);
    }
}

/// What goes on although somebody else had its address is noticed.
#[test]
fn a_time_before_an_address_was_ours_that_is_forgotten_is_found() {
    let mut assigned = Assigned::new(2, 11);
    assigned.forgets = true;
    let found = (0..4_000).find_map(|_| assigned.step().err());
    println!("{}", found.expect("it is found"));
}

const NOW: u64 = 1_000;
