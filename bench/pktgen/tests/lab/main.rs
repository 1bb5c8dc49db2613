//! The generator between real devices: straight across a link, and through the appliance.

mod connect;
mod sessions;

use std::collections::BTreeSet;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use mooring_lab::{Appliance, Config, Family, Lab, Namespace, Site, Variant, isolated};
use mooring_wire::Mac;
use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use serde_json::Value;

#[test]
fn nothing_is_lost_across_a_link_at_a_low_rate() {
    isolated("nothing_is_lost_across_a_link_at_a_low_rate", || {
        let lab = Lab::new()?;
        let next_hop = mac(&lab.gateway, "in0")?;
        for template in ["udp", "tcp", "tcp-syn", "sctp", "icmp"] {
            for (source, destination) in
                [("10.0.0.33", "198.51.100.1"), ("fd00:10::33", "2001:db8:2::1")]
            {
                let report = json(
                    generator("run", &lab.client, &next_hop, &lab.gateway, "in0")
                        .args(["--source", source, "--sources", "3"])
                        .args(["--destination", destination, "--destinations", "5"])
                        .args(["--template", template, "--flows", "40", "--burst", "2"])
                        .args(["--new-flows", "0.1", "--size", "imix"])
                        .args(["--rate", "5000", "--count", "1000"]),
                )?;
                let what = format!("{template} to {destination}: {report:#}");
                ensure!(report["sent"] == 1_000, "{what}");
                let received = &report["received"];
                ensure!(received["packets"] == 1_000 && received["lost"] == 0, "{what}");
                ensure!(received["duplicates"] == 0 && received["reordered"] == 0, "{what}");
                ensure!(received["bytes"] == report["sent_bytes"], "{what}");
                let buckets = received["buckets"].as_array().context("groups of flows")?;
                let sum: u64 = buckets.iter().filter_map(|bucket| bucket["packets"].as_u64()).sum();
                ensure!(buckets.len() == 8 && sum == 1_000, "{what}");
            }
        }
        Ok(())
    });
}

#[test]
fn latency_is_measured_through_the_appliance() {
    isolated("latency_is_measured_through_the_appliance", || {
        let site = Site::new(Variant::AfPacket)?;
        let _appliance: Appliance = site.start(&site.config())?;
        let next_hop = mac(&site.gateway, "in0")?;
        let log = "/run/lab/latencies.hlog";
        for family in &Family::BOTH {
            let source = family.client.to_string();
            let destination = family.server.to_string();
            let report = json(
                generator("run", &site.client, &next_hop, &site.server, "eth0")
                    .args(["--source", &source, "--destination", &destination])
                    .args(["--flows", "50", "--warm-up", "1000"])
                    .args(["--rate", "2000", "--count", "1000", "--histogram-log", log]),
            )?;
            let received = &report["received"];
            ensure!(received["packets"] == 1_000 && received["lost"] == 0, "{report:#}");
            let latency = &received["latency_ns"];
            let at = |what: &str| latency[what].as_u64().context(what.to_owned());
            // A packet cannot be here sooner than it takes to be sent by one call and received by another.
            ensure!(at("min")? > 1_000 && at("p50")? <= at("p99")?, "{report:#}");
            ensure!(at("p99")? <= at("max")? && at("max")? < 5_000_000_000, "{report:#}");
            let text = std::fs::read_to_string(log)?;
            // How every V2 histogram begins in base 64.
            ensure!(text.lines().any(|line| line.contains(",HISTEw")), "{text}");
        }
        Ok(())
    });
}

