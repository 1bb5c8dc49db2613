//! Rows: for people, and as the contract of the measurements has them.

use hdrhistogram::Histogram;
use mooring_bench_figures::{median, rounded, spread};
use serde_json::{Value, json};

use crate::clock::Rate;
use crate::flows::Family;

/// The runs of one case.
pub(crate) struct Row {
    case: &'static str,
    family: Family,
    sessions: u32,
    bytes_per_session: f64,
    /// Frames compared with the oracle.
    pub(crate) verified: u64,
    /// Clocks a packet of each run.
    runs: Vec<f64>,
    /// Clocks of each batch of all runs.
    batches: Histogram<u64>,
    clocks: u64,
    packets: u64,
}

impl Row {
    pub(crate) fn new(case: &'static str, family: Family, sessions: u32, bytes: f64) -> Self {
        let batches = Histogram::new_with_bounds(1, 1 << 40, 3);
        Self {
            case,
            family,
            sessions,
            bytes_per_session: bytes,
            verified: 0,
            runs: Vec::new(),
            batches: batches.expect("the bounds are in order"),
            clocks: 0,
            packets: 0,
        }
    }

    /// A batch of the run.
    pub(crate) fn batch(&mut self, clocks: u64, packets: u64) {
        self.clocks += clocks;
        self.packets += packets;
        self.batches.saturating_record(clocks);
    }

    /// The run is over.
    pub(crate) fn end_run(&mut self) {
        self.runs.push(self.clocks as f64 / self.packets as f64);
        (self.clocks, self.packets) = (0, 0);
    }

    pub(crate) fn json(&self, rate: Rate) -> Value {
        let clocks = median(&self.runs);
        json!({
            "case": self.case,
            "family": self.family.to_string(),
            "sessions": self.sessions,
            "clocks_per_packet": rounded(clocks, 10.0),
            "ns_per_packet": rounded(rate.nanos(clocks), 100.0),
            "bytes_per_session": rounded(self.bytes_per_session, 10.0),
            "verified": self.verified,
            "spread": rounded(spread(&self.runs), 1000.0),
            "runs": self.runs.len(),
            "batch_p999_us": rounded(self.p999_micros(rate), 10.0),
        })
    }

    pub(crate) fn line(&self, rate: Rate) -> String {
        let clocks = median(&self.runs);
        let nanos = rate.nanos(clocks);
        format!(
            "{:<16} {:<6} {:>10} {clocks:>8.1} {nanos:>8.2} {:>7.2} {:>7.1} {:>10} {:>6.3} {:>9.1}",
            self.case,
            self.family,
            self.sessions,
            1e3 / nanos,
            self.bytes_per_session,
            self.verified,
            spread(&self.runs),
            self.p999_micros(rate),
        )
    }

    fn p999_micros(&self, rate: Rate) -> f64 {
        rate.nanos(self.batches.value_at_quantile(0.999) as f64) / 1e3
    }
}

/// What stands above the lines.
pub(crate) fn heading() -> String {
    format!(
        "{:<16} {:<6} {:>10} {:>8} {:>8} {:>7} {:>7} {:>10} {:>6} {:>9}",
        "case",
        "family",
        "sessions",
        "clocks",
        "ns",
        "Mpps",
        "bytes",
        "verified",
        "spread",
        "p99.9 us"
    )
}

#[cfg(test)]
mod tests {
    use super::Row;
    use crate::clock::Rate;
    use crate::flows::Family;

    #[test]
    fn a_row_has_the_fields_that_others_read() {
        let mut row = Row::new("hit_out", Family::V6, 1_000, 288.0);
        row.batch(25_600, 256);
        row.end_run();
        let row = row.json(Rate::measure());
        let fields = row.as_object().map(|row| row.keys().map(String::as_str).collect::<Vec<_>>());
        let contract = [
            "case",
            "family",
            "sessions",
            "clocks_per_packet",
            "ns_per_packet",
            "bytes_per_session",
            "verified",
            "spread",
        ];
        assert_eq!(fields.as_deref().map(|fields| &fields[..8]), Some(&contract[..]));
        assert_eq!((&row["family"], &row["clocks_per_packet"]), (&"ipv6".into(), &100.0.into()));
    }
}
