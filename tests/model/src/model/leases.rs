//! Limits, and what stands for an inside host outside: learned from what was sent, and judged.

use std::net::IpAddr;

use super::plan::{Plan, Stands};
use super::{Judged, Mapping, Model, Reason, Rest, Seen, Session};
use crate::packet::{End, GRE, Packet, TCP, UDP};
use crate::spec::{Kind, Pool, Side};

impl Model {
    /// Sessions of a family in one worker.
    pub(crate) fn capacity(&self) -> usize {
        self.spec.sessions.div_ceil(self.workers)
    }

    /// The outside end of a new session, and the mapping that has it.
    pub(super) fn outside(
        &mut self,
        plan: &Plan,
        worker: usize,
        seen: &Seen,
    ) -> Judged<Result<(End, Option<u64>), Reason>> {
        match plan.stands {
            Stands::Fixed(end) if end.1 != plan.inside.1 && plan.key.protocol == GRE => {
                Ok(Err("unsupported_protocol"))
            }
            Stands::Fixed(end) => Ok(Ok((end, None))),
            Stands::Mapping(id) => {
                let mapping = self.mappings.iter().find(|mapping| mapping.id == id);
                let mapping = mapping.ok_or("a mapping that nobody has")?;
                Ok(Ok((mapping.outside, Some(id))))
            }
            Stands::Pool(_) if plan.key.protocol == GRE => Ok(Err("unsupported_protocol")),
            Stands::Pool(name) => {
                let pool = self.spec.pool(name).ok_or("no such pool")?.clone();
                match self.known_mapping(plan, &pool, seen) {
                    Some(known) if !pool.endpoint_dependent => Ok(Ok(known)),
                    _ => self.lease(plan, &pool, worker, seen),
                }
            }
        }
    }

    /// RFC 4787 REQ-1: the mapping that the inside end has. After a reload and one back to the policy
    /// before, it may have two.
    fn known_mapping(&self, plan: &Plan, pool: &Pool, seen: &Seen) -> Option<(End, Option<u64>)> {
        let is = |m: &&Mapping| {
            (m.pool, m.protocol, m.inside) == (pool.name, plan.key.protocol, plan.inside)
                && self.spec.has_end(pool.name, m.protocol, m.outside)
                && pool.slice_has(m.inside.0, m.outside)
        };
        let all = || self.mappings.iter().filter(is);
        let chosen = all().find(|mapping| Some(mapping.outside) == chosen(seen));
        chosen.or(all().next()).map(|mapping| (mapping.outside, Some(mapping.id)))
    }

    /// A new end: whatever the engine has taken, if it was to be had.
    fn lease(
        &mut self,
        plan: &Plan,
        pool: &Pool,
        worker: usize,
        seen: &Seen,
    ) -> Judged<Result<(End, Option<u64>), Reason>> {
        let host = plan.inside.0;
        if matches!(pool.kind, Kind::Slices(..)) && pool.slice(host).is_none() {
            return Ok(Err("pool_empty"));
        }
        let candidates = self.addresses(pool, host, worker);
        if pool.empty {
            return Ok(Err("pool_empty"));
        }
        if seen.dropped == Some("ports_exhausted") && seen.first_half() == seen.last() {
            let full = |address: &IpAddr| {
                !self.has_room(plan, pool, worker, *address)
                    && !self.has_overflow(plan, pool, worker, *address)
            };
            // An end without a lease, of a policy before, is noticed only when it has been drawn.
            let unleased = |s: &Session| {
                (s.mapping, s.protocol, s.remote) == (None, plan.key.protocol, plan.remote)
                    && !pool.is_overflow(s.outside.1)
                    && self.spec.has_end(pool.name, s.protocol, s.outside)
            };
            let drawn = self.sessions.iter().any(unleased);
            let found_none = match pool.arbitrary {
                true => candidates.iter().all(full),
                false => candidates.iter().any(full),
            };
            return match drawn || found_none {
                true => Ok(Err("ports_exhausted")),
                false => Err(format!("{} has free ports for {:?}", pool.name, plan.key)),
            };
        }
        let Some(end) = chosen(seen) else {
            // Dropped for another reason, which the comparison shows; but of a hairpin the first half
            // does not show its end.
            return self.hidden(plan, pool, worker, &candidates);
        };
        if !candidates.contains(&end.0) {
            return Err(format!("{host} is not paired with {} but {candidates:?}", end.0));
        }
        if pool.is_overflow(end.1) && !pool.endpoint_dependent {
            return self.overflow(plan, pool, worker, (end, &candidates));
        }
        if !self.is_free(plan, pool, worker, end, 0) {
            return Err(format!("{end:?} of {} is not free for {:?}", pool.name, plan.key));
        }
        let had = self.had(plan, pool, worker).filter(|_| candidates.len() == 1);
        if had.is_some_and(|had| had != end) {
            return Err(format!("{:?} had {had:?} and gets {end:?}", plan.inside));
        }
        // `preserve` is a wish that is granted if it can be.
        let own = (end.0, plan.inside.1);
        let wished = pool.kind == Kind::Preserve && had.is_none() && end != own;
        let rests = |rest: &Rest| {
            let had = (rest.was.protocol, rest.was.outside);
            had == (plan.key.protocol, own) && self.now < rest.until + SLACK
        };
        let rests = self.resting.iter().any(rests);
        if wished && !rests && self.is_free(plan, pool, worker, own, SLACK) {
            return Err(format!("{:?} gets {end:?} and could have kept its port", plan.inside));
        }
        self.check_contiguity(plan, pool, worker, end)?;
        self.paired.insert((pool.name, host), end.0);
        Ok(Ok(self.take(plan, pool, worker, end)))
    }

