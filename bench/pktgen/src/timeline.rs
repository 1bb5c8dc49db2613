//! A run cut into intervals, by when packets were sent: so what was sent in one and what came of it are of
//! the same packets, however long they took.
//!
//! Latencies are kept as a histogram for the newest two intervals only. One is sealed when a packet of the
//! second interval after it comes; what comes later still is counted there, but not in its latencies.

use std::sync::mpsc;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Intervals of one length, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u64,
    pub(crate) length: u64,
}

impl Span {
    /// The interval that a moment is in. There are no more than [`MOST`]: all that is later is in the last.
    pub(crate) fn index(self, time: u64) -> usize {
        let index = time.saturating_sub(self.start) / self.length.max(1);
        (index as usize).min(MOST - 1)
    }
}

/// Latencies, in nanoseconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Latency {
    pub(crate) min: u64,
    pub(crate) mean: f64,
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    pub(crate) p99_9: u64,
    pub(crate) max: u64,
}

impl Latency {
    /// `None` when there are none.
    pub(crate) fn of(histogram: &Histogram<u64>) -> Option<Self> {
        let at = |quantile| histogram.value_at_quantile(quantile);
        (!histogram.is_empty()).then(|| Self {
            min: histogram.min(),
            mean: histogram.mean(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            max: histogram.max(),
        })
    }
}

/// What came of the packets of one interval.
#[derive(Clone, Debug, Default)]
pub(crate) struct Came {
    pub(crate) packets: u64,
    /// Of those that came before it was sealed.
    pub(crate) latency: Option<Latency>,
}

/// An interval that is sealed, for whoever listens.
pub(crate) struct Sealed {
    pub(crate) index: usize,
    pub(crate) packets: u64,
    pub(crate) latencies: Histogram<u64>,
}

/// Counts what comes, interval by interval.
pub(crate) struct Timeline {
    span: Span,
    intervals: Vec<Came>,
    /// Latencies of interval n stand in n modulo 2, for the newest two.
    open: [Histogram<u64>; 2],
    listener: Option<mpsc::Sender<Sealed>>,
}

impl Timeline {
    /// Latencies are counted as `like` counts them.
    pub(crate) fn new(
        span: Span,
        like: &Histogram<u64>,
        listener: Option<mpsc::Sender<Sealed>>,
    ) -> Self {
        let open = [0, 1].map(|_| Histogram::new_from(like));
        Self { span, intervals: vec![Came::default()], open, listener }
    }

    /// The first interval begins as `span` says. Before anything is counted.
    pub(crate) fn begin(&mut self, span: Span) {
        self.span = span;
    }

    /// A packet that was sent at `sent` has come after `latency` nanoseconds.
    pub(crate) fn count(&mut self, sent: u64, latency: u64) {
        let index = self.span.index(sent);
        while self.intervals.len() <= index {
            if let Some(sealed) = self.intervals.len().checked_sub(2) {
                self.seal(sealed);
            }
            self.open[self.intervals.len() % 2].reset();
            self.intervals.push(Came::default());
        }
        self.intervals[index].packets += 1;
        if index + 2 >= self.intervals.len() {
            self.open[index % 2].saturating_record(latency);
        }
    }

    /// All that came, in order.
    pub(crate) fn finish(mut self) -> Vec<Came> {
        let count = self.intervals.len();
        (count.saturating_sub(2)..count).for_each(|index| self.seal(index));
        self.intervals
    }

    fn seal(&mut self, index: usize) {
        let latencies = &self.open[index % 2];
        let interval = &mut self.intervals[index];
        interval.latency = Latency::of(latencies);
        if let Some(listener) = &self.listener {
            let (packets, latencies) = (interval.packets, latencies.clone());
            // Who has gone is not interested any more.
            let _ = listener.send(Sealed { index, packets, latencies });
        }
    }
}

/// Most intervals: a week of seconds.
const MOST: usize = 700_000;

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use hdrhistogram::Histogram;

    use super::{Span, Timeline};

    fn counted(packets: &[(u64, u64)]) -> (Vec<(u64, Option<u64>)>, Vec<usize>) {
        let (sender, receiver) = mpsc::channel();
        let like = Histogram::new(3).unwrap();
        let span = Span { start: 1_000, length: 100 };
        let mut timeline = Timeline::new(span, &like, Some(sender));
        for (sent, latency) in packets {
            timeline.count(*sent, *latency);
        }
        let came = timeline.finish();
        let maxima = came.iter().map(|came| (came.packets, came.latency.as_ref().map(|l| l.max)));
        (maxima.collect(), receiver.try_iter().map(|sealed| sealed.index).collect())
    }

    #[test]
    fn packets_count_where_they_were_sent() {
        let (came, sealed) =
            counted(&[(1_000, 7), (1_099, 50), (1_100, 9), (1_050, 8), (1_310, 5)]);
        assert_eq!(came, [(3, Some(50)), (1, Some(9)), (0, None), (1, Some(5))]);
        assert_eq!(sealed, [0, 1, 2, 3]);
    }

    #[test]
    fn what_comes_after_the_seal_is_counted_without_its_latency() {
        let (came, _) = counted(&[(1_000, 7), (1_200, 9), (1_001, 900), (1_150, 3)]);
        assert_eq!(came, [(2, Some(7)), (1, Some(3)), (1, Some(9))]);
    }

    #[test]
    fn a_run_without_packets_is_one_empty_interval() {
        assert_eq!(counted(&[]), (vec![(0, None)], vec![0]));
        // And what is far away does not fill the memory.
        assert_eq!(Span { start: 0, length: 1 }.index(u64::MAX), super::MOST - 1);
    }
}
