//! What each mode does: what was asked for becomes a measurement, and that a report.

use std::sync::mpsc;
use std::time::Duration;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::{Connect, Run, Search, Soak};
use crate::invalid::Invalid;
use crate::report::{
    self, ConnectReport, LatencyLog, RunReport, SearchReport, SessionCapacityReport,
    SessionExpiryReport, SessionRateReport, SessionTeardownReport, SoakReport,
};
use crate::search::search;
use crate::session_cli as asked;
use crate::sessions::{self, Sides};
use crate::trial::{Bench, Plan};

/// # Errors
/// What makes no sense or cannot be opened, or that the log cannot be written.
pub(crate) fn run(asked: &Run) -> Result<RunReport> {
    asked.check()?;
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

/// # Errors
/// What makes no sense or cannot be opened, or that the log cannot be written.
pub(crate) fn soak(asked: &Soak) -> Result<SoakReport> {
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

/// # Errors
/// What makes no sense or cannot be opened.
pub(crate) fn find_rate(asked: &Search) -> Result<SearchReport> {
    let bounds = asked.bounds()?;
    let mut bench = Bench::open(&asked.traffic)?;
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

/// # Errors
/// What makes no sense or cannot be opened.
pub(crate) fn connect(asked: &Connect) -> Result<ConnectReport> {
    let load = asked.load()?;
    let bar = progress(None);
    let between = (asked.client_netns.as_deref(), asked.server_netns.as_deref());
    let outcome = crate::connect::connect(&load, between, |done| bar.set_position(done))?;
    bar.finish_and_clear();
    Ok(ConnectReport::new(&load, &outcome))
}

/// # Errors
/// What makes no sense or cannot be opened, or that a session cannot begin.
pub(crate) fn session_rate(asked: &asked::Rate) -> Result<SessionRateReport> {
    let bounds = asked.bounds()?;
    let mut sides = open(&asked.both, asked.sessions)?;
    let bar = progress(None);
    let load = (asked.sessions, asked.both.validation_rate);
    let found = sessions::rate(&mut sides, &bounds, load, |rate| {
        bar.set_message(format!("trial at {rate} sessions/s"));
        bar.tick();
    })?;
    bar.finish_and_clear();
    Ok(SessionRateReport::new(asked, found))
}

/// # Errors
/// What makes no sense or cannot be opened, or that a session cannot begin.
pub(crate) fn session_capacity(asked: &asked::Capacity) -> Result<SessionCapacityReport> {
    let search = asked.search()?;
    let mut sides = open(&asked.both, asked.first.max(asked.most))?;
    let bar = progress(None);
    let found = sessions::capacity(&mut sides, &search, |count| {
        bar.set_message(format!("{count} sessions"));
        bar.tick();
    })?;
    bar.finish_and_clear();
    Ok(SessionCapacityReport::new(asked, found))
}

/// # Errors
/// What makes no sense or cannot be opened, or that the command fails.
pub(crate) fn session_teardown(asked: &asked::Teardown) -> Result<SessionTeardownReport> {
    let mut sides = open(&asked.both, asked.sessions)?;
    let load = (asked.sessions, asked.begin.rate, asked.both.validation_rate);
    sessions::teardown(&mut sides, load, &asked.command).map(SessionTeardownReport::new)
}

/// # Errors
/// What makes no sense or cannot be opened, or that a session cannot begin.
pub(crate) fn session_expiry(asked: &asked::Expiry) -> Result<SessionExpiryReport> {
    Invalid::unless(asked.probes <= asked.sessions, || {
        "--probes are at other sessions each: no more than --sessions".to_owned()
    })?;
    let mut sides = open(&asked.both, asked.sessions)?;
    let bar = progress(Some(asked.probes.into()));
    let load = (asked.sessions, asked.begin.rate, asked.both.validation_rate);
    let found = sessions::expiry(&mut sides, load, (asked.watch, asked.probes), |nth, alive| {
        bar.set_position(nth);
        bar.set_message(format!("{alive} alive"));
    })?;
    bar.finish_and_clear();
    Ok(SessionExpiryReport::new(found))
}

fn open(both: &asked::Both, sessions: u32) -> Result<Sides> {
    Sides::open(&both.path, sessions, both.reset.as_deref())
}

/// A bar if it is known how many packets there will be; nothing where there is no terminal.
fn progress(packets: Option<u64>) -> ProgressBar {
    let (bar, style) = match packets {
        Some(packets) => (ProgressBar::new(packets), "{bar:40} {human_pos} of {human_len}, {eta}"),
        None => (ProgressBar::new_spinner(), "{spinner} {human_pos} packets {msg}"),
    };
    bar.with_style(ProgressStyle::with_template(style).expect("the template is well-formed"))
}
