//! `cargo xtask ci`: the test command, and what is the server's only.

use anyhow::Result;
use clap::Args;

use crate::mutants;
use crate::stages::Stages;
use crate::test::{self, Extent};
use crate::workspace::{self, cargo, output};

/// Options of the verb.
#[derive(Debug, Args)]
pub(crate) struct Ci {
    /// The long run: ten minutes of each fuzz target instead of ten seconds, a minute without the API server, the
    /// image for both architectures built twice, and the mutations
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
        let extent = if self.long { LONG } else { test::SHORT };
        let summary = test::run_stages(&mut stages, extent)?;
        if self.long {
            // A process of its own: this program's file may have been built anew meanwhile.
            stages.run("images", || workspace::run(&mut cargo(IMAGES)))?;
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

const LONG: Extent = Extent { fuzz_seconds: 600, outage_seconds: "60", sequences: "3000" };
/// Both architectures must be there, and two builds of them the same; the other one's program is run by an emulator.
const IMAGES: &[&str] = &[
    "xtask",
    "image",
    "--profile",
    "image-test",
    "--arch",
    "x86_64",
    "--arch",
    "aarch64",
    "--twice",
];
