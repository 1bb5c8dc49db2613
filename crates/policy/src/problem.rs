//! What is wrong with a configuration, said to the person who wrote it.
//!
//! A problem names a place (1-based line and column, in characters), a reason, and what to do about
//! it. It does not know the file: the name is given when it is rendered.

use std::error::Error;
use std::fmt;

/// One thing that is wrong, or probably not meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line in the text, from 1.
    pub line: usize,
    /// Character in the line, from 1.
    pub column: usize,
    /// Whether the configuration can be used nevertheless.
    pub severity: Severity,
    /// What is wrong, without a full stop.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// How bad a [`Problem`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// The configuration is used as it stands.
    Warning,
}

/// Every problem of one text, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problem {
    /// Two lines: `FILE:LINE:COLUMN: error: MESSAGE` and `hint: HINT`, each with its line feed.
    #[must_use]
    pub fn render(&self, file_name: &str) -> String {
        let Self { line, column, severity, message, hint } = self;
        let mut text = format!("{file_name}:{line}:{column}: {severity}: {message}\n");
        if let Some(hint) = hint {
            text.push_str(&format!("hint: {hint}\n"));
        }
        text
    }
}

impl Problems {
    /// All problems as [`Problem::render`] writes them, one after the other.
    #[must_use]
    pub fn render(&self, file_name: &str) -> String {
        self.0.iter().map(|problem| problem.render(file_name)).collect()
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl Error for Problems {}
