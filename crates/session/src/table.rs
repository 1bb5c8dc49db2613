//! The table of sessions of one worker: found by either key, ended by silence.
//!
//! Everything is allocated when the table is made. A full table refuses the next session; it never
//! deletes one to make room (RFC 6888 REQ-11).

use mooring_wire::Protocol;
use mooring_wire::tcp::Flags;

use crate::index::Index;
use crate::memory::prefetch;
use crate::record::{Cold, OUTBOUND_REFRESH};
use crate::wheel::{Link, Links, Wheel};
use crate::window::{Connection, Judged, Segment, Windows};
use crate::{
    Address, Counts, Direction, FlowKey, Held, KeyedHash, NextHopIndex, Session, State, Tick,
    Timeouts,
};

/// A bounded table of sessions of one address family.
pub struct SessionTable<A> {
    index: Index,
    hot: Vec<Session<A>>,
    cold: Vec<Cold>,
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
            hot: Vec::with_capacity(capacity),
            cold: Vec::with_capacity(capacity),
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

    /// Whether an established TCP session whose time is over is asked for a sign of life, and ends if
    /// there is none within the transitory timeout (RFC 6146 §3.5.2.2, RFC 5382 §5).
    pub fn ask_before_the_end(&mut self, asks: bool) {
        self.asks = asks;
    }

    /// The next session whose inside host is to be asked. [`Self::ask_later`] takes it back.
    pub fn next_to_ask(&mut self) -> Option<SessionIndex> {
        while let Some(index) = self.to_ask.pop() {
            // What has ended in between, or has spoken, needs no question.
            let waits = matches!(self.session(index).state, State::Transitory | State::Reset);
            if self.cold[index.at()].is_live() && waits {
                return Some(index);
            }
        }
        None
    }

    /// It could not be asked now.
    pub fn ask_later(&mut self, index: SessionIndex) {
        if self.to_ask.len() < TO_ASK {
            self.to_ask.push(index);
        }
    }

    /// Makes a session that has just begun one of a connection that began before it: it is open when
    /// the other end answers.
    pub fn pick_up(&mut self, index: SessionIndex) {
        self.hot[index.at()].state = State::PickedUp;
    }

    /// Follows the windows of TCP connections from now on, or no longer. Makes or frees the memory for
    /// it: not to be called for a packet.
    pub fn follow_windows(&mut self, follow: bool) {
        self.windows = match self.windows.take() {
            _ if !follow => None,
            None => {
                let mut windows = Windows::with_capacity(self.capacity);
                windows.resize(self.hot.len(), Connection::default());
                Some(windows)
            }
            windows => windows,
        };
    }

    /// Whether the windows of TCP connections are followed.
    #[inline]
    #[must_use]
    pub const fn follows_windows(&self) -> bool {
        self.windows.is_some()
    }

    /// Whether a TCP segment of a live session is real, as far as its window tells; what it tells is
    /// known from now on. To be asked before [`Self::touch`].
    pub fn judge(&mut self, found: SessionRef, segment: &Segment) -> Judged {
        let state = self.hot[found.index.at()].state;
        match &mut self.windows {
            Some(windows) => windows[found.index.at()].judge(state, found.direction, segment),
            None => Judged::Real,
        }
    }

    /// What the sender of packets that go `direction` expects next, and what is expected of it, as far
    /// as the windows tell: sequence numbers.
    #[must_use]
    pub fn expected(&self, index: SessionIndex, direction: Direction) -> Option<(u32, u32)> {
        self.windows.as_ref()?[index.at()].expected(direction)
    }

    /// The hash that the other calls ask for.
    #[inline]
    #[must_use]
    pub fn hash(&self, key: &FlowKey<A>) -> u64 {
        self.hash.flow(key)
    }

    /// First pass of a batched lookup: starts loading the bucket of `hash`.
    #[inline]
    pub fn prefetch_bucket(&self, hash: u64) {
        self.index.prefetch(hash);
    }

    /// Second pass: reads the bucket and starts loading the record that it most likely names.
    #[inline]
    pub fn prefetch_session(&self, hash: u64) {
        if let Some(session) = self.index.likely(hash).and_then(|v| self.hot.get((v >> 1) as usize))
        {
            prefetch(session);
        }
    }

