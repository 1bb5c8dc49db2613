//! `docs/peer-checklist.md`: every demand of another NAT's tests names tests of ours that exist, or a
//! reason why there is none.

use super::demands::check_rows;
use super::{Finding, SourceFile};

/// Checks the rows of the tables in the document.
pub(super) fn check(files: &[SourceFile]) -> Vec<Finding> {
    check_rows(DOCUMENT, files, has_reason)
}

/// Whether a cell says why there is no test.
fn has_reason(shown: &str) -> bool {
    let why = REASONS.iter().find_map(|reason| shown.strip_prefix(reason));
    why.is_some_and(|why| why.split_whitespace().count() > 2)
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
