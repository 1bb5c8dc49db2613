//! Ports that rest: what a mapping had to itself is given to another host only after a while (RFC 6888
//! REQ-8), so that what is still on its way to the one is not delivered to the other.
//!
//! The host that had a port may have it back at once: first of all for the same inside port, so that a
//! mapping that ended and began again looks the same from outside.
//!
//! Of each pool as many ports rest as it says; the one that has rested longest makes room. Memory is
//! taken when a pool is adopted. The ledger knows a port that rests as one that is not free. However
//! many ports of a host rest, to find, add and remove one costs the same.

use mooring_policy::{Filtering, HoldDown as Wanted, Mapping as Kind, Pool};
use mooring_session::index::Index;
use mooring_session::{Address, InsideEnd, KeyedHash, Mapping, Tick};
use mooring_wire::Protocol;

use crate::port_owners::goes_round;
use crate::queue::{Link, Queue};
use crate::ring::Rings;

/// The ports that rest, by the number of their pool.
pub(crate) struct HoldDown<A> {
    pools: Vec<Option<Resting<A>>>,
    hash: KeyedHash,
    round: Round,
}

/// Looking for a pool with a port that is due: a few pools a call, and none before one can be due.
#[derive(Clone, Copy)]
struct Round {
    /// No port is due before.
    earliest: Tick,
    /// The pool that is looked at next.
    next: usize,
    /// No port of the pools before that one, or put since the round began, is due before.
    seen: Tick,
}

/// Those of one pool.
struct Resting<A> {
    rules: Rules,
    records: Vec<Rest<A>>,
    links: Vec<Link>,
    queue: Queue,
    free: Vec<u32>,
    /// By the inside end and the outside address.
    ends: Index,
    /// By the inside host and protocol, the outside address, and whether the port is odd.
    hosts: Rings,
}

/// What rests how long in a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rules {
    millis: u64,
    tcp: bool,
    others: bool,
    ports: usize,
}

/// A mapping that has ended, and when its port is anybody's.
#[derive(Clone, Copy, Debug)]
struct Rest<A> {
    was: Mapping<A>,
    until: Tick,
}

impl<A: Address> HoldDown<A> {
    /// Nothing rests.
    pub(crate) const fn new(hash: KeyedHash) -> Self {
        Self { pools: Vec::new(), hash, round: Round::BEGINS }
    }

    /// Follows a policy: `pools` are its pools of this family by number, `part` says how much of a
    /// number is this worker's, `leases` how many ports a pool still has. What rests goes on resting;
    /// `freed` gets what finds no room any more. The ports of a pool that is gone rest as they would.
    pub(crate) fn follow<'a>(
        &mut self,
        pools: impl Iterator<Item = (u16, &'a Pool)>,
        part: impl Fn(u32) -> usize,
        leases: impl Fn(u16) -> usize,
        mut freed: impl FnMut(&Mapping<A>),
    ) {
        self.round = Round::BEGINS;
        for (number, slot) in (0..).zip(&mut self.pools) {
            let unused = |pool: &Resting<A>| pool.queue.first().is_none() && leases(number) == 0;
            if slot.as_ref().is_some_and(unused) {
                *slot = None;
            }
        }
        for (number, pool) in pools {
            let rules = Rules::of(pool, &part);
            let at = usize::from(number);
            if rules.rest() && self.pools.len() <= at {
                self.pools.resize_with(at + 1, || None);
            }
            let Some(slot) = self.pools.get_mut(at) else { continue };
            match slot {
                Some(resting) if resting.rules.ports == rules.ports || !rules.rest() => {
                    let ports = resting.rules.ports;
                    resting.rules = Rules { ports, ..rules };
                }
                _ if !rules.rest() => {}
                before => {
                    let mut resting = Resting::new(rules);
                    let old = before.take();
                    for rest in old.iter().flat_map(|old| old.all()) {
                        if let Some(was) = resting.put(*rest, &self.hash) {
                            freed(&was);
                        }
                    }
                    *before = Some(resting);
                }
            }
        }
    }