    /// Third pass: the session of `key`.
    #[inline]
    #[must_use]
    pub fn find(&self, hash: u64, key: &FlowKey<A>) -> Option<SessionRef> {
        let value = self.index.find(hash, |value| {
            let found = SessionRef::from_value(value);
            self.hot[found.index.at()].key(found.direction) == *key
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

    /// Accounts for a packet of `bytes` bytes that passes at `now`; `flags` are those of a TCP
    /// segment.
    ///
    /// True when its state has changed, which is rare: what counts sessions by their state wants to
    /// know.
    #[inline(always)]
    pub fn touch(
        &mut self,
        found: SessionRef,
        now: Tick,
        bytes: usize,
        flags: Option<Flags>,
    ) -> bool {
        let at = found.index.at();
        let session = &mut self.hot[at];
        let way = found.direction as usize;
        let (packets, packets_carry) = session.packets[way].overflowing_add(1);
        let (total, bytes_carry) = session.bytes[way].overflowing_add(bytes as u32);
        session.packets[way] = packets;
        session.bytes[way] = total;
        // The packets that are many: they change no state, and any of them keeps the session.
        let plain = session.flags == 0
            && match flags {
                Some(flags) => session.state == State::Established && !flags.intersects(TURNING),
                None => session.state.after_datagram(found.direction) == session.state,
            };
        if plain {
            session.last_seen = now.stamp();
        }
        if packets_carry || bytes_carry {
            let cold = &mut self.cold[at];
            let carried = cold.packets_carry[way].wrapping_add(u16::from(packets_carry));
            cold.packets_carry[way] = carried;
            cold.bytes_carry[way] += u32::from(bytes_carry);
        }
        !plain && self.turn(found, flags, now)
    }

    /// The rest of [`Self::touch`] where the state changes, or not every packet keeps it.
    #[cold]
    #[inline(never)]
    fn turn(&mut self, found: SessionRef, flags: Option<Flags>, now: Tick) -> bool {
        let session = &mut self.hot[found.index.at()];
        let before = session.state;
        let after = match flags {
            Some(flags) => before.after_segment(found.direction, flags),
            None => before.after_datagram(found.direction),
        };
        let outbound = session.flags & OUTBOUND_REFRESH != 0;
        // Where only what comes from inside refreshes, only that shows that a connection goes on.
        let after = if outbound && after == State::Transitory { State::Reset } else { after };
        session.state = after;
        if before.refreshes(after, found.direction, flags, outbound) {
            session.last_seen = now.stamp();
        }
        if before != after {
            self.rearm(found.index, before, now);
        }
        before != after
    }

    /// The timeouts of another policy. A session that lives is held to them once it is renewed, or
    /// when its old one ends.
    pub fn set_timeouts(&mut self, timeouts: Timeouts) {
        self.timeouts = timeouts;
    }

    /// The first live session from record `at` on that lies before record `end`.
    #[must_use]
    pub fn first_live(&self, at: u32, end: u32) -> Option<SessionIndex> {
        let end = end.min(self.hot.len() as u32);
        (at..end).find(|&at| self.cold[at as usize].is_live()).map(SessionIndex)
    }

    /// Adds a session that begins at `now` and has `held`. The counters start at zero.
    ///
    /// # Errors
    /// [`InsertError`]; nothing has changed then.
    pub fn insert(
        &mut self,
        session: Session<A>,
        held: Held,
        now: Tick,
    ) -> Result<SessionIndex, InsertError> {
        if self.live == self.capacity {
            return Err(InsertError::Full);
        }
        let keys = [Direction::Forward, Direction::Reverse].map(|way| session.key(way));
        let hashes = keys.map(|key| self.hash(&key));
        if (0..2).any(|way| self.find(hashes[way], &keys[way]).is_some()) {
            return Err(InsertError::KeyTaken);
        }
        let timeout = self.timeout(&session);
        let index = self.place(session, held, now);
        for (way, hash) in hashes.into_iter().enumerate() {
            self.index.insert(hash, index.0 << 1 | way as u32);
        }
        self.wheel.arm(
            index.0,
            Tick::from_millis(now.as_millis() + timeout),
            &mut ColdLinks(&mut self.cold),
        );
        self.live += 1;
        Ok(index)
    }

    /// Lets a live session go on under another policy: its rule, and where its packets go now.
    ///
    /// Its timeout is that of [`Self::set_timeouts`] from now on.
    pub fn renew(&mut self, index: SessionIndex, renewed: Renewed, now: Tick) {
        let timeout = self.timeout(self.session(index));
        let session = &mut self.hot[index.at()];
        session.rule = renewed.rule;
        session.flags = renewed.flags;
        session.generation = renewed.generation;
        [session.forward_hop, session.reverse_hop] = renewed.hops;
        session.ingress = renewed.ingress;
        let left = timeout.saturating_sub(u64::from(session.last_seen.age(now)));
        let mut links = ColdLinks(&mut self.cold);
        self.wheel.disarm(index.0, &mut links);
        self.wheel.arm(index.0, Tick::from_millis(now.as_millis() + left), &mut links);
    }

    /// Of the sessions in which no conversation goes on, one that would end soon: what to end when
    /// there is no room ([`State::is_expendable`]), if it `may` be. Looks at a bounded number of
    /// records.
    #[must_use]
    pub fn expendable(&self, may: impl Fn(SessionIndex) -> bool) -> Option<SessionIndex> {
        let link = |at: u32| &self.cold[at as usize].link;
        let expendable =
            |at: u32| self.hot[at as usize].state.is_expendable() && may(SessionIndex(at));
        self.wheel.soonest(EXPENDABLE_LOOKS, link, expendable).map(SessionIndex)
    }

    /// Takes a live session out, with what it held.
    pub fn remove(&mut self, index: SessionIndex) -> (Session<A>, Held) {
        self.wheel.disarm(index.0, &mut ColdLinks(&mut self.cold));
        self.forget(index)
    }

    /// A session that has been silent for its timeout at `now`, taken out with what it held. Looks at
    /// no more than `budget` records and takes what it looked at from it.
    pub fn expire(
        &mut self,
        now: Tick,
        budget: &mut u32,
    ) -> Option<(SessionIndex, Session<A>, Held)> {
        while let Some(at) = self.wheel.due(now, budget, &mut ColdLinks(&mut self.cold)) {
            let session = &self.hot[at as usize];
            let silent = u64::from(session.last_seen.age(now));
            let timeout = self.timeout(session);
            let left = match timeout.saturating_sub(silent) {
                0 => self.time_to_answer(SessionIndex(at), now),
                left => Some(left),
            };
            let Some(left) = left else {
                let (session, held) = self.forget(SessionIndex(at));
                return Some((SessionIndex(at), session, held));
            };
            let end = Tick::from_millis(now.as_millis() + left);
            self.wheel.arm(at, end, &mut ColdLinks(&mut self.cold));
        }
        None
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

    /// Whether a session whose time is over is asked before it ends: it has its transitory timeout for
    /// the answer, in milliseconds. Once per idle time: what is transitory ends.
    fn time_to_answer(&mut self, index: SessionIndex, now: Tick) -> Option<u64> {
        let session = &mut self.hot[index.at()];
        let open = session.protocol == Protocol::TCP && session.state == State::Established;
        if !self.asks || !open {
            return None;
        }
        if self.to_ask.len() == TO_ASK {
            return Some(ASK_AGAIN_MILLIS);
        }
        let outbound = session.flags & OUTBOUND_REFRESH != 0;
        session.state = if outbound { State::Reset } else { State::Transitory };
        session.last_seen = now.stamp();
        self.to_ask.push(index);
        Some(u64::from(self.timeouts.tcp_transitory))
    }

    /// A state with a shorter timeout ends the session earlier than the wheel was told; one with a
    /// longer timeout needs nothing, the wheel looks too early and arms it again.
    #[cold]
    fn rearm(&mut self, index: SessionIndex, before: State, now: Tick) {
        let session = &self.hot[index.at()];
        let old = self.timeouts.of(before.timeout_class(session.protocol));
        let new = self.timeouts.of(session.state.timeout_class(session.protocol));
        if new < old {
            let mut links = ColdLinks(&mut self.cold);
            self.wheel.disarm(index.0, &mut links);
            self.wheel.arm(
                index.0,
                Tick::from_millis(now.as_millis() + u64::from(new)),
                &mut links,
            );
        }
    }

    /// Writes a session into a free record.
    fn place(&mut self, mut session: Session<A>, held: Held, now: Tick) -> SessionIndex {
        session.last_seen = now.stamp();
        session.packets = [0; 2];
        session.bytes = [0; 2];
        let cold = Cold::new(held, now);
        if let Some(at) = self.free {
            self.free = self.cold[at as usize].link.next_free();
            self.hot[at as usize] = session;
            self.cold[at as usize] = cold;
            if let Some(windows) = &mut self.windows {
                windows[at as usize] = Connection::default();
            }
            return SessionIndex(at);
        }
        self.hot.push(session);
        self.cold.push(cold);
        if let Some(windows) = &mut self.windows {
            windows.push(Connection::default());
        }
        SessionIndex(self.hot.len() as u32 - 1)
    }

    /// Frees a record that is no longer in the wheel.
    fn forget(&mut self, index: SessionIndex) -> (Session<A>, Held) {
        let session = self.hot[index.at()].clone();
        for way in [Direction::Forward, Direction::Reverse] {
            let removed =
                self.index.remove(self.hash(&session.key(way)), index.0 << 1 | way as u32);
            debug_assert!(removed, "a live session is in the index under both keys");
        }
        let cold = &mut self.cold[index.at()];
        let held = cold.held();
        cold.free(self.free);
        self.free = Some(index.0);
        self.live -= 1;
        (session, held)
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
}

struct ColdLinks<'t>(&'t mut [Cold]);

impl Links for ColdLinks<'_> {
    fn link(&mut self, index: u32) -> &mut Link {
        &mut self.0[index as usize].link
    }
}

/// Flags that may change the state of a connection.
const TURNING: Flags = Flags(Flags::SYN.0 | Flags::FIN.0 | Flags::RST.0);

/// Sessions that wait for being asked, at most: more than a poll looks at.
const TO_ASK: usize = 64;

/// When a session is looked at again that could not be asked.
const ASK_AGAIN_MILLIS: u64 = 1_000;

/// Records that are looked at for one that may be ended.
const EXPENDABLE_LOOKS: u32 = 64;

#[cfg(test)]
mod tests;
