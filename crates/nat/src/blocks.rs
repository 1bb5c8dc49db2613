//! Blocks of ports: a source inside has the ports of whole blocks, so that one record a block, not one
//! a session, says who had a port (RFC 6888 REQ-12 to REQ-14).
//!
//! The ports of a pool's address are divided into blocks of one size; what is left over at the end is
//! no block. A block is a range of numbers: ports of TCP and of UDP, and ICMP identifiers. It belongs
//! to one worker, by its number. A block is free, held by a source as long as that has a session in
//! it, or it rests: for a while only the source that had it may have it. Free blocks are given out in
//! the order in which they came back; at the start, in an order that nobody can guess.
//!
//! Memory is taken when a policy is adopted. Blocks keep their holders across a reload that leaves
//! their pool's ports and size as they are; otherwise they begin anew, and the sessions that there are
//! take theirs as they are checked.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use mooring_policy::PortBlocks;
use mooring_session::index::Index;
use mooring_session::{Address, KeyedHash, Tick};
use mooring_wire::Protocol;

use crate::Share;
use crate::queue::{Link, Queue};

mod follow;

/// The blocks of one worker, of all pools.
pub(crate) struct Blocks<A> {
    spans: Vec<Span<A>>,
    /// The spans of each address; pools may share one.
    by_address: HashMap<A, Vec<u32>>,
    records: Vec<Block<A>>,
    links: Vec<Link>,
    /// By pool and source: the blocks that it holds, and those that it held last.
    index: Index,
    hash: KeyedHash,
    share: Share,
}

/// The blocks of a pool on an address.
#[derive(Clone, Copy, Debug)]
struct Span<A> {
    shape: Shape<A>,
    plan: PortBlocks,
    /// Sessions that this policy or a later one admitted or checked are counted in its blocks.
    since: u32,
    /// The record of the first block; the others of this worker follow.
    base: u32,
    /// Those that nobody holds, the one that came back first at the front.
    free: Queue,
    held: u32,
}

/// What must stay the same for blocks to keep their holders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape<A> {
    address: A,
    /// The number of the pool, the same across reloads.
    pool: u16,
    first: u16,
    size: u16,
    /// Of all workers.
    blocks: u16,
}

/// One block.
#[derive(Clone, Copy, Debug)]
struct Block<A> {
    span: u32,
    /// Sessions in it.
    users: u32,
    /// Who holds it, or held it last, and has not been followed by another.
    source: Option<A>,
    is_held: bool,
    /// Nobody else gets it before.
    rests_until: Tick,
}

/// Names a block until the next policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockIndex(u32);

/// What a block is, for those who are told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Described<A> {
    pub(crate) pool: u16,
    pub(crate) source: A,
    pub(crate) address: A,
    pub(crate) ports: RangeInclusive<u16>,
}

/// The blocks of a source on an address.
pub(crate) struct HeldThere {
    blocks: [BlockIndex; MOST],
    count: usize,
}

impl HeldThere {
    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = BlockIndex> + '_ {
        self.blocks[..self.count].iter().copied()
    }
}

impl<A: Address> Blocks<A> {
    /// None.
    pub(crate) fn new(share: Share, hash: KeyedHash) -> Self {
        Self {
            spans: Vec::new(),
            by_address: HashMap::new(),
            records: Vec::new(),
            links: Vec::new(),
            index: Index::new(0),
            hash,
            share,
        }
    }

    /// Whether no pool has blocks.
    pub(crate) fn is_idle(&self) -> bool {
        self.spans.is_empty()
    }

    /// The block of this worker that has a port of an address.
    pub(crate) fn at(&self, address: A, port: u16) -> Option<BlockIndex> {
        self.by_address.get(&address)?.iter().find_map(|span| {
            let Span { shape, base, .. } = &self.spans[*span as usize];
            let block = port.checked_sub(shape.first)? / shape.size;
            let (of, worker) = (u16::from(self.share.of()), u16::from(self.share.worker()));
            let own = block < shape.blocks && block % of == worker;
            own.then(|| BlockIndex(base + u32::from(block / of)))
        })
    }

