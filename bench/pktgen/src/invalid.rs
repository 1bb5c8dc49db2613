//! What was asked for and makes no sense: exit code 2, as of every other of our programs.

use thiserror::Error;

use crate::lab_only::Outside;

/// Arguments that do not go together, with the reason.
#[derive(Debug, Error)]
#[error("{0}")]
pub(crate) struct Invalid(String);

impl Invalid {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }

    /// # Errors
    /// The reason, unless what must be so is.
    pub(crate) fn unless(holds: bool, reason: impl FnOnce() -> String) -> Result<(), Self> {
        if holds { Ok(()) } else { Err(Self(reason())) }
    }
}

impl From<Outside> for Invalid {
    fn from(outside: Outside) -> Self {
        Self(outside.to_string())
    }
}
