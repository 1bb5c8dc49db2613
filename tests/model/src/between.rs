//! Workers that take a policy up one after the other, with packets, time and sweeps between: what
//! `docs/port-allocation.md` promises of that time. No outside end is two flows', whoever has the policy
//! already; a packet goes where the session says that has its tuple, and none is lost; a worker that has
//! the policy begins nothing that the one before gives to another.
//!
//! The model says nothing of these steps: what each worker works by is another policy. What is looked at
//! are the tables of all workers, and [`Owners`] for each of the policies.

use std::sync::Arc;

use mooring_engine::view::SessionView;
use mooring_policy::Policy;

use crate::duel::Family;
use crate::owner::Owners;
use crate::packet::{Body, End, Key, Packet};
use crate::random::Random;
use crate::rig::{Rig, frame};
use crate::spec::{Side, is_own as is_ours, side_of};
use crate::step::{Step, What, body_of};
use crate::tracking::Way;

struct Between<'f> {
    family: &'f Family,
    rig: Rig,
    now: u64,
    random: Random,
    /// The policies that some worker may still work by, the oldest first; the last is the one of now.
    policies: Vec<(Arc<Policy>, u32, Owners)>,
    /// Which of them each worker has.
    has: Vec<usize>,
    /// From which on each worker has to think of others that may work by them: it has heard that all have
    /// that one.
    since: Vec<usize>,
    /// Workers are told so at once, which is wrong.
    hasty: bool,
    seen: Tally,
}

/// What has happened while some worker did not have the policy of now.
#[derive(Debug, Default)]
struct Tally {
    passed: usize,
    begun: usize,
    refused: usize,
    reloads: usize,
}

impl<'f> Between<'f> {
    fn new(family: &'f Family, seed: u64, hasty: bool) -> Self {
        let spec = &family.specs[0];
        let mut rig = Rig::new(spec, family.workers, seed);
        let owners = Owners::new(spec, family.workers);
        let (policy, generation) = rig.compile(spec);
        let policies = vec![(policy, generation, owners)];
        let (has, since) = (vec![0; family.workers], vec![0; family.workers]);
        let random = Random::new(seed);
        let seen = Tally::default();
        Self { family, rig, now: 0, random, policies, has, since, hasty, seen }
    }

    fn moves(&self) -> bool {
        self.policies.len() > 1
    }

    /// Does what a step says, and something of a reload that is not everywhere yet.
    fn step(&mut self, step: &Step) -> Result<(), String> {
        let mut polled = step.polled;
        match &step.what {
            What::Wait(millis) => {
                self.now += millis;
                polled = true;
            }
            // At most two are on their way.
            What::Reload(number) if self.policies.len() < 3 => {
                let spec = &self.family.specs[number % self.family.specs.len()];
                let mut owners = self.policies.last().ok_or("a policy")?.2.clone();
                owners.follow(spec);
                let (policy, generation) = self.rig.compile(spec);
                self.policies.push((policy, generation, owners));
                self.seen.reloads += 1;
            }
            What::Send(side, packet) => self.packet(*side, packet, step.worker)?,
            What::Along { session, way, flags, ttl, extra, .. } => {
                if let Some((side, mut packet)) = self.along(*session, *way, (*flags, *extra)) {
                    packet.ttl = *ttl;
                    self.packet(side, &packet, step.worker)?;
                }
            }
            What::Hairpin { host, port, session, flags } => {
                let all = self.rig.sessions(self.now);
                let view = all.get(session % all.len().max(1)).map(|(_, view)| view);
                if let Some(view) = view.filter(|view| view.outside.0.is_ipv4() == host.is_ipv4()) {
                    let (protocol, to) = (view.protocol.0, view.outside);
                    let body = body_of(protocol, (Way::Forward, Way::Forward), *host, (*flags, 1));
                    let key = Key { protocol, source: (*host, *port), destination: to };
                    let packet = Packet::new(*host, to.0, body).with_key(key);
                    self.packet(Side::Inside, &packet, step.worker)?;
                }
            }
            _ => {}
        }
        if self.random.once_in(6) {
            self.go_on();
        }
        if polled {
            self.rig.poll(self.now)?;
        }
        self.check()
    }

    /// A worker takes the next policy up, or hears that all have done so.
    fn go_on(&mut self) {
        let worker = self.random.below(self.has.len());
        let newest = self.policies.len() - 1;
        if self.has[worker] < newest {
            self.has[worker] += 1;
            let (policy, generation, _) = &self.policies[self.has[worker]];
            self.rig.take_up(worker, self.now, policy, *generation);
            if self.hasty {
                self.rig.all_follow(worker, *generation);
            }
        } else if self.has.iter().all(|has| *has == newest) {
            self.rig.all_follow(worker, self.policies[newest].1);
            self.since[worker] = newest;
            if self.since.iter().all(|since| *since == newest) {
                self.policies.drain(..newest);
                self.has.fill(0);
                self.since.fill(0);
            }
        }
    }

