//! `docs/demands.md`: every row names a test that exists, a figure, or says "open".

use super::functions::is_test;
use super::{Finding, SourceFile};

/// Checks the rows of the tables in the document.
pub(super) fn check(files: &[SourceFile]) -> Vec<Finding> {
    check_rows(DOCUMENT, files, |shown| shown.to_lowercase().contains("open"))
}

/// Checks a document whose rows show in their last cell what proves them: names that exist, or none
/// where the cell `excuses` that.
pub(super) fn check_rows(
    path: &str,
    files: &[SourceFile],
    excuses: impl Fn(&str) -> bool,
) -> Vec<Finding> {
    let Some(document) = files.iter().find(|file| file.path == path) else {
        return vec![Finding::error(path, 0, "is missing")];
    };
    let mut findings = Vec::new();
    for (number, row) in rows(&document.text) {
        let shown = row.trim_end_matches(['|', ' ']).rsplit('|').next().unwrap_or_default().trim();
        let names: Vec<_> = shown.split('`').skip(1).step_by(2).collect();
        if names.is_empty() && !excuses(shown) {
            let what = "names no test or figure, and no reason why there is none";
            findings.push(Finding::error(path, number, what));
        }
        let missing = names.into_iter().filter(|name| !exists(name, files));
        findings.extend(
            missing.map(|name| Finding::error(path, number, format!("there is no `{name}`"))),
        );
    }
    findings
}

/// The rows of all tables, without heads, each with the number of its line.
pub(super) fn rows(document: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut lines = document.lines().enumerate().peekable();
    std::iter::from_fn(move || {
        loop {
            let (index, line) = lines.next()?;
            // The row above the line of dashes is the table's head.
            let is_head = lines.peek().is_some_and(|(_, next)| is_rule(next));
            if line.starts_with('|') && !is_rule(line) && !is_head {
                return Some((index + 1, line));
            }
        }
    })
}

/// A name is a test, a file or folder, or a command of ours.
fn exists(name: &str, files: &[SourceFile]) -> bool {
    if name.starts_with("cargo ") || name.starts_with(".ci/") {
        return true;
    }
    let folder = format!("{}/", name.trim_end_matches('/'));
    let is_file = |file: &SourceFile| file.path == name || file.path.starts_with(&folder);
    files.iter().any(is_file) || is_test(name, files)
}

fn is_rule(line: &str) -> bool {
    line.starts_with('|') && line.contains('-') && line.chars().all(|c| "|-: ".contains(c))
}

const DOCUMENT: &str = "docs/demands.md";

#[cfg(test)]
mod tests {
    use super::{DOCUMENT, SourceFile, check};

    fn problems(row: &str) -> usize {
        let table = format!("| demand | shown by |\n|---|---|\n{row}\n");
        let file = |path: &str, text: &str| SourceFile { path: path.into(), text: text.into() };
        let test = file("tests/lab/tests/thread.rs", "#[test]\nfn ping_works() {}\nfn helper() {}");
        check(&[file(DOCUMENT, &table), test]).len()
    }

    #[test]
    fn a_row_names_what_exists_or_is_open() {
        assert_eq!(problems("| 2.1 | `thread::ping_works` |"), 0);
        assert_eq!(problems("| 2.1 | `tests/lab/tests/thread.rs` |"), 0);
        assert_eq!(problems("| 2.2 | open |"), 0);
        assert_eq!(problems("| 2.3 | `thread::ping_work` |"), 1);
        assert_eq!(problems("| 2.3 | `helper` |"), 1, "no test");
        assert_eq!(problems("| 2.4 | surely |"), 1);
    }

    #[test]
    fn the_document_must_be_there() {
        assert_eq!(check(&[]).len(), 1);
    }
}
