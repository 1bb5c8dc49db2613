//! Building the appliance for others: static, on musl, for either architecture, with nothing of this machine in it
//! (docs/decisions/0006).

mod elf;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use crate::debian::{self, Tool};
use crate::workspace::{self, cargo, output, root, run};

/// An architecture that we give binaries for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Arch {
    #[value(name = "x86_64", alias = "amd64")]
    X86_64,
    #[value(name = "aarch64", alias = "arm64")]
    Aarch64,
}

impl Arch {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::X86_64, Self::Aarch64];

    /// As the compiler calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// As images call it: Go's name.
    pub(crate) fn of_images(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }

    /// The name of the stage that builds for it.
    pub(crate) fn stage(self) -> &'static str {
        match self {
            Self::X86_64 => "build x86_64",
            Self::Aarch64 => "build aarch64",
        }
    }

    /// musl: its C library may be linked statically, and can look up names without plugins.
    pub(crate) fn triple(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-unknown-linux-musl",
            Self::Aarch64 => "aarch64-unknown-linux-musl",
        }
    }

    /// Installs what building for it needs: the compiler's library, and a C compiler for the few lines of C among
    /// our dependencies.
    ///
    /// # Errors
    /// When something is missing and cannot be installed; the message says how to get it.
    pub(crate) fn prepare(self) -> Result<()> {
        debian::require(self.tools())?;
        let rustup = |verb: &str| {
            let mut rustup = Command::new("rustup");
            rustup.current_dir(root()).args(["target", verb]);
            rustup
        };
        // Asked first: adding what is there already asks the network.
        let installed = rustup("list").arg("--installed").stderr(Stdio::null()).output();
        let listed = installed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        if listed.is_ok_and(|text| text.lines().any(|line| line == self.triple())) {
            return Ok(());
        }
        run(rustup("add").arg(self.triple())).with_context(|| {
            let triple = self.triple();
            format!(
                "the compiler's library for {triple} is missing\nhint: rustup target add {triple}"
            )
        })
    }

    /// The binary of a Cargo profile, built in the folder `place` of `target/dist`, and checked.
    ///
    /// # Errors
    /// When it does not build, is not static, or does not run.
    pub(crate) fn build(self, place: &str, profile: &str) -> Result<PathBuf> {
        let folder = workspace::target()?.join("dist").join(place);
        let mut command = self.cargo(&["build", "--locked", "--package", "mooring"])?;
        run(command.args(["--profile", profile]).arg("--target-dir").arg(&folder))?;
        let profile_folder = if profile == "dev" { "debug" } else { profile };
        let binary = folder.join(self.triple()).join(profile_folder).join("mooring");
        elf::ensure_static(&binary)?;
        match self.program(&binary) {
            Some(mut program) => {
                println!("{}: {}", self.name(), output(program.arg("--version"))?.trim());
            }
            None => println!("{}: built; nothing here runs it", self.name()),
        }
        Ok(binary)
    }

    /// Cargo for this architecture.
    ///
    /// # Errors
    /// When Cargo's own folder is unknown.
    pub(crate) fn cargo(self, arguments: &[&str]) -> Result<Command> {
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

    fn tools(self) -> &'static [Tool] {
        match self {
            Self::X86_64 => debian::CROSS_X86_64,
            Self::Aarch64 => debian::CROSS_AARCH64,
        }
    }

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

    /// What runs its programs here, where this machine does not.
    fn runner(self) -> Option<&'static str> {
        (std::env::consts::ARCH != self.name()).then_some(match self {
            Self::X86_64 => "qemu-x86_64",
            Self::Aarch64 => "qemu-aarch64",
        })
    }

    /// A command that runs a program of this architecture, if one can.
    fn program(self, binary: &Path) -> Option<Command> {
        let Some(runner) = self.runner() else { return Some(Command::new(binary)) };
        let mut command = Command::new(runner);
        command.arg(binary);
        debian::has(runner).then_some(command)
    }
}

/// Builds from nothing in another folder, and compares.
///
/// # Errors
/// When the two differ.
pub(crate) fn compare(arch: Arch, first: &Path) -> Result<()> {
    let second = arch.build(fresh("target-again")?, "release")?;
    let (first, second) = (workspace::sum(first)?, workspace::sum(&second)?);
    ensure!(first == second, "two builds differ: {first} and {second}");
    println!("{}: built twice, {first}", arch.name());
    Ok(())
}

/// Takes away what was built in this folder of `target/dist`.
///
/// # Errors
/// When that cannot be done.
pub(crate) fn fresh(place: &str) -> Result<&str> {
    let folder = workspace::target()?.join("dist").join(place);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    Ok(place)
}

/// Folders of this machine, and what is written in their place.
fn path_maps() -> Result<[(PathBuf, &'static str); 2]> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let of_user = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo"));
    let home = home.or_else(of_user).context("neither CARGO_HOME nor HOME is set")?;
    Ok([(root().to_owned(), "mooring"), (home, "cargo")])
}