    /// The port of a mapping that has ended begins to rest, if it is to. Some: a port that rests no
    /// longer, this one or the one that makes room.
    pub(crate) fn put(&mut self, was: Mapping<A>, now: Tick) -> Put<A> {
        let resting = self.pools.get_mut(usize::from(was.pool)).and_then(Option::as_mut);
        let Some(resting) = resting.filter(|pool| pool.rules.has(was.protocol)) else {
            return Put::Free;
        };
        let until = Tick::from_millis(now.as_millis() + resting.rules.millis);
        self.round.comes(until);
        Put::Rests { instead_of: resting.put(Rest { was, until }, &self.hash) }
    }

    /// A port of the pool that has rested long enough; it rests no longer.
    pub(crate) fn due(&mut self, pool: u16, now: Tick) -> Option<Mapping<A>> {
        let resting = self.pools.get_mut(usize::from(pool))?.as_mut()?;
        let first = resting.queue.first()?;
        let is_due = resting.records[first as usize].until <= now;
        is_due.then(|| resting.remove(first, &self.hash))
    }

    /// The number of a pool whose first port has rested long enough. A call looks at a few pools; each
    /// has its turn.
    pub(crate) fn any_due(&mut self, now: Tick) -> Option<u16> {
        for _ in 0..LOOKED_AT {
            if now < self.round.earliest {
                return None;
            }
            let at = self.round.next;
            let Some(pool) = self.pools.get(at) else {
                self.round = Round { earliest: self.round.seen, ..Round::BEGINS };
                continue;
            };
            self.round.next += 1;
            let Some(until) = pool.as_ref().and_then(Resting::first_until) else { continue };
            self.round.seen = self.round.seen.min(until);
            if until <= now {
                return Some(at as u16);
            }
        }
        None
    }

    /// A port of `outside` that this inside end had, or else one that its host had for the protocol, of
    /// those that `fits`. It rests no longer.
    pub(crate) fn take_back(
        &mut self,
        end: &InsideEnd<A>,
        outside: A,
        same_end: bool,
        fits: impl Fn(u16) -> bool,
    ) -> Option<Mapping<A>> {
        let resting = self.pools.get_mut(usize::from(end.pool))?.as_mut()?;
        let at = match same_end {
            true => resting.of_end(end, outside, &self.hash, fits),
            false => resting.of_host(end, outside, &self.hash, fits),
        }?;
        Some(resting.remove(at, &self.hash))
    }

    /// Ports of a pool that rest.
    pub(crate) fn len(&self, pool: u16) -> usize {
        let resting = self.pools.get(usize::from(pool)).and_then(Option::as_ref);
        resting.map_or(0, |pool| pool.records.len() - pool.free.len())
    }
}

/// What becomes of a port whose mapping has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Put<A> {
    /// It is anybody's at once.
    Free,
    /// It rests; another one may rest no longer for it.
    Rests { instead_of: Option<Mapping<A>> },
}

impl Round {
    /// Anything may be due.
    const BEGINS: Self = Self { earliest: Tick::ZERO, next: 0, seen: NEVER };

    /// A port more rests.
    fn comes(&mut self, until: Tick) {
        self.earliest = self.earliest.min(until);
        self.seen = self.seen.min(until);
    }
}

impl Rules {
    fn of(pool: &Pool, part: impl Fn(u32) -> usize) -> Self {
        let Wanted { seconds, ports, strict } = pool.hold_down;
        // RFC 6888 REQ-8 exception b: "If external ports are statically assigned to internal
        // addresses" they need no rest; blocks have a quarantine of their own.
        let shared = goes_round(pool) && pool.mapping == Kind::EndpointIndependent;
        let rest = shared && seconds > 0 && ports > 0;
        Self {
            millis: u64::from(seconds) * 1000,
            // Exception a: TCP connections are tracked.
            tcp: rest && strict,
            // Exception c: "address-dependent or address-and-port-dependent filtering".
            others: rest && (strict || pool.filtering == Filtering::EndpointIndependent),
            ports: part(ports),
        }
    }

    const fn rest(&self) -> bool {
        self.tcp || self.others
    }

    fn has(&self, protocol: Protocol) -> bool {
        if protocol == Protocol::TCP { self.tcp } else { self.others }
    }
}

