//! A token bucket for what we say on our own account (RFC 1812 §4.3.2.8, RFC 4443 §2.4 (f)).

use mooring_session::Tick;

/// Allows `per_second` events on average and a burst of as many.
#[derive(Clone, Debug)]
pub(crate) struct Limiter {
    per_second: u32,
    /// Thousandths of an event that may happen now.
    tokens: u64,
    filled: Tick,
}

impl Limiter {
    /// A full bucket.
    #[must_use]
    pub(crate) const fn new(per_second: u32) -> Self {
        Self { per_second, tokens: per_second as u64 * EVENT, filled: Tick::ZERO }
    }

    /// Another rate from now on; what is in the bucket stays, up to the new burst.
    pub(crate) const fn set_rate(&mut self, per_second: u32) {
        self.per_second = per_second;
    }

    /// Takes one event out of the bucket; false when it is empty.
    pub(crate) fn allow(&mut self, now: Tick) -> bool {
        let full = u64::from(self.per_second) * EVENT;
        let gained = now.since(self.filled).saturating_mul(u64::from(self.per_second));
        self.tokens = self.tokens.saturating_add(gained).min(full);
        self.filled = now;
        if self.tokens < EVENT {
            return false;
        }
        self.tokens -= EVENT;
        true
    }
}

/// One event, in the thousandths that a millisecond earns.
const EVENT: u64 = 1000;

#[cfg(test)]
mod tests {
    use mooring_session::Tick;

    use super::Limiter;

    #[test]
    fn allows_a_burst_and_then_the_rate() {
        let mut limiter = Limiter::new(10);
        let mut allowed = |millis, tries: u32| {
            (0..tries).filter(|_| limiter.allow(Tick::from_millis(millis))).count()
        };
        assert_eq!(allowed(0, 20), 10);
        assert_eq!(allowed(50, 20), 0);
        assert_eq!(allowed(100, 20), 1);
        assert_eq!(allowed(600, 20), 5);
        assert_eq!(allowed(1_000_000, 20), 10);
        limiter.set_rate(3);
        let mut allowed = |millis, tries: u32| {
            (0..tries).filter(|_| limiter.allow(Tick::from_millis(millis))).count()
        };
        assert_eq!(allowed(1_000_999, 20), 2, "the burst is the new one's, once it is earned");
        assert_eq!(allowed(2_000_000, 20), 3);
    }
}
