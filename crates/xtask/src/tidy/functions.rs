//! What a document calls a test is one that runs, and what it calls a place in the code is defined there.

use super::SourceFile;

/// Whether a name, with modules in front or without, is that of a test: a function with `#[test]` that
/// is not ignored, in a file or module of those names.
pub(super) fn is_test(name: &str, files: &[SourceFile]) -> bool {
    let mut parts: Vec<_> = name.split("::").collect();
    let Some(function) = parts.pop() else { return false };
    let head = format!("fn {function}(");
    let may = |file: &&SourceFile| file.path.ends_with(".rs") && file.text.contains(&head);
    files.iter().filter(may).any(|file| {
        let lines: Vec<_> = file.text.lines().collect();
        let mut starts = (0..lines.len()).filter(|at| lines[*at].trim_start().starts_with(&head));
        starts.any(|at| runs(&lines[..at])) && parts.iter().all(|part| is_within(part, file))
    })
}

/// Whether one of the lines of a file defines a symbol: a comment or a call does not.
pub(super) fn defines(text: &str, symbol: &str) -> bool {
    text.lines().any(|line| {
        let mut words = line.split_whitespace().skip_while(|word| is_modifier(word));
        let is_kind = words.next().is_some_and(|word| KINDS.contains(&word));
        // `const fn` is a function.
        let mut names = words.skip_while(|word| KINDS.contains(word) || *word == "mut");
        let name = names.next().unwrap_or_default();
        is_kind && name.split(|c: char| !(c.is_alphanumeric() || c == '_')).next() == Some(symbol)
    })
}

/// What stands right above a function says that it is a test that runs.
fn runs(above: &[&str]) -> bool {
    let above = above.iter().rev().map(|line| line.trim());
    let mut is_test = false;
    for line in above.take_while(|line| line.starts_with("#[") || line.starts_with("//")) {
        if line.starts_with("#[ignore") {
            return false;
        }
        is_test |= line == "#[test]";
    }
    is_test
}

/// Whether a file is, lies in or has a module of a name.
fn is_within(module: &str, file: &SourceFile) -> bool {
    let is_module = |part: &str| part.trim_end_matches(".rs").replace('-', "_") == module;
    file.path.split('/').any(is_module) || defines(&file.text, module)
}

/// What may stand in front of a definition.
fn is_modifier(word: &str) -> bool {
    word.starts_with("pub") || ["async", "unsafe", "extern"].contains(&word)
}

/// What a name in the code is defined by.
const KINDS: [&str; 8] = ["fn", "const", "struct", "enum", "trait", "static", "type", "mod"];

#[cfg(test)]
mod tests {
    use super::{SourceFile, defines, is_test};

    fn is_one(name: &str, text: &str) -> bool {
        let path = "tests/lab/tests/thread.rs".to_owned();
        is_test(name, &[SourceFile { path, text: text.to_owned() }])
    }

    #[test]
    fn a_test_has_its_attribute_right_above_it() {
        let test = "/// It does.\n#[test]\n#[cfg(unix)]\nfn ping_works() {}\n";
        assert!(is_one("ping_works", test) && is_one("thread::ping_works", test));
        assert!(!is_one("harness::ping_works", test), "in another file");
        assert!(!is_one("ping_work", test));
        for helper in [
            "fn ping_works() {}\n",
            "#[test]\nfn another() {}\n\nfn ping_works() {}\n",
            "// fn ping_works()\n",
            "#[test]\nfn another() { ping_works(); }\n",
            "#[test]\n#[ignore = \"slow\"]\nfn ping_works() {}\n",
        ] {
            assert!(!is_one("ping_works", helper), "{helper}");
        }
        let within = "mod thread_of_one {\n    #[test]\n    fn ping_works() {}\n}\n";
        assert!(is_one("thread_of_one::ping_works", within));
    }

    #[test]
    fn a_test_of_properties_is_a_test() {
        let text = "proptest! {\n    #[test]\n    fn holds(a: u8) {}\n}\n";
        assert!(is_one("holds", text));
    }

    #[test]
    fn a_symbol_is_defined_by_a_line_of_code() {
        for line in [
            "fn lease<R>(a: A) {}",
            "    pub(crate) const fn lease(self) {}",
            "pub const lease: u8 = 1;",
            "static mut lease: u8 = 1;",
            "pub struct lease(u8);",
            "type lease = u8;",
        ] {
            assert!(defines(line, "lease"), "{line}");
        }
        for line in ["/// as fn lease does", "x.lease()", "let lease = 1;", "fn lease_all() {}"] {
            assert!(!defines(line, "lease"), "{line}");
        }
    }
}
