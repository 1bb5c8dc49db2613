//! What became of TCP connections.

use serde::Serialize;

use super::run::{percentile_plot, quantiles};
use super::{Report, row};
use crate::connect::{Failures, Load, Outcome};
use crate::page::{Axis, Colour, Figure, Page, Plot, Scale, Series, Shape, Table, Unit, name};
use crate::timeline::Latency;

/// What became of TCP connections.
#[derive(Debug, Serialize)]
pub(crate) struct ConnectReport {
    /// Always "connect".
    mode: &'static str,
    /// Connections at a time, at most.
    concurrent: u32,
    /// Connections a second that were to begin; null is as many as there was room for.
    rate_per_second: Option<u64>,
    seconds: f64,
    /// Connections whose answer was read to its end.
    connections: u64,
    connections_per_second: f64,
    failed: Failures,
    /// Connections that had not ended when the time was over.
    unfinished: u64,
    /// Until a connection stood; null if none did.
    connect_ns: Option<Latency>,
    /// From the beginning until the answer was read to its end.
    whole_ns: Option<Latency>,
    intervals: Vec<Interval>,
    #[serde(skip)]
    quantiles: [Vec<(f64, f64)>; 2],
}

/// Connections that ended in an interval.
#[derive(Debug, Serialize)]
struct Interval {
    from_seconds: f64,
    seconds: f64,
    connections: u64,
    failed: u64,
}

impl ConnectReport {
    pub(crate) fn new(load: &Load, outcome: &Outcome) -> Self {
        let (length, seconds) = (load.interval.as_secs_f64(), outcome.time.as_secs_f64());
        let interval = |(n, [connections, failed]): (usize, &[u64; 2])| {
            let from_seconds = n as f64 * length;
            let seconds = length.min(seconds - from_seconds).max(f64::MIN_POSITIVE);
            Interval { from_seconds, seconds, connections: *connections, failed: *failed }
        };
        Self {
            mode: "connect",
            concurrent: load.concurrent,
            rate_per_second: load.rate,
            seconds,
            connections: outcome.done,
            connections_per_second: outcome.done as f64 / seconds.max(f64::MIN_POSITIVE),
            failed: outcome.failed,
            unfinished: outcome.unfinished,
            connect_ns: Latency::of(&outcome.connecting),
            whole_ns: Latency::of(&outcome.whole),
            intervals: outcome.intervals.iter().enumerate().map(interval).collect(),
            quantiles: [&outcome.connecting, &outcome.whole].map(quantiles),
        }
    }

    fn failures(&self) -> [(&'static str, u64); 6] {
        let Failures { refused, reset, timed_out, no_port, cut, other } = self.failed;
        [
            ("refused", refused),
            ("reset", reset),
            ("timed out", timed_out),
            ("no port left", no_port),
            ("answer cut", cut),
            ("other", other),
        ]
    }

    fn over_time(&self) -> Plot {
        let series = |name, colour, count: fn(&Interval) -> u64| Series {
            name,
            shape: Shape::Line,
            colour,
            // A last interval that has hardly begun has no rate.
            points: self
                .intervals
                .iter()
                .filter(|interval| interval.seconds * 2.0 > self.intervals[0].seconds)
                .map(|interval| {
                    let middle = interval.from_seconds + interval.seconds / 2.0;
                    (middle, count(interval) as f64 / interval.seconds)
                })
                .collect(),
        };
        let mut all = vec![series("answered", Colour::First, |interval| interval.connections)];
        if self.failed.all() > 0 {
            all.push(series("failed", Colour::Bad, |interval| interval.failed));
        }
        Plot {
            title: "Connections over time",
            caption: "Connections a second, by when they ended.".to_owned(),
            x: Axis { label: "time since the run began", scale: Scale::Tight, unit: Unit::Seconds },
            y: Axis { label: "connections a second", scale: Scale::Linear, unit: Unit::Count },
            series: all,
            limit: self.rate_per_second.map(|rate| (rate as f64, "asked for".to_owned())),
        }
    }
}

impl Report for ConnectReport {
    fn print(&self) {
        row("connections", &format!("{} in {:.3} s", self.connections, self.seconds));
        row("a second", &format!("{:.0}", self.connections_per_second));
        for (name, count) in self.failures().into_iter().filter(|(_, count)| *count > 0) {
            row(name, &count.to_string());
        }
        row("unfinished", &self.unfinished.to_string());
        for (name, latency) in [("connected", &self.connect_ns), ("whole", &self.whole_ns)] {
            let Some(latency) = latency else { continue };
            let us =
                [latency.p50, latency.p99, latency.p99_9, latency.max].map(|ns| ns as f64 / 1e3);
            let [p50, p99, p99_9, max] = us;
            row(name, &format!("p50 {p50:.1} us, p99 {p99:.1}, p99.9 {p99_9:.1}, max {max:.1}"));
        }
    }

    fn page(&self) -> Page {
        let time = |latency: &Option<Latency>, of: fn(&Latency) -> u64| {
            latency.as_ref().map_or("-".to_owned(), |latency| name(Unit::Time, of(latency) as f64))
        };
        let [connecting, whole] = self.quantiles.clone();
        let failed = name(Unit::Count, self.failed.all() as f64);
        let failures =
            self.failures().map(|(name, count)| vec![name.to_owned(), count.to_string()]);
        Page {
            title: "TCP connections: connect, request, answer, close".to_owned(),
            figures: vec![
                Figure::new("connections a second", name(Unit::Count, self.connections_per_second)),
                Figure::new("failed", failed),
                Figure::new("median until connected", time(&self.connect_ns, |latency| latency.p50)),
                Figure::new("median of the whole", time(&self.whole_ns, |latency| latency.p50)),
                Figure::new("99 % of the whole", time(&self.whole_ns, |latency| latency.p99)),
            ],
            plots: vec![
                self.over_time(),
                percentile_plot(
                    "Time by percentile",
                    "How long it took until a connection stood, and until its answer was read to the end."
                        .to_owned(),
                    vec![
                        ("connected", Colour::First, connecting),
                        ("whole", Colour::Second, whole),
                    ],
                ),
            ],
            tables: vec![Table {
                title: "Connections that failed",
                head: ["of what", "connections"].map(str::to_owned).to_vec(),
                rows: failures.to_vec(),
            }],
            notes: Vec::new(),
        }
    }
}
