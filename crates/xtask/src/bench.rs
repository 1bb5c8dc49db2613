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
    /// Workers on a core each, against as many threads that have nothing in common
    Scale {
        /// Handed on to the benchmark, e.g. `--json` or `--runs 21`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// The index and the hash of the session table against others, and under keys that somebody has chosen
    Tables {
        /// Handed on to the benchmark, e.g. `--json` or `--part hash`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Instructions of a packet of a known session, against the figures of the repository; `BLESS=1` writes those
    Gate,
    /// Bytes that a session takes, of a million, table by table
    Memory,
    /// How long the appliance takes from its start to ready, and the memory that it then has
    Start {
        /// Handed on to the benchmark, e.g. `--json` or `--sessions 1000000`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// How long a persistent address takes to move from one Pod to another, by a real API server
    Takeover {
        /// Handed on to the benchmark, e.g. `--json` or `--moves 50`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// The appliance against kernel nftables, between the same real hosts
    Lab {
        /// Handed on to the benchmark, e.g. `--json`, `--pairs 3 --case tcp_bulk`, or the packet generator's cases:
        /// `--case session_rate,connect_rate,imix_loss_free`
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
            What::Scale { arguments } => {
                run(measure("mooring-bench-engine").arg("scale").args(arguments))
            }
            What::Tables { arguments } => run(measure("mooring-bench-tables").args(arguments)),
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
            What::Start { arguments } => {
                debian::require(debian::DEMO)?;
                measure_appliance("mooring-bench-start", arguments)
            }
            What::Lab { arguments } => {
                debian::require(debian::BENCH)?;
                build("mooring-pktgen")?;
                measure_appliance("mooring-bench-lab", arguments)
            }
        }
    }
}

const MEMORY: [&str; 3] = ["--memory", "--sessions", "1000000"];

/// Builds the appliance in release, and runs a benchmark of it.
fn measure_appliance(package: &str, arguments: &[String]) -> Result<()> {
    build("mooring")?;
    let mooring = target()?.join("release").join("mooring");
    run(measure(package).arg("--mooring").arg(mooring).args(arguments))
}

/// Builds the program of a package in release, with the features that it has alone.
fn build(package: &str) -> Result<()> {
    run(&mut cargo(&["build", "--quiet", "--release", "--package", package]))
}

/// The command that builds a benchmark in release and runs it.
fn measure(package: &str) -> Command {
    cargo(&["run", "--quiet", "--release", "--package", package, "--"])
}
