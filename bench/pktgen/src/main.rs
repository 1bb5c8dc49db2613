//! A packet generator and receiver: it sends flows of packets at a rate, from one device to another, and
//! measures what becomes of them between: loss, order, latency, the highest rate without loss. What is
//! between, a NAT for one, it does not know.
//!
//! ```text
//!   flows ── which one is next ──┐
//!   template ── its bytes ───────┼─ transmit ── device ─ ... ─ device ── receive ── tracker
//!   pacing ── how many are due ──┘                                                     │
//!   search ── at which rate ── trial: both sides together ─────────────────────── report
//! ```
#![forbid(unsafe_code)]

mod cli;
mod clock;
mod flows;
mod lab_only;
mod namespace;
mod pacing;
mod receive;
mod report;
mod search;
mod stamp;
mod template;
mod tracker;
mod transmit;
mod trial;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::cli::{Cli, Mode, Run, Search};
use crate::lab_only::Outside;
use crate::report::{RunReport, SearchReport};
use crate::search::{Bounds, search};
use crate::trial::Bench;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.mode {
        Mode::Run(run) => measure(run).and_then(|report| show(cli.json, &report, RunReport::print)),
        Mode::Search(asked) => {
            find_rate(asked).and_then(|report| show(cli.json, &report, SearchReport::print))
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            // 2 is for arguments that are wrong, as everywhere.
            if error.is::<Outside>() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

fn measure(run: &Run) -> Result<RunReport> {
    let mut bench = Bench::open(&run.traffic)?;
    let bar = progress(run.rate.map(|rate| {
        let all = (rate as f64 * run.duration.as_secs_f64()) as u64;
        all.min(run.count.unwrap_or(u64::MAX))
    }));
    let outcome = bench.run(run.rate, run.duration, run.count, |sent| bar.set_position(sent))?;
    bar.finish_and_clear();
    if let (Some(path), Some(received)) = (&run.histogram_log, &outcome.received) {
        report::write_log(path, received, outcome.sent.time)?;
    }
    Ok(RunReport::new(run.rate, &outcome))
}

fn find_rate(asked: &Search) -> Result<SearchReport> {
    asked.check()?;
    let mut bench = Bench::open(&asked.traffic)?;
    let bounds = Bounds {
        lowest: asked.lowest,
        highest: asked.highest,
        precision: asked.precision,
        loss: asked.loss,
        offered: asked.offered,
        repeats: asked.repeats,
        confirmations: asked.confirmations,
    };
    let bar = progress(None);
    let found = search(&bounds, |rate| {
        bar.set_message(format!("trial at {rate} packets/s"));
        let outcome = bench.run(Some(rate), asked.trial, None, |sent| bar.set_position(sent))?;
        Ok((outcome.sent_pps(), outcome.sent.packets, outcome.lost()))
    })?;
    bar.finish_and_clear();
    Ok(SearchReport::new(asked, found))
}

fn show<T: Serialize>(json: bool, report: &T, print: impl Fn(&T)) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(report).context("a report is plain data")?);
    } else {
        print(report);
    }
    Ok(())
}

/// A bar if it is known how many packets there will be; nothing where there is no terminal.
fn progress(packets: Option<u64>) -> ProgressBar {
    let (bar, style) = match packets {
        Some(packets) => (ProgressBar::new(packets), "{bar:40} {human_pos} of {human_len}, {eta}"),
        None => (ProgressBar::new_spinner(), "{spinner} {human_pos} packets {msg}"),
    };
    bar.with_style(ProgressStyle::with_template(style).expect("the template is well-formed"))
}
