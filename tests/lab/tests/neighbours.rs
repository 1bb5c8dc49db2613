//! Neighbours outside and inside, against real kernels: who is where, and who moved.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mooring_lab::clock::{LIMIT, Stopwatch, wait_for};
use mooring_lab::peers::{UdpEcho, receive};
use mooring_lab::{Appliance, Capture, Family, Frame, Frames, Site, Variant, isolated};

/// A burst to a next hop that nobody has resolved yet: each datagram arrives, once. (In order as far
/// as it is ours: the kernel behind us resolves a neighbour of its own meanwhile.)
#[test]
fn a_first_burst_waits_for_its_neighbour() {
    isolated("a_first_burst_waits_for_its_neighbour", || {
        let site = Site::new(Variant::AfPacket)?;
        let appliance = site.start(&site.config())?;
        for family in &Family::BOTH {
            let server = site.far.udp(SocketAddr::new(family.far, 7000))?;
            let client = site.client.udp(SocketAddr::new(family.client, 5000))?;
            client.connect(SocketAddr::new(family.far, 7000))?;
            for number in 0..50_u8 {
                client.send(&[number])?;
            }
            let mut arrived = Vec::new();
            for _ in 0..50 {
                let received = receive(&server).with_context(|| format!("only {arrived:?}"))?;
                arrived.extend(received.0);
            }
            arrived.sort_unstable();
            ensure!(arrived == (0..50).collect::<Vec<u8>>(), "{arrived:?}");
        }
        ensure!(appliance.drops("neighbor_unresolved")? == 0);
        appliance.stop().map(drop)
    });
}

#[test]
fn a_changed_router_is_followed_by_all_sessions() {
    isolated("a_changed_router_is_followed_by_all_sessions", || router_changes(Variant::AfPacket));
}

#[test]
fn a_changed_router_is_followed_by_the_sessions_of_two_workers() {
    isolated("a_changed_router_is_followed_by_the_sessions_of_two_workers", || {
        router_changes(Variant::TwoWorkers)
    });
}

/// Another host claims an address of ours: `show` and the log tell, and it is contradicted.
#[test]
fn a_duplicate_address_is_a_conflict() {
    isolated("a_duplicate_address_is_a_conflict", || {
        let site = Site::new(Variant::AfPacket)?;
        let mut appliance = site.start(&site.config())?;
        ensure!(state(&appliance, "203.0.113.10")? == "held");
        ensure!(state(&appliance, "2001:db8:2::10")? == "held");
        site.server.ip("address add 203.0.113.10/32 dev eth0")?;
        site.server.tool("arping", &["-U", "-c", "1", "-I", "eth0", "203.0.113.10"])?;
        wait_for_conflict(&site, &mut appliance, "203.0.113.10")?;
        site.server.ip("address del 203.0.113.10/32 dev eth0")?;

        // A kernel that probes before it uses an address (RFC 4862 §5.4) finds that it is taken.
        site.server.sysctl("net/ipv6/conf/eth0/accept_dad", "1")?;
        site.server.ip("address add 2001:db8:2::10/128 dev eth0")?;
        wait_for("the probe to fail", LIMIT, || {
            let addresses = site.server.output("ip", &["-6", "address", "show", "dev", "eth0"])?;
            Ok(addresses.contains("dadfailed").then_some(()))
        })?;
        wait_for_conflict(&site, &mut appliance, "2001:db8:2::10")?;
        appliance.stop().map(drop)
    });
}

/// Take-up announcements at 0, 100 ms and 1 s, ARP in both forms, NA with override; group reports.
#[test]
fn addresses_are_announced_three_times() {
    isolated("addresses_are_announced_three_times", || {
        let site = Site::new(Variant::AfPacket)?;
        let capture = Capture::start(&site.server, "eth0")?;
        let appliance = site.start(&site.config())?;
        std::thread::sleep(Duration::from_millis(1500));
        appliance.stop()?;
        let frames = capture.stop()?;
        for operation in [1, 2] {
            assert_rhythm(&frames.filter(|bytes| is_gratuitous_arp(bytes, operation)));
        }
        assert_rhythm(&frames.filter(is_unsolicited_advertisement));
        let group = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 0x10];
        let reports = |bytes: &[u8]| {
            bytes.get(12..14) == Some(&[0x86, 0xdd])
                && bytes.windows(16).any(|window| window == group)
                && bytes.get(62) == Some(&143)
        };
        assert!(!frames.filter(reports).is_empty(), "an MLDv2 report: {}", listed(&frames));
        Ok(())
    });
}

/// A real host learns its router and its prefix from us and reaches the world; hosts of IPv4 do by
/// a gateway address that is not an interface's own.
#[test]
fn hosts_find_their_way_by_advertisements_and_gateway_addresses() {
    isolated("hosts_find_their_way_by_advertisements_and_gateway_addresses", || {
        let site = Site::new(Variant::AfPacket)?;
        let config = site.config().replace(
            "addresses = [\"10.0.0.1/24\", \"fd00:10::1/64\"]",
            "addresses = [\"10.0.0.1/24\", \"fd00:10::1/64\"]\nrouter_advertisements = true\n\
             gateway_addresses = [\"10.0.0.254\"]",
        );
        let appliance = site.start(&config)?;
        site.client.ip("route replace default via 10.0.0.254\nroute del default via fd00:10::1")?;
        for (setting, value) in [("accept_ra", "2"), ("autoconf", "1")] {
            site.client.sysctl(&format!("net/ipv6/conf/eth0/{setting}"), value)?;
        }
        // Up again, the host asks for routers.
        site.client
            .ip("link set eth0 down\nlink set eth0 up\nroute replace default via 10.0.0.254")?;
        let route = wait_for("a route from an advertisement", LIMIT, || {
            let routes = site.client.output("ip", &["-6", "route", "show", "default"])?;
            Ok(routes.contains("proto ra").then_some(routes))
        })?;
        ensure!(route.contains("via fe80::"), "a router by its link-local address: {route}");
        let addresses = site.client.output("ip", &["-6", "address", "show", "dev", "eth0"])?;
        ensure!(addresses.contains("inet6 fd00:10::"), "a prefix: {addresses}");
        for target in ["198.51.100.2", "2001:db8:9::2"] {
            let said = site.client.tool("ping", &["-c", "2", "-i", "0.2", "-W", "5", target])?;
            ensure!(said.contains("2 received"), "{said}");
        }
        appliance.stop().map(drop)
    });
}

