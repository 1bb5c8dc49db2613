//! `cargo xtask ci`: the test command, and what is the server's only.

use anyhow::Result;
use clap::Args;

use crate::mutants;
use crate::stages::Stages;
use crate::test;
use crate::workspace::{cargo, output};

/// Options of the verb.
#[derive(Debug, Args)]
pub(crate) struct Ci {
    /// The long run: ten minutes of each fuzz target instead of ten seconds, and the mutations
    #[arg(long)]
    long: bool,
}

impl Ci {
    /// Runs all stages.
    ///
    /// # Errors
    /// The first stage that fails.
    pub(crate) fn run(&self) -> Result<()> {
        let mut stages = Stages::new();
        stages.run("lock file", locked)?;
        let summary =
            test::run_stages(&mut stages, if self.long { LONG_SECONDS } else { SHORT_SECONDS })?;
        if self.long {
            stages.run("mutants", mutants::run)?;
        }
        stages.print_times();
        println!("\n{summary}");
        Ok(())
    }
}

/// The committed `Cargo.lock` fits the manifests.
fn locked() -> Result<()> {
    output(&mut cargo(&["metadata", "--locked", "--format-version", "1"])).map(drop)
}

const SHORT_SECONDS: u64 = 10;
const LONG_SECONDS: u64 = 600;
