//! What one of several workers has: its part of the tables, and its slice of every address's ports.
//!
//! The ports of an address go round the workers one by one, so that the smallest range of ports is
//! divided as evenly as it can be. A returning packet names its worker by its destination port (or
//! ICMP identifier), without a table. Ports that are not leased (`static`, `port-forward`) follow
//! another rule; this one does not know them.

/// Worker `worker` of `of`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// This worker, from 0.
    worker: u8,
    /// All workers; at least one.
    of: u8,
}

impl Share {
    /// The only worker: all ports are its own.
    pub const ALL: Self = Self { worker: 0, of: 1 };

    /// The share of worker `worker`, counted from 0, of `of`. `None` if there is no such worker.
    #[must_use]
    pub const fn new(worker: u8, of: u8) -> Option<Self> {
        if worker < of { Some(Self { worker, of }) } else { None }
    }

    /// Which worker it is, from 0.
    #[must_use]
    pub const fn worker(self) -> u8 {
        self.worker
    }

    /// How many workers there are.
    #[must_use]
    pub const fn of(self) -> u8 {
        self.of
    }

    /// Whether this worker may lease `port`.
    #[must_use]
    pub const fn has(self, port: u16) -> bool {
        owner_of_port(port, self.of) == self.worker
    }

    /// Its part of a table for `all`, rounded up.
    #[must_use]
    pub const fn part(self, all: u32) -> usize {
        all.div_ceil(self.of as u32) as usize
    }

    /// A bit for each of the 64 ports from `64 * word` on: set if the port is its own.
    pub(crate) const fn mask(self, word: usize) -> u64 {
        if self.of == 1 {
            return u64::MAX;
        }
        let (of, worker) = (self.of as usize, self.worker as usize);
        let mut bit = (worker + of - word * 64 % of) % of;
        let mut mask = 0;
        while bit < 64 {
            mask |= 1 << bit;
            bit += of;
        }
        mask
    }
}

/// The worker, of `of`, that leases `port` of every address: a TCP or UDP port, or an ICMP identifier.
///
/// # Panics
/// When `of` is 0.
#[inline]
#[must_use]
pub const fn owner_of_port(port: u16, of: u8) -> u8 {
    (port % of as u16) as u8
}

#[cfg(test)]
mod tests {
    use super::{Share, owner_of_port};

    #[test]
    fn every_port_has_one_owner_and_the_masks_say_the_same() {
        for of in 1..=64 {
            let shares: Vec<Share> =
                (0..of).map(|n| Share::new(n, of).expect("one of them")).collect();
            for port in (0..=u16::MAX).step_by(if of < 9 { 1 } else { 61 }) {
                let owner = owner_of_port(port, of);
                for share in &shares {
                    let masked = share.mask(usize::from(port) / 64) >> (port % 64) & 1 == 1;
                    assert_eq!(masked, share.worker() == owner, "port {port} of {of}");
                    assert_eq!(share.has(port), masked);
                }
            }
        }
    }

    #[test]
    fn a_small_range_is_divided_evenly() {
        for of in 1..=8u8 {
            for worker in 0..of {
                let share = Share::new(worker, of).expect("one of them");
                let own = (4000..4064).filter(|&port| share.has(port)).count();
                assert!((64 / usize::from(of)..=64usize.div_ceil(of.into())).contains(&own));
            }
        }
        assert_eq!(Share::new(2, 2), None);
    }
}
