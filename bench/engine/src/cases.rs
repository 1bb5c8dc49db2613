//! The cases that are timed, each in runs of its own.

use clap::builder::PossibleValuesParser;

use crate::config::Mapping;
use crate::flows::{Family, orders, shuffle};
use crate::frames::Shape;
use crate::oracle::Judge;
use crate::report::Row;
use crate::scene::{STEP, Scene, Way, bytes_per_session};

/// Packets of known sessions, out and in, short ones and of mixed lengths: one engine, all cases in turn. All
/// rows, or those that are `wanted`.
pub(crate) fn hits(family: Family, sessions: u32, runs: u64, wanted: &[String]) -> Vec<Row> {
    let asked: Vec<_> = HITS.into_iter().filter(|(name, ..)| is_wanted(name, wanted)).collect();
    if asked.is_empty() {
        return Vec::new();
    }
    let mapping = Mapping::Independent;
    let bytes = bytes_per_session(family, mapping, sessions);
    let mut scene = Scene::new(family, mapping, sessions);
    // Spread over most of their timeout, as sessions that have been there for long are due: evenly.
    scene.fill((0, sessions), FILL_MILLIS);
    let mut cases: Vec<_> = asked
        .into_iter()
        .map(|(name, way, shape)| {
            let mut row = Row::new(name, family, sessions, bytes);
            scene.shape = shape;
            let mut judge = Judge::new(false);
            scene.judge(way, &packets(shape, sessions, 0, 1), u32::MAX, &mut judge);
            row.verified = judge.compared;
            (way, shape, row)
        })
        .collect();
    for run in 0..runs {
        for (way, shape, row) in &mut cases {
            scene.shape = *shape;
            let flows = packets(*shape, sessions, LEAST_PACKETS, run + 2);
            time(&mut scene, *way, &flows, row);
        }
    }
    assert_eq!(scene.occupancy().sessions, sessions as usize, "none has ended");
    cases.into_iter().map(|(_, _, row)| row).collect()
}

/// Of a hundred packets one is the first of a session.
pub(crate) fn one_percent_new(family: Family, sessions: u32, runs: u64) -> Row {
    let each = (LEAST_PACKETS / 100) as u32;
    let room = sessions + (runs as u32 + 1) * each;
    let mapping = Mapping::Independent;
    let bytes = bytes_per_session(family, mapping, room);
    let mut row = Row::new("one_percent_new", family, sessions, bytes);
    let mut scene = Scene::new(family, mapping, room);
    scene.fill((0, sessions), FILL_MILLIS);
    for run in 0..=runs {
        let mut flows = orders(sessions, LEAST_PACKETS, run);
        flows.truncate(LEAST_PACKETS);
        let new = sessions + run as u32 * each;
        for (n, packet) in (new..new + each).zip(flows.iter_mut().step_by(100)) {
            *packet = n;
        }
        if run == 0 {
            let mut judge = Judge::new(false);
            scene.judge(Way::Out, &flows, new, &mut judge);
            row.verified = judge.compared;
        } else {
            time(&mut scene, Way::Out, &flows, &mut row);
        }
    }
    assert_eq!(scene.occupancy().sessions, room as usize, "all have begun");
    row
}

/// First packets: a table is filled from half to 95 of 100, a new one for each run; then all of its sessions end.
pub(crate) fn news(family: Family, sessions: u32, runs: u64, wanted: &[String]) -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, mapping) in NEWS.into_iter().filter(|(name, _)| is_wanted(name, wanted)) {
        let bytes = bytes_per_session(family, mapping, sessions);
        let mut row = Row::new(name, family, sessions, bytes);
        let ends = (sessions / 2, sessions / 100 * 95);
        let mut expiry = Row::new("expiry", family, ends.1, bytes);
        for run in 0..=runs {
            let mut scene = Scene::new(family, mapping, sessions);
            scene.fill((0, ends.0), FILL_MILLIS);
            let mut flows: Vec<u32> = (ends.0..ends.1).collect();
            shuffle(&mut flows, run);
            if run == 0 {
                let mut judge = Judge::new(mapping == Mapping::Dependent);
                scene.judge(Way::Out, &flows, ends.0, &mut judge);
                row.verified = judge.compared;
                continue;
            }
            time(&mut scene, Way::Out, &flows, &mut row);
            assert_eq!(scene.occupancy().sessions, ends.1 as usize, "all have begun");
            scene.expire(|clocks, ended| {
                expiry.batch(clocks, ended);
                // No frame leaves: what is looked at is what was given back.
                expiry.verified += ended;
            });
            expiry.end_run();
            let left = scene.occupancy();
            assert_eq!((left.mappings, left.leased_ports), (0, 0), "all was given back");
        }
        assert_eq!(expiry.verified, runs * u64::from(ends.1), "every session has ended");
        rows.push(row);
        if mapping == Mapping::Independent {
            rows.push(expiry);
        }
    }
    rows
}

/// The names of rows that can be asked for.
pub(crate) fn rows() -> PossibleValuesParser {
    let hits = HITS.iter().map(|(name, ..)| *name);
    PossibleValuesParser::new(hits.chain(NEWS.iter().map(|(name, _)| *name)))
}

/// Whether a row is to be timed; all are where none is named.
fn is_wanted(name: &str, wanted: &[String]) -> bool {
    wanted.is_empty() || wanted.iter().any(|wanted| wanted == name)
}

/// A run of a case.
fn time(scene: &mut Scene, way: Way, flows: &[u32], row: &mut Row) {
    scene.walk(way, flows, STEP, |walked| {
        walked.all_leave(way);
        row.batch(walked.clocks, walked.flows.len() as u64);
    });
    row.end_run();
}

/// The sessions of at least so many packets, one or more of each; those of pieces come in pairs.
fn packets(shape: Shape, sessions: u32, least: usize, seed: u64) -> Vec<u32> {
    let flows = orders(sessions, least, seed);
    match shape {
        Shape::Pieces => flows.iter().flat_map(|n| [*n, *n]).collect(),
        _ => flows,
    }
}

const HITS: [(&str, Way, Shape); 7] = [
    ("hit_out", Way::Out, Shape::Short),
    ("hit_in", Way::In, Shape::Short),
    ("imix_out", Way::Out, Shape::Imix),
    ("imix_in", Way::In, Shape::Imix),
    ("fragments_out", Way::Out, Shape::Pieces),
    ("fragments_in", Way::In, Shape::Pieces),
    ("icmp_errors", Way::In, Shape::Errors),
];

const NEWS: [(&str, Mapping); 2] =
    [("new_edm", Mapping::Dependent), ("new_eim", Mapping::Independent)];

/// Packets of a run, at least.
const LEAST_PACKETS: usize = 1 << 19;

/// Within the timeout of UDP, and so that all sessions are looked at before it is over.
const FILL_MILLIS: u64 = 200_000;
