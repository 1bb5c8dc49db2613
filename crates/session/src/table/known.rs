//! The short way to a session: by the record that its bucket named when it began to be loaded, without another look at
//! the index. And what most packets do to it then: they are counted, and it was heard of.

use mooring_wire::tcp::Flags;

use super::{SessionRef, SessionTable};
use crate::index::Glance;
use crate::state::TURNING;
use crate::{Address, Direction, FlowKey, Session, Stamp, State};

/// What a bucket says of a key: the value of the session that it most likely is of, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Likely(u32);

impl Likely {
    /// There is none, for sure.
    pub const ABSENT: Self = Self(u32::MAX);

    /// If there is one, another bucket has it.
    const ELSEWHERE: Self = Self(u32::MAX - 1);

    /// The number of the record: beyond all there are where none is likely.
    #[inline]
    pub(super) const fn at(self) -> usize {
        SessionRef::from_value(self.0).index.at()
    }

    /// Whether no session is named: there is none, or another bucket has it.
    #[inline]
    #[must_use]
    pub const fn names_none(self) -> bool {
        self.0 >= Self::ELSEWHERE.0
    }

    /// Which way such a packet travels, if the session is this one.
    #[inline]
    #[must_use]
    pub const fn direction(self) -> Direction {
        SessionRef::from_value(self.0).direction
    }
}

impl From<Glance> for Likely {
    #[inline]
    fn from(glance: Glance) -> Self {
        match glance {
            Glance::Likely(value) => Self(value),
            Glance::Elsewhere => Self::ELSEWHERE,
            Glance::Absent => Self::ABSENT,
        }
    }
}

impl From<SessionRef> for Likely {
    #[inline]
    fn from(found: SessionRef) -> Self {
        Self(found.value())
    }
}

impl<A: Address> SessionTable<A> {
    /// The session of `key`, which has no routing domain and no tag, if it is the one that was `likely` when that was
    /// asked, however long ago: a record in which no session lives has no key. `direction` is that of `likely`, told by
    /// whoever goes on for each direction apart. `None` says nothing: [`SessionTable::find`] does.
    #[inline(always)]
    pub fn known(
        &mut self,
        likely: Likely,
        direction: Direction,
        key: &FlowKey<A>,
    ) -> Option<&mut Session<A>> {
        let session = self.hot.get_mut(likely.at())?;
        session.has_key(direction, &key.plain()).then_some(session)
    }
}

impl<A: Address> Session<A> {
    /// Accounts for a packet that only shows that the session goes on, as most do. False, and nothing done, when there
    /// is more to do: then [`SessionTable::touch`] does all of it.
    #[inline(always)]
    pub fn pass(
        &mut self,
        direction: Direction,
        now: Stamp,
        bytes: u32,
        flags: Option<Flags>,
    ) -> bool {
        let way = direction as usize;
        let (packets, packets_carry) = self.packets[way].overflowing_add(1);
        let (total, bytes_carry) = self.bytes[way].overflowing_add(bytes);
        if packets_carry || bytes_carry || !self.is_kept_by(direction, flags) {
            return false;
        }
        self.packets[way] = packets;
        self.bytes[way] = total;
        self.last_seen = now;
        true
    }

    /// Whether a packet changes no state, and whether any such packet keeps the session.
    #[inline(always)]
    pub(super) fn is_kept_by(&self, direction: Direction, flags: Option<Flags>) -> bool {
        self.flags == 0
            && match flags {
                Some(flags) => self.state == State::Established && !flags.intersects(TURNING),
                None => self.state.stays_after_datagram(direction),
            }
    }
}
