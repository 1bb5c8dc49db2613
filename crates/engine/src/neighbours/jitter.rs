//! The random delays of what we say on a link, so that machines that start together do not keep
//! speaking together. From the engine's seed, so the same input gives the same output.

use std::time::Duration;

use mooring_session::KeyedHash;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Where random delays come from.
#[derive(Debug)]
pub(super) struct Jitter(ChaCha8Rng);

impl Jitter {
    /// Of the same seed as the engine's own random numbers, but none of those.
    pub(super) fn new(seed: [u8; 32]) -> Self {
        let mut random = ChaCha8Rng::from_seed(seed);
        random.set_stream(STREAM);
        Self(random)
    }

    /// A whole number of milliseconds from `shortest` to `longest`.
    pub(super) fn between(&mut self, shortest: Duration, longest: Duration) -> Duration {
        let random = u128::from(self.0.next_u64());
        let span = longest.saturating_sub(shortest).as_millis() + 1;
        shortest + Duration::from_millis(((random * span) >> 64) as u64)
    }
}

/// What the table of neighbours is hashed by: of that seed as well, and nobody is shown it.
pub(super) fn table_hash(seed: [u8; 32]) -> KeyedHash {
    let mut random = ChaCha8Rng::from_seed(seed);
    random.set_stream(TABLE_STREAM);
    KeyedHash::new(std::array::from_fn(|_| random.next_u64()))
}

/// The engine draws from stream 0.
const STREAM: u64 = 1;
const TABLE_STREAM: u64 = 2;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Jitter;

    #[test]
    fn delays_fill_their_span_and_never_leave_it() {
        let (shortest, longest) = (Duration::from_millis(200), Duration::from_millis(203));
        let mut jitter = Jitter::new([7; 32]);
        let mut seen: Vec<_> = (0..200).map(|_| jitter.between(shortest, longest)).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, [200, 201, 202, 203].map(Duration::from_millis));
        assert_eq!(jitter.between(shortest, shortest), shortest);
    }
}
