//! Datagrams in fragments between real kernels: in reverse order, and two hosts that use one
//! identification. (In order, and pings: `everyday`.)

use std::io::Read;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use anyhow::{Result, ensure};
use mooring_lab::peers::{Noise, inject, receive};
use mooring_lab::{Family, Namespace, Site, Variant, isolated};

#[test]
fn fragments_in_any_order() {
    isolated("fragments_in_any_order", || show(Variant::AfPacket));
}

#[test]
fn fragments_in_any_order_by_tap() {
    isolated("fragments_in_any_order_by_tap", || show(Variant::Tap));
}

#[test]
fn fragments_in_any_order_by_kernel_addresses() {
    isolated("fragments_in_any_order_by_kernel_addresses", || show(Variant::KernelAddresses));
}

fn show(variant: Variant) -> Result<()> {
    let site = Site::new(variant)?;
    let appliance = site.start(&site.config())?;
    for family in &Family::BOTH {
        let server = SocketAddr::new(family.server, 7000);
        let sink = site.server.udp(server)?;
        // The node of a Pod has the IPv6 pool on the link itself.
        let next_hop = match (variant, family.pool) {
            (Variant::KernelAddresses, pool @ IpAddr::V6(_)) => pool,
            _ => family.pick("192.0.2.1", "2001:db8:1::1").parse()?,
        };
        let mapped = backwards_both_ways(&site, family, next_hop, &sink)?;
        one_identification(&site, family, &sink)?;
        ensure!(mapped.ip() == family.pool, "translated to {mapped}");
    }
    for reason in ["fragment_untranslated", "fragment_limit", "fragment_overlap"] {
        ensure!(appliance.drops(reason)? == 0, "{reason}: {}", appliance.show("drops")?);
    }
    appliance.stop().map(drop)
}

/// RFC 4787 REQ-14. Returns the source that the server has seen.
fn backwards_both_ways(
    site: &Site,
    family: &Family,
    next_hop: IpAddr,
    sink: &UdpSocket,
) -> Result<SocketAddr> {
    let (client, server) = (SocketAddr::new(family.client, 5000), sink.local_addr()?);
    let socket = site.client.udp(client)?;
    socket.send_to(b"who is there", server)?;
    let (_, mapped) = receive(sink)?;
    sink.send_to(b"a neighbour", mapped)?;
    receive(&socket)?;

    let sent = noise(1)?;
    let mut fragments = fragments(&site.client, (client, server), family.gateway, &sent)?;
    fragments.reverse();
    inject(&site.client, "eth0", &fragments)?;
    let (got, from) = receive(sink)?;
    ensure!(got == sent && from == mapped, "another datagram, from {from}");

    let mut fragments = self::fragments(&site.server, (server, mapped), next_hop, &sent)?;
    fragments.reverse();
    inject(&site.server, "eth0", &fragments)?;
    let (got, from) = receive(&socket)?;
    ensure!(got == sent && from == server, "another datagram, from {from}");
    Ok(mapped)
}

/// RFC 6864 §4.3: the fragments of two hosts, one after the other, are not taken for one datagram's.
fn one_identification(site: &Site, family: &Family, sink: &UdpSocket) -> Result<()> {
    let hosts = [(&site.client, family.client), (&site.other, family.other)];
    let mut all = Vec::new();
    for (number, (namespace, address)) in hosts.into_iter().enumerate() {
        let (host, server) = (SocketAddr::new(address, 5000), sink.local_addr()?);
        let socket = namespace.udp(host)?;
        socket.send_to(b"who is there", server)?;
        receive(sink)?;
        let payload = noise(number)?;
        let fragments = fragments(namespace, (host, server), family.gateway, &payload)?;
        all.push((namespace, payload, fragments));
    }
    for at in 0..all[0].2.len() {
        for (namespace, _, fragments) in &all {
            inject(namespace, "eth0", &fragments[at..=at])?;
        }
    }
    let mut expected: Vec<Vec<u8>> = all.into_iter().map(|(_, payload, _)| payload).collect();
    let mut got = vec![receive(sink)?.0, receive(sink)?.0];
    expected.sort();
    got.sort();
    ensure!(got == expected, "fragments were mixed");
    Ok(())
}

/// The frames of a UDP datagram in three fragments, from a host to its `gateway`.
fn fragments(
    host: &Namespace,
    (source, target): (SocketAddr, SocketAddr),
    gateway: IpAddr,
    payload: &[u8],
) -> Result<Vec<Vec<u8>>> {
    let macs = [host.neighbour_mac(gateway)?, host.mac("eth0")?].concat();
    let whole = udp(source, target, payload)?;
    let cut = whole.chunks(LENGTH).enumerate().map(|(at, part)| {
        let more = (at + 1) * LENGTH < whole.len();
        let offset = u16::try_from(at * LENGTH)?;
        let packet = match source.ip() {
            IpAddr::V4(_) => ipv4(source.ip(), target.ip(), (offset, more), part)?,
            IpAddr::V6(_) => ipv6(source.ip(), target.ip(), (offset, more), part)?,
        };
        Ok([&macs[..], &packet].concat())
    });
    cut.collect()
}

fn udp(source: SocketAddr, target: SocketAddr, payload: &[u8]) -> Result<Vec<u8>> {
    let length = u16::try_from(payload.len() + 8)?;
    let header = [source.port(), target.port(), length, 0].map(u16::to_be_bytes).concat();
    let mut datagram = [&header[..], payload].concat();
    let pseudo = [&octets(source.ip())[..], &octets(target.ip()), &[0, 17], &length.to_be_bytes()];
    let sum = checksum(&[&pseudo.concat()[..], &datagram].concat());
    datagram[6..8].copy_from_slice(&sum);
    Ok(datagram)
}

/// From the EtherType on.
fn ipv4(source: IpAddr, target: IpAddr, place: (u16, bool), part: &[u8]) -> Result<Vec<u8>> {
    let length = u16::try_from(20 + part.len())?.to_be_bytes();
    let flags = (place.0 >> 3 | u16::from(place.1) << 13).to_be_bytes();
    let mut header = [
        &[0x45, 0][..],
        &length,
        &[0x12, 0x34],
        &flags,
        &[64, 17, 0, 0],
        &octets(source),
        &octets(target),
    ]
    .concat();
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum);
    Ok([&[8, 0][..], &header, part].concat())
}

/// From the EtherType on.
fn ipv6(source: IpAddr, target: IpAddr, place: (u16, bool), part: &[u8]) -> Result<Vec<u8>> {
    let [high, low] = u16::try_from(8 + part.len())?.to_be_bytes();
    let [place_high, place_low] = (place.0 | u16::from(place.1)).to_be_bytes();
    let header = [0x86, 0xdd, 0x60, 0, 0, 0, high, low, 44, 64];
    let fragment = [17, 0, place_high, place_low, 0x12, 0x34, 0x56, 0x78];
    Ok([&header[..], &octets(source), &octets(target), &fragment, part].concat())
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    let mut sum = bytes.chunks(2).map(word).sum::<u32>();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let [.., high, low] = (!sum).to_be_bytes();
    [high, low]
}

/// 4,000 bytes, other ones for each number.
fn noise(number: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; 4_000 * (number + 1)];
    Noise::default().read_exact(&mut bytes)?;
    Ok(bytes.split_off(4_000 * number))
}

/// Bytes of a fragment's payload.
const LENGTH: usize = 1_400;
