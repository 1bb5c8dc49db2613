//! Where the workspace lies, and the commands that run in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// The folder of the root `Cargo.toml`.
pub(crate) fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("this package lies in crates/xtask")
}

/// Cargo, in the root of the workspace.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root()).stdin(Stdio::null());
    // What cargo told this program of its own package: a build script that looks at it (ring's does)
    // would run again, and everything above it would be built anew, after each build without it.
    for (name, _) in std::env::vars_os() {
        let of_package = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_BIN_"];
        if name.to_str().is_some_and(|name| of_package.iter().any(|of| name.starts_with(of))) {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command to its end, its output shown.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {}", words(command)))?;
    ensure!(status.success(), "{} failed ({status})", words(command));
    Ok(())
}

/// What a command prints.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run {}", words(command)))?;
    ensure!(output.status.success(), "{} failed ({})", words(command), output.status);
    String::from_utf8(output.stdout).context("text")
}

/// `cargo metadata` without dependencies, of the workspace or of the package at `manifest`.
pub(crate) fn metadata(manifest: Option<&Path>) -> Result<Value> {
    let mut command = cargo(&["metadata", "--no-deps", "--format-version", "1"]);
    if let Some(manifest) = manifest {
        command.arg("--manifest-path").arg(manifest);
    }
    Ok(serde_json::from_str(&output(&mut command)?)?)
}

/// The folder for everything that is built.
pub(crate) fn target() -> Result<PathBuf> {
    let metadata = metadata(None)?;
    Ok(metadata["target_directory"].as_str().context("a target directory")?.into())
}

/// The appliance's version.
pub(crate) fn version() -> Result<String> {
    let metadata = metadata(None)?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let mut ours = packages.filter(|package| package["name"] == "mooring");
    let version = ours.next().and_then(|package| package["version"].as_str());
    Ok(version.context("the package mooring has a version")?.to_owned())
}

/// When the commit was made, in seconds since 1970.
pub(crate) fn commit_time() -> Result<u64> {
    git(&["log", "-1", "--format=%ct"])?.parse().context("the commit's time")
}

/// The same as RFC 3339 writes it.
pub(crate) fn commit_date() -> Result<String> {
    let format = "--date=format-local:%Y-%m-%dT%H:%M:%SZ";
    git(&["log", "-1", "--format=%cd", format])
}

/// The commit, with `-dirty` where tracked files are other than it says.
pub(crate) fn revision() -> Result<String> {
    let commit = git(&["rev-parse", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Ok(if changed.is_empty() { commit } else { format!("{commit}-dirty") })
}

fn git(arguments: &[&str]) -> Result<String> {
    let mut git = Command::new("git");
    git.current_dir(root()).env("TZ", "UTC").args(arguments);
    Ok(output(&mut git)?.trim().to_owned())
}

/// The SHA-256 of a file, in hexadecimal digits.
pub(crate) fn sum(file: &Path) -> Result<String> {
    Ok(hex(&fs::read(file).with_context(|| file.display().to_string())?))
}

/// The SHA-256 of bytes, in hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The files that git knows or would take up, from the root on.
pub(crate) fn tracked() -> Result<Vec<String>> {
    let mut git = Command::new("git");
    git.current_dir(root()).args(["ls-files", "--cached", "--others", "--exclude-standard"]);
    Ok(output(&mut git)?.lines().map(str::to_owned).collect())
}

/// Whether Cargo has this subcommand.
pub(crate) fn has_cargo_command(name: &str) -> bool {
    let quiet = cargo(&[name, "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    quiet.is_ok_and(|status| status.success())
}

/// The program's name and its arguments.
pub(crate) fn words(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let mut words = program.to_string_lossy().into_owned();
    for argument in command.get_args() {
        words.push(' ');
        words.push_str(&argument.to_string_lossy());
    }
    words
}
