//! Mappings of the endpoint-independent kind (RFC 4787 REQ-1): inside end to outside end, shared by
//! all sessions of that inside end and gone with the last of them.

use std::io;
use std::num::NonZeroU32;

use mooring_wire::Protocol;

use crate::index::Index;
use crate::memory::{Room, prefault, prefetch, room_for};
use crate::{Address, KeyedHash};

/// An inside end and what stands for it outside, whoever it talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping<A> {
    /// Address of the inside host.
    pub inside: A,
    /// Address that stands for it.
    pub outside: A,
    /// Port or ICMP identifier of the inside host.
    pub inside_port: u16,
    /// Port or ICMP identifier that stands for it.
    pub outside_port: u16,
    /// Routing domain of the inside host.
    pub vrf: u16,
    /// Number of the pool that the outside end was leased from, the same across reloads.
    pub pool: u16,
    /// IP protocol number.
    pub protocol: Protocol,
}

/// The inside end of a mapping: what it is found by when a packet goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InsideEnd<A> {
    /// Address of the inside host.
    pub address: A,
    /// Port or ICMP identifier of the inside host.
    pub port: u16,
    /// Routing domain of the inside host.
    pub vrf: u16,
    /// Number of the pool, the same across reloads; a host that two rules send to two pools has a mapping in each.
    pub pool: u16,
    /// IP protocol number.
    pub protocol: Protocol,
}

impl<A: Copy> Mapping<A> {
    /// Its inside end.
    #[must_use]
    pub const fn inside_end(&self) -> InsideEnd<A> {
        InsideEnd {
            address: self.inside,
            port: self.inside_port,
            vrf: self.vrf,
            pool: self.pool,
            protocol: self.protocol,
        }
    }
}

/// A bounded table of mappings of one address family.
pub struct MappingTable<A> {
    index: Index,
    records: Room<Record<A>>,
    free: Room<u32>,
    capacity: usize,
    hash: KeyedHash,
}

/// Names a mapping while it lives: its record's number and one, so that a session without a mapping
/// needs no more room than one with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MappingIndex(NonZeroU32);

impl<A: Address> MappingTable<A> {
    /// A table for at most `capacity` mappings; a mapping has a session at least, so the limit of
    /// sessions is enough.
    #[must_use]
    pub fn new(capacity: usize, hash: KeyedHash) -> Self {
        let capacity = capacity.min(1 << 28);
        Self {
            index: Index::new(2 * capacity),
            records: room_for(capacity),
            free: room_for(capacity),
            capacity,
            hash,
        }
    }

    /// Makes the pages of all records be there: see [`prefault`].
    ///
    /// # Errors
    /// The operating system's.
    pub fn prefault(&mut self) -> io::Result<()> {
        prefault(&mut self.records)?;
        prefault(&mut self.free)
    }

    /// The same with another key, of a table that nothing has been in.
    #[must_use]
    pub fn keyed(self, hash: KeyedHash) -> Self {
        debug_assert!(self.records.is_empty(), "what is in it is found by the key of before");
        Self { hash, ..self }
    }

    /// The mapping of an inside end in a pool that `fits`: after a reload there may be one that no
    /// longer does, and one beside it that does.
    #[must_use]
    pub fn find_inside(
        &self,
        end: &InsideEnd<A>,
        fits: impl Fn(&Mapping<A>) -> bool,
    ) -> Option<MappingIndex> {
        self.find(self.hash_inside(end), INSIDE, |mapping| {
            mapping.inside_end() == *end && fits(mapping)
        })
    }

    /// The mapping that an outside end stands for.
    #[must_use]
    pub fn find_outside(&self, address: A, port: u16, protocol: Protocol) -> Option<MappingIndex> {
        self.find(self.hash_outside(address, port, protocol), OUTSIDE, |m| {
            (m.outside, m.outside_port, m.protocol) == (address, port, protocol)
        })
    }

    /// Starts loading what [`Self::find_inside`] reads first.
    pub fn prefetch_inside(&self, end: &InsideEnd<A>) {
        self.index.prefetch(self.hash_inside(end));
    }

