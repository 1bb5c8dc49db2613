//! `tests/mutants/results.md`: what became of each mutation.

use std::fmt::{self, Write};
use std::process::Command;

use anyhow::Result;

use super::mutation::Mutation;
use crate::workspace::{output, root};

/// A mutation that was tried.
#[derive(Debug)]
pub(super) struct Tried<'a> {
    pub(super) mutation: &'a Mutation,
    pub(super) outcome: Outcome,
    /// Build and tests.
    pub(super) seconds: f64,
}

/// What became of it.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Every test that is named for it failed.
    Killed,
    /// These passed.
    Survived(Vec<String>),
    /// It does not apply, does not build, or names a test that is not there.
    Unfit(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Killed => write!(f, "killed"),
            Self::Survived(tests) => write!(f, "SURVIVED {}", tests.join(", ")),
            Self::Unfit(why) => write!(f, "UNFIT: {why}"),
        }
    }
}

/// Which code is tried, and when.
pub(super) fn heading() -> Result<String> {
    let git = |arguments: &[&str]| {
        let said = output(Command::new("git").current_dir(root()).args(arguments))?;
        Ok::<_, anyhow::Error>(said.trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    let changes = if changed.is_empty() { "" } else { " with changes" };
    let date = output(Command::new("date").args(["--utc", "+%Y-%m-%d"]))?;
    Ok(format!("commit {commit}{changes}, {}", date.trim()))
}

/// The page, under its heading.
pub(super) fn page(head: &str, tried: &[Tried]) -> String {
    let killed = tried.iter().filter(|tried| matches!(tried.outcome, Outcome::Killed)).count();
    let seconds: f64 = tried.iter().map(|tried| tried.seconds).sum();
    let mut page = format!(
        "# Mutations\n\nWritten by `cargo xtask mutants`: {head}. {killed} of {} killed, {seconds:.0} s.\n\n\
         | mutation | breaks | tests that must fail | seconds | result |\n|---|---|---|---|---|\n",
        tried.len()
    );
    for Tried { mutation, outcome, seconds } in tried {
        let tests: Vec<_> = mutation.tests.iter().map(|test| format!("`{test}`")).collect();
        let outcome = outcome.to_string();
        let result = outcome.lines().next().unwrap_or_default();
        let (name, breaks, tests) = (&mutation.name, &mutation.breaks, tests.join(", "));
        writeln!(page, "| [{name}]({name}.patch) | {breaks} | {tests} | {seconds:.0} | {result} |")
            .expect("a string takes everything");
    }
    page
}

#[cfg(test)]
mod tests {
    use super::{Mutation, Outcome, Tried, page};

    #[test]
    fn the_page_says_what_became_of_each() {
        let mutation = Mutation {
            name: "zero".to_owned(),
            breaks: "RFC 768: zero".to_owned(),
            package: "mooring-wire".to_owned(),
            target: None,
            tests: vec!["udp_zero_rule".to_owned()],
            hunks: Vec::new(),
        };
        let tried = |outcome| Tried { mutation: &mutation, outcome, seconds: 2.25 };
        let survived = Outcome::Survived(vec!["udp_zero_rule".to_owned()]);
        let page = page("commit 1", &[tried(Outcome::Killed), tried(survived)]);
        assert!(page.contains("commit 1. 1 of 2 killed, 4 s."), "{page}");
        let row = "| [zero](zero.patch) | RFC 768: zero | `udp_zero_rule` | 2 | killed |";
        assert!(page.contains(row), "{page}");
        assert!(page.contains("| SURVIVED udp_zero_rule |"), "{page}");
    }
}
