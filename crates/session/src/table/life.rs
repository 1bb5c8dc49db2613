//! How sessions begin, go on under another policy, and end.

use mooring_wire::Protocol;

use super::{ColdLinks, InsertError, Renewed, SessionIndex, SessionRef, SessionTable, TO_ASK};
use crate::record::{Cold, NOWHERE, OUTBOUND_REFRESH};
use crate::window::{Connection, Windows};
use crate::{Address, Direction, Held, Session, State, Tick, Timeouts};

impl<A: Address> SessionTable<A> {
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
        let keys = WAYS.map(|way| session.key(way));
        if !self.is_full() && keys.iter().any(|key| self.find_key(key).is_some()) {
            return Err(InsertError::KeyTaken);
        }
        self.insert_unseen(session, keys.map(|key| self.hash(&key)), held, now)
    }

    /// As [`Self::insert`], for whoever knows the hashes of the keys of forward and reverse packets, and has looked
    /// both up: no session has one of them.
    ///
    /// # Errors
    /// [`InsertError::Full`]; nothing has changed then.
    #[inline]
    pub fn insert_unseen(
        &mut self,
        session: Session<A>,
        hashes: [u64; 2],
        held: Held,
        now: Tick,
    ) -> Result<SessionIndex, InsertError> {
        if self.live == self.capacity {
            return Err(InsertError::Full);
        }
        debug_assert_eq!(WAYS.map(|way| self.hash(&session.key(way))), hashes, "they are its own");
        debug_assert!(
            WAYS.iter().all(|way| self.find_key(&session.key(*way)).is_none()),
            "of nobody"
        );
        let timeout = self.timeout(&session);
        let index = self.place(session, held, now);
        for (direction, hash) in WAYS.into_iter().zip(hashes) {
            self.index.insert(hash, SessionRef { index, direction }.value());
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

    /// The timeouts of another policy. A session that lives is held to them once it is renewed, or
    /// when its old one ends.
    pub fn set_timeouts(&mut self, timeouts: Timeouts) {
        self.timeouts = timeouts;
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
            if let Some(Windows(all)) = &mut self.windows {
                all[at as usize] = Connection::default();
            }
            return SessionIndex(at);
        }
        self.hot.push(session);
        self.cold.push(cold);
        SessionIndex(self.hot.len() as u32 - 1)
    }

    /// Frees a record that is no longer in the wheel.
    fn forget(&mut self, index: SessionIndex) -> (Session<A>, Held) {
        let session = self.hot[index.at()].clone();
        for direction in WAYS {
            let hash = self.hash(&session.key(direction));
            let removed = self.index.remove(hash, SessionRef { index, direction }.value());
            debug_assert!(removed, "a live session is in the index under both keys");
        }
        // Whoever remembers the record does not find the session in it any more.
        self.hot[index.at()].vrf = NOWHERE;
        let cold = &mut self.cold[index.at()];
        let held = cold.held();
        cold.free(self.free);
        self.free = Some(index.0);
        self.live -= 1;
        (session, held)
    }
}

/// In the order of their numbers.
const WAYS: [Direction; 2] = [Direction::Forward, Direction::Reverse];

/// When a session is looked at again that could not be asked.
const ASK_AGAIN_MILLIS: u64 = 1_000;

/// Records that are looked at for one that may be ended.
const EXPENDABLE_LOOKS: u32 = 64;
