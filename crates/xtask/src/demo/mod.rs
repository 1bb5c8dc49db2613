//! `cargo xtask demo`: the appliance between real hosts, in under a minute after the build.
//!
//! Builds the release binary, starts this program again inside a private corner of the machine
//! (no root needed where user namespaces are allowed) and shows translated traffic there.

mod exchange;
mod report;
mod steps;

use std::io::Write;

use anyhow::{Context, Result, ensure};
use clap::Args;
use mooring_lab::{Appliance, Config, Lab, isolation};

use crate::workspace::{cargo, run, target};
use crate::{debian, workspace};
use exchange::Exchange;
use steps::step;

/// Options of the verb.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Megabytes to download through the appliance
    #[arg(long, default_value_t = 200)]
    megabytes: u64,
}

impl Demo {
    /// Builds, shows, cleans up.
    ///
    /// # Errors
    /// When the build, the lab, or the translation fails.
    pub(crate) fn run(&self) -> Result<()> {
        if isolation::inside() {
            return self.show();
        }
        debian::require(debian::DEMO)?;
        println!("Building the appliance (release)");
        run(&mut cargo(&["build", "--release", "--package", "mooring"]))?;
        let mooring = target()?.join("release").join("mooring");
        let megabytes = self.megabytes.to_string();
        let status = isolation::reenter(&["demo", "--megabytes", &megabytes], &mooring)?;
        ensure!(status.success(), "the demo failed, see above");
        Ok(())
    }

    /// Inside: everything made here ends with this process.
    fn show(&self) -> Result<()> {
        isolation::prepare()?;
        println!("{PICTURE}");
        let lab = step("lab", || Ok((Lab::new()?, "three namespaces, two links".into())))?;
        let appliance = step("mooring run", || {
            let appliance = Appliance::start(&lab.gateway, &Config::nat44())?;
            Ok((appliance, format!("ready, {}", version()?)))
        })?;
        let mut exchange = Exchange::start(&lab)?;
        step("ping", || exchange.ping())?;
        step("udp", || exchange.udp())?;
        step("web download", || exchange.download(self.megabytes * 1_000_000))?;

        let sessions = appliance.show("sessions")?;
        report::print(&sessions, exchange.observed())?;
        step("mooring stopped", || Ok((appliance.stop()?, "nothing is left behind".into())))?;
        std::io::stdout().flush().context("standard output")
    }
}

/// What the binary says it is.
fn version() -> Result<String> {
    let mut command = std::process::Command::new(mooring_lab::mooring_binary()?);
    Ok(workspace::output(command.arg("--version"))?.trim().to_owned())
}

const PICTURE: &str = "
  client               mooring                              server
  10.0.0.2 ─────────── 10.0.0.1 │ NAT │ 192.0.2.1 ───────── 192.0.2.2
                                203.0.113.10
";
