//! Results: what others read as JSON, and a table of the same.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2Serializer;
use hdrhistogram::serialization::interval_log::IntervalLogWriterBuilder;
use serde::Serialize;

use crate::search::Found;
use crate::trial::{Outcome, Received};

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
}

/// What came.
#[derive(Debug, Serialize)]
struct ReceivedReport {
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

#[derive(Debug, Serialize)]
struct Latency {
    min: u64,
    mean: f64,
    p50: u64,
    p90: u64,
    p99: u64,
    p99_9: u64,
    max: u64,
}

/// What a search found.
#[derive(Debug, Serialize)]
pub(crate) struct SearchReport {
    /// Always "search".
    mode: &'static str,
    /// The part of a trial's packets that might be lost.
    loss_bound: f64,
    /// Packets a second that the rate may be too low by.
    precision_pps: u64,
    /// How long each trial was.
    trial_seconds: f64,
    /// Trials that the rate passed once it was found.
    confirmations: u32,
    #[serde(flatten)]
    found: Found,
}

impl RunReport {
    pub(crate) fn new(rate_pps: Option<u64>, outcome: &Outcome) -> Self {
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
                let buckets = received.tracker.buckets.iter().zip(&sent.buckets);
                ReceivedReport {
                    total: ArrivalsReport::new(sent.packets, &received.tracker.total),
                    overflow: received.overflow,
                    strays: received.tracker.strays,
                    buckets: buckets.map(|(came, sent)| ArrivalsReport::new(*sent, came)).collect(),
                }
            }),
        }
    }

    /// Prints a table.
    pub(crate) fn print(&self) {
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
}

impl ArrivalsReport {
    fn new(sent: u64, came: &crate::tracker::Arrivals) -> Self {
        let lost = sent.saturating_sub(came.packets);
        Self {
            sent,
            packets: came.packets,
            bytes: came.bytes,
            lost,
            loss: if sent == 0 { 0.0 } else { lost as f64 / sent as f64 },
            duplicates: came.duplicates,
            reordered: came.reordered,
            latency_ns: (!came.latency.is_empty()).then(|| Latency::of(&came.latency)),
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
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile);
        Self {
            min: histogram.min(),
            mean: histogram.mean(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            max: histogram.max(),
        }
    }
}

impl SearchReport {
    pub(crate) fn new(asked: &crate::cli::Search, found: Found) -> Self {
        Self {
            mode: "search",
            loss_bound: asked.loss,
            precision_pps: asked.precision,
            trial_seconds: asked.trial.as_secs_f64(),
            confirmations: asked.confirmations,
            found,
        }
    }

    /// Prints a table.
    pub(crate) fn print(&self) {
        print_cells(&["rate pps", "sent pps", "sent", "lost", ""].map(str::to_owned));
        for trial in &self.found.trials {
            print_cells(&[
                trial.rate_pps.to_string(),
                format!("{:.0}", trial.sent_pps),
                trial.sent.to_string(),
                trial.lost.to_string(),
                if trial.passed { "passed" } else { "" }.to_owned(),
            ]);
        }
        println!();
        let rate = self.found.rate_pps.map_or("none".to_owned(), |rate| format!("{rate} pps"));
        row("loss-free rate", &rate);
        row("at most lost", &format!("{} %", self.loss_bound * 100.0));
        if self.found.is_lower_bound {
            row("note", "the device may take more: the generator did not go or get higher");
        }
    }
}

/// Writes the latencies of a run as a log of HdrHistogram, which its tools read.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn write_log(path: &Path, received: &Received, time: Duration) -> Result<()> {
    let shown = || path.display().to_string();
    let mut file = BufWriter::new(File::create(path).with_context(shown)?);
    let mut serializer = V2Serializer::new();
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("latencies in nanoseconds, by mooring-pktgen")
        .begin_log_with(&mut file, &mut serializer)
        .with_context(shown)?;
    log.write_histogram(&received.tracker.total.latency, Duration::ZERO, time, None)
        .map_err(|error| anyhow!("{}: {error:?}", path.display()))
}

fn row(name: &str, value: &str) {
    println!("{name:<18} {value}");
}

fn print_cells(cells: &[String]) {
    let line: String = cells.iter().map(|cell| format!("{cell:>12}")).collect();
    println!("{}", line.trim_end());
}
