//! The table of sessions of one worker: found by either key, ended by silence.
//!
//! Here: what it is and how a session is found. `known`: the short way to one of which nothing is to be said but that
//! it goes on. `passing`: what a packet does to its session. `life`: how sessions begin, go on under another policy
//! and end.
//!
//! Everything is allocated when the table is made. A full table refuses the next session; it never
//! deletes one to make room (RFC 6888 REQ-11).

use std::io;

use crate::index::Index;
use crate::memory::{Room, prefault, prefetch, room_for};
use crate::record::Cold;
use crate::wheel::{Link, Links, Wheel};
use crate::window::{Connection, Windows};
use crate::{
    Address, Counts, Direction, FlowKey, Held, KeyedHash, NextHopIndex, Session, Tick, Timeouts,
};

mod known;
mod life;
mod passing;

pub use self::known::Likely;

/// A bounded table of sessions of one address family.
pub struct SessionTable<A> {
    index: Index,
    hot: Room<Session<A>>,
    cold: Room<Cold>,
    free: Option<u32>,
    live: usize,
    capacity: usize,
    wheel: Wheel,
    hash: KeyedHash,
    timeouts: Timeouts,
    /// By the numbers of the records, where the policy asks for it.
    windows: Option<Windows>,
    /// Established TCP sessions whose time is over are asked before they end.
    asks: bool,
    /// Those that are to be asked; at most [`TO_ASK`].
    to_ask: Vec<SessionIndex>,
}

/// Names a session while it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionIndex(u32);

/// What a lookup finds: a session, and which way the packet travels in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionRef {
    /// The session.
    pub index: SessionIndex,
    /// The packet's way.
    pub direction: Direction,
}

/// Why a session was not inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InsertError {
    /// The table has as many sessions as it was made for.
    Full,
    /// Another session has one of the keys.
    KeyTaken,
}

/// What a policy says anew about a session that goes on.
#[derive(Clone, Copy, Debug)]
pub struct Renewed {
    /// The rule that decides it now, or [`NO_RULE`](crate::record::NO_RULE).
    pub rule: u16,
    /// See [`Session::flags`].
    pub flags: u16,
    /// Generation of that rule's policy.
    pub generation: u32,
    /// Where forward and reverse packets go.
    pub hops: [NextHopIndex; 2],
    /// Interfaces that forward and reverse packets come in by.
    pub ingress: [u8; 2],
}

impl<A: Address> SessionTable<A> {
    /// A table for at most `capacity` sessions (and at most 2^30).
    #[must_use]
    pub fn new(capacity: usize, hash: KeyedHash, timeouts: Timeouts) -> Self {
        let capacity = capacity.min(1 << 30);
        Self {
            index: Index::new(2 * capacity),
            hot: room_for(capacity),
            cold: room_for(capacity),
            free: None,
            live: 0,
            capacity,
            wheel: Wheel::new(),
            hash,
            timeouts,
            windows: None,
            asks: false,
            to_ask: Vec::with_capacity(TO_ASK),
        }
    }

    /// Makes the pages of all records be there: see [`prefault`].
    ///
    /// # Errors
    /// The operating system's.
    pub fn prefault(&mut self) -> io::Result<()> {
        prefault(&mut self.hot)?;
        prefault(&mut self.cold)
    }

    /// The hash that the other calls ask for.
    #[inline]
    #[must_use]
    pub fn hash(&self, key: &FlowKey<A>) -> u64 {
        self.hash.flow(key)
    }

    /// As [`Self::hash`], of a key without a routing domain and a tag.
    #[inline]
    #[must_use]
    pub fn hash_plain(&self, key: &FlowKey<A>) -> u64 {
        self.hash(&key.plain())
    }

    /// First pass of a batched lookup: starts loading the bucket of `hash`.
    #[inline]
    pub fn prefetch_bucket(&self, hash: u64) {
        self.index.prefetch(hash);
    }

    /// Second pass: reads the bucket and starts loading the record that it most likely names.
    #[inline]
    #[must_use]
    pub fn prefetch_session(&self, hash: u64) -> Likely {
        let likely = Likely::from(self.index.glance(hash));
        if let Some(session) = self.hot.get(likely.at()) {
            prefetch(session);
        }
        likely
    }

