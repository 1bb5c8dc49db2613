//! How long the appliance takes from its start until it forwards, and how much memory it then has, by the room for
//! sessions that it is told to make.
//!
//! It runs in a lab, translates both families, and all of its tables are there from the start. What a session takes is
//! the difference to an appliance with next to no room, divided by the room: that of both families together.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use mooring_bench_figures::{median, most, rounded, spread};
use mooring_lab::clock::Stopwatch;
use mooring_lab::{Appliance, Config, Lab, isolation};
use serde_json::{Value, json};

/// Starts the appliance again and again.
#[derive(Debug, Parser)]
struct Arguments {
    /// Room for so many sessions, of each family
    #[arg(long, value_delimiter = ',', default_values_t = [1_000_000, 4_128_768], value_parser = clap::value_parser!(u32).range(10_000..))]
    sessions: Vec<u32>,
    /// Starts for each figure
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u64).range(1..))]
    runs: u64,
    /// One JSON document for machines
    #[arg(long)]
    json: bool,
    /// The appliance's binary
    #[arg(long)]
    mooring: PathBuf,
}

/// The starts with one room.
struct Row {
    sessions: u32,
    ready_ms: Vec<f64>,
    resident_kib: Vec<f64>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    isolation::run(&arguments.mooring, || {
        let lab = Lab::new()?;
        let rooms = [NEXT_TO_NONE].into_iter().chain(arguments.sessions.iter().copied());
        let mut rows: Vec<Row> = rooms.map(Row::new).collect();
        for run in 0..arguments.runs {
            eprint!("\rstart {} of {} ", run + 1, arguments.runs);
            for row in &mut rows {
                row.start(&lab)?;
            }
        }
        eprintln!();
        let (base, rows) = rows.split_first().context("there is one with next to no room")?;
        if arguments.json {
            let rows = rows.iter().map(|row| row.json(base)).collect();
            println!("{:#}", Value::Array(rows));
        } else {
            print_table(base, rows);
        }
        Ok(())
    })
}

impl Row {
    const fn new(sessions: u32) -> Self {
        Self { sessions, ready_ms: Vec::new(), resident_kib: Vec::new() }
    }

    /// Starts once, and ends it.
    fn start(&mut self, lab: &Lab) -> Result<()> {
        let config =
            Config::dual_stack().appliance(&format!("\n[limits]\nsessions = {}", self.sessions));
        let watch = Stopwatch::start();
        let appliance = Appliance::start(&lab.gateway, &config)?;
        self.ready_ms.push(watch.elapsed().as_secs_f64() * 1e3);
        let resident = appliance.of_threads("VmRSS")?;
        let kib = resident.first().and_then(|kib| kib.strip_suffix("kB")?.trim().parse().ok());
        self.resident_kib.push(kib.with_context(|| format!("kilobytes: {resident:?}"))?);
        appliance.stop()?;
        Ok(())
    }

    /// Bytes that a session of each family takes, together.
    fn bytes_a_session(&self, base: &Self) -> f64 {
        let more = 1024.0 * (median(&self.resident_kib) - median(&base.resident_kib));
        more / f64::from(self.sessions - base.sessions)
    }

    fn json(&self, base: &Self) -> Value {
        json!({
            "sessions": self.sessions,
            "ready_ms": rounded(median(&self.ready_ms), 10.0),
            "slowest_ms": rounded(most(&self.ready_ms), 10.0),
            "ready_ms_with_next_to_no_room": rounded(median(&base.ready_ms), 10.0),
            "resident_mib": rounded(median(&self.resident_kib) / 1024.0, 10.0),
            "bytes_a_session_of_both_families": rounded(self.bytes_a_session(base), 10.0),
            "budget": BUDGET,
            "spread": rounded(spread(&self.ready_ms), 1000.0),
            "runs": self.ready_ms.len(),
        })
    }
}

fn print_table(base: &Row, rows: &[Row]) {
    println!(
        "{:>10} {:>10} {:>8} {:>14} {:>44} {:>8}",
        "sessions",
        "ready ms",
        "slowest",
        "resident MiB",
        "bytes a session of each family, together",
        "budget"
    );
    for row in [base].into_iter().chain(rows) {
        let bytes = match row.sessions {
            NEXT_TO_NONE => "-".to_owned(),
            _ => format!("{:.1}", row.bytes_a_session(base)),
        };
        println!(
            "{:>10} {:>10.1} {:>8.1} {:>14.1} {bytes:>44} {BUDGET:>8}",
            row.sessions,
            median(&row.ready_ms),
            most(&row.ready_ms),
            median(&row.resident_kib) / 1024.0,
        );
    }
}

/// As little room as makes no difference.
const NEXT_TO_NONE: u32 = 1_000;

/// Bytes: 192 of IPv4 and 288 of IPv6, with endpoint-independent mappings.
const BUDGET: u32 = 480;

#[cfg(test)]
mod tests {
    use super::Row;

    #[test]
    fn a_session_takes_what_its_room_adds() {
        let row = |sessions, kib| Row { sessions, ready_ms: vec![1.0], resident_kib: vec![kib] };
        let bytes = row(1_001_000, 401_000.0).bytes_a_session(&row(1_000, 1_000.0));
        assert!((bytes - 409.6).abs() < 1e-9, "{bytes}");
    }
}
