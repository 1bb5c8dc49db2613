//! `tests/mutants`: every mutation still applies to the code and names tests that exist. That these tests
//! notice it is for `cargo xtask mutants` to find out; here, that it has at some time, with these tests:
//! a mutation that was changed is to be tried again by whoever changes it.

use std::collections::HashMap;

use super::functions::is_test;
use super::{Finding, SourceFile};
use crate::mutants::mutation::{Mutation, name_of};
use crate::mutants::results::says_killed;

/// A mutation and where it lies.
#[derive(Debug)]
pub(super) struct Patch {
    pub(super) name: String,
    pub(super) path: String,
    /// The tests that must fail.
    pub(super) tests: Vec<String>,
}

/// All mutations that can be read, and what is wrong with them and the others.
pub(super) fn read(files: &[SourceFile]) -> (Vec<Patch>, Vec<Finding>) {
    let mut patches = Vec::new();
    let mut findings = Vec::new();
    for SourceFile { path, text } in files {
        let Some(name) = name_of(path) else { continue };
        match Mutation::parse(name, text) {
            Ok(mutation) => {
                let problems = problems(&mutation, files).into_iter();
                findings.extend(problems.map(|what| Finding::error(path, 0, what)));
                let (name, tests) = (mutation.name, mutation.tests);
                patches.push(Patch { name, path: path.clone(), tests });
            }
            Err(error) => findings.push(Finding::error(path, 0, format!("{error:#}"))),
        }
    }
    (patches, findings)
}

/// Those that no row of the results says to have been killed by the tests that they name.
pub(super) fn untried(files: &[SourceFile]) -> Vec<Finding> {
    let results = files.iter().find(|file| file.path == RESULTS);
    let results = results.map_or("", |file| file.text.as_str());
    let is_untried = |file: &&SourceFile| {
        let mutation = name_of(&file.path).and_then(|name| Mutation::parse(name, &file.text).ok());
        mutation.is_some_and(|mutation| !says_killed(results, &mutation.name, &mutation.tests))
    };
    let what = format!("no row of {RESULTS} says that its tests have killed it");
    let all = files.iter().filter(is_untried);
    all.map(|file| Finding::error(&file.path, 0, what.clone())).collect()
}

fn problems(mutation: &Mutation, files: &[SourceFile]) -> Vec<String> {
    let missing = mutation.tests.iter().filter(|test| !is_test(test, files));
    let mut problems: Vec<_> = missing.map(|test| format!("there is no test `{test}`")).collect();
    let mut changed = HashMap::new();
    for hunk in &mutation.hunks {
        let original = files.iter().find(|file| file.path == hunk.path);
        let before = changed.get(&hunk.path).or(original.map(|file| &file.text));
        let Some(before) = before else {
            problems.push(format!("there is no file {}", hunk.path));
            continue;
        };
        match hunk.apply(before) {
            Ok(after) => {
                changed.insert(hunk.path.clone(), after);
            }
            Err(error) => problems.push(format!("{error:#}")),
        }
    }
    problems
}

/// What became of each.
const RESULTS: &str = "tests/mutants/results.md";

#[cfg(test)]
mod tests {
    use super::{RESULTS, SourceFile, read, untried};

    const PATCH: &str = "\
        # breaks: RFC 768: zero\n# package: mooring-wire\n# test: zero_rule\n\
        --- a/crates/wire/src/a.rs\n+++ b/crates/wire/src/a.rs\n@@ -1 +1 @@\n-b\n+c\n\
        @@ -2 +2 @@\n-d\n+e\n";

    fn file(path: &str, text: &str) -> SourceFile {
        SourceFile { path: path.into(), text: text.into() }
    }

    fn findings(code: &str, test: &str) -> Vec<String> {
        let files = [
            file("tests/mutants/zero.patch", PATCH),
            file("crates/wire/src/a.rs", code),
            file("crates/wire/src/tests.rs", &format!("#[test]\nfn {test}() {{}}")),
        ];
        read(&files).1.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_mutation_applies_and_its_tests_exist() {
        assert_eq!(findings("b\nd\n", "zero_rule"), [""; 0]);
        let gone = findings("b\nx\n", "zero_rule");
        assert!(gone[0].contains("does not apply to crates/wire/src/a.rs"), "{gone:?}");
        let twice = findings("b\nd\nx\nb\n", "zero_rule");
        assert!(twice[0].contains("applies to more than one place of crates/wire"), "{twice:?}");
        let each = findings("x\nd\nd\n", "zero_rule");
        assert_eq!(each.len(), 2, "of every hunk it is said: {each:?}");
        let renamed = findings("b\nd\n", "zero_rules");
        assert_eq!(renamed, ["tests/mutants/zero.patch: error: there is no test `zero_rule`"]);
    }

    #[test]
    fn a_mutation_has_been_killed_by_its_tests() {
        let patch = || file("tests/mutants/zero.patch", PATCH);
        let found = |files: &[SourceFile]| -> Vec<String> {
            untried(files).iter().map(ToString::to_string).collect()
        };
        let of = |result: &str, tests: &str| {
            let row =
                format!("| [zero](zero.patch) | RFC 768: zero | {tests} | 1 | {result} | 1, now |");
            found(&[patch(), file(RESULTS, &row)])
        };
        let is_not = "tests/mutants/zero.patch: error: no row of tests/mutants/results.md says that its \
                      tests have killed it";
        assert_eq!(of("killed", "`zero_rule`"), [""; 0]);
        for result in ["SURVIVED zero_rule", "UNFIT: did not build", ""] {
            assert_eq!(of(result, "`zero_rule`"), [is_not], "{result}");
        }
        assert_eq!(of("killed", "`another_rule`"), [is_not], "it names another test now");
        assert_eq!(found(&[patch(), file(RESULTS, "")]), [is_not], "it was never tried");
        assert_eq!(found(&[patch()]), [is_not], "none was");
    }
}
