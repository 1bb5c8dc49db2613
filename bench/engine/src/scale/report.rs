//! Rows of the comparison: for people and for machines.

use mooring_bench_figures::{median, rounded, spread};
use serde_json::{Value, json};

use crate::clock::Rate;
use crate::flows::Family;

/// The paired runs of one case: packets a clock.
pub(super) struct Row {
    case: &'static str,
    family: Family,
    sessions: u32,
    threads: u8,
    /// Frames compared with the oracle.
    pub(super) verified: u64,
    workers: Vec<f64>,
    independent: Vec<f64>,
    alone: Vec<f64>,
}

impl Row {
    pub(super) fn new(case: &'static str, family: Family, (sessions, threads): (u32, u8)) -> Self {
        let runs = Vec::new;
        let (workers, independent, alone) = (runs(), runs(), runs());
        Self { case, family, sessions, threads, verified: 0, workers, independent, alone }
    }

    /// What a run has carried: the workers, the independent threads, and one alone.
    pub(super) fn run(&mut self, [workers, independent, alone]: [f64; 3]) {
        self.workers.push(workers);
        self.independent.push(independent);
        self.alone.push(alone);
    }

    pub(super) fn json(&self, rate: Rate) -> Value {
        let mpps = |runs: &[f64]| rounded(mpps(rate, median(runs)), 100.0);
        json!({
            "case": self.case,
            "family": self.family.to_string(),
            "sessions": self.sessions,
            "workers": self.threads,
            "workers_mpps": mpps(&self.workers),
            "independent_mpps": mpps(&self.independent),
            "one_thread_mpps": mpps(&self.alone),
            "ratio": rounded(median(&self.ratios()), 1000.0),
            "independent_of_ideal": rounded(self.of_ideal(), 1000.0),
            "verified": self.verified,
            "spread": rounded(spread(&self.ratios()), 1000.0),
            "runs": self.workers.len(),
        })
    }

    pub(super) fn line(&self, rate: Rate) -> String {
        let mpps = |runs: &[f64]| mpps(rate, median(runs));
        format!(
            "{:<8} {:<6} {:>10} {:>8} {:>9.2} {:>12.2} {:>8.2} {:>7.3} {:>7.3} {:>9.3} {:>10}",
            self.case,
            self.family,
            self.sessions,
            self.threads,
            mpps(&self.workers),
            mpps(&self.independent),
            mpps(&self.alone),
            median(&self.ratios()),
            spread(&self.ratios()),
            self.of_ideal(),
            self.verified,
        )
    }

    /// The workers to the independent threads, run by run.
    fn ratios(&self) -> Vec<f64> {
        self.workers.iter().zip(&self.independent).map(|(ours, probe)| ours / probe).collect()
    }

    /// What independent threads reach of a thread alone, times their number: the machine's own part.
    fn of_ideal(&self) -> f64 {
        let pairs = self.independent.iter().zip(&self.alone);
        let parts: Vec<f64> =
            pairs.map(|(all, alone)| all / (alone * f64::from(self.threads))).collect();
        median(&parts)
    }
}

/// What stands above the lines.
pub(super) fn heading() -> String {
    format!(
        "Mpps of workers, of independent threads and of one thread alone; the ratio of the first two, its spread; \
         the second to the third, times threads\n\
         {:<8} {:<6} {:>10} {:>8} {:>9} {:>12} {:>8} {:>7} {:>7} {:>9} {:>10}",
        "case",
        "family",
        "sessions",
        "threads",
        "workers",
        "independent",
        "one",
        "ratio",
        "spread",
        "of ideal",
        "verified"
    )
}

fn mpps(rate: Rate, packets_a_clock: f64) -> f64 {
    1e3 * packets_a_clock / rate.nanos(1.0)
}

#[cfg(test)]
mod tests {
    use super::Row;
    use crate::clock::Rate;
    use crate::flows::Family;

    #[test]
    fn ratios_are_those_of_pairs() {
        let mut row = Row::new("hit_out", Family::V4, (64_512, 2));
        // The machine is half as fast in the second run: the ratio is the same.
        row.run([0.018, 0.02, 0.0125]);
        row.run([0.009, 0.01, 0.00625]);
        row.run([0.02, 0.02, 0.0125]);
        let row = row.json(Rate::measure());
        assert_eq!((&row["ratio"], &row["independent_of_ideal"]), (&0.9.into(), &0.8.into()));
        assert_eq!((&row["workers"], &row["runs"]), (&2.into(), &3.into()));
    }
}
