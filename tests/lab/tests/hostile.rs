//! Frames of every malformed kind, from both sides, at a running appliance: it goes on, it counts
//! them, and it says nothing that it should not.

use std::io::Read;
use std::net::SocketAddr;

use anyhow::{Result, ensure};
use mooring_lab::peers::{Noise, UdpEcho, inject, receive};
use mooring_lab::{Capture, Family, Frame, Site, Variant, isolated};

#[test]
fn damaged_frames_from_both_sides() {
    isolated("damaged_frames_from_both_sides", || assert_unmoved(Variant::AfPacket));
}

#[test]
fn damaged_frames_by_two_workers() {
    isolated("damaged_frames_by_two_workers", || assert_unmoved(Variant::TwoWorkers));
}

#[test]
fn damaged_frames_by_tap() {
    isolated("damaged_frames_by_tap", || assert_unmoved(Variant::Tap));
}

fn assert_unmoved(variant: Variant) -> Result<()> {
    let site = Site::new(variant)?;
    let capture = Capture::start(&site.server, "eth0")?;
    let mut appliance = site.start(&site.config())?;
    exchange(&site)?;

    let inside = site.client.neighbour_mac(Family::BOTH[0].gateway)?;
    let outside = site.server.neighbour_mac("192.0.2.1".parse()?)?;
    for (namespace, mac, source, target) in [
        (&site.client, inside, [10, 0, 0, 2], [192, 0, 2, 2]),
        (&site.server, outside, [192, 0, 2, 2], [203, 0, 113, 10]),
    ] {
        let own = namespace.mac("eth0")?;
        inject(namespace, "eth0", &damaged(&templates(&mac, &own, source, target)))?;
    }

    ensure!(appliance.is_running()?, "it ended");
    exchange(&site)?;
    for reason in ["malformed", "bad_checksum", "not_for_us", "no_session"] {
        ensure!(appliance.drops(reason)? > 0, "{reason}: {}", appliance.show("drops")?);
    }
    let said = appliance.stop()?;
    ensure!(!said.contains("panicked"), "{said}");
    ensure!(said.lines().count() < 50, "the log is flooded:\n{said}");
    let frames = capture.stop()?;
    for inside in Family::BOTH.map(|family| family.client) {
        assert_eq!(frames.carrying(&[inside]), Vec::<&Frame>::new());
    }
    Ok(())
}

/// Traffic of both families passes.
fn exchange(site: &Site) -> Result<()> {
    for family in &Family::BOTH {
        let server = SocketAddr::new(family.server, 0);
        let echo = UdpEcho::start(&site.server, server)?;
        let client = site.client.udp(SocketAddr::new(family.client, 0))?;
        client.send_to(b"hello", echo.address()?)?;
        receive(&client)?;
        let target = family.server.to_string();
        let said = site.client.tool("ping", &["-c", "1", "-W", "10", &target])?;
        ensure!(said.contains("1 received"), "{said}");
    }
    Ok(())
}

/// Good frames of each protocol that the appliance reads.
fn templates(to: &[u8], from: &[u8], source: [u8; 4], target: [u8; 4]) -> Vec<Vec<u8>> {
    let ethernet = |kind: [u8; 2]| [to, from, &kind].concat();
    let mut all = Vec::new();
    for (protocol, body) in bodies() {
        all.push([ethernet([8, 0]), ipv4(protocol, source, target, &body)].concat());
        for next in [vec![], vec![0_u8], vec![44], vec![43], vec![60]] {
            all.push([ethernet([0x86, 0xdd]), ipv6(protocol, &next, &body)].concat());
        }
    }
    let arp = [&[0, 1, 8, 0, 6, 4, 0, 1], from, &source, &[0; 6], &target].concat();
    all.push([ethernet([8, 6]), arp].concat());
    let tagged = [&[0, 7, 8, 0][..], &ipv4(17, source, target, &bodies()[0].1)].concat();
    all.push([ethernet([0x81, 0]), tagged].concat());
    all
}

/// Protocol numbers and what stands behind the IP header.
fn bodies() -> Vec<(u8, Vec<u8>)> {
    let quote = ipv4(17, [203, 0, 113, 10], [192, 0, 2, 2], &[0x13, 0x88, 0x1b, 0x58, 0, 8, 0, 0]);
    let udp = vec![0x13, 0x88, 0x1b, 0x58, 0, 12, 0, 0, 1, 2, 3, 4];
    let mut tcp = vec![0x13, 0x88, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x60, 2, 0xff, 0xff, 0, 0, 0, 0];
    tcp.extend([2, 4, 5, 0xb4]);
    let mut bodies = vec![(17, udp), (6, tcp), (1, vec![8, 0, 0, 0, 0, 1, 0, 1])];
    for (kind, code) in [(3, 1), (3, 4), (11, 0), (12, 0), (5, 1)] {
        bodies.push((1, [&[kind, code, 0, 0, 0, 0, 5, 0][..], &quote].concat()));
    }
    for kind in [1, 2, 3, 4, 128, 130, 133, 134, 135, 136, 137, 143] {
        bodies.push((58, [&[kind, 0, 0, 0, 0, 0, 5, 0][..], &[0xfd; 48]].concat()));
    }
    for other in [132, 47, 4, 41, 50, 51, 0, 59, 255] {
        bodies.push((other, vec![0x13, 0x88, 0x1b, 0x58, 0, 0, 0, 9, 0, 0, 0, 0]));
    }
    bodies
}

fn ipv4(protocol: u8, source: [u8; 4], target: [u8; 4], body: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(20 + body.len()).expect("short").to_be_bytes();
    let mut packet = vec![0x45, 0, high, low, 0, 1, 0, 0, 64, protocol, 0, 0];
    packet.extend(source.iter().chain(&target));
    let sum =
        packet.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum::<u32>();
    let sum = !((sum & 0xffff) + (sum >> 16));
    packet[10..12].copy_from_slice(&sum.to_be_bytes()[2..]);
    packet.extend(body);
    packet
}

/// From the inside host to the server, perhaps with an extension header of eight bytes.
fn ipv6(protocol: u8, extension: &[u8], body: &[u8]) -> Vec<u8> {
    let header: &[u8] = if extension.is_empty() { &[] } else { &[protocol, 0, 0, 1, 0, 0, 0, 1] };
    let [high, low] = u16::try_from(header.len() + body.len()).expect("short").to_be_bytes();
    let next = extension.first().copied().unwrap_or(protocol);
    let mut packet = vec![0x60, 0, 0, 0, high, low, next, 64];
    packet.extend([0xfd, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    packet.extend([0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    packet.extend(header.iter().chain(body));
    packet
}

/// Each template cut at every length, with each byte of its headers changed, and drowned in noise.
fn damaged(templates: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut noise = Noise::default();
    let mut all = Vec::new();
    for template in templates {
        all.extend((14..=template.len()).map(|length| template[..length].to_vec()));
        for position in 12..template.len() {
            for change in [0x01, 0x80, 0xff] {
                let mut frame = template.clone();
                frame[position] ^= change;
                all.push(frame);
            }
        }
        for length in [16, 64, 1400] {
            let mut frame = template.clone();
            let mut tail = vec![0; length];
            noise.read_exact(&mut tail).expect("noise is endless");
            frame.truncate(34);
            frame.extend(tail);
            all.push(frame);
        }
    }
    all
}
