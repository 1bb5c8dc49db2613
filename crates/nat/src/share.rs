//! What one of several workers has: its part of the tables, and its slice of every address's ports.
//!
//! The ports of an address go round the workers two by two, an even one and the odd one behind it: so
//! that the smallest range of ports is divided as evenly as it can be, and yet every worker can keep
//! the parity of a port and give a host's neighbouring ports neighbours (RFC 4787 §4.2.2 and §4.2.3).
//! A returning packet names its worker by its destination port (or ICMP identifier), without a table.
//! Ports that are not leased (`static`, `port-forward`) follow another rule; this one does not know
//! them.

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
        self.of == 1 || owner_of_port(port, self.of) == self.worker
    }

    /// The port of its own that has the place of `port` in the round of all workers. The first ports
    /// of all are not followed by as many rounds as there are: the place may be beyond the last one.
    pub(crate) const fn near(self, port: u16) -> u16 {
        // A division for nothing.
        if self.of == 1 {
            return port;
        }
        let pair = port >> 1;
        let own = (pair - pair % self.of as u16) as u32 + self.worker as u32;
        let wrapped = if own > (u16::MAX >> 1) as u32 { own - self.of as u32 } else { own };
        (wrapped as u16) << 1 | port & 1
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
        let mut pair = (worker + of - word * 32 % of) % of;
        let mut mask = 0;
        while pair < 32 {
            mask |= 0b11 << (2 * pair);
            pair += of;
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
    ((port >> 1) % of as u16) as u8
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
                assert_eq!(owner, owner_of_port(port ^ 1, of), "an even port and the next one");
            }
        }
    }

    #[test]
    fn a_small_range_is_divided_evenly() {
        for of in 1..=8u8 {
            for worker in 0..of {
                let share = Share::new(worker, of).expect("one of them");
                let own = (4000..4064).filter(|&port| share.has(port)).count();
                let pairs = 32 / usize::from(of)..=32usize.div_ceil(of.into());
                assert!((pairs.start() * 2..=pairs.end() * 2).contains(&own));
            }
        }
        assert_eq!(Share::new(2, 2), None);
    }
}
