//! What a run measured: for others as JSON, for people as a table and a page.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::interval::{self, Interval};
use super::{Report, part, print_cells, row};
use crate::page::{self, Axis, Colour, Figure, Page, Plot, Scale, Series, Shape, Table, Unit};
use crate::timeline::Latency;
use crate::trial::Outcome;

/// What a run measured.
#[derive(Debug, Serialize)]
pub(crate) struct RunReport {
    /// Always "run".
    mode: &'static str,
    /// Packets a second that were asked for; null is as many as the device takes.
    rate_pps: Option<u64>,
    /// Packets a second that the device took.
    sent_pps: f64,
    /// Packets that the device took.
    sent: u64,
    /// Their bytes, without preamble and check sequence.
    sent_bytes: u64,
    /// Packets that the device had no room for. Not counted as sent.
    refused: u64,
    /// Packets that were due while the generator was too slow. Not counted as sent.
    behind: u64,
    /// How long it sent.
    seconds: f64,
    /// What came; null without a receiver.
    received: Option<ReceivedReport>,
    /// The run over time.
    pub(super) intervals: Vec<Interval>,
    /// Parts of the packets and the latency that so many did not exceed.
    #[serde(skip)]
    quantiles: Vec<(f64, f64)>,
}

/// What came.
#[derive(Debug, Serialize)]
pub(super) struct ReceivedReport {
    #[serde(flatten)]
    total: ArrivalsReport,
    /// Frames that the receiver had no room for; they count as lost, but the measurement lost them.
    overflow: u64,
    /// Frames that are none of this run's.
    strays: u64,
    /// The same by groups of flows: flow n is in group n modulo their number.
    buckets: Vec<ArrivalsReport>,
}

#[derive(Debug, Serialize)]
struct ArrivalsReport {
    /// Packets that were sent.
    sent: u64,
    /// Packets that came, each counted once.
    packets: u64,
    /// Their bytes, without preamble and check sequence.
    bytes: u64,
    /// Packets that did not come.
    lost: u64,
    /// The part of the sent ones that did not come.
    loss: f64,
    /// Packets that came again.
    duplicates: u64,
    /// Packets that came after a later one of their flow (RFC 4737 §3.3).
    reordered: u64,
    /// From the batch's time stamp to when this program saw it; null if nothing came.
    latency_ns: Option<Latency>,
}

impl RunReport {
    /// Of a run that was counted in intervals of this length.
    pub(crate) fn new(rate_pps: Option<u64>, outcome: &Outcome, interval: Duration) -> Self {
        let sent = &outcome.sent;
        Self {
            mode: "run",
            rate_pps,
            sent_pps: outcome.sent_pps(),
            sent: sent.packets,
            sent_bytes: sent.bytes,
            refused: sent.refused,
            behind: sent.forgotten,
            seconds: sent.time.as_secs_f64(),
            received: outcome.received.as_ref().map(|received| {
                let buckets = received.buckets.iter().zip(&sent.buckets);
                ReceivedReport {
                    total: ArrivalsReport::new(sent.packets, &received.total),
                    overflow: received.overflow,
                    strays: received.strays,
                    buckets: buckets.map(|(came, sent)| ArrivalsReport::new(*sent, came)).collect(),
                }
            }),
            intervals: interval::intervals(outcome, interval),
            quantiles: outcome
                .received
                .as_ref()
                .map_or(Vec::new(), |received| quantiles(&received.total.latency)),
        }
    }
}

impl Report for RunReport {
    fn print(&self) {
        let rate = self.rate_pps.map_or("as fast as it goes".to_owned(), |r| format!("{r} pps"));
        row("asked for", &rate);
        row("sent", &format!("{} in {:.3} s, {:.0} pps", self.sent, self.seconds, self.sent_pps));
        let bits = self.sent_bytes as f64 * 8.0 / self.seconds;
        row("bytes", &format!("{}, {:.3} Gb/s", self.sent_bytes, bits / 1e9));
        row("refused, behind", &format!("{}, {}", self.refused, self.behind));
        let Some(received) = &self.received else { return };
        let total = &received.total;
        row("received", &total.packets.to_string());
        row("lost", &format!("{} ({:.4} %)", total.lost, total.loss * 100.0));
        row("overflow, strays", &format!("{}, {}", received.overflow, received.strays));
        row("reordered, twice", &format!("{}, {}", total.reordered, total.duplicates));
        println!();
        let head = ["flows", "sent", "lost", "reordered", "p50 us", "p99 us", "p99.9 us", "max us"];
        print_cells(&head.map(str::to_owned));
        let parts = received.buckets.iter().enumerate();
        for (name, part) in parts
            .map(|(n, part)| (format!("{n} mod {}", received.buckets.len()), part))
            .chain([("all".to_owned(), total)])
        {
            part.print(name);
        }
    }

    fn page(&self) -> Page {
        let mut plots = interval::plots(&self.intervals, self.rate_pps, self.received.is_some());
        plots.extend((!self.quantiles.is_empty()).then(|| self.percentiles()));
        Page {
            title: "A run at an offered rate".to_owned(),
            figures: self.figures(),
            plots,
            tables: self.received.iter().map(ReceivedReport::table).collect(),
            notes: self.notes(),
        }
    }
}

