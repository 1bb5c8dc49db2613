//! What a stranger finds out about the NAT: behaviour discovery by STUN (RFC 5780) with coturn's
//! server and client, for every mapping and filtering that a pool can have.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::process::Output;
use std::thread;

use anyhow::{Context, Result, ensure};
use mooring_lab::peers::stun_server;
use mooring_lab::{Config, Family, Process, Site, Variant, isolated};

/// RFC 5780 §4.3 and §4.4.
#[test]
fn stun_reports_the_mapping_and_filtering_of_each_pool() {
    isolated("stun_reports_the_mapping_and_filtering_of_each_pool", || {
        each_pool(Variant::AfPacket)
    });
}

/// Two workers have one NAT's behaviour.
#[test]
fn stun_reports_the_same_of_two_workers() {
    isolated("stun_reports_the_same_of_two_workers", || each_pool(Variant::TwoWorkers));
}

/// RFC 5780 §4.5 to §4.7.
#[test]
fn stun_reports_hairpinning_lifetime_and_collisions() {
    isolated("stun_reports_hairpinning_lifetime_and_collisions", || {
        let site = Site::new(Variant::AfPacket)?;
        let timeouts = format!("\n[timeouts]\nudp = {UDP_TIMEOUT}");
        let appliance = site.start(&configure(site.config()).table(&timeouts))?;
        let _servers = [serve(&site, &Family::BOTH[0])?, serve(&site, &Family::BOTH[1])?];
        thread::scope(|scope| {
            let asked = Family::BOTH.each_ref().map(|family| {
                scope.spawn(|| {
                    hairpins(&site, family)?;
                    keeps_hosts_apart(&site, family)?;
                    lives_as_long_as_configured(&site, family)
                })
            });
            asked.into_iter().try_for_each(|one| one.join().expect("asking does not panic"))
        })?;
        appliance.stop().map(drop)
    });
}

/// All at once: a client that hears nothing waits for seconds.
fn each_pool(variant: Variant) -> Result<()> {
    let site = Site::new(variant)?;
    let appliance = site.start(&configure(site.config()))?;
    let _servers = [serve(&site, &Family::BOTH[0])?, serve(&site, &Family::BOTH[1])?];
    let found: Result<()> = thread::scope(|scope| {
        let cases =
            Family::BOTH.iter().flat_map(|family| POOLS.iter().map(move |pool| (family, pool)));
        let asked: Vec<_> =
            cases.map(|(family, pool)| scope.spawn(|| is_reported(&site, family, pool))).collect();
        asked.into_iter().try_for_each(|one| one.join().expect("asking does not panic"))
    });
    found.with_context(|| appliance.show_text(&["sessions"]).unwrap_or_default())?;
    appliance.stop().map(drop)
}

/// The server at its own address and at the one behind it, each with two ports.
fn serve(site: &Site, family: &Family) -> Result<Process> {
    let alternate: IpAddr = family.pick("198.51.100.1", "2001:db8:9::1").parse()?;
    stun_server(&site.server, [family.server, alternate])
}

/// The report holds the configured behaviour and no other.
fn is_reported(site: &Site, family: &Family, pool: &Pool) -> Result<()> {
    let mapping = discover(site, family, pool.port, &["-m"])?;
    let [independent, address, both] =
        MAPPINGS.map(|kind| mapping.contains(&format!("NAT with {kind} Mapping!")));
    let found = match (independent, address, both) {
        (true, false, false) => "endpoint-independent",
        (false, false, true) => "endpoint-dependent",
        _ => "something else",
    };
    ensure!(found == pool.mapping, "{}: {found} mapping:\n{mapping}", pool.name);
    let address = format!("reflexive addr: {}:", pool.address(family));
    ensure!(mapping.contains(&address), "another address than {}:\n{mapping}", pool.name);

    // Of a mapping that has spoken to nobody yet.
    let filtering = discover(site, family, pool.port + 1, &["-f"])?;
    let found: Vec<_> = FILTERINGS
        .iter()
        .filter(|(_, kind)| filtering.contains(&format!("NAT with {kind} Filtering!")))
        .map(|(key, _)| *key)
        .collect();
    ensure!(found == [pool.filtering], "{}: {found:?} filtering:\n{filtering}", pool.name);
    Ok(())
}

/// A request to the host's own outside end comes back to it.
fn hairpins(site: &Site, family: &Family) -> Result<()> {
    let said = discover(site, family, OPEN.port, &["-H"])?;
    ensure!(said.contains("successful hairpinning"), "no hairpinning:\n{said}");
    Ok(())
}

