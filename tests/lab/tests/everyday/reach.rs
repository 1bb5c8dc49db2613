//! Ping, name service, traceroute: is the world there?

use anyhow::{Result, ensure};
use mooring_lab::peers::{DNS_A, DNS_AAAA, dnsmasq, nginx};
use mooring_lab::{Appliance, Family, Site};

use crate::{Group, unchanged};

pub(crate) fn all() -> Group {
    Group { configure: unchanged, traffic }
}

fn traffic(site: &Site, _appliance: &Appliance) -> Result<()> {
    let _web = nginx(&site.server, &["80", "[::]:80"])?;
    let _names = dnsmasq(&site.server)?;
    for family in &Family::BOTH {
        ping(site, family)?;
        dig(site, family)?;
        traceroute(site, family)?;
    }
    Ok(())
}

fn ping(site: &Site, family: &Family) -> Result<()> {
    for target in [family.gateway, family.server, family.far] {
        let target = target.to_string();
        for size in ["0", "56", "1400"] {
            let arguments = ["-n", "-c", "3", "-i", "0.05", "-W", "5", "-s", size, &target];
            let said = site.client.tool("ping", &arguments)?;
            ensure!(said.contains("3 received"), "{said}");
        }
    }
    Ok(())
}

fn dig(site: &Site, family: &Family) -> Result<()> {
    let server = format!("@{}", family.server);
    for transport in ["+notcp", "+tcp"] {
        for (kind, expected) in [("A", DNS_A), ("AAAA", DNS_AAAA)] {
            let question = [&server, "+short", "+time=5", transport, "host.lab.example", kind];
            let said = site.client.tool("dig", &question)?;
            ensure!(said.trim() == expected, "dig {question:?}: {said}");
        }
    }
    Ok(())
}

/// Three hops: the appliance, the server as a router, the far host.
fn traceroute(site: &Site, family: &Family) -> Result<()> {
    let far = family.far.to_string();
    let hops = [family.gateway, family.server, family.far].map(|hop| hop.to_string());
    for mode in [&["--udp"][..], &["--icmp"], &["--tcp", "-p", "80"], &["-p", "33434"]] {
        let mut arguments = vec!["-n", "-q", "1", "-w", "3", "-m", "4"];
        arguments.extend(mode);
        arguments.push(&far);
        let said = site.client.tool("traceroute", &arguments)?;
        let found: Vec<_> =
            said.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect();
        ensure!(found.first() == Some(&hops[0].as_str()), "our hop, by {mode:?}:\n{said}");
        // An IPv6 router may answer from any of its addresses; the two others are as they are.
        ensure!(found.get(2) == Some(&hops[2].as_str()), "the far host, by {mode:?}:\n{said}");
        ensure!(found.len() == hops.len(), "three hops, by {mode:?}:\n{said}");
    }
    Ok(())
}
