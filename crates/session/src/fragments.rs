//! The memory of fragments: what was decided for the first fragment of a datagram, kept for the
//! others, in whatever order they come.
//!
//! Nothing is reassembled. A fragment that comes before the first one waits; all that follow go the
//! way of the first (RFC 4787 REQ-14). Which bytes have come, and in which fragments, is kept exactly.
//! So an overlap ends the whole datagram (RFC 5722), a fragment that comes twice is dropped alone (RFC
//! 8200 §4.5), and a datagram of which all bytes have come is forgotten at once: a fast sender uses an
//! identification again within seconds.
//!
//! Bounded in datagrams and in waiting fragments, of all senders and of each: one of them cannot take
//! it all. All memory is taken at start. `H` is a waiting fragment, of which nothing is known here.

use mooring_wire::Protocol;

use self::cuts::Cuts;
use self::record::{Covered, Record};
use self::senders::Senders;
use crate::index::Index;
use crate::{Address, FlowKey, KeyedHash, Purpose, Tick};

pub use self::piece::{Arrived, Datagram, Fate, FragmentRefusal, Piece, Room};

mod cuts;
mod piece;
mod record;
mod senders;

/// The datagrams of which fragments have come.
pub struct FragmentTable<A, H> {
    index: Index,
    records: Vec<Record<A>>,
    free: Vec<u32>,
    waiting: Vec<Waiting<H>>,
    free_waiting: Vec<u32>,
    /// The oldest and the youngest datagram: all live equally long, so this is their order of ending.
    oldest: u32,
    youngest: u32,
    room: Room,
    senders: Senders<A>,
    cuts: Cuts<A>,
    hash: KeyedHash,
}

/// Names a datagram until the next call that may end one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatagramIndex(u32);

impl<A: Address, H> FragmentTable<A, H> {
    /// An empty table.
    #[must_use]
    pub fn new(room: Room, hash: KeyedHash) -> Self {
        let datagrams = room.datagrams.min(1 << 20);
        Self {
            index: Index::new(2 * datagrams),
            records: Vec::with_capacity(datagrams),
            free: Vec::with_capacity(datagrams),
            waiting: (0..room.waiting).map(|_| Waiting { held: None, next: NONE }).collect(),
            free_waiting: (0..room.waiting as u32).rev().collect(),
            oldest: NONE,
            youngest: NONE,
            senders: Senders::new(datagrams, hash.derived(Purpose::FragmentSenders)),
            cuts: Cuts::new(room.left),
            room: Room { datagrams, ..room },
            hash,
        }
    }

    /// From now on a sender has `datagrams` at most. What it has more of goes on until it has passed.
    pub fn set_datagrams_per_source(&mut self, datagrams: u32) {
        self.room.datagrams_per_source = datagrams;
    }

    /// Notes a fragment and says what it is to do.
    ///
    /// # Errors
    /// Why it is to be dropped. An overlap, and a fragment that would overwrite the transport header,
    /// end their datagram: what comes of it later is an overlap too, what waits of it goes when its time
    /// is over. So does it if there is no memory of it yet: then the other fragments are harmless.
    pub fn arrive(
        &mut self,
        datagram: &Datagram<A>,
        piece: Piece,
        now: Tick,
    ) -> Result<Arrived<A>, FragmentRefusal> {
        if !piece.is_possible() {
            return Err(FragmentRefusal::Malformed);
        }
        let known = self.find(datagram, ARRIVING);
        if piece.is_within_header_of(datagram.protocol) {
            if let Some(at) = known {
                self.records[at as usize].overlaps = true;
            }
            return Err(FragmentRefusal::Tiny);
        }
        let at = match known {
            Some(at) => at,
            None => self.begin(datagram, now).ok_or(FragmentRefusal::Full)?,
        };
        let record = &mut self.records[at as usize];
        match record.cover(piece) {
            _ if record.overlaps => return Err(FragmentRefusal::Overlap),
            Covered::Anew => {}
            Covered::Again => return Err(FragmentRefusal::Duplicate),
            Covered::Overlapping => {
                record.overlaps = true;
                return Err(FragmentRefusal::Overlap);
            }
        }
        let (is_first, fate, complete) = (piece.start == 0, record.fate, record.is_complete());
        match fate {
            _ if is_first => Ok(Arrived::First(DatagramIndex(at))),
            None => Ok(Arrived::Early(DatagramIndex(at))),
            Some(fate) => {
                if complete && record.first_waiting == NONE {
                    self.end(at);
                }
                Ok(Arrived::Decided(fate))
            }
        }
    }