/// A binding of a pool lives on before its timeout and is gone 2 s after it: the second answer, which
/// the server sends to the first one's end, comes or not.
fn lives_as_long_as_configured(site: &Site, family: &Family) -> Result<()> {
    thread::scope(|scope| {
        let asked = [(7000, UDP_TIMEOUT - 3, true), (7001, UDP_TIMEOUT + 3, false)].map(
            |(port, wait, alive)| {
                scope.spawn(move || {
                    let wait = wait.to_string();
                    let said = discover(site, family, port, &["-t", "-T", &wait])?;
                    let answered = said.contains("RFC 5780 response 2");
                    ensure!(answered == alive, "after {wait} s of {UDP_TIMEOUT} s:\n{said}");
                    Ok(())
                })
            },
        );
        asked.into_iter().try_for_each(|one| one.join().expect("asking does not panic"))
    })
}

/// Two inside addresses with one port get two outside ends.
fn keeps_hosts_apart(site: &Site, family: &Family) -> Result<()> {
    let second = family.pick("10.0.0.5", "fd00:10::5");
    site.client.ip(&format!("address add {second}/{} dev eth0", family.pick("24", "64 nodad")))?;
    let said = discover(site, family, 7002, &["-c", "-A", second])?;
    let ends: Vec<_> =
        said.lines().filter_map(|line| line.split("reflexive addr: ").nth(1)).collect();
    let distinct: BTreeSet<_> = ends.iter().collect();
    ensure!(ends.len() == 2 && distinct.len() == 2, "{ends:?}:\n{said}");
    Ok(())
}

/// What coturn's client says about the NAT, from this source port.
fn discover(site: &Site, family: &Family, port: u16, options: &[&str]) -> Result<String> {
    let (client, server, port) =
        (family.client.to_string(), family.server.to_string(), port.to_string());
    let all = [options, &["-L", &client, "-l", &port, &server]].concat();
    // It may end with a complaint where an answer is missing, which is what is asked about.
    let Output { stdout, stderr, .. } = site
        .client
        .command("timeout")
        .args(["40", "turnutils_natdiscovery"])
        .args(all)
        .output()
        .context("cannot run turnutils_natdiscovery (package coturn)")?;
    let said = [stdout, stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    ensure!(said.contains("RFC 5780 response 1"), "the server did not answer:\n{said}");
    Ok(said)
}

/// A pool of each kind; the client's source port chooses.
fn configure(config: Config) -> Config {
    Family::BOTH.iter().fold(config, |config, family| {
        POOLS.iter().fold(config, |config, pool| {
            let name = format!("{}-{}", pool.name, family.pick("v4", "v6"));
            config
                .table(&format!(
                    "[[pool]]\nname = \"{name}\"\naddresses = [\"{}\"]\nmapping = \"{}\"\n\
                     filtering = \"{}\"",
                    pool.address(family),
                    pool.mapping,
                    pool.filtering
                ))
                .first_rule(&format!(
                    "name = \"{name}\"\nkind = \"source-nat\"\nfrom = \"inside\"\n\
                     to = \"outside\"\nsource = [\"{}\"]\nprotocol = \"udp\"\n\
                     source_ports = \"{}-{}\"\npool = \"{name}\"",
                    family.pick("0.0.0.0/0", "::/0"),
                    pool.port,
                    pool.port + 1
                ))
        })
    })
}

/// A pool, by the keys of its configuration.
struct Pool {
    name: &'static str,
    /// The first of the two source ports that choose it.
    port: u16,
    /// The last number of its address.
    last: u8,
    mapping: &'static str,
    filtering: &'static str,
}

impl Pool {
    fn address(&self, family: &Family) -> IpAddr {
        match family.pool {
            IpAddr::V4(address) => {
                let [a, b, c, _] = address.octets();
                IpAddr::from([a, b, c, self.last])
            }
            IpAddr::V6(address) => {
                let mut octets = address.octets();
                octets[15] = self.last;
                IpAddr::from(octets)
            }
        }
    }
}

const OPEN: Pool = Pool {
    name: "open",
    port: 5010,
    last: 11,
    mapping: "endpoint-independent",
    filtering: "endpoint-independent",
};
const HOSTS: Pool = Pool {
    name: "hosts",
    port: 5020,
    last: 12,
    mapping: "endpoint-independent",
    filtering: "address-dependent",
};
const STRICT: Pool = Pool {
    name: "strict",
    port: 5030,
    last: 13,
    mapping: "endpoint-independent",
    filtering: "address-and-port-dependent",
};
const DEPENDENT: Pool = Pool {
    name: "dependent",
    port: 5040,
    last: 14,
    mapping: "endpoint-dependent",
    filtering: "address-and-port-dependent",
};
const POOLS: [Pool; 4] = [OPEN, HOSTS, STRICT, DEPENDENT];

/// What coturn's client calls the mappings.
const MAPPINGS: [&str; 3] =
    ["Endpoint Independent", "Address Dependent", "Address and Port Dependent"];
/// What the configuration and coturn's client call the filterings.
const FILTERINGS: [(&str, &str); 3] = [
    ("endpoint-independent", "Endpoint Independent"),
    ("address-dependent", "Address Dependent"),
    ("address-and-port-dependent", "Address and Port Dependent"),
];
/// Seconds that a UDP session lives.
const UDP_TIMEOUT: u32 = 6;
