//! The packet generator drives both NATs. How fast they are is not asserted.

use std::process::Command;

use mooring_lab::built;
use serde_json::Value;

#[test]
fn the_generator_connects_through_the_appliance_and_through_nftables() {
    let mooring = built("mooring", "MOORING_BIN").unwrap();
    let pktgen = built("mooring-pktgen", "MOORING_PKTGEN").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_mooring-bench-lab"));
    command.args(["--json", "--pairs", "1", "--case", "connect_rate", "--mooring"]).arg(mooring);
    let output = command.arg("--pktgen").arg(pktgen).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let rows: Value = serde_json::from_slice(&output.stdout).unwrap();
    let row = &rows[0];
    assert!(row["case"] == "connect_rate" && row["unit"] == "connections/s", "{rows:#}");
    let [ours, theirs] = ["mooring", "nftables"].map(|nat| row[nat].as_f64().unwrap_or(0.0));
    assert!(ours > 0.0 && theirs > 0.0, "{rows:#}");
    assert!((row["ratio"].as_f64().unwrap() * theirs / ours - 1.0).abs() < 1e-9, "{rows:#}");
}
