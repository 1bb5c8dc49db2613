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

mod about;
mod cli;
mod clock;
mod flows;
mod invalid;
mod lab_only;
mod namespace;
mod pacing;
mod page;
mod receive;
mod report;
mod search;
mod stamp;
mod template;
mod timeline;
mod tracker;
mod traffic;
mod transmit;
mod trial;

use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::Result;
use clap::{CommandFactory, FromArgMatches};
use indicatif::{ProgressBar, ProgressStyle};

use crate::about::About;
use crate::cli::{Cli, Mode, Run, Search, Soak};
use crate::invalid::Invalid;
use crate::report::{LatencyLog, RunReport, SearchReport, SoakReport, give};
use crate::search::{Bounds, search};
use crate::trial::{Bench, Plan};

fn main() -> ExitCode {
    let mut command = Cli::command();
    let matches = command.get_matches_mut();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let about = About::of(cli::parameters(&command, &matches));
    match measure(&cli, &about) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            // 2 is for arguments that are wrong, as everywhere.
            if error.is::<Invalid>() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

fn measure(cli: &Cli, about: &About) -> Result<()> {
    match &cli.mode {
        Mode::Run(asked) => give(cli, about, &run(asked)?),
        Mode::Search(asked) => give(cli, about, &find_rate(asked)?),
        Mode::Soak(asked) => give(cli, about, &soak(asked)?),
    }
}

fn run(asked: &Run) -> Result<RunReport> {
    let mut bench = Bench::open(&asked.traffic)?;
    let mut log = asked.histogram_log.as_deref().map(LatencyLog::create).transpose()?;
    let bar = progress(asked.rate.map(|rate| {
        let all = (rate as f64 * asked.duration.as_secs_f64()) as u64;
        all.min(asked.count.unwrap_or(u64::MAX))
    }));
    let interval = asked.intervals();
    let Run { rate, duration: time, count, .. } = *asked;
    let plan = Plan { rate, time, count, interval, listener: None };
    let outcome = bench.run(plan, |sent| bar.set_position(sent.packets))?;
    bar.finish_and_clear();
    if let (Some(log), Some(received)) = (&mut log, &outcome.received) {
        log.begin()?.write(Duration::ZERO, outcome.sent.time, &received.total.latency)?;
    }
    Ok(RunReport::new(rate, &outcome, interval))
}

fn soak(asked: &Soak) -> Result<SoakReport> {
    asked.check()?;
    let mut bench = Bench::open(&asked.traffic)?;
    let mut log = asked.histogram_log.as_deref().map(LatencyLog::create).transpose()?;
    let mut log = log.as_mut().map(LatencyLog::begin).transpose()?;
    let Soak { rate, duration: time, interval, .. } = *asked;
    let bar = progress(Some((rate as f64 * time.as_secs_f64()) as u64));
    let (listener, sealed) = mpsc::channel();
    let plan = Plan { rate: Some(rate), time, count: None, interval, listener: Some(listener) };
    let mut failure = None;
    let mut tell = |sent: &[u64]| {
        for sealed in sealed.try_iter() {
            let packets = sent.get(sealed.index).copied().unwrap_or(0);
            bar.suspend(|| eprintln!("{}", report::line(&sealed, interval, packets)));
            let start = interval.mul_f64(sealed.index as f64);
            let written = log.as_mut().map(|log| log.write(start, interval, &sealed.latencies));
            failure = written.and_then(Result::err).or(failure.take());
        }
    };
    let outcome = bench.run(plan, |sent| {
        bar.set_position(sent.packets);
        tell(&sent.intervals);
    })?;
    tell(&outcome.sent.intervals);
    bar.finish_and_clear();
    failure.map_or(Ok(()), Err)?;
    Ok(SoakReport::new(rate, &outcome, interval))
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
    let time = asked.trial;
    let found = search(&bounds, |rate| {
        bar.set_message(format!("trial at {rate} packets/s"));
        let plan = Plan { rate: Some(rate), time, count: None, interval: time, listener: None };
        let outcome = bench.run(plan, |sent| bar.set_position(sent.packets))?;
        Ok((outcome.sent_pps(), outcome.sent.packets, outcome.lost()))
    })?;
    bar.finish_and_clear();
    Ok(SearchReport::new(asked, found))
}

/// A bar if it is known how many packets there will be; nothing where there is no terminal.
fn progress(packets: Option<u64>) -> ProgressBar {
    let (bar, style) = match packets {
        Some(packets) => (ProgressBar::new(packets), "{bar:40} {human_pos} of {human_len}, {eta}"),
        None => (ProgressBar::new_spinner(), "{spinner} {human_pos} packets {msg}"),
    };
    bar.with_style(ProgressStyle::with_template(style).expect("the template is well-formed"))
}
