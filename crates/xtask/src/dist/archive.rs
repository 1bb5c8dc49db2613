//! The archives, and their checksums.

use std::fmt::Write;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::cross::Arch;
use crate::licences;
use crate::workspace::{commit_time, root, run, sum, version};

/// Packs the binary, our licences and those of others; gives the archive's path.
pub(super) fn pack(arch: Arch, binary: &Path, folder: &Path) -> Result<PathBuf> {
    let name = format!("mooring-{}-{}", version()?, arch.name());
    let content = folder.join(&name);
    if content.exists() {
        fs::remove_dir_all(&content)?;
    }
    fs::create_dir_all(&content)?;
    fs::copy(binary, content.join("mooring"))?;
    for file in ["LICENSE-APACHE", "LICENSE-MIT", "README.md", "CHANGELOG.md"] {
        fs::copy(root().join(file), content.join(file)).with_context(|| file.to_owned())?;
    }
    fs::write(content.join("THIRD-PARTY-LICENSES"), licences::collect(arch.triple())?)?;
    let archive = folder.join(format!("{name}.tar.gz"));
    tar(folder, &name, &archive)?;
    fs::remove_dir_all(&content)?;
    let sizes = [binary, &archive].map(|file| fs::metadata(file).map(|file| file.len()));
    let [binary, packed] = sizes;
    println!("{name}: binary {} KB, archive {} KB", binary? / 1024, packed? / 1024);
    Ok(archive)
}

/// Writes SHA256SUMS, as `sha256sum --check` reads it, and gives its text.
pub(super) fn sums(folder: &Path, archives: &[PathBuf]) -> Result<String> {
    let mut text = String::new();
    for archive in archives {
        let name = archive.file_name().unwrap_or_default().to_string_lossy();
        writeln!(text, "{}  {name}", sum(archive)?)?;
    }
    fs::write(folder.join("SHA256SUMS"), &text)?;
    Ok(text)
}

/// An archive without anything of this machine: names in order, no owner, the commit's time.
fn tar(folder: &Path, name: &str, archive: &Path) -> Result<()> {
    let plain = archive.with_extension("");
    let time = commit_time()?;
    run(Command::new("tar")
        .current_dir(folder)
        .args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--format=gnu"])
        .args(["--mode=go=rX,u+rw", &format!("--mtime=@{time}")])
        .arg("--create")
        .arg("--file")
        .arg(&plain)
        .arg(name))?;
    run(Command::new("gzip")
        .args(["-9", "--no-name", "--stdout"])
        .arg(&plain)
        .stdout(File::create(archive)?))?;
    Ok(fs::remove_file(plain)?)
}
