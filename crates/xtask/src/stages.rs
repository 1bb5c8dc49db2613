//! A run of named stages that are timed and stop at the first failure.

use std::time::Duration;

use anyhow::{Context, Result};
use mooring_lab::clock::Stopwatch;

/// The stages run so far.
#[derive(Debug)]
pub(crate) struct Stages {
    done: Vec<(&'static str, Duration)>,
}

impl Stages {
    /// None so far.
    pub(crate) fn new() -> Self {
        Self { done: Vec::new() }
    }

    /// Runs one more. When it fails, the times so far are printed.
    ///
    /// # Errors
    /// The stage's own, with its name.
    pub(crate) fn run<T>(
        &mut self,
        name: &'static str,
        stage: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        println!("\n==> {name}");
        let watch = Stopwatch::start();
        let result = stage();
        self.done.push((name, watch.elapsed()));
        if result.is_err() {
            self.print_times();
        }
        result.with_context(|| format!("stage `{name}` failed"))
    }

    /// Prints the seconds of each stage.
    pub(crate) fn print_times(&self) {
        println!("\n{:<WIDTH$} {:>8}", "stage", "seconds");
        for (name, time) in &self.done {
            println!("{name:<WIDTH$} {:>8.1}", time.as_secs_f64());
        }
        let total: Duration = self.done.iter().map(|(_, time)| time).sum();
        println!("{:<WIDTH$} {:>8.1}", "total", total.as_secs_f64());
    }
}

const WIDTH: usize = 14;
