//! A kernel that refuses what a backend would like to have: said at the start, shown in `show interfaces`, and
//! everything passes all the same.

use std::fs::File;
use std::io;
use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use mooring_lab::isolation::SCRATCH;
use mooring_lab::peers::{Digest, HttpServer, Noise, UdpEcho, download, receive};
use mooring_lab::refusal::{INVALID, NO_MEMORY, Refusal};
use mooring_lab::{Appliance, Capture, Config, Family, Namespace, Site, Variant, isolated};
use serde_json::{Value, json};

/// Super-packets and unfinished checksums arrive all the same, from hosts with offloads.
#[test]
fn packet_sockets_serve_without_offload_metadata() {
    isolated("packet_sockets_serve_without_offload_metadata", || {
        let refused = [Refusal::PacketOption(VNET_HDR, INVALID)];
        let expected = Expected { notices: &[NO_METADATA], abilities: &[] };
        for workers in [1, 2] {
            serves(Variant::AfPacket, &|config| with(workers, config), &refused, &expected)?;
        }
        Ok(())
    });
}

#[test]
fn packet_sockets_serve_without_a_receive_ring() {
    isolated("packet_sockets_serve_without_a_receive_ring", || {
        let refused = [Refusal::PacketOption(RX_RING, NO_MEMORY)];
        let notice = "no receive ring (PACKET_RX_RING: Cannot allocate memory";
        let expected = Expected { notices: &[notice], abilities: &ALL };
        for workers in [1, 2] {
            serves(Variant::AfPacket, &|config| with(workers, config), &refused, &expected)?;
        }
        Ok(())
    });
}

#[test]
fn packet_sockets_serve_with_neither() {
    isolated("packet_sockets_serve_with_neither", || {
        let refused = [VNET_HDR, RX_RING].map(|option| Refusal::PacketOption(option, INVALID));
        let expected = Expected { notices: &[NO_METADATA, "no receive ring"], abilities: &[] };
        serves(Variant::AfPacket, &|config| config, &refused, &expected)
    });
}

/// There are no super-packets to be joined to.
#[test]
fn nothing_is_joined_where_no_super_packet_can_leave() {
    isolated("nothing_is_joined_where_no_super_packet_can_leave", || {
        let refused = [Refusal::PacketOption(VNET_HDR, INVALID)];
        let notices = &[NO_METADATA, "tx_coalescing joins nothing"];
        let expected = Expected { notices, abilities: &[] };
        serves(Variant::AfPacket, &Config::coalescing, &refused, &expected)
    });
}

#[test]
fn af_xdp_serves_beside_packet_sockets_without_either() {
    isolated("af_xdp_serves_beside_packet_sockets_without_either", || {
        let refused = [VNET_HDR, RX_RING].map(|option| Refusal::PacketOption(option, INVALID));
        let expected = Expected { notices: &[NO_METADATA, "no receive ring"], abilities: &[] };
        serves(Variant::AfXdp, &|config| config, &refused, &expected)
    });
}

#[test]
fn a_tap_serves_without_offload_metadata() {
    isolated("a_tap_serves_without_offload_metadata", || {
        let refused = [Refusal::Request(TUNSETVNETHDRSZ, INVALID)];
        let notice = "no offload metadata (IFF_VNET_HDR: Invalid argument";
        let expected = Expected { notices: &[notice], abilities: &[] };
        for workers in [1, 2] {
            serves(Variant::Tap, &|config| with(workers, config), &refused, &expected)?;
        }
        Ok(())
    });
}

#[test]
fn a_tap_serves_without_offloads() {
    isolated("a_tap_serves_without_offloads", || {
        let refused = [Refusal::Request(TUNSETOFFLOAD, INVALID)];
        let notice = "no offloads (TUNSETOFFLOAD: Invalid argument";
        let expected = Expected { notices: &[notice], abilities: &[] };
        serves(Variant::Tap, &|config| config, &refused, &expected)?;
        // The metadata is there: it has to be left.
        let notices = &[notice, "tx_coalescing joins nothing"];
        let expected = Expected { notices, abilities: &[] };
        serves(Variant::Tap, &Config::coalescing, &refused, &expected)
    });
}

#[test]
fn tables_without_huge_pages_serve() {
    isolated("tables_without_huge_pages_serve", || {
        let site = Site::new(Variant::AfPacket)?;
        let notice = "no huge pages (PR_SET_THP_DISABLE is set)";
        let refused = Refusal::wrapper(&[Refusal::HugePages]);
        let refused: Vec<&str> = refused.iter().map(String::as_str).collect();
        let appliance = site.start_limited(&site.config(), &refused)?;
        // The kernel's word, of each thread.
        ensure!(appliance.of_threads("THP_enabled")?.iter().all(|enabled| enabled == "0"));
        for interface in interfaces(&appliance)? {
            expect(&interface, &Expected { notices: &[notice], abilities: &ALL })?;
        }
        passes(&site)?;
        let said = appliance.stop()?;
        ensure!(said.contains(notice) && said.contains("hint:"), "{said}");
        Ok(())
    });
}

/// Where nothing is refused nothing is said.
#[test]
fn a_kernel_that_has_all_is_no_news() {
    isolated("a_kernel_that_has_all_is_no_news", || {
        for variant in [Variant::AfPacket, Variant::Tap] {
            let site = Site::new(variant)?;
            let appliance = site.start(&site.config())?;
            for interface in interfaces(&appliance)? {
                expect(&interface, &Expected { notices: &[], abilities: &ALL })?;
            }
            appliance.stop()?;
        }
        Ok(())
    });
}

