//! Who may send to a mapping, and how mappings share ports: pools of each kind, real sockets.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Result, ensure};
use mooring_lab::peers::{UdpEcho, receive};
use mooring_lab::{Appliance, Config, Family, Site};

use crate::Group;

pub(crate) fn all() -> Group {
    Group { configure, traffic }
}

/// A pool of each kind; the client's source port chooses.
fn configure(config: Config) -> Config {
    Family::BOTH.iter().fold(config, |config, family| {
        let family_name = family.pick("v4", "v6");
        POOLS.iter().fold(config, |config, (name, ports, last, keys)| {
            let name = format!("{name}-{family_name}");
            config
                .table(&format!(
                    "[[pool]]\nname = \"{name}\"\naddresses = [\"{}\"]\n{keys}",
                    numbered(family, *last)
                ))
                .first_rule(&format!(
                    "name = \"{name}\"\nkind = \"source-nat\"\nfrom = \"inside\"\n\
                     to = \"outside\"\nsource = [\"{}\"]\nprotocol = \"udp\"\n\
                     source_ports = \"{ports}\"\npool = \"{name}\"",
                    family.pick("0.0.0.0/0", "::/0")
                ))
        })
    })
}

fn traffic(site: &Site, appliance: &Appliance) -> Result<()> {
    for family in &Family::BOTH {
        let probes = Probes {
            site,
            family,
            same_address: site.server.udp(SocketAddr::new(family.server, 7001))?,
            same_port: site.far.udp(SocketAddr::new(family.far, 7000))?,
            echo: UdpEcho::start(&site.server, SocketAddr::new(family.server, 7000))?,
        };
        // RFC 4787 §5: endpoint-independent, address-dependent, address- and port-dependent.
        probes.assert_filtering(5011, [true, true])?;
        probes.assert_filtering(5012, [true, false])?;
        probes.assert_filtering(5000, [false, false])?;
        one_source_port(site, family, &probes.echo)?;
        hairpin_of_two_mappings(site, family, &probes.echo)?;
        shared_ports(site, family, appliance)?;
    }
    Ok(())
}

/// Who sends to a mapping that was made by a datagram to `echo`.
struct Probes<'s> {
    site: &'s Site,
    family: &'s Family,
    echo: UdpEcho,
    same_address: UdpSocket,
    same_port: UdpSocket,
}

impl Probes<'_> {
    /// Whether another port of the same host gets through, and whether another host does.
    fn assert_filtering(&self, port: u16, expected: [bool; 2]) -> Result<()> {
        let client = self.site.client.udp(SocketAddr::new(self.family.client, port))?;
        let mapped = mapping(&client, SocketAddr::new(self.family.server, 7000), &self.echo)?;
        for (probe, passes) in [&self.same_address, &self.same_port].into_iter().zip(expected) {
            probe.send_to(b"probe", mapped)?;
            self.echo.send(b"invited", mapped)?;
            // They are two flows: of two workers, the second may be the faster one.
            let mut arrived = vec![receive(&client)?.0];
            if passes {
                arrived.push(receive(&client)?.0);
            }
            arrived.sort_unstable();
            let wanted: &[&[u8]] = if passes { &[b"invited", b"probe"] } else { &[b"invited"] };
            ensure!(arrived == wanted, "port {port}, from {:?}: {arrived:?}", probe.local_addr());
        }
        Ok(())
    }
}

/// Two inside hosts with one source port each get their own answers.
fn one_source_port(site: &Site, family: &Family, echo: &UdpEcho) -> Result<()> {
    let server = SocketAddr::new(family.server, 7000);
    let client = site.client.udp(SocketAddr::new(family.client, 5001))?;
    let other = site.other.udp(SocketAddr::new(family.other, 5001))?;
    let mapped = [mapping(&client, server, echo)?, mapping(&other, server, echo)?];
    ensure!(mapped[0] != mapped[1], "both are {}", mapped[0]);
    echo.send(b"other", mapped[1])?;
    echo.send(b"client", mapped[0])?;
    ensure!(receive(&client)?.0 == b"client" && receive(&other)?.0 == b"other");
    Ok(())
}

/// RFC 4787 §6 REQ-9: a host reaches another by its mapping, and sees a mapping as the source.
fn hairpin_of_two_mappings(site: &Site, family: &Family, echo: &UdpEcho) -> Result<()> {
    let server = SocketAddr::new(family.server, 7000);
    let client = site.client.udp(SocketAddr::new(family.client, 5011))?;
    let other = site.other.udp(SocketAddr::new(family.other, 5011))?;
    let (of_client, of_other) = (mapping(&client, server, echo)?, mapping(&other, server, echo)?);
    client.send_to(b"hello", of_other)?;
    ensure!(receive(&other)? == (b"hello".to_vec(), of_client));
    other.send_to(b"to you", of_client)?;
    ensure!(receive(&client)? == (b"to you".to_vec(), of_other));
    Ok(())
}

/// Endpoint-dependent mapping: eight ports serve more sessions than eight, by way of remotes.
fn shared_ports(site: &Site, family: &Family, appliance: &Appliance) -> Result<()> {
    let refused = appliance.drops("ports_exhausted")?;
    let one = shared_with(site, family, SocketAddr::new(family.server, 7100))?;
    let full = appliance.drops("ports_exhausted")?;
    let another = shared_with(site, family, SocketAddr::new(family.far, 7100))?;
    // With several workers a host has its share of the ports.
    ensure!(one == 8 || one == 4, "{one} sessions to one remote");
    ensure!(one == another, "{one} sessions to one remote, {another} to the other");
    ensure!(full > refused, "what did not fit is counted");
    Ok(())
}

/// How many of ten sessions to `remote` are answered.
fn shared_with(site: &Site, family: &Family, remote: SocketAddr) -> Result<usize> {
    let at = if remote.ip() == family.server { &site.server } else { &site.far };
    let echo = UdpEcho::start(at, remote)?;
    let mut outside = BTreeSet::new();
    let mut answered = 0;
    for port in 6000..6010 {
        let client = site.client.udp(SocketAddr::new(family.client, port))?;
        client.send_to(b"hello", remote)?;
        client.set_read_timeout(Some(Duration::from_millis(300)))?;
        if client.recv_from(&mut [0; 16]).is_ok() {
            answered += 1;
            outside.insert(echo.next_source()?);
        }
    }
    ensure!(outside.len() == answered, "one remote sees each session at its own port: {outside:?}");
    Ok(answered)
}

/// Sends from `client`, takes the answer, and says who the server thinks it was.
fn mapping(client: &UdpSocket, server: SocketAddr, echo: &UdpEcho) -> Result<SocketAddr> {
    client.send_to(b"hello", server)?;
    receive(client)?;
    echo.next_source()
}

/// An outside address of the family that ends with `last`, as people write it.
fn numbered(family: &Family, last: u8) -> IpAddr {
    match family.pool {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            IpAddr::from([a, b, c, last])
        }
        IpAddr::V6(address) => {
            let mut octets = address.octets();
            octets[15] = last;
            IpAddr::from(octets)
        }
    }
}

/// Name, source ports, last byte of the address, keys.
const POOLS: [(&str, &str, u8, &str); 3] = [
    ("open", "5011", 11, "filtering = \"endpoint-independent\"\n"),
    ("hosts", "5012", 12, "filtering = \"address-dependent\"\n"),
    ("shared", "6000-6009", 13, "mapping = \"endpoint-dependent\"\nports = \"4000-4007\"\n"),
];
