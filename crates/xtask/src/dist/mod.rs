//! `cargo xtask dist`: what is given to others. For each architecture one static binary, with the
//! licences of everything that is in it, in `target/dist/mooring-VERSION-ARCH.tar.gz`, and SHA256SUMS.
//!
//! The same commit and compiler give the same bytes, wherever it is built: paths of this machine are
//! replaced, times are the commit's, the linker is the compiler's own (docs/decisions/0006).

mod archive;
mod elf;
mod licences;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};

use crate::stages::Stages;
use crate::workspace::{self, cargo, output, root, run};
use crate::{debian, test};

/// Options of the verb.
#[derive(Debug, Args)]
pub(crate) struct Dist {
    /// Only this architecture
    #[arg(long, value_enum)]
    arch: Option<Arch>,
    /// Build a second time from nothing, and compare
    #[arg(long)]
    twice: bool,
    /// Leave out the unit tests under emulation
    #[arg(long)]
    no_tests: bool,
}

/// An architecture that we give binaries for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Arch {
    #[value(name = "x86_64")]
    X86_64,
    #[value(name = "aarch64")]
    Aarch64,
}

impl Dist {
    /// Builds, tests and packs.
    ///
    /// # Errors
    /// The first stage that fails.
    pub(crate) fn run(&self) -> Result<()> {
        let mut stages = Stages::new();
        let architectures = self.arch.map_or(vec![Arch::X86_64, Arch::Aarch64], |arch| vec![arch]);
        stages.run("packages", || debian::require(debian::DIST))?;
        stages.run("targets", || add_targets(&architectures))?;
        let folder = workspace::target()?.join("dist");
        fs::create_dir_all(&folder)?;
        let mut archives = Vec::new();
        for arch in &architectures {
            let binary = stages.run(arch.stage(), || arch.build("target"))?;
            if self.twice {
                stages.run("again", || compare(*arch, &binary))?;
            }
            if *arch == Arch::Aarch64 && !self.no_tests {
                stages.run("emulated tests", emulated_tests)?;
            }
            archives.push(stages.run("archive", || archive::pack(*arch, &binary, &folder))?);
        }
        let sums = archive::sums(&folder, &archives)?;
        stages.print_times();
        println!("\n{sums}\nin {}", folder.display());
        Ok(())
    }
}

impl Arch {
    fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    fn stage(self) -> &'static str {
        match self {
            Self::X86_64 => "build x86_64",
            Self::Aarch64 => "build aarch64",
        }
    }

    /// musl: its C library may be linked statically, and can look up names without plugins.
    fn triple(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-unknown-linux-musl",
            Self::Aarch64 => "aarch64-unknown-linux-musl",
        }
    }

    /// The C compiler for the few lines of C among our dependencies.
    fn c_compiler(self) -> &'static str {
        match self {
            Self::X86_64 => "musl-gcc",
            Self::Aarch64 => "aarch64-linux-gnu-gcc",
        }
    }

    /// Where the C compiler finds the headers of the kernel; `musl-gcc` looks into musl's folder alone.
    fn kernel_headers(self) -> &'static [&'static str] {
        match self {
            Self::X86_64 => &["-idirafter/usr/include", "-idirafter/usr/include/x86_64-linux-gnu"],
            Self::Aarch64 => &[],
        }
    }

    /// What runs its programs here.
    fn runner(self) -> Option<&'static str> {
        (std::env::consts::ARCH != self.name()).then_some(match self {
            Self::X86_64 => "qemu-x86_64",
            Self::Aarch64 => "qemu-aarch64",
        })
    }

    /// The release binary, built in the folder `place` of the target folder, and checked.
    fn build(self, place: &str) -> Result<PathBuf> {
        let folder = workspace::target()?.join("dist").join(place);
        let mut command =
            self.cargo(&["build", "--release", "--locked", "--package", "mooring"])?;
        run(command.arg("--target-dir").arg(&folder))?;
        let binary = folder.join(self.triple()).join("release").join("mooring");
        elf::ensure_static(&binary)?;
        println!("{}: {}", self.name(), output(self.program(&binary).arg("--version"))?.trim());
        Ok(binary)
    }

    /// A command that runs a program of this architecture.
    fn program(self, binary: &Path) -> Command {
        let Some(runner) = self.runner() else { return Command::new(binary) };
        let mut command = Command::new(runner);
        command.arg(binary);
        command
    }

    /// Cargo for this architecture.
    fn cargo(self, arguments: &[&str]) -> Result<Command> {
        let triple = self.triple();
        let of_target = triple.to_uppercase().replace('-', "_");
        let maps: Vec<_> = path_maps()?
            .into_iter()
            .map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()))
            .collect();
        let c_maps = path_maps()?
            .into_iter()
            .map(|(from, to)| format!("-ffile-prefix-map={}={to}", from.display()))
            .chain(self.kernel_headers().iter().map(ToString::to_string));
        let mut command = cargo(arguments);
        command
            .args(["--target", triple])
            // An environment variable, so that no other flags are added by a user's configuration.
            .env("CARGO_ENCODED_RUSTFLAGS", maps.join("\u{1f}"))
            .env("CARGO_PROFILE_RELEASE_STRIP", "debuginfo")
            .env(format!("CARGO_TARGET_{of_target}_LINKER"), "rust-lld")
            .env(format!("CC_{}", triple.replace('-', "_")), self.c_compiler())
            .env("CFLAGS", c_maps.collect::<Vec<_>>().join(" "));
        if let Some(runner) = self.runner() {
            command.env(format!("CARGO_TARGET_{of_target}_RUNNER"), runner);
        }
        Ok(command)
    }
}

/// Folders of this machine, and what is written in their place.
fn path_maps() -> Result<[(PathBuf, &'static str); 2]> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let of_user = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo"));
    let home = home.or_else(of_user).context("neither CARGO_HOME nor HOME is set")?;
    Ok([(root().to_owned(), "mooring"), (home, "cargo")])
}

fn add_targets(architectures: &[Arch]) -> Result<()> {
    let triples = architectures.iter().map(|arch| arch.triple());
    run(Command::new("rustup").current_dir(root()).args(["target", "add"]).args(triples))
        .context("the compiler's library for other targets comes by rustup")
}

/// Builds from nothing in another folder.
fn compare(arch: Arch, first: &Path) -> Result<()> {
    let place = "target-again";
    let folder = workspace::target()?.join("dist").join(place);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let second = arch.build(place)?;
    let (first, second) = (archive::sum(first)?, archive::sum(&second)?);
    ensure!(first == second, "two builds differ: {first} and {second}");
    println!("{}: built twice, {first}", arch.name());
    Ok(())
}

/// The unit tests of the crates that know no kernel, on the other architecture.
fn emulated_tests() -> Result<()> {
    let mut command = Arch::Aarch64.cargo(&["test", "--quiet", "--lib"])?;
    for package in test::PURE {
        command.args(["--package", package]);
    }
    // Emulation is slow: fewer cases of each property.
    run(command.env("PROPTEST_CASES", "16"))
}
