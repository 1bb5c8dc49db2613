//! Forwarded ports, static addresses, hairpin, bypass and drop, each with real sockets.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Result, ensure};
use mooring_lab::peers::{Digest, HttpServer, UdpEcho, download, receive};
use mooring_lab::{Appliance, Config, Family, Site};

use crate::Group;

pub(crate) fn all() -> Group {
    Group { configure, traffic }
}

/// Rules of each kind for both families. `other` has a static address, `client` forwarded ports.
fn configure(config: Config) -> Config {
    Family::BOTH.iter().fold(config, |config, family| {
        let name = |kind: &str| format!("name = \"{kind}-{}\"\n", family.pick("v4", "v6"));
        let (client, other) = (Family::host(family.client), family.other);
        let (pool, fixed) = (family.pool, family.fixed());
        let routed = family.pick("10.0.0.9", "fd00:10::9");
        config
            .first_rule(&format!(
                "{}kind = \"port-forward\"\naddress = \"{pool}\"\nport = \"8080\"\n\
                 target = \"{client}:80\"",
                name("web")
            ))
            .first_rule(&format!(
                "{}kind = \"port-forward\"\naddress = \"{pool}\"\nprotocol = \"udp\"\n\
                 port = \"8000-8009\"\ntarget = \"{client}:5000\"",
                name("range")
            ))
            .first_rule(&format!(
                "{}kind = \"static\"\ninside = \"{other}\"\noutside = \"{fixed}\"\n\
                 from = \"inside\"\nto = \"outside\"",
                name("static")
            ))
            .first_rule(&format!(
                "{}kind = \"bypass\"\nfrom = \"inside\"\nsource = [\"{routed}\"]",
                name("bypass")
            ))
            .first_rule(&format!(
                "{}kind = \"drop\"\nfrom = \"inside\"\nsource = [\"{}\"]\nprotocol = \"udp\"\n\
                 destination_ports = 9999",
                name("drop"),
                family.client
            ))
    })
}

fn traffic(site: &Site, appliance: &Appliance) -> Result<()> {
    for family in &Family::BOTH {
        port_forward(site, family)?;
        range_keeps_its_offset(site, family)?;
        static_both_ways(site, family)?;
        hairpin(site, family)?;
        bypass(site, family)?;
        drop(site, family, appliance)?;
    }
    Ok(())
}

/// The client's web server is reached from outside, and it sees who asks.
fn port_forward(site: &Site, family: &Family) -> Result<()> {
    let web = HttpServer::start(&site.client, SocketAddr::new(family.client, 80))?;
    let got = download(&site.far, SocketAddr::new(family.pool, 8080), MEGABYTES)?;
    ensure!(got.digest == Digest::of_noise(MEGABYTES));
    ensure!(web.next_client()? == got.local, "forwarding leaves the source as it is");

    // Hairpin: the other inside host reaches it by the same address.
    let got = download(&site.other, SocketAddr::new(family.pool, 8080), MEGABYTES)?;
    ensure!(got.digest == Digest::of_noise(MEGABYTES));
    ensure!(web.next_client()?.ip() == family.fixed(), "RFC 4787 REQ-9: the outside source");
    Ok(())
}

fn range_keeps_its_offset(site: &Site, family: &Family) -> Result<()> {
    for offset in [0, 1, 9] {
        let inside = site.client.udp(SocketAddr::new(family.client, 5000 + offset))?;
        let outside = site.far.udp(SocketAddr::new(family.far, 4000))?;
        let address = SocketAddr::new(family.pool, 8000 + offset);
        outside.send_to(b"question", address)?;
        let (question, from) = receive(&inside)?;
        ensure!(question == b"question" && from == outside.local_addr()?);
        inside.send_to(b"answer", from)?;
        ensure!(receive(&outside)? == (b"answer".to_vec(), address));
    }
    Ok(())
}

