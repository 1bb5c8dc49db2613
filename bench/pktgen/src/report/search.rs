//! What a search found.

use serde::Serialize;

use super::{Report, part, print_cells, row};
use crate::cli::Search;
use crate::page::{Axis, Colour, Figure, Page, Plot, Scale, Series, Shape, Table, Unit, name};
use crate::search::{Found, Trial};

/// What a search found.
#[derive(Debug, Serialize)]
pub(crate) struct SearchReport {
    /// Always "search".
    mode: &'static str,
    /// The part of a trial's packets that might be lost.
    loss_bound: f64,
    /// Packets a second that the rate may be too low by.
    precision_pps: u64,
    /// How long each trial was.
    trial_seconds: f64,
    /// Trials that the rate passed once it was found.
    confirmations: u32,
    #[serde(flatten)]
    found: Found,
}

impl SearchReport {
    pub(crate) fn new(asked: &Search, found: Found) -> Self {
        Self {
            mode: "search",
            loss_bound: asked.loss,
            precision_pps: asked.precision,
            trial_seconds: asked.trial.as_secs_f64(),
            confirmations: asked.confirmed.confirmations,
            found,
        }
    }
}

impl Report for SearchReport {
    fn print(&self) {
        print_cells(&["rate pps", "sent pps", "sent", "lost", ""].map(str::to_owned));
        for trial in &self.found.trials {
            print_cells(&[
                trial.rate_pps.to_string(),
                format!("{:.0}", trial.sent_pps),
                trial.sent.to_string(),
                trial.lost.to_string(),
                if trial.passed { "passed" } else { "" }.to_owned(),
            ]);
        }
        println!();
        let rate = self.found.rate_pps.map_or("none".to_owned(), |rate| format!("{rate} pps"));
        row("loss-free rate", &rate);
        row("at most lost", &format!("{} %", self.loss_bound * 100.0));
        if self.found.is_lower_bound {
            row("note", "the device may take more: the generator did not go or get higher");
        }
    }

    fn page(&self) -> Page {
        let rate = self.found.rate_pps;
        let shown = rate.map_or("none".to_owned(), |rate| name(Unit::Count, rate as f64));
        let mut notes = Vec::new();
        if self.found.is_lower_bound {
            notes.push(
                "The device may take more: the generator did not go or get higher.".to_owned(),
            );
        }
        Page {
            title: "Search of the highest rate without loss (RFC 2544)".to_owned(),
            figures: vec![
                Figure::new("packets a second", shown),
                Figure::new("lost at most", name(Unit::Part, self.loss_bound)),
                Figure::new("a trial", name(Unit::Seconds, self.trial_seconds)),
                Figure::new("trials", self.found.trials.len().to_string()),
            ],
            plots: vec![trajectory(&self.found, RATE), losses(&self.found, self.loss_bound, RATE)],
            tables: vec![table(&self.found.trials)],
            notes,
        }
    }
}

/// Which rates were tried, in their order.
pub(super) fn trajectory(found: &Found, label: &'static str) -> Plot {
    let all = || (1..).zip(&found.trials).map(|(n, trial)| (f64::from(n), trial));
    let points = |passed: bool| {
        let those = all().filter(move |(_, trial)| trial.passed == passed);
        those.map(|(n, trial)| (n, trial.rate_pps as f64)).collect()
    };
    Plot {
        title: "The search",
        caption:
            "Each trial's rate. The rate that was found passed once more for each confirmation."
                .to_owned(),
        x: Axis { label: "trial", scale: Scale::Tight, unit: Unit::Count },
        y: Axis { label, scale: Scale::Linear, unit: Unit::Count },
        series: vec![
            Series {
                name: "in order",
                shape: Shape::Line,
                colour: Colour::Faint,
                points: all().map(|(n, trial)| (n, trial.rate_pps as f64)).collect(),
            },
            Series {
                name: "passed",
                shape: Shape::Dots,
                colour: Colour::Good,
                points: points(true),
            },
            Series {
                name: "failed",
                shape: Shape::Crosses,
                colour: Colour::Bad,
                points: points(false),
            },
        ],
        limit: found.rate_pps.map(|rate| (rate as f64, "found".to_owned())),
    }
}

/// How much was lost at which rate.
pub(super) fn losses(found: &Found, bound: f64, label: &'static str) -> Plot {
    let points = |passed: bool| {
        let those = found.trials.iter().filter(|trial| trial.passed == passed);
        those.map(|trial| (trial.rate_pps as f64, part(trial.lost, trial.sent))).collect()
    };
    Plot {
        title: "Loss by rate",
        caption: "Each trial: the rate that was asked for, and the part that was lost of what was sent. One \
                  that failed without loss is one in which the generator did not reach the rate."
            .to_owned(),
        x: Axis { label, scale: Scale::Linear, unit: Unit::Count },
        y: Axis { label: "lost", scale: Scale::Linear, unit: Unit::Part },
        series: vec![
            Series { name: "passed", shape: Shape::Dots, colour: Colour::Good, points: points(true) },
            Series { name: "failed", shape: Shape::Crosses, colour: Colour::Bad, points: points(false) },
        ],
        limit: Some((bound, "bound".to_owned())).filter(|_| bound > 0.0),
    }
}

/// Every trial.
pub(super) fn table(trials: &[Trial]) -> Table {
    let head = ["rate", "sent a second", "sent", "lost", "loss", ""];
    let rows = trials.iter().map(|trial| {
        vec![
            trial.rate_pps.to_string(),
            format!("{:.0}", trial.sent_pps),
            trial.sent.to_string(),
            trial.lost.to_string(),
            name(Unit::Part, part(trial.lost, trial.sent)),
            if trial.passed { "passed" } else { "" }.to_owned(),
        ]
    });
    Table { title: "Trials", head: head.map(str::to_owned).to_vec(), rows: rows.collect() }
}

const RATE: &str = "packets a second";
