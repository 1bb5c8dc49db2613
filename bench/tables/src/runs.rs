//! Runs of one case, and what is said of them.

/// Clocks of each run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runs(pub(crate) Vec<f64>);

impl Runs {
    /// The one in the middle.
    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    }

    /// (max - min) / median.
    pub(crate) fn spread(&self) -> f64 {
        let most = self.0.iter().copied().fold(f64::MIN, f64::max);
        let least = self.0.iter().copied().fold(f64::MAX, f64::min);
        (most - least) / self.median()
    }
}

/// To a tenth; of spreads to a thousandth.
pub(crate) fn rounded(value: f64, parts: f64) -> f64 {
    (value * parts).round() / parts
}

#[cfg(test)]
mod tests {
    use super::Runs;

    #[test]
    fn runs_are_told_by_their_median_and_spread() {
        let runs = Runs(vec![3.0, 1.0, 2.0]);
        assert!((runs.median() - 2.0).abs() < 1e-9 && (runs.spread() - 1.0).abs() < 1e-9);
    }
}