    /// Then: starts loading the mapping that it most likely finds; false if there is hardly one.
    pub fn prefetch_mapping(&self, end: &InsideEnd<A>) -> bool {
        let value = self.index.likely(self.hash_inside(end));
        let record = value.and_then(|value| self.records.get((value >> 1) as usize));
        record.map(prefetch).is_some()
    }

    /// Starts loading what [`Self::find_outside`] reads first.
    pub fn prefetch_outside(&self, address: A, port: u16, protocol: Protocol) {
        self.index.prefetch(self.hash_outside(address, port, protocol));
    }

    /// A live mapping.
    #[must_use]
    pub fn mapping(&self, index: MappingIndex) -> &Mapping<A> {
        &self.records[index.at()].mapping
    }

    /// Adds a mapping without a user. `None` when the table is full.
    pub fn insert(&mut self, mapping: Mapping<A>) -> Option<MappingIndex> {
        if self.len() == self.capacity {
            return None;
        }
        let record = Record { mapping, users: 0 };
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
        for (end, hash) in self.hashes(&mapping).into_iter().enumerate() {
            self.index.insert(hash, at << 1 | end as u32);
        }
        Some(MappingIndex::new(at))
    }

    /// A live mapping is one of another pool from now on: `pool` is that one's number.
    pub fn set_pool(&mut self, index: MappingIndex, pool: u16) {
        let value = (index.at() as u32) << 1 | INSIDE;
        let before = self.records[index.at()].mapping.inside_end();
        let removed = self.index.remove(self.hash_inside(&before), value);
        debug_assert!(removed, "a live mapping is in the index under its inside end");
        self.records[index.at()].mapping.pool = pool;
        self.index.insert(self.hash_inside(&InsideEnd { pool, ..before }), value);
    }

    /// A session begins to use the mapping.
    pub fn acquire(&mut self, index: MappingIndex) {
        self.records[index.at()].users += 1;
    }

    /// A session stops using the mapping. With the last one the mapping is gone and returned, so
    /// that its outside end can be given back.
    pub fn release(&mut self, index: MappingIndex) -> Option<Mapping<A>> {
        let at = index.at() as u32;
        let record = &mut self.records[index.at()];
        record.users = record.users.saturating_sub(1);
        if record.users > 0 {
            return None;
        }
        let mapping = record.mapping;
        for (end, hash) in self.hashes(&mapping).into_iter().enumerate() {
            let removed = self.index.remove(hash, at << 1 | end as u32);
            debug_assert!(removed, "a live mapping is in the index under both ends");
        }
        self.free.push(at);
        Some(mapping)
    }

    /// The live mappings among at most `records` records from number `start` on, each with its number
    /// of users, and the number to go on from; `None` after the last.
    pub fn page(
        &self,
        start: u32,
        records: u32,
    ) -> (impl Iterator<Item = (&Mapping<A>, u32)>, Option<u32>) {
        let end = (start as usize).saturating_add(records as usize).min(self.records.len());
        let page = &self.records[(start as usize).min(end)..end];
        let live = page.iter().filter(|r| r.users > 0).map(|r| (&r.mapping, r.users));
        (live, (end < self.records.len()).then_some(end as u32))
    }

    /// Mappings that there is room for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Live mappings.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len() - self.free.len()
    }

    /// True without a live mapping.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes allocated for this table.
    #[must_use]
    pub fn allocated(&self) -> usize {
        self.index.allocated() + self.capacity * (size_of::<Record<A>>() + size_of::<u32>())
    }

    fn find(
        &self,
        hash: u64,
        end: u32,
        is_it: impl Fn(&Mapping<A>) -> bool,
    ) -> Option<MappingIndex> {
        let value = self.index.find(hash, |value| {
            value & 1 == end && is_it(&self.records[(value >> 1) as usize].mapping)
        })?;
        Some(MappingIndex::new(value >> 1))
    }

    /// Hashes of the inside and of the outside end.
    fn hashes(&self, mapping: &Mapping<A>) -> [u64; 2] {
        let outside = self.hash_outside(mapping.outside, mapping.outside_port, mapping.protocol);
        [self.hash_inside(&mapping.inside_end()), outside]
    }

    fn hash_inside(&self, end: &InsideEnd<A>) -> u64 {
        let scope = u32::from(end.vrf) << 16 | u32::from(end.pool);
        self.hash.end(end.address, end.port, end.protocol, scope)
    }

    fn hash_outside(&self, address: A, port: u16, protocol: Protocol) -> u64 {
        self.hash.end(address, port, protocol, 0)
    }
}

