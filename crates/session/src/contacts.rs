//! A bounded set that counts: which remote addresses a mapping talks to.
//!
//! A table of its own: a general hash map would move a million entries at once, or allocate, in the
//! middle of a packet.

use mooring_wire::Protocol;

use crate::index::Index;
use crate::{Address, KeyedHash, MappingIndex};

/// The number of sessions of each [`Contact`] that has any.
pub struct CountTable<K> {
    index: Index,
    records: Vec<Record<K>>,
    free: Option<u32>,
    live: usize,
    capacity: usize,
    hash: KeyedHash,
}

/// What sessions are counted by.
pub trait Counted: Copy + Eq {
    /// The hash of this key.
    fn hash(self, hash: &KeyedHash) -> u64;
}

/// A mapping and the address of a remote end that it has sessions with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contact<A> {
    /// The mapping.
    pub mapping: MappingIndex,
    /// The address of the remote end.
    pub remote: A,
}

impl<K: Counted> CountTable<K> {
    /// A table for at most `capacity` keys; a key has a session at least, so the limit of sessions
    /// is enough.
    #[must_use]
    pub fn new(capacity: usize, hash: KeyedHash) -> Self {
        let capacity = capacity.min(1 << 30);
        Self {
            index: Index::new(capacity),
            records: Vec::with_capacity(capacity),
            free: None,
            live: 0,
            capacity,
            hash,
        }
    }

    /// The same with another key, of a table that nothing has been in.
    #[must_use]
    pub fn keyed(self, hash: KeyedHash) -> Self {
        debug_assert!(self.records.is_empty(), "what is in it is found by the key of before");
        Self { hash, ..self }
    }

    /// Sessions of `key`.
    #[must_use]
    pub fn sessions(&self, key: K) -> u32 {
        self.find(key).map_or(0, |at| self.records[at as usize].sessions)
    }

    /// One session more. Does nothing when the table is full, which the limit of sessions prevents.
    pub fn add(&mut self, key: K) {
        if let Some(at) = self.find(key) {
            self.records[at as usize].sessions += 1;
            return;
        }
        if self.live == self.capacity {
            return;
        }
        let record = Record { key, sessions: 1 };
        let at = match self.free {
            Some(at) => {
                let next = self.records[at as usize].sessions;
                self.free = (next != NIL).then_some(next);
                self.records[at as usize] = record;
                at
            }
            None => {
                self.records.push(record);
                self.records.len() as u32 - 1
            }
        };
        self.live += 1;
        self.index.insert(key.hash(&self.hash), at);
    }

    /// One session less; a key without sessions is forgotten.
    pub fn remove(&mut self, key: K) {
        let Some(at) = self.find(key) else { return };
        let record = &mut self.records[at as usize];
        record.sessions -= 1;
        if record.sessions == 0 {
            record.sessions = self.free.unwrap_or(NIL);
            self.free = Some(at);
            self.live -= 1;
            self.index.remove(key.hash(&self.hash), at);
        }
    }

    /// Keys that have sessions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.live
    }

    /// True when no key has a session.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Keys that there is room for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Bytes allocated for this table.
    #[must_use]
    pub fn allocated(&self) -> usize {
        self.index.allocated() + self.capacity * size_of::<Record<K>>()
    }

    fn find(&self, key: K) -> Option<u32> {
        // Most policies ask for no contacts: they pay for this question alone.
        if self.live == 0 {
            return None;
        }
        self.index.find(key.hash(&self.hash), |at| self.records[at as usize].key == key)
    }
}

impl<A: Address> Counted for A {
    fn hash(self, hash: &KeyedHash) -> u64 {
        hash.end(self, 0, Protocol(0), 0)
    }
}

impl<A: Address> Counted for Contact<A> {
    fn hash(self, hash: &KeyedHash) -> u64 {
        hash.end(self.remote, 0, Protocol(0), MappingIndex::bits(Some(self.mapping)))
    }
}

#[derive(Clone, Debug)]
struct Record<K> {
    key: K,
    /// Sessions of it; in a free record the number of the next free one, or [`NIL`].
    sessions: u32,
}

/// No record.
const NIL: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::net::Ipv4Addr;

    use proptest::prelude::{any, prop, prop_assert_eq, proptest};

    use super::CountTable;
    use crate::KeyedHash;

    proptest! {
        #[test]
        fn counts_as_a_hash_map_does(steps in prop::collection::vec((0u32..12, any::<bool>()), 0..200)) {
            let mut table = CountTable::new(8, KeyedHash::new([1, 2, 3, 4]));
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