#[test]
fn a_search_finds_a_rate_through_the_appliance() {
    isolated("a_search_finds_a_rate_through_the_appliance", || {
        let lab = Lab::new()?;
        let _appliance = Appliance::start(&lab.gateway, &Config::nat44())?;
        let next_hop = mac(&lab.gateway, "in0")?;
        let report = json(
            generator("search", &lab.client, &next_hop, &lab.server, "eth0")
                .args(["--source", "10.0.0.2", "--destination", "198.51.100.1"])
                .args(["--flows", "10", "--warm-up", "1000"])
                .args(["--lowest", "500", "--highest", "2000", "--precision", "500"])
                .args(["--trial", "0.2", "--loss", "0.5", "--repeats", "5", "--offered", "0.5"]),
        )?;
        let trials = report["trials"].as_array().context("trials")?;
        ensure!(!trials.is_empty() && report["loss_bound"] == 0.5, "{report:#}");
        let rate = report["rate_pps"].as_u64().with_context(|| format!("a rate: {report:#}"))?;
        let passed = |trial: &&Value| trial["rate_pps"] == rate && trial["passed"] == true;
        ensure!((500..=2_000).contains(&rate), "{report:#}");
        ensure!(trials.iter().filter(passed).count() == 3, "{report:#}");
        Ok(())
    });
}

#[test]
fn every_way_to_transmit_sends_the_same_packets() {
    isolated("every_way_to_transmit_sends_the_same_packets", || {
        let lab = Lab::new()?;
        let next_hop = mac(&lab.gateway, "in0")?;
        // Live frames are taken by a device whose other end collects packets.
        lab.gateway.output("ethtool", &["-K", "in0", "gro", "on"])?;
        for way in ["sendmmsg", "ring", "af-xdp", "xdp-live"] {
            for (family, source, destination) in
                [("IPv4", "10.0.0.33", "198.51.100.250"), ("IPv6", "fd00:10::33", "2001:db8:2::1")]
            {
                for template in ["udp", "tcp-syn"] {
                    let mut command = generator("run", &lab.client, &next_hop, &lab.gateway, "in0");
                    command
                        .args(["--source", source, "--sources", "3", "--destination", destination])
                        .args(["--destinations", "5", "--template", template, "--transmit", way])
                        .args(["--flows", "40", "--size", "130", "--count", "2000"]);
                    if way != "xdp-live" {
                        command.args(["--rate", "20000"]);
                    }
                    let report = json(&mut command)?;
                    let what = format!("{way} {family} {template}: {report:#}");
                    let received = &report["received"];
                    ensure!(report["sent"] == 2_000 && received["packets"] == 2_000, "{what}");
                    ensure!(received["duplicates"] == 0 && received["reordered"] == 0, "{what}");
                    ensure!(received["bytes"] == report["sent_bytes"], "{what}");
                    ensure!(received["latency_ns"]["max"].as_u64() < Some(5_000_000_000), "{what}");
                }
            }
        }
        Ok(())
    });
}

/// What the kernel of the host behind the link makes of the packets: it answers to no wrong checksum.
#[test]
fn every_way_to_transmit_fills_in_right_checksums() {
    isolated("every_way_to_transmit_fills_in_right_checksums", || {
        let lab = Lab::new()?;
        // Hosts on one link: the gateway's device is a host itself.
        lab.gateway.sysctl("net/ipv6/conf/in0/disable_ipv6", "0")?;
        lab.gateway
            .ip("address add 10.0.0.9/24 dev in0\naddress add fd00:10::9/64 dev in0 nodad\n")?;
        lab.gateway.output("ethtool", &["-K", "in0", "gro", "on"])?;
        let next_hop = mac(&lab.gateway, "in0")?;
        for (way, destination) in ["sendmmsg", "ring", "af-xdp", "xdp-live"]
            .into_iter()
            .flat_map(|way| [(way, "10.0.0.9"), (way, "fd00:10::9")])
        {
            let source = if destination.contains(':') { "fd00:10::2" } else { "10.0.0.2" };
            let counted = |name: &str| -> Result<u64> {
                let text = lab.gateway.output("nstat", &["-a", "-s", "-z", name])?;
                let number = text.split_whitespace().skip_while(|word| *word != name).nth(1);
                number.with_context(|| text.clone())?.parse().context("a number")
            };
            let six = if destination.contains(':') { "6" } else { "" };
            let no_port = if six.is_empty() { "UdpNoPorts" } else { "Udp6NoPorts" };
            let wrong = if six.is_empty() { "UdpInCsumErrors" } else { "Udp6InCsumErrors" };
            let before = [counted(no_port)?, counted(wrong)?];
            let report = json(
                generator("run", &lab.client, &next_hop, &lab.gateway, "in0")
                    .args(["--source", source, "--destination", destination, "--port", "4321"])
                    .args(["--transmit", way, "--flows", "200", "--count", "1000"]),
            )?;
            ensure!(report["sent"] == 1_000, "{way}: {report:#}");
            let after = [counted(no_port)?, counted(wrong)?];
            ensure!(after[1] == before[1], "{way} {destination}: {before:?} {after:?}");
            ensure!(after[0] >= before[0] + 900, "{way} {destination}: {before:?} {after:?}");
        }
        Ok(())
    });
}

