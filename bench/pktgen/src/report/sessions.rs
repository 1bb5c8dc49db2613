//! What was measured of sessions.

use serde::Serialize;

use super::search::{losses, table, trajectory};
use super::{Report, print_cells, row};
use crate::page::{Axis, Colour, Figure, Page, Plot, Scale, Series, Shape, Table, Unit, name};
use crate::session_cli as cli;
use crate::sessions::{Capacity, Expiry, RateFound, Teardown};

/// The highest rate at which sessions can begin. Rates are sessions a second, each begins by one packet; `sent` are
/// sessions that were begun, `lost` those that were not answered.
#[derive(Debug, Serialize)]
pub(crate) struct SessionRateReport {
    /// Always `session_rate`.
    mode: &'static str,
    /// Sessions of a trial.
    sessions_per_trial: u32,
    /// The part of a trial's sessions that might be missing.
    loss_bound: f64,
    precision_pps: u64,
    confirmations: u32,
    validation_pps: u64,
    #[serde(flatten)]
    found: RateFound,
}

/// How many sessions there can be at a time.
#[derive(Debug, Serialize)]
pub(crate) struct SessionCapacityReport {
    /// Always `session_capacity`.
    mode: &'static str,
    /// Sessions a second that were begun.
    rate_pps: u64,
    validation_pps: u64,
    #[serde(flatten)]
    found: Capacity,
}

/// How fast a command ended sessions.
#[derive(Debug, Serialize)]
pub(crate) struct SessionTeardownReport {
    /// Always `session_teardown`.
    mode: &'static str,
    #[serde(flatten)]
    found: Teardown,
}

/// When and how fast sessions ended by themselves.
#[derive(Debug, Serialize)]
pub(crate) struct SessionExpiryReport {
    /// Always `session_expiry`.
    mode: &'static str,
    #[serde(flatten)]
    found: Expiry,
}

impl SessionRateReport {
    pub(crate) fn new(asked: &cli::Rate, found: RateFound) -> Self {
        Self {
            mode: "session_rate",
            sessions_per_trial: asked.sessions,
            loss_bound: asked.loss,
            precision_pps: asked.precision,
            confirmations: asked.confirmed.confirmations,
            validation_pps: asked.both.validation_rate,
            found,
        }
    }
}

impl SessionCapacityReport {
    pub(crate) fn new(asked: &cli::Capacity, found: Capacity) -> Self {
        let validation_pps = asked.both.validation_rate;
        Self { mode: "session_capacity", rate_pps: asked.begin.rate, validation_pps, found }
    }
}

impl SessionTeardownReport {
    pub(crate) fn new(found: Teardown) -> Self {
        Self { mode: "session_teardown", found }
    }
}

impl SessionExpiryReport {
    pub(crate) fn new(found: Expiry) -> Self {
        Self { mode: "session_expiry", found }
    }
}

impl Report for SessionRateReport {
    fn print(&self) {
        print_cells(
            &["rate", "begun/s", "begun", "arrived", "answered", "wrong", ""].map(str::to_owned),
        );
        for (trial, count) in self.found.found.trials.iter().zip(&self.found.sessions) {
            print_cells(&[
                trial.rate_pps.to_string(),
                format!("{:.0}", trial.sent_pps),
                trial.sent.to_string(),
                count.arrived.to_string(),
                count.valid.to_string(),
                count.wrong.to_string(),
                if trial.passed { "passed" } else { "" }.to_owned(),
            ]);
        }
        println!();
        let rate = self.found.found.rate_pps;
        row("sessions a second", &rate.map_or("none".to_owned(), |rate| rate.to_string()));
        if self.found.found.is_lower_bound {
            row("note", LOWER_RATE);
        }
    }

    fn page(&self) -> Page {
        let found = &self.found.found;
        let rate = found.rate_pps.map_or("none".to_owned(), |rate| name(Unit::Count, rate as f64));
        let mut trials = table(&found.trials);
        trials.head.extend(["arrived", "answered", "wrong"].map(str::to_owned));
        for (row, count) in trials.rows.iter_mut().zip(&self.found.sessions) {
            row.extend([count.arrived, count.valid, count.wrong].map(|count| count.to_string()));
        }
        Page {
            title: "Maximum session establishment rate (RFC 9693)".to_owned(),
            figures: vec![
                Figure::new("sessions a second", rate),
                Figure::new("sessions of a trial", self.sessions_per_trial.to_string()),
                Figure::new("missing at most", name(Unit::Part, self.loss_bound)),
                Figure::new("trials", found.trials.len().to_string()),
            ],
            plots: vec![trajectory(found, RATE), losses(found, self.loss_bound, RATE)],
            tables: vec![trials],
            notes: found.is_lower_bound.then(|| LOWER_RATE.to_owned()).into_iter().collect(),
        }
    }
}

impl Report for SessionCapacityReport {
    fn print(&self) {
        print_cells(&["sessions", "arrived", "answered", "wrong", ""].map(str::to_owned));
        self.rows().iter().for_each(|row| print_cells(row));
        println!();
        row("sessions", &self.found.capacity.to_string());
        self.notes().iter().for_each(|note| row("note", note));
    }

