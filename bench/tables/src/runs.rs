//! Runs of one case, and what is said of them.

use mooring_bench_figures::{median, spread};

/// Clocks of each run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runs(pub(crate) Vec<f64>);

impl Runs {
    /// The one in the middle.
    pub(crate) fn median(&self) -> f64 {
        median(&self.0)
    }

    /// (max - min) / median.
    pub(crate) fn spread(&self) -> f64 {
        spread(&self.0)
    }
}
