//! Much data and many connections: curl, wrk and iperf3.

use std::fs::{self, File};
use std::io::{Read, copy};

use anyhow::{Context, Result, ensure};
use mooring_lab::isolation::SCRATCH;
use mooring_lab::peers::{Digest, Noise, iperf3, nginx, web_root};
use mooring_lab::{Appliance, Family, Site};
use serde_json::Value;

use crate::{Group, unchanged};

pub(crate) fn all() -> Group {
    Group { configure: unchanged, traffic }
}

fn traffic(site: &Site, _appliance: &Appliance) -> Result<()> {
    let root = web_root()?;
    copy(&mut Noise::default().take(LARGE), &mut File::create(format!("{root}/large"))?)?;
    fs::write(format!("{root}/small"), "small\n")?;
    let expected = Digest::of_noise(LARGE);
    let _web = nginx(&site.server, &["80", "[::]:80"])?;
    let _iperf3 = iperf3(&site.server)?;
    for family in &Family::BOTH {
        download(site, family, expected)?;
        many_connections(site, family)?;
        both_ways(site, family)?;
    }
    Ok(())
}

fn download(site: &Site, family: &Family, expected: Digest) -> Result<()> {
    let base = format!("http://{}", Family::host(family.server));
    let file = format!("{SCRATCH}/download");
    let options = ["--silent", "--show-error", "--fail", "--output", &file];
    site.client.tool("curl", &[&options[..], &[&format!("{base}/large")]].concat())?;
    let got = Digest::of(File::open(&file)?)?;
    ensure!(got == expected, "{base}: {got} in place of {expected}");
    let seen = site.client.tool("curl", &["--silent", &format!("{base}/whoami")])?;
    ensure!(seen.starts_with(&format!("{} ", family.pool)), "the server saw {seen}");
    Ok(())
}

/// 500 connections that stay open, no failed request.
fn many_connections(site: &Site, family: &Family) -> Result<()> {
    let url = format!("http://{}/small", Family::host(family.server));
    let load = ["--threads", "1", "--connections", "500", "--duration", "2", "--timeout", "10"];
    let said = site.client.tool("wrk", &[&load[..], &[&url]].concat())?;
    let requests = said.lines().find_map(|line| line.trim().split_once(" requests in"));
    let requests: u64 = requests.context("wrk counts requests")?.0.parse()?;
    ensure!(requests >= 500, "only {requests} requests:\n{said}");
    for bad in ["Socket errors", "Non-2xx"] {
        ensure!(!said.contains(bad), "wrk:\n{said}");
    }
    Ok(())
}

/// TCP and UDP, to the server and from it.
fn both_ways(site: &Site, family: &Family) -> Result<()> {
    let server = family.server.to_string();
    for mode in [&[][..], &["--reverse"], &["--bidir"], UDP, UDP_REVERSE] {
        let bytes = if mode.contains(&"--udp") { "2M" } else { "100M" };
        let test = ["--client", &server, "--bytes", bytes, "--json"];
        let said = site.client.tool("iperf3", &[&test[..], mode].concat())?;
        let report: Value = serde_json::from_str(&said).context("iperf3 prints JSON")?;
        let summary = if mode.contains(&"--udp") { "sum" } else { "sum_received" };
        let bytes = report["end"][summary]["bytes"].as_u64().unwrap_or(0);
        ensure!(bytes > 1_000_000, "{server} {mode:?} moved {bytes} bytes: {}", report["end"]);
        let lost = report["end"]["sum"]["lost_percent"].as_f64().unwrap_or(0.0);
        ensure!(lost < 5.0, "{server} {mode:?} lost {lost} %");
    }
    Ok(())
}

const LARGE: u64 = 200_000_000;
const UDP: &[&str] = &["--udp", "--bitrate", "20M"];
const UDP_REVERSE: &[&str] = &["--udp", "--bitrate", "20M", "--reverse"];
