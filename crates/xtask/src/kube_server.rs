//! A real Kubernetes API server for tests, built from Debian's sources into a cache outside of the clone.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};
use mooring_lab::cache;

use crate::{debian, workspace};

/// Builds it, unless it is there. Minutes, once for a machine.
///
/// # Errors
/// When Debian's mirror cannot be reached, or what it has does not build.
pub(crate) fn install() -> Result<()> {
    let folder = cache(NAME);
    let wanted = format!("{VERSION} {}", PROGRAMS.join(" "));
    if fs::read_to_string(folder.join(STAMP)).is_ok_and(|found| found.trim_end() == wanted) {
        println!("{} is up to date", folder.display());
        return Ok(());
    }
    debian::require(debian::KUBE_SERVER)?;
    println!("building {} into {} (minutes, once)", PROGRAMS.join(" and "), folder.display());
    // Made beside it and renamed, so that nobody sees half of it.
    let fresh = folder.with_extension(format!("new-{}", std::process::id()));
    fs::create_dir_all(&fresh)?;
    let script = workspace::root().join("tests/kube/server/build.sh");
    workspace::run(Command::new("bash").arg(script).arg(&fresh).arg(VERSION).args(PROGRAMS))?;
    fs::write(fresh.join(STAMP), format!("{wanted}\n"))?;
    if folder.exists() {
        fs::remove_dir_all(&folder).context("cannot remove the old one")?;
    }
    fs::rename(&fresh, &folder).with_context(|| format!("cannot make {}", folder.display()))
}

const NAME: &str = "kube-1.20.2";
const STAMP: &str = ".stamp";
/// Of the source package.
const VERSION: &str = "1.20.5+really1.20.2-1.1+deb12u1";
const PROGRAMS: [&str; 2] = ["kube-apiserver", "kube-controller-manager"];
