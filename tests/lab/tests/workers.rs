//! Several workers: a host belongs to one of them, and nobody can tell which.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, UdpSocket};

use anyhow::{Context, Result, ensure};
use mooring_lab::clock::{LIMIT, wait_for};
use mooring_lab::peers::{Digest, HttpServer, UdpEcho, download, receive};
use mooring_lab::{Appliance, Capture, Config, Family, Namespace, Site, Variant, isolated};
use rustix::net::{self, sockopt};

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

/// RFC 4787 REQ-13: the link to the other host is shorter than that of the sender.
#[test]
fn hosts_learn_how_long_a_packet_may_be_in_a_hairpin_of_several_workers() {
    isolated("hosts_learn_how_long_a_packet_may_be_in_a_hairpin_of_several_workers", || {
        (1..=3).try_for_each(long_hairpin)
    });
}

/// RFC 6888 REQ-11B; and the first half of what nobody wants does not stay.
#[test]
fn hosts_hear_of_a_hairpin_that_another_worker_refuses() {
    isolated("hosts_hear_of_a_hairpin_that_another_worker_refuses", || {
        (1..=3).try_for_each(refused_hairpin)
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

/// The kernel knows whose a packet is: of an inside host, and of an answer to it.
#[test]
fn packets_come_to_their_owner_at_once() {
    isolated("packets_come_to_their_owner_at_once", || {
        let site = Site::new(Variant::AfPacket)?;
        let appliance = start(&site, 3)?;
        for family in &Family::BOTH {
            let target = SocketAddr::new(family.server, 7000);
            let _echo = UdpEcho::start(&site.server, target)?;
            let server = HttpServer::start(&site.server, SocketAddr::new(family.server, 80))?;
            for host in hosts(&site, family)? {
                for port in 40_000..40_010 {
                    let socket = host.udp(port)?;
                    socket.send_to(b"hello", target)?;
                    receive(&socket)?;
                }
                host.ping(family.server)?;
            }
            let target = SocketAddr::new(family.server, 80);
            let got = download(&site.client, target, MEGABYTE)?;
            ensure!(got.digest == Digest::of_noise(MEGABYTE));
            server.next_client()?;
        }
        assert_shared(&appliance, 3)?;
        let counters = appliance.show("counters")?;
        let workers = counters["workers"].as_array().context("a list of workers")?;
        let handed: Vec<_> = workers.iter().map(|worker| worker["handed_over"].as_u64()).collect();
        ensure!(handed == [Some(0); 3], "handed over: {handed:?}");
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

/// A datagram that the sender's link carries and the appliance's does not, between hosts of each two
/// workers.
fn long_hairpin(workers: u8) -> Result<()> {
    let site = Site::new(Variant::AfPacket)?;
    let shorter = |config: Config| config.replace("\"in0\"", &format!("\"in0\"\nmtu = {SHORTER}"));
    let appliance = start_with(&site, workers, shorter)?;
    for family in &Family::BOTH {
        let server = SocketAddr::new(family.server, 7000);
        let echo = UdpEcho::start(&site.server, server)?;
        let mut ends = Vec::new();
        for host in hosts(&site, family)?.into_iter().step_by(3) {
            let socket = host.udp(41_000)?;
            socket.send_to(b"hello", server)?;
            receive(&socket)?;
            ends.push((host, socket, echo.next_source()?));
        }
        let long = vec![7; SHORTER - family.pick(28, 48) + 1];
        for (host, one, _) in &ends {
            for (_, other, to) in &ends {
                if one.local_addr()? == other.local_addr()? {
                    continue;
                }
                host.namespace
                    .output("ip", &[family.pick("-4", "-6"), "route", "flush", "cache"])?;
                one.send_to(&long, to)?;
                wait_for(&format!("{} to learn of {to}", host.address), LIMIT, || {
                    let route =
                        host.namespace.output("ip", &["route", "get", &family.pool.to_string()])?;
                    Ok(route.contains(&format!("mtu {SHORTER}")).then_some(()))
                })?;
                one.send_to(&long, to)?;
                let (arrived, _) = receive(other)?;
                ensure!(arrived == long, "another datagram arrived, of {} bytes", arrived.len());
            }
        }
    }
    assert_shared(&appliance, workers)?;
    appliance.stop().map(drop)
}

/// Connections to a host inside that is not there, and has no room for a second one; datagrams to ports
/// that nobody has.
fn refused_hairpin(workers: u8) -> Result<()> {
    let site = Site::new(Variant::AfPacket)?;
    let appliance = start_with(&site, workers, |config| {
        let forward = |family: &Family| {
            let silent = family.pick("10.0.0.99:443", "[fd00:10::99]:443");
            format!(
                "name = \"to-{silent}\"\nkind = \"port-forward\"\naddress = \"{}\"\n\
                 port = 8443\ntarget = \"{silent}\"",
                family.pool
            )
        };
        let forwards = Family::BOTH.iter().map(forward);
        let config = forwards.fold(config, |config, rule| config.first_rule(&rule));
        config.table("[limits]\nhalf_open_per_source = 1")
    })?;
    let mut sessions = 0;
    for family in &Family::BOTH {
        let hosts = hosts(&site, family)?;
        for host in &hosts {
            let refused = host.knock(SocketAddr::new(family.pool, 8443))?;
            ensure!(refused == ErrorKind::HostUnreachable, "{}: {refused:?}", host.address);
        }
        let before = appliance.drops("no_session")?;
        for host in &hosts {
            let socket = host.udp(41_000)?;
            for port in 50_000..50_010 {
                socket.send_to(b"anyone?", SocketAddr::new(family.pool, port))?;
            }
        }
        let sent = 10 * hosts.len() as u64;
        wait_for("all to be dropped", LIMIT, || {
            Ok((appliance.drops("no_session")? == before + sent).then_some(()))
        })?;
        ensure!(appliance.drops("half_open_limit")? >= hosts.len() as u64 - 1);
        // Those of the first host, whose connection waits for its answer.
        sessions += 2;
        wait_for("the first halves to be taken back", LIMIT, || {
            let left = appliance.show("sessions")?;
            Ok((left.as_array().map(Vec::len) == Some(sessions)).then_some(()))
        })?;
    }
    appliance.stop().map(drop)
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
    start_with(site, workers, |config| config)
}

/// As [`start`], with the configuration changed.
fn start_with(
    site: &Site,
    workers: u8,
    change: impl FnOnce(Config) -> Config,
) -> Result<Appliance> {
    let config = match workers {
        1 => site.config(),
        _ => site.config().replace("workers = 1", &format!("workers = {workers}")),
    };
    let open = "\nfiltering = \"endpoint-independent\"";
    let config = ["203.0.113.10/32", "2001:db8:2::10/128"].iter().fold(config, |config, pool| {
        let addresses = format!("addresses = [\"{pool}\"]");
        config.replace(&addresses, &format!("{addresses}{open}"))
    });
    site.start(&change(config))
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

    /// How a TCP connection attempt fails.
    fn knock(&self, target: SocketAddr) -> Result<ErrorKind> {
        let source = SocketAddr::new(self.address, 0);
        let family =
            if target.is_ipv4() { net::AddressFamily::INET } else { net::AddressFamily::INET6 };
        let tried = self.namespace.enter(|| {
            let socket = net::socket(family, net::SocketType::STREAM, None)?;
            sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(LIMIT))?;
            net::bind(&socket, &source)?;
            net::connect(&socket, &target)
        })?;
        Ok(io::Error::from(tried.expect_err("nobody listens there")).kind())
    }

    fn ping(&self, target: IpAddr) -> Result<()> {
        let (source, target) = (self.address.to_string(), target.to_string());
        let said = self.namespace.tool("ping", &["-c", "1", "-W", "5", "-I", &source, &target])?;
        ensure!(said.contains("1 received"), "{said}");
        Ok(())
    }
}

/// Bytes of the longest packet to a host inside.
const SHORTER: usize = 1400;
const MEGABYTE: u64 = 1_000_000;
