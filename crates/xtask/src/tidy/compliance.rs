//! `docs/rfc-compliance.md`: every row names a place in the code and tests that exist.

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

/// What is wrong with one row: requirement, status, places, tests.
fn check_row(row: &str, files: &[SourceFile]) -> Vec<String> {
    // The row begins and ends with a bar.
    let cells: Vec<_> = row.split('|').collect();
    let [_, _, _, places, tests, _] = cells[..] else {
        return vec!["has not the four cells requirement, status, code, tests".to_owned()];
    };
    let places = names(places).filter(|place| !is_place(place, files));
    let tests = names(tests).filter(|test| !exists(test, files));
    places.chain(tests).map(|name| format!("there is no `{name}`")).collect()
}

/// What stands in backticks.
fn names(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// `file:symbol`, the file below `crates/` and without its `src/`; the symbol is defined in it.
fn is_place(name: &str, files: &[SourceFile]) -> bool {
    let Some((file, symbol)) = name.split_once(':') else { return false };
    let Some((package, path)) = file.split_once('/') else { return false };
    let path = format!("crates/{package}/src/{path}");
    let defines = |word: &str| {
        let mut words = word.split(|c: char| !(c.is_alphanumeric() || c == '_'));
        words.next() == Some(symbol)
    };
    files.iter().any(|file| {
        let mut texts = KINDS.iter().flat_map(|kind| file.text.split(kind).skip(1));
        file.path == path && texts.any(defines)
    })
}

const DOCUMENT: &str = "docs/rfc-compliance.md";

/// What a name in the code is defined by.
const KINDS: [&str; 6] = ["fn ", "const ", "struct ", "enum ", "trait ", "static "];

#[cfg(test)]
mod tests {
    use super::{DOCUMENT, SourceFile, check};

    fn problems(row: &str) -> usize {
        let file = |path: &str, text: &str| SourceFile { path: path.into(), text: text.into() };
        let table = format!("| requirement | status | code | tests |\n|---|---|---|---|\n{row}\n");
        let code = file("crates/nat/src/lease.rs", "fn paired<R>(a: A) {}\nconst TRIES: u8 = 1;");
        let test = file("crates/nat/src/tests.rs", "fn is_paired() {}");
        check(&[file(DOCUMENT, &table), code, test]).len()
    }

    #[test]
    fn a_row_names_places_and_tests_that_exist() {
        assert_eq!(problems("| REQ-2 | kept | `nat/lease.rs:paired` | `is_paired` |"), 0);
        assert_eq!(problems("| REQ-2 | kept | `nat/lease.rs:TRIES` | no test |"), 0);
        assert_eq!(problems("| REQ-2 | n/a | | |"), 0);
        assert_eq!(problems("| REQ-2 | kept | `nat/lease.rs:pair` | `is_paired` |"), 1);
        assert_eq!(problems("| REQ-2 | kept | `nat/ports.rs:paired` | `is_shared` |"), 2);
        assert_eq!(problems("| REQ-2 | kept | `is_paired` |"), 1);
    }
}
