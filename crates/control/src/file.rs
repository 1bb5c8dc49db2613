//! The file source: a configuration in TOML.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mooring_policy::{Generation, KernelFacts, Loaded, Problems, load, load_with};
use thiserror::Error;

use crate::DesiredState;

/// A configuration file, read whenever it is asked for.
#[derive(Debug)]
pub struct FileSource {
    path: PathBuf,
    generation: Generation,
}

impl FileSource {
    /// The source that reads `path`.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), generation: Generation::default() }
    }

    /// Reads the file and makes the next state of it, without what the kernel says: an interface
    /// with `addresses = "kernel"` has none. Enough to check a file, not to run it.
    ///
    /// # Errors
    /// [`LoadError`]; the generation does not change then.
    pub fn load(&mut self) -> Result<DesiredState, LoadError> {
        self.compile(load)
    }

    /// The same with the addresses and routes of the kernel's devices, where the file asks for them.
    ///
    /// # Errors
    /// [`LoadError`]; the generation does not change then.
    pub fn load_with(&mut self, kernel: &KernelFacts) -> Result<DesiredState, LoadError> {
        self.compile(|text| load_with(text, kernel))
    }

    fn compile(
        &mut self,
        load: impl FnOnce(&str) -> Result<Loaded, Problems>,
    ) -> Result<DesiredState, LoadError> {
        let file = self.path.display().to_string();
        let text = fs::read_to_string(&self.path)
            .map_err(|source| LoadError::Unreadable { file: file.clone(), source })?;
        let loaded = load(&text).map_err(|problems| LoadError::Refused { file, problems })?;
        self.generation.0 += 1;
        Ok(DesiredState {
            generation: self.generation,
            policy: Arc::new(loaded.policy),
            settings: loaded.settings,
            warnings: loaded.warnings,
        })
    }
}

/// Why a file gives no state.
#[derive(Debug, Error)]
pub enum LoadError {
    /// It cannot be read.
    #[error("cannot read `{file}`: {source}")]
    Unreadable {
        /// The file's path.
        file: String,
        /// The system's reason.
        source: io::Error,
    },
    /// It can be read, but does not hold.
    #[error("{}", problems.render(file).trim_end())]
    Refused {
        /// The file's path.
        file: String,
        /// All that is wrong with it.
        problems: Problems,
    },
}

#[cfg(test)]
mod tests {
    use std::fs;

    use mooring_policy::Generation;

    use super::{FileSource, LoadError};

    const GOOD: &str =
        "[[interface]]\nname = \"a\"\ndevice = \"d0\"\naddresses = [\"10.0.0.1/24\"]\n";

    #[test]
    fn a_bad_file_makes_no_state_and_counts_no_generation() {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let path = folder.path().join("mooring.toml");
        let mut source = FileSource::new(&path);
        assert!(matches!(source.load(), Err(LoadError::Unreadable { .. })));
        fs::write(&path, GOOD).expect("the folder is writable");
        assert_eq!(source.load().expect("valid").generation, Generation(1));
        fs::write(&path, GOOD.replace("device", "devise")).expect("the folder is writable");
        let refused = source.load().expect_err("an unknown key").to_string();
        assert!(refused.contains("mooring.toml:3:1: error: unknown key `devise`"), "{refused}");
        fs::write(&path, GOOD).expect("the folder is writable");
        assert_eq!(source.load().expect("valid").generation, Generation(2));
    }
}
