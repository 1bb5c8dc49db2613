//! The random delays of what we say on a link, so that machines that start together do not keep
//! speaking together. Seeded by our MAC addresses: two of us differ, and the same input gives the
//! same output. Nothing secret depends on it.

use std::time::Duration;

use super::InterfaceLink;

/// A small generator (xorshift64*).
#[derive(Clone, Debug)]
pub(super) struct Jitter(u64);

impl Jitter {
    pub(super) fn new(links: &[InterfaceLink]) -> Self {
        let octets = links.iter().flat_map(|link| link.mac.0);
        // FNV-1a; the state of the generator may not be zero.
        let seed = octets.fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| {
            (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3)
        });
        Self(seed | 1)
    }

    /// A whole number of milliseconds from `shortest` to `longest`.
    pub(super) fn between(&mut self, shortest: Duration, longest: Duration) -> Duration {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let random = u128::from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d));
        let span = longest.saturating_sub(shortest).as_millis() + 1;
        shortest + Duration::from_millis(((random * span) >> 64) as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Jitter;

    #[test]
    fn delays_fill_their_span_and_never_leave_it() {
        let (shortest, longest) = (Duration::from_millis(200), Duration::from_millis(203));
        let mut jitter = Jitter::new(&[]);
        let mut seen: Vec<_> = (0..200).map(|_| jitter.between(shortest, longest)).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, [200, 201, 202, 203].map(Duration::from_millis));
        assert_eq!(jitter.between(shortest, shortest), shortest);
    }
}
