//! The appliance: command line, threads, signals, and the loop that joins ports and engine.
//!
//! Start at [`run::worker`] for the loop, at [`cli`] for what a user can say.
#![forbid(unsafe_code)]
#![deny(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "they panic when the reader is gone; use `say`"
)]

pub mod check;
pub mod cli;
pub mod exit;
pub mod explain;
pub mod manual;
mod offline;
pub mod panic;
pub mod replay;
pub mod run;
mod say;
pub mod show;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Verb};
use crate::exit::Failure;

/// Does what the command line says.
#[must_use]
pub fn main() -> ExitCode {
    panic::install_hook();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return exit::usage(&error),
    };
    let done = match cli.verb {
        Verb::Run(arguments) => run::run(&arguments),
        Verb::Check(arguments) => check::check(&arguments),
        Verb::Show(arguments) => show::show(&arguments),
        Verb::Explain(arguments) => explain::explain(&arguments),
        Verb::Replay(arguments) => replay::replay(&arguments),
        Verb::Schema => manual::schema(),
        Verb::Completions(arguments) => manual::completions(&arguments),
        Verb::Man(arguments) => manual::man(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Version and commit, as `--version` shows them.
pub const VERSION: &str =
    concat!(env!("CARGO_PKG_VERSION"), " (commit ", env!("MOORING_COMMIT"), ")");

/// Turns errors of any kind into one that ends the process with code 1.
pub(crate) fn failed(message: &impl ToString, hint: Option<String>) -> Failure {
    Failure { code: exit::FAILED, message: message.to_string(), hint }
}
