//! Collects problems while a text is read, by byte offset, and puts them in order at the end.

use std::ops::Range;

use crate::problem::{Problem, Severity};

/// The problems found so far in one text.
pub(crate) struct Report<'t> {
    text: &'t str,
    /// Where its lines start: places are asked for as often as there are values.
    lines: Vec<usize>,
    found: Vec<(usize, Problem)>,
}

impl<'t> Report<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        let after_feeds = text.match_indices('\n').map(|(feed, _)| feed + 1);
        Self { text, lines: [0].into_iter().chain(after_feeds).collect(), found: Vec::new() }
    }

    /// Refuses the configuration because of what stands `at` these bytes.
    pub(crate) fn error(
        &mut self,
        at: Range<usize>,
        message: impl AsRef<str>,
        hint: impl AsRef<str>,
    ) {
        self.add(Severity::Error, at.start, message.as_ref(), hint.as_ref());
    }

    /// Lets the configuration pass, but says that this is probably not meant.
    pub(crate) fn warning(
        &mut self,
        at: Range<usize>,
        message: impl AsRef<str>,
        hint: impl AsRef<str>,
    ) {
        self.add(Severity::Warning, at.start, message.as_ref(), hint.as_ref());
    }

    /// Whether the configuration is refused already.
    pub(crate) fn has_errors(&self) -> bool {
        self.found.iter().any(|(_, problem)| problem.severity == Severity::Error)
    }

    /// The line, from 1, on which the byte at `offset` stands: for "the first is on line N".
    pub(crate) fn line(&self, offset: usize) -> usize {
        self.position(offset).0
    }

    /// All problems in the order of the text.
    pub(crate) fn finish(mut self) -> Vec<Problem> {
        self.found.sort_by_key(|(offset, _)| *offset);
        self.found.into_iter().map(|(_, problem)| problem).collect()
    }

    fn add(&mut self, severity: Severity, offset: usize, message: &str, hint: &str) {
        let (line, column) = self.position(offset);
        let message = printable(message);
        let hint = Some(printable(hint)).filter(|hint| !hint.is_empty());
        self.found.push((offset, Problem { line, column, severity, message, hint }));
    }

    fn position(&self, offset: usize) -> (usize, usize) {
        let end = self.text.floor_char_boundary(offset);
        let line = self.lines.partition_point(|start| *start <= end);
        let start = line.checked_sub(1).and_then(|line| self.lines.get(line)).copied();
        (line, self.text[start.unwrap_or(0)..end].chars().count() + 1)
    }
}

/// What was quoted from the text may hold line feeds and terminal escapes: shown, not obeyed.
fn printable(text: &str) -> String {
    let shown = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.into() };
    text.chars().map(shown).collect()
}

/// A hint that proposes the nearest of `known` names, or lists them all.
pub(crate) fn did_you_mean(written: &str, known: &[&str], plural: &str) -> String {
    let nearest = known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(written, name), *name))
        .filter(|(distance, name)| *distance <= 2.max(name.len() / 3))
        .min_by_key(|(distance, _)| *distance);
    match nearest {
        Some((_, name)) => format!("did you mean `{name}`?"),
        None => match known {
            [] => format!("there are no {plural}"),
            [only] => format!("there is only `{only}`"),
            all => format!("the {plural} are {}", quoted(all)),
        },
    }
}

/// "`a`", "`a` and `b`", "`a`, `b` and `c`".
pub(crate) fn quoted(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match names.as_slice() {
        [all @ .., last] if !all.is_empty() => format!("{} and {last}", all.join(", ")),
        few => few.concat(),
    }
}
