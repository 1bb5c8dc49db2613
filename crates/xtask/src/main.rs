//! `cargo xtask VERB`: everything that a laptop and the server run, one file per verb.

#![forbid(unsafe_code)]

mod bench;
mod ci;
mod cross;
mod debian;
mod demo;
mod dist;
mod fuzz;
mod gate;
mod image;
mod kube_server;
mod kube_tools;
mod licences;
mod linked;
mod mutants;
mod stages;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Development tasks of Mooring.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Build the appliance and show it translating between real hosts
    Demo(demo::Demo),
    /// Install what the tests need and run everything
    Test,
    /// Install what the tests need and run nothing
    Tools,
    /// What the server runs: the test command and what is the server's only
    Ci(ci::Ci),
    /// Check the rules of this code base that compilers do not know
    Tidy,
    /// Run every fuzz target for a while
    Fuzz(fuzz::Fuzz),
    /// Break the code in small ways and see whether the tests notice
    Mutants(mutants::Mutants),
    /// Measure
    Bench(bench::Bench),
    /// Build the static release binaries and pack them with all licences
    Dist(dist::Dist),
    /// Build the image: an OCI layout and an archive of it, for both architectures
    Image(image::Image),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().verb {
        Verb::Demo(demo) => demo.run(),
        Verb::Test => test::run(),
        Verb::Tools => test::install(),
        Verb::Ci(ci) => ci.run(),
        Verb::Tidy => tidy::run(),
        Verb::Fuzz(fuzz) => fuzz.run(),
        Verb::Mutants(mutants) => mutants.run(),
        Verb::Bench(bench) => bench.run(),
        Verb::Dist(dist) => dist.run(),
        Verb::Image(image) => image.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
