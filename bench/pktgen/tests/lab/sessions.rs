//! Sessions of the appliance, from both of its sides.

use anyhow::{Context, Result, ensure};
use mooring_lab::{Appliance, Config, KernelAddresses, Lab, isolated};
use serde_json::Value;

use super::{generator, json, mac};

/// Sessions to the server's address, from the client's.
fn sessions(lab: &Lab, what: &str, more: &[&str]) -> Result<Value> {
    let next_hop = mac(&lab.gateway, "in0")?;
    let mut command = generator("sessions", &lab.client, &next_hop, &lab.server, "eth0");
    // The subcommand stands behind the mode.
    let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let mut ordered = std::process::Command::new(command.get_program());
    ordered.arg(&arguments[0]).arg(what).args(&arguments[1..]);
    ordered.args(["--source", "10.0.0.2", "--destination", "198.51.100.1"]).args(more);
    command = ordered;
    json(&mut command)
}

fn number(report: &Value, name: &str) -> Result<f64> {
    report[name].as_f64().with_context(|| format!("{name}: {report:#}"))
}

/// As many ports as there may be sessions of one host.
fn two_hundred_ports() -> Config {
    Config::nat44().replace("ports = \"1024-65535\"", "ports = \"2000-2199\"")
}

#[test]
fn capacity_is_what_is_still_answered() {
    isolated("sessions::capacity_is_what_is_still_answered", || {
        for template in ["udp", "icmp"] {
            let lab = Lab::new()?;
            // Ports do not limit the identifiers of ICMP.
            let config = if template == "udp" {
                two_hundred_ports()
            } else {
                Config::nat44().table("[limits]\nsessions_per_source = 200\n")
            };
            let _appliance = Appliance::start(&lab.gateway, &config)?;
            let report = sessions(
                &lab,
                "capacity",
                &["--template", template, "--first", "60", "--most", "900", "--rate", "2000"],
            )?;
            // One session has greeted.
            ensure!(number(&report, "capacity")? == 199.0, "{template}: {report:#}");
            ensure!(
                report["is_lower_bound"] == false && report["is_confirmed"] == false,
                "{report:#}"
            );
            let steps = report["steps"].as_array().context("steps")?;
            let counts: Vec<_> = steps.iter().map(|step| step["sessions"].as_u64()).collect();
            ensure!(counts == [Some(60), Some(120), Some(240)], "{report:#}");
            ensure!(steps.iter().all(|step| step["wrong"] == 0), "{report:#}");
        }
        Ok(())
    });
}

#[test]
fn a_rate_of_new_sessions_is_found() {
    isolated("sessions::a_rate_of_new_sessions_is_found", || {
        let lab = Lab::new()?;
        let _appliance = Appliance::start(&lab.gateway, &Config::nat44())?;
        let page = "/run/lab/rate.html";
        let report = sessions(
            &lab,
            "rate",
            &[
                ["--sessions", "100"],
                ["--lowest", "500"],
                ["--highest", "2000"],
                ["--precision", "500"],
                ["--loss", "0.5"],
                ["--repeats", "5"],
                ["--offered", "0.5"],
                ["--report", page],
            ]
            .concat(),
        )?;
        let rate = number(&report, "rate_pps")?;
        let trials = report["trials"].as_array().context("trials")?;
        let counts = report["sessions"].as_array().context("sessions")?;
        ensure!((500.0..=2_000.0).contains(&rate) && trials.len() == counts.len(), "{report:#}");
        for (trial, count) in trials.iter().zip(counts) {
            let [sent, lost] = ["sent", "lost"].map(|name| trial[name].as_u64().unwrap_or(0));
            let valid = count["valid"].as_u64().context("valid")?;
            ensure!(sent == 100 && lost == 100 - valid && count["wrong"] == 0, "{report:#}");
            ensure!(trial["passed"] == false || valid >= 50, "{report:#}");
        }
        let page = std::fs::read_to_string(page)?;
        ensure!(page.contains("RFC 9693") && page.contains("sessions a second"), "{page}");
        Ok(())
    });
}

/// A router in place of a NAT, which carries nothing for a while after each reset, as one that is started anew: a
/// trial does not begin before it carries packets again.
#[test]
fn a_trial_begins_when_the_nat_is_back_after_a_reset() {
    isolated("sessions::a_trial_begins_when_the_nat_is_back_after_a_reset", || {
        let lab = Lab::pod_like(KernelAddresses::Same)?;
        let forward = |on: &str| {
            let netns = lab.gateway.name();
            format!("ip netns exec {netns} sysctl -qw net.ipv4.ip_forward={on}")
        };
        let reset = format!("{} && {{ sleep 0.6; {}; }} &", forward("0"), forward("1"));
        let bounds = ["--sessions", "100", "--lowest", "1000", "--highest", "1000"];
        let passes = ["--loss", "0.5", "--offered", "0.5", "--repeats", "0"];
        let report =
            sessions(&lab, "rate", &[&bounds[..], &passes, &["--reset", &reset]].concat())?;
        let trials = report["trials"].as_array().context("trials")?;
        ensure!(report["rate_pps"] == 1_000 && trials.len() == 3, "{report:#}");
        ensure!(trials.iter().all(|trial| trial["passed"] == true), "{report:#}");
        Ok(())
    });
}

#[test]
fn sessions_end_after_their_timeout_and_not_before() {
    isolated("sessions::sessions_end_after_their_timeout_and_not_before", || {
        let lab = Lab::new()?;
        let config = Config::nat44().table("[timeouts]\nudp = 3\n");
        let _appliance = Appliance::start(&lab.gateway, &config)?;
        let count = ["--sessions", "240", "--rate", "2000"];
        let watch = ["--watch", "8", "--probes", "8"];
        let report = sessions(&lab, "expiry", &[&count[..], &watch].concat())?;
        ensure!(report["sessions"] == 240, "{report:#}");
        let probes = report["probes"].as_array().context("probes")?;
        ensure!(probes.len() == 8 && probes[0]["alive"] == 30, "{report:#}");
        ensure!(probes[7]["alive"] == 0 && probes[7]["asked"] == 30, "{report:#}");
        // A session ends within two seconds after its timeout.
        let oldest = number(&report, "oldest_alive_seconds")?;
        let youngest = number(&report, "youngest_ended_seconds")?;
        ensure!((1.9..5.2).contains(&oldest) && (2.9..6.2).contains(&youngest), "{report:#}");

        // A command that waits for it ends them all, one that does nothing ends none.
        for (command, left) in [("true", 240), ("sleep 6", 0)] {
            let report =
                sessions(&lab, "teardown", &[&count[..], &["--command", command]].concat())?;
            ensure!(report["sessions"] == 240 && report["left"] == left, "{report:#}");
        }
        Ok(())
    });
}

#[test]
fn without_a_nat_there_are_no_sessions() {
    isolated("sessions::without_a_nat_there_are_no_sessions", || {
        let lab = Lab::new()?;
        let report = sessions(&lab, "capacity", &["--settle", "0.01", "--most", "2000"]);
        let refusal = format!("{:#}", report.err().context("nothing passes")?);
        ensure!(refusal.contains("no packet came through"), "{refusal}");
        Ok(())
    });
}
