//! What is said of several runs of one measurement. A median of few runs moves less than their mean when the machine
//! stutters, and the spread tells how far to trust it.
#![forbid(unsafe_code)]

/// The one in the middle, or between the two in the middle. NaN of none.
#[must_use]
pub fn median(runs: &[f64]) -> f64 {
    let mut sorted = runs.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// A quarter of them is not larger: of n the one in the place n / 4, rounded down, from 0. NaN of none.
#[must_use]
pub fn lower_quartile(runs: &[f64]) -> f64 {
    let mut sorted = runs.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 4).copied().unwrap_or(f64::NAN)
}

/// (max - min) / median.
#[must_use]
pub fn spread(runs: &[f64]) -> f64 {
    let least = runs.iter().copied().fold(f64::MAX, f64::min);
    (most(runs) - least) / median(runs)
}

/// The largest.
#[must_use]
pub fn most(runs: &[f64]) -> f64 {
    runs.iter().copied().fold(f64::MIN, f64::max)
}

/// To so many parts of one.
#[must_use]
pub fn rounded(value: f64, parts: f64) -> f64 {
    (value * parts).round() / parts
}

#[cfg(test)]
mod tests {
    use super::{lower_quartile, median, most, rounded, spread};

    #[test]
    fn runs_are_told_by_their_median_and_spread() {
        assert_eq!((median(&[3.0, 1.0, 2.0]), median(&[4.0, 1.0, 2.0, 3.0])), (2.0, 2.5));
        assert_eq!((spread(&[3.0, 1.0, 2.0]), most(&[3.0, 1.0, 2.0])), (1.0, 3.0));
        assert_eq!((rounded(1.26, 10.0), rounded(1.2346, 1000.0)), (1.3, 1.235));
        assert_eq!(lower_quartile(&[9.0, 1.0, 8.0, 2.0, 7.0, 3.0, 6.0, 4.0, 5.0]), 3.0);
        assert!(median(&[]).is_nan() && lower_quartile(&[]).is_nan());
    }
}
