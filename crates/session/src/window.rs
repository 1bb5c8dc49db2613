//! Where the windows of a TCP connection stand: which segments its ends can have sent.
//!
//! Follows G. van Rooij, "Real Stateful TCP Packet Filtering in IP Filter" (2000), as the kernel's
//! connection tracking does: of each end we know how far it has sent, how far the other end lets it
//! send, and how large a window it has offered. A segment is real if
//! 1. it begins no further than the other end lets its sender go,
//! 2. it ends no further back than a window behind what its sender has sent,
//! 3. it acknowledges nothing that the other end has not sent,
//! 4. nor anything further back than two windows behind that (RFC 5961 §5.2).
//!
//! Nobody who does not see the connection knows these numbers: what he sends in its name fits with
//! a probability of about window / 2^32. RST and SYN, which end or move a connection, have rules of
//! their own (RFC 5961 §3 and §4).
//!
//! The table lies beside that of the sessions and is made only where the policy asks for it.

mod segment;

use mooring_wire::tcp::Flags;

use self::segment::MOST_SCALE;
pub use self::segment::Segment;
use crate::{Direction, State};

/// The connections of a table of sessions, by the numbers of their records.
pub struct Windows(pub(crate) Vec<Connection>);

impl Windows {
    /// For a table of so many sessions; nothing is known of them.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self(vec![Connection::default(); capacity])
    }
}

/// What is to become of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// An end of the connection has sent it.
    Real,
    /// The same, and what it acknowledges shows that the SYN was, too, which the other end had sent
    /// before: the connection is open.
    Opens,
    /// Whether it is real the ends will find out: it passes and changes nothing. Of a SYN or RST the
    /// receiver asks the other end (RFC 5961, "challenge ACK").
    Unproven,
    /// It is of no end of the connection.
    Outside,
}

/// What is known of a connection; of one not seen yet, nothing.
#[derive(Clone, Debug, Default)]
#[repr(align(64))]
pub(crate) struct Connection {
    ends: [End; 2],
}

/// What is known of an end.
#[derive(Clone, Copy, Debug, Default)]
struct End {
    /// Behind its SYN, if that was seen.
    first: u32,
    /// Behind the last byte that it has sent.
    next: u32,
    /// Behind the last byte that the other end lets it send; with [`LIMITED`].
    limit: u32,
    /// The highest number that it has acknowledged; with [`ACKNOWLEDGED`].
    acknowledged: u32,
    /// The largest window that it has offered; 0: none yet.
    window: u32,
    /// Of a SYN that may begin another connection: the numbers before and behind its payload; with
    /// [`PROPOSED`].
    proposed: [u32; 2],
    proposed_scale: u8,
    scale: u8,
    bits: u8,
}

impl Connection {
    /// Whether a segment that goes `direction` in a session of `state` is real; if it is, what it
    /// tells is known from now on.
    pub(crate) fn judge(
        &mut self,
        state: State,
        direction: Direction,
        segment: &Segment,
    ) -> Judged {
        let (syn, rst, ack) =
            (segment.has(Flags::SYN), segment.has(Flags::RST), segment.has(Flags::ACK));
        match (syn, rst, ack) {
            (true, true, _) => Judged::Unproven,
            (false, true, _) => self.reset(direction, segment),
            (true, false, false) => self.opening(state, direction, segment),
            (true, false, true) => self.answer(state, direction, segment),
            (false, false, _) => match self.segment(direction, segment) {
                Judged::Real if self.opens(state, direction, segment) => Judged::Opens,
                judged => judged,
            },
        }
    }

    /// Whether a segment acknowledges the SYN of the host inside, whose answer nobody has seen: the
    /// two SYN crossed, and the SYN-ACK to it was lost before us.
    fn opens(&self, state: State, direction: Direction, segment: &Segment) -> bool {
        let (_, receiver) = self.of(direction);
        let answers = is_within(segment.acknowledgment, receiver.first, receiver.next);
        may_cross(state, direction) && !receiver.is(PROPOSED) && answers
    }

