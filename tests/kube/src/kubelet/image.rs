//! What images are unpacked to: folders that become the root of containers.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use mooring_lab::isolation::SCRATCH;
use serde_json::Value;

use crate::tools::output;

/// A root file system, and what runs in it where a manifest says nothing else.
#[derive(Debug, Clone)]
pub struct Image {
    folder: PathBuf,
    command: Vec<String>,
}

impl Image {
    /// A folder that has one.
    #[must_use]
    pub fn of_folder(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), command: Vec::new() }
    }

    /// This machine's own, for images that have a shell.
    #[must_use]
    pub fn of_this_machine() -> Self {
        Self::of_folder(Path::new("/"))
    }

    /// The one that `cargo xtask image` packs, whose name ends so behind its version, unpacked from its archive. It
    /// was built by [`mooring_lab::Image::build`].
    ///
    /// # Errors
    /// When there is none, or it cannot be unpacked.
    pub fn shipped(suffix: &str) -> Result<Self> {
        let image = mooring_lab::Image::unpack(suffix)?;
        let words = |key: &str| image.config["config"][key].as_array().into_iter().flatten();
        let command = words("Entrypoint").chain(words("Cmd")).filter_map(Value::as_str);
        Ok(Self { command: command.map(str::to_owned).collect(), folder: image.root })
    }

    /// Nothing but programs, each at its place, and the libraries that they ask for.
    ///
    /// # Errors
    /// When one of them is not there.
    pub fn of_programs(programs: &[(&Path, &str)]) -> Result<Self> {
        let folder = tempfile::tempdir_in(SCRATCH)?.keep();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
        for (program, at) in programs {
            copy(program, &folder, at)?;
            // Of a static program there are none, and `ldd` fails.
            let libraries = output(Command::new("ldd").arg(program), b"").unwrap_or_default();
            for library in libraries.split_whitespace().filter(|word| word.starts_with('/')) {
                copy(Path::new(library), &folder, library)?;
            }
        }
        Ok(Self { folder, command: Vec::new() })
    }

    /// What runs where a manifest has neither `command` nor `args`.
    pub(super) fn command(&self) -> &[String] {
        &self.command
    }

    /// A root of its own for one Pod: the same files (no copies, so with what the image says of their
    /// capabilities), in folders of its own.
    pub(super) fn root(&self, own: &Path) -> Result<PathBuf> {
        if self.folder == Path::new("/") {
            return Ok(self.folder.clone());
        }
        let from = self.folder.join(".");
        output(Command::new("cp").args(["--archive", "--link"]).arg(from).arg(own), b"")?;
        Ok(own.to_owned())
    }
}

fn copy(file: &Path, root: &Path, at: &str) -> Result<()> {
    let at = root.join(at.trim_start_matches('/'));
    fs::create_dir_all(at.parent().context("a folder")?)?;
    fs::copy(file, at).with_context(|| file.display().to_string())?;
    Ok(())
}
