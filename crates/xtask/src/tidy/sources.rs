//! Rules about the text of source files.

use super::{Finding, SourceFile};

/// Checks every file.
pub(super) fn check(files: &[SourceFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        machine_paths(file, &mut findings);
        if file.path.ends_with(".rs") {
            unfinished(file, &mut findings);
            forbids_unsafe(file, &mut findings);
            lengths(file, &mut findings);
        }
    }
    findings
}

/// No folder of one person's or one machine's.
fn machine_paths(file: &SourceFile, findings: &mut Vec<Finding>) {
    for (number, line) in numbered(&file.text) {
        for folder in MACHINE_FOLDERS {
            let path = format!("/{folder}/");
            let start = line.find(&path).filter(|at| {
                // A folder of the same name deeper in another path is no machine's.
                !line[..*at].ends_with(|c: char| c.is_alphanumeric() || "._-}*".contains(c))
            });
            if start.is_some() {
                findings.push(Finding::error(&file.path, number, "a path of one machine"));
            }
        }
    }
}

/// Work that is left is an issue, not a comment.
fn unfinished(file: &SourceFile, findings: &mut Vec<Finding>) {
    for (number, line) in numbered(&file.text) {
        if let Some(mark) = UNFINISHED.iter().find(|mark| line.contains(**mark)) {
            findings.push(Finding::error(&file.path, number, format!("{mark} is not left behind")));
        }
    }
}

/// Unsafe code lives in `io` and `session`, nowhere else.
fn forbids_unsafe(file: &SourceFile, findings: &mut Vec<Finding>) {
    let is_crate_root = file.path.ends_with("src/lib.rs");
    let may = MAY_BE_UNSAFE.iter().any(|folder| file.path.starts_with(folder));
    if is_crate_root && !may && !file.text.contains("#![forbid(unsafe_code)]") {
        findings.push(Finding::error(&file.path, 0, "lacks #![forbid(unsafe_code)]"));
    }
}

fn lengths(file: &SourceFile, findings: &mut Vec<Finding>) {
    let lines: Vec<_> = file.text.lines().collect();
    let tests_start = lines
        .windows(2)
        .position(|pair| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod tests {"));
    let net = tests_start.unwrap_or(lines.len());
    let tests = lines.len() - net;
    let is_test = file.path.contains("tests");
    if net > HARD_FILE_LINES {
        let what = format!("{net} lines, at most {HARD_FILE_LINES}");
        findings.push(Finding::error(&file.path, 0, what));
    } else if net > FILE_LINES && !is_test {
        findings.push(Finding::note(&file.path, 0, format!("{net} lines, aim at {FILE_LINES}")));
    }
    if tests > TEST_LINES {
        let what = format!("{tests} lines of tests, better in a tests.rs beside");
        findings.push(Finding::note(&file.path, net + 1, what));
    }
    long_functions(file, &lines, findings);
}

/// rustfmt closes a function at the indentation it opened at.
fn long_functions(file: &SourceFile, lines: &[&str], findings: &mut Vec<Finding>) {
    for (start, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let is_function = line.split(['(', '<']).next().is_some_and(|head| {
            let mut words = head.split_whitespace();
            words.any(|word| word == "fn") && !head.trim_start().starts_with("//")
        });
        if !is_function || line.ends_with([';', '}']) {
            continue;
        }
        let closing = format!("{}}}", &line[..indent]);
        let length = lines[start..].iter().position(|line| *line == closing).unwrap_or(0) + 1;
        if length > FUNCTION_LINES {
            let what = format!("a function of {length} lines, aim at one screen");
            findings.push(Finding::note(&file.path, start + 1, what));
        }
    }
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}

const FILE_LINES: usize = 400;
const HARD_FILE_LINES: usize = 600;
const TEST_LINES: usize = 200;
const FUNCTION_LINES: usize = 60;
const MAY_BE_UNSAFE: &[&str] = &["crates/io/", "crates/session/"];
// Written in parts, so that this file keeps its own rules.
const UNFINISHED: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("to", "do!("),
    concat!("unimpl", "emented!("),
];
const MACHINE_FOLDERS: &[&str] = &["work", "root", "home", "Users"];

#[cfg(test)]
mod tests {
    use super::{SourceFile, check};

    fn findings(path: &str, text: &str) -> Vec<String> {
        let file = SourceFile { path: path.to_owned(), text: text.to_owned() };
        check(&[file]).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_clean_file_has_no_findings() {
        assert_eq!(findings("crates/x/src/a.rs", "//! What.\n\nfn f() {\n}\n"), [""; 0]);
    }

    #[test]
    fn what_is_left_behind_is_found_with_its_line() {
        let text = format!("fn f() {{\n    {}!()\n}}\n", concat!("to", "do"));
        let expected = format!("a.rs:2: error: {}!( is not left behind", concat!("to", "do"));
        assert_eq!(findings("a.rs", &text), [expected]);
    }

    #[test]
    fn crate_roots_forbid_unsafe_but_two() {
        assert_eq!(findings("crates/nat/src/lib.rs", "").len(), 1);
        assert_eq!(findings("crates/nat/src/lib.rs", "#![forbid(unsafe_code)]").len(), 0);
        assert_eq!(findings("crates/io/src/lib.rs", "").len(), 0);
    }

    #[test]
    fn paths_of_a_machine_are_found() {
        let own = concat!("see /ho", "me/someone/notes");
        assert_eq!(findings("README.md", own).len(), 1);
        assert_eq!(findings("README.md", "see $ROOT/home/x and crates/root/src").len(), 0);
    }

    #[test]
    fn long_files_are_errors_and_their_tests_do_not_count() {
        let long = "//\n".repeat(601);
        assert!(findings("crates/x/src/a.rs", &long)[0].contains("601 lines"));
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "//\n".repeat(190));
        let tested = "//\n".repeat(399) + &tests;
        assert_eq!(findings("crates/x/src/a.rs", &tested), [""; 0]);
    }

    #[test]
    fn long_functions_are_noted() {
        let function = format!("    fn long() {{\n{}    }}\n", "        x();\n".repeat(60));
        let found = findings("crates/x/src/a.rs", &function);
        assert_eq!(found, ["crates/x/src/a.rs:1: note: a function of 62 lines, aim at one screen"]);
    }
}
