//! The labs themselves, shown without the appliance: a gateway whose kernel translates, one whose
//! kernel forwards untranslated, and what is left behind by a lab that is killed.

use std::process::Command;

use anyhow::{Result, ensure};
use mooring_lab::peers::{Digest, HttpServer, Ping, UdpEcho, download, receive};
use mooring_lab::{Capture, KernelAddresses, Lab, address, isolated};

/// Kernel NAT stands in for the appliance: the peers, the capture and the leak search agree on it.
#[test]
fn a_translating_kernel_leaks_nothing() {
    isolated("a_translating_kernel_leaks_nothing", || {
        let lab = Lab::pod_like(KernelAddresses::Same)?;
        lab.gateway.output("nft", &["add table ip nat"])?;
        lab.gateway
            .output("nft", &["add chain ip nat out { type nat hook postrouting priority 100; }"])?;
        lab.gateway.output("nft", &["add rule ip nat out oif out0 snat to 203.0.113.10"])?;
        let capture = Capture::start(&lab.server, "eth0")?;
        exchange(&lab)?;
        let frames = capture.stop()?;
        assert!(frames.packets_from(address::POOL).len() > 3, "translated packets were seen");
        assert_eq!(frames.carrying(&address::INSIDE), Vec::<&mooring_lab::Frame>::new());
        Ok(())
    });
}

/// The same gateway without NAT: the detector must fire.
#[test]
fn a_forwarding_kernel_leaks() {
    isolated("a_forwarding_kernel_leaks", || {
        let lab = Lab::pod_like(KernelAddresses::Same)?;
        lab.server.ip("route add 10.0.0.0/24 via 192.0.2.1")?;
        let capture = Capture::start(&lab.server, "eth0")?;
        let echo = UdpEcho::start(&lab.server, address::at(address::SERVER, 7000))?;
        let client = lab.client.udp(address::at(address::CLIENT, 5000))?;
        client.send_to(b"hello", address::at(address::SERVER, 7000))?;
        assert_eq!(echo.next_source()?, address::at(address::CLIENT, 5000));
        assert!(!capture.stop()?.carrying(&address::INSIDE).is_empty());
        Ok(())
    });
}

/// A gateway that holds no address forwards nothing: what arrives in the tests is the appliance's.
#[test]
fn an_empty_gateway_is_silent() {
    isolated("an_empty_gateway_is_silent", || {
        let lab = Lab::new()?;
        let capture = Capture::start(&lab.server, "eth0")?;
        let client = lab.client.udp(address::at(address::CLIENT, 5000))?;
        client.send_to(b"hello", address::at(address::SERVER, 7000))?;
        assert_eq!(capture.stop()?.all(), []);
        Ok(())
    });
}

/// Namespaces and mounts of a lab are its own: this machine's lists never show them.
#[test]
fn a_lab_is_invisible_outside() {
    isolated("a_lab_is_invisible_outside", || {
        let lab = Lab::new()?;
        let own = Command::new("ip").args(["netns", "list"]).output()?;
        let own = String::from_utf8(own.stdout)?;
        assert_eq!(own.lines().count(), 3, "only this lab's namespaces: {own}");
        assert!(own.contains(lab.client.name()));
        assert_eq!(std::process::id(), 1, "the first process of its own process namespace");
        Ok(())
    });
}

fn exchange(lab: &Lab) -> Result<()> {
    let web = address::at(address::SERVER, 80);
    let server = HttpServer::start(&lab.server, web)?;
    let echo = UdpEcho::start(&lab.server, address::at(address::SERVER, 7000))?;

    Ping::new(&lab.client, address::CLIENT, address::SERVER)?.send(1400)?;

    let client = lab.client.udp(address::at(address::CLIENT, 5000))?;
    client.send_to(b"hello", address::at(address::SERVER, 7000))?;
    receive(&client)?;
    assert_eq!(echo.next_source()?.ip(), address::POOL);

    let got = download(&lab.client, web, 5_000_000)?;
    ensure!(got.digest == Digest::of_noise(5_000_000), "the download is damaged");
    assert_eq!(server.next_client()?.ip(), address::POOL);
    Ok(())
}
