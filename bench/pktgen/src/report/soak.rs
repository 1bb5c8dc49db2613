//! What a long run measured, and whether it ended as it began.

use std::time::Duration;

use serde::Serialize;

use super::interval::Interval;
use super::run::RunReport;
use super::{Report, part, print_cells, row};
use crate::page::{Figure, Page, Table, Unit, name};
use crate::timeline::{Latency, Sealed};
use crate::trial::Outcome;

/// What a long run measured.
#[derive(Debug, Serialize)]
pub(crate) struct SoakReport {
    /// Always "soak".
    mode: &'static str,
    /// How long an interval is.
    interval_seconds: f64,
    /// Null when there are fewer than four intervals.
    drift: Option<Drift>,
    /// What a run says, its intervals among it.
    run: RunReport,
}

/// How the last quarter of the intervals differs from the first one.
#[derive(Debug, PartialEq, Serialize)]
struct Drift {
    first: Quarter,
    last: Quarter,
    /// The median latency of the last quarter, of the first one's.
    p50_ratio: Option<f64>,
    /// The same of the 99th percentile.
    p99_ratio: Option<f64>,
}

/// Medians over intervals, but for the loss, which is of all their packets.
#[derive(Debug, PartialEq, Serialize)]
struct Quarter {
    loss: f64,
    p50_ns: Option<u64>,
    p99_ns: Option<u64>,
    /// The longest of all.
    max_ns: Option<u64>,
}

impl SoakReport {
    /// Of a run that was counted in intervals of this length.
    pub(crate) fn new(rate: u64, outcome: &Outcome, interval: Duration) -> Self {
        let run = RunReport::new(Some(rate), outcome, interval);
        let drift = Drift::of(&run.intervals);
        Self { mode: "soak", interval_seconds: interval.as_secs_f64(), drift, run }
    }
}

impl Drift {
    fn of(intervals: &[Interval]) -> Option<Self> {
        let quarter = intervals.len() / 4;
        if quarter == 0 {
            return None;
        }
        let first = Quarter::of(&intervals[..quarter]);
        let last = Quarter::of(&intervals[intervals.len() - quarter..]);
        let ratio =
            |of: fn(&Quarter) -> Option<u64>| Some(of(&last)? as f64 / of(&first)?.max(1) as f64);
        let (p50_ratio, p99_ratio) = (ratio(|q| q.p50_ns), ratio(|q| q.p99_ns));
        Some(Self { p50_ratio, p99_ratio, first, last })
    }
}

impl Quarter {
    fn of(intervals: &[Interval]) -> Self {
        let sum = |count: fn(&Interval) -> u64| intervals.iter().map(count).sum();
        let values = |value: fn(&Latency) -> u64| {
            let all = intervals.iter().filter_map(|interval| interval.latency_ns.as_ref());
            let mut all: Vec<u64> = all.map(value).collect();
            all.sort_unstable();
            all
        };
        let median = |all: Vec<u64>| all.get(all.len() / 2).copied();
        Self {
            loss: part(sum(|interval| interval.lost), sum(|interval| interval.sent)),
            p50_ns: median(values(|latency| latency.p50)),
            p99_ns: median(values(|latency| latency.p99)),
            max_ns: values(|latency| latency.max).last().copied(),
        }
    }

    fn cells(&self, of: &str) -> Vec<String> {
        let time =
            |time: Option<u64>| time.map_or("-".to_owned(), |ns| name(Unit::Time, ns as f64));
        let loss = name(Unit::Part, self.loss);
        vec![of.to_owned(), loss, time(self.p50_ns), time(self.p99_ns), time(self.max_ns)]
    }
}

impl Report for SoakReport {
    fn print(&self) {
        self.run.print();
        println!();
        let Some(drift) = &self.drift else {
            row("drift", "too few intervals to tell");
            return;
        };
        print_cells(&["", "loss", "p50", "p99", "max"].map(str::to_owned));
        print_cells(&drift.first.cells("first 1/4"));
        print_cells(&drift.last.cells("last 1/4"));
        let ratio =
            |ratio: Option<f64>| ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.3}"));
        row(
            "last to first",
            &format!("p50 {}, p99 {}", ratio(drift.p50_ratio), ratio(drift.p99_ratio)),
        );
    }

    fn page(&self) -> Page {
        let mut page = self.run.page();
        page.title = "A long run".to_owned();
        let Some(drift) = &self.drift else { return page };
        let ratio = |name, ratio: Option<f64>| {
            Figure::new(name, ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.3}")))
        };
        page.figures.push(ratio("median, last to first quarter", drift.p50_ratio));
        page.figures.push(ratio("99 %, last to first quarter", drift.p99_ratio));
        page.tables.insert(
            0,
            Table {
                title: "How it ended, compared with how it began",
                head: ["intervals", "lost", "median", "99 %", "longest"]
                    .map(str::to_owned)
                    .to_vec(),
                rows: vec![drift.first.cells("first quarter"), drift.last.cells("last quarter")],
            },
        );
        page
    }
}

/// One interval for whoever watches; `sent` are the packets that were sent in it.
pub(crate) fn line(sealed: &Sealed, interval: Duration, sent: u64) -> String {
    let latency = Latency::of(&sealed.latencies);
    let time = |of: fn(&Latency) -> u64| {
        latency.as_ref().map_or("-".to_owned(), |latency| name(Unit::Time, of(latency) as f64))
    };
    format!(
        "{:>10.1} s  sent {sent}  lost {}  p50 {}  p99 {}  max {}",
        interval.as_secs_f64() * sealed.index as f64,
        sent.saturating_sub(sealed.packets),
        time(|latency| latency.p50),
        time(|latency| latency.p99),
        time(|latency| latency.max),
    )
}

#[cfg(test)]
mod tests {
    use super::{Drift, Interval};
    use crate::timeline::Latency;

    fn interval(lost: u64, p50: u64) -> Interval {
        let latency =
            Latency { min: 1, mean: 1.0, p50, p90: p50, p99: 2 * p50, p99_9: p50, max: 9 * p50 };
        Interval {
            from_seconds: 0.0,
            seconds: 1.0,
            sent: 100,
            packets: 100 - lost,
            lost,
            loss: lost as f64 / 100.0,
            latency_ns: Some(latency),
        }
    }

    #[test]
    fn drift_is_the_last_quarter_against_the_first() {
        let mut all: Vec<_> = (0..12).map(|_| interval(0, 100)).collect();
        all[1] = interval(3, 5_000);
        all[9..].fill_with(|| interval(6, 250));
        let drift = Drift::of(&all).unwrap();
        // One bad interval is not the beginning, but its packets are lost.
        assert_eq!((drift.first.p50_ns, drift.first.loss), (Some(100), 0.01));
        assert_eq!((drift.last.p50_ns, drift.last.loss), (Some(250), 0.06));
        assert_eq!((drift.p50_ratio, drift.p99_ratio), (Some(2.5), Some(2.5)));
        assert_eq!((drift.first.max_ns, drift.last.max_ns), (Some(45_000), Some(2_250)));
        assert_eq!(Drift::of(&all[..3]), None);
    }
}
