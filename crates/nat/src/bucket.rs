//! A token bucket in eight bytes, for how many sessions begin in a second.

use mooring_session::{Stamp, Tick};

/// What was taken out of a bucket and has not flowed back yet. A fresh one is full, whatever its rate,
/// so the rate may change at any time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bucket {
    /// Thousandths of a session.
    spent: u32,
    /// When that was so.
    at: Stamp,
}

impl Bucket {
    /// Whether `rate` sessions in a second, and a burst of as many, leave room for one more.
    pub(crate) fn has(&self, rate: u32, now: Tick) -> bool {
        self.spent(rate, now) + SESSION <= u64::from(rate) * SESSION
    }

    /// Takes one session out.
    pub(crate) fn take(&mut self, rate: u32, now: Tick) {
        let spent = self.spent(rate, now) + SESSION;
        *self = Self { spent: spent.min(u64::from(u32::MAX)) as u32, at: now.stamp() };
    }

    fn spent(&self, rate: u32, now: Tick) -> u64 {
        let back = u64::from(self.at.age(now)) * u64::from(rate);
        u64::from(self.spent).saturating_sub(back)
    }
}

/// One session, in the thousandths that flow back in a millisecond at one a second.
const SESSION: u64 = 1000;

#[cfg(test)]
mod tests {
    use mooring_session::Tick;

    use super::Bucket;

    /// How many of `tries` sessions may begin at once.
    fn begin(bucket: &mut Bucket, rate: u32, millis: u64, tries: u32) -> usize {
        let now = Tick::from_millis(millis);
        let mut may = || {
            let has = bucket.has(rate, now);
            if has {
                bucket.take(rate, now);
            }
            has
        };
        (0..tries).filter(|_| may()).count()
    }

    #[test]
    fn begins_a_burst_of_sessions_and_then_the_rate() {
        let mut bucket = Bucket::default();
        assert_eq!(begin(&mut bucket, 10, 0, 20), 10);
        assert_eq!(begin(&mut bucket, 10, 99, 20), 0);
        assert_eq!(begin(&mut bucket, 10, 100, 20), 1);
        assert_eq!(begin(&mut bucket, 10, 600, 20), 5);
        assert_eq!(begin(&mut bucket, 10, 1_000_000, 20), 10);
        assert_eq!(begin(&mut bucket, 30, 1_000_000, 40), 20, "another rate counts at once");
        assert_eq!(begin(&mut Bucket::default(), 1, 5_000_000_000, 3), 1);
    }
}