    /// Lets a fragment wait for the first one of its datagram.
    ///
    /// # Errors
    /// Gives it back when there is no room, or none for this sender.
    pub fn hold(&mut self, datagram: DatagramIndex, fragment: H) -> Result<(), H> {
        let record = &mut self.records[datagram.0 as usize];
        let of_sender = self.senders.waiting(record.sender);
        if *of_sender >= self.room.waiting_per_source {
            return Err(fragment);
        }
        let Some(slot) = self.free_waiting.pop() else { return Err(fragment) };
        *of_sender += 1;
        self.waiting[slot as usize] = Waiting { held: Some(fragment), next: NONE };
        match record.last_waiting {
            NONE => record.first_waiting = slot,
            last => self.waiting[last as usize].next = slot,
        }
        record.last_waiting = slot;
        Ok(())
    }

    /// An identification for the fragments of a datagram that leaves translated from `source` to
    /// `destination`: its own, unless another datagram leaves with the same one between the same ends, or one
    /// of the last [`Room::left`] has: its receiver may still wait for a piece of it, and would mix them (RFC
    /// 3022 §6.3, RFC 6864 §4.3; RFC 7857 §10). `mask` is the widest
    /// identification of the family. `None` when no other is free.
    pub fn identify(
        &mut self,
        datagram: DatagramIndex,
        source: A,
        destination: A,
        mask: u32,
        random: u32,
    ) -> Option<u32> {
        let at = datagram.0;
        let record = &self.records[at as usize];
        let own = Datagram { source, destination, ..record.arriving };
        // Leaving datagrams are told apart by their ends alone, wherever they come from.
        let leaving = |identification| Datagram { identification, ingress: 0, ..own };
        let free = std::iter::once(own.identification)
            .chain(identifications(random, mask))
            .find(|&id| !self.leaves(&leaving(id)))?;
        self.records[at as usize].leaving = Some(leaving(free));
        self.index.insert(self.hash_of(&leaving(free)), at << 1 | LEAVING);
        Some(free)
    }

    /// As [`FragmentTable::identify`], for a datagram that is cut here, and as unlike others: it is
    /// remembered until [`Room::left`] more have left.
    pub fn identify_cut(
        &mut self,
        (source, destination): (A, A),
        protocol: Protocol,
        mask: u32,
        random: u32,
    ) -> Option<u32> {
        let leaving =
            |identification| Datagram { source, destination, identification, protocol, ingress: 0 };
        let free = identifications(random, mask).find(|&id| !self.leaves(&leaving(id)))?;
        self.cuts.enter(leaving(free), &self.hash);
        Some(free)
    }

    /// The flow, as it arrived, of a datagram that leaves with these ends and this identification (from
    /// no interface).
    #[must_use]
    pub fn flow_of_leaving(&self, leaving: &Datagram<A>) -> Option<FlowKey<A>> {
        match self.records[self.find(leaving, LEAVING)? as usize].fate? {
            Fate::Follow { flow, .. } => Some(flow),
            Fate::Refused => None,
        }
    }

    /// The identification with which a datagram has come that leaves with these ends and this one (from no
    /// interface).
    #[must_use]
    pub fn arrived_as(&self, leaving: &Datagram<A>) -> Option<u32> {
        let record = &self.records[self.find(leaving, LEAVING)? as usize];
        Some(record.arriving.identification)
    }

    /// Decides the fate of a datagram, by its first fragment. What waits is taken by
    /// [`FragmentTable::release`] then, until nothing does.
    pub fn decide(&mut self, datagram: DatagramIndex, fate: Fate<A>) {
        self.records[datagram.0 as usize].fate = Some(fate);
    }

    /// The next fragment that has waited, in order of arrival. `None` when none is left; then the
    /// datagram is forgotten, if all of it has come.
    pub fn release(&mut self, datagram: DatagramIndex) -> Option<H> {
        let record = &mut self.records[datagram.0 as usize];
        let slot = record.first_waiting;
        if slot == NONE {
            if record.live && record.is_complete() {
                self.end(datagram.0);
            }
            return None;
        }
        let waiting = &mut self.waiting[slot as usize];
        record.first_waiting = waiting.next;
        if record.first_waiting == NONE {
            record.last_waiting = NONE;
        }
        *self.senders.waiting(record.sender) -= 1;
        self.free_waiting.push(slot);
        waiting.held.take()
    }

