//! `cargo xtask fuzz`: builds the targets of `tests/fuzz` with coverage instrumentation on the
//! stable compiler and runs each for a while.
//!
//! The committed corpus (`tests/fuzz/corpus/TARGET`) is read, what is found on the way stays below
//! the target folder; inputs that fail are kept in `tests/fuzz/artifacts/TARGET`.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;

use crate::workspace::{self, cargo, root};

/// Options of the verb.
#[derive(Debug, Args)]
pub(crate) struct Fuzz {
    /// Seconds for each target
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

impl Fuzz {
    /// Runs every target.
    ///
    /// # Errors
    /// When a target finds something, or does not build.
    pub(crate) fn run(&self) -> Result<()> {
        run(self.seconds)
    }
}

/// Runs every target for so many seconds.
///
/// # Errors
/// When a target finds something, or does not build.
pub(crate) fn run(seconds: u64) -> Result<()> {
    let package = root().join("tests/fuzz");
    let manifest = package.join("Cargo.toml");
    if !manifest.is_file() {
        println!("there is no fuzz target yet");
        return Ok(());
    }
    let build = workspace::target()?.join("fuzz");
    // Naming the target keeps the flags away from build scripts.
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut command = cargo(&["build", "--release", "--target", &target, "--target-dir"]);
    command.arg(&build).arg("--manifest-path").arg(&manifest).env("RUSTFLAGS", INSTRUMENTATION);
    workspace::run(&mut command)?;

    for name in targets(&manifest)? {
        println!("{name}: {seconds} s");
        let found = build.join("corpus").join(&name);
        let committed = package.join("corpus").join(&name);
        let artifacts = package.join("artifacts").join(&name);
        fs::create_dir_all(&found)?;
        fs::create_dir_all(&artifacts)?;
        let mut fuzzer = Command::new(build.join(&target).join("release").join(&name));
        fuzzer.arg(found).args(committed.is_dir().then_some(committed));
        fuzzer.arg(format!("-max_total_time={seconds}"));
        fuzzer.arg(format!("-artifact_prefix={}/", artifacts.display()));
        workspace::run(fuzzer.args(OPTIONS))?;
    }
    Ok(())
}

/// The names of all binaries of the fuzz package.
fn targets(manifest: &Path) -> Result<Vec<String>> {
    let metadata = workspace::metadata(Some(manifest))?;
    let targets = metadata["packages"][0]["targets"].as_array().context("targets")?;
    let bins = targets.iter().filter(|target| target["kind"][0] == "bin");
    bins.map(|bin| Ok(bin["name"].as_str().context("a name")?.to_owned())).collect()
}

const INSTRUMENTATION: &str = "-Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";
const OPTIONS: &[&str] =
    &["-timeout=10", "-rss_limit_mb=2048", "-verbosity=0", "-print_final_stats=1"];
