//! SIGHUP under traffic: what stays, what ends, and what is refused.

use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use mooring_lab::peers::{UdpEcho, iperf3, receive};
use mooring_lab::{Config, Family, Site, Variant, isolated};

#[test]
fn traffic_goes_on_over_reloads() {
    isolated("traffic_goes_on_over_reloads", || goes_on(Variant::AfPacket));
}

#[test]
fn traffic_goes_on_over_reloads_of_two_workers() {
    isolated("traffic_goes_on_over_reloads_of_two_workers", || goes_on(Variant::TwoWorkers));
}

/// A session whose rule vanished ends; one whose rule drains lives on; others never notice.
#[test]
fn a_vanished_rule_takes_its_sessions_along() {
    isolated("a_vanished_rule_takes_its_sessions_along", || {
        let site = Site::new(Variant::AfPacket)?;
        let with = site.config().first_rule(&forward(8000, 5000, "")).first_rule(&forward(
            8001,
            5001,
            "drain = true\n",
        ));
        let mut appliance = site.start(&with)?;
        let [ends, drains] = [(8000, 5000), (8001, 5001)]
            .map(|(outside, inside)| Forwarded::open(&site, outside, inside));
        let (ends, drains) = (ends?, drains?);
        let kept = Echoed::open(&site)?;

        appliance.reload(&site.config().to_string())?;
        appliance.wait_for_line("reloaded generation 2")?;
        ensure!(appliance.show("counters")?["generation"] == 2);
        ensure!(!ends.passes()?, "its rule is gone");
        ensure!(drains.passes()?, "its rule drained");
        ensure!(kept.passes()?, "its rule is still there");
        let rules = appliance.show("sessions")?.to_string();
        ensure!(!rules.contains("forward-8000"), "{rules}");
        appliance.stop().map(drop)
    });
}

/// A bad file changes nothing, and says where it is bad.
#[test]
fn a_bad_file_is_refused_and_the_old_state_stays() {
    isolated("a_bad_file_is_refused_and_the_old_state_stays", || {
        let site = Site::new(Variant::AfPacket)?;
        let good = site.config();
        let mut appliance = site.start(&good)?;
        let session = Echoed::open(&site)?;
        let bad = [
            good.clone().appliance("wrokers = 2"),
            good.clone().replace("pool = \"egress\"", "pool = \"igress\""),
            // What cannot change while it runs.
            good.clone().replace("device = \"in0\"", "device = \"in1\""),
            good.clone().replace("workers = 1", "workers = 2"),
        ];
        for config in bad {
            appliance.reload(&config.to_string())?;
            appliance.wait_for_line("reload refused")?;
            ensure!(appliance.show("counters")?["generation"] == 1);
            ensure!(session.passes()?);
        }
        appliance.reload(&good.to_string())?;
        appliance.wait_for_line("reloaded generation")?;
        ensure!(session.passes()?);
        appliance.stop().map(drop)
    });
}

/// An address that is new is announced and used at once; one that is gone is silent at once.
#[test]
fn addresses_come_and_go() {
    isolated("addresses_come_and_go", || {
        let site = Site::new(Variant::AfPacket)?;
        let mut appliance = site.start(&site.config())?;
        ensure!(answers(&site, "203.0.113.10")? && !answers(&site, "203.0.113.11")?);
        appliance
            .reload(&site.config().replace("203.0.113.10/32", "203.0.113.11/32").to_string())?;
        appliance.wait_for_line("reloaded generation 2")?;
        ensure!(answers(&site, "203.0.113.11")? && !answers(&site, "203.0.113.10")?);
        let session = Echoed::open(&site)?;
        ensure!(session.mapped.ip().to_string() == "203.0.113.11");
        appliance.stop().map(drop)
    });
}

/// iperf3 both ways for some seconds while the rules change every 200 ms.
fn goes_on(variant: Variant) -> Result<()> {
    let site = Site::new(variant)?;
    let _server = iperf3(&site.server)?;
    let mut appliance = site.start(&site.config())?;
    let session = Echoed::open(&site)?;
    let client = site.client.clone();
    let server = Family::BOTH[0].server.to_string();
    let load = thread::spawn(move || {
        client.tool("iperf3", &["--client", &server, "--time", "3", "--bidir", "--json"])
    });
    for generation in 2..12 {
        let config: Config = site.config().first_rule(&forward(8000 + generation, 80, ""));
        appliance.reload(&config.to_string())?;
        appliance.wait_for_line(&format!("reloaded generation {generation}"))?;
        ensure!(session.passes()?, "after generation {generation}");
        thread::sleep(Duration::from_millis(200));
    }
    let report: serde_json::Value =
        serde_json::from_str(&load.join().expect("iperf3's thread does not panic")?)?;
    for direction in ["sum_received", "sum_received_bidir_reverse"] {
        let bytes = report["end"][direction]["bytes"].as_u64().unwrap_or(0);
        ensure!(bytes > 1_000_000, "{direction} moved {bytes} bytes: {}", report["end"]);
    }
    appliance.stop().map(drop)
}

fn forward(outside: u16, inside: u16, more: &str) -> String {
    format!(
        "name = \"forward-{outside}\"\nkind = \"port-forward\"\naddress = \"203.0.113.20\"\n\
         protocol = \"udp\"\nport = {outside}\ntarget = \"10.0.0.2:{inside}\"\n\
         from = \"outside\"\n{more}"
    )
}

fn answers(site: &Site, address: &str) -> Result<bool> {
    let ping = ["-c", "1", "-W", "1", address];
    Ok(site.server.command("ping").args(ping).output()?.status.success())
}

/// A session from outside by a forwarded port.
struct Forwarded {
    inside: UdpSocket,
    outside: UdpSocket,
}

impl Forwarded {
    fn open(site: &Site, port: u16, inside: u16) -> Result<Self> {
        let inside = site.client.udp(SocketAddr::from(([10, 0, 0, 2], inside)))?;
        let outside = site.far.udp(SocketAddr::new(Family::BOTH[0].far, 0))?;
        outside.connect(SocketAddr::from(([203, 0, 113, 20], port)))?;
        let session = Self { inside, outside };
        session.outside.send(b"in")?;
        let (_, from) = receive(&session.inside)?;
        session.inside.connect(from)?;
        session.inside.set_read_timeout(Some(SHORT))?;
        session.outside.set_read_timeout(Some(SHORT))?;
        ensure!(session.passes()?);
        Ok(session)
    }

    fn passes(&self) -> Result<bool> {
        self.outside.send(b"in")?;
        let came_in = self.inside.recv(&mut [0; 16]).is_ok();
        self.inside.send(b"out")?;
        Ok(came_in && self.outside.recv(&mut [0; 16]).is_ok())
    }
}

/// A session to an echo server.
struct Echoed {
    client: UdpSocket,
    mapped: SocketAddr,
}

impl Echoed {
    fn open(site: &Site) -> Result<Self> {
        let family = Family::BOTH[0];
        let echo = UdpEcho::start(&site.server, SocketAddr::new(family.server, 0))?;
        let client = site.client.udp(SocketAddr::new(family.client, 0))?;
        client.connect(echo.address()?)?;
        client.send(b"hello")?;
        receive(&client)?;
        client.set_read_timeout(Some(SHORT))?;
        let mapped = echo.next_source()?;
        Ok(Self { client, mapped })
    }

    fn passes(&self) -> Result<bool> {
        self.client.send(b"again")?;
        Ok(self.client.recv(&mut [0; 16]).is_ok())
    }
}

const SHORT: Duration = Duration::from_millis(500);