    /// The addresses of which a host may get a new end: its own (RFC 4787 REQ-2), if it has one.
    fn addresses(&self, pool: &Pool, host: IpAddr, worker: usize) -> Vec<IpAddr> {
        let paired = || self.paired.get(&(pool.name, host)).filter(|_| !pool.arbitrary).copied();
        if !pool.least_used {
            let slice = pool.slice(host).map(|slice| slice.0);
            return paired().or(slice).map_or_else(|| pool.addresses.clone(), |one| vec![one]);
        }
        let ours = |s: &&Session| s.worker == worker && s.pool == Some(pool.name);
        if let Some(session) = self.sessions.iter().filter(ours).find(|s| s.inside.0 == host) {
            return vec![session.outside.0];
        }
        let uses = |address: &IpAddr| {
            self.sessions.iter().filter(ours).filter(|s| s.outside.0 == *address).count()
        };
        let least = pool.addresses.iter().map(uses).min();
        pool.addresses.iter().filter(|address| Some(uses(address)) == least).copied().collect()
    }

    /// A port that remotes share: only where no mapping finds one, and each remote's once.
    fn overflow(
        &mut self,
        plan: &Plan,
        pool: &Pool,
        worker: usize,
        (end, candidates): (End, &[IpAddr]),
    ) -> Judged<Result<(End, Option<u64>), Reason>> {
        let room = |address: &IpAddr| self.has_room(plan, pool, worker, *address);
        let tried = if pool.arbitrary { candidates } else { &[end.0] };
        if tried.iter().any(room) {
            return Err(format!(
                "{end:?} is of the overflow, and there are others: {:?}",
                plan.key
            ));
        }
        if !self.is_free_overflow(plan, pool, worker, end) {
            return Err(format!("{end:?} of the overflow is not free for {:?}", plan.key));
        }
        self.paired.insert((pool.name, plan.inside.0), end.0);
        Ok(Ok((end, None)))
    }

    fn is_free_overflow(&self, plan: &Plan, pool: &Pool, worker: usize, end: End) -> bool {
        let protocol = plan.key.protocol;
        let has = |s: &Session| (s.protocol, s.outside, s.remote) == (protocol, end, plan.remote);
        pool.is_overflow(end.1)
            && !self.spec.is_claimed(protocol, end)
            && pool.suits(protocol, plan.inside.1, end.1)
            && self.owner_of_end(pool, end).is_none_or(|owner| owner == worker)
            && !self.sessions.iter().any(has)
    }

    fn has_overflow(&self, plan: &Plan, pool: &Pool, worker: usize, address: IpAddr) -> bool {
        pool.overflow.is_some_and(|(first, last)| {
            let free = |port| self.is_free_overflow(plan, pool, worker, (address, port));
            (first..=last).any(free)
        })
    }

