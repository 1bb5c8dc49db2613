//! `cargo xtask tidy`: the rules of this code base that compilers do not know.
//!
//! Errors fail the run; notes are what a reviewer may want to look at.

mod compliance;
mod demands;
mod dependencies;
mod functions;
mod mutations;
mod peers;
mod sources;

use std::fmt;
use std::fs;

use anyhow::{Result, bail};

use crate::workspace::{self, root};

/// Checks everything.
///
/// # Errors
/// When a rule is broken; each place has been printed.
pub(crate) fn run() -> Result<()> {
    let files = files()?;
    let mut findings = dependencies::check(&workspace::metadata(None)?);
    findings.extend(sources::check(&files));
    findings.extend(demands::check(&files));
    findings.extend(compliance::check(&files));
    findings.extend(mutations::untried(&files));
    findings.extend(peers::check(&files));
    for licence in ["LICENSE-MIT", "LICENSE-APACHE"] {
        if !root().join(licence).is_file() {
            findings.push(Finding::error(licence, 0, "the licence file is missing"));
        }
    }
    for finding in &findings {
        println!("{finding}");
    }
    let errors = findings.iter().filter(|finding| finding.is_error).count();
    if errors > 0 {
        bail!("{errors} rules are broken, see above");
    }
    println!("{} files are tidy, {} notes", files.len(), findings.len());
    Ok(())
}

/// A text file of the repository.
#[derive(Debug)]
struct SourceFile {
    /// From the root on, with `/`.
    path: String,
    text: String,
}

/// Something to say about a place.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    path: String,
    line: usize,
    what: String,
    is_error: bool,
}

impl Finding {
    /// A broken rule; line 0 is the whole file.
    fn error(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, what: what.into(), is_error: true }
    }

    /// Something to look at.
    fn note(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self { is_error: false, ..Self::error(path, line, what) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_error { "error" } else { "note" };
        match self.line {
            0 => write!(f, "{}: {kind}: {}", self.path, self.what),
            line => write!(f, "{}:{line}: {kind}: {}", self.path, self.what),
        }
    }
}

/// All text files that git knows or would take up.
fn files() -> Result<Vec<SourceFile>> {
    let mut files = Vec::new();
    for path in workspace::tracked()? {
        // What cannot be read as text is no source (or was deleted and not yet committed).
        if let Ok(text) = fs::read_to_string(root().join(&path)) {
            files.push(SourceFile { path, text });
        }
    }
    Ok(files)
}
