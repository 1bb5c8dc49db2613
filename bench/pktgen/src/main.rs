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
mod connect;
mod flows;
mod invalid;
mod lab_only;
mod live;
mod modes;
mod namespace;
mod pacing;
mod page;
mod receive;
mod report;
mod search;
mod session_cli;
mod sessions;
mod stamp;
mod template;
mod timeline;
mod tracker;
mod traffic;
mod transmit;
mod trial;

use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory, FromArgMatches};

use crate::about::About;
use crate::cli::{Cli, Mode};
use crate::invalid::Invalid;
use crate::report::give;
use crate::session_cli::Measure;

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
        Mode::Run(asked) => give(cli, about, &modes::run(asked)?),
        Mode::Search(asked) => give(cli, about, &modes::find_rate(asked)?),
        Mode::Soak(asked) => give(cli, about, &modes::soak(asked)?),
        Mode::Connect(asked) => give(cli, about, &modes::connect(asked)?),
        Mode::Sessions(Measure::Rate(asked)) => give(cli, about, &modes::session_rate(asked)?),
        Mode::Sessions(Measure::Capacity(asked)) => {
            give(cli, about, &modes::session_capacity(asked)?)
        }
        Mode::Sessions(Measure::Teardown(asked)) => {
            give(cli, about, &modes::session_teardown(asked)?)
        }
        Mode::Sessions(Measure::Expiry(asked)) => give(cli, about, &modes::session_expiry(asked)?),
    }
}
