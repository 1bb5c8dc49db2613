//! The engine alone, no kernel in the way: what a packet costs, over a ladder of sessions.
//!
//! The packets are 64-byte UDP frames, one of each session in a shuffled order, in batches of 256, in
//! memory. Only [`mooring_engine::Engine::process`] is timed: classify, lookup, rewrite and verdict,
//! with Ethernet and next hop. `new` is the first packet of each session (the miss path), `forward`
//! and `reverse` are hits.
#![forbid(unsafe_code)]

mod clock;
mod memory;
mod traffic;

use clap::Parser;
use hdrhistogram::Histogram;

use crate::clock::{Ghz, Stopwatch};
use crate::traffic::{Bench, Way};

/// Times the engine.
#[derive(Debug, Parser)]
struct Arguments {
    /// Numbers of sessions
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 64_512, 258_048, 1_032_192])]
    sessions: Vec<u32>,
    /// Timed passes over the sessions for each figure; at least a million packets are timed
    #[arg(long, default_value_t = 3)]
    passes: u32,
    /// Print what a session takes of memory, for the first number of sessions, and time nothing
    #[arg(long)]
    memory: bool,
    /// Time only this: new, forward or reverse
    #[arg(long)]
    only: Option<Way>,
}

fn main() {
    let arguments = Arguments::parse();
    if arguments.memory {
        arguments.sessions.iter().take(1).for_each(|sessions| memory::print(*sessions));
        return;
    }
    let ghz = Ghz::read();
    println!("engine, 64-byte UDP NAT44, batches of 256, {ghz}");
    println!(
        "{:>10} {:>8}  {:>9} {:>9} {:>8}  batch p99.9",
        "sessions", "packets", "ns", "clocks", "Mpps"
    );
    for &sessions in &arguments.sessions {
        let mut bench = Bench::new(sessions);
        for way in [Way::New, Way::Forward, Way::Reverse] {
            let passes = match way {
                Way::New => 1,
                _ => arguments.passes.max(1_000_000 / sessions),
            };
            let figure = time(&mut bench, way, passes);
            if arguments.only.is_none_or(|only| only == way) {
                println!("{}", figure.line(sessions, way, &ghz));
            }
        }
    }
}

/// The time of some passes over all sessions.
struct Figure {
    nanos_a_packet: f64,
    batches: Histogram<u64>,
}

fn time(bench: &mut Bench, way: Way, passes: u32) -> Figure {
    let mut batches = Histogram::new_with_bounds(1, 1_000_000_000, 3)
        .expect("one nanosecond to one second, to three digits");
    let (mut nanos, mut packets) = (0, 0);
    for _ in 0..passes {
        bench.pass(way, |engine_work| {
            let watch = Stopwatch::start();
            let done = engine_work();
            let batch = watch.nanos();
            nanos += batch;
            packets += done;
            batches.saturating_record(batch);
        });
    }
    Figure { nanos_a_packet: nanos as f64 / packets as f64, batches }
}

impl Figure {
    fn line(&self, sessions: u32, way: Way, ghz: &Ghz) -> String {
        format!(
            "{sessions:>10} {way:>8}  {:>9.1} {:>9.0} {:>8.2}  {} us",
            self.nanos_a_packet,
            ghz.clocks(self.nanos_a_packet),
            1e3 / self.nanos_a_packet,
            self.batches.value_at_quantile(0.999) / 1000
        )
    }
}
