//! The inside hosts, or prefixes, that have sessions: one cannot take the table from the others
//! (RFC 6888 REQ-4).
//!
//! A source is there for as long as it has a session, whoever began it, so that what is counted beside
//! (by [`SourceIndex::number`]) has its place. A table of its own: a general hash map would move a
//! million entries at once, or allocate, in the middle of a packet.

use std::io;

use mooring_wire::Protocol;

use crate::index::Index;
use crate::memory::{Room, prefault, prefetch, room_for};
use crate::{Address, Direction, KeyedHash};

/// A bounded table of the sources of one address family.
pub struct SourceTable<A> {
    index: Index,
    records: Room<Source<A>>,
    free: Option<u32>,
    live: usize,
    capacity: usize,
    hash: KeyedHash,
}

/// A source and its sessions.
#[derive(Clone, Debug)]
pub struct Source<A> {
    /// Its address: the first one of its prefix.
    pub address: A,
    /// Sessions that it began; in a free record the number of the next free one, or [`NIL`].
    begun: u32,
    /// Sessions that others began with it.
    received: u32,
}

/// Names a source while it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SourceIndex(u32);

impl<A> Source<A> {
    /// Sessions whose first packet went this way: forward ones it began itself.
    #[must_use]
    pub const fn sessions(&self, began: Direction) -> u32 {
        match began {
            Direction::Forward => self.begun,
            Direction::Reverse => self.received,
        }
    }

    const fn sessions_mut(&mut self, began: Direction) -> &mut u32 {
        match began {
            Direction::Forward => &mut self.begun,
            Direction::Reverse => &mut self.received,
        }
    }
}

impl<A: Address> SourceTable<A> {
    /// A table for at most `capacity` sources.
    #[must_use]
    pub fn new(capacity: usize, hash: KeyedHash) -> Self {
        let capacity = capacity.min(1 << 30);
        Self {
            index: Index::new(capacity),
            records: room_for(capacity),
            free: None,
            live: 0,
            capacity,
            hash,
        }
    }

    /// Makes the pages of all records be there: see [`prefault`].
    ///
    /// # Errors
    /// The operating system's.
    pub fn prefault(&mut self) -> io::Result<()> {
        prefault(&mut self.records)
    }

    /// The source at `address`, if it has sessions.
    #[inline]
    #[must_use]
    pub fn find(&self, address: A) -> Option<SourceIndex> {
        let is_it = |at: u32| self.records[at as usize].address == address;
        self.index.find(self.hash_of(address), is_it).map(SourceIndex)
    }

    /// Starts loading what [`Self::find`] reads first.
    pub fn prefetch(&self, address: A) {
        self.index.prefetch(self.hash_of(address));
    }

    /// Then: starts loading the source that it most likely finds.
    pub fn prefetch_source(&self, address: A) {
        let at = self.index.likely(self.hash_of(address));
        if let Some(source) = at.and_then(|at| self.records.get(at as usize)) {
            prefetch(source);
        }
    }

    /// A live source.
    #[must_use]
    pub fn source(&self, index: SourceIndex) -> &Source<A> {
        &self.records[index.number() as usize]
    }

    /// Sessions of the source at `address` whose first packet went this way.
    #[must_use]
    pub fn sessions(&self, address: A, began: Direction) -> u32 {
        self.find(address).map_or(0, |index| self.source(index).sessions(began))
    }

    /// One session more. `None` when the source is new and the table is full.
    pub fn add(&mut self, address: A, began: Direction) -> Option<SourceIndex> {
        let at = match self.find(address) {
            Some(known) => known.0,
            None => self.place(Source { address, begun: 0, received: 0 })?,
        };
        *self.records[at as usize].sessions_mut(began) += 1;
        Some(SourceIndex(at))
    }

    /// One session more of a source that is there.
    pub fn add_to(&mut self, index: SourceIndex, began: Direction) {
        *self.records[index.number() as usize].sessions_mut(began) += 1;
    }

    /// One session less; a source without sessions is forgotten.
    pub fn remove(&mut self, address: A, began: Direction) {
        let Some(index) = self.find(address) else { return };
        let source = &mut self.records[index.number() as usize];
        let sessions = source.sessions_mut(began);
        debug_assert!(*sessions > 0, "a session is taken away once");
        *sessions = sessions.saturating_sub(1);
        if source.begun == 0 && source.received == 0 {
            source.begun = self.free.unwrap_or(NIL);
            self.free = Some(index.0);
            self.live -= 1;
            self.index.remove(self.hash_of(address), index.0);
        }
    }

    /// Sources that have sessions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.live
    }

    /// True when no source has a session.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// True when a new source finds no room.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.live == self.capacity
    }

    /// Sources that there is room for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Bytes allocated for this table.
    #[must_use]
    pub fn allocated(&self) -> usize {
        self.index.allocated() + self.capacity * size_of::<Source<A>>()
    }

    fn place(&mut self, source: Source<A>) -> Option<u32> {
        if self.is_full() {
            return None;
        }
        let hash = self.hash_of(source.address);
        let at = match self.free {
            Some(at) => {
                let next = self.records[at as usize].begun;
                self.free = (next != NIL).then_some(next);
                self.records[at as usize] = source;
                at
            }
            None => {
                self.records.push(source);
                self.records.len() as u32 - 1
            }
        };
        self.live += 1;
        self.index.insert(hash, at);
        Some(at)
    }

    fn hash_of(&self, address: A) -> u64 {
        self.hash.end(address, 0, Protocol(0), 0)
    }
}

impl SourceIndex {
    /// The number of its record, below the table's capacity.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }
}

/// No record.
const NIL: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::net::Ipv4Addr;

    use proptest::prelude::{any, prop, prop_assert_eq, proptest};

    use super::SourceTable;
    use crate::Direction::{Forward, Reverse};
    use crate::KeyedHash;

    proptest! {
        #[test]
        fn counts_both_ways_as_a_hash_map_does(
            steps in prop::collection::vec((0u32..12, any::<bool>(), any::<bool>()), 0..200),
        ) {
            let mut table = SourceTable::new(8, KeyedHash::new([1, 2, 3, 4]));
            let mut model: HashMap<Ipv4Addr, [u32; 2]> = HashMap::new();
            for (host, reverse, more) in steps {
                let host = Ipv4Addr::from_bits(host);
                let way = if reverse { Reverse } else { Forward };
                if more {
                    let room = model.len() < 8 || model.contains_key(&host);
                    prop_assert_eq!(table.add(host, way).is_some(), room);
                    if room {
                        model.entry(host).or_default()[way as usize] += 1;
                    }
                } else if model.get(&host).is_some_and(|counts| counts[way as usize] > 0) {
                    table.remove(host, way);
                    model.entry(host).or_default()[way as usize] -= 1;
                    model.retain(|_, counts| *counts != [0; 2]);
                }
                prop_assert_eq!(table.len(), model.len());
                for host in (0..12).map(Ipv4Addr::from_bits) {
                    let counts = [Forward, Reverse].map(|way| table.sessions(host, way));
                    prop_assert_eq!(counts, model.get(&host).copied().unwrap_or_default());
                }
            }
        }
    }
}
