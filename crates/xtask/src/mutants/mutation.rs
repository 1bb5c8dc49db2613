//! A file of `tests/mutants`: a header that says what the change breaks, and the change as a
//! unified diff.
//!
//! A hunk is found by its text and not by its line numbers, and must fit exactly one place: so it
//! survives edits around it, and cannot come to change something else.

use anyhow::{Context, Result, bail, ensure};

/// One change that the tests must notice.
#[derive(Debug)]
pub(crate) struct Mutation {
    /// The name of its file without folder and extension.
    pub(crate) name: String,
    /// The rule, and what is wrong with the changed code.
    pub(crate) breaks: String,
    /// The package whose tests notice it.
    pub(crate) package: String,
    /// The integration test (`--test`) that they stand in; without it in the library.
    pub(crate) target: Option<String>,
    /// The tests that must fail, each.
    pub(crate) tests: Vec<String>,
    /// The change.
    pub(crate) hunks: Vec<Hunk>,
}

/// Lines that are replaced.
#[derive(Debug)]
pub(crate) struct Hunk {
    /// The file, from the root of the repository on.
    pub(crate) path: String,
    old: String,
    new: String,
}

impl Mutation {
    /// Reads a file of `tests/mutants`.
    ///
    /// # Errors
    /// When the header lacks something or the diff is none.
    pub(crate) fn parse(name: &str, text: &str) -> Result<Self> {
        let (header, diff) = text.split_once("\n--- ").context("there is no diff")?;
        let field = |key: &'static str| {
            let lines =
                header.lines().filter_map(move |line| line.strip_prefix("# ")?.split_once(": "));
            lines.filter(move |(word, _)| *word == key).map(|(_, value)| value.trim().to_owned())
        };
        let one = |key| field(key).next().with_context(|| format!("the header lacks `# {key}: `"));
        let tests: Vec<_> = field("test").collect();
        ensure!(!tests.is_empty(), "the header lacks `# test: `");
        Ok(Self {
            name: name.to_owned(),
            breaks: one("breaks")?,
            package: one("package")?,
            target: field("target").next(),
            tests,
            hunks: hunks(diff)?,
        })
    }
}

impl Hunk {
    /// The file's text after the change.
    ///
    /// # Errors
    /// When the lines it replaces do not stand in the text, or more than once.
    pub(crate) fn apply(&self, text: &str) -> Result<String> {
        let at_line = |at: &usize| *at == 0 || text[..*at].ends_with('\n');
        let places = text.match_indices(&self.old).map(|(at, _)| at).filter(at_line);
        match places.collect::<Vec<_>>()[..] {
            [at] => Ok([&text[..at], &self.new, &text[at + self.old.len()..]].concat()),
            [] => bail!("does not apply to {}: the lines that it replaces are gone", self.path),
            [..] => bail!("applies to more than one place of {}: give it more context", self.path),
        }
    }
}

/// The hunks of all files; the first `--- ` has been cut off.
fn hunks(diff: &str) -> Result<Vec<Hunk>> {
    let mut hunks = Vec::<Hunk>::new();
    let mut path = None;
    for line in diff.lines().skip(1) {
        if let Some(name) = line.strip_prefix("+++ b/") {
            path = Some(name);
        } else if line.starts_with("--- ") {
            path = None;
        } else if line.starts_with("@@ ") {
            let path = path.context("a hunk without `+++ b/`")?.to_owned();
            hunks.push(Hunk { path, old: String::new(), new: String::new() });
        } else {
            let hunk = hunks.last_mut().context("a line before the first hunk")?;
            let (kind, rest) = line.split_at_checked(1).unwrap_or((" ", ""));
            ensure!([" ", "-", "+"].contains(&kind), "no line of a diff: {line}");
            for (text, other) in [(&mut hunk.old, "+"), (&mut hunk.new, "-")] {
                if kind != other {
                    text.push_str(rest);
                    text.push('\n');
                }
            }
        }
    }
    ensure!(!hunks.is_empty(), "there is no hunk");
    ensure!(hunks.iter().all(|hunk| hunk.old != hunk.new), "a hunk changes nothing");
    Ok(hunks)
}

/// The folder of the mutations, from the root of the repository on.
pub(crate) const FOLDER: &str = "tests/mutants";

/// The name of the mutation in this file, if it is one.
pub(crate) fn name_of(path: &str) -> Option<&str> {
    path.strip_prefix(FOLDER)?.strip_prefix('/')?.strip_suffix(".patch")
}

#[cfg(test)]
mod tests {
    use super::{Mutation, name_of};

    const PATCH: &str = "\
# breaks: RFC 768: a sum of zero is sent as zero
# package: mooring-wire
# test: udp_zero_rule
# test: another
--- a/crates/wire/src/checksum.rs
+++ b/crates/wire/src/checksum.rs
@@ -3,3 +3,3 @@
 a
-b
+c
 d
";

    #[test]
    fn a_file_says_what_it_breaks_and_which_tests_notice() {
        let mutation = Mutation::parse("zero", PATCH).expect("a mutation");
        assert_eq!(mutation.breaks, "RFC 768: a sum of zero is sent as zero");
        assert_eq!((mutation.package.as_str(), mutation.target), ("mooring-wire", None));
        assert_eq!(mutation.tests, ["udp_zero_rule", "another"]);
        assert_eq!(mutation.hunks[0].path, "crates/wire/src/checksum.rs");
    }

    #[test]
    fn a_hunk_is_found_by_its_text_at_one_place_only() {
        let hunk = &Mutation::parse("zero", PATCH).expect("a mutation").hunks[0];
        assert_eq!(hunk.apply("x\na\nb\nd\ny\n").expect("fits"), "x\na\nc\nd\ny\n");
        assert!(hunk.apply("x\na\nd\n").is_err(), "nowhere");
        assert!(hunk.apply("xa\nb\nd\n").is_err(), "within a line");
        assert!(hunk.apply("a\nb\nd\na\nb\nd\n").is_err(), "twice");
    }

    #[test]
    fn what_lacks_something_is_no_mutation() {
        for cut in ["# breaks: ", "# package: ", "# test: ", "--- a", "+++ b/", "@@ ", "-b\n+c\n"] {
            assert!(Mutation::parse("zero", &PATCH.replace(cut, "")).is_err(), "without {cut}");
        }
    }

    #[test]
    fn mutations_are_the_patches_of_the_folder() {
        assert_eq!(name_of("tests/mutants/zero.patch"), Some("zero"));
        assert_eq!(name_of("tests/mutants/results.md"), None);
        assert_eq!(name_of("tests/fuzz/zero.patch"), None);
    }
}
