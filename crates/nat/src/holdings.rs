//! What sessions hold beside a port: a place in a block, a place among the sessions of an address. And
//! which of it they may keep under another policy.
//!
//! A session whose outside end is a pool's is counted in what its address and port belong to: with its
//! first packet, or, where that came to be by a reload, when it is checked; [`Session::generation`]
//! says whether it has been. So nothing has to be stored in it.

use std::ops::RangeInclusive;

use mooring_policy::{Allocation, Mapping as Kind, Policy, PoolId};
use mooring_session::{Address, Direction, Held, Mapping, Session, Tick};
use mooring_wire::Protocol;
use rand_core::Rng;

use crate::blocks::{BlockIndex, Described};
use crate::choice::Choice;
use crate::hold_down::Put;
use crate::lease::{Ask, lease_range};
use crate::port_owners::{PortOwner, goes_round};
use crate::{Event, EventKind, Nat, Share};

/// Ports that are leased, by the number of their pool.
#[derive(Debug, Default)]
pub(crate) struct Leases(Vec<usize>);

impl Leases {
    /// Makes room for a pool.
    pub(crate) fn open(&mut self, pool: u16) {
        self.0.resize(self.0.len().max(usize::from(pool) + 1), 0);
    }

    /// Those of a pool.
    pub(crate) fn of(&self, pool: u16) -> usize {
        self.0.get(usize::from(pool)).copied().unwrap_or(0)
    }

    /// A lease more, or less.
    pub(crate) fn count(&mut self, pool: u16, more: bool) {
        if let Some(leases) = self.0.get_mut(usize::from(pool)) {
            *leases = if more { *leases + 1 } else { leases.saturating_sub(1) };
        }
    }
}

impl<A: Address> Nat<A> {
    /// Ports and identifiers of a pool that mappings have.
    #[must_use]
    pub fn leased_ports_of(&self, pool: PoolId) -> usize {
        self.leases.of(self.pools.number(pool))
    }

    /// Ports and identifiers of a pool that rest, RFC 6888 REQ-8.
    #[must_use]
    pub fn resting_ports_of(&self, pool: PoolId) -> usize {
        self.resting.len(self.pools.number(pool))
    }

    /// Blocks of a pool that are somebody's, and all that this worker has.
    #[must_use]
    pub fn blocks_of(&self, pool: PoolId) -> (u32, u32) {
        self.blocks.count(self.pools.number(pool))
    }

    /// The source whose block of this worker has a port of an address, the ports of the block, and
    /// whether it has them now or had them last. `None`: no block, or nobody has had it.
    #[must_use]
    pub fn block_at(&self, address: A, port: u16) -> Option<(A, RangeInclusive<u16>, bool)> {
        let block = self.blocks.at(address, port)?;
        let described = self.blocks.describe(block)?;
        Some((described.source, described.ports, self.blocks.is_held(block)))
    }

    /// Whether a mapping may go on as one of that pool.
    pub(crate) fn may_keep_mapping(
        &self,
        policy: &Policy,
        pool: PoolId,
        mapping: &Mapping<A>,
    ) -> bool {
        let end = (mapping.outside, mapping.outside_port);
        policy.pool(pool).mapping == Kind::EndpointIndependent
            && self.may_keep(policy, pool, mapping.inside, end, mapping.protocol)
    }

    /// Whether sessions of `host` may have this outside end by that pool.
    pub(crate) fn may_keep(
        &self,
        policy: &Policy,
        id: PoolId,
        host: A,
        (address, port): (A, u16),
        protocol: Protocol,
    ) -> bool {
        let pool = policy.pool(id);
        let outside = address.into();
        let in_pool = pool.contains(outside)
            && policy.is_held(outside)
            && policy.claimed_until(outside, protocol, port).is_none();
        in_pool
            && match pool.allocation {
                Allocation::Random | Allocation::Preserve => {
                    lease_range(protocol, &pool.ports).contains(&port)
                        && self.numbers.pool(policy, outside, port).is_none()
                        && self.share.has(port)
                }
                Allocation::PortBlock(_) => {
                    pool.ports.contains(&port)
                        && self.blocks.may_have(self.source_of(host), address, port)
                }
                Allocation::Deterministic(_) => {
                    let slice = pool.deterministic_slice(host.into());
                    slice.is_some_and(|(its, ports)| its == outside && ports.contains(&port))
                }
            }
    }

