//! The cases that are timed, each in runs of its own.

use crate::config::Mapping;
use crate::flows::{Family, shuffle};
use crate::oracle::Judge;
use crate::report::Row;
use crate::scene::{STEP, Scene, Sizes, Way, bytes_per_session, packets};

/// Packets of known sessions, out and in, short ones and of mixed lengths: one engine, all cases in turn.
pub(crate) fn hits(family: Family, sessions: u32, runs: u64) -> Vec<Row> {
    let mapping = Mapping::Independent;
    let bytes = bytes_per_session(family, mapping, sessions);
    let mut scene = Scene::new(family, mapping, sessions);
    // Spread over most of their timeout, as sessions that have been there for long are due: evenly.
    scene.fill((0, sessions), FILL_MILLIS);
    let mut cases = HITS.map(|(name, way, sizes)| {
        let mut row = Row::new(name, family, sessions, bytes);
        scene.sizes = sizes;
        let mut judge = Judge::new(false);
        scene.judge(way, &packets(sessions, 0, 1), &mut judge);
        row.verified = judge.compared;
        (way, sizes, row)
    });
    for run in 0..runs {
        for (way, sizes, row) in &mut cases {
            scene.sizes = *sizes;
            let flows = packets(sessions, LEAST_PACKETS, run + 2);
            scene.walk(*way, &flows, STEP, |walked| {
                walked.all_leave(*way);
                row.batch(walked.clocks, walked.flows.len() as u64);
            });
            row.end_run();
        }
    }
    assert_eq!(scene.occupancy().sessions, sessions as usize, "none has ended");
    cases.map(|(_, _, row)| row).into()
}

/// First packets: a table is filled from half to 95 of 100, a new one for each run; then all of its sessions end.
pub(crate) fn news(family: Family, sessions: u32, runs: u64) -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, mapping) in NEWS {
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
                scene.fill_judged(&flows, &mut judge);
                row.verified = judge.compared;
                continue;
            }
            scene.walk(Way::Out, &flows, STEP, |walked| {
                walked.all_leave(Way::Out);
                row.batch(walked.clocks, walked.flows.len() as u64);
            });
            row.end_run();
            assert_eq!(scene.occupancy().sessions, ends.1 as usize, "all have begun");
            scene.expire(|clocks, ended| expiry.batch(clocks, ended));
            expiry.end_run();
            let left = scene.occupancy();
            assert_eq!((left.mappings, left.leased_ports), (0, 0), "all was given back");
        }
        // No frame leaves: what is compared is what was given back.
        expiry.verified = runs * u64::from(ends.1);
        rows.push(row);
        if mapping == Mapping::Independent {
            rows.push(expiry);
        }
    }
    rows
}

/// Name, way, lengths.
const HITS: [(&str, Way, Sizes); 4] = [
    ("hit_out", Way::Out, Sizes::Least),
    ("hit_in", Way::In, Sizes::Least),
    ("imix_out", Way::Out, Sizes::Imix),
    ("imix_in", Way::In, Sizes::Imix),
];

const NEWS: [(&str, Mapping); 2] =
    [("new_edm", Mapping::Dependent), ("new_eim", Mapping::Independent)];

/// Packets of a run, at least.
const LEAST_PACKETS: usize = 1 << 19;

/// Within the timeout of UDP, and so that all sessions are looked at before it is over.
const FILL_MILLIS: u64 = 200_000;
