//! One line for each step: a spinner on a terminal while it runs, a plain line when it is done.

use std::time::Duration;

use anyhow::{Context, Result};
use indicatif::ProgressBar;

/// Runs one step; it returns its result and what to say about it.
///
/// # Errors
/// The step's own, with its name.
pub(crate) fn step<T>(name: &str, work: impl FnOnce() -> Result<(T, String)>) -> Result<T> {
    // Draws nothing where standard error is no terminal.
    let spinner = ProgressBar::new_spinner().with_message(name.to_owned());
    spinner.enable_steady_tick(Duration::from_millis(100));
    let done = work();
    spinner.finish_and_clear();
    let (result, remark) = done.with_context(|| name.to_owned())?;
    println!("  ✓ {name:<16} {remark}");
    Ok(result)
}