    /// The ports of a block.
    pub(crate) fn ports(&self, block: BlockIndex) -> RangeInclusive<u16> {
        let Span { shape, base, .. } = &self.spans[self.block(block).span as usize];
        let of = u32::from(self.share.of());
        let number = (block.0 - base) * of + u32::from(self.share.worker());
        let first = shape.first + number as u16 * shape.size;
        first..=first + (shape.size - 1)
    }

    /// The address of a block.
    pub(crate) fn address(&self, block: BlockIndex) -> A {
        self.spans[self.block(block).span as usize].shape.address
    }

    /// The `nth` block that a source holds in a pool, in no particular order.
    pub(crate) fn held(&self, pool: u16, source: A, nth: u32) -> Option<BlockIndex> {
        let mut passed = 0;
        self.of(pool, source, |block| {
            passed += u32::from(block.is_held);
            block.is_held && passed == nth + 1
        })
    }

    /// The blocks that a source holds in a pool on an address. Goes once through those that it has.
    pub(crate) fn held_there(&self, pool: u16, source: A, address: A) -> HeldThere {
        let mut there = HeldThere { blocks: [BlockIndex(0); MOST], count: 0 };
        self.find_of(pool, source, |at, block| {
            let is_there = self.spans[block.span as usize].shape.address == address;
            if block.is_held && is_there {
                there.blocks[there.count] = at;
                there.count += 1;
            }
            there.count == MOST
        });
        there
    }

    /// A block that a source holds in a pool, or else that it held last.
    pub(crate) fn any_of(&self, pool: u16, source: A) -> Option<BlockIndex> {
        self.held(pool, source, 0).or_else(|| self.of(pool, source, |_| true))
    }

    /// Whether a source may go on using this port: it holds the block, or nobody has had it yet.
    pub(crate) fn may_have(&self, source: A, address: A, port: u16) -> bool {
        let Some(at) = self.at(address, port) else { return false };
        let block = self.block(at);
        if block.is_held {
            return block.source == Some(source);
        }
        let span = &self.spans[block.span as usize];
        let most = u32::from(span.plan.max_blocks);
        block.source.is_none_or(|before| before == source)
            && self.held(span.shape.pool, source, most - 1).is_none()
    }

    /// Gives a source a free block on an address: one that it had, or the one that has been free for
    /// longest and rests no longer. `None` if there is none, or the source has as many as it may have.
    pub(crate) fn allocate(
        &mut self,
        pool: u16,
        source: A,
        address: A,
        now: Tick,
    ) -> Option<BlockIndex> {
        let spans = self.by_address.get(&address)?;
        let is_it = |at: &&u32| self.spans[**at as usize].shape.pool == pool;
        let span_at = *spans.iter().find(is_it)?;
        let span = &self.spans[span_at as usize];
        if self.held(pool, source, u32::from(span.plan.max_blocks) - 1).is_some() {
            return None;
        }
        let had = self.of(pool, source, |block| !block.is_held && block.span == span_at);
        let longest_free = || span.free.first().map(BlockIndex);
        let block = had.or_else(longest_free)?;
        let rests = self.block(block).rests_until > now;
        if rests && self.block(block).source != Some(source) {
            return None;
        }
        self.take(block, source);
        Some(block)
    }

    /// A session of `source` begins to use a port, which it may have. Some: its block was nobody's.
    pub(crate) fn join(&mut self, source: A, address: A, port: u16) -> Option<BlockIndex> {
        let at = self.at(address, port)?;
        let was_free = !self.block(at).is_held;
        if was_free {
            self.take(at, source);
        }
        self.records[at.0 as usize].users += 1;
        was_free.then_some(at)
    }

    /// Whether a session is counted in the block of its port that the policy of `generation` has
    /// admitted, or checked last.
    pub(crate) fn counts(&self, address: A, port: u16, generation: u32) -> bool {
        let span = |at| self.spans[self.block(at).span as usize].since;
        self.at(address, port).is_some_and(|at| span(at) <= generation)
    }

    /// A session that is counted leaves. A block that nobody uses is free, and told of.
    pub(crate) fn leave(&mut self, address: A, port: u16, now: Tick) -> Option<Described<A>> {
        let at = self.at(address, port)?;
        let block = &mut self.records[at.0 as usize];
        block.users = block.users.saturating_sub(1);
        self.settle(at, now)
    }

