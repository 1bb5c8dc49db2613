//! Services on owned addresses: a health check from either side, by an unmodified HTTP client.

use anyhow::{Result, ensure};
use mooring_lab::{Appliance, Config, Lab, isolated};

const HEALTH: &str = r#"
[[service]]
name = "health"
kind = "health"
address = "203.0.113.10"
port = 8080

[[service]]
name = "health-inside"
kind = "health"
address = "10.0.0.1"
port = 80
"#;

#[test]
fn a_health_service_answers_on_an_owned_address() {
    isolated("a_health_service_answers_on_an_owned_address", || {
        let lab = Lab::new()?;
        let config = Config::nat44().appliance(HEALTH);
        let appliance = Appliance::start(&lab.gateway, &config)?;
        let ask = |host: &mooring_lab::Namespace, url: &str| -> Result<String> {
            let format = "%{http_code}";
            host.output("curl", &["-sS", "--max-time", "3", "-w", format, url])
        };
        for (host, address) in [(&lab.server, "203.0.113.10:8080"), (&lab.client, "10.0.0.1")] {
            let healthy = ask(host, &format!("http://{address}/healthz"))?;
            ensure!(healthy == "ok\n200", "{address}: {healthy}");
            let missing = ask(host, &format!("http://{address}/secret"))?;
            ensure!(missing.ends_with("404"), "{address}: {missing}");
        }
        // The inside address is nobody's outside, and the service takes no more than its port.
        let closed = ask(&lab.server, "http://203.0.113.10:8081/");
        ensure!(closed.is_err(), "an answer from a closed port: {closed:?}");
        appliance.stop()?;
        Ok(())
    });
}
