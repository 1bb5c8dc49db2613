//! `docs/peer-checklist.md`: every demand of another NAT's tests names tests of ours that exist, or a
//! reason why there is none.

use super::demands::{exists, rows};
use super::{Finding, SourceFile};

/// Checks the rows of the tables in the document.
pub(super) fn check(files: &[SourceFile]) -> Vec<Finding> {
    let Some(document) = files.iter().find(|file| file.path == DOCUMENT) else {
        return vec![Finding::error(DOCUMENT, 0, "is missing")];
    };
    let mut findings = Vec::new();
    for (number, row) in rows(&document.text) {
        let problems = check_row(row, files).into_iter();
        findings.extend(problems.map(|what| Finding::error(DOCUMENT, number, what)));
    }
    findings
}

/// What is wrong with one row.
fn check_row(row: &str, files: &[SourceFile]) -> Vec<String> {
    let shown = row.trim_end_matches(['|', ' ']).rsplit('|').next().unwrap_or_default().trim();
    let names: Vec<_> = shown.split('`').skip(1).step_by(2).collect();
    let has_reason = REASONS.iter().any(|reason| {
        shown.strip_prefix(reason).is_some_and(|why| why.split_whitespace().count() > 2)
    });
    if names.is_empty() && !has_reason {
        return vec![format!("names no test, and no reason ({})", REASONS.join(", "))];
    }
    let missing = names.into_iter().filter(|name| !exists(name, files));
    missing.map(|name| format!("there is no `{name}`")).collect()
}

const DOCUMENT: &str = "docs/peer-checklist.md";

/// Why a demand has no test.
const REASONS: [&str; 3] = ["deviation:", "not in this version:", "does not apply:"];

#[cfg(test)]
mod tests {
    use super::{DOCUMENT, SourceFile, check};

    fn problems(row: &str) -> usize {
        let table = format!("| demand | shown by |\n|---|---|\n{row}\n");
        let file = |path: &str, text: &str| SourceFile { path: path.into(), text: text.into() };
        let test = file("tests/lab/tests/thread.rs", "#[test]\nfn ping_works() {}");
        check(&[file(DOCUMENT, &table), test]).len()
    }

    #[test]
    fn a_demand_has_a_test_or_a_reason() {
        assert_eq!(problems("| hairpinning | `ping_works` |"), 0);
        assert_eq!(problems("| ha_send | not in this version: sessions stay where they are |"), 0);
        assert_eq!(problems("| ha_send | not in this version: `ping_works` shows why |"), 0);
        assert_eq!(problems("| hairpinning | `ping_worked` |"), 1);
        assert_eq!(problems("| ha_send | not in this version: |"), 1);
        assert_eq!(problems("| ha_send | open |"), 1);
    }

    #[test]
    fn the_checklist_must_be_there() {
        assert_eq!(check(&[]).len(), 1);
    }
}
