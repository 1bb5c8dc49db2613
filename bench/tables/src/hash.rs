//! Clocks that the hash of a flow takes, many at a time and one after the other.

use std::hint::black_box;

use mooring_bench_figures::rounded;
use mooring_io::tsc;
use mooring_session::{Address, FlowKey};
use serde_json::{Value, json};

use crate::chosen::{of_ipv4, of_ipv6};
use crate::hashes::{FlowHash, ForEach, for_each};
use crate::runs::Runs;

/// Measures all of them in turn; the rows.
pub(crate) fn measure(runs: u64, tell: &impl Fn(&str)) -> Value {
    let mut timed = Timed {
        v4: of_ipv4(KEYS as u32).swap_remove(0).keys,
        v6: of_ipv6(KEYS as u32).swap_remove(0).keys,
        rows: Vec::new(),
    };
    for run in 0..runs {
        for_each(run, &mut timed);
    }
    tell("clocks a hash: of a key that does not wait for the one before, and of one that does");
    tell(&format!("{:<18} {:>12} {:>12} {:>12} {:>12}", "hash", "ipv4", "waits", "ipv6", "waits"));
    let rows = timed.rows.iter().map(|(name, cases)| {
        let [v4, v4_waits, v6, v6_waits] =
            cases.each_ref().map(|runs| rounded(runs.median(), 10.0));
        tell(&format!("{name:<18} {v4:>12.1} {v4_waits:>12.1} {v6:>12.1} {v6_waits:>12.1}"));
        json!({
            "hash": name, "ipv4_clocks": v4, "ipv4_waiting_clocks": v4_waits,
            "ipv6_clocks": v6, "ipv6_waiting_clocks": v6_waits,
            "spread": rounded(cases.iter().map(Runs::spread).fold(0.0, f64::max), 1000.0),
        })
    });
    Value::Array(rows.collect())
}

struct Timed {
    v4: Vec<FlowKey<std::net::Ipv4Addr>>,
    v6: Vec<FlowKey<std::net::Ipv6Addr>>,
    rows: Vec<(&'static str, [Runs; 4])>,
}

impl ForEach for Timed {
    fn with(&mut self, name: &'static str, hash: &impl FlowHash) {
        let clocks = [
            together(hash, &self.v4),
            waiting(hash, &self.v4),
            together(hash, &self.v6),
            waiting(hash, &self.v6),
        ];
        if !self.rows.iter().any(|row| row.0 == name) {
            self.rows.push((name, Default::default()));
        }
        let row = self.rows.iter_mut().find(|row| row.0 == name).expect("it was just pushed");
        row.1.iter_mut().zip(clocks).for_each(|(runs, clocks)| runs.0.push(clocks));
    }
}

/// As in a stretch of a batch: no hash waits for another.
fn together<A: Address>(hash: &impl FlowHash, keys: &[FlowKey<A>]) -> f64 {
    timed(|| {
        let mut sum = 0;
        for key in keys {
            sum ^= hash.flow(black_box(key));
        }
        black_box(sum);
    })
}

/// Which key is next depends on the hash before: what a lookup waits for.
fn waiting<A: Address>(hash: &impl FlowHash, keys: &[FlowKey<A>]) -> f64 {
    timed(|| {
        let mut at = 0;
        for step in 0..KEYS {
            at = (hash.flow(&keys[at]) as usize ^ step) % KEYS;
        }
        black_box(at);
    })
}

/// Clocks of one of the keys, the least of several rounds: what else happened meanwhile is not its cost.
fn timed(round: impl Fn()) -> f64 {
    let clocks = (0..ROUNDS).map(|_| {
        let start = tsc::read();
        round();
        tsc::read() - start
    });
    clocks.min().unwrap_or(0) as f64 / KEYS as f64
}

/// As many keys as the nearest cache holds.
const KEYS: usize = 512;
const ROUNDS: u32 = 1_000;
