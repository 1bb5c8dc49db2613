//! `cargo xtask bench`: measurements.

use std::process::Command;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::workspace::{cargo, run, target};
use crate::{debian, gate, test};

/// Options of the verb.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The engine alone, without a kernel in the way
    Engine {
        /// Handed on to the benchmark, e.g. `--json`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Instructions of a packet of a known session, against the figures of the repository; `BLESS=1` writes those
    Gate,
    /// Bytes that a session takes, of a million, table by table
    Memory,
    /// How long a persistent address takes to move from one Pod to another, by a real API server
    Takeover {
        /// Handed on to the benchmark, e.g. `--json` or `--moves 50`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// The appliance against kernel nftables, between the same real hosts
    Lab {
        /// Handed on to the benchmark, e.g. `--json` or `--pairs 3 --case tcp_bulk`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// A generator of packets, and what measures them behind a NAT: see bench/README.md
    Pktgen {
        /// Handed on to the generator, e.g. `run --help`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

impl Bench {
    /// Builds in release and measures.
    ///
    /// # Errors
    /// When the build or the benchmark fails.
    pub(crate) fn run(&self) -> Result<()> {
        match &self.what {
            What::Engine { arguments } => run(measure("mooring-bench-engine").args(arguments)),
            What::Pktgen { arguments } => run(measure("mooring-pktgen").args(arguments)),
            What::Gate => gate::check(),
            What::Memory => run(measure("mooring-bench-engine").args(MEMORY)),
            What::Takeover { arguments } => {
                test::install()?;
                // All programs of the package: one of them starts Pods.
                run(cargo(&["build", "--quiet", "--release", "--package", "mooring-kube-tests"])
                    .args(["--package", "mooring", "--bins"]))?;
                let release = target()?.join("release");
                let mut command = Command::new(release.join("mooring-takeover"));
                run(command.arg("--mooring").arg(release.join("mooring")).args(arguments))
            }
            What::Lab { arguments } => {
                debian::require(debian::BENCH)?;
                run(&mut cargo(&["build", "--quiet", "--release", "--package", "mooring"]))?;
                let mooring = target()?.join("release").join("mooring");
                let mut command = measure("mooring-bench-lab");
                run(command.arg("--mooring").arg(mooring).args(arguments))
            }
        }
    }
}

const MEMORY: [&str; 3] = ["--memory", "--sessions", "1000000"];

/// The command that builds a benchmark in release and runs it.
fn measure(package: &str) -> Command {
    cargo(&["run", "--quiet", "--release", "--package", package, "--"])
}