    /// A packet of a session in the tables.
    fn along(&self, number: usize, way: Way, body: (u8, u8)) -> Option<(Side, Packet)> {
        let all = self.rig.sessions(self.now);
        let view = &all.get(number % all.len().max(1))?.1;
        let side = side(view, way);
        let key = key(view, way);
        let asks = if view.begun_inside { Way::Forward } else { Way::Reverse };
        let body = body_of(key.protocol, (way, asks), key.source.0, body);
        let packet = Packet::new(key.source.0, key.destination.0, body).with_key(key);
        (side != Side::Hairpin).then_some((side, packet))
    }

    fn packet(&mut self, side: Side, packet: &Packet, worker: usize) -> Result<(), String> {
        let before = self.rig.sessions(self.now);
        let bytes = frame(side, &packet.bytes());
        let seen = self.rig.give(self.now, side, &bytes, worker % self.rig.workers())?;
        let after = self.rig.sessions(self.now);
        let is_new = |one: &&(usize, SessionView)| !before.iter().any(|old| is_same(old, one));
        let begun = after.iter().filter(is_new);
        if self.moves() {
            self.seen.passed += seen.sent.len();
            self.seen.begun += begun.clone().count();
            self.seen.refused += usize::from(seen.dropped == Some("ports_exhausted"));
        }
        begun.clone().try_for_each(|begun| self.belongs(begun))?;
        for (egress, sent) in &seen.sent {
            if is_ours(sent.source) || matches!(sent.body, Body::Error { .. }) {
                continue;
            }
            let (given, left) = (packet.key(), sent.key());
            let (Some(given), Some(left)) = (given, left) else { continue };
            // A ping of an address of ours is answered by us.
            if left == given.turned() {
                continue;
            }
            let host =
                |outside: End, remote: End| self.host_of(&after, (given.protocol, outside, remote));
            let rightly = match (side, egress) {
                (Side::Inside, Side::Outside) => {
                    host(left.source, left.destination) == Some(given.source)
                }
                (Side::Outside, _) => {
                    host(given.destination, given.source) == Some(left.destination)
                }
                // A hairpin: through both of its halves.
                _ => {
                    host(left.source, given.destination) == Some(given.source)
                        && host(given.destination, left.source) == Some(left.destination)
                }
            };
            if !rightly {
                return Err(format!(
                    "{packet:?} by {side:?} left as {sent:?} by {egress:?}: {after:?}"
                ));
            }
        }
        Ok(())
    }

    /// A worker begins only what is its own by all policies that others may work by, as far as it knows.
    fn belongs(&self, (worker, view): &(usize, SessionView)) -> Result<(), String> {
        let known = &self.policies[self.since[*worker]..=self.has[*worker]];
        match known.iter().all(|(_, _, owners)| is_own(owners, *worker, view)) {
            true => Ok(()),
            false => Err(format!("worker {worker} begins what is another's: {view:?}")),
        }
    }

    /// Whether packets of a session pass, or may. What the policy of its worker gives to another is not
    /// swept yet: a packet of it ends it.
    fn lives(&self, (worker, view): &(usize, SessionView)) -> bool {
        is_own(&self.policies[self.has[*worker]].2, *worker, view)
    }

    /// What holds whatever each worker works by.
    fn check(&self) -> Result<(), String> {
        self.rig.check_balance()?;
        let all = self.rig.sessions(self.now);
        let tuples = all.iter().map(|(_, v)| (v.protocol.0, v.outside, v.remote));
        for tuple in twice(tuples) {
            let has = |v: &SessionView| (v.protocol.0, v.outside, v.remote) == tuple;
            if all.iter().filter(|one| has(&one.1) && self.lives(one)).count() > 1 {
                return Err(format!("{tuple:?} belongs to two flows"));
            }
        }
        let mappings = self.rig.mappings();
        for (protocol, end) in twice(mappings.iter().map(|(_, v)| (v.protocol.0, v.outside))) {
            let has = |v: &SessionView| (v.protocol.0, v.outside) == (protocol, end);
            let living = all.iter().filter(|one| has(&one.1) && self.lives(one));
            let mut hosts: Vec<End> = living.map(|(_, view)| view.inside).collect();
            hosts.sort_unstable();
            hosts.dedup();
            if hosts.len() > 1 {
                return Err(format!("{end:?} is two mappings': of {hosts:?}"));
            }
        }
        Ok(())
    }

    /// The inside end of the session that has a tuple.
    fn host_of(&self, all: &[(usize, SessionView)], tuple: (u8, End, End)) -> Option<End> {
        let has = |v: &SessionView| (v.protocol.0, v.outside, v.remote) == tuple;
        let mut having = all.iter().filter(|one| has(&one.1));
        let first = having.clone().next();
        let one =
            if having.clone().count() > 1 { having.find(|one| self.lives(one)) } else { first };
        one.map(|(_, view)| view.inside)
    }

