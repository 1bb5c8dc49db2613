//! The blocks that a policy asks for, and what becomes of those that there are. Done at the start and
//! at a reload; takes memory.

use mooring_policy::{Allocation, Policy, PortBlocks};
use mooring_session::index::Index;
use mooring_session::{Address, Tick};
use mooring_wire::Protocol;

use super::{Block, Blocks, Shape, Span};
use crate::queue::{Link, Queue};

impl<A: Address> Blocks<A> {
    /// Follows a policy of `generation`; `number` is that of each pool.
    pub(crate) fn follow(&mut self, policy: &Policy, generation: u32, number: impl Fn(u16) -> u16) {
        let wanted = self.wanted(policy, number);
        let same = wanted.iter().map(|(shape, _)| shape).eq(self.spans.iter().map(|s| &s.shape));
        if same {
            for (span, (_, plan)) in self.spans.iter_mut().zip(wanted) {
                span.plan = plan;
            }
            return;
        }
        let old = std::mem::replace(self, Self::new(self.share, self.hash.clone()));
        let room: usize = wanted.iter().map(|(shape, _)| self.own(shape)).sum();
        self.records.reserve_exact(room);
        self.links.reserve_exact(room);
        self.index = Index::new(room);
        for (shape, plan) in wanted {
            let before = old.by_address.get(&shape.address).into_iter().flatten();
            let before = before.map(|at| &old.spans[*at as usize]).find(|span| span.shape == shape);
            match before {
                Some(before) => self.keep(&old, before, plan),
                None => self.begin(shape, plan, generation),
            }
        }
    }

    /// The blocks that a policy asks for.
    fn wanted(&self, policy: &Policy, number: impl Fn(u16) -> u16) -> Vec<(Shape<A>, PortBlocks)> {
        let mut wanted = Vec::new();
        for (place, pool) in (0..).zip(&policy.pools) {
            let Allocation::PortBlock(plan) = pool.allocation else { continue };
            let (first, last) = (*pool.ports.start(), *pool.ports.end());
            let blocks = ((u32::from(last - first) + 1) / u32::from(plan.size)) as u16;
            let addresses = (0..pool.address_count()).filter_map(|n| pool.nth_address(n));
            for address in addresses.filter_map(A::from_ip) {
                let pool = number(place);
                wanted.push((Shape { address, pool, first, size: plan.size, blocks }, plan));
            }
        }
        wanted
    }

    /// How many blocks of an address are this worker's.
    pub(super) fn own(&self, shape: &Shape<A>) -> usize {
        let (blocks, of) = (usize::from(shape.blocks), usize::from(self.share.of()));
        blocks.saturating_sub(self.share.worker().into()).div_ceil(of)
    }

    /// A span whose blocks are all free, in an order that follows from the secret of the start.
    fn begin(&mut self, shape: Shape<A>, plan: PortBlocks, since: u32) {
        let own = self.own(&shape) as u32;
        let base = self.records.len() as u32;
        let mut order: Vec<u32> = (0..own).collect();
        for at in (1..order.len()).rev() {
            let scope = (at as u32) << 16 | u32::from(shape.pool);
            let drawn = self.hash.end(shape.address, shape.first, Protocol(0), scope) >> 32;
            order.swap(at, (drawn as usize) % (at + 1));
        }
        let span = self.enter(Span { shape, plan, since, base, free: Queue::EMPTY, held: 0 });
        let free = Block { span, users: 0, source: None, is_held: false, rests_until: Tick::ZERO };
        self.records.resize(self.records.len() + own as usize, free);
        self.links.resize(self.records.len(), Link::NONE);
        for at in order {
            self.spans[span as usize].free.push(base + at, &mut self.links);
        }
    }

    /// A span as it was, with the plan of now.
    fn keep(&mut self, old: &Self, before: &Span<A>, plan: PortBlocks) {
        let base = self.records.len() as u32;
        let span = self.enter(Span { plan, base, free: Queue::EMPTY, ..*before });
        for at in 0..self.own(&before.shape) as u32 {
            let block = old.records[(before.base + at) as usize];
            self.records.push(Block { span, ..block });
            self.links.push(Link::NONE);
            if let Some(source) = block.source {
                self.index.insert(self.hash_of(before.shape.pool, source), base + at);
            }
        }
        for at in before.free.iter(&old.links) {
            self.spans[span as usize].free.push(at - before.base + base, &mut self.links);
        }
    }

    fn enter(&mut self, span: Span<A>) -> u32 {
        let at = self.spans.len() as u32;
        self.by_address.entry(span.shape.address).or_default().push(at);
        self.spans.push(span);
        at
    }
}
