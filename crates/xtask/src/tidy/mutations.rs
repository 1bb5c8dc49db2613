//! `tests/mutants`: every mutation still applies to the code and names tests that exist. Whether the
//! tests notice it is for `cargo xtask mutants` to find out.

use std::collections::HashMap;

use super::functions::is_test;
use super::{Finding, SourceFile};
use crate::mutants::mutation::{Mutation, name_of};

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

#[cfg(test)]
mod tests {
    use super::{SourceFile, read};

    fn findings(code: &str, test: &str) -> Vec<String> {
        let patch = "# breaks: RFC 768: zero\n# package: mooring-wire\n# test: zero_rule\n\
                     --- a/crates/wire/src/a.rs\n+++ b/crates/wire/src/a.rs\n@@ -1 +1 @@\n-b\n+c\n\
                     @@ -2 +2 @@\n-d\n+e\n";
        let file = |path: &str, text: &str| SourceFile { path: path.into(), text: text.into() };
        let files = [
            file("tests/mutants/zero.patch", patch),
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
        let renamed = findings("b\nd\n", "zero_rules");
        assert_eq!(renamed, ["tests/mutants/zero.patch: error: there is no test `zero_rule`"]);
    }
}
