//! A copy of the checkout that mutations are made in. It has a target directory of its own, so that
//! only what a mutation changes is built anew, and the checkout's is never mixed with broken code.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

use super::mutation::Mutation;
use crate::workspace::{self, cargo, root};

/// The copy.
#[derive(Debug)]
pub(crate) struct Scratch {
    tree: PathBuf,
    build: PathBuf,
}

/// A test program.
#[derive(Debug)]
pub(crate) struct Program {
    executable: PathBuf,
    /// Where its package lies.
    folder: PathBuf,
}

impl Scratch {
    /// Brings the copy up to date with the checkout, with what is not committed yet.
    ///
    /// # Errors
    /// When files cannot be read or written.
    pub(crate) fn sync() -> Result<Self> {
        let folder = workspace::target()?.join("mutants");
        let scratch = Self { tree: folder.join("tree"), build: folder.join("build") };
        let listed = workspace::tracked()?;
        for path in &listed {
            let (from, to) = (root().join(path), scratch.tree.join(path));
            // What is deleted and not yet committed is listed, too.
            let Ok(bytes) = fs::read(from) else { continue };
            write_if_other(&to, &bytes)?;
        }
        let keep: HashSet<_> = listed.iter().map(|path| scratch.tree.join(path)).collect();
        remove_all_but(&keep, &scratch.tree)?;
        Ok(scratch)
    }

    /// Applies the mutation, hands the copy to `then`, and takes the mutation back.
    ///
    /// # Errors
    /// When the mutation does not apply, or `then` fails.
    pub(crate) fn with<T>(
        &self,
        mutation: &Mutation,
        then: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let mut before = Vec::new();
        let mut applied = Ok(());
        for hunk in &mutation.hunks {
            let path = self.tree.join(&hunk.path);
            let text = fs::read_to_string(&path).with_context(|| format!("no {}", hunk.path))?;
            match hunk.apply(&text) {
                Ok(changed) => fs::write(&path, changed)?,
                Err(error) => applied = Err(error),
            }
            before.push((path, text));
        }
        let done = applied.and_then(|()| then());
        for (path, text) in before.into_iter().rev() {
            // Not with the old time: Cargo would take the build of the mutation for one of this.
            fs::write(path, text)?;
        }
        done
    }

    /// Builds the tests of a package: those of its library, or one integration test.
    ///
    /// # Errors
    /// When they do not build; the message is the compiler's first error.
    pub(crate) fn build(&self, package: &str, target: Option<&str>) -> Result<Program> {
        let mut command = cargo(&["test", "--no-run", "--quiet", "--message-format=json"]);
        command.current_dir(&self.tree).env("CARGO_TARGET_DIR", &self.build).envs(PROFILE);
        command.args(["--package", package]);
        match target {
            Some(name) => command.args(["--test", name]),
            None => command.arg("--lib"),
        };
        let Output { status, stdout, stderr } = command.output().context("cannot run cargo")?;
        let messages: Vec<Value> = String::from_utf8(stdout)?
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        if !status.success() {
            let errors = messages.iter().filter(|message| message["message"]["level"] == "error");
            let first = errors.filter_map(|message| message["message"]["rendered"].as_str()).next();
            let said = String::from_utf8_lossy(&stderr).into_owned();
            return Err(anyhow!("did not build: {}", first.unwrap_or(&said)));
        }
        let tests = messages.iter().filter(|message| message["profile"]["test"] == true);
        let (executable, manifest) = tests
            .filter_map(|test| {
                Some((test["executable"].as_str()?, test["manifest_path"].as_str()?))
            })
            .next_back()
            .context("cargo names no test program")?;
        let folder = Path::new(manifest).parent().context("a folder")?.to_owned();
        Ok(Program { executable: executable.into(), folder })
    }
}

impl Program {
    /// Runs the tests of these names and returns the names of those that passed. A test that does
    /// not end fails.
    ///
    /// # Errors
    /// When one of them does not exist.
    pub(crate) fn passing<'a>(&self, tests: &'a [String]) -> Result<Vec<&'a str>> {
        let mut passing = Vec::new();
        for test in tests {
            let mut command = Command::new("timeout");
            command.arg(SECONDS).arg(&self.executable).arg(test).current_dir(&self.folder);
            let output = command.output().context("cannot run timeout (coreutils)")?;
            let said = String::from_utf8_lossy(&output.stdout);
            let results = results(&said, test);
            let hangs = output.status.code() == Some(TIMED_OUT);
            ensure!(hangs || !results.is_empty(), "there is no test {test} in this package");
            if !hangs && results.iter().all(|passed| *passed) {
                passing.push(test.as_str());
            }
        }
        Ok(passing)
    }
}

/// What became of the tests of this name, from lines `test path::name ... ok`. A test that brings
/// down the whole program has no result, but does not pass.
fn results(said: &str, name: &str) -> Vec<bool> {
    let lines = said.lines().filter_map(|line| line.strip_prefix("test ")?.split_once(" ... "));
    let named = lines.filter(|(path, _)| {
        path.rsplit("::")
            .next()
            .is_some_and(|last| last.trim_end_matches(" - should panic") == name)
    });
    named.map(|(_, result)| result.ends_with("ok")).collect()
}

/// Writes only what is different, so that nothing is built anew for nothing.
fn write_if_other(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    fs::create_dir_all(path.parent().context("a folder")?)?;
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// Removes the files that are not to be kept.
fn remove_all_but(keep: &HashSet<PathBuf>, folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            remove_all_but(keep, &path)?;
        } else if !keep.contains(&path) && path.file_name() != Some("Cargo.lock".as_ref()) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Each mutation is built once and runs for a moment: the compiler's time is what counts.
const PROFILE: [(&str, &str); 2] =
    [("CARGO_PROFILE_DEV_OPT_LEVEL", "0"), ("CARGO_PROFILE_DEV_DEBUG", "0")];
/// A broken loop may never end.
const SECONDS: &str = "60";
/// What `timeout` says then.
const TIMED_OUT: i32 = 124;

#[cfg(test)]
mod tests {
    use super::results;

    #[test]
    fn only_tests_of_that_very_name_count() {
        let said = "\ntest a::tests::zero ... FAILED\ntest a::tests::zero_rule ... ok\n\
                    test b::zero_rule ... FAILED\ntest result: FAILED. 1 passed";
        assert_eq!(results(said, "zero"), [false]);
        assert_eq!(results(said, "zero_rule"), [true, false]);
        assert_eq!(results(said, "rule"), [false; 0]);
    }
}
