//! The index and the hash of the session table, each against others that could have its place; and what keys do to
//! them that somebody has chosen. What [decision 0012](../../../docs/decisions/0012-hash-and-index.md) rests on.
#![forbid(unsafe_code)]

#[path = "../../../crates/session/tests/flood/chosen.rs"]
mod chosen;
mod flood;
mod hash;
mod hashes;
mod index;
mod records;
mod runs;

use clap::Parser;
use serde_json::{Value, json};

/// Times the index and the hash of the session table, and others.
#[derive(Debug, Parser)]
struct Arguments {
    /// Only these
    #[arg(long, value_delimiter = ',', default_values = PARTS, value_parser = PARTS)]
    part: Vec<String>,
    /// Sessions in the tables; each is found by two keys
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 64_512, 258_048, 1_032_192, 4_128_768])]
    sessions: Vec<u32>,
    /// Timed runs for each figure
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u64).range(1..))]
    runs: u64,
    /// Keys of each kind that is chosen
    #[arg(long, default_value_t = 1 << 18, value_parser = clap::value_parser!(u32).range(1_000..=1 << 20))]
    keys: u32,
    /// One JSON document for machines
    #[arg(long)]
    json: bool,
}

fn main() {
    let arguments = Arguments::parse();
    let asked = |part: &str| arguments.part.iter().any(|asked| asked == part);
    // People read along; where a document is asked for, beside it.
    let tell = |line: &str| match arguments.json {
        false => println!("{line}"),
        true => eprintln!("{line}"),
    };
    let mut document = serde_json::Map::new();
    if asked("hash") {
        document.insert("hash".into(), hash::measure(arguments.runs, &tell));
    }
    if asked("index") {
        let rows = index::measure(&arguments.sessions, arguments.runs, &tell);
        document.insert("index".into(), rows);
    }
    if asked("flood") {
        document.insert("flood".into(), flood::measure(arguments.keys, &tell));
    }
    if arguments.json {
        println!("{:#}", json!(Value::Object(document)));
    }
}

const PARTS: [&str; 3] = ["hash", "index", "flood"];
