//! Random numbers that can be looked at before they are drawn: what the next packets will get is known, and not taken. So
//! memory can be loaded ahead of time, and a packet gets the same whether it comes alone or with others.

use std::convert::Infallible;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, TryRng};

/// The numbers of a generator, in its order.
pub(crate) struct Foreseeable {
    source: ChaCha8Rng,
    /// Those that have been looked at: `len` of them from `first` on, and round.
    seen: [u32; FORESEEN],
    first: usize,
    len: usize,
}

/// How many numbers ahead can be looked at.
pub(crate) const FORESEEN: usize = 8;

impl Foreseeable {
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
}

impl TryRng for Foreseeable {
    type Error = Infallible;

    #[inline]
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        if self.len == 0 {
            return self.source.try_next_u32();
        }
        let number = self.seen[self.first];
        self.first = (self.first + 1) % FORESEEN;
        self.len -= 1;
        Ok(number)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let [low, high] = [self.next_u32(), self.next_u32()].map(u64::from);
        Ok(high << 32 | low)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for part in bytes.chunks_mut(4) {
            part.copy_from_slice(&self.next_u32().to_le_bytes()[..part.len()]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, prop_assert_eq, proptest};
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    use super::{FORESEEN, Foreseeable};

    proptest! {
        #[test]
        fn looking_ahead_changes_nothing(
            seed in any::<u64>(),
            steps in prop::collection::vec((0..FORESEEN, 0..2 * FORESEEN, any::<bool>()), 0..40),
        ) {
            let mut plain = ChaCha8Rng::seed_from_u64(seed);
            let mut numbers = Foreseeable::new(plain.clone());
            for (nth, draws, wide) in steps {
                let mut later = plain.clone();
                let foreseen = (0..=nth).map(|_| later.next_u32()).last();
                prop_assert_eq!(Some(numbers.foresee(nth)), foreseen);
                for _ in 0..draws {
                    prop_assert_eq!(numbers.next_u32(), plain.next_u32());
                }
                if wide {
                    let [mut these, mut those] = [[0; 11]; 2];
                    prop_assert_eq!(numbers.next_u64(), plain.next_u64());
                    numbers.fill_bytes(&mut these);
                    plain.fill_bytes(&mut those);
                    prop_assert_eq!(these, those);
                }
            }
        }
    }
}
