//! The appliance against kernel nftables: client - NAT - server in network namespaces, every offload
//! left as the kernel sets it, one NAT after the other between the same hosts.
//!
//! Each case is run in pairs, the appliance and nftables in turn, each freshly started. A figure is
//! the median of the pairs, the spread that of their ratios: (max - min) / median. Absolute speeds
//! say as much about the machine as about the NAT; the ratio is what counts.
#![forbid(unsafe_code)]

mod bed;
mod cases;
mod flood;
mod generator;
mod report;

use std::env;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use mooring_lab::isolation;

use crate::bed::{Bed, Nat};
use crate::cases::Case;
use crate::report::{Row, print_json, print_table};

/// Compares the appliance with nftables.
#[derive(Debug, Parser)]
struct Arguments {
    /// Prints one JSON array instead of a table
    #[arg(long)]
    json: bool,
    /// Pairs of runs for each case
    #[arg(long, default_value_t = 7)]
    pairs: usize,
    /// Runs only these cases
    #[arg(long, value_delimiter = ',')]
    case: Vec<Case>,
    /// Packet threads of the appliance
    #[arg(long, default_value_t = 1)]
    workers: u32,
    /// Compares the backend af_xdp with af_packet, and leaves nftables alone
    #[arg(long)]
    af_xdp: bool,
    /// Compares joining packets of a flow that leave together with not doing so, and leaves nftables alone
    #[arg(long, conflicts_with = "af_xdp")]
    coalescing: bool,
    /// Compares forwarding without any translation with nftables: what a NAT in the kernel could reach that costs nothing
    #[arg(long, conflicts_with_all = ["af_xdp", "coalescing"])]
    ceiling: bool,
    /// The appliance's binary
    #[arg(long)]
    mooring: PathBuf,
    /// The packet generator's binary, for the cases of its own; without it the one beside this program
    #[arg(long)]
    pktgen: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    isolation::run(&arguments.mooring, || {
        let beside = || env::current_exe().map(|own| own.with_file_name("mooring-pktgen"));
        let pktgen = arguments.pktgen.map_or_else(beside, Ok).context("this program's own path")?;
        let bed = Bed::make(arguments.workers, pktgen)?;
        let (pair, names, usual) = if arguments.af_xdp {
            ([Nat::AfXdp, Nat::Mooring], ["af_xdp", "af_packet"], &Case::ALL[..])
        } else if arguments.coalescing {
            ([Nat::Coalescing, Nat::Mooring], ["coalescing", "af_packet"], &Case::COALESCING[..])
        } else if arguments.ceiling {
            ([Nat::Forwarding, Nat::Nftables], ["forwarding", "nftables"], &Case::ALL[..])
        } else {
            ([Nat::Mooring, Nat::Nftables], ["mooring", "nftables"], &Case::ALL[..])
        };
        let cases = if arguments.case.is_empty() { usual } else { &arguments.case };
        let mut rows = Vec::new();
        for case in cases {
            rows.push(compare(&bed, pair, *case, arguments.pairs)?);
        }
        if arguments.json { print_json(&rows, names) } else { print_table(&rows, names) }
    })
}

/// Runs one case in pairs. Which NAT goes first changes from pair to pair: a machine that slows down
/// while it is measured slows both down.
fn compare(bed: &Bed, nats: [Nat; 2], case: Case, pairs: usize) -> Result<Row> {
    let mut measured = Vec::new();
    for pair in 0..pairs.max(1) {
        eprint!("\r{}: pair {} of {pairs} ", case.name(), pair + 1);
        let order = if pair % 2 == 0 { [0, 1] } else { [1, 0] };
        let mut figures = [0.0; 2];
        for at in order {
            let nat = nats[at];
            let mut running = bed.start(nat)?;
            let figure = case
                .measure(bed, &mut running)
                .with_context(|| format!("{} by {nat:?}", case.name()))?;
            running.stop()?;
            figures[at] = figure;
        }
        measured.push(figures);
    }
    eprintln!();
    Ok(Row::new(case, &measured))
}