impl MappingIndex {
    /// The number of its record, below the table's capacity.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0.get() - 1
    }

    /// 0 for none; at most 29 bits.
    pub(crate) fn bits(index: Option<Self>) -> u32 {
        index.map_or(0, |index| index.0.get())
    }

    /// What [`Self::bits`] made.
    pub(crate) const fn from_bits(bits: u32) -> Option<Self> {
        match NonZeroU32::new(bits) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    const fn new(at: u32) -> Self {
        Self(NonZeroU32::MIN.saturating_add(at))
    }

    const fn at(self) -> usize {
        self.0.get() as usize - 1
    }
}

#[derive(Clone, Debug)]
struct Record<A> {
    mapping: Mapping<A>,
    /// Sessions that use it.
    users: u32,
}

/// Lowest bit of an index value: which end it was entered under.
const INSIDE: u32 = 0;
const OUTSIDE: u32 = 1;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use mooring_wire::Protocol;

    use super::{Mapping, MappingTable};
    use crate::KeyedHash;

    fn mapping(port: u16) -> Mapping<Ipv4Addr> {
        Mapping {
            inside: Ipv4Addr::new(10, 0, 0, 2),
            outside: Ipv4Addr::new(203, 0, 113, 10),
            inside_port: port,
            outside_port: port + 1000,
            vrf: 0,
            pool: 0,
            protocol: Protocol::UDP,
        }
    }

    #[test]
    fn is_found_by_either_end_until_its_last_user_leaves() {
        let mut table = MappingTable::new(2, KeyedHash::new([1, 2, 3, 4]));
        let index = table.insert(mapping(5)).expect("the table is empty");
        table.acquire(index);
        table.acquire(index);
        let m = mapping(5);
        let any = |_: &Mapping<Ipv4Addr>| true;
        assert_eq!(table.find_inside(&m.inside_end(), any), Some(index));
        assert_eq!(table.find_inside(&m.inside_end(), |_| false), None);
        assert_eq!(table.find_inside(&mapping(6).inside_end(), any), None);
        let (other_pool, other_protocol) =
            (Mapping { pool: 1, ..m }, Mapping { protocol: Protocol::TCP, ..m });
        assert_eq!(table.find_inside(&other_pool.inside_end(), any), None);
        assert_eq!(table.find_inside(&other_protocol.inside_end(), any), None);
        assert_eq!(table.find_outside(m.outside, 1005, Protocol::UDP), Some(index));
        assert_eq!(table.find_outside(m.inside, 5, Protocol::UDP), None);
        assert_eq!(table.release(index), None);
        assert_eq!(table.release(index), Some(m));
        assert_eq!(table.find_outside(m.outside, 1005, Protocol::UDP), None);
        assert!(table.is_empty());
    }

    #[test]
    fn a_mapping_that_changes_its_pool_is_found_in_that_one() {
        let mut table = MappingTable::new(2, KeyedHash::new([1, 2, 3, 4]));
        let index = table.insert(mapping(5)).expect("the table is empty");
        table.acquire(index);
        table.set_pool(index, 7);
        let (before, now) = (mapping(5), Mapping { pool: 7, ..mapping(5) });
        assert_eq!(table.find_inside(&before.inside_end(), |_| true), None);
        assert_eq!(table.find_inside(&now.inside_end(), |_| true), Some(index));
        assert_eq!(table.find_outside(now.outside, 1005, Protocol::UDP), Some(index));
        assert_eq!(table.release(index), Some(now));
        assert!(table.is_empty());
    }

    #[test]
    fn a_full_table_refuses() {
        let mut table = MappingTable::new(2, KeyedHash::new([1, 2, 3, 4]));
        assert!(table.insert(mapping(1)).is_some());
        assert!(table.insert(mapping(2)).is_some());
        assert!(table.insert(mapping(3)).is_none());
    }
}