    /// RFC 4787 §4.2.3: the port beside that of the host's port beside this one, if it is to be had.
    fn check_contiguity(&self, plan: &Plan, pool: &Pool, worker: usize, end: End) -> Judged<()> {
        let protocol = plan.key.protocol;
        let rested = |rest: &Rest| {
            let Mapping { pool: of, protocol: its, inside, outside, .. } = rest.was;
            let mine = (of, its, inside.0) == (pool.name, protocol, plan.inside.0);
            mine && (inside == plan.inside || rest.doubtful || outside.1 == UNKNOWN)
        };
        // The port that it had itself comes before.
        let before = self.resting.iter().any(rested);
        if !pool.contiguity || !matches!(protocol, TCP | UDP) || before {
            return Ok(());
        }
        let beside = |m: &&Mapping| {
            (m.pool, m.protocol, m.inside.0) == (pool.name, protocol, plan.inside.0)
                && m.outside.0 == end.0
                && m.inside.1.abs_diff(plan.inside.1) == 1
        };
        let wished = self.mappings.iter().filter(beside).map(|m| {
            let port = if m.inside.1 > plan.inside.1 { m.outside.1 - 1 } else { m.outside.1 + 1 };
            (end.0, port)
        });
        let rests = |end: End| {
            let same = |rest: &Rest| (rest.was.protocol, rest.was.outside) == (protocol, end);
            self.resting.iter().any(|rest| same(rest) && self.now < rest.until + SLACK)
        };
        let free = |end: &End| !rests(*end) && self.is_free(plan, pool, worker, *end, SLACK);
        let wished: Vec<End> = wished.filter(free).collect();
        match wished.is_empty() || wished.contains(&end) {
            true => Ok(()),
            false => Err(format!("{:?} gets {end:?}, and {wished:?} is free", plan.inside)),
        }
    }

    /// A lease that no packet has shown: the first half of a hairpin whose second was refused.
    fn hidden(
        &mut self,
        plan: &Plan,
        pool: &Pool,
        worker: usize,
        candidates: &[IpAddr],
    ) -> Judged<Result<(End, Option<u64>), Reason>> {
        let (first, last) = pool.range(plan.key.protocol);
        let may = |address: &IpAddr| {
            (first..=last).any(|port| self.is_free(plan, pool, worker, (*address, port), 0))
        };
        if !candidates.iter().any(may) {
            let shared = candidates.iter().any(|one| self.has_overflow(plan, pool, worker, *one));
            let end = (candidates[0], UNKNOWN);
            return Ok(if shared { Ok((end, None)) } else { Err("ports_exhausted") });
        }
        for rest in &mut self.resting {
            let Mapping { pool: of, protocol, inside, .. } = rest.was;
            rest.doubtful |=
                (of, protocol, inside.0) == (pool.name, plan.key.protocol, plan.inside.0);
        }
        let end = (candidates[0], UNKNOWN);
        Ok(Ok(self.take(plan, pool, worker, end)))
    }

    /// Of a pool with blocks: whether the one that an end is of is the host's, or may become so.
    fn may_have_block(&self, pool: &Pool, host: IpAddr, end: End, slack: u64) -> bool {
        let Kind::Blocks(size, most, _) = pool.kind else { return true };
        let block = |end: End| (end.0, end.1.saturating_sub(pool.ports.0) / size);
        let whose = self.ends_of(pool).find(|has| block(has.1) == block(end));
        let mine = self.ends_of(pool).filter(|has| has.0 == host);
        let mut blocks: Vec<_> = mine.map(|has| block(has.1)).collect();
        blocks.sort_unstable();
        blocks.dedup();
        let rests = self.blocks.iter().any(|(resting, last, until)| {
            *resting == block(end) && *last != host && self.now < until + slack
        });
        // What is left over at the end of the range is no block.
        let all = (pool.ports.1 - pool.ports.0 + 1) / size;
        match whose {
            _ if block(end).1 >= all => false,
            Some((holder, _)) => holder == host,
            None => blocks.len() < most && !rests,
        }
    }