/// A socket that reads nothing holds more packets than the ring has slots. If they referred to the slots, later
/// packets would have overwritten earlier ones by the time it reads. (Linux since 4.20 copies by itself.)
#[test]
fn a_slot_that_is_written_again_changes_no_packet_under_way() {
    isolated("a_slot_that_is_written_again_changes_no_packet_under_way", || {
        let lab = Lab::new()?;
        lab.gateway.ip("address add 10.0.0.9/24 dev in0\n")?;
        let next_hop = mac(&lab.gateway, "in0")?;
        let socket = lab.gateway.udp("10.0.0.9:4321".parse()?)?;
        set_socket_recv_buffer_size_force(&socket, 64 << 20)?;
        socket.set_nonblocking(true)?;
        let report = json(
            generator("run", &lab.client, &next_hop, &lab.gateway, "in0")
                .args(["--source", "10.0.0.2", "--destination", "10.0.0.9", "--port", "4321"])
                .args(["--transmit", "ring", "--size", "300", "--count", "6000"])
                .args(["--rate", "50000"]),
        )?;
        ensure!(report["sent"] == 6_000, "{report:#}");
        let (mut bytes, mut numbers) = ([0; 400], BTreeSet::new());
        while let Ok(len) = socket.recv(&mut bytes) {
            // The stamp: run, flow, number, time.
            let number = bytes[..len].get(len.saturating_sub(12)..).and_then(<[u8]>::first_chunk);
            numbers.insert(u32::from_be_bytes(*number.context("a stamp")?));
        }
        ensure!(numbers.len() > 5_900, "{} of 6,000 packets are there", numbers.len());
        Ok(())
    });
}

#[test]
fn a_soak_records_every_interval() {
    isolated("a_soak_records_every_interval", || {
        let lab = Lab::new()?;
        let next_hop = mac(&lab.gateway, "in0")?;
        let (log, page) = ("/run/lab/soak.hlog", "/run/lab/soak.html");
        let mut command = generator("soak", &lab.client, &next_hop, &lab.gateway, "in0");
        command
            .args(["--source", "10.0.0.2", "--destination", "198.51.100.1", "--flows", "10"])
            .args(["--rate", "2000", "--duration", "1.2", "--interval", "0.1"])
            .args(["--histogram-log", log, "--report", page]);
        let Output { status, stdout, stderr } = command.output()?;
        let said = String::from_utf8_lossy(&stderr);
        ensure!(status.success(), "{said}");
        let report: Value = serde_json::from_slice(&stdout)?;
        let intervals = report["run"]["intervals"].as_array().context("intervals")?;
        // On a busy machine the last packets may leave late, in an interval of their own.
        let count = intervals.len();
        ensure!((12..15).contains(&count), "{report:#}");
        // All that was sent in an interval came, with its latency.
        for interval in intervals {
            let sent = interval["sent"].as_u64().context("sent")?;
            ensure!(interval["packets"] == sent && interval["lost"] == 0, "{report:#}");
            let median = interval["latency_ns"]["p50"].as_u64();
            ensure!(sent == 0 || median.is_some_and(|ns| ns > 0), "{report:#}");
        }
        let sent: u64 = intervals.iter().filter_map(|interval| interval["sent"].as_u64()).sum();
        // A busy machine may leave the generator behind.
        let behind = report["run"]["behind"].as_u64().context("behind")?;
        ensure!(report["run"]["sent"] == sent && sent + behind == 2_400, "{report:#}");
        ensure!(report["drift"]["first"]["loss"] == 0.0, "{report:#}");
        // While it runs a line for each, and each in the log.
        ensure!(said.lines().filter(|line| line.contains("  p99 ")).count() == count, "{said}");
        let text = std::fs::read_to_string(log)?;
        ensure!(text.lines().filter(|line| line.contains(",HISTEw")).count() == count, "{text}");
        let page = std::fs::read_to_string(page)?;
        for part in
            ["<svg", "Rate over time", "Latency by percentile", "first quarter", "--rate 2000"]
        {
            ensure!(page.contains(part), "{part}: {page}");
        }
        Ok(())
    });
}

