//! Which build of the appliance the labs run, and of other programs of ours.
//!
//! One build for all lab tests: the profile that the tests themselves have (normally `dev`:
//! optimised, with overflow checks and debug assertions on). Cargo brings it up to date before a
//! test, so a stale binary is never judged. `MOORING_BIN` names another one, e.g. the demo's
//! release build.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The binary that this lab runs.
///
/// # Errors
/// When `MOORING_BIN` is not set: only [`crate::isolation`] starts labs, and it sets it.
pub fn mooring_binary() -> Result<PathBuf> {
    env::var_os(VARIABLE).map(PathBuf::from).with_context(|| format!("{VARIABLE} is not set"))
}

/// Builds the appliance as this test was built, unless `MOORING_BIN` names one.
pub(crate) fn build() -> Result<PathBuf> {
    built("mooring", VARIABLE)
}

/// Builds the program that has the name of its package as this test was built, unless the environment variable names
/// one.
///
/// # Errors
/// When it does not build, or there is no file of the name that the variable has.
pub fn built(package: &str, variable: &str) -> Result<PathBuf> {
    if let Some(named) = env::var_os(variable).map(PathBuf::from) {
        ensure!(named.is_file(), "{variable}: no such file: {}", named.display());
        return Ok(named);
    }
    let test = env::current_exe()?;
    // <target>/<profile>/deps/<test>
    let built = test.ancestors().nth(2).context("a test binary lies in target/PROFILE/deps")?;
    let profile = match built.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(other) => other,
    };
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // What cargo told this test of its own package: a build script that looks at it (ring's does) would
    // run again, and everything above it would be built anew, for each package that asks.
    for (name, _) in env::vars_os() {
        let of_package = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_BIN_"];
        if name.to_str().is_some_and(|name| of_package.iter().any(|of| name.starts_with(of))) {
            command.env_remove(name);
        }
    }
    let status = command
        .args(["build", "--quiet", "--package", package, "--profile", profile])
        .arg("--target-dir")
        .arg(built.parent().unwrap_or(built))
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "{package} does not build");
    Ok(built.join(package))
}

pub(crate) const VARIABLE: &str = "MOORING_BIN";