    /// Numbers that an end of the connection expects next, as far as known: what a keep-alive to the
    /// end that sends `direction` has as sequence number and acknowledges.
    pub(crate) fn expected(&self, direction: Direction) -> Option<(u32, u32)> {
        let end = &self.ends[direction as usize];
        end.is(SEEN | ACKNOWLEDGED).then_some((end.acknowledged, end.next))
    }

    /// RFC 5961 §3: only the number that its receiver expects next ends a connection. Of one nearby,
    /// the receiver asks.
    fn reset(&self, direction: Direction, segment: &Segment) -> Judged {
        let (sender, receiver) = self.of(direction);
        let number = segment.sequence;
        // RFC 9293 §3.10.7.3: what answers a SYN is known by what it acknowledges.
        let answers = |syn: [u32; 2]| {
            segment.has(Flags::ACK) && is_within(segment.acknowledgment, syn[0], syn[1])
        };
        if receiver.is(PROPOSED) && answers(receiver.proposed) {
            return Judged::Real;
        }
        if !sender.is(SEEN) && !receiver.is(SEEN) {
            return Judged::Unproven;
        }
        if receiver.is(SYN_ALONE) && !sender.is(SEEN) {
            let is_answer = answers([receiver.next.wrapping_sub(LONGEST_SYN), receiver.next]);
            return if is_answer { Judged::Real } else { Judged::Outside };
        }
        let expected = receiver.is(ACKNOWLEDGED) && number == receiver.acknowledged;
        if expected || number == sender.next {
            return Judged::Real;
        }
        if self.begins_in_window(direction, number, number) {
            Judged::Unproven
        } else {
            Judged::Outside
        }
    }

    /// RFC 5961 §4: a SYN does not move a connection that is open, nor does one that crosses that of the
    /// host inside (RFC 5382 REQ-2) open it; if it is real, an answer to it will show so.
    fn opening(&mut self, state: State, direction: Direction, segment: &Segment) -> Judged {
        let sender = &mut self.ends[direction as usize];
        let again = sender.is(SYN_ALONE) && segment.end() == sender.next;
        let crosses = may_cross(state, direction);
        if state.half_open().is_some() && !crosses && (again || !sender.is(SEEN)) {
            sender.begin(segment);
            return Judged::Real;
        }
        // A late copy of the one that began this connection begins no other.
        let begins_this = segment.sequence.wrapping_add(1) == sender.first;
        if begins_this && sender.is(SEEN) && !sender.is(UNSEEN) && state.half_open().is_none() {
            return Judged::Unproven;
        }
        sender.proposed = [segment.sequence.wrapping_add(1), segment.end()];
        sender.proposed_scale = segment.scale.unwrap_or(NO_SCALE);
        sender.bits |= PROPOSED;
        if state.is_transitory() && !crosses { Judged::Real } else { Judged::Unproven }
    }

    /// A SYN that answers one.
    fn answer(&mut self, state: State, direction: Direction, segment: &Segment) -> Judged {
        let (sender, receiver) = self.of_mut(direction);
        let number = segment.acknowledgment;
        let answers = receiver.next.wrapping_sub(number) <= LONGEST_SYN;
        // The SYN that it answers crossed one that its sender has sent anew since.
        let anew = receiver.is(SYN_ALONE)
            && sender.is(PROPOSED)
            && segment.sequence.wrapping_add(1) == sender.proposed[0];
        // In place of a SYN that crossed, which may have been anybody's.
        let shows = answers && (may_cross(state, direction) || anew);
        if receiver.is(PROPOSED) && is_within(number, receiver.proposed[0], receiver.proposed[1]) {
            receiver.begin_proposed();
        } else if may_cross(state, direction.opposite()) && !receiver.is(SEEN) {
            // It was not the last SYN that the host inside has heard, but it knows which.
            receiver.take_up(number);
        } else if sender.is(SEEN) && !shows {
            return self.segment(direction, segment);
        } else if state.half_open().is_none() && !shows {
            return Judged::Unproven;
        } else if !receiver.is(SEEN) {
            receiver.take_up(number);
        } else if !answers {
            return Judged::Outside;
        }
        sender.begin(segment);
        // It has said so itself: nothing is left to be shown.
        if shows || sender.first == sender.proposed[0] {
            sender.bits &= !PROPOSED;
        }
        sender.acknowledge(segment, receiver, u32::from(segment.window));
        if receiver.window != 0 {
            // As much as the SYN has offered, which is never scaled.
            sender.limit_to(segment.sequence.wrapping_add(1).wrapping_add(receiver.window));
        }
        Judged::Real
    }

