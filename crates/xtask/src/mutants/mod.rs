//! `cargo xtask mutants`: breaks the code in one small way after the other and sees whether the
//! tests that are named for it notice. A change that they do not notice is a rule without a test.

pub(crate) mod mutation;
pub(crate) mod results;
mod scratch;

use std::fs;

use anyhow::{Context, Result, ensure};
use clap::Args;
use mooring_lab::clock::Stopwatch;

use crate::workspace::{self, root};
use mutation::{FOLDER, Mutation};
use results::{Outcome, Tried};
use scratch::Scratch;

/// Options of the verb.
#[derive(Debug, Args)]
pub(crate) struct Mutants {
    /// Only those of this name (a file of tests/mutants without its extension), or that begin so
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Name them and what they break
    #[arg(long)]
    list: bool,
}

impl Mutants {
    /// Tries the mutations and writes down in `tests/mutants/results.md` what became of them.
    ///
    /// # Errors
    /// When one survives, no longer applies or does not build.
    pub(crate) fn run(&self) -> Result<()> {
        let all = read()?;
        let wanted = |mutation: &&Mutation| {
            self.only.is_empty() || self.only.iter().any(|name| mutation.name.starts_with(name))
        };
        let mutations: Vec<_> = all.iter().filter(wanted).collect();
        ensure!(!mutations.is_empty(), "there is no such mutation in {FOLDER}");
        if self.list {
            for Mutation { name, breaks, .. } in mutations {
                println!("{name:<WIDTH$} {breaks}");
            }
            return Ok(());
        }
        attempt_all(&mutations, &all)
    }
}

/// Tries all mutations and writes down what became of them.
///
/// # Errors
/// When one survives, no longer applies or does not build.
pub(crate) fn run() -> Result<()> {
    let all = read()?;
    attempt_all(&all.iter().collect::<Vec<_>>(), &all)
}

fn attempt_all(mutations: &[&Mutation], all: &[Mutation]) -> Result<()> {
    let heading = results::heading()?;
    let scratch = Scratch::sync()?;
    let mut tried = Vec::new();
    for mutation in mutations {
        let watch = Stopwatch::start();
        let outcome = attempt(&scratch, mutation);
        let seconds = watch.elapsed().as_secs_f64();
        println!("{:<WIDTH$} {seconds:>6.1} s  {outcome}", mutation.name);
        tried.push(Tried { mutation, outcome, seconds });
    }
    let path = root().join(FOLDER).join("results.md");
    let names: Vec<_> = all.iter().map(|mutation| mutation.name.as_str()).collect();
    let old = fs::read_to_string(&path).unwrap_or_default();
    fs::write(path, results::page(&old, &names, &heading, &tried))?;
    let bad = tried.iter().filter(|tried| !matches!(tried.outcome, Outcome::Killed)).count();
    ensure!(bad == 0, "{bad} of {} mutations were not killed by their tests", tried.len());
    println!("all {} mutations were killed by their tests", tried.len());
    Ok(())
}

/// Applies one, builds and runs its tests.
fn attempt(scratch: &Scratch, mutation: &Mutation) -> Outcome {
    let passing = scratch.with(mutation, || {
        let program = scratch.build(&mutation.package, mutation.target.as_deref())?;
        program.passing(&mutation.tests)
    });
    match passing {
        Ok(passing) if passing.is_empty() => Outcome::Killed,
        Ok(passing) => Outcome::Survived(passing.into_iter().map(str::to_owned).collect()),
        Err(error) => Outcome::Unfit(format!("{error:#}")),
    }
}

/// All mutations: those of one package together and in its order of files, so that little is built
/// twice.
fn read() -> Result<Vec<Mutation>> {
    let mut mutations = Vec::new();
    for path in workspace::tracked()? {
        if let Some(name) = mutation::name_of(&path) {
            let text = fs::read_to_string(root().join(&path))?;
            mutations.push(Mutation::parse(name, &text).with_context(|| path.clone())?);
        }
    }
    mutations.sort_by_cached_key(|mutation| {
        let paths = mutation.hunks.iter().map(|hunk| hunk.path.clone());
        (mutation.package.clone(), mutation.target.clone(), paths.collect::<Vec<_>>())
    });
    Ok(mutations)
}

const WIDTH: usize = 44;
