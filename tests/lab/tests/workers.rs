//! Several workers: a host belongs to one of them, and nobody can tell which.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use anyhow::{Context, Result, ensure};
use mooring_lab::peers::{Digest, HttpServer, UdpEcho, download, receive};
use mooring_lab::{Appliance, Capture, Family, Namespace, Site, Variant, isolated};

#[test]
fn hairpin_between_hosts_of_one_worker() {
    isolated("hairpin_between_hosts_of_one_worker", || hairpin(Variant::AfPacket, 1));
}

#[test]
fn hairpin_between_hosts_of_two_workers() {
    isolated("hairpin_between_hosts_of_two_workers", || hairpin(Variant::AfPacket, 2));
}

#[test]
fn hairpin_between_hosts_of_three_workers() {
    isolated("hairpin_between_hosts_of_three_workers", || hairpin(Variant::AfPacket, 3));
}

#[test]
fn hairpin_between_hosts_of_two_workers_by_tap() {
    isolated("hairpin_between_hosts_of_two_workers_by_tap", || hairpin(Variant::Tap, 2));
}

#[test]
fn hairpin_between_hosts_of_two_workers_by_kernel_addresses() {
    isolated("hairpin_between_hosts_of_two_workers_by_kernel_addresses", || {
        hairpin(Variant::KernelAddresses, 2)
    });
}

#[test]
fn answers_and_errors_find_their_worker() {
    isolated("answers_and_errors_find_their_worker", || {
        let site = Site::new(Variant::AfPacket)?;
        let appliance = start(&site, 3)?;
        for family in &Family::BOTH {
            let server = HttpServer::start(&site.server, SocketAddr::new(family.server, 80))?;
            for (number, host) in hosts(&site, family)?.into_iter().enumerate() {
                // An error from outside refuses the very socket that asked.
                let client = host.udp(40_000)?;
                client.connect(SocketAddr::new(family.far, 9))?;
                client.send(b"anyone?")?;
                let refused = client.recv(&mut [0; 16]).map_err(|error| error.kind());
                ensure!(refused == Err(ErrorKind::ConnectionRefused), "host {number}: {refused:?}");
                host.ping(family.server)?;
            }
            for _ in 0..8 {
                let target = SocketAddr::new(family.server, 80);
                let got = download(&site.client, target, MEGABYTE)?;
                ensure!(got.digest == Digest::of_noise(MEGABYTE));
                ensure!(server.next_client()?.ip() == family.pool);
            }
        }
        assert_shared(&appliance, 3)?;
        appliance.stop().map(drop)
    });
}

/// Every host to every other one by its mapping, so that all pairs of workers are met.
fn hairpin(variant: Variant, workers: u8) -> Result<()> {
    let site = Site::new(variant)?;
    let capture = Capture::start(&site.server, "eth0")?;
    let appliance = start(&site, workers)?;
    let mut inside = Vec::new();
    for family in &Family::BOTH {
        let server = SocketAddr::new(family.server, 7000);
        let echo = UdpEcho::start(&site.server, server)?;
        let mut ends = Vec::new();
        for host in hosts(&site, family)? {
            let socket = host.udp(41_000)?;
            socket.send_to(b"hello", server)?;
            receive(&socket)?;
            inside.push(host.address);
            ends.push((socket, echo.next_source()?));
        }
        for (one, of_one) in &ends {
            for (other, of_other) in &ends {
                if of_one != of_other {
                    call(one, *of_one, other, *of_other)?;
                }
            }
        }
    }
    assert_shared(&appliance, workers)?;
    appliance.stop()?;
    capture.stop()?.ensure_translated(&inside)
}

fn call(
    one: &UdpSocket,
    of_one: SocketAddr,
    other: &UdpSocket,
    of_other: SocketAddr,
) -> Result<()> {
    one.send_to(b"neighbour", of_other)?;
    let got = receive(other).with_context(|| format!("from {of_one} to {of_other}"))?;
    ensure!(got == (b"neighbour".to_vec(), of_one), "{of_other} got {got:?}");
    Ok(())
}

/// Each worker owns some of the sessions.
fn assert_shared(appliance: &Appliance, workers: u8) -> Result<()> {
    let sessions = appliance.show("sessions")?;
    let sessions = sessions.as_array().context("a list of sessions")?;
    let owners: BTreeSet<u64> =
        sessions.iter().filter_map(|session| session["worker"].as_u64()).collect();
    ensure!(owners == (0..u64::from(workers)).collect(), "{owners:?} own {}", sessions.len());
    Ok(())
}

/// Filters nothing: a host may be called by whoever knows its mapping.
fn start(site: &Site, workers: u8) -> Result<Appliance> {
    let config = match workers {
        1 => site.config(),
        _ => site.config().replace("workers = 1", &format!("workers = {workers}")),
    };
    let open = "\nfiltering = \"endpoint-independent\"";
    let config = ["203.0.113.10/32", "2001:db8:2::10/128"].iter().fold(config, |config, pool| {
        let addresses = format!("addresses = [\"{pool}\"]");
        config.replace(&addresses, &format!("{addresses}{open}"))
    });
    site.start(&config)
}

/// An inside address of one of the two hosts.
struct Host<'s> {
    namespace: &'s Namespace,
    address: IpAddr,
}

/// Eight addresses on each of the two inside hosts.
fn hosts<'s>(site: &'s Site, family: &Family) -> Result<Vec<Host<'s>>> {
    let mut all = Vec::new();
    for number in 0..16 {
        let namespace = if number % 2 == 0 { &site.client } else { &site.other };
        let address = format!("{}{}", family.pick("10.0.0.", "fd00:10::"), 20 + number);
        let bits = family.pick("24", "64 nodad");
        namespace.ip(&format!("address add {address}/{bits} dev eth0"))?;
        all.push(Host { namespace, address: address.parse()? });
    }
    Ok(all)
}

impl Host<'_> {
    fn udp(&self, port: u16) -> Result<UdpSocket> {
        self.namespace.udp(SocketAddr::new(self.address, port))
    }

    fn ping(&self, target: IpAddr) -> Result<()> {
        let (source, target) = (self.address.to_string(), target.to_string());
        let said = self.namespace.tool("ping", &["-c", "1", "-W", "5", "-I", &source, &target])?;
        ensure!(said.contains("1 received"), "{said}");
        Ok(())
    }
}

const MEGABYTE: u64 = 1_000_000;
