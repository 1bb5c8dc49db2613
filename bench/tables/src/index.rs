//! Our index against `hashbrown`, with the same records, hash, capacity and huge pages.

use std::hint::black_box;

use hashbrown::HashTable;
use mooring_bench_figures::rounded;
use mooring_io::tsc;
use mooring_session::KeyedHash;
use mooring_session::index::Index;
use mooring_session::memory::HugePages;
use serde_json::{Value, json};

use crate::chosen::scramble;
use crate::records::{Records, key, other_key};
use crate::runs::Runs;

/// What an index has to do. Values are those of [`crate::records`].
trait Candidate {
    fn with_room(values: usize) -> Self;
    fn prefetch(&self, hash: u64);
    fn likely(&self, hash: u64) -> Option<u32>;
    fn find(&self, hash: u64, is_it: impl FnMut(u32) -> bool) -> Option<u32>;
    fn insert(&mut self, hash: u64, value: u32, of_value: impl Fn(u32) -> u64);
    fn remove(&mut self, hash: u64, value: u32) -> bool;
    fn bytes(&self) -> usize;
}

type Brown = HashTable<u32, HugePages>;

impl Candidate for Index {
    fn with_room(values: usize) -> Self {
        Self::new(values)
    }

    #[inline]
    fn prefetch(&self, hash: u64) {
        self.prefetch(hash);
    }

    #[inline]
    fn likely(&self, hash: u64) -> Option<u32> {
        self.likely(hash)
    }

    #[inline]
    fn find(&self, hash: u64, is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        self.find(hash, is_it)
    }

    #[inline]
    fn insert(&mut self, hash: u64, value: u32, _: impl Fn(u32) -> u64) {
        self.insert(hash, value);
    }

    #[inline]
    fn remove(&mut self, hash: u64, value: u32) -> bool {
        self.remove(hash, value)
    }

    fn bytes(&self) -> usize {
        self.allocated()
    }
}

impl Candidate for Brown {
    fn with_room(values: usize) -> Self {
        Self::with_capacity_in(values, HugePages)
    }

    /// It tells nobody where a group lies.
    #[inline]
    fn prefetch(&self, _: u64) {}

    #[inline]
    fn likely(&self, hash: u64) -> Option<u32> {
        self.iter_hash(hash).next().copied()
    }

    #[inline]
    fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        self.find(hash, |value| is_it(*value)).copied()
    }

    #[inline]
    fn insert(&mut self, hash: u64, value: u32, of_value: impl Fn(u32) -> u64) {
        self.insert_unique(hash, value, |value| of_value(*value));
    }

    #[inline]
    fn remove(&mut self, hash: u64, value: u32) -> bool {
        self.find_entry(hash, |known| *known == value).map(|entry| entry.remove()).is_ok()
    }

    fn bytes(&self) -> usize {
        self.allocation_size()
    }
}

/// An index with as many sessions as it has room for but one in twenty, and what its cases took.
struct Measured<C> {
    name: &'static str,
    index: C,
    /// The sessions that are in it: so many of the order, round and round, from this place on.
    first: usize,
    bytes_at_start: usize,
    cases: [Runs; CASES.len()],
    worst: u64,
}

/// Both of them, in turn, for each number of sessions; the rows.
pub(crate) fn measure(sessions: &[u32], runs: u64, tell: &impl Fn(&str)) -> Value {
    let mut rows = Vec::new();
    tell("clocks a lookup, or a session that goes while another comes; the index is 95 % full");
    tell(&format!(
        "{:<10} {:>10}{}{:>14}{:>14}",
        "index",
        "sessions",
        heads(),
        "worst of 64",
        "bytes/session"
    ));
    for &sessions in sessions {
        let hash = KeyedHash::new(std::array::from_fn(|at| scramble(at as u64)));
        let scene = Scene {
            records: Records::new(sessions),
            order: order(sessions),
            live: sessions as usize / 20 * 19,
            hash,
        };
        let mut ours = scene.fill::<Index>("ours");
        let mut brown = scene.fill::<Brown>("hashbrown");
        for run in 0..runs {
            // Who begins has the caches as the other one leaves them: they take turns.
            if run % 2 == 0 {
                scene.run(&mut ours);
                scene.run(&mut brown);
            } else {
                scene.run(&mut brown);
                scene.run(&mut ours);
            }
        }
        rows.push(ours.row(sessions, tell));
        rows.push(brown.row(sessions, tell));
    }
    Value::Array(rows)
}

