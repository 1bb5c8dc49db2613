//! Which ports may stand for an inside port, and which of them are wanted first. It knows nothing of
//! who has a port.

use std::ops::RangeInclusive;

use rand_core::Rng;

use crate::Share;

/// Which ports of an address may be leased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// One of these.
    pub range: RangeInclusive<u16>,
    /// The part of them that is the worker's.
    pub share: Share,
    /// Only even ones, or only odd ones.
    pub parity: Option<Parity>,
    /// These before all others, in this order, if they are in the range, the share and of the parity.
    pub prefers: [Option<u16>; 3],
}

/// Whether a port is even or odd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parity {
    /// As RTP has it.
    Even,
    /// As RTCP has it.
    Odd,
}

impl Choice {
    /// Any port of `range` that is the share's.
    #[must_use]
    pub const fn of(range: RangeInclusive<u16>, share: Share) -> Self {
        Self { range, share, parity: None, prefers: [None; 3] }
    }

    /// Whether a port is one of those that may be leased.
    #[must_use]
    pub fn has(&self, port: u16) -> bool {
        self.range.contains(&port)
            && self.share.has(port)
            && self.parity.is_none_or(|parity| parity == Parity::of(port))
    }

    /// Those on the same side of 1024 as a port; all, where none of them may be leased.
    pub(crate) fn on_the_side_of(self, port: u16) -> Self {
        let (first, last) = (*self.range.start(), *self.range.end());
        let range = if port < 1024 { first..=last.min(1023) } else { first.max(1024)..=last };
        let narrow = Self { range, ..self.clone() };
        let has_any = narrow.range.clone().any(|port| narrow.has(port));
        if has_any { narrow } else { self }
    }

    /// Those that are preferred and may be leased.
    pub fn preferred(&self) -> impl Iterator<Item = u16> + '_ {
        self.prefers.into_iter().flatten().filter(|port| self.has(*port))
    }

    /// Where a search for a port begins: a port of the range, as likely as the others, moved to one
    /// that may be leased (but for the edges of the range, where that may lie outside). `None` if the
    /// range is empty.
    pub fn draw(&self, random: &mut impl Rng) -> Option<u16> {
        self.drawn(random.next_u32())
    }

    /// What [`Self::draw`] makes of a random number.
    #[inline]
    pub(crate) fn drawn(&self, number: u32) -> Option<u16> {
        let (first, last) = (*self.range.start(), *self.range.end());
        let size = u32::from(last.checked_sub(first)?) + 1;
        // Multiply and shift: the bias of 2^-16 at most is below notice.
        let drawn = first + ((u64::from(number) * u64::from(size)) >> 32) as u16;
        let odd = match self.parity {
            None => drawn & 1,
            Some(Parity::Even) => 0,
            Some(Parity::Odd) => 1,
        };
        let own = self.share.near(drawn) & !1 | odd;
        Some(if self.range.contains(&own) { own } else { drawn })
    }

    /// All that may be leased, from `start` on and round to it.
    pub fn round(&self, start: u16) -> impl Iterator<Item = u16> + '_ {
        let (first, last) = (*self.range.start(), *self.range.end());
        (start..=last).chain(first..start).filter(|port| self.has(*port))
    }

    /// A bit for each of the 64 ports from `64 * word` on: set if the share and the parity have it.
    pub(crate) const fn mask(&self, word: usize) -> u64 {
        let parity = match self.parity {
            None => u64::MAX,
            Some(Parity::Even) => 0x5555_5555_5555_5555,
            Some(Parity::Odd) => 0xaaaa_aaaa_aaaa_aaaa,
        };
        self.share.mask(word) & parity
    }
}

impl Parity {
    /// That of a port.
    #[must_use]
    pub const fn of(port: u16) -> Self {
        if port & 1 == 0 { Self::Even } else { Self::Odd }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::{Choice, Parity};
    use crate::Share;

    fn parity(number: u8) -> Option<Parity> {
        [None, Some(Parity::Even), Some(Parity::Odd)][usize::from(number)]
    }

    proptest! {
        #[test]
        fn masks_and_rounds_have_the_same_ports(
            (first, size) in (any::<u16>(), 0u16..500),
            (of, worker) in (1u8..6, any::<u8>()),
            number in 0u8..3,
            seed in any::<u64>(),
        ) {
            let range = first..=first.saturating_add(size);
            let share = Share::new(worker % of, of).expect("one of them");
            let choice = Choice { parity: parity(number), ..Choice::of(range.clone(), share) };
            let start = choice.draw(&mut ChaCha8Rng::seed_from_u64(seed)).expect("it is not empty");
            prop_assert!(range.contains(&start));
            let mut round: Vec<u16> = choice.round(start).collect();
            round.sort_unstable();
            let masked = |port: &u16| choice.mask(usize::from(*port) / 64) >> (port % 64) & 1 == 1;
            prop_assert_eq!(round, range.filter(masked).collect::<Vec<u16>>());
        }
    }

    /// RFC 4787 REQ-3a, as far as there is a port to be had on that side.
    #[test]
    fn who_has_no_port_on_his_side_of_1024_gets_one_of_the_other() {
        let share = |worker| Share::new(worker, 4).expect("one of four");
        // 1022 and 1023 are a pair, and one worker's.
        for worker in 0..4 {
            let low = Choice::of(1022..=65535, share(worker)).on_the_side_of(80);
            let has_low = low.has(1022);
            assert_eq!(low.range, if has_low { 1022..=1023 } else { 1022..=65535 });
            assert_eq!(has_low, share(worker).has(1022));
            let high = Choice::of(1..=1025, share(worker)).on_the_side_of(5000);
            assert_eq!(high.range, if high.share.has(1024) { 1024..=1025 } else { 1..=1025 });
        }
        let even = Choice { parity: Some(Parity::Even), ..Choice::of(1023..=65535, Share::ALL) };
        assert_eq!(even.clone().on_the_side_of(80), even);
    }

    /// A fifth of the ports, and both halves of a pair alike: what a worker of five draws.
    #[test]
    fn draws_are_even_among_the_ports_of_a_worker() {
        let share = Share::new(2, 5).expect("one of five");
        let choice = Choice::of(1000..=1099, share);
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let mut drawn = [0u32; 100];
        for _ in 0..20_000 {
            let port = choice.draw(&mut random).expect("the range is not empty");
            drawn[usize::from(port) - 1000] += 1;
        }
        for (port, times) in (1000..).zip(drawn) {
            let expected = if share.has(port) { 800..1200 } else { 0..1 };
            assert!(expected.contains(&times), "port {port}: {times}");
        }
    }
}
