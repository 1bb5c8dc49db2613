//! How long to leave a server alone that has refused or failed.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Pauses that double, each a little off so that many Pods do not come together.
#[derive(Debug)]
pub(super) struct Backoff {
    failures: u32,
    longest: Duration,
    /// Random keys of this process.
    random: RandomState,
    drawn: u64,
}

impl Backoff {
    pub(super) fn new(longest: Duration) -> Self {
        Self { failures: 0, longest, random: RandomState::new(), drawn: 0 }
    }

    /// How long to pause after another failure: between half of its time and all of it.
    pub(super) fn pause(&mut self) -> Duration {
        let whole = FIRST.saturating_mul(1 << self.failures.min(16)).min(self.longest);
        self.failures = self.failures.saturating_add(1);
        self.drawn = self.drawn.wrapping_add(1);
        let part = (self.random.hash_one(self.drawn) >> 32) as u32;
        whole / 2 + (whole / 2).mul_f64(f64::from(part) / f64::from(u32::MAX))
    }

    /// Something went right.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// Short: a restarted server is not to be waited for, nor is one that dropped a connection.
const FIRST: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Backoff, FIRST};

    const LONGEST: Duration = Duration::from_secs(10);

    #[test]
    fn pauses_double_up_to_an_end_and_are_a_little_off() {
        let mut backoff = Backoff::new(LONGEST);
        let mut whole = FIRST;
        for _ in 0..40 {
            let pause = backoff.pause();
            assert!(whole / 2 <= pause && pause <= whole, "{pause:?} of {whole:?}");
            whole = (whole * 2).min(LONGEST);
        }
        backoff.reset();
        assert!(backoff.pause() <= FIRST);
        let mut others: Vec<_> = (0..8).map(|_| Backoff::new(LONGEST).pause()).collect();
        others.dedup();
        assert!(others.len() > 1, "all processes pause for {:?}", others[0]);
    }
}
