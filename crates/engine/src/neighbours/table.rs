//! The entries of all neighbours, and who may be forgotten for a new one.
//!
//! Every slot is in exactly one of three conditions: free; in use (somebody counts on it or packets
//! wait for it); or idle, which may be evicted, the longest idle first. All memory is taken at the
//! start.
//!
//! It knows no protocol and no timer; what an entry's state means is in `life`.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;

use mooring_policy::InterfaceId;
use mooring_session::{KeyedHash, Tick};
use mooring_wire::Mac;
use mooring_wire::ethernet::{self, EtherType, HEADER_LEN};

use super::hold::Chain;
use super::life::State;
use super::queue::SlotQueue;

/// Everything that a packet needs to reach its neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct L2 {
    /// The whole Ethernet header: neighbour, our address, EtherType.
    pub header: [u8; HEADER_LEN],
    /// The interface to leave by.
    pub egress: InterfaceId,
}

/// The bounded neighbour table. Indexing by a slot is the only way to an entry.
#[derive(Debug)]
pub(super) struct Table {
    hot: Box<[Hot]>,
    entries: Box<[Entry]>,
    /// Keyed per start, since others choose the addresses. Twice the room that is used, so that hashbrown
    /// clears its tombstones in place and never allocates.
    index: HashMap<Key, u16, KeyedHash>,
    /// The slots that were found last, by their interface: most sessions go where the one before went.
    lately: [u16; LATELY],
    free: SlotQueue,
    idle: SlotQueue,
    /// Entries in use.
    in_use: u32,
}

/// The sixteen bytes that a forwarded packet reads.
#[derive(Clone, Copy, Debug)]
struct Hot {
    l2: L2,
    mark: Mark,
}

/// Whether the header holds, and whether anybody has used it since the entry's life last looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// The header's destination is not known.
    Unresolved,
    /// Resolved; not used lately.
    Unused,
    /// Resolved and used.
    Used,
    /// Resolved; the next use must be told to the entry's life.
    Asleep,
}

/// What the packet path does not read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) key: Key,
    /// Sessions and others that hold the index.
    pub(super) users: u32,
    pub(super) held: Chain,
    pub(super) state: State,
    /// Questions sent since the state began.
    pub(super) attempts: u8,
    /// When the timer of the state ends; in `Failed`: until when nobody is asked again.
    pub(super) due: Tick,
    /// When the state began or was last confirmed.
    pub(super) since: Tick,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) interface: InterfaceId,
    pub(super) address: IpAddr,
}

impl Table {
    pub(super) fn new(capacity: u16, hash: KeyedHash) -> Self {
        let mut free = SlotQueue::new(capacity);
        (0..capacity).for_each(|slot| free.push(slot));
        Self {
            hot: vec![Hot::VACANT; usize::from(capacity)].into(),
            entries: vec![Entry::VACANT; usize::from(capacity)].into(),
            index: HashMap::with_capacity_and_hasher(2 * usize::from(capacity), hash),
            lately: [0; LATELY],
            free,
            idle: SlotQueue::new(capacity),
            in_use: 0,
        }
    }

    /// A free slot for a new entry of `key`, which must not be in the table. It starts idle, with
    /// its source and EtherType written. `None` when no slot is free.
    pub(super) fn insert(&mut self, key: Key, source: Mac, now: Tick) -> Option<u16> {
        let slot = self.free.pop()?;
        self.index.insert(key, slot);
        self.entries[usize::from(slot)] =
            Entry { key, state: State::Incomplete, since: now, ..Entry::VACANT };
        let ether_type = match key.address {
            IpAddr::V4(_) => EtherType::IPV4,
            IpAddr::V6(_) => EtherType::IPV6,
        };
        let mut header = [0; HEADER_LEN];
        ethernet::emit(&mut header, Mac::ZERO, source, ether_type);
        let l2 = L2 { header, egress: key.interface };
        self.hot[usize::from(slot)] = Hot { l2, mark: Mark::Unresolved };
        self.idle.push(slot);
        Some(slot)
    }

    /// Forgets an idle entry.
    pub(super) fn remove(&mut self, slot: u16) {
        self.index.remove(&self.entries[usize::from(slot)].key);
        self.entries[usize::from(slot)] = Entry::VACANT;
        self.hot[usize::from(slot)] = Hot::VACANT;
        self.idle.remove(slot);
        self.free.push(slot);
    }

    /// Writes the neighbour's MAC address into the header.
    pub(super) fn set_mac(&mut self, slot: u16, mac: Mac) {
        self.hot[usize::from(slot)].l2.header[..size_of::<Mac>()].copy_from_slice(&mac.0);
    }

    pub(super) fn set_mark(&mut self, slot: u16, mark: Mark) {
        self.hot[usize::from(slot)].mark = mark;
    }

