//! `cargo xtask bench takeover`: how long a persistent address takes to move from one agent to another.

#![forbid(unsafe_code)]

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use mooring_kube_tests::edge::Figures;
use mooring_lab::isolation;

/// Measures moves of a persistent address between two agents, by a real API server.
#[derive(Debug, Parser)]
struct Arguments {
    /// Prints one JSON object instead of a table
    #[arg(long)]
    json: bool,
    /// Moves by a write of the status
    #[arg(long, default_value_t = 200)]
    moves: usize,
    /// Moves by the deletion of a Pod, and as many by the end of a process
    #[arg(long, default_value_t = 10)]
    failures: usize,
    /// The appliance's binary
    #[arg(long)]
    mooring: PathBuf,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    isolation::run(&arguments.mooring, || {
        let figures = Figures::take(arguments.moves, arguments.failures)?;
        if arguments.json {
            println!("{}", figures.json());
        } else {
            figures.print();
        }
        Ok(())
    })
}
