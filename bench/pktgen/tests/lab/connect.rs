//! TCP connections through the appliance.

use std::process::Command;

use anyhow::{Context, ensure};
use mooring_lab::{Appliance, Config, Lab, isolated};

use super::{GENERATOR, json};

#[test]
fn connections_are_made_answered_and_closed_through_the_appliance() {
    isolated("connect::connections_are_made_answered_and_closed_through_the_appliance", || {
        let lab = Lab::new()?;
        let _appliance = Appliance::start(&lab.gateway, &Config::nat44())?;
        let connect = |more: &[&str]| {
            json(
                Command::new(GENERATOR)
                    .args(["connect", "--json", "--client-netns", lab.client.name()])
                    .args(["--server-netns", lab.server.name(), "--duration", "1"])
                    .args(more),
            )
        };
        let to = ["--destination", "198.51.100.1"];
        let report = connect(
            &[&to[..], &["--rate", "100", "--concurrent", "8", "--answer", "9000"]].concat(),
        )?;
        let connections = report["connections"].as_u64().context("connections")?;
        ensure!((50..=101).contains(&connections), "{report:#}");
        let failed = report["failed"].as_object().context("failures")?;
        ensure!(failed.values().all(|count| count == 0), "{report:#}");
        let sum = |name: &str| -> u64 {
            let all = report["intervals"].as_array().into_iter().flatten();
            all.filter_map(|interval| interval[name].as_u64()).sum()
        };
        ensure!((sum("connections"), sum("failed")) == (connections, 0), "{report:#}");
        let at = |what: &str| report[what]["p50"].as_u64().context(what.to_owned());
        ensure!(at("connect_ns")? > 1_000 && at("connect_ns")? < at("whole_ns")?, "{report:#}");

        // From an address of the client's that it names, to one where nobody listens.
        let from = ["--source", "10.0.0.4", "--concurrent", "2", "--rate", "20"];
        ensure!(connect(&[&to[..], &from].concat())?["connections"].as_u64() > Some(5));
        let nobody = ["--destination", "192.0.2.77", "--patience", "0.3", "--concurrent", "4"];
        let report = connect(&nobody)?;
        let failed = report["failed"]["timed_out"].as_u64().context("timed out")?;
        ensure!(report["connections"] == 0 && failed >= 4, "{report:#}");
        Ok(())
    });
}

#[test]
fn a_server_outside_of_the_lab_is_refused() {
    let output =
        Command::new(GENERATOR).args(["connect", "--destination", "9.9.9.9"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && said.contains("--really"), "{said}");
}