    /// Once all workers follow and are swept, every session is at its worker in both directions; after the
    /// longest silence nothing is left.
    fn end(mut self) -> Result<Tally, String> {
        while self.moves() {
            self.go_on();
        }
        self.rig.poll(self.now)?;
        self.check()?;
        for one in self.rig.sessions(self.now) {
            self.belongs(&one)?;
        }
        for seconds in [130, 130, 130] {
            self.now += seconds * 1000;
            self.rig.poll(self.now)?;
            self.check()?;
        }
        let left = (self.rig.occupancy(), self.rig.neighbour_uses());
        let rests = self.rig.pools().iter().any(|pool| pool.resting + pool.blocks_held > 0);
        match (left, rests) {
            (((0, 0, 0), 0), false) => Ok(self.seen),
            left => Err(format!("left behind: {left:?}")),
        }
    }
}

/// The flow of a session's packets of one way, and where they come in.
fn key(view: &SessionView, way: Way) -> Key {
    let (protocol, remote) = (view.protocol.0, view.remote);
    match way {
        Way::Forward => Key { protocol, source: view.inside, destination: remote },
        Way::Reverse => Key { protocol, source: remote, destination: view.outside },
    }
}

/// Whether packets of both directions of a session are this worker's.
fn is_own(owners: &Owners, worker: usize, view: &SessionView) -> bool {
    let owner = |way: Way| owners.of(&key(view, way), side(view, way));
    owner(Way::Forward) == worker && owner(Way::Reverse) == worker
}

fn side(view: &SessionView, way: Way) -> Side {
    match (way, side_of(view.remote.0)) {
        (Way::Forward, _) => Side::Inside,
        (Way::Reverse, Some(side)) => side,
        (Way::Reverse, None) => Side::Hairpin,
    }
}

fn is_same(one: &(usize, SessionView), other: &(usize, SessionView)) -> bool {
    let ends = |(worker, v): &(usize, SessionView)| {
        (*worker, v.protocol.0, v.inside, v.outside, v.remote, v.age)
    };
    ends(one) == ends(other)
}

/// What is there more than once.
fn twice<T: Copy + Ord>(all: impl Iterator<Item = T>) -> Vec<T> {
    let mut all: Vec<T> = all.collect();
    all.sort_unstable();
    all.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect()
}

/// Plays sequences of a family.
fn play(family: &Family, seed: u64, hasty: bool) -> Result<Tally, String> {
    let script = family.script(seed, SEQUENCE);
    let mut between = Between::new(family, seed, hasty);
    for (number, step) in script.iter().enumerate() {
        between.step(step).map_err(|why| format!("seed {seed}, step {number}, {step:?}: {why}"))?;
    }
    between.end().map_err(|why| format!("seed {seed}: {why}"))
}

const SEQUENCE: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::{Tally, play};
    use crate::draining;
    use crate::duel::Family;
    use crate::families::{forwarded, in_v6, of_workers, reloads};

    /// Reloads are many, and most of them change something.
    fn run(all: Vec<(&str, Family)>) {
        for (name, mut family) in all {
            family.universe.reloads = 25;
            let mut sum = Tally::default();
            for seed in 0..SEQUENCES {
                let one = play(&family, seed, false).unwrap_or_else(|why| panic!("{name}: {why}"));
                sum.passed += one.passed;
                sum.begun += one.begun;
                sum.refused += one.refused;
                sum.reloads += one.reloads;
            }
            println!("{name}: {sum:?}");
            assert!(sum.reloads > 100 && sum.passed > 500 && sum.begun > 50, "{name}: {sum:?}");
        }
    }

    fn draining_of(workers: usize) -> Vec<(&'static str, Family)> {
        let mut all = draining::all();
        all.retain(|(_, family)| family.workers == workers);
        all
    }

    #[test]
    fn ends_stay_apart_while_two_workers_take_policies_up_that_drain() {
        run(draining_of(2));
    }

    #[test]
    fn ends_stay_apart_while_three_workers_take_policies_up_that_drain() {
        run(draining_of(3));
    }

    #[test]
    fn ends_stay_apart_while_workers_take_up_pools_and_rules_that_move() {
        run(vec![
            ("reloads", of_workers(reloads(), 3)),
            ("forwarded", of_workers(forwarded(), 3)),
            ("reloads of two", of_workers(reloads(), 2)),
        ]);
    }

    #[test]
    fn ends_stay_apart_while_workers_take_policies_of_ipv6_up() {
        run(vec![
            ("reloads", in_v6(of_workers(reloads(), 3))),
            ("forwarded", in_v6(of_workers(forwarded(), 2))),
        ]);
    }

    /// Workers that are told too early that all have the policy begin what others still pass packets by.
    #[test]
    fn a_word_that_all_follow_before_they_do_is_found() {
        for (name, mut family) in draining_of(3) {
            family.universe.reloads = 25;
            let found = (0..40).find_map(|seed| play(&family, seed, true).err());
            let why = found.unwrap_or_else(|| panic!("{name}: not found"));
            println!("{name}: {}", why.lines().last().unwrap_or_default());
        }
    }

    const SEQUENCES: u64 = 12;
}