    /// Ports of blocks that rest for others, and nobody has seen which they are.
    fn unseen_in_blocks(&self, pool: &Pool, host: IpAddr) -> usize {
        let Kind::Blocks(size, ..) = pool.kind else { return 0 };
        let unknown = UNKNOWN.saturating_sub(pool.ports.0) / size;
        let unseen = self.blocks.iter().filter(|((_, block), last, until)| {
            *block == unknown && *last != host && self.now < until + SLACK
        });
        unseen.count() * usize::from(size)
    }

    /// The end of a mapping has lost its last session.
    pub(super) fn rest(&mut self, was: Mapping) {
        self.rest_block(was.pool, was.inside.0, was.outside);
        self.resting.retain(|rest| rest.until + SLACK > self.now);
        let rest = self.rests.get(was.pool).map_or(0, |pool| pool.rest(was.protocol));
        if rest > 0 {
            self.resting.push(Rest { was, until: self.now + rest, doubtful: false });
        }
    }

    /// An end of a pool is nobody's: if its block is, too, that rests.
    pub(super) fn rest_block(&mut self, name: &str, host: IpAddr, end: End) {
        let Some(pool) = self.rests.get(name) else { return };
        let Kind::Blocks(size, _, seconds) = pool.kind else { return };
        let block = |end: End| (end.0, end.1.saturating_sub(pool.ports.0) / size);
        let ours = block(end);
        if self.ends_of(pool).any(|has| block(has.1) == ours) {
            return;
        }
        self.blocks.retain(|(resting, ..)| *resting != ours || end.1 == UNKNOWN);
        self.blocks.push((ours, host, self.now + seconds * 1000));
    }

    /// How many ports of a pool rest, at least and at most.
    pub(crate) fn resting(&self, pool: &str) -> std::ops::RangeInclusive<u64> {
        let of = || self.resting.iter().filter(|rest| rest.was.pool == pool);
        let unseen = |rest: &&Rest| rest.doubtful || rest.was.outside.1 == UNKNOWN;
        let sure = of().filter(|rest| self.now < rest.until && !unseen(rest)).count();
        let most = of().filter(|rest| self.now < rest.until + SLACK).count();
        sure as u64..=most as u64
    }

    /// Blocks of a pool that sessions have a port of.
    pub(crate) fn blocks_held(&self, pool: &Pool) -> u64 {
        let Kind::Blocks(size, ..) = pool.kind else { return 0 };
        let block = |(address, port): End| (address, port.saturating_sub(pool.ports.0) / size);
        let mut blocks: Vec<_> = self.ends_of(pool).map(|(_, end)| block(end)).collect();
        blocks.sort_unstable();
        blocks.dedup();
        blocks.len() as u64
    }

    /// Who has which ends of a pool: mappings, and sessions that have none.
    fn ends_of(&self, pool: &Pool) -> impl Iterator<Item = (IpAddr, End)> {
        let name = pool.name;
        let mapped = self.mappings.iter().filter(move |mapping| mapping.pool == name);
        let shared = move |s: &&Session| s.mapping.is_none() && s.pool == Some(name);
        let shared = self.sessions.iter().filter(shared);
        mapped
            .map(|mapping| (mapping.inside.0, mapping.outside))
            .chain(shared.map(|session| (session.inside.0, session.outside)))
    }

    /// The end that the same inside end had, if it still rests: it gets it again.
    fn had(&self, plan: &Plan, pool: &Pool, worker: usize) -> Option<End> {
        let of_host = |rest: &&Rest| {
            let Mapping { pool: of, protocol, inside, .. } = rest.was;
            (of, protocol, inside.0) == (pool.name, plan.key.protocol, plan.inside.0)
                && self.now < rest.until
        };
        let unseen = |rest: &Rest| rest.doubtful || rest.was.outside.1 == UNKNOWN;
        if self.resting.iter().filter(of_host).any(unseen) {
            return None;
        }
        let same = |rest: &&Rest| of_host(rest) && rest.was.inside == plan.inside;
        let ends: Vec<End> =
            self.resting.iter().filter(same).map(|rest| rest.was.outside).collect();
        match ends[..] {
            [end] => Some(end).filter(|end| self.is_free(plan, pool, worker, *end, 0)),
            _ => None,
        }
    }

