//! `cargo xtask dist`: what is given to others. For each architecture one static binary, with the
//! licences of everything that is in it, in `target/dist/mooring-VERSION-ARCH.tar.gz`, and SHA256SUMS.
//!
//! The same commit and compiler give the same bytes, wherever it is built: paths of this machine are
//! replaced, times are the commit's, the linker is the compiler's own (docs/decisions/0006).

mod archive;

use std::fs;

use anyhow::Result;
use clap::Args;

use crate::cross::{self, Arch};
use crate::stages::Stages;
use crate::workspace::{self, run};
use crate::{debian, test};

/// Options of the verb.
#[derive(Debug, Args)]
pub(crate) struct Dist {
    /// Only this architecture
    #[arg(long, value_enum)]
    arch: Option<Arch>,
    /// Build a second time from nothing, and compare
    #[arg(long)]
    twice: bool,
    /// Leave out the unit tests under emulation
    #[arg(long)]
    no_tests: bool,
}

impl Dist {
    /// Builds, tests and packs.
    ///
    /// # Errors
    /// The first stage that fails.
    pub(crate) fn run(&self) -> Result<()> {
        let mut stages = Stages::new();
        let architectures = self.arch.map_or(Arch::ALL.to_vec(), |arch| vec![arch]);
        stages.run("packages", || debian::require(debian::DIST))?;
        stages.run("targets", || architectures.iter().try_for_each(|arch| arch.prepare()))?;
        let folder = workspace::target()?.join("dist");
        fs::create_dir_all(&folder)?;
        let mut archives = Vec::new();
        for arch in &architectures {
            let binary = stages.run(arch.stage(), || arch.build("target", "release"))?;
            if self.twice {
                stages.run("again", || cross::compare(*arch, &binary))?;
            }
            if *arch == Arch::Aarch64 && !self.no_tests {
                stages.run("emulated tests", emulated_tests)?;
            }
            archives.push(stages.run("archive", || archive::pack(*arch, &binary, &folder))?);
        }
        let sums = archive::sums(&folder, &archives)?;
        stages.print_times();
        println!("\n{sums}\nin {}", folder.display());
        Ok(())
    }
}

/// The unit tests of the crates that know no kernel, on the other architecture.
fn emulated_tests() -> Result<()> {
    let mut command = Arch::Aarch64.cargo(&["test", "--quiet", "--lib"])?;
    for package in test::PURE {
        command.args(["--package", package]);
    }
    // Emulation is slow: fewer cases of each property.
    run(command.env("PROPTEST_CASES", "16"))
}
