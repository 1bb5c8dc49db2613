//! The engine alone, no kernel in the way: what a packet costs, over a ladder of sessions.
//!
//! UDP frames in slots of 2 KB, 8,192 at a time, in a random order of their sessions and in batches of 256. Timed
//! is what a worker does with a batch: [`mooring_engine::Engine::poll`] (ageing) and
//! [`mooring_engine::Engine::process`] (classify, lookup, rewrite, verdict; counters, limits, next hop), with a
//! hundred rules. Before anything is timed every frame that leaves is compared with what an oracle expects.
#![forbid(unsafe_code)]

mod cases;
mod clock;
mod config;
mod counting;
mod flows;
mod frames;
mod memory;
mod oracle;
mod report;
mod scale;
mod scene;
mod spread;

use clap::{Parser, Subcommand};
use serde_json::Value;

use crate::clock::Rate;
use crate::flows::Family;
use crate::report::Row;

/// Times the engine.
#[derive(Debug, Parser)]
struct Arguments {
    /// Numbers of sessions
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 64_512, 258_048, 1_032_192, 4_128_768])]
    sessions: Vec<u32>,
    /// Numbers of sessions of the tables that are filled for the cases of new sessions
    #[arg(long, value_delimiter = ',', default_values_t = [1_032_192])]
    new_sessions: Vec<u32>,
    /// Numbers of sessions to which one new packet in a hundred adds
    #[arg(long, value_delimiter = ',', default_values_t = [258_048, 1_032_192])]
    mixed_sessions: Vec<u32>,
    /// Timed runs for each figure, of at least half a million packets
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u64).range(1..))]
    runs: u64,
    /// One JSON document for machines
    #[arg(long)]
    json: bool,
    /// Only these: of known sessions, one new of a hundred, new ones and expiry
    #[arg(long, value_delimiter = ',', default_values = CASES, value_parser = CASES)]
    case: Vec<String>,
    /// Only these rows of the cases; `expiry` comes with `new_eim`
    #[arg(long, value_delimiter = ',', value_parser = cases::rows())]
    row: Vec<String>,
    /// Only these families
    #[arg(long, value_delimiter = ',', default_values = ["ipv4", "ipv6"], value_parser = ["ipv4", "ipv6"])]
    family: Vec<String>,
    /// Time nothing: send packets on this path, `ipv4,out` or another, and print how many
    #[arg(long, value_parser = ["ipv4,out", "ipv4,in", "ipv6,out", "ipv6,in"])]
    count: Option<String>,
    /// Packets of each session, for `--count`
    #[arg(long, default_value_t = 1)]
    passes: u32,
    /// Print what a session takes of memory, for the first number of sessions, and time nothing
    #[arg(long)]
    memory: bool,
    /// Print how evenly hosts are shared out among up to 64 workers, and time nothing
    #[arg(long)]
    spread: bool,
    #[command(subcommand)]
    other: Option<Other>,
}

/// Other measurements.
#[derive(Debug, Subcommand)]
enum Other {
    /// Workers on a core each, against as many threads that have nothing in common
    Scale(scale::Scale),
}

fn main() {
    let arguments = Arguments::parse();
    if let Some(other) = &arguments.other {
        return match other {
            Other::Scale(scale) => scale.run(),
        };
    }
    if arguments.memory {
        arguments.sessions.iter().take(1).for_each(|sessions| memory::print(*sessions));
        return;
    }
    if arguments.spread {
        return spread::print();
    }
    if let Some(path) = &arguments.count {
        println!("{}", counting::run(path, arguments.passes));
        return;
    }
    let rate = Rate::measure();
    if !arguments.json {
        println!(
            "engine, UDP, batches of 256, time-stamp counter of {rate}\n{}",
            report::heading()
        );
    }
    let rows = measure(&arguments, |row| {
        // Progress for people goes where no document is.
        match arguments.json {
            false => println!("{}", row.line(rate)),
            true => eprintln!("{}", row.line(rate)),
        }
    });
    if arguments.json {
        println!("{:#}", Value::Array(rows.iter().map(|row| row.json(rate)).collect()));
    }
}

fn measure(arguments: &Arguments, told: impl Fn(&Row)) -> Vec<Row> {
    let mut all = Vec::new();
    let mut add = |rows: Vec<Row>| {
        rows.iter().for_each(&told);
        all.extend(rows);
    };
    let asked = |case: &str| arguments.case.iter().any(|asked| asked == case);
    for family in [Family::V4, Family::V6] {
        if !arguments.family.contains(&family.to_string()) {
            continue;
        }
        for &sessions in arguments.sessions.iter().filter(|_| asked("hit")) {
            add(cases::hits(family, sessions, arguments.runs, &arguments.row));
        }
        for &sessions in
            arguments.mixed_sessions.iter().filter(|_| asked("mixed") && arguments.row.is_empty())
        {
            add(vec![cases::one_percent_new(family, sessions, arguments.runs)]);
        }
        for &sessions in arguments.new_sessions.iter().filter(|_| asked("new")) {
            add(cases::news(family, sessions, arguments.runs, &arguments.row));
        }
    }
    all
}

const CASES: [&str; 3] = ["hit", "mixed", "new"];