#[test]
fn arguments_that_make_no_sense_are_told_by_exit_code_2() {
    let exit = |mode: &str, more: &[&str]| {
        let common = ["--send", "none", "--next-hop", "02:00:00:00:00:01", "--source", "10.0.0.2"];
        let output = Command::new(GENERATOR).arg(mode).args(common).args(more).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let to = ["--destination", "10.0.1.1"];
    for (mode, more, reason) in [
        ("run", &["--destination", "fd00::1"][..], "families"),
        ("run", &["--destination", "10.0.1.1", "--flows", "70000"], "make 64512 flows"),
        ("search", &to, "needs --receive"),
        (
            "search",
            &["--destination", "10.0.1.1", "--receive", "x", "--lowest", "9999999"],
            "order",
        ),
        ("soak", &["--destination", "10.0.1.1", "--rate", "1"], "needs --receive"),
        ("run", &["--destination", "10.0.1.1", "--size", "63"], "sizes from 64"),
        (
            "run",
            &["--destination", "10.0.1.1", "--transmit", "xdp-live", "--rate", "9"],
            "no --rate",
        ),
    ] {
        let (code, said) = exit(mode, more);
        assert!(code == Some(2) && said.contains(reason), "{mode} {more:?}: {code:?} {said}");
    }
    // A device that is not there is no fault of the arguments.
    let (code, said) = exit("run", &to);
    assert!(code == Some(1) && said.contains("none"), "{code:?} {said}");
}

/// No lab is needed: nothing is opened before the address is looked at.
#[test]
fn an_address_outside_of_the_lab_is_refused_by_its_name() {
    let output = Command::new(GENERATOR)
        .args(["run", "--send", "none", "--next-hop", "02:00:00:00:00:01"])
        .args(["--source", "10.0.0.2", "--destination", "8.8.8.8"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2), "{said}");
    assert!(said.contains("8.8.8.8") && said.contains("--really"), "{said}");
}

/// Sends from `eth0` of one namespace and receives at a device of another.
fn generator(
    mode: &str,
    from: &Namespace,
    next_hop: &str,
    to: &Namespace,
    device: &str,
) -> Command {
    let mut command = Command::new(GENERATOR);
    command.args([mode, "--json", "--send", "eth0", "--send-netns", from.name()]).args([
        "--next-hop",
        next_hop,
        "--receive",
        device,
        "--receive-netns",
        to.name(),
    ]);
    command
}

fn json(command: &mut Command) -> Result<Value> {
    let Output { status, stdout, stderr } = command.output()?;
    let complaint = String::from_utf8_lossy(&stderr);
    ensure!(status.success(), "{command:?}: {status}: {complaint}");
    Ok(serde_json::from_slice(&stdout)?)
}

fn mac(namespace: &Namespace, device: &str) -> Result<String> {
    let bytes = namespace.mac(device)?.try_into().ok().context("six bytes")?;
    Ok(Mac(bytes).to_string())
}

const GENERATOR: &str = env!("CARGO_BIN_EXE_mooring-pktgen");