    /// Any other segment.
    fn segment(&mut self, direction: Direction, segment: &Segment) -> Judged {
        let ack = segment.has(Flags::ACK);
        if !self.ends[direction as usize].is(SEEN) {
            // Of a connection whose beginning was not seen, the host inside says where it stands:
            // nobody outside can.
            if direction == Direction::Reverse || !ack {
                return Judged::Unproven;
            }
            let (sender, receiver) = self.of_mut(direction);
            sender.take_up(segment.end());
            if !receiver.is(SEEN) {
                receiver.take_up(segment.acknowledgment);
            }
        }
        if !self.ends[direction.opposite() as usize].is(SEEN) {
            return Judged::Unproven;
        }
        if !self.begins_in_window(direction, segment.sequence, segment.end()) {
            return Judged::Outside;
        }
        if !ack {
            // RFC 9293 §3.10.7.4: "if the ACK bit is off, drop the segment".
            return Judged::Unproven;
        }
        if !self.acknowledges_what_was_sent(direction, segment.acknowledgment) {
            return Judged::Outside;
        }
        let scales = self.ends.iter().all(|end| end.scale != NO_SCALE);
        let (sender, receiver) = self.of_mut(direction);
        let shift = if scales && !segment.has(Flags::SYN) { sender.scale } else { 0 };
        sender.advance(segment);
        sender.acknowledge(segment, receiver, u32::from(segment.window) << shift);
        Judged::Real
    }

    /// Rules 1 and 2, of a segment from `start` to `end`.
    fn begins_in_window(&self, direction: Direction, start: u32, end: u32) -> bool {
        let (sender, receiver) = self.of(direction);
        // One more: a FIN may lie beyond a window that is full, and a probe of it does.
        let too_far = sender.is(LIMITED) && is_after(start, sender.limit.wrapping_add(1));
        let reach = receiver.window.max(LEAST_REACH) + 1;
        let too_old = receiver.window != 0 && is_after(sender.next.wrapping_sub(reach), end);
        !too_far && !too_old
    }

    /// Rules 3 and 4.
    fn acknowledges_what_was_sent(&self, direction: Direction, number: u32) -> bool {
        let (sender, receiver) = self.of(direction);
        if receiver.is(UNSEEN) && !receiver.is(LIMITED) {
            return true;
        }
        let sent = if receiver.is(UNSEEN) {
            // How far it has sent we do not know, only how far it may.
            later(receiver.limit.wrapping_add(1), receiver.next)
        } else if receiver.is(PIECES) {
            receiver.next.wrapping_add(u32::from(u16::MAX))
        } else {
            receiver.next
        };
        // RFC 5961 §5.2: acceptable is what lies up to a window behind what is not acknowledged yet.
        let reach = 2 * sender.window.max(LEAST_REACH);
        !is_after(number, sent) && !is_after(receiver.next.wrapping_sub(reach), number)
    }

    /// Sender and receiver of what goes `direction`.
    fn of(&self, direction: Direction) -> (&End, &End) {
        (&self.ends[direction as usize], &self.ends[direction.opposite() as usize])
    }

    fn of_mut(&mut self, direction: Direction) -> (&mut End, &mut End) {
        let [forward, reverse] = &mut self.ends;
        match direction {
            Direction::Forward => (forward, reverse),
            Direction::Reverse => (reverse, forward),
        }
    }
}

