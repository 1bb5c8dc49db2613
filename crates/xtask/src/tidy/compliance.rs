//! `docs/rfc-compliance.md`: every row says whether a requirement is kept. One that is names a place
//! in the code, tests, and a mutation that makes one of these tests fail; one that is not says why.

use super::demands::rows;
use super::functions::{defines, is_test};
use super::mutations::{self, Patch};
use super::{Finding, SourceFile};

/// Checks the rows of the tables in the document, and the mutations that they name.
pub(super) fn check(files: &[SourceFile]) -> Vec<Finding> {
    let Some(document) = files.iter().find(|file| file.path == DOCUMENT) else {
        return vec![Finding::error(DOCUMENT, 0, "is missing")];
    };
    let (patches, mut findings) = mutations::read(files);
    for (number, row) in rows(&document.text) {
        let problems = check_row(row, files, &patches).into_iter();
        findings.extend(problems.map(|what| Finding::error(DOCUMENT, number, what)));
    }
    let cited: Vec<_> = rows(&document.text).flat_map(|(_, row)| names(row)).collect();
    for Patch { name, path, .. } in
        patches.iter().filter(|patch| !cited.contains(&patch.name.as_str()))
    {
        findings.push(Finding::error(path, 0, format!("no row of {DOCUMENT} names `{name}`")));
    }
    findings
}

/// What is wrong with one row: requirement, status, places, tests, mutations.
fn check_row(row: &str, files: &[SourceFile], patches: &[Patch]) -> Vec<String> {
    // The row begins and ends with a bar.
    let cells: Vec<_> = row.split('|').collect();
    let [_, _, status, places, tests, mutants, _] = cells[..] else {
        return vec![
            "has not the five cells requirement, status, code, tests, mutation".to_owned(),
        ];
    };
    let known = |name: &str| patches.iter().find(|patch| patch.name == name);
    let missing_places = names(places).filter(|place| !is_place(place, files));
    let missing_tests = names(tests).filter(|test| !is_test(test, files));
    let missing_mutants = names(mutants).filter(|name| known(name).is_none());
    let missing = missing_places.chain(missing_tests).chain(missing_mutants);
    let mut problems: Vec<_> = missing.map(|name| format!("there is no `{name}`")).collect();
    match Status::of(status) {
        None => problems.push(format!("the status is not one of {WORDS}")),
        Some(Status::NotKept) => {}
        Some(Status::Kept) => {
            for (cell, what) in [(places, "place"), (tests, "test"), (mutants, "mutation")] {
                if names(cell).next().is_none() {
                    problems.push(format!("is kept, but names no {what}"));
                }
            }
            let tests: Vec<_> = names(tests).map(last_part).collect();
            let strangers = names(mutants)
                .filter_map(known)
                .filter(|patch| !patch.tests.iter().any(|test| tests.contains(&test.as_str())));
            let stranger = |patch: &Patch| {
                format!("`{}` breaks none of the tests that the row names", patch.name)
            };
            problems.extend(strangers.map(stranger));
        }
    }
    problems
}

/// Whether a requirement is kept.
#[derive(Debug, PartialEq, Eq)]
enum Status {
    /// By default, or by an option that is named.
    Kept,
    /// Not kept, or it does not apply; a reason is given.
    NotKept,
}

impl Status {
    /// Reads a cell: one of [`WORDS`], and after a colon what else there is to say.
    fn of(cell: &str) -> Option<Self> {
        let (word, note) = match cell.trim().split_once(": ") {
            Some((word, note)) => (word, note.trim()),
            None => (cell.trim(), ""),
        };
        let option = word.strip_prefix("kept by option ");
        match word {
            "kept" => Some(Self::Kept),
            _ if option.is_some_and(|option| names(option).next().is_some()) => Some(Self::Kept),
            "not kept" | "n/a" if !note.is_empty() => Some(Self::NotKept),
            _ => None,
        }
    }
}