/// A failover of the outside router: its address moves to another MAC, which announces itself.
fn router_changes(variant: Variant) -> Result<()> {
    let site = Site::new(variant)?;
    site.server.sysctl("net/ipv4/conf/eth0/arp_notify", "1")?;
    site.server.sysctl("net/ipv6/conf/eth0/ndisc_notify", "1")?;
    let appliance = site.start(&site.config())?;
    let mut clients = Vec::new();
    for family in &Family::BOTH {
        let server = SocketAddr::new(family.far, 7000);
        UdpEcho::start(&site.far, server)?;
        // Workers share the inside addresses: of ten each has some.
        for number in 20..30 {
            let address = format!("{}{number}", family.pick("10.0.0.", "fd00:10::"));
            let bits = family.pick("24", "64 nodad");
            site.client.ip(&format!("address add {address}/{bits} dev eth0"))?;
            for _ in 0..5 {
                let client = site.client.udp(SocketAddr::new(address.parse()?, 0))?;
                client.connect(server)?;
                client.send(b"before")?;
                receive(&client)?;
                client.set_read_timeout(Some(Duration::from_millis(100)))?;
                clients.push(client);
            }
        }
    }
    let sessions = appliance.show("sessions")?;
    let owners = sessions.as_array().into_iter().flatten();
    let owners: BTreeSet<u64> = owners.filter_map(|session| session["worker"].as_u64()).collect();
    ensure!(owners.len() == if variant == Variant::TwoWorkers { 2 } else { 1 }, "{owners:?}");
    site.server.ip("link set eth0 address 02:00:5e:00:53:99")?;
    let since = Stopwatch::start();
    for client in &clients {
        wait_for("an answer by way of the new MAC", LIMIT, || {
            client.send(b"after")?;
            Ok(client.recv(&mut [0; 16]).ok())
        })?;
    }
    ensure!(since.elapsed() < Duration::from_secs(1), "took {:?}", since.elapsed());
    appliance.stop().map(drop)
}

/// `show` and the log tell that the server uses an address of ours.
fn wait_for_conflict(site: &Site, appliance: &mut Appliance, address: &str) -> Result<()> {
    wait_for("a conflict in `show addresses`", LIMIT, || {
        Ok((state(appliance, address)? == "conflict").then_some(()))
    })?;
    let mac = site.server.mac("eth0")?.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>();
    let who = format!("conflict: {} on `outside`", mac.join(":"));
    appliance.wait_for_line(&format!("{who} uses our address {address} as well"))
}

/// The state of an address in `show addresses`.
fn state(appliance: &Appliance, address: &str) -> Result<String> {
    let addresses = appliance.show("addresses")?;
    let mut all = addresses.as_array().into_iter().flatten();
    let found = all.find(|one| {
        let listed = one["address"].as_str().unwrap_or_default();
        listed.parse::<IpAddr>().is_ok() && listed == address
    });
    let state = found.and_then(|one| one["state"].as_str());
    Ok(state.with_context(|| format!("{address} in {addresses}"))?.to_owned())
}

/// Of `operation` (1 request, 2 reply), with the pool's address as sender and as target.
fn is_gratuitous_arp(frame: &[u8], operation: u8) -> bool {
    let pool = [203, 0, 113, 10];
    frame.get(12..14) == Some(&[8, 6])
        && frame.get(20..22) == Some(&[0, operation])
        && frame.get(28..32) == Some(&pool)
        && frame.get(38..42) == Some(&pool)
}

/// For the pool's address, to all nodes, with the override flag (RFC 4861 §4.4).
fn is_unsolicited_advertisement(frame: &[u8]) -> bool {
    let pool = [0x20, 1, 0xd, 0xb8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10];
    frame.get(12..14) == Some(&[0x86, 0xdd])
        && frame.get(54) == Some(&136)
        && frame.get(58).is_some_and(|flags| flags & 0x20 != 0)
        && frame.get(62..78) == Some(&pool)
}

/// At 0, 100 ms and 1 s; a busy machine may be late, never early.
fn assert_rhythm(announcements: &[&Frame]) {
    assert_eq!(announcements.len(), 3, "{announcements:?}");
    let since = |number: usize| announcements[number].at - announcements[0].at;
    assert!((90..400).contains(&since(1).as_millis()), "the second after {:?}", since(1));
    assert!((950..1400).contains(&since(2).as_millis()), "the third after {:?}", since(2));
}

fn listed(frames: &Frames) -> String {
    frames.all().iter().map(|frame| format!("{:02x?}\n", frame.bytes)).collect()
}
