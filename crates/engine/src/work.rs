//! What a worker does with its time: how full its batches are, and how much of it they take.

use mooring_packet::BATCH_CAPACITY;

/// Counted by the one worker whose it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Batches walked, by their number of packets: one, two to three, four to seven and so on, up to a
    /// full one.
    pub batches: [u64; SIZES],
    /// Packets in them: received, and handed over by others.
    pub packets: u64,
    /// Counts of the time-stamp counter since the worker began. The engine reads no clock: the worker
    /// writes these two.
    pub clocks: u64,
    /// Those of them in which there was something to do: receiving and transmitting, too.
    pub busy_clocks: u64,
}

impl Work {
    /// A batch of so many packets was walked.
    #[inline]
    pub(crate) fn batch(&mut self, packets: usize) {
        // Nobody walks an empty batch; it would be nothing.
        let Some(size) = packets.checked_ilog2() else { return };
        self.batches[(size as usize).min(SIZES - 1)] += 1;
        self.packets += packets as u64;
    }

    /// The sizes, as people call them, and the batches of each.
    pub fn sizes(&self) -> impl Iterator<Item = (String, u64)> + '_ {
        self.batches.iter().enumerate().map(|(at, batches)| {
            let (least, most) = (1 << at, (2 << at) - 1);
            let name = match at {
                0 => "1".to_owned(),
                _ if least == BATCH_CAPACITY => least.to_string(),
                _ => format!("{least}-{most}"),
            };
            (name, *batches)
        })
    }

    /// Packets of the mean batch; 0 without any.
    #[must_use]
    pub fn mean_batch(&self) -> f64 {
        ratio(self.packets, self.batches.iter().sum())
    }

    /// Clocks that a packet takes, from the kernel and back to it; 0 without any.
    #[must_use]
    pub fn clocks_per_packet(&self) -> f64 {
        ratio(self.busy_clocks, self.packets)
    }

    /// The part of its time in which the worker had nothing to do, looking for packets or asleep.
    #[must_use]
    pub fn idle_share(&self) -> f64 {
        ratio(self.clocks.saturating_sub(self.busy_clocks), self.clocks)
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// Sizes that are told apart.
const SIZES: usize = BATCH_CAPACITY.ilog2() as usize + 1;

#[cfg(test)]
mod tests {
    use mooring_packet::BATCH_CAPACITY;

    use super::Work;

    #[test]
    fn batches_are_counted_by_their_size() {
        let mut work = Work::default();
        [0, 1, 3, 4, 255, BATCH_CAPACITY].into_iter().for_each(|packets| work.batch(packets));
        let seen: Vec<_> = work.sizes().filter(|(_, batches)| *batches > 0).collect();
        let expected = [("1", 1), ("2-3", 1), ("4-7", 1), ("128-255", 1), ("256", 1)];
        assert!(seen.iter().map(|(name, batches)| (name.as_str(), *batches)).eq(expected));
        assert_eq!(work.packets, 519);
        assert_eq!(work.mean_batch(), 103.8);
    }

    #[test]
    fn who_has_done_nothing_divides_by_nothing() {
        let work = Work::default();
        assert_eq!(
            (work.mean_batch(), work.clocks_per_packet(), work.idle_share()),
            (0.0, 0.0, 0.0)
        );
        let work = Work { clocks: 400, busy_clocks: 100, packets: 5, ..work };
        assert_eq!((work.clocks_per_packet(), work.idle_share()), (20.0, 0.75));
    }
}