    /// Third pass: the session of `key`.
    #[inline]
    #[must_use]
    pub fn find(&self, hash: u64, key: &FlowKey<A>) -> Option<SessionRef> {
        let value = self.index.find(hash, |value| {
            let found = SessionRef::from_value(value);
            self.hot[found.index.at()].has_key(found.direction, key)
        })?;
        Some(SessionRef::from_value(value))
    }

    /// The session of `key`, hashed here: for lookups outside the batch.
    #[must_use]
    pub fn find_key(&self, key: &FlowKey<A>) -> Option<SessionRef> {
        self.find(self.hash(key), key)
    }

    /// A live session.
    #[inline]
    #[must_use]
    pub fn session(&self, index: SessionIndex) -> &Session<A> {
        &self.hot[index.at()]
    }

    /// The first live session from record `at` on that lies before record `end`.
    #[must_use]
    pub fn first_live(&self, at: u32, end: u32) -> Option<SessionIndex> {
        let end = end.min(self.hot.len() as u32);
        (at..end).find(|&at| self.cold[at as usize].is_live()).map(SessionIndex)
    }

    /// Live sessions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.live
    }

    /// Records, live or free: their numbers lie below this one.
    #[must_use]
    pub fn records(&self) -> u32 {
        self.hot.len() as u32
    }

    /// Sessions that there is room for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// True when the next session would be refused.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.live == self.capacity
    }

    /// True without a live session.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// The live sessions among at most `records` records from number `start` on, and the number to
    /// go on from; `None` after the last. Lets a reader walk the table in bounded visits.
    pub fn page(
        &self,
        start: u32,
        records: u32,
    ) -> (impl Iterator<Item = SessionIndex> + '_, Option<u32>) {
        let end = start.saturating_add(records).min(self.hot.len() as u32);
        let live = (start..end).filter(|&at| self.cold[at as usize].is_live()).map(SessionIndex);
        (live, (end < self.hot.len() as u32).then_some(end))
    }

    /// Packets and bytes of a live session, forward and reverse.
    #[must_use]
    pub fn counts(&self, index: SessionIndex) -> [Counts; 2] {
        let (hot, cold) = (&self.hot[index.at()], &self.cold[index.at()]);
        [0, 1].map(|way| Counts {
            packets: u64::from(cold.packets_carry[way]) << 32 | u64::from(hot.packets[way]),
            bytes: u64::from(cold.bytes_carry[way]) << 32 | u64::from(hot.bytes[way]),
        })
    }

    /// When a live session began, to 16 ms.
    #[must_use]
    pub fn created(&self, index: SessionIndex) -> Tick {
        self.cold[index.at()].created()
    }

    /// What a live session has beside its record.
    #[must_use]
    pub fn held(&self, index: SessionIndex) -> Held {
        self.cold[index.at()].held()
    }

    /// How long a session may be silent in its state, in milliseconds.
    #[inline]
    #[must_use]
    pub fn timeout(&self, session: &Session<A>) -> u64 {
        u64::from(self.timeouts.of(session.state.timeout_class(session.protocol)))
    }

    /// Bytes allocated for this table, divided among its sessions the budget of one.
    #[must_use]
    pub fn allocated(&self) -> usize {
        let record = size_of::<Session<A>>() + size_of::<Cold>();
        self.index.allocated() + self.capacity * record + self.allocated_for_windows()
    }

    /// Those of them that only following windows takes.
    #[must_use]
    pub fn allocated_for_windows(&self) -> usize {
        if self.follows_windows() { self.capacity * size_of::<Connection>() } else { 0 }
    }
}

impl SessionIndex {
    /// The number of its record.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }

    #[inline]
    const fn at(self) -> usize {
        self.0 as usize
    }
}

impl SessionRef {
    /// An index value: the record number, and the direction in the lowest bit.
    #[inline]
    const fn from_value(value: u32) -> Self {
        let direction = if value & 1 == 0 { Direction::Forward } else { Direction::Reverse };
        Self { index: SessionIndex(value >> 1), direction }
    }

    /// The value that [`Self::from_value`] reads.
    #[inline]
    const fn value(self) -> u32 {
        self.index.0 << 1 | self.direction as u32
    }
}

struct ColdLinks<'t>(&'t mut [Cold]);

impl Links for ColdLinks<'_> {
    fn link(&mut self, index: u32) -> &mut Link {
        &mut self.0[index as usize].link
    }
}

/// Sessions that wait for being asked, at most: more than a poll looks at.
const TO_ASK: usize = 64;

#[cfg(test)]
mod tests;
