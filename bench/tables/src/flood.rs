//! What keys do to a table that somebody has chosen who knows the hash, but not the secret: how long searches become,
//! beside those of random keys.

use std::hash::BuildHasherDefault;
use std::hint::black_box;

use mooring_bench_figures::rounded;
use mooring_io::tsc;
use mooring_session::index::Index;
use mooring_session::{Address, FlowKey};
use serde_json::{Value, json};

use crate::chosen::{Chosen, of_ipv4, of_ipv6};
use crate::hashes::{FlowHash, ForEach, Multiplied, Words, for_each};

/// All hashes, all kinds of keys; the rows.
pub(crate) fn measure(keys: u32, tell: &impl Fn(&str)) -> Value {
    tell(&format!(
        "{keys} keys of each kind in an index for so many, the worst of {STARTS} secrets: values of the fullest \
         bucket, buckets that have overflowed, buckets of the longest search, records that have its tag, clocks a lookup"
    ));
    tell(&format!(
        "{:<22} {:<6} {:<34} {:>8} {:>9} {:>8} {:>8} {:>10}",
        "hash", "family", "keys", "fullest", "overflow", "longest", "records", "clocks"
    ));
    let mut rows = Flood::new("ipv4", of_ipv4(keys)).rows(tell);
    rows.extend(Flood::new("ipv6", of_ipv6(keys)).rows(tell));
    Value::Array(rows)
}

/// The keys of a family, and what each hash makes of each kind.
struct Flood<A> {
    family: &'static str,
    kinds: Vec<Chosen<A>>,
    seen: Vec<(&'static str, &'static str, Seen)>,
}

/// What an index is like that is full of keys of one kind.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Seen {
    /// Values whose hash names the same bucket, at most.
    fullest: usize,
    /// Of all buckets those that more values name than there is room for.
    overflow: f64,
    /// Buckets that a search reads, at most.
    longest: usize,
    /// Records that it compares before the right one, and that one, at most.
    records: usize,
    /// A lookup of what is there, nothing loaded ahead.
    clocks: f64,
}

impl<A: Address> Flood<A> {
    const fn new(family: &'static str, kinds: Vec<Chosen<A>>) -> Self {
        Self { family, kinds, seen: Vec::new() }
    }

    fn rows(mut self, tell: &impl Fn(&str)) -> Vec<Value> {
        for start in 0..STARTS {
            for_each(start, &mut self);
        }
        self.with("multiplied, no secret", &Words(BuildHasherDefault::<Multiplied>::default()));
        let rows = self.seen.iter().map(|(hash, kind, seen)| {
            let Seen { fullest, overflow, longest, records, clocks } = *seen;
            let [overflow, clocks] = [rounded(overflow, 1e4), rounded(clocks, 10.0)];
            tell(&format!(
                "{hash:<22} {:<6} {kind:<34} {fullest:>8} {overflow:>9} {longest:>8} {records:>8} {clocks:>10.1}",
                self.family
            ));
            json!({
                "hash": hash, "family": self.family, "keys": kind, "fullest_bucket": fullest,
                "overflowing_buckets": overflow, "longest_search_buckets": longest,
                "most_records": records, "clocks_a_lookup": clocks,
            })
        });
        rows.collect()
    }
}

impl<A: Address> ForEach for Flood<A> {
    fn with(&mut self, name: &'static str, hash: &impl FlowHash) {
        for kind in &self.kinds {
            let now = look(hash, &kind.keys);
            match self.seen.iter_mut().find(|row| (row.0, row.1) == (name, kind.name)) {
                Some((.., seen)) => *seen = seen.worse(now),
                None => self.seen.push((name, kind.name, now)),
            }
        }
    }
}

impl Seen {
    fn worse(self, other: Self) -> Self {
        Self {
            fullest: self.fullest.max(other.fullest),
            overflow: self.overflow.max(other.overflow),
            longest: self.longest.max(other.longest),
            records: self.records.max(other.records),
            // What is slow once only, is so because of something else.
            clocks: self.clocks.min(other.clocks),
        }
    }
}

fn look<A: Address>(hash: &impl FlowHash, keys: &[FlowKey<A>]) -> Seen {
    let hashes: Vec<u64> = keys.iter().map(|key| hash.flow(key)).collect();
    let mut index = Index::new(keys.len());
    for (hash, value) in hashes.iter().zip(0..) {
        index.insert(*hash, value);
    }
    let mut named = vec![0_usize; index.allocated() / LINE];
    let buckets = named.len() as u64;
    for hash in &hashes {
        // As the index scales it.
        named[((u64::from(*hash as u32) * buckets) >> 32) as usize] += 1;
    }
    let longest = hashes.iter().map(|hash| index.reach(*hash)).max().unwrap_or(0);
    // Where each takes so long, a few tell enough.
    let some = if longest > 100 { 500 } else { 1 << 16 }.min(keys.len());
    let records = |at: usize| {
        let mut records = 0;
        let is_it = |value| {
            records += 1;
            value as usize == at
        };
        assert_eq!(index.find(hashes[at], is_it), Some(at as u32));
        records
    };
    Seen {
        fullest: named.iter().copied().max().unwrap_or(0),
        overflow: named.iter().filter(|n| **n > SLOTS).count() as f64 / named.len() as f64,
        longest,
        records: (0..keys.len()).step_by(keys.len() / some).map(records).max().unwrap_or(0),
        clocks: clocks(&index, keys, hash, keys.len() / some),
    }
}

/// Of a lookup of each key in `step`.
fn clocks<A: Address>(
    index: &Index,
    keys: &[FlowKey<A>],
    hash: &impl FlowHash,
    step: usize,
) -> f64 {
    let start = tsc::read();
    let mut lookups = 0;
    for key in keys.iter().step_by(step) {
        black_box(index.find(hash.flow(key), |value| keys[value as usize] == *key));
        lookups += 1;
    }
    (tsc::read() - start) as f64 / f64::from(lookups)
}

/// Secrets, of which the worst counts.
const STARTS: u64 = 4;

/// Of a bucket.
const LINE: usize = 64;
const SLOTS: usize = 12;

#[cfg(test)]
mod tests {
    use std::hash::BuildHasherDefault;

    use mooring_session::KeyedHash;

    use super::look;
    use crate::chosen::{SOLVED, of_ipv4};
    use crate::hashes::{Multiplied, Words};

    #[test]
    fn a_flood_is_seen_and_no_flood_is_none() {
        let kinds = of_ipv4(4_096);
        let of = |name: &str| kinds.iter().find(|kind| kind.name == name).expect("it is there");
        let flood = &of("solved for another secret: ends").keys;
        let seen = look(&KeyedHash::new(SOLVED), flood);
        assert!(seen.fullest == 4_096 && seen.records > 4_000, "{seen:?}");
        let seen = look(&KeyedHash::new([1, 2, 3, 4].map(crate::chosen::scramble)), flood);
        assert!(seen.fullest < 30 && seen.longest < 10, "{seen:?}");
        let weak = Words(BuildHasherDefault::<Multiplied>::default());
        let seen = kinds.iter().map(|kind| look(&weak, &kind.keys).longest).max();
        assert!(seen > Some(20), "{seen:?}");
    }
}