/// What stands in backticks.
fn names(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// A test may be named with its modules.
fn last_part(name: &str) -> &str {
    name.rsplit("::").next().unwrap_or(name)
}

/// `file:symbol`, the file below `crates/` and without its `src/`; the symbol is defined in it.
fn is_place(name: &str, files: &[SourceFile]) -> bool {
    let Some((file, symbol)) = name.split_once(':') else { return false };
    let Some((package, path)) = file.split_once('/') else { return false };
    let path = format!("crates/{package}/src/{path}");
    files.iter().any(|file| file.path == path && defines(&file.text, symbol))
}

const DOCUMENT: &str = "docs/rfc-compliance.md";

/// The words of a status.
const WORDS: &str = "\"kept\", \"kept by option `...`\", \"not kept: why\", \"n/a: why\"";

#[cfg(test)]
mod tests {
    use super::{DOCUMENT, SourceFile, Status, check};

    /// A mutation that makes `is_paired` fail.
    const PATCH: &str = "\
# breaks: RFC 4787 REQ-2: addresses are not paired
# package: mooring-nat
# test: is_paired
--- a/crates/nat/src/lease.rs
+++ b/crates/nat/src/lease.rs
@@ -1,1 +1,1 @@
-const TRIES: u8 = 1;
+const TRIES: u8 = 2;
";

    fn findings(row: &str, patch: &str) -> Vec<String> {
        let file = |path: &str, text: &str| SourceFile { path: path.into(), text: text.into() };
        let head = "| requirement | status | code | tests | mutation |\n|---|---|---|---|---|\n";
        let files = [
            file(DOCUMENT, &format!("{head}{row}\n")),
            file("crates/nat/src/lease.rs", "fn paired<R>(a: A) {}\nconst TRIES: u8 = 1;\n"),
            file(
                "crates/nat/src/tests.rs",
                "#[test]\nfn is_paired() {}\n#[test]\nfn is_shared() {}\nfn pair() {}",
            ),
            file("tests/mutants/pairing.patch", patch),
        ];
        check(&files).iter().map(ToString::to_string).collect()
    }

    fn problems(row: &str) -> usize {
        findings(row, PATCH).iter().filter(|finding| finding.starts_with(DOCUMENT)).count()
    }

    #[test]
    fn a_row_names_places_tests_and_mutations_that_exist() {
        let row = "| REQ-2 | kept | `nat/lease.rs:paired` | `tests::is_paired` | `pairing` |";
        assert_eq!(findings(row, PATCH), [""; 0]);
        assert_eq!(problems(&row.replace(":paired", ":TRIES")), 0);
        assert_eq!(problems(&row.replace(":paired", ":pair")), 1);
        assert_eq!(problems(&row.replace("lease.rs", "ports.rs")), 1);
        assert_eq!(problems(&row.replace("is_paired", "is_pair")), 2, "nor does it break it");
        assert_eq!(problems(&row.replace("is_paired", "pair")), 2, "a helper is no test");
        assert_eq!(problems(&row.replace("`pairing`", "`pair`")), 1);
        assert_eq!(problems("| REQ-2 | kept | `nat/lease.rs:paired` | `is_paired` |"), 1);
    }

    #[test]
    fn what_is_kept_has_a_place_a_test_and_a_mutation_of_it() {
        assert_eq!(problems("| REQ-2 | kept | | | |"), 3);
        let row = "| REQ-2 | kept | `nat/lease.rs:paired` | `is_shared` | `pairing` |";
        assert_eq!(findings(row, PATCH).len(), 1, "the mutation breaks another test");
        assert_eq!(problems("| REQ-2 | n/a: there is none | | | |"), 0);
    }

    #[test]
    fn a_status_is_one_of_four_words() {
        assert_eq!(Status::of(" kept "), Some(Status::Kept));
        assert_eq!(Status::of("kept: both families"), Some(Status::Kept));
        assert_eq!(
            Status::of("kept by option `parity` of a pool: even stays even"),
            Some(Status::Kept)
        );
        assert_eq!(Status::of("kept by option"), None, "which?");
        assert_eq!(Status::of("not kept: it costs ports"), Some(Status::NotKept));
        for word in ["not kept", "n/a", "n/a: ", "partly: echo", "surely", ""] {
            assert_eq!(Status::of(word), None, "{word}");
        }
    }

    #[test]
    fn a_mutation_that_no_row_names_is_an_error() {
        let found = findings("| REQ-2 | n/a: none | | | |", PATCH);
        let error =
            "tests/mutants/pairing.patch: error: no row of docs/rfc-compliance.md names `pairing`";
        assert_eq!(found, [error]);
    }
}