    /// A session of `host` begins to use an outside end of a pool.
    pub(crate) fn enrol(&mut self, host: A, address: A, port: u16, now: Tick) {
        if !self.blocks.is_idle() {
            let source = self.source_of(host);
            if let Some(block) = self.blocks.join(source, address, port) {
                self.tell_of_block(block, now);
            }
        }
        if !self.usage.is_idle() {
            self.usage.add(host, address);
        }
    }

    /// A session of `host` that the policy of `generation` has admitted, or checked last, no longer
    /// uses an outside end of a pool.
    pub(crate) fn strike(
        &mut self,
        host: A,
        (address, port): (A, u16),
        generation: u32,
        now: Tick,
    ) {
        if !self.blocks.is_idle() && self.blocks.counts(address, port, generation) {
            let free = self.blocks.leave(address, port, now);
            self.tell_of_release(free, now);
        }
        if !self.usage.is_idle() && self.usage.counts(address, generation) {
            self.usage.remove(host, address);
        }
    }

    /// What a session that is no longer in the table was counted in.
    pub(crate) fn strike_session(&mut self, session: &Session<A>, held: Held, now: Tick) {
        if is_leased(held) {
            let end = (session.outside, session.outside_port);
            self.strike(session.inside, end, session.generation, now);
        }
    }

    /// A session goes on under another policy than the one that admitted it or checked it last: what it
    /// was not counted in it is now. False if it cannot be: then it has to end.
    pub(crate) fn enrol_again(
        &mut self,
        session: &Session<A>,
        held: Held,
        policy: &Policy,
        now: Tick,
    ) -> bool {
        let (host, address, port) = (session.inside, session.outside, session.outside_port);
        if !is_leased(held) {
            return true;
        }
        // Of a rule that is gone: the port may be another worker's now, or another host's.
        let outside = address.into();
        if policy.pools.iter().any(|pool| pool.contains(outside) && pool.ports.contains(&port)) {
            let here = match self.numbers.of(policy, outside, port, self.share.of()) {
                PortOwner::Worker(worker) => worker == self.share.worker(),
                PortOwner::HostsWorker(owner) => owner == host.into(),
            };
            if !here {
                return false;
            }
        }
        let in_block = !self.blocks.is_idle() && self.blocks.at(address, port).is_some();
        if in_block && !self.blocks.counts(address, port, session.generation) {
            let source = self.source_of(host);
            if !self.blocks.may_have(source, address, port) {
                return false;
            }
            if let Some(block) = self.blocks.join(source, address, port) {
                self.tell_of_block(block, now);
            }
        }
        if !self.usage.is_idle() && !self.usage.counts(address, session.generation) {
            self.usage.add(host, address);
        }
        true
    }

    /// A port in the blocks of the flow's source on an address, or in a new one.
    pub(crate) fn port_in_blocks(
        &mut self,
        ask: &Ask<'_, A>,
        address: A,
        random: &mut impl Rng,
    ) -> Option<u16> {
        let (pool, source) = (self.pools.number(ask.id), self.source_of(ask.key.source));
        for block in self.blocks.held_there(pool, source, address).iter() {
            let port = self.port_in_block(ask, block, random);
            if port.is_some() {
                return port;
            }
        }
        for _ in 0..NEW_BLOCKS {
            let block = self.blocks.allocate(pool, source, address, ask.now)?;
            let port = self.port_in_block(ask, block, random);
            if port.is_some() {
                self.tell_of_block(block, ask.now);
                return port;
            }
            // Rules have all of its ports.
            self.blocks.refuse(block);
        }
        None
    }