/// What both are asked.
struct Scene {
    records: Records,
    /// All sessions, in an order without structure.
    order: Vec<u32>,
    live: usize,
    hash: KeyedHash,
}

impl Scene {
    fn fill<C: Candidate>(&self, name: &'static str) -> Measured<C> {
        let mut index = C::with_room(2 * self.order.len());
        for n in &self.order[..self.live] {
            self.insert(&mut index, *n);
        }
        let bytes_at_start = index.bytes();
        let cases = std::array::from_fn(|_| Runs::default());
        Measured { name, index, first: 0, bytes_at_start, cases, worst: 0 }
    }

    fn insert<C: Candidate>(&self, index: &mut C, n: u32) {
        for value in [2 * n, 2 * n + 1] {
            let of_value = |value| self.records.hash_of(&self.hash, value);
            index.insert(self.hash.flow(&key(value)), value, of_value);
        }
    }

    fn run<C: Candidate>(&self, measured: &mut Measured<C>) {
        let live = self.values(measured.first);
        let index = &measured.index;
        let clocks = [
            self.one_by_one(index, &live),
            self.records_ahead(index, &live),
            self.all_ahead(index, &live),
            self.misses(index, &live),
            self.replace(measured),
        ];
        measured.cases.iter_mut().zip(clocks).for_each(|(runs, clocks)| runs.0.push(clocks));
    }

    /// Values that are in the index, one of each session, in a new order.
    fn values(&self, first: usize) -> Vec<u32> {
        let mut live: Vec<u32> =
            (first..first + self.live).map(|at| self.order[at % self.order.len()]).collect();
        shuffle(&mut live, first as u64);
        let lookups = live.iter().cycle().take(LOOKUPS.max(live.len()).next_multiple_of(STRETCH));
        lookups.zip(0u64..).map(|(n, at)| 2 * n + (scramble(at) & 1) as u32).collect()
    }

    /// Nothing is loaded ahead but what the processor sees by itself.
    fn one_by_one<C: Candidate>(&self, index: &C, values: &[u32]) -> f64 {
        let start = tsc::read();
        for value in values {
            let key = key(*value);
            let found = index.find(self.hash.flow(&key), |value| self.records.has(value, &key));
            assert_eq!(found, Some(*value));
        }
        each(start, values.len())
    }

    /// A stretch at a time; the bucket is read, and the record that it names is loaded ahead.
    fn records_ahead<C: Candidate>(&self, index: &C, values: &[u32]) -> f64 {
        self.stretches(index, values, false)
    }

    /// The same, and the buckets are loaded ahead, too.
    fn all_ahead<C: Candidate>(&self, index: &C, values: &[u32]) -> f64 {
        self.stretches(index, values, true)
    }

    fn stretches<C: Candidate>(&self, index: &C, values: &[u32], ahead: bool) -> f64 {
        let start = tsc::read();
        let mut hashes = [0; STRETCH];
        for stretch in values.chunks_exact(STRETCH) {
            for (hash, value) in hashes.iter_mut().zip(stretch) {
                *hash = self.hash.flow(&key(*value));
                if ahead {
                    index.prefetch(*hash);
                }
            }
            for hash in &hashes {
                if let Some(value) = index.likely(*hash) {
                    self.records.prefetch(value);
                }
            }
            for (hash, value) in hashes.iter().zip(stretch) {
                let key = key(*value);
                let found = index.find(*hash, |value| self.records.has(value, &key));
                assert_eq!(found, Some(*value));
            }
        }
        each(start, values.len())
    }

    /// Keys that no session has, a stretch at a time.
    fn misses<C: Candidate>(&self, index: &C, values: &[u32]) -> f64 {
        let start = tsc::read();
        let mut hashes = [0; STRETCH];
        for stretch in values.chunks_exact(STRETCH) {
            for (hash, value) in hashes.iter_mut().zip(stretch) {
                *hash = self.hash.flow(&other_key(*value));
                index.prefetch(*hash);
            }
            for (hash, value) in hashes.iter().zip(stretch) {
                let key = other_key(*value);
                let found = index.find(*hash, |value| self.records.has(value, &key));
                assert_eq!(found, None);
            }
        }
        each(start, values.len())
    }

