//! How many sessions each inside host has, so that one cannot take the table from the others
//! (RFC 6888 REQ-4).
//!
//! A bounded table of its own: a general hash map would move a million entries at once, or allocate,
//! in the middle of a packet.

use mooring_wire::Protocol;

use crate::index::Index;
use crate::{Address, KeyedHash};

/// The number of sessions of each source that has any.
pub struct SourceTable<A> {
    index: Index,
    records: Vec<Record<A>>,
    free: Vec<u32>,
    capacity: usize,
    hash: KeyedHash,
}

impl<A: Address> SourceTable<A> {
    /// A table for at most `capacity` sources; a source has a session at least, so the limit of
    /// sessions is enough.
    #[must_use]
    pub fn new(capacity: usize, hash: KeyedHash) -> Self {
        let capacity = capacity.min(1 << 30);
        Self {
            index: Index::new(capacity),
            records: Vec::with_capacity(capacity),
            free: Vec::with_capacity(capacity),
            capacity,
            hash,
        }
    }

    /// Sessions of `source`.
    #[must_use]
    pub fn sessions(&self, source: A) -> u32 {
        self.find(source).map_or(0, |at| self.records[at as usize].sessions)
    }

    /// One session more. Does nothing when the table is full, which the limit of sessions prevents.
    pub fn add(&mut self, source: A) {
        if let Some(at) = self.find(source) {
            self.records[at as usize].sessions += 1;
            return;
        }
        if self.len() == self.capacity {
            return;
        }
        let record = Record { source, sessions: 1 };
        let at = match self.free.pop() {
            Some(at) => {
                self.records[at as usize] = record;
                at
            }
            None => {
                self.records.push(record);
                self.records.len() as u32 - 1
            }
        };
        self.index.insert(self.hash_of(source), at);
    }

    /// One session less; a source without sessions is forgotten.
    pub fn remove(&mut self, source: A) {
        let Some(at) = self.find(source) else { return };
        let record = &mut self.records[at as usize];
        record.sessions -= 1;
        if record.sessions == 0 {
            self.index.remove(self.hash_of(source), at);
            self.free.push(at);
        }
    }

    /// Sources that have sessions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len() - self.free.len()
    }

    /// True when no source has a session.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes allocated for this table.
    #[must_use]
    pub fn allocated(&self) -> usize {
        self.index.allocated() + self.capacity * (size_of::<Record<A>>() + size_of::<u32>())
    }

    fn find(&self, source: A) -> Option<u32> {
        self.index.find(self.hash_of(source), |at| self.records[at as usize].source == source)
    }

    fn hash_of(&self, source: A) -> u64 {
        self.hash.end(source, 0, Protocol(0), 0)
    }
}

struct Record<A> {
    source: A,
    sessions: u32,
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::net::Ipv4Addr;

    use proptest::prelude::{any, prop, prop_assert_eq, proptest};

    use super::SourceTable;
    use crate::KeyedHash;

    proptest! {
        #[test]
        fn counts_as_a_hash_map_does(steps in prop::collection::vec((0u32..12, any::<bool>()), 0..200)) {
            let mut table = SourceTable::new(8, KeyedHash::new([1, 2, 3, 4]));
            let mut model: HashMap<Ipv4Addr, u32> = HashMap::new();
            for (host, more) in steps {
                let host = Ipv4Addr::from_bits(host);
                if more {
                    table.add(host);
                    if model.len() < 8 || model.contains_key(&host) {
                        *model.entry(host).or_default() += 1;
                    }
                } else {
                    table.remove(host);
                    if let Some(sessions) = model.get_mut(&host) {
                        *sessions -= 1;
                    }
                    model.retain(|_, sessions| *sessions > 0);
                }
                prop_assert_eq!(table.len(), model.len());
                for host in (0..12).map(Ipv4Addr::from_bits) {
                    prop_assert_eq!(table.sessions(host), model.get(&host).copied().unwrap_or(0));
                }
            }
        }
    }
}
