//! What a packet that passes does to its session: of most packets all is said by `Session::pass`, the rest is here.

use mooring_wire::tcp::Flags;

use super::{ColdLinks, SessionIndex, SessionRef, SessionTable};
use crate::record::OUTBOUND_REFRESH;
use crate::window::{Judged, Segment, Windows};
use crate::{Address, Direction, State, Tick};

impl<A: Address> SessionTable<A> {
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
        let session = &mut self.hot[found.index.at()];
        if session.pass(found.direction, now.stamp(), bytes as u32, flags) {
            return false;
        }
        self.touch_rarely(found, now, bytes, flags)
    }

    /// The rest of [`Self::touch`]: where a counter carries or the state changes.
    #[cold]
    #[inline(never)]
    fn touch_rarely(
        &mut self,
        found: SessionRef,
        now: Tick,
        bytes: usize,
        flags: Option<Flags>,
    ) -> bool {
        let at = found.index.at();
        let (session, cold) = (&mut self.hot[at], &mut self.cold[at]);
        let way = found.direction as usize;
        let (packets, packets_carry) = session.packets[way].overflowing_add(1);
        let (total, bytes_carry) = session.bytes[way].overflowing_add(bytes as u32);
        session.packets[way] = packets;
        session.bytes[way] = total;
        let carried = cold.packets_carry[way].wrapping_add(u16::from(packets_carry));
        cold.packets_carry[way] = carried;
        cold.bytes_carry[way] += u32::from(bytes_carry);
        if session.is_kept_by(found.direction, flags) {
            session.last_seen = now.stamp();
            return false;
        }
        self.turn(found, flags, now)
    }

    /// Takes a packet of `bytes` bytes out of the account again, which was refused after all. What it did
    /// to the state, and that the session was heard of, stays.
    pub fn uncount(&mut self, found: SessionRef, bytes: usize) {
        let (at, way) = (found.index.at(), found.direction as usize);
        let counts = self.counts(found.index)[way];
        let (packets, bytes) =
            (counts.packets.saturating_sub(1), counts.bytes.saturating_sub(bytes as u64));
        (self.hot[at].packets[way], self.hot[at].bytes[way]) = (packets as u32, bytes as u32);
        let cold = &mut self.cold[at];
        cold.packets_carry[way] = (packets >> 32) as u16;
        cold.bytes_carry[way] = (bytes >> 32) as u32;
    }

    /// Makes a session that has just begun one of a connection that began before it: it is open when
    /// the other end answers.
    pub fn pick_up(&mut self, index: SessionIndex) {
        self.hot[index.at()].state = State::PickedUp;
    }

    /// Follows the windows of TCP connections from now on, or no longer. Their memory is the one that was
    /// `made`, which nothing has been in, or is made now; when they are not followed any more it is `old`.
    pub fn follow_windows(
        &mut self,
        follow: bool,
        made: &mut Option<Windows>,
        old: &mut Option<Windows>,
    ) {
        match (&self.windows, follow) {
            (None, true) => {
                let made = made.take().filter(|made| made.0.len() == self.capacity);
                self.windows = Some(made.unwrap_or_else(|| Windows::new(self.capacity)));
            }
            (Some(_), false) => *old = self.windows.take(),
            _ => {}
        }
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
            Some(Windows(all)) => all[found.index.at()].judge(state, found.direction, segment),
            None => Judged::Real,
        }
    }

    /// What the sender of packets that go `direction` expects next, and what is expected of it, as far
    /// as the windows tell: sequence numbers.
    #[must_use]
    pub fn expected(&self, index: SessionIndex, direction: Direction) -> Option<(u32, u32)> {
        self.windows.as_ref()?.0[index.at()].expected(direction)
    }

    /// Where the state changes, or not every packet keeps it.
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
}