    /// Ends the datagrams whose time is over, `budget` at most. What still waits of them is given to
    /// `give_back`.
    pub fn expire(&mut self, now: Tick, budget: u32, mut give_back: impl FnMut(H)) {
        for _ in 0..budget {
            let Some(record) = self.records.get(self.oldest as usize) else { return };
            if now.since(record.begun) < LIFETIME_MILLIS {
                return;
            }
            self.forget(self.oldest, &mut give_back);
        }
    }

    /// When [`FragmentTable::expire`] has something to do next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Tick> {
        let record = self.records.get(self.oldest as usize)?;
        Some(Tick::from_millis(record.begun.as_millis() + LIFETIME_MILLIS))
    }

    /// Datagrams remembered, and fragments that wait.
    #[must_use]
    pub fn len(&self) -> (usize, usize) {
        let datagrams = self.records.len() - self.free.len();
        (datagrams, self.waiting.len() - self.free_waiting.len())
    }

    /// True when nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len().0 == 0
    }

    fn begin(&mut self, datagram: &Datagram<A>, now: Tick) -> Option<u32> {
        if self.len().0 == self.room.datagrams {
            return None;
        }
        let source = datagram.source.network(self.room.source_prefix);
        let sender = self.senders.enter(source, self.room.datagrams_per_source)?;
        let record = Record::new((*datagram, sender), now, self.youngest);
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
        match self.youngest {
            NONE => self.oldest = at,
            youngest => self.records[youngest as usize].younger = at,
        }
        self.youngest = at;
        self.index.insert(self.hash_of(datagram), at << 1 | ARRIVING);
        Some(at)
    }

    /// Forgets a datagram and what waits of it.
    fn forget(&mut self, at: u32, give_back: &mut impl FnMut(H)) {
        self.records[at as usize].fate = Some(Fate::Refused);
        while let Some(held) = self.release(DatagramIndex(at)) {
            give_back(held);
        }
        if self.records[at as usize].live {
            self.end(at);
        }
    }

    /// Takes a datagram, of which nothing waits, out of the memory.
    fn end(&mut self, at: u32) {
        let record = &mut self.records[at as usize];
        record.live = false;
        let (older, younger) = (record.older, record.younger);
        let (arriving, leaving, sender) = (record.arriving, record.leaving, record.sender);
        match older {
            NONE => self.oldest = younger,
            older => self.records[older as usize].younger = younger,
        }
        match younger {
            NONE => self.youngest = older,
            younger => self.records[younger as usize].older = older,
        }
        self.index.remove(self.hash_of(&arriving), at << 1 | ARRIVING);
        if let Some(leaving) = leaving {
            self.index.remove(self.hash_of(&leaving), at << 1 | LEAVING);
            self.cuts.enter(leaving, &self.hash);
        }
        self.senders.leave(sender);
        self.free.push(at);
    }

    fn find(&self, datagram: &Datagram<A>, side: u32) -> Option<u32> {
        let value = self.index.find(self.hash_of(datagram), |value| {
            let record = &self.records[(value >> 1) as usize];
            let named = if side == ARRIVING { Some(record.arriving) } else { record.leaving };
            value & 1 == side && named == Some(*datagram)
        })?;
        Some(value >> 1)
    }

    /// Whether a datagram leaves with these ends and this identification (from no interface).
    fn leaves(&self, leaving: &Datagram<A>) -> bool {
        self.find(leaving, LEAVING).is_some() || self.cuts.has(leaving, &self.hash)
    }

    fn hash_of(&self, datagram: &Datagram<A>) -> u64 {
        datagram.hash(&self.hash)
    }
}

/// Those to be tried, from a random one on.
fn identifications(random: u32, mask: u32) -> impl Iterator<Item = u32> {
    (0..IDENTIFICATIONS).map(move |n| random.wrapping_add(n) & mask)
}

struct Waiting<H> {
    held: Option<H>,
    next: u32,
}

/// How long a datagram is remembered after its first fragment to come (RFC 6146 §4, FRAGMENT_MIN: at
/// least 2 s). Longer would mistake the next use of an identification for an overlap.
const LIFETIME_MILLIS: u64 = 2_000;

/// Identifications tried before a datagram is refused.
const IDENTIFICATIONS: u32 = 64;

const NONE: u32 = u32::MAX;

/// Lowest bit of an index value: whether a datagram was entered as it arrives or as it leaves.
const ARRIVING: u32 = 0;
const LEAVING: u32 = 1;

#[cfg(test)]
mod tests;