impl<A: Address> Resting<A> {
    fn new(rules: Rules) -> Self {
        Self {
            rules,
            records: Vec::with_capacity(rules.ports),
            links: Vec::with_capacity(rules.ports),
            queue: Queue::EMPTY,
            free: Vec::with_capacity(rules.ports),
            ends: Index::new(rules.ports),
            hosts: Rings::new(rules.ports),
        }
    }

    /// When the first of the queue has rested long enough.
    fn first_until(&self) -> Option<Tick> {
        Some(self.records[self.queue.first()? as usize].until)
    }

    /// A port of an address that an inside end had. It hardly ever has more than one there: it gets
    /// that one back, unless a reload took it out of what fits.
    fn of_end(
        &self,
        end: &InsideEnd<A>,
        outside: A,
        hash: &KeyedHash,
        fits: impl Fn(u16) -> bool,
    ) -> Option<u32> {
        self.ends.find(end_hash(hash, end, outside), |at| {
            let was = &self.records[at as usize].was;
            was.inside_end() == *end && was.outside == outside && fits(was.outside_port)
        })
    }

    /// A port of an address that a host had for a protocol, of the first few: nearly always the first
    /// one fits, of the parity that the inside port has or of the other.
    fn of_host(
        &self,
        end: &InsideEnd<A>,
        outside: A,
        hash: &KeyedHash,
        fits: impl Fn(u16) -> bool,
    ) -> Option<u32> {
        let port = |at: u32| self.records[at as usize].was.outside_port;
        [end.port, !end.port].into_iter().find_map(|like| {
            let InsideEnd { address: inside, port: inside_port, vrf, pool, protocol } = *end;
            let (outside_port, records) = (like, &self.records);
            let alike = Mapping { inside, outside, inside_port, outside_port, vrf, pool, protocol };
            let its = self
                .hosts
                .of(host_hash(hash, &alike), |at| is_beside(&records[at as usize].was, &alike));
            its.take(OF_A_HOST).find(|at| fits(port(*at)))
        })
    }

    /// All, the one that has rested longest first.
    fn all(&self) -> impl Iterator<Item = &Rest<A>> {
        self.queue.iter(&self.links).map(|at| &self.records[at as usize])
    }

    /// Adds one; what makes room for it is returned.
    fn put(&mut self, rest: Rest<A>, hash: &KeyedHash) -> Option<Mapping<A>> {
        let is_full = self.free.is_empty() && self.records.len() == self.rules.ports;
        let oldest = self.queue.first().filter(|_| is_full);
        let made_room = oldest.map(|oldest| self.remove(oldest, hash));
        let at = match self.free.pop() {
            Some(at) => {
                self.records[at as usize] = rest;
                at
            }
            None => {
                self.records.push(rest);
                self.links.push(Link::NONE);
                self.records.len() as u32 - 1
            }
        };
        self.queue.push(at, &mut self.links);
        self.ends.insert(end_hash(hash, &rest.was.inside_end(), rest.was.outside), at);
        let records = &self.records;
        self.hosts.push(host_hash(hash, &rest.was), at, |other| {
            is_beside(&records[other as usize].was, &rest.was)
        });
        made_room
    }

    fn remove(&mut self, at: u32, hash: &KeyedHash) -> Mapping<A> {
        let was = self.records[at as usize].was;
        self.queue.remove(at, &mut self.links);
        self.ends.remove(end_hash(hash, &was.inside_end(), was.outside), at);
        self.hosts.remove(host_hash(hash, &was), at);
        self.free.push(at);
        was
    }
}

/// Of what [`Resting::ends`] is by.
fn end_hash<A: Address>(hash: &KeyedHash, end: &InsideEnd<A>, outside: A) -> u64 {
    let inside = hash.end(end.address, end.port, end.protocol, end.vrf.into());
    inside ^ hash.end(outside, 0, Protocol(0), 0).rotate_left(1)
}

/// Of what [`Resting::hosts`] is by.
fn host_hash<A: Address>(hash: &KeyedHash, was: &Mapping<A>) -> u64 {
    let inside = hash.end(was.inside, was.outside_port & 1, was.protocol, was.vrf.into());
    inside ^ hash.end(was.outside, 0, Protocol(0), 0).rotate_left(1)
}

