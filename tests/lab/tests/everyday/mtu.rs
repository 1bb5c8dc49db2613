//! A link of 1280 bytes on the way: on the appliance's outside, on its inside, and one hop further. And links
//! of 9,000 bytes.

use std::io::Read;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use mooring_lab::peers::{Digest, HttpServer, Noise, UdpEcho, download};
use mooring_lab::{Appliance, Capture, Family, Mtus, Site, Variant};

use crate::{Group, show, unchanged};

/// No link is small, then each in turn.
pub(crate) fn everywhere(variant: Variant) -> Result<()> {
    let usual = Mtus::default();
    let group = Group { configure: unchanged, traffic };
    for mtus in [
        usual,
        Mtus { outside: SMALL, ..usual },
        Mtus { inside: SMALL, ..usual },
        Mtus { far: SMALL, ..usual },
    ] {
        show(&Site::with_mtus(variant, mtus)?, &group).with_context(|| format!("{mtus:?}"))?;
    }
    Ok(())
}

/// All links carry 9,000 bytes, then one of each side does not.
pub(crate) fn large(variant: Variant) -> Result<()> {
    let large = Mtus { inside: LARGE, outside: LARGE, far: LARGE };
    show(&Site::with_mtus(variant, large)?, &Group { configure: unchanged, traffic: full_length })?;
    let (outside, inside) = (Mtus::default().outside, Mtus::default().inside);
    for mtus in [Mtus { outside, ..large }, Mtus { inside, ..large }] {
        let group = Group { configure: unchanged, traffic };
        show(&Site::with_mtus(variant, mtus)?, &group).with_context(|| format!("{mtus:?}"))?;
    }
    Ok(())
}

/// Both ways there are packets as long as the links carry, and none that is longer: by a backend that takes
/// no super-packets in.
fn full_length(site: &Site, appliance: &Appliance) -> Result<()> {
    let shown = appliance.show("interfaces")?;
    for interface in shown.as_array().context("one array")? {
        ensure!(interface["instead_of"].is_null(), "another backend: {interface}");
    }
    let captures = [&site.client, &site.far].map(|host| Capture::start(host, "eth0"));
    traffic(site, appliance)?;
    for family in &Family::BOTH {
        let far = family.far.to_string();
        let whole = ["-n", "-c", "3", "-i", "0.05", "-W", "5", "-M", "do", "-s", "8000", &far];
        let said = site.client.tool("ping", &whole)?;
        ensure!(said.contains("3 received"), "{said}");
    }
    for (capture, host) in captures.into_iter().zip(["client", "far host"]) {
        let longest = capture?.stop()?.longest();
        ensure!(longest == usize::from(LARGE) + 14, "the {host} got {longest} bytes at most");
    }
    let counters = appliance.show("counters")?;
    for (name, counted) in counters["interfaces"].as_object().context("interfaces")? {
        ensure!(counted["rx_unreadable"] == 0, "{name}: {counted}");
    }
    Ok(())
}

fn traffic(site: &Site, _appliance: &Appliance) -> Result<()> {
    for family in &Family::BOTH {
        let server = SocketAddr::new(family.far, 80);
        HttpServer::start(&site.far, server)?;
        let got = download(&site.client, server, MEGABYTES)?;
        ensure!(got.digest == Digest::of_noise(MEGABYTES), "{server}: not what was sent");
        upload(site, server)?;
        large_datagrams(site, family)?;
        large_pings(site, family)?;
    }
    Ok(())
}

/// Fragments of ICMP both ways; the path's MTU is known by now.
fn large_pings(site: &Site, family: &Family) -> Result<()> {
    let far = family.far.to_string();
    let arguments = ["-n", "-c", "3", "-i", "0.05", "-W", "5", "-s", "4000", &far];
    let said = site.client.tool("ping", &arguments)?;
    ensure!(said.contains("3 received"), "{said}");
    Ok(())
}

fn upload(site: &Site, server: SocketAddr) -> Result<()> {
    let file = format!("{}/upload", mooring_lab::isolation::SCRATCH);
    let mut noise = vec![0; usize::try_from(MEGABYTES)?];
    Noise::default().read_exact(&mut noise)?;
    std::fs::write(&file, noise)?;
    let url = format!("http://{server}/");
    let answer = site.client.tool("curl", &["--silent", "--fail", "--upload-file", &file, &url])?;
    ensure!(answer == Digest::of_noise(MEGABYTES).to_string(), "{server}: the upload differs");
    Ok(())
}

/// 4,000 bytes arrive whole and come back whole. The first may be lost where the sender has to
/// learn the path's MTU from it (RFC 8201 §3: always in IPv6).
fn large_datagrams(site: &Site, family: &Family) -> Result<()> {
    let server = SocketAddr::new(family.far, 7000);
    let _echo = UdpEcho::start(&site.far, server)?;
    let client = site.client.udp(SocketAddr::new(family.client, 5000))?;
    client.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut sent = vec![0; 4000];
    Noise::default().read_exact(&mut sent)?;
    let mut buffer = vec![0; 1 << 16];
    for _ in 0..5 {
        client.send_to(&sent, server)?;
        if let Ok((length, from)) = client.recv_from(&mut buffer) {
            ensure!(from == server && buffer[..length] == sent, "another datagram came back");
            return Ok(());
        }
    }
    bail!("no datagram of 4,000 bytes came back from {server}")
}

const SMALL: u16 = 1280;
const LARGE: u16 = 9000;
const MEGABYTES: u64 = 5_000_000;