    fn page(&self) -> Page {
        let steps = || (1..).zip(&self.found.steps);
        let series = |name, shape, colour, points| Series { name, shape, colour, points };
        let begun = steps().map(|(n, step)| (f64::from(n), step.sessions as f64)).collect();
        let whole = |is_whole: bool| {
            let those = steps().filter(move |(_, step)| (step.valid == step.sessions) == is_whole);
            those.map(|(n, step)| (f64::from(n), step.valid as f64)).collect()
        };
        let head = ["sessions", "arrived", "answered", "wrong", ""].map(str::to_owned).to_vec();
        Page {
            title: "Session capacity (RFC 9693)".to_owned(),
            figures: vec![
                Figure::new("sessions at a time", name(Unit::Count, self.found.capacity as f64)),
                Figure::new("begun a second", name(Unit::Count, self.rate_pps as f64)),
                Figure::new("steps", self.found.steps.len().to_string()),
            ],
            plots: vec![Plot {
                title: "Sessions begun and answered",
                caption: "Each step begins more sessions and has all of them answered, the first ones as well. \
                          Where the marks leave the line, sessions are missing."
                    .to_owned(),
                x: Axis { label: "step", scale: Scale::Tight, unit: Unit::Count },
                y: Axis { label: "sessions", scale: Scale::Linear, unit: Unit::Count },
                series: vec![
                    series("begun", Shape::Line, Colour::First, begun),
                    series("all answered", Shape::Dots, Colour::Good, whole(true)),
                    series("some answered", Shape::Crosses, Colour::Bad, whole(false)),
                ],
                limit: Some((self.found.capacity as f64, "capacity".to_owned())),
            }],
            tables: vec![Table { title: "Steps", head, rows: self.rows() }],
            notes: self.notes(),
        }
    }
}

impl SessionCapacityReport {
    fn rows(&self) -> Vec<Vec<String>> {
        let cells = |step: &crate::sessions::Step| {
            let counts = [step.sessions, step.arrived, step.valid, step.wrong];
            let mut cells = counts.map(|count| count.to_string()).to_vec();
            cells.push(if step.from_empty { "from empty" } else { "" }.to_owned());
            cells
        };
        self.found.steps.iter().map(cells).collect()
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.found.is_lower_bound {
            notes.push("There may be room for more: no more were tried.".to_owned());
        }
        if !self.found.is_confirmed {
            notes.push(
                "So many were left when there were too many. Without --reset nothing shows that all of so many \
                 would have been kept."
                    .to_owned(),
            );
        }
        notes
    }
}

impl Report for SessionTeardownReport {
    fn print(&self) {
        let Teardown { sessions, left, seconds, ended_per_second } = &self.found;
        row("sessions", &sessions.to_string());
        row("left", &left.to_string());
        row("seconds", &format!("{seconds:.4}"));
        row("ended a second", &format!("{ended_per_second:.0}"));
    }

    fn page(&self) -> Page {
        let Teardown { sessions, left, seconds, ended_per_second } = &self.found;
        Page {
            title: "Session tear-down rate (RFC 9693)".to_owned(),
            figures: vec![
                Figure::new("sessions ended a second", name(Unit::Count, *ended_per_second)),
                Figure::new("sessions", sessions.to_string()),
                Figure::new("left", left.to_string()),
                Figure::new("time of the command", name(Unit::Seconds, *seconds)),
            ],
            plots: Vec::new(),
            tables: Vec::new(),
            notes: (*left > 0)
                .then(|| format!("{left} sessions were still answered after the command."))
                .into_iter()
                .collect(),
        }
    }
}

impl Report for SessionExpiryReport {
    fn print(&self) {
        print_cells(&["seconds", "asked", "alive"].map(str::to_owned));
        self.rows().iter().for_each(|row| print_cells(row));
        println!();
        row("sessions", &self.found.sessions.to_string());
        row("oldest alive", &seconds(self.found.oldest_alive_seconds));
        row("youngest ended", &seconds(self.found.youngest_ended_seconds));
        let pace = self.found.ended_per_second.map_or("-".to_owned(), |pace| format!("{pace:.0}"));
        row("ended a second", &pace);
    }

    fn page(&self) -> Page {
        let part =
            |probe: &crate::sessions::Probe| (probe.seconds, super::part(probe.alive, probe.asked));
        let points = self.found.probes.iter().map(part).collect();
        let pace = self.found.ended_per_second;
        Page {
            title: "How sessions end by themselves".to_owned(),
            figures: vec![
                Figure::new("sessions", self.found.sessions.to_string()),
                Figure::new("oldest that was alive", seconds(self.found.oldest_alive_seconds)),
                Figure::new("youngest that had ended", seconds(self.found.youngest_ended_seconds)),
                Figure::new(
                    "ended a second",
                    pace.map_or("-".to_owned(), |pace| name(Unit::Count, pace)),
                ),
            ],
            plots: vec![Plot {
                title: "Sessions that are alive",
                caption: "Each mark asks other sessions, spread evenly over all, for the first and only time."
                    .to_owned(),
                x: Axis {
                    label: "time since the last session began",
                    scale: Scale::Tight,
                    unit: Unit::Seconds,
                },
                y: Axis { label: "alive", scale: Scale::Linear, unit: Unit::Part },
                series: vec![Series {
                    name: "alive",
                    shape: Shape::Line,
                    colour: Colour::First,
                    points,
                }],
                limit: None,
            }],
            tables: vec![Table {
                title: "Probes",
                head: ["after", "asked", "alive"].map(str::to_owned).to_vec(),
                rows: self.rows(),
            }],
            notes: Vec::new(),
        }
    }
}

impl SessionExpiryReport {
    fn rows(&self) -> Vec<Vec<String>> {
        let cells = |probe: &crate::sessions::Probe| {
            vec![format!("{:.2}", probe.seconds), probe.asked.to_string(), probe.alive.to_string()]
        };
        self.found.probes.iter().map(cells).collect()
    }
}

fn seconds(seconds: Option<f64>) -> String {
    seconds.map_or("-".to_owned(), |seconds| name(Unit::Seconds, seconds))
}

const RATE: &str = "sessions a second";

const LOWER_RATE: &str = "The NAT may take more: the generator did not go or get higher.";
