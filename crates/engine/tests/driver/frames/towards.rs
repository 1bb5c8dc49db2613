//! Packets towards the addresses that rules, services and mappings of the policies own.

use std::net::Ipv4Addr;

use mooring_policy::InterfaceId;
use mooring_wire::Protocol;
use mooring_wire::ethernet::HEADER_LEN;
use mooring_wire::ipv4::{self, Ipv4};
use mooring_wire::tcp::Tcp;

use super::{Arguments, INSIDE, Memory, POOL, between, ip, nth, pseudo, tcp, udp};

/// A segment to a forwarded port, or to a service.
pub(super) fn forwarded(link: InterfaceId, with: Arguments) -> Vec<u8> {
    let to = if with.b & 12 == 12 { POOL[1] } else { POOL[0] };
    let mut l4 = tcp(link, with, b"");
    l4[2..4].copy_from_slice(&(8080 + u16::from(with.b & 3)).to_be_bytes());
    readdress(ip(link, with, Protocol::TCP, &l4), to)
}

/// A datagram to an address that belongs to one host.
pub(super) fn fixed(link: InterfaceId, with: Arguments) -> Vec<u8> {
    let to = if with.b & 4 == 0 { NAMES } else { ONE };
    let mut l4 = udp(link, with, b"hello");
    l4[2..4].copy_from_slice(&53u16.to_be_bytes());
    readdress(ip(link, with, Protocol::UDP, &l4), to)
}

/// To the outside end of a flow that has left outside.
pub(super) fn hairpin(link: InterfaceId, with: Arguments, memory: &Memory) -> Option<Vec<u8>> {
    let left = nth(&memory.left, super::OUTSIDE, with.a)?;
    let ip = Ipv4::parse(&left[HEADER_LEN..]).ok()?;
    let (protocol, end) = (ip.protocol(), ip.source());
    let from = match link {
        INSIDE => Ipv4Addr::new(10, 0, 0, 2 + (with.b & 7)),
        _ => Ipv4Addr::new(198, 51, 100, 7 + (with.b & 3)),
    };
    let mut l4 = match protocol {
        Protocol::UDP => udp(link, with, b"hairpin"),
        Protocol::TCP => tcp(link, with, b""),
        _ => return None,
    };
    l4[2..4].copy_from_slice(ip.payload().get(..2)?);
    Some(between(link, with, (from, end), protocol, &l4))
}

/// Makes of an IPv4 packet of TCP the answer to it.
pub(crate) fn turn_round(packet: &mut [u8]) {
    let Ok(mut ip) = Ipv4::parse(&mut *packet) else { return };
    ip.payload_mut()[..4].rotate_left(2);
    packet[8] = 64;
    packet[12..20].rotate_left(4);
    if let Ok(mut ip) = Ipv4::parse(&mut *packet) {
        ip.fill_checksum();
    }
    let Some(pseudo) = pseudo(packet) else { return };
    let l4_at = usize::from(packet[0] & 15) * 4;
    if let Ok(mut tcp) = Tcp::parse(&mut packet[l4_at..]) {
        tcp.fill_checksum(pseudo);
    }
}

/// The packet, to another address; its checksums are filled in later.
fn readdress(mut frame: Vec<u8>, to: Ipv4Addr) -> Vec<u8> {
    let at = HEADER_LEN + ipv4::HEADER_LEN - 4;
    frame[at..at + 4].copy_from_slice(&to.octets());
    frame
}

const NAMES: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 18);
const ONE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 20);
