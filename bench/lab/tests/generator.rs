//! The packet generator drives the NATs, and a way without one. How fast they are is not asserted.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::process::Command;

use mooring_lab::built;
use serde_json::Value;

/// Connections by the generator through the one, then through the other.
fn connect(names: [&str; 2], options: &[&str]) {
    let mooring = built("mooring", "MOORING_BIN").unwrap();
    let pktgen = built("mooring-pktgen", "MOORING_PKTGEN").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_mooring-bench-lab"));
    command.args(["--json", "--pairs", "1", "--case", "connect_rate"]).args(options);
    let output =
        command.arg("--mooring").arg(mooring).arg("--pktgen").arg(pktgen).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let rows: Value = serde_json::from_slice(&output.stdout).unwrap();
    let row = &rows[0];
    assert!(row["case"] == "connect_rate" && row["unit"] == "connections/s", "{rows:#}");
    let [one, other] = names.map(|name| row[name].as_f64().unwrap_or(0.0));
    assert!(one > 0.0 && other > 0.0, "{rows:#}");
    assert!((row["ratio"].as_f64().unwrap() * other / one - 1.0).abs() < 1e-9, "{rows:#}");
}

#[test]
fn the_generator_connects_through_the_appliance_and_through_nftables() {
    connect(["mooring", "nftables"], &[]);
}

#[test]
fn the_generator_connects_where_nothing_translates() {
    connect(["forwarding", "nftables"], &["--ceiling"]);
}