    /// Files the entry among those in use or those idle, after its users or held packets changed.
    pub(super) fn refile(&mut self, slot: u16) {
        let was_idle = self.idle.contains(slot);
        if self.is_in_use(slot) {
            self.idle.remove(slot);
            self.in_use += u32::from(was_idle);
        } else {
            self.idle.push(slot);
            self.in_use -= u32::from(!was_idle);
        }
    }

    /// Whether somebody counts on the entry or packets wait for it.
    pub(super) fn is_in_use(&self, slot: u16) -> bool {
        let entry = &self.entries[usize::from(slot)];
        entry.users > 0 || entry.held.len() > 0
    }

    /// Whether one more entry may come into use for what others begin: a quarter is kept.
    pub(super) fn has_room_for_others(&self) -> bool {
        let capacity = self.capacity();
        self.in_use < capacity - capacity / KEPT
    }

    pub(super) fn entry_mut(&mut self, slot: u16) -> &mut Entry {
        &mut self.entries[usize::from(slot)]
    }

    /// The header of `slot`, whether it holds or not, and the mark that tells. The packet path.
    #[inline]
    pub(super) fn header_mut(&mut self, slot: u16) -> Option<(&L2, &mut Mark)> {
        let hot = self.hot.get_mut(usize::from(slot))?;
        Some((&hot.l2, &mut hot.mark))
    }

    /// The header of `slot` where the mark asks for nothing.
    #[inline(always)]
    pub(super) fn header_in_use(&self, slot: u16) -> Option<&L2> {
        let hot = self.hot.get(usize::from(slot))?;
        (hot.mark == Mark::Used).then_some(&hot.l2)
    }

    pub(super) fn entry(&self, slot: u16) -> &Entry {
        &self.entries[usize::from(slot)]
    }

    pub(super) fn find(&self, key: &Key) -> Option<u16> {
        self.index.get(key).copied()
    }

    /// One user more of a neighbour, if he is in use already and was found last on his interface, as for most sessions.
    #[inline(always)]
    pub(super) fn join_latest(&mut self, key: &Key) -> Option<u16> {
        let slot = self.lately[usize::from(key.interface.0) % LATELY];
        let entry = self.entries.get_mut(usize::from(slot))?;
        if entry.users == 0 || entry.key != *key {
            return None;
        }
        entry.users += 1;
        Some(slot)
    }

    /// As [`Self::find`], which is asked of the same neighbours over and over again.
    pub(super) fn find_again(&mut self, key: &Key) -> Option<u16> {
        let lately = usize::from(key.interface.0) % LATELY;
        let entry = self.entries.get(usize::from(self.lately[lately]));
        // A slot with an entry is in the index under its key.
        if entry.is_some_and(|entry| entry.key == *key && entry.state != State::Vacant) {
            return Some(self.lately[lately]);
        }
        let slot = self.find(key)?;
        self.lately[lately] = slot;
        Some(slot)
    }

    /// The entry that has been idle longest.
    pub(super) fn longest_idle(&self) -> Option<u16> {
        self.idle.first()
    }

    /// True when a new entry needs an eviction.
    pub(super) fn is_full(&self) -> bool {
        self.free.first().is_none()
    }

    /// The neighbour's MAC address, where it is known.
    pub(super) fn mac(&self, slot: u16) -> Option<Mac> {
        let Hot { l2, mark } = &self.hot[usize::from(slot)];
        let mac = l2.header.first_chunk().copied().map(Mac);
        mac.filter(|_| *mark != Mark::Unresolved)
    }

    pub(super) fn mark(&self, slot: u16) -> Mark {
        self.hot[usize::from(slot)].mark
    }

    #[inline]
    pub(super) fn egress(&self, slot: u16) -> InterfaceId {
        self.hot[usize::from(slot)].l2.egress
    }

    #[cfg(test)]
    pub(super) fn index_capacity(&self) -> usize {
        self.index.capacity()
    }

    /// The most entries that it can have.
    pub(super) fn capacity(&self) -> u32 {
        self.entries.len() as u32
    }

    /// Those of `slots` with an entry.
    pub(super) fn occupied(&self, slots: Range<u32>) -> impl Iterator<Item = u16> {
        let slots = slots.map(|slot| slot as u16);
        slots.filter(|slot| self.entries[usize::from(*slot)].state != State::Vacant)
    }
}

/// Interfaces whose neighbour that was found last is remembered.
const LATELY: usize = 4;

/// One in so many entries is kept for what begins inside, as of the sessions.
const KEPT: u32 = 4;

impl Hot {
    const VACANT: Self =
        Self { l2: L2 { header: [0; HEADER_LEN], egress: InterfaceId(0) }, mark: Mark::Unresolved };
}

impl Entry {
    const VACANT: Self = Self {
        key: Key { interface: InterfaceId(0), address: IpAddr::V4(Ipv4Addr::UNSPECIFIED) },
        users: 0,
        held: Chain::EMPTY,
        state: State::Vacant,
        attempts: 0,
        due: Tick::ZERO,
        since: Tick::ZERO,
    };
}

const _: () = assert!(size_of::<Hot>() == 16, "four entries a cache line");
