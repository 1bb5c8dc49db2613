//! What became of the packets: each slot of flows remembers its latest number and which of the 63 before
//! it have come. A number is therefore late (RFC 4737 §3.3: smaller than one that came before), there for
//! the second time, or new. What is late by 64 or more counts as late; whether it came twice nobody knows.

use std::sync::mpsc;

use hdrhistogram::Histogram;

use crate::receive::Take;
use crate::stamp::Stamp;
use crate::timeline::{Sealed, Span, Timeline};

/// Counts what arrives in one run.
pub(crate) struct Tracker {
    run: u16,
    slots: Vec<Window>,
    pub(crate) total: Arrivals,
    pub(crate) buckets: Vec<Arrivals>,
    pub(crate) timeline: Timeline,
    /// Frames that are none of this run's: of neighbours, of another run, super-packets.
    pub(crate) strays: u64,
}

/// What has arrived.
pub(crate) struct Arrivals {
    /// Each counted once.
    pub(crate) packets: u64,
    /// Without the check sequence.
    pub(crate) bytes: u64,
    pub(crate) duplicates: u64,
    pub(crate) reordered: u64,
    /// Nanoseconds from stamp to receipt.
    pub(crate) latency: Histogram<u64>,
}

#[derive(Clone, Copy, Default)]
struct Window {
    seen: bool,
    latest: u32,
    /// Bit n: the one n before the latest has come.
    before: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Next,
    Late,
    Duplicate,
}

impl Tracker {
    /// For a run with so many slots, counted in `buckets` groups and in intervals beside the total.
    pub(crate) fn new(
        run: u16,
        slots: u32,
        buckets: u32,
        span: Span,
        listener: Option<mpsc::Sender<Sealed>>,
    ) -> Self {
        let total = Arrivals::new();
        Self {
            run,
            slots: vec![Window::default(); slots as usize],
            timeline: Timeline::new(span, &total.latency, listener),
            total,
            buckets: (0..buckets.clamp(1, slots)).map(|_| Arrivals::new()).collect(),
            strays: 0,
        }
    }
}

impl Take for Tracker {
    fn take(&mut self, frame: &[u8], now: u64) {
        let stamp = Stamp::of(frame)
            .filter(|stamp| stamp.run == self.run && stamp.time <= now)
            .and_then(|stamp| Some((stamp, self.slots.get_mut(stamp.slot as usize)?)));
        let Some((stamp, window)) = stamp else {
            self.strays += 1;
            return;
        };
        let order = window.place(stamp.sequence);
        if order != Order::Duplicate {
            self.timeline.count(stamp.time, now - stamp.time);
        }
        let bucket = stamp.slot as usize % self.buckets.len();
        for arrivals in [&mut self.total, &mut self.buckets[bucket]] {
            arrivals.count(order, frame.len(), now - stamp.time);
        }
    }

    fn stray(&mut self) {
        self.strays += 1;
    }

    fn packets(&self) -> u64 {
        self.total.packets
    }
}

impl Arrivals {
    fn new() -> Self {
        let latency = Histogram::new_with_bounds(1, LONGEST, DIGITS)
            .expect("bounds and digits are what the histogram can hold");
        Self { packets: 0, bytes: 0, duplicates: 0, reordered: 0, latency }
    }

    fn count(&mut self, order: Order, len: usize, latency: u64) {
        if order == Order::Duplicate {
            self.duplicates += 1;
            return;
        }
        self.packets += 1;
        self.bytes += len as u64;
        self.reordered += u64::from(order == Order::Late);
        self.latency.saturating_record(latency);
    }
}

impl Window {
    fn place(&mut self, sequence: u32) -> Order {
        let ahead = sequence.wrapping_sub(self.latest).cast_signed();
        if !self.seen || ahead > 0 {
            let shift = if self.seen { ahead.unsigned_abs() } else { u64::BITS };
            self.before = self.before.checked_shl(shift).unwrap_or(0) | 1;
            self.latest = sequence;
            self.seen = true;
            return Order::Next;
        }
        let bit = 1_u64.checked_shl(ahead.unsigned_abs()).unwrap_or(0);
        if self.before & bit != 0 {
            return Order::Duplicate;
        }
        self.before |= bit;
        Order::Late
    }
}

/// Longer latencies count as this one: a minute.
const LONGEST: u64 = 60_000_000_000;

/// Of a latency are kept.
const DIGITS: u8 = 3;

#[cfg(test)]
mod tests {
    use super::Tracker;
    use crate::receive::Take;
    use crate::stamp::Stamp;
    use crate::timeline::Span;

    fn tracker() -> Tracker {
        Tracker::new(7, 3, 2, Span { start: 0, length: 1_000 }, None)
    }

    /// An IPv4 frame that is nothing but a stamp.
    fn frame(run: u16, slot: u32, sequence: u32, time: u64) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0x00, 0x45, 0, 0, 38]);
        frame.extend([0; 16]);
        frame.extend(Stamp { run, slot, sequence, time }.bytes());
        frame
    }

    fn after(sequences: &[u32]) -> (u64, u64, u64) {
        let mut tracker = tracker();
        for sequence in sequences {
            tracker.take(&frame(7, 1, *sequence, 0), 5);
        }
        let total = &tracker.total;
        (total.packets, total.reordered, total.duplicates)
    }

    #[test]
    fn late_packets_and_duplicates_are_told_apart() {
        assert_eq!(after(&[0, 1, 2, 3]), (4, 0, 0));
        assert_eq!(after(&[0, 2, 1, 3]), (4, 1, 0));
        assert_eq!(after(&[0, 0, 1, 1, 0]), (2, 0, 3));
        assert_eq!(after(&[5, 3, 3, 4, 9]), (4, 2, 1));
        // Lost ones between them are neither.
        assert_eq!(after(&[0, 63, 200]), (3, 0, 0));
        // Numbers go on after the largest.
        assert_eq!(after(&[u32::MAX, 0, u32::MAX, 1]), (3, 0, 1));
        // Exactly as far back as is remembered, and further.
        assert_eq!(after(&[0, 63, 0]), (2, 0, 1));
        assert_eq!(after(&[0, 64, 0]), (3, 1, 0));
    }

    #[test]
    fn each_bucket_has_its_own_slots_and_latencies() {
        let mut tracker = tracker();
        for (slot, latency) in [(0, 100), (1, 2_000), (2, 100)] {
            tracker.take(&frame(7, slot, 0, 1_000), 1_000 + latency);
        }
        let of = |n: usize| {
            let bucket = &tracker.buckets[n];
            (bucket.packets, bucket.bytes, bucket.latency.max())
        };
        assert_eq!((of(0), of(1)), ((2, 104, 100), (1, 52, 2_000)));
        assert_eq!((tracker.total.packets, tracker.total.latency.len()), (3, 3));
    }

    #[test]
    fn what_is_not_of_this_run_is_not_counted() {
        let mut tracker = tracker();
        // Another run, no such slot, from the future, no stamp.
        tracker.take(&frame(8, 0, 0, 0), 5);
        tracker.take(&frame(7, 3, 0, 0), 5);
        tracker.take(&frame(7, 0, 0, 6), 5);
        tracker.take(&[0; 60], 5);
        assert_eq!((tracker.strays, tracker.total.packets), (4, 0));
    }
}
