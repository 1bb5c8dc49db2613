//! What is known of one datagram: which of its bytes have come, and in which fragments.

use super::NONE;
use super::piece::{Datagram, Fate, MAX_LEN, Piece, UNIT};
use crate::Tick;

/// A datagram of which fragments have come.
pub(super) struct Record<A> {
    pub(super) arriving: Datagram<A>,
    /// Its number among the senders.
    pub(super) sender: u32,
    pub(super) leaving: Option<Datagram<A>>,
    pub(super) begun: Tick,
    pub(super) fate: Option<Fate<A>>,
    pub(super) older: u32,
    pub(super) younger: u32,
    pub(super) first_waiting: u32,
    pub(super) last_waiting: u32,
    /// Bytes of the whole payload; known from the last fragment on.
    whole: Option<u32>,
    pub(super) overlaps: bool,
    pub(super) live: bool,
    /// How many units have come, and which.
    units: u32,
    covered: Units,
    /// The units that fragments begin with.
    begins: Units,
}

/// A bit for each unit of the longest payload.
type Units = [u64; (MAX_LEN.div_ceil(UNIT) as usize).div_ceil(64)];

/// How a fragment stands to those that have come before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Covered {
    /// None of its bytes has come.
    Anew,
    /// The same fragment has: the same bytes, and it ends the datagram or does not as that one.
    Again,
    /// Some of its bytes have come, in other fragments, or the lengths disagree.
    Overlapping,
}

impl<A> Record<A> {
    pub(super) fn new((arriving, sender): (Datagram<A>, u32), begun: Tick, older: u32) -> Self {
        Self {
            arriving,
            sender,
            leaving: None,
            begun,
            fate: None,
            older,
            younger: NONE,
            first_waiting: NONE,
            last_waiting: NONE,
            whole: None,
            overlaps: false,
            live: true,
            units: 0,
            covered: [0; _],
            begins: [0; _],
        }
    }

    /// Marks the units of `piece`, if none has come.
    pub(super) fn cover(&mut self, piece: Piece) -> Covered {
        let end = piece.start + piece.len;
        let (first, last) = (piece.start / UNIT, end.div_ceil(UNIT));
        if self.has_come(piece, first, last) {
            return Covered::Again;
        }
        let fits = match self.whole {
            Some(whole) => !piece.last && end <= whole,
            None => !piece.last || self.highest() <= last,
        };
        if !fits || (first..last).any(|unit| has(&self.covered, unit)) {
            return Covered::Overlapping;
        }
        (first..last).for_each(|unit| set(&mut self.covered, unit));
        set(&mut self.begins, first);
        self.units += last - first;
        if piece.last {
            self.whole = Some(end);
        }
        Covered::Anew
    }

    /// Whether just this fragment has come before: it begins where one began, and ends where that one
    /// ended.
    fn has_come(&self, piece: Piece, first: u32, last: u32) -> bool {
        let end = piece.start + piece.len;
        self.whole.is_none_or(|whole| end <= whole)
            && piece.last == (self.whole == Some(end))
            && has(&self.begins, first)
            && (first + 1..last).all(|unit| has(&self.covered, unit) && !has(&self.begins, unit))
            && (!has(&self.covered, last) || has(&self.begins, last))
    }

    /// One more than the highest unit that has come.
    fn highest(&self) -> u32 {
        let word = self.covered.iter().rposition(|&word| word != 0);
        word.map_or(0, |at| at as u32 * 64 + 64 - self.covered[at].leading_zeros())
    }

    pub(super) fn is_complete(&self) -> bool {
        self.whole.is_some_and(|whole| whole.div_ceil(UNIT) == self.units)
    }
}

fn has(units: &Units, unit: u32) -> bool {
    units.get((unit / 64) as usize).is_some_and(|word| word >> (unit % 64) & 1 == 1)
}

fn set(units: &mut Units, unit: u32) {
    units[(unit / 64) as usize] |= 1 << (unit % 64);
}
