//! How the process ends: 0 fine, 2 bad configuration or arguments, 1 anything else; one message, one
//! hint.

use std::process::ExitCode;

use crate::say::say;

/// Exit code for everything that is not the user's configuration or command line.
pub const FAILED: u8 = 1;

/// Exit code for a bad configuration or command line.
pub const BAD_INPUT: u8 = 2;

/// Why the process ends badly.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    /// [`FAILED`] or [`BAD_INPUT`].
    pub code: u8,
    /// What went wrong; already complete lines for a refused configuration.
    pub message: String,
    /// What the operator can do.
    pub hint: Option<String>,
}

impl Failure {
    /// Prints the message and gives the code.
    #[must_use]
    pub fn report(&self) -> ExitCode {
        let prefix = if self.code == BAD_INPUT { "" } else { "mooring: error: " };
        say(&format!("{prefix}{}", self.message));
        if let Some(hint) = &self.hint {
            say(&format!("hint: {hint}"));
        }
        ExitCode::from(self.code)
    }

    /// What goes into a longer message, where the process does not end.
    #[must_use]
    pub fn into_text(self) -> String {
        match self.hint {
            Some(hint) => format!("{}\nhint: {hint}", self.message),
            None => self.message,
        }
    }
}

/// Prints what clap has to say: help and version on stdout with code 0, errors on stderr with 2.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    // Nobody is left to tell when the terminal is gone.
    let _ = error.print();
    if error.use_stderr() { ExitCode::from(BAD_INPUT) } else { ExitCode::SUCCESS }
}
