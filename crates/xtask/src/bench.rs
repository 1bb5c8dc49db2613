//! `cargo xtask bench`: measurements.

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::workspace::{cargo, run};

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
}

impl Bench {
    /// Builds in release and measures.
    ///
    /// # Errors
    /// When the build or the benchmark fails.
    pub(crate) fn run(&self) -> Result<()> {
        let What::Engine { arguments } = &self.what;
        let mut command =
            cargo(&["run", "--quiet", "--release", "--package", "mooring-bench-engine", "--"]);
        run(command.args(arguments))
    }
}