/// Every port and protocol in both directions, ports unchanged.
fn static_both_ways(site: &Site, family: &Family) -> Result<()> {
    let fixed = family.fixed();
    let echo = UdpEcho::start(&site.server, SocketAddr::new(family.server, 7000))?;
    let inside = site.other.udp(SocketAddr::new(family.other, 5555))?;
    inside.send_to(b"out", SocketAddr::new(family.server, 7000))?;
    ensure!(echo.next_source()? == SocketAddr::new(fixed, 5555));
    ensure!(receive(&inside)?.0 == b"out");

    let outside = site.far.udp(SocketAddr::new(family.far, 4001))?;
    outside.send_to(b"in", SocketAddr::new(fixed, 5555))?;
    ensure!(receive(&inside)? == (b"in".to_vec(), outside.local_addr()?), "filters nothing");

    HttpServer::start(&site.other, SocketAddr::new(family.other, 80))?;
    let got = download(&site.far, SocketAddr::new(fixed, 80), MEGABYTES)?;
    ensure!(got.digest == Digest::of_noise(MEGABYTES));
    let fixed = fixed.to_string();
    let said = site.server.tool("ping", &["-n", "-c", "2", "-i", "0.1", "-W", "5", &fixed])?;
    ensure!(said.contains("2 received"), "{said}");
    Ok(())
}

/// From a translated host to the static one, and its answer: two sessions of the appliance.
fn hairpin(site: &Site, family: &Family) -> Result<()> {
    let target = SocketAddr::new(family.fixed(), 7001);
    let echo = UdpEcho::start(&site.other, SocketAddr::new(family.other, 7001))?;
    let client = site.client.udp(SocketAddr::new(family.client, 5100))?;
    client.send_to(b"neighbour", target)?;
    ensure!(echo.next_source()?.ip() == family.pool);
    ensure!(receive(&client)? == (b"neighbour".to_vec(), target));

    let web = HttpServer::start(&site.other, SocketAddr::new(family.other, 81))?;
    let got = download(&site.client, SocketAddr::new(family.fixed(), 81), MEGABYTES)?;
    ensure!(got.digest == Digest::of_noise(MEGABYTES));
    ensure!(web.next_client()?.ip() == family.pool);
    Ok(())
}

/// An inside address that the outside has a route to is routed as it is.
fn bypass(site: &Site, family: &Family) -> Result<()> {
    let routed: IpAddr = family.pick("10.0.0.9", "fd00:10::9").parse()?;
    let bits = family.pick("32", "128 nodad");
    site.client.ip(&format!("address add {routed}/{} dev eth0", bits))?;
    let via = family.pick("via 192.0.2.1", "via 2001:db8:1::1");
    site.server.ip(&format!("route add {routed} {via}"))?;
    let echo = UdpEcho::start(&site.server, SocketAddr::new(family.server, 7002))?;
    let client = site.client.udp(SocketAddr::new(routed, 5200))?;
    client.send_to(b"plain", SocketAddr::new(family.server, 7002))?;
    ensure!(echo.next_source()? == SocketAddr::new(routed, 5200));
    ensure!(receive(&client)?.0 == b"plain");
    Ok(())
}

fn drop(site: &Site, family: &Family, appliance: &Appliance) -> Result<()> {
    let before = appliance.drops("rule_drop")?;
    let echo = UdpEcho::start(&site.server, SocketAddr::new(family.server, 9999))?;
    let client = site.client.udp(SocketAddr::new(family.client, 5300))?;
    client.send_to(b"never", SocketAddr::new(family.server, 9999))?;
    // What is sent later on the same path arrives, so the first would have.
    let other = UdpEcho::start(&site.server, SocketAddr::new(family.server, 9998))?;
    client.send_to(b"passes", SocketAddr::new(family.server, 9998))?;
    other.next_source()?;
    ensure!(!echo.has_seen_any(), "a drop rule drops");
    ensure!(appliance.drops("rule_drop")? == before + 1);
    Ok(())
}

const MEGABYTES: u64 = 3_000_000;