    fn port_in_block(
        &mut self,
        ask: &Ask<'_, A>,
        block: BlockIndex,
        random: &mut impl Rng,
    ) -> Option<u16> {
        #[cfg(test)]
        crate::fixture::step();
        let (address, ports) = (self.blocks.address(block), self.blocks.ports(block));
        // With fewer sessions than ports one is free for any remote: it is found if it is the last.
        if self.blocks.users(block) < ports.len() {
            self.sweeps.assure(ports.len());
        }
        let choice = self.choice(ask, address, Choice::of(ports, Share::ALL));
        self.port_of(ask, address, &choice, random)
    }

    /// RFC 8158 event 16: who got which ports, and when.
    fn tell_of_block(&mut self, block: BlockIndex, now: Tick) {
        let described = self.blocks.describe(block);
        self.tell_block(EventKind::BlockAllocated, described, now);
    }

    /// RFC 8158 event 17.
    fn tell_of_release(&mut self, free: Option<Described<A>>, now: Tick) {
        self.tell_block(EventKind::BlockReleased, free, now);
    }

    fn tell_block(&mut self, kind: EventKind, block: Option<Described<A>>, now: Tick) {
        let Some(Described { pool, source, address, ports }) = block else { return };
        self.usage.set_blocks(address, self.blocks.held_on(address));
        self.events.write(Event {
            pool: self.pools.pool(pool).map(|pool| pool.0),
            inside: Some(source.into()),
            outside: Some(address.into()),
            ports: Some(ports),
            ..Event::new(kind, now)
        });
    }

    /// The lease of a mapping that has ended: its port rests, or is free.
    pub(crate) fn end_lease(&mut self, unused: Mapping<A>, now: Tick) {
        self.leases.count(unused.pool, false);
        let (address, protocol, port) = (unused.outside, unused.protocol, unused.outside_port);
        let was_leased = match self.resting.put(unused, now) {
            Put::Free => self.ports.release(address, protocol, port),
            Put::Rests { instead_of } => {
                let rests = self.ports.rest(address, protocol, port);
                if let Some(other) = instead_of {
                    self.ports.wake(other.outside, other.protocol, other.outside_port);
                }
                rests
            }
        };
        debug_assert!(was_leased, "a mapping owns the lease of its outside port");
    }

    /// Ports of the pool that have rested long enough are anybody's: a bounded number at a time.
    pub(crate) fn wake(&mut self, ask: &Ask<'_, A>) {
        self.wake_pool(self.pools.number(ask.id), ask.now);
    }

    /// The same of all pools, one of them a call.
    pub(crate) fn wake_any(&mut self, now: Tick) {
        if let Some(pool) = self.resting.any_due(now) {
            self.wake_pool(pool, now);
        }
    }

    fn wake_pool(&mut self, pool: u16, now: Tick) {
        for _ in 0..WOKEN {
            let Some(was) = self.resting.due(pool, now) else { return };
            self.ports.wake(was.outside, was.protocol, was.outside_port);
        }
    }

    /// A port that rests and was the same inside end's, or at least the same host's.
    pub(crate) fn take_back(
        &mut self,
        ask: &Ask<'_, A>,
        address: A,
        choice: &Choice,
        same_end: bool,
    ) -> Option<u16> {
        if !goes_round(ask.pool) {
            return None;
        }
        let end = self.inside_end(ask.key, ask.id);
        let numbers = &self.numbers;
        let was = self.resting.take_back(&end, address, same_end, |port| {
            choice.has(port) && ask.taken_until(numbers, address, port).is_none()
        })?;
        self.ports.take_back(was.outside, was.protocol, was.outside_port);
        Some(was.outside_port)
    }
}

/// Whether a session's outside end is a pool's: it has a mapping, or shares a port of it between
/// remotes; that is never begun from outside. Of what rules fix, only `static` is begun from inside, and
/// its addresses are no pool's.
fn is_leased(held: Held) -> bool {
    held.mapping.is_some() || held.began == Direction::Forward
}

/// Blocks that a packet tries when rules have all ports of the first.
const NEW_BLOCKS: u32 = 4;

/// Ports that a packet, or a look at the time, wakes at most.
const WOKEN: u32 = 64;
