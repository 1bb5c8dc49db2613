//! `/metrics`, `/healthz` and `/readyz` of a running appliance, as monitors and probes see them.

use anyhow::Result;
use mooring_lab::address::{CLIENT, SERVER};
use mooring_lab::peers::Ping;
use mooring_lab::{Appliance, Config, Lab, isolated};

#[test]
fn monitors_and_probes_are_answered_while_packets_pass() {
    isolated("monitors_and_probes_are_answered_while_packets_pass", || {
        let lab = Lab::new()?;
        let appliance = Appliance::start(&lab.gateway, &observed())?;
        let mut ping = Ping::new(&lab.client, CLIENT, SERVER)?;
        for _ in 0..3 {
            ping.send(56)?;
        }
        let metrics = curl(&lab, "http://127.0.0.1:9464/metrics")?;
        for line in [
            "mooring_generation 1",
            "mooring_sessions{worker=\"0\"} 1",
            "mooring_sessions_created_total{worker=\"0\"} 1",
            "mooring_dropped_packets_total{reason=\"no_rule\"} 0",
            "mooring_pool_addresses{pool=\"egress\"} 1",
            "# EOF",
        ] {
            assert!(metrics.lines().any(|found| found == line), "`{line}` is not in\n{metrics}");
        }
        assert_eq!(curl(&lab, "http://127.0.0.1:9465/healthz")?, "ok\n");
        assert_eq!(curl(&lab, "http://127.0.0.1:9465/readyz")?, "ready\n");
        assert!(curl(&lab, "http://127.0.0.1:9465/metrics").is_err(), "metrics are elsewhere");
        appliance.stop().map(drop)
    });
}

#[test]
fn an_address_in_use_is_named_by_its_key() {
    isolated("an_address_in_use_is_named_by_its_key", || {
        let lab = Lab::new()?;
        let _holder = lab.gateway.tcp_listener("127.0.0.1:9465".parse()?)?;
        let exit = Appliance::refused(&lab.gateway, "run", &observed(), &[])?;
        assert_eq!(exit.code, Some(1), "{}", exit.stderr);
        assert!(exit.stderr.contains("`appliance.health` = \"127.0.0.1:9465\""), "{}", exit.stderr);
        assert!(exit.stderr.contains("hint: set `health`"), "{}", exit.stderr);
        Ok(())
    });
}

fn observed() -> Config {
    Config::nat44()
        .appliance("metrics = \"127.0.0.1:9464\"")
        .appliance("health = \"127.0.0.1:9465\"")
}

fn curl(lab: &Lab, url: &str) -> Result<String> {
    lab.gateway.output("curl", &["--silent", "--show-error", "--fail", "--max-time", "10", url])
}
