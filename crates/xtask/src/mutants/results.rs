//! `tests/mutants/results.md`: what became of each mutation.

use std::collections::BTreeMap;
use std::fmt;
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
    Ok(format!("{commit}{changes}, {}", date.trim()))
}

/// The page after some mutations were `tried` at `heading`: the rows of others stay as they were in the
/// `old` page, if they are still among `all`.
pub(super) fn page(old: &str, all: &[&str], heading: &str, tried: &[Tried]) -> String {
    let kept = |line| {
        let name = name_of_row(line)?;
        all.contains(&name).then(|| (name.to_owned(), format!("{line}\n")))
    };
    let mut rows: BTreeMap<String, String> = old.lines().filter_map(kept).collect();
    for Tried { mutation, outcome, seconds } in tried {
        let outcome = outcome.to_string();
        let result = outcome.lines().next().unwrap_or_default();
        let (name, breaks, tests) = (&mutation.name, &mutation.breaks, named(&mutation.tests));
        let row = format!(
            "| [{name}]({name}.patch) | {breaks} | {tests} | {seconds:.0} | {result} | {heading} |\n"
        );
        rows.insert(name.clone(), row);
    }
    let killed = rows.values().filter(|row| row.contains(" | killed | ")).count();
    let head = format!(
        "# Mutations\n\nWritten by `cargo xtask mutants`; each row says at which commit and when it was tried.\n\
         {killed} of {} killed.\n\n\
         | mutation | breaks | tests that must fail | seconds | result | tried |\n|---|---|---|---|---|---|\n",
        rows.len()
    );
    head + &rows.into_values().collect::<String>()
}

/// Whether a row of the page says that these tests have killed the mutation of this name.
pub(crate) fn says_killed(page: &str, name: &str, tests: &[String]) -> bool {
    let Some(row) = page.lines().find(|line| name_of_row(line) == Some(name)) else { return false };
    let cells: Vec<_> = row.trim_end_matches(" |").rsplitn(5, " | ").collect();
    matches!(cells[..], [_, "killed", _, by, _] if by == named(tests))
}

fn name_of_row(line: &str) -> Option<&str> {
    Some(line.strip_prefix("| [")?.split_once(']')?.0)
}

fn named(tests: &[String]) -> String {
    tests.iter().map(|test| format!("`{test}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::{Mutation, Outcome, Tried, page, says_killed};

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
        let survived = tried(survived);
        let first = page("", &["zero"], "1, today", &[survived]);
        assert!(first.contains("0 of 1 killed."), "{first}");
        assert!(first.contains("| SURVIVED udp_zero_rule | 1, today |"), "{first}");
        let second = page(&first, &["zero"], "2, today", &[tried(Outcome::Killed)]);
        assert!(second.contains("1 of 1 killed."), "{second}");
        let row =
            "| [zero](zero.patch) | RFC 768: zero | `udp_zero_rule` | 2 | killed | 2, today |";
        assert!(second.contains(row), "{second}");
        let of = |page: &str, name, tests: &[&str]| {
            let tests: Vec<_> = tests.iter().map(|&test| test.to_owned()).collect();
            says_killed(page, name, &tests)
        };
        assert!(of(&second, "zero", &["udp_zero_rule"]));
        assert!(!of(&first, "zero", &["udp_zero_rule"]), "it survived");
        assert!(!of(&second, "zer", &["udp_zero_rule"]), "there is no row of it");
        assert!(!of(&second, "zero", &["udp_zero_rule", "another"]), "which was not tried");
        assert_eq!(page(&second, &["zero"], "3, today", &[]), second, "what was not tried stays");
        assert!(page(&second, &[], "3, today", &[]).contains("0 of 0 killed."), "it is gone");
    }
}
