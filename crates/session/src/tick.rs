//! The engine's time: an argument, never read from a clock in here.

use std::ops::Add;
use std::time::Duration;

/// Milliseconds since the worker started. The binary's clock makes one per batch; tests and replay
/// make their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(u64);

impl Tick {
    /// The start of time.
    pub const ZERO: Self = Self(0);

    /// The tick `milliseconds` after the start.
    #[inline]
    #[must_use]
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(milliseconds)
    }

    /// Milliseconds since the start.
    #[inline]
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Milliseconds from `earlier` to this tick; 0 when `earlier` is later.
    #[inline]
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The low 32 bits, as records store it. They wrap after 49 days, so they only serve to compare
    /// moments that lie closer together than that.
    #[inline]
    #[must_use]
    pub const fn stamp(self) -> Stamp {
        Stamp(self.0 as u32)
    }
}

impl Add<Duration> for Tick {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(rhs.as_millis()).unwrap_or(u64::MAX)))
    }
}

/// A [`Tick`] as it is stored in a record: milliseconds modulo 2^32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp(u32);

impl Stamp {
    /// Milliseconds from this stamp to `now`, which must lie less than 49 days after it.
    #[inline]
    #[must_use]
    pub const fn age(self, now: Tick) -> u32 {
        (now.0 as u32).wrapping_sub(self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Tick;

    #[test]
    fn a_stamp_tells_its_age_across_the_wrap() {
        let then = Tick::from_millis(u64::from(u32::MAX) - 5);
        assert_eq!(then.stamp().age(then + Duration::from_millis(20)), 20);
    }

    #[test]
    fn since_never_goes_below_zero() {
        assert_eq!(Tick::ZERO.since(Tick::from_millis(3)), 0);
    }
}
