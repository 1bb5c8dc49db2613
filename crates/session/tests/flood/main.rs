//! Whoever sends packets chooses keys. Without the secret none of the choices that are known makes a search longer
//! than random keys do; with it every search is as long as the table. No clock: buckets and comparisons are counted.

mod chosen;

use std::collections::HashSet;

use mooring_session::index::Index;
use mooring_session::{Address, FlowKey, KeyedHash};

use self::chosen::{Chosen, SOLVED, of_ipv4, of_ipv6, scramble};

/// What the longest searches in an index of these hashes take, each of which is there.
#[derive(Debug)]
struct Longest {
    /// Buckets until it is known that something is not there.
    buckets: usize,
    /// Records that are looked at because their tag is the same.
    records: usize,
}

/// Secrets of many starts: what is weak is so under a few of them only.
fn secrets() -> impl Iterator<Item = KeyedHash> {
    (0..96).map(|start| KeyedHash::new(std::array::from_fn(|at| scramble(start << 32 | at as u64))))
}

fn longest(hashes: &[u64]) -> Longest {
    let mut index = Index::new(hashes.len());
    for (hash, value) in hashes.iter().zip(0..) {
        index.insert(*hash, value);
    }
    let records = |hash| {
        let mut records = 0;
        let found = index.find(hash, |_| {
            records += 1;
            false
        });
        assert_eq!(found, None);
        records
    };
    Longest {
        buckets: hashes.iter().map(|hash| index.reach(*hash)).max().unwrap_or(0),
        records: hashes.iter().map(|hash| records(*hash)).max().unwrap_or(0),
    }
}

fn flows<A: Address>(hash: &KeyedHash, keys: &[FlowKey<A>]) -> Vec<u64> {
    keys.iter().map(|key| hash.flow(key)).collect()
}

/// Of one end of each flow, as mappings are found.
fn ends<A: Address>(hash: &KeyedHash, keys: &[FlowKey<A>]) -> Vec<u64> {
    let ends: HashSet<_> =
        keys.iter().map(|key| (key.source, key.source_port, key.destination_port)).collect();
    ends.into_iter()
        .map(|(address, port, scope)| hash.end(address, port, keys[0].protocol, scope.into()))
        .collect()
}

fn is_as_short_as_by_chance<A: Address>(all: &[Chosen<A>]) {
    for Chosen { name, keys } in all {
        for (start, hash) in secrets().enumerate() {
            for hashes in [flows(&hash, keys), ends(&hash, keys)] {
                let distinct: HashSet<_> = hashes.iter().collect();
                assert_eq!(distinct.len(), hashes.len(), "{name}: two have one hash");
                let longest = longest(&hashes);
                let is_short = longest.buckets <= MOST_BUCKETS && longest.records <= MOST_RECORDS;
                assert!(is_short, "{name}, start {start}: {longest:?}");
            }
        }
    }
}

#[test]
fn chosen_keys_of_ipv4_find_no_slow_path() {
    is_as_short_as_by_chance(&of_ipv4(KEYS));
}

#[test]
fn chosen_keys_of_ipv6_find_no_slow_path() {
    is_as_short_as_by_chance(&of_ipv6(KEYS));
}

/// Else nothing would be shown: under the secret that they were solved for the same keys do find one.
#[test]
fn who_knows_the_secret_finds_a_slow_path() {
    let hash = KeyedHash::new(SOLVED);
    let mut solved = 0;
    let mut see = |name: &str, hashes: &[u64]| {
        if name.contains("for another secret") {
            let longest = longest(hashes);
            assert!(longest.buckets > 10 * MOST_BUCKETS, "{name}: {longest:?}");
            solved += 1;
        }
    };
    of_ipv4(4_096).iter().for_each(|set| see(set.name, &flows(&hash, &set.keys)));
    of_ipv6(4_096).iter().for_each(|set| see(set.name, &flows(&hash, &set.keys)));
    assert_eq!(solved, 5);
}

/// A hash that multiplies and does not fold: the same measure sees what is wrong with it.
#[test]
fn weak_mixing_would_be_seen() {
    let multiplied = |n: u64| n.wrapping_mul(0x517c_c1b7_2722_0a95);
    let sets = of_ipv4(4_096);
    let highest = sets.iter().find(|set| set.name == "highest bits").expect("it is there");
    let hashes: Vec<u64> =
        highest.keys.iter().map(|key| multiplied(u64::from(key.source.to_bits()) << 32)).collect();
    assert!(longest(&hashes).buckets > 10 * MOST_BUCKETS);
}

/// As many as the index is made for: it is as full as it ever is.
const KEYS: u32 = 8_192;

/// Random keys reach 10 of these, now and then more; clusters, as a word makes that only one multiplication has
/// mixed, reached 1,211.
const MOST_BUCKETS: usize = 16;

/// Random keys reach 6.
const MOST_RECORDS: usize = 8;