/// Whether two mappings are of one list of [`Resting::hosts`].
fn is_beside<A: Address>(one: &Mapping<A>, other: &Mapping<A>) -> bool {
    let key = |of: &Mapping<A>| (of.inside, of.vrf, of.protocol, of.outside, of.outside_port & 1);
    key(one) == key(other)
}

/// No port rests so long.
const NEVER: Tick = Tick::from_millis(u64::MAX);

/// Pools that a look at the time looks at.
const LOOKED_AT: u32 = 16;

/// Ports of a host, of one parity, that are looked at to find one that fits.
const OF_A_HOST: usize = 64;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use mooring_session::{KeyedHash, Mapping, Tick};
    use mooring_wire::Protocol;

    use super::{HoldDown, LOOKED_AT, NEVER, Resting, Rules, end_hash, host_hash};

    const RULES: Rules = Rules { millis: 1000, tcp: true, others: true, ports: 40_000 };

    fn hold_down(pools: usize) -> HoldDown<Ipv4Addr> {
        let mut all = HoldDown::new(KeyedHash::new([1, 2, 3, 4]));
        all.pools.resize_with(pools, || None);
        all
    }

    fn of_one_host(port: u16, pool: u16) -> Mapping<Ipv4Addr> {
        Mapping {
            inside: Ipv4Addr::new(10, 0, 0, 1),
            outside: Ipv4Addr::new(203, 0, 113, 10),
            inside_port: port,
            outside_port: port,
            vrf: 0,
            pool,
            protocol: Protocol::UDP,
        }
    }

    #[test]
    fn what_a_port_costs_does_not_grow_with_the_ports_of_its_host_that_rest() {
        let mut all = hold_down(1);
        all.pools[0] = Some(Resting::new(RULES));
        for port in 0..40_000 {
            all.put(of_one_host(port, 0), Tick::ZERO);
        }
        let resting = all.pools[0].as_ref().expect("made above");
        for port in (0..40_000).step_by(1000) {
            let (was, mut met) = (of_one_host(port, 0), 0);
            let mut count = |_| {
                met += 1;
                false
            };
            resting.ends.find(end_hash(&all.hash, &was.inside_end(), was.outside), &mut count);
            resting.hosts.of(host_hash(&all.hash, &was), &mut count).for_each(drop);
            assert!(met < 16, "{met} records lie where one does");
        }
        for port in 0..40_000 {
            let end = of_one_host(port, 0).inside_end();
            let was = all.take_back(&end, Ipv4Addr::new(203, 0, 113, 10), true, |_| true);
            assert_eq!(was, Some(of_one_host(port, 0)));
        }
        assert_eq!(all.len(0), 0);
    }

    #[test]
    fn a_look_at_the_time_looks_at_few_pools_and_all_have_their_turn() {
        let mut all = hold_down(1000);
        let rules = Rules { ports: 2, ..RULES };
        all.pools.iter_mut().step_by(10).for_each(|pool| *pool = Some(Resting::new(rules)));
        for pool in (0..1000).step_by(10) {
            all.put(of_one_host(1, pool), Tick::ZERO);
        }
        let (mut calls, mut woken, mut before) = (0, 0, 0);
        while woken < 100 {
            if let Some(pool) = all.any_due(Tick::from_millis(1000)) {
                woken += usize::from(all.due(pool, Tick::from_millis(1000)).is_some());
            }
            let looked_at = (all.round.next + 1001 - before) % 1001;
            assert!(looked_at <= LOOKED_AT as usize, "{looked_at} pools");
            (calls, before) = (calls + 1, all.round.next);
            assert!(calls < 1000, "each pool has its turn");
        }
        while all.round.earliest != NEVER {
            assert_eq!(all.any_due(Tick::from_millis(1000)), None);
        }
        all.put(of_one_host(1, 500), Tick::from_millis(2000));
        assert_eq!(all.any_due(Tick::from_millis(2999)), None);
        assert_eq!(all.round.next, 0, "nothing can be due: no pool is looked at");
        let due = (0..100).find_map(|_| all.any_due(Tick::from_millis(3000)));
        assert_eq!(due, Some(500));
    }
}