    fn take(
        &mut self,
        plan: &Plan,
        pool: &Pool,
        worker: usize,
        outside: End,
    ) -> (End, Option<u64>) {
        if pool.endpoint_dependent {
            return (outside, None);
        }
        self.resting.retain(|rest| {
            let same = (rest.was.protocol, rest.was.outside) == (plan.key.protocol, outside);
            // Two that are not known are not the same.
            !same || outside.1 == UNKNOWN && rest.was.inside != plan.inside
        });
        self.next += 1;
        self.mappings.push(Mapping {
            id: self.next,
            worker,
            pool: pool.name,
            protocol: plan.key.protocol,
            inside: plan.inside,
            outside,
            counted: false,
        });
        (outside, Some(self.next))
    }

    fn has_room(&self, plan: &Plan, pool: &Pool, worker: usize, address: IpAddr) -> bool {
        let (first, last) = pool.range(plan.key.protocol);
        let free = |port: &u16| self.is_free(plan, pool, worker, (address, *port), SLACK);
        let unseen = |rest: &&Rest| {
            let end = (rest.was.protocol, rest.was.outside.1);
            end == (plan.key.protocol, UNKNOWN) && self.now < rest.until + SLACK
        };
        let unseen = self.resting.iter().filter(unseen).count();
        let unseen = unseen + self.unseen_in_blocks(pool, plan.inside.0);
        (first..=last).filter(free).take(unseen + 1).count() > unseen
    }

    /// Whether an end may be given to a flow: of the pool, nobody's, and of this worker's slice.
    /// What rests is free for the host that had it, and for others when its time is over by `slack`.
    fn is_free(&self, plan: &Plan, pool: &Pool, worker: usize, end: End, slack: u64) -> bool {
        let protocol = plan.key.protocol;
        let mapped = || self.mappings.iter().any(|m| (m.protocol, m.outside) == (protocol, end));
        let used = || {
            let same = |s: &Session| {
                (s.protocol, s.outside) == (protocol, end)
                    && (!pool.endpoint_dependent || s.remote == plan.remote)
            };
            self.sessions.iter().any(same)
        };
        let slice = pool.slice_has(plan.inside.0, end);
        self.spec.has_end(pool.name, protocol, end)
            && (pool.endpoint_dependent || !pool.is_overflow(end.1))
            && pool.suits(protocol, plan.inside.1, end.1)
            && self.owner_of_end(pool, end).is_none_or(|owner| owner == worker)
            && slice
            && self.may_have_block(pool, plan.inside.0, end, slack)
            && !mapped()
            && !self.resting.iter().any(|rest| {
                let same = (rest.was.protocol, rest.was.outside) == (protocol, end);
                let own = (rest.was.pool, rest.was.inside.0) == (pool.name, plan.inside.0);
                let rests = self.now < rest.until + slack && (slack > 0 || !rest.doubtful);
                same && !own && rests && !pool.endpoint_dependent
            })
            && !(pool.endpoint_dependent && used())
    }

    /// A session begins at the worker that both of its directions belong to.
    pub(super) fn check_owner(&self, plan: &Plan, from: Side, worker: usize) -> Judged<()> {
        match self.owners.of(&plan.key, from) {
            owner if owner != worker => {
                Err(format!("{plan:?} from {from:?} belongs to worker {owner}, not {worker}"))
            }
            _ => Ok(()),
        }
    }

    /// The worker that leases a port of a pool; of a slice, that of its host.
    pub(super) fn owner_of_end(&self, pool: &Pool, (_, port): End) -> Option<usize> {
        pool.turn(port).map(|turn| usize::from(turn) % self.workers)
    }
}

/// The outside end that a flow has got, by the packet that left.
fn chosen(seen: &Seen) -> Option<End> {
    if seen.dropped.is_some() {
        return seen.learned;
    }
    let (_, packet): &(Side, Packet) = seen.sent.first()?;
    packet.key().map(|key| key.source)
}

/// In place of a port that is not known.
const UNKNOWN: u16 = u16::MAX;

/// After a port's time of rest it may take so many milliseconds until it is anybody's.
const SLACK: u64 = 2_000;