impl End {
    fn is(&self, bits: u8) -> bool {
        self.bits & bits == bits
    }

    /// It has sent a SYN, by which everything starts anew.
    fn begin(&mut self, syn: &Segment) {
        let proposal = (self.proposed, self.proposed_scale, self.bits & PROPOSED);
        *self = Self {
            first: syn.sequence.wrapping_add(1),
            next: syn.end(),
            window: u32::from(syn.window).max(1),
            scale: syn.scale.unwrap_or(NO_SCALE),
            bits: SEEN | SYN_ALONE | proposal.2 | if syn.in_pieces { PIECES } else { 0 },
            proposed: proposal.0,
            proposed_scale: proposal.1,
            ..Self::default()
        };
    }

    /// The SYN that it sent was real.
    fn begin_proposed(&mut self) {
        *self = Self {
            first: self.proposed[0],
            next: self.proposed[1],
            // At most: a SYN's is not scaled.
            window: u32::from(u16::MAX),
            scale: self.proposed_scale,
            bits: SEEN | SYN_ALONE,
            ..Self::default()
        };
    }

    /// It is in the midst of a connection and has sent up to `next`, or further.
    fn take_up(&mut self, next: u32) {
        self.next = next;
        // Of how it scales its window, we only know the most.
        self.scale = MOST_SCALE;
        self.bits |= SEEN | UNSEEN;
    }

    /// It has sent this.
    fn advance(&mut self, segment: &Segment) {
        self.next = later(self.next, segment.end());
        self.bits &= !SYN_ALONE;
        if segment.in_pieces {
            self.bits |= PIECES;
        }
    }

    /// It has acknowledged what `other` has sent, and offers it a window.
    fn acknowledge(&mut self, segment: &Segment, other: &mut Self, window: u32) {
        let number = segment.acknowledgment;
        self.window = self.window.max(window).max(1);
        if !self.is(ACKNOWLEDGED) || is_after(number, self.acknowledged) {
            self.acknowledged = number;
            self.bits |= ACKNOWLEDGED;
        }
        other.limit_to(number.wrapping_add(window));
    }

    /// It may send up to there, if it may not further already.
    fn limit_to(&mut self, limit: u32) {
        self.limit = if self.is(LIMITED) { later(self.limit, limit) } else { limit };
        self.bits |= LIMITED;
    }
}

/// Whether the host inside waits for what comes `direction`: then a SYN may be one that crossed its
/// own, and anybody's who knows the ports.
fn may_cross(state: State, direction: Direction) -> bool {
    state == State::HalfOpen && direction == Direction::Reverse
}

/// Sequence numbers go round (RFC 9293 §3.4).
fn is_after(a: u32, b: u32) -> bool {
    (b.wrapping_sub(a) as i32) < 0
}

fn later(a: u32, b: u32) -> u32 {
    if is_after(a, b) { a } else { b }
}

fn is_within(number: u32, first: u32, last: u32) -> bool {
    number.wrapping_sub(first) <= last.wrapping_sub(first)
}

/// Bits of an end: we know where it stands.
const SEEN: u8 = 1;
/// We did not see it begin.
const UNSEEN: u8 = 1 << 1;
/// All that we saw of it is a SYN.
const SYN_ALONE: u8 = 1 << 2;
const LIMITED: u8 = 1 << 3;
const ACKNOWLEDGED: u8 = 1 << 4;
const PROPOSED: u8 = 1 << 5;
/// It has sent segments in pieces, whose length we do not know.
const PIECES: u8 = 1 << 6;

/// A window further back than which nothing is real, be the window smaller: what is late may have been
/// sent under a larger one (the kernel's MAXACKWINDOW).
const LEAST_REACH: u32 = 66_000;

/// Payload of a SYN, at most (RFC 7413 §3).
const LONGEST_SYN: u32 = 1_500;

const NO_SCALE: u8 = u8::MAX;

const _: () = assert!(size_of::<Connection>() == 64);

#[cfg(test)]
mod tests;