/// What `show interfaces` has to say: the beginnings of the notices, and the abilities.
struct Expected<'e> {
    notices: &'e [&'e str],
    abilities: &'e [&'e str],
}

/// The appliance says and shows what it does without, and carries all there is.
fn serves(
    variant: Variant,
    change: &dyn Fn(Config) -> Config,
    refused: &[Refusal],
    expected: &Expected<'_>,
) -> Result<()> {
    let site = Site::new(variant)?;
    let wrapper = Refusal::wrapper(refused);
    let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();
    let capture = Capture::start(&site.server, "eth0")?;
    let appliance = site.start_limited(&change(site.config()), &wrapper)?;
    // The interface that the refused thing is one of.
    let interfaces = interfaces(&appliance)?;
    let concerned = if variant == Variant::Tap { 1 } else { 2 };
    let backend = match variant {
        Variant::AfXdp => "af_xdp",
        Variant::Tap => "tap",
        _ => "af_packet",
    };
    for interface in &interfaces[..concerned] {
        ensure!(interface["backend"] == backend, "{interface}");
        expect(interface, expected)?;
    }
    let text = appliance.show_text(&["interfaces"])?;
    passes(&site)?;
    let counters = appliance.show("counters")?;
    for (name, interface) in counters["interfaces"].as_object().context("interfaces")? {
        let unreadable = interface["rx_unreadable"].as_u64();
        ensure!(unreadable == Some(0), "{name}: {interface}");
        // Where it is asked for the notice says that nothing is.
        let joined = interface["tx_coalesced"].as_u64();
        let concerns = interfaces[..concerned].iter().any(|shown| shown["name"] == **name);
        ensure!(joined == Some(0) || !concerns, "{name}: {interface}");
    }
    let said = appliance.stop()?;
    for notice in expected.notices {
        ensure!(text.contains(notice), "{notice}: {text}");
        let warned = said.lines().filter(|line| line.contains("warning") && line.contains(notice));
        ensure!(warned.count() == concerned, "{notice}: {said}");
    }
    let inside: Vec<_> =
        Family::BOTH.iter().flat_map(|family| [family.client, family.other]).collect();
    capture.stop()?.ensure_translated(&inside)
}

/// Of both families: ping, datagrams up to the MTU and beyond, and TCP in bulk both ways, by hosts with offloads.
fn passes(site: &Site) -> Result<()> {
    for family in &Family::BOTH {
        site.client
            .tool("ping", &["-c", "3", "-i", "0.2", "-s", "1400", &family.server.to_string()])?;
        let target = SocketAddr::new(family.server, 7000);
        let echo = UdpEcho::start(&site.server, target)?;
        let client = site.client.udp(SocketAddr::new(family.client, 5000))?;
        for size in [0, 1, 700, 1400, 1452, 4000] {
            let sent: Vec<u8> = (0..size).map(|at| at as u8).collect();
            client.send_to(&sent, target)?;
            ensure!(receive(&client)?.0 == sent, "{size} bytes come back whole");
            ensure!(echo.next_source()?.ip() == family.pool, "another source");
        }
        let server = HttpServer::start(&site.server, SocketAddr::new(family.server, 80))?;
        let got = download(&site.client, SocketAddr::new(family.server, 80), BULK)?;
        ensure!(got.digest == Digest::of_noise(BULK), "another file");
        ensure!(server.next_client()?.ip() == family.pool, "another source");
        upload(&site.client, family)?;
    }
    Ok(())
}

fn upload(client: &Namespace, family: &Family) -> Result<()> {
    let file = format!("{SCRATCH}/upload");
    io::copy(&mut io::Read::take(Noise::default(), BULK), &mut File::create(&file)?)?;
    let server = SocketAddr::new(family.server, 80);
    let said = client.output(
        "curl",
        &["--silent", "--show-error", "--fail", "--max-time", "60", "--globoff"]
            .into_iter()
            .chain(["--upload-file", &file, &format!("http://{server}/")])
            .collect::<Vec<_>>(),
    )?;
    ensure!(said == Digest::of_noise(BULK).to_string(), "another file: {said}");
    Ok(())
}

fn expect(interface: &Value, expected: &Expected<'_>) -> Result<()> {
    ensure!(interface["abilities"] == json!(expected.abilities), "{interface}");
    let notices = interface["notices"].as_array().context("a list of notices")?;
    ensure!(notices.len() == expected.notices.len(), "{interface}");
    for (notice, expected) in notices.iter().zip(expected.notices) {
        ensure!(notice.as_str().is_some_and(|said| said.starts_with(expected)), "{interface}");
    }
    Ok(())
}

/// Inside and outside.
fn interfaces(appliance: &Appliance) -> Result<Vec<Value>> {
    let shown = appliance.show("interfaces")?;
    let interfaces = shown.as_array().context("one array")?.clone();
    ensure!(interfaces.len() == 2, "{shown}");
    Ok(interfaces)
}

fn with(workers: u8, config: Config) -> Config {
    match workers {
        1 => config,
        _ => config.replace("workers = 1", &format!("workers = {workers}")),
    }
}

const NO_METADATA: &str = "no offload metadata (PACKET_VNET_HDR: Invalid argument";
const ALL: [&str; 3] = ["partial_checksum", "tcp_segmentation", "udp_segmentation"];
const BULK: u64 = 10_000_000;

/// `PACKET_VNET_HDR`, `PACKET_RX_RING` (linux/if_packet.h).
const VNET_HDR: u32 = 15;
const RX_RING: u32 = 5;
/// linux/if_tun.h
const TUNSETVNETHDRSZ: u32 = 0x4004_54d8;
const TUNSETOFFLOAD: u32 = 0x4004_54d0;
