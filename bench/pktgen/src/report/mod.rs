//! Results: what others read as JSON, a table of the same, and a page with plots.

mod connect;
mod interval;
mod log;
mod run;
mod search;
mod sessions;
mod soak;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::about::About;
use crate::cli::Cli;
use crate::page::Page;

pub(crate) use connect::ConnectReport;
pub(crate) use log::LatencyLog;
pub(crate) use run::RunReport;
pub(crate) use search::SearchReport;
pub(crate) use sessions::{
    SessionCapacityReport, SessionExpiryReport, SessionRateReport, SessionTeardownReport,
};
pub(crate) use soak::{SoakReport, line};

/// What a mode measured.
pub(crate) trait Report: Serialize {
    /// Prints a table.
    fn print(&self);

    /// What a page shows of it.
    fn page(&self) -> Page;
}

/// A report with where and how it was measured.
#[derive(Serialize)]
struct Document<'r, R> {
    #[serde(flatten)]
    report: &'r R,
    about: &'r About,
}

/// Gives the report out as it was asked for.
///
/// # Errors
/// When the page cannot be written.
pub(crate) fn give<R: Report>(cli: &Cli, about: &About, report: &R) -> Result<()> {
    if cli.json {
        let document = Document { report, about };
        println!("{}", serde_json::to_string_pretty(&document).context("a report is plain data")?);
    } else {
        report.print();
    }
    cli.report.as_ref().map_or(Ok(()), |path| report.page().write(path, about))
}

fn row(name: &str, value: &str) {
    println!("{name:<18} {value}");
}

fn print_cells(cells: &[String]) {
    let line: String = cells.iter().map(|cell| format!("{cell:>12}")).collect();
    println!("{}", line.trim_end());
}

/// The part of `all` that `some` is; nothing of nothing.
fn part(some: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { some as f64 / all as f64 }
}