    /// The sessions that are longest there go, others come: a quarter of all, 64 at a time.
    fn replace<C: Candidate>(&self, measured: &mut Measured<C>) -> f64 {
        let all = self.order.len();
        let batches = (all / 4).clamp(STRETCH, LOOKUPS) / STRETCH;
        let mut clocks = 0;
        for _ in 0..batches {
            let start = tsc::read();
            for at in measured.first..measured.first + STRETCH {
                let gone = self.order[at % all];
                for value in [2 * gone, 2 * gone + 1] {
                    assert!(measured.index.remove(self.hash.flow(&key(value)), value));
                }
                self.insert(&mut measured.index, self.order[(at + self.live) % all]);
            }
            let batch = tsc::read() - start;
            measured.worst = measured.worst.max(batch);
            clocks += batch;
            measured.first = (measured.first + STRETCH) % all;
        }
        clocks as f64 / (batches * STRETCH) as f64
    }
}

impl<C: Candidate> Measured<C> {
    fn row(&self, sessions: u32, tell: &impl Fn(&str)) -> Value {
        let of = |bytes: usize| rounded(bytes as f64 / f64::from(sessions), 10.0);
        let (bytes, before) = (of(self.index.bytes()), of(self.bytes_at_start));
        let mut line = format!("{:<10} {sessions:>10}", self.name);
        let mut row = json!({ "index": self.name, "sessions": sessions });
        for ((case, _), runs) in CASES.iter().zip(&self.cases) {
            let clocks = rounded(runs.median(), 10.0);
            line += &format!("{clocks:>16.1}");
            row[case] = json!({ "clocks": clocks, "spread": rounded(runs.spread(), 1000.0) });
        }
        row["worst_of_64_replaced_clocks"] = json!(self.worst);
        row["bytes_per_session"] = json!({ "at_start": before, "at_the_end": bytes });
        tell(&format!("{line}{:>14}{before:>9.1}, {bytes:.1}", self.worst));
        row
    }
}

fn heads() -> String {
    CASES.iter().map(|(_, head)| format!("{head:>16}")).collect()
}

fn each(start: u64, of: usize) -> f64 {
    (tsc::read() - start) as f64 / black_box(of) as f64
}

fn order(sessions: u32) -> Vec<u32> {
    let mut order: Vec<u32> = (0..sessions).collect();
    shuffle(&mut order, 7);
    order
}

/// A shuffle that is the same for the same seed.
fn shuffle(items: &mut [u32], seed: u64) {
    for at in (1..items.len()).rev() {
        let random = scramble(seed << 32 ^ at as u64);
        items.swap(at, ((u128::from(random) * (at as u128 + 1)) >> 64) as usize);
    }
}

/// In JSON, and above the columns.
const CASES: [(&str, &str); 5] = [
    ("hit_one_by_one", "hit, one by one"),
    ("hit_records_ahead", "records ahead"),
    ("hit_all_ahead", "buckets, too"),
    ("miss", "miss"),
    ("replace", "replace"),
];

/// Lookups of a run, at least.
const LOOKUPS: usize = 1 << 19;

/// Lookups that wait for memory at the same time, as in the walk of a batch.
const STRETCH: usize = 64;

#[cfg(test)]
mod tests {
    use mooring_session::KeyedHash;
    use mooring_session::index::Index;

    use super::{Brown, Candidate, Measured, Scene, order};
    use crate::records::Records;

    /// What is timed asserts itself that every lookup finds what it should.
    #[test]
    fn both_find_what_is_there_while_sessions_come_and_go() {
        let scene = Scene {
            records: Records::new(2_000),
            order: order(2_000),
            live: 1_900,
            hash: KeyedHash::new([1, 2, 3, 4]),
        };
        fn check<C: Candidate>(scene: &Scene, mut measured: Measured<C>) {
            for _ in 0..5 {
                scene.run(&mut measured);
            }
            assert!(measured.cases.iter().all(|runs| runs.0.len() == 5 && runs.median() > 0.0));
        }
        check(&scene, scene.fill::<Index>("ours"));
        check(&scene, scene.fill::<Brown>("hashbrown"));
    }
}
