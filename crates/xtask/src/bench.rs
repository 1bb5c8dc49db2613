//! `cargo xtask bench`: measurements.

use std::process::Command;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::debian;
use crate::workspace::{cargo, run, target};

/// Options of the verb.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The engine alone, without a kernel in the way
    Engine {
        /// Handed on to the benchmark, e.g. `--json`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Bytes that a session takes, of a million, table by table
    Memory,
    /// The appliance against kernel nftables, between the same real hosts
    Lab {
        /// Handed on to the benchmark, e.g. `--json` or `--pairs 3 --case tcp_bulk`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

impl Bench {
    /// Builds in release and measures.
    ///
    /// # Errors
    /// When the build or the benchmark fails.
    pub(crate) fn run(&self) -> Result<()> {
        match &self.what {
            What::Engine { arguments } => run(measure("mooring-bench-engine").args(arguments)),
            What::Memory => run(measure("mooring-bench-engine").args(MEMORY)),
            What::Lab { arguments } => {
                debian::require(debian::BENCH)?;
                run(&mut cargo(&["build", "--quiet", "--release", "--package", "mooring"]))?;
                let mooring = target()?.join("release").join("mooring");
                let mut command = measure("mooring-bench-lab");
                run(command.arg("--mooring").arg(mooring).args(arguments))
            }
        }
    }
}

const MEMORY: [&str; 3] = ["--memory", "--sessions", "1000000"];

/// The command that builds a benchmark in release and runs it.
fn measure(package: &str) -> Command {
    cargo(&["run", "--quiet", "--release", "--package", package, "--"])
}