    /// Takes a block back that its new holder has found no port in: it waits behind the others, and is
    /// nobody's.
    pub(crate) fn refuse(&mut self, at: BlockIndex) {
        let block = self.records[at.0 as usize];
        let span = &mut self.spans[block.span as usize];
        span.held -= 1;
        span.free.push(at.0, &mut self.links);
        let pool = span.shape.pool;
        if let Some(source) = block.source {
            self.index.remove(self.hash_of(pool, source), at.0);
        }
        let block = &mut self.records[at.0 as usize];
        (block.source, block.is_held) = (None, false);
    }

    /// Takes a block back that nobody uses.
    fn settle(&mut self, at: BlockIndex, now: Tick) -> Option<Described<A>> {
        let block = self.block(at);
        if block.users > 0 || !block.is_held {
            return None;
        }
        let described = self.describe(at);
        let block = &mut self.records[at.0 as usize];
        block.is_held = false;
        let span = &mut self.spans[block.span as usize];
        let rest = u64::from(span.plan.quarantine) * 1000;
        block.rests_until = Tick::from_millis(now.as_millis() + rest);
        span.held -= 1;
        span.free.push(at.0, &mut self.links);
        described
    }

    /// What a block is, whoever holds it or held it last.
    pub(crate) fn describe(&self, at: BlockIndex) -> Option<Described<A>> {
        let block = self.block(at);
        let shape = &self.spans[block.span as usize].shape;
        let (pool, address) = (shape.pool, shape.address);
        Some(Described { pool, source: block.source?, address, ports: self.ports(at) })
    }

    /// Sessions that are counted in a block.
    pub(crate) fn users(&self, at: BlockIndex) -> usize {
        self.block(at).users as usize
    }

    /// Whether somebody holds it now.
    pub(crate) fn is_held(&self, at: BlockIndex) -> bool {
        self.block(at).is_held
    }

    /// Blocks on an address that are somebody's.
    pub(crate) fn held_on(&self, address: A) -> u32 {
        let spans = self.by_address.get(&address).into_iter().flatten();
        spans.map(|at| self.spans[*at as usize].held).sum()
    }

    /// Blocks of a pool that are somebody's, and all of this worker.
    pub(crate) fn count(&self, pool: u16) -> (u32, u32) {
        let spans = self.spans.iter().filter(|span| span.shape.pool == pool);
        spans.fold((0, 0), |(held, all), span| {
            (held + span.held, all + self.own(&span.shape) as u32)
        })
    }

    /// Takes a free block out of the queue, for a source.
    fn take(&mut self, at: BlockIndex, source: A) {
        let block = self.records[at.0 as usize];
        let span = &mut self.spans[block.span as usize];
        span.free.remove(at.0, &mut self.links);
        span.held += 1;
        let pool = span.shape.pool;
        if block.source != Some(source) {
            if let Some(before) = block.source {
                self.index.remove(self.hash_of(pool, before), at.0);
            }
            self.index.insert(self.hash_of(pool, source), at.0);
        }
        let block = &mut self.records[at.0 as usize];
        (block.source, block.is_held) = (Some(source), true);
    }

    fn block(&self, at: BlockIndex) -> &Block<A> {
        &self.records[at.0 as usize]
    }

    /// A block of a source in a pool that `is_it`. Cost: the blocks that the source has or had.
    fn of(
        &self,
        pool: u16,
        source: A,
        mut is_it: impl FnMut(&Block<A>) -> bool,
    ) -> Option<BlockIndex> {
        self.find_of(pool, source, |_, block| is_it(block))
    }

    fn find_of(
        &self,
        pool: u16,
        source: A,
        mut is_it: impl FnMut(BlockIndex, &Block<A>) -> bool,
    ) -> Option<BlockIndex> {
        let found = self.index.find(self.hash_of(pool, source), |at| {
            #[cfg(test)]
            crate::fixture::step();
            let block = &self.records[at as usize];
            let its =
                block.source == Some(source) && self.spans[block.span as usize].shape.pool == pool;
            its && is_it(BlockIndex(at), block)
        });
        found.map(BlockIndex)
    }

    fn hash_of(&self, pool: u16, source: A) -> u64 {
        self.hash.end(source, 0, Protocol(0), pool.into())
    }
}

/// Blocks that a source may have.
const MOST: usize = PortBlocks::MAX_BLOCKS as usize;
