//! The random numbers by which packets that begin something draw, one for each, in their order. They can be looked at before:
//! what the next packets will get is known, and not taken. So memory can be loaded ahead of time, and a packet gets
//! the same whether it comes alone or with others.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

/// The numbers of a generator, in its order.
pub(crate) struct Lots {
    source: ChaCha8Rng,
    /// Those that have been looked at: `len` of them from `first` on, and round.
    seen: [u32; FORESEEN],
    first: usize,
    len: usize,
}

/// How many numbers ahead can be looked at.
pub(crate) const FORESEEN: usize = 8;

impl Lots {
    /// All numbers of `source`.
    pub(crate) const fn new(source: ChaCha8Rng) -> Self {
        Self { source, seen: [0; FORESEEN], first: 0, len: 0 }
    }

    /// The number that will be drawn after `nth` others, which is less than [`FORESEEN`].
    pub(crate) fn foresee(&mut self, nth: usize) -> u32 {
        debug_assert!(nth < FORESEEN, "so far nobody looks");
        while self.len <= nth {
            self.seen[(self.first + self.len) % FORESEEN] = self.source.next_u32();
            self.len += 1;
        }
        self.seen[(self.first + nth) % FORESEEN]
    }

    /// The next number.
    #[inline]
    pub(crate) fn draw(&mut self) -> u32 {
        let number = self.foresee(0);
        self.first = (self.first + 1) % FORESEEN;
        self.len -= 1;
        number
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, prop_assert_eq, proptest};
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    use super::{FORESEEN, Lots};

    proptest! {
        #[test]
        fn looking_ahead_changes_nothing(
            seed in any::<u64>(),
            steps in prop::collection::vec((0..FORESEEN, 0..2 * FORESEEN), 0..40),
        ) {
            let mut plain = ChaCha8Rng::seed_from_u64(seed);
            let mut lots = Lots::new(plain.clone());
            for (nth, draws) in steps {
                let mut later = plain.clone();
                let foreseen = (0..=nth).map(|_| later.next_u32()).last();
                prop_assert_eq!(Some(lots.foresee(nth)), foreseen);
                for _ in 0..draws {
                    prop_assert_eq!(lots.draw(), plain.next_u32());
                }
            }
        }
    }
}
