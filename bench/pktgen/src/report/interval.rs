//! A run over time.

use std::time::Duration;

use serde::Serialize;

use super::part;
use crate::page::{Axis, Colour, Plot, Scale, Series, Shape, Unit};
use crate::timeline::Latency;
use crate::trial::Outcome;

/// What was sent in an interval, and what came of those packets.
#[derive(Debug, Serialize)]
pub(super) struct Interval {
    /// From the beginning of the run.
    pub(super) from_seconds: f64,
    pub(super) seconds: f64,
    pub(super) sent: u64,
    /// Packets that came, each counted once, whenever it was.
    pub(super) packets: u64,
    pub(super) lost: u64,
    pub(super) loss: f64,
    /// Of the packets that came before those of the second interval after it; null if there are none.
    pub(super) latency_ns: Option<Latency>,
}

/// The intervals of a run; without a receiver nothing comes.
pub(super) fn intervals(outcome: &Outcome, length: Duration) -> Vec<Interval> {
    let came = outcome.received.as_ref().map_or(&[][..], |received| &received.intervals);
    let (length, end) = (length.as_secs_f64(), outcome.sent.time.as_secs_f64());
    let interval = |(index, sent): (usize, &u64)| {
        let came = came.get(index);
        let packets = came.map_or(0, |came| came.packets);
        let lost = sent.saturating_sub(packets);
        let from_seconds = index as f64 * length;
        Interval {
            from_seconds,
            seconds: length.min(end - from_seconds).max(f64::MIN_POSITIVE),
            sent: *sent,
            packets,
            lost,
            loss: part(lost, *sent),
            latency_ns: came.and_then(|came| came.latency.clone()),
        }
    };
    outcome.sent.intervals.iter().enumerate().map(interval).collect()
}

impl Interval {
    fn middle(&self) -> f64 {
        self.from_seconds + self.seconds / 2.0
    }
}

/// Rates, loss and latencies over time.
pub(super) fn plots(intervals: &[Interval], rate: Option<u64>, has_receiver: bool) -> Vec<Plot> {
    let mut plots = vec![rates(intervals, rate, has_receiver)];
    if has_receiver {
        // Where nothing was lost there is nothing to see.
        plots.extend(Some(losses(intervals)).filter(|_| intervals.iter().any(|i| i.lost > 0)));
        plots.push(latencies(intervals));
    }
    plots
}

fn rates(intervals: &[Interval], rate: Option<u64>, has_receiver: bool) -> Plot {
    let series = |name, shape, colour, count: fn(&Interval) -> u64| Series {
        name,
        shape,
        colour,
        // A last interval that has hardly begun has no rate.
        points: intervals
            .iter()
            .filter(|interval| interval.seconds * 2.0 > intervals[0].seconds)
            .map(|interval| (interval.middle(), count(interval) as f64 / interval.seconds))
            .collect(),
    };
    let mut all = vec![series("sent", Shape::Wide, Colour::First, |interval| interval.sent)];
    if has_receiver {
        all.push(series("arrived", Shape::Line, Colour::Second, |interval| interval.packets));
    }
    Plot {
        title: "Rate over time",
        caption:
            "Packets a second by when they were sent: where the lines part, packets were lost."
                .to_owned(),
        x: TIME,
        y: Axis { label: "packets a second", scale: Scale::Linear, unit: Unit::Count },
        series: all,
        limit: rate.map(|rate| (rate as f64, "asked for".to_owned())),
    }
}

fn losses(intervals: &[Interval]) -> Plot {
    let points = intervals.iter().map(|interval| (interval.middle(), interval.loss)).collect();
    Plot {
        title: "Loss over time",
        caption: "The part of the packets of each interval that never came.".to_owned(),
        x: TIME,
        y: Axis { label: "lost", scale: Scale::Linear, unit: Unit::Part },
        series: vec![Series { name: "lost", shape: Shape::Bars, colour: Colour::Bad, points }],
        limit: None,
    }
}

fn latencies(intervals: &[Interval]) -> Plot {
    let series = |name, colour, value: fn(&Latency) -> u64| Series {
        name,
        shape: Shape::Line,
        colour,
        points: intervals
            .iter()
            .filter_map(|interval| {
                Some((interval.middle(), value(interval.latency_ns.as_ref()?) as f64))
            })
            .collect(),
    };
    Plot {
        title: "Latency over time",
        caption: "From the time stamp of a packet's batch to when the receiver saw it.".to_owned(),
        x: TIME,
        y: Axis { label: "latency", scale: Scale::Log, unit: Unit::Time },
        series: vec![
            series("median", Colour::First, |latency| latency.p50),
            series("99 %", Colour::Second, |latency| latency.p99),
            series("longest", Colour::Third, |latency| latency.max),
        ],
        limit: None,
    }
}

const TIME: Axis =
    Axis { label: "time since the run began", scale: Scale::Tight, unit: Unit::Seconds };

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::intervals;
    use crate::transmit::Sent;
    use crate::trial::Outcome;

    #[test]
    fn the_last_interval_ends_with_the_run() {
        let time = Duration::from_millis(250);
        let sent = Sent { packets: 25, intervals: vec![10, 10, 5], time, ..Sent::default() };
        let outcome = Outcome { sent, received: None };
        let all = intervals(&outcome, Duration::from_millis(100));
        let seen: Vec<_> = all.iter().map(|i| (i.sent, (i.seconds * 1e3).round())).collect();
        assert_eq!(seen, [(10, 100.0), (10, 100.0), (5, 50.0)]);
        assert!(all.iter().all(|interval| interval.lost == interval.sent));
    }
}
