//! Ports that rest: what a mapping had to itself is given to another host only after a while (RFC 6888
//! REQ-8), so that what is still on its way to the one is not delivered to the other.
//!
//! The host that had a port may have it back at once: first of all for the same inside port, so that a
//! mapping that ended and began again looks the same from outside.
//!
//! Of each pool as many ports rest as it says; the one that has rested longest makes room. Memory is
//! taken when a pool is adopted. The ledger knows a port that rests as one that is not free.

use mooring_policy::{Filtering, HoldDown as Wanted, Mapping as Kind, Pool};
use mooring_session::index::Index;
use mooring_session::{Address, InsideEnd, KeyedHash, Mapping, Tick};
use mooring_wire::Protocol;

use crate::port_owners::goes_round;
use crate::queue::{Link, Queue};

/// The ports that rest, by the number of their pool.
pub(crate) struct HoldDown<A> {
    pools: Vec<Option<Resting<A>>>,
    hash: KeyedHash,
}

/// Those of one pool.
struct Resting<A> {
    rules: Rules,
    records: Vec<Rest<A>>,
    links: Vec<Link>,
    queue: Queue,
    free: Vec<u32>,
    /// By the inside host.
    index: Index,
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
        Self { pools: Vec::new(), hash }
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
        Put::Rests { instead_of: resting.put(Rest { was, until }, &self.hash) }
    }

    /// A port of the pool that has rested long enough; it rests no longer.
    pub(crate) fn due(&mut self, pool: u16, now: Tick) -> Option<Mapping<A>> {
        let resting = self.pools.get_mut(usize::from(pool))?.as_mut()?;
        let first = resting.queue.first()?;
        let is_due = resting.records[first as usize].until <= now;
        is_due.then(|| resting.remove(first, &self.hash))
    }

    /// Of all pools, the number of one whose first port has rested long enough.
    pub(crate) fn any_due(&self, now: Tick) -> Option<u16> {
        let due = |pool: &Option<Resting<A>>| {
            let pool = pool.as_ref()?;
            Some(pool.records[pool.queue.first()? as usize].until <= now)
        };
        self.pools.iter().position(|pool| due(pool) == Some(true)).map(|at| at as u16)
    }

    /// A port that this inside end had, or else one that its host had for the protocol, of those that
    /// `fits`. It rests no longer.
    pub(crate) fn take_back(
        &mut self,
        end: &InsideEnd<A>,
        same_end: bool,
        fits: impl Fn(A, u16) -> bool,
    ) -> Option<Mapping<A>> {
        let resting = self.pools.get_mut(usize::from(end.pool))?.as_mut()?;
        let at = resting.index.find(host_hash(&self.hash, end.address), |at| {
            let was = &resting.records[at as usize].was;
            (was.inside, was.vrf, was.protocol) == (end.address, end.vrf, end.protocol)
                && (!same_end || was.inside_port == end.port)
                && fits(was.outside, was.outside_port)
        })?;
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
            index: Index::new(rules.ports),
        }
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
        self.index.insert(host_hash(hash, rest.was.inside), at);
        made_room
    }

    fn remove(&mut self, at: u32, hash: &KeyedHash) -> Mapping<A> {
        let was = self.records[at as usize].was;
        self.queue.remove(at, &mut self.links);
        self.index.remove(host_hash(hash, was.inside), at);
        self.free.push(at);
        was
    }
}

fn host_hash<A: Address>(hash: &KeyedHash, host: A) -> u64 {
    hash.end(host, 0, Protocol(0), 0)
}
