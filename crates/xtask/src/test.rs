//! `cargo xtask test`: installs what is missing, then runs everything there is.
//!
//! Three builds are made: the `dev` profile for all tests (the labs run its appliance, with overflow
//! checks and debug assertions on), a static one without optimisation for the image that labs run, and the
//! release build that the demo shows and in which instructions are counted.

use std::io::{BufRead, BufReader, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::stages::Stages;
use crate::workspace::{self, cargo};
use crate::{debian, fuzz, kube_server, kube_tools, tidy};

/// How long the tests are that can be of any length.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    /// Of each fuzz target.
    pub(crate) fuzz_seconds: u64,
    /// How long the API server is away from agents that carry traffic.
    pub(crate) outage_seconds: &'static str,
    /// Of what happens to agents that share a link.
    pub(crate) sequences: &'static str,
}

/// Runs all stages.
///
/// # Errors
/// The first stage that fails.
pub(crate) fn run() -> Result<()> {
    let mut stages = Stages::new();
    let summary = run_stages(&mut stages, SHORT)?;
    stages.print_times();
    println!("\n{summary}");
    Ok(())
}

/// Runs the stages of the test command and returns the test runner's summary.
///
/// # Errors
/// The first stage that fails.
pub(crate) fn run_stages(stages: &mut Stages, extent: Extent) -> Result<String> {
    stages.run("packages", install)?;
    stages.run("format", || workspace::run(&mut cargo(&["fmt", "--all", "--check"])))?;
    stages.run("tidy", tidy::run)?;
    stages.run("clippy", || workspace::run(&mut cargo(CLIPPY)))?;
    stages.run("build", || workspace::run(&mut cargo(&["build", "--workspace"])))?;
    let image = stages.run("image", image)?;
    let summary = stages.run("tests", || tests(&image, extent))?;
    stages.run("doc tests", || {
        workspace::run(&mut cargo(&["test", "--quiet", "--workspace", "--doc"]))
    })?;
    stages.run("documents", documents)?;
    // A process of its own: this program's file may have been built anew meanwhile.
    stages.run("demo", || workspace::run(&mut cargo(&["xtask", "demo"])))?;
    // Never anew: that is for who means it.
    stages.run("instructions", || {
        workspace::run(cargo(&["xtask", "bench", "gate"]).env_remove("BLESS"))
    })?;
    stages.run("fuzz", || fuzz::run(extent.fuzz_seconds))?;
    Ok(summary)
}

/// What the tests need beside Rust.
///
/// # Errors
/// When something cannot be installed.
pub(crate) fn install() -> Result<()> {
    debian::require(debian::TEST)?;
    kube_tools::install()?;
    kube_server::install()
}

/// The image that the labs run, of this machine's architecture; a process of its own, as the demo.
fn image() -> Result<PathBuf> {
    let folder = workspace::target()?.join("image-test");
    let mut command = cargo(&["xtask", "image", "--profile", "image-test"]);
    command.args(["--arch", std::env::consts::ARCH]).arg("--output").arg(&folder);
    workspace::run(&mut command)?;
    Ok(folder.join("mooring.oci.tar"))
}

/// All tests but those in documentation; returns the runner's summary.
fn tests(image: &Path, extent: Extent) -> Result<String> {
    let nextest = workspace::has_cargo_command("nextest");
    let mut command = cargo(if nextest { NEXTEST } else { CARGO_TEST });
    if std::io::stderr().is_terminal() {
        command.env("CARGO_TERM_COLOR", "always");
    }
    let built = workspace::target()?.join("debug");
    command.env("MOORING_BIN", built.join("mooring"));
    command.env("MOORING_PKTGEN", built.join("mooring-pktgen"));
    command.env("MOORING_IMAGE", image).env("MOORING_OUTAGE", extent.outage_seconds);
    command.env("MOORING_SEQUENCES", extent.sequences);
    let results =
        echo(&mut command, |line| line.contains("Summary [") || line.starts_with("test result:"))?;
    Ok(if nextest { results.join("\n") } else { total(&results) })
}

fn documents() -> Result<()> {
    let mut command = cargo(&["doc", "--workspace", "--no-deps"]);
    workspace::run(command.env("RUSTDOCFLAGS", "-D warnings"))
}

/// Runs a command, shows what it prints and returns the lines that are `wanted`.
fn echo(command: &mut Command, wanted: impl Fn(&str) -> bool) -> Result<Vec<String>> {
    // One pipe for both: the two runners use different ones.
    let (reader, writer) = std::io::pipe()?;
    let mut child = command
        .stdout(Stdio::from(writer.try_clone()?))
        .stderr(Stdio::from(writer))
        .spawn()
        .context("cannot run the tests")?;
    // The command holds the other ends of the pipe: without this it would never close.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut kept = Vec::new();
    for line in BufReader::new(reader).lines() {
        let line = line?;
        println!("{line}");
        if wanted(&line) {
            kept.push(line);
        }
    }
    ensure!(child.wait()?.success(), "tests failed, see above");
    Ok(kept)
}

/// One line from the lines of each test binary, `test result: ok. 3 passed; 0 failed; ...`.
fn total(results: &[String]) -> String {
    let sum = |what: &str| -> u64 {
        let numbers = results.iter().flat_map(|line| line.split(['.', ';']));
        numbers.filter_map(|part| part.trim().strip_suffix(what)?.trim().parse::<u64>().ok()).sum()
    };
    format!(
        "test result: {} passed, {} failed, {} ignored in {} test binaries",
        sum("passed"),
        sum("failed"),
        sum("ignored"),
        results.len()
    )
}

/// The packages that know no kernel: their unit tests run on any machine, also an emulated one.
pub(crate) const PURE: &[&str] = &[
    "mooring-wire",
    "mooring-packet",
    "mooring-session",
    "mooring-policy",
    "mooring-nat",
    "mooring-engine",
];

/// For every change.
pub(crate) const SHORT: Extent = Extent { fuzz_seconds: 10, outage_seconds: "8", sequences: "300" };
const CLIPPY: &[&str] = &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
const NEXTEST: &[&str] = &["nextest", "run", "--workspace"];
// One at a time: the labs share the machine's few cores.
const CARGO_TEST: &[&str] =
    &["test", "--workspace", "--lib", "--bins", "--tests", "--", "--test-threads=1"];

#[cfg(test)]
mod tests {
    #[test]
    fn the_results_of_all_binaries_are_added_up() {
        let line = |passed: u8| {
            format!("test result: ok. {passed} passed; 0 failed; 1 ignored; 0 measured; 0 filtered")
        };
        assert_eq!(
            super::total(&[line(3), line(40)]),
            "test result: 43 passed, 0 failed, 2 ignored in 2 test binaries"
        );
    }
}