impl RunReport {
    pub(super) fn figures(&self) -> Vec<Figure> {
        let mut figures =
            vec![Figure::new("packets a second sent", page::name(Unit::Count, self.sent_pps))];
        let Some(received) = &self.received else { return figures };
        let total = &received.total;
        figures.push(Figure::new("lost", page::name(Unit::Part, total.loss)));
        if let Some(latency) = &total.latency_ns {
            let time = |time: u64| page::name(Unit::Time, time as f64);
            figures.push(Figure::new("median latency", time(latency.p50)));
            figures.push(Figure::new("latency of 99 %", time(latency.p99)));
            figures.push(Figure::new("latency of 99.9 %", time(latency.p99_9)));
        }
        figures
    }

    fn percentiles(&self) -> Plot {
        percentile_plot(
            "Latency by percentile",
            "How long a packet took, for so many of all. Every mark to the right leaves out a tenth as many, up \
             to the slowest single packet."
                .to_owned(),
            vec![("latency", Colour::First, self.quantiles.clone())],
        )
    }

    /// What makes a figure less than it seems.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.behind > 0 {
            notes.push(format!(
                "The generator was too slow for {} packets that were due: they were not sent.",
                self.behind
            ));
        }
        let overflow = self.received.as_ref().map_or(0, |received| received.overflow);
        if overflow > 0 {
            notes.push(format!(
                "The receiver itself had no room for {overflow} frames, which count as lost here."
            ));
        }
        notes
    }
}

/// A name, its colour, and the [`quantiles`].
pub(super) type Distribution = (&'static str, Colour, Vec<(f64, f64)>);

/// Times by the part of all that they were enough for.
pub(super) fn percentile_plot(
    title: &'static str,
    caption: String,
    all: Vec<Distribution>,
) -> Plot {
    let series =
        |(name, colour, points): Distribution| Series { name, shape: Shape::Line, colour, points };
    Plot {
        title,
        caption,
        x: Axis { label: "part of all", scale: Scale::Nines, unit: Unit::Part },
        y: Axis { label: "time", scale: Scale::Log, unit: Unit::Time },
        series: all.into_iter().map(series).collect(),
        limit: None,
    }
}

/// Points of the distribution, denser towards its end; the last is the slowest packet.
pub(super) fn quantiles(histogram: &Histogram<u64>) -> Vec<(f64, f64)> {
    // Of n packets the slowest is the one that n - 1 were faster than.
    let last = 1.0 - 1.0 / (histogram.len().max(2) as f64);
    histogram
        .iter_quantiles(POINTS_PER_HALF)
        .map(|point| (point.quantile().min(last), point.value_iterated_to() as f64))
        .collect()
}

impl ReceivedReport {
    fn table(&self) -> Table {
        let head = [
            "flows",
            "sent",
            "lost",
            "loss",
            "reordered",
            "twice",
            "median",
            "99 %",
            "99.9 %",
            "longest",
        ];
        let parts = self.buckets.iter().enumerate();
        let rows = parts
            .map(|(n, part)| (format!("{n} mod {}", self.buckets.len()), part))
            .chain([("all".to_owned(), &self.total)])
            .map(|(name, part)| part.cells(name));
        Table {
            title: "By groups of flows",
            head: head.map(str::to_owned).to_vec(),
            rows: rows.collect(),
        }
    }
}

impl ArrivalsReport {
    fn new(sent: u64, came: &crate::tracker::Arrivals) -> Self {
        let lost = sent.saturating_sub(came.packets);
        Self {
            sent,
            packets: came.packets,
            bytes: came.bytes,
            lost,
            loss: part(lost, sent),
            duplicates: came.duplicates,
            reordered: came.reordered,
            latency_ns: Latency::of(&came.latency),
        }
    }

    fn print(&self, name: String) {
        let latency = self.latency_ns.as_ref();
        let of = |value: fn(&Latency) -> u64| {
            latency.map_or("-".to_owned(), |latency| format!("{:.1}", value(latency) as f64 / 1e3))
        };
        print_cells(&[
            name,
            self.sent.to_string(),
            self.lost.to_string(),
            self.reordered.to_string(),
            of(|latency| latency.p50),
            of(|latency| latency.p99),
            of(|latency| latency.p99_9),
            of(|latency| latency.max),
        ]);
    }

    fn cells(&self, name: String) -> Vec<String> {
        let mut cells = vec![name, self.sent.to_string(), self.lost.to_string()];
        cells.push(page::name(Unit::Part, self.loss));
        cells.extend([self.reordered, self.duplicates].map(|count| count.to_string()));
        let latency = self.latency_ns.as_ref();
        let times = latency.map(|latency| [latency.p50, latency.p99, latency.p99_9, latency.max]);
        let times = times.map_or([const { String::new() }; 4], |times| {
            times.map(|time| page::name(Unit::Time, time as f64))
        });
        cells.extend(times);
        cells
    }
}

/// Of the distribution: points for each half of what is left.
const POINTS_PER_HALF: u32 = 8;

#[cfg(test)]
mod tests {
    use hdrhistogram::Histogram;

    use super::quantiles;

    #[test]
    fn the_distribution_ends_with_the_slowest_packet() {
        let mut histogram = Histogram::<u64>::new(3).unwrap();
        (0..990).for_each(|_| histogram.record(100).unwrap());
        (0..9).for_each(|_| histogram.record(200).unwrap());
        histogram.record(700).unwrap();
        let points = quantiles(&histogram);
        let at =
            |part: f64| points.iter().find(|point| point.0 >= part - 1e-9).map(|point| point.1);
        assert_eq!((at(0.5), at(0.98), at(0.995)), (Some(100.0), Some(100.0), Some(200.0)));
        assert_eq!(points.last().map(|point| point.1), Some(700.0));
        assert!(points.iter().all(|point| point.0 <= 0.999));
        assert!(points.is_sorted_by(|a, b| a.0 <= b.0 && a.1 <= b.1));
    }
}
