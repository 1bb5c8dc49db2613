//! The figures, as a table and as the JSON that others read.

use anyhow::Result;
use mooring_bench_figures::{lower_quartile, median, spread};
use serde_json::{Value, json};

use crate::cases::Case;

/// One case, measured.
#[derive(Debug)]
pub(crate) struct Row {
    case: &'static str,
    ours: f64,
    theirs: f64,
    /// Median of the pairs' ratios, ours by theirs.
    ratio: f64,
    /// A quarter of the ratios is not larger.
    lower_quartile: f64,
    better: &'static str,
    unit: &'static str,
    /// Of the ratios: (max - min) / median.
    spread: f64,
}

impl Row {
    /// From pairs of figures, ours first.
    pub(crate) fn new(case: Case, pairs: &[[f64; 2]]) -> Self {
        let column = |at: usize| median(&pairs.iter().map(|pair| pair[at]).collect::<Vec<_>>());
        let ratios: Vec<f64> = pairs.iter().map(|[ours, theirs]| ours / theirs).collect();
        Self {
            case: case.name(),
            ours: column(0),
            theirs: column(1),
            ratio: median(&ratios),
            lower_quartile: lower_quartile(&ratios),
            better: case.better(),
            unit: case.unit(),
            spread: spread(&ratios),
        }
    }
}

/// What is compared, by name.
pub(crate) type Names = [&'static str; 2];

pub(crate) fn print_json(rows: &[Row], [ours, theirs]: Names) -> Result<()> {
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| {
            json!({
                "case": row.case,
                ours: row.ours,
                theirs: row.theirs,
                "ratio": row.ratio,
                "lower_quartile": row.lower_quartile,
                "better": row.better,
                "unit": row.unit,
                "spread": row.spread,
            })
        })
        .collect();
    println!("{}", serde_json::to_string_pretty(&rows)?);
    Ok(())
}

pub(crate) fn print_table(rows: &[Row], [ours, theirs]: Names) -> Result<()> {
    println!(
        "{:<22} {:>12} {:>12} {:<14} {:>6} {:>7}  better",
        "case", ours, theirs, "unit", "ratio", "spread"
    );
    for row in rows {
        println!(
            "{:<22} {:>12.2} {:>12.2} {:<14} {:>6.2} {:>7.2}  {}",
            row.case, row.ours, row.theirs, row.unit, row.ratio, row.spread, row.better
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Row;
    use crate::cases::Case;

    #[test]
    fn the_ratio_is_that_of_the_pairs() {
        // The machine became twice as slow: each pair still says one half.
        let row = Row::new(Case::TcpBulk, &[[4.0, 8.0], [3.0, 6.0], [2.0, 4.0]]);
        assert_eq!((row.ours, row.theirs, row.ratio, row.spread), (3.0, 6.0, 0.5, 0.0));
    }
}
