//! Frames of a kind: made whole once for each size, then only addresses, port, stamp and checksums are
//! written for each packet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use clap::ValueEnum;
use mooring_wire::checksum::{add, pseudo_v4, pseudo_v6, sum};
use mooring_wire::crc32c::crc32c;
use mooring_wire::{Mac, Protocol};

use crate::flows::Ends;
use crate::stamp::Stamp;

/// What the packets are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Template {
    /// Datagrams
    Udp,
    /// Segments of connections that stand: ACK
    Tcp,
    /// Segments that begin connections: SYN, the stamp is their data
    TcpSyn,
    /// Packets with one chunk of data
    Sctp,
    /// Echo requests
    Icmp,
}

/// Which way the packets of a flow go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From where it begins.
    There,
    /// Answers: source and destination change sides, a SYN is acknowledged, a request replied to.
    Back,
}

/// The frames of a run.
pub(crate) struct Frames {
    template: Template,
    direction: Direction,
    is_ipv4: bool,
    sizes: Vec<Prepared>,
}

/// A frame that lacks addresses, port, stamp and checksums: all of them zero.
struct Prepared {
    bytes: Vec<u8>,
    /// The sum of the IPv4 header.
    header: u16,
    /// The sum of what follows the IP header, and of the pseudo-header where there is one.
    body: u16,
}

/// What stands at the ends of a link.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LinkEnds {
    pub(crate) source: Mac,
    pub(crate) destination: Mac,
}

impl Frames {
    /// Frames of the sizes, which count the frame check sequence (RFC 2544 §9 gives sizes so); one that is
    /// too small for headers and stamp is made larger. `port` is that of the far end, which flows share.
    pub(crate) fn new(
        template: Template,
        is_ipv4: bool,
        link: LinkEnds,
        port: u16,
        direction: Direction,
        sizes: &[u16],
    ) -> Self {
        let prepare = |size: &u16| {
            let least = LINK + network_len(is_ipv4) + template.header_len() + Stamp::LEN;
            let mut len = usize::from(*size).saturating_sub(CHECK_SEQUENCE).max(least);
            if template == Template::Sctp {
                // RFC 9260 §3.2: chunks are padded to four bytes; so long that nothing is to be padded.
                let body = LINK + network_len(is_ipv4);
                len = body + (len - body).next_multiple_of(4);
            }
            prepare((template, direction), is_ipv4, link, port, len)
        };
        Self { template, direction, is_ipv4, sizes: sizes.iter().map(prepare).collect() }
    }

    /// The longest frame in bytes, without its check sequence.
    pub(crate) fn longest(&self) -> usize {
        self.sizes.iter().map(|size| size.bytes.len()).max().unwrap_or(0)
    }

    /// Writes the frame of size number `size` (of as many as were given, in turn) to the beginning of
    /// `frame`, and says its length.
    pub(crate) fn write(&self, size: u64, ends: &Ends, stamp: &Stamp, frame: &mut [u8]) -> usize {
        let prepared = &self.sizes[(size % self.sizes.len() as u64) as usize];
        let len = prepared.bytes.len();
        let frame = &mut frame[..len];
        frame.copy_from_slice(&prepared.bytes);
        let addresses = write_addresses(frame, ends);
        if self.is_ipv4 {
            put(frame, LINK + 10, !add(prepared.header, addresses));
        }
        let body = LINK + network_len(self.is_ipv4);
        let mut total = add(prepared.body, ends.port);
        if self.template == Template::Icmp {
            put(frame, body + 4, ends.port);
            put(frame, body + 6, stamp.sequence as u16);
            total = add(total, stamp.sequence as u16);
        } else {
            put(frame, body + self.direction.near(), ends.port);
        }
        let bytes = stamp.bytes();
        let at = len - Stamp::LEN;
        frame[at..].copy_from_slice(&bytes);
        // RFC 1071 §2 (B): at an odd place the two bytes of every word change sides.
        let stamped = sum(&bytes);
        let odd = (at - body) % 2 == 1;
        total = add(total, if odd { stamped.swap_bytes() } else { stamped });
        if self.has_pseudo_header() {
            total = add(total, addresses);
        }
        self.write_checksum(&mut frame[body..], !total);
        len
    }

    /// RFC 792: the checksum of ICMP covers the message alone; RFC 4443 §2.3: that of ICMPv6 does not.
    fn has_pseudo_header(&self) -> bool {
        self.template != Template::Icmp || !self.is_ipv4
    }

    fn write_checksum(&self, body: &mut [u8], checksum: u16) {
        match self.template {
            // RFC 768: "If the computed checksum is zero, it is transmitted as all ones".
            Template::Udp => put(body, 6, if checksum == 0 { 0xffff } else { checksum }),
            Template::Tcp | Template::TcpSyn => put(body, 16, checksum),
            Template::Icmp => put(body, 2, checksum),
            Template::Sctp => {
                let crc = crc32c(body);
                body[8..12].copy_from_slice(&crc.to_le_bytes());
            }
        }
    }
}

impl Direction {
    /// Where the port of the near end stands behind the IP header.
    fn near(self) -> usize {
        if self == Self::There { 0 } else { 2 }
    }
}

impl Template {
    /// Bytes between the IP header and the payload.
    fn header_len(self) -> usize {
        match self {
            Self::Udp | Self::Icmp => 8,
            Self::Tcp | Self::TcpSyn => 20,
            Self::Sctp => 28,
        }
    }

    pub(crate) fn protocol(self, is_ipv4: bool) -> Protocol {
        match self {
            Self::Udp => Protocol::UDP,
            Self::Tcp | Self::TcpSyn => Protocol::TCP,
            Self::Sctp => Protocol::SCTP,
            Self::Icmp if is_ipv4 => Protocol::ICMP,
            Self::Icmp => Protocol::ICMPV6,
        }
    }
}

fn prepare(
    (template, direction): (Template, Direction),
    is_ipv4: bool,
    link: LinkEnds,
    port: u16,
    len: usize,
) -> Prepared {
    let protocol = template.protocol(is_ipv4);
    let body = LINK + network_len(is_ipv4);
    let mut bytes = vec![0; len];
    bytes[..6].copy_from_slice(&link.destination.0);
    bytes[6..12].copy_from_slice(&link.source.0);
    let (network, rest) = bytes[12..].split_at_mut(body - 12);
    let rest_len = rest.len() as u16;
    if is_ipv4 {
        network[..2].copy_from_slice(&[0x08, 0x00]);
        network[2] = 0x45;
        put(network, 4, body as u16 - LINK as u16 + rest_len);
        put(network, 8, DONT_FRAGMENT);
        network[10] = HOPS;
        network[11] = protocol.0;
    } else {
        network[..2].copy_from_slice(&[0x86, 0xdd]);
        network[2] = 0x60;
        put(network, 6, rest_len);
        network[8] = protocol.0;
        network[9] = HOPS;
    }
    write_head((template, direction), is_ipv4, port, rest);
    let pseudo = match (template, is_ipv4) {
        (Template::Icmp, true) => 0,
        (_, true) => pseudo_v4(Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED, protocol, rest_len),
        (_, false) => {
            pseudo_v6(Ipv6Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED, protocol, rest_len.into())
        }
    };
    let (header, body) = (sum(&bytes[LINK..body]), add(sum(&bytes[body..]), pseudo));
    Prepared { bytes, header, body }
}

/// Writes what is the same in all packets behind the IP header.
fn write_head(
    (template, direction): (Template, Direction),
    is_ipv4: bool,
    port: u16,
    body: &mut [u8],
) {
    let len = body.len() as u16;
    let is_answer = direction == Direction::Back;
    // The ports stand at the beginning of everything but ICMP: that of the far end, here.
    let far = 2 - direction.near();
    match template {
        Template::Udp => {
            put(body, far, port);
            put(body, 4, len);
        }
        Template::Tcp | Template::TcpSyn => {
            put(body, far, port);
            // A sequence number, and one that is acknowledged unless this is the beginning.
            body[7] = 1;
            body[11] = match (template, is_answer) {
                (Template::Tcp, _) => 1,
                // RFC 9293 §3.4: a SYN counts as one.
                (_, true) => 2,
                (_, false) => 0,
            };
            body[12] = 5 << 4;
            body[13] = match (template, is_answer) {
                (Template::Tcp, _) => TCP_ACK,
                (_, true) => TCP_SYN | TCP_ACK,
                (_, false) => TCP_SYN,
            };
            put(body, 14, u16::MAX);
        }
        Template::Sctp => {
            put(body, far, port);
            // RFC 9260 §3.1: a verification tag; §3.3.1: one DATA chunk, whole and unordered.
            body[4..8].copy_from_slice(&VERIFICATION_TAG);
            body[13] = SCTP_WHOLE_UNORDERED;
            put(body, 14, len - 12);
        }
        Template::Icmp => {
            body[0] = match (is_ipv4, is_answer) {
                (true, false) => 8,
                (true, true) => 0,
                (false, false) => 128,
                (false, true) => 129,
            };
        }
    }
}

/// Writes both addresses and returns their sum.
fn write_addresses(frame: &mut [u8], ends: &Ends) -> u16 {
    let at = match (ends.source, ends.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            frame[LINK + 12..][..4].copy_from_slice(&source.octets());
            frame[LINK + 16..][..4].copy_from_slice(&destination.octets());
            LINK + 12..LINK + 20
        }
        (source, destination) => {
            frame[LINK + 8..][..16].copy_from_slice(&v6(source));
            frame[LINK + 24..][..16].copy_from_slice(&v6(destination));
            LINK + 8..LINK + 40
        }
    };
    sum(&frame[at])
}

/// The command line refuses ends of two families.
fn v6(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

fn put(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

const fn network_len(is_ipv4: bool) -> usize {
    if is_ipv4 { 20 } else { 40 }
}

/// The Ethernet header.
pub(crate) const LINK: usize = 14;

/// The frame check sequence, which the sizes of frames count and nobody but the link sees.
pub(crate) const CHECK_SEQUENCE: usize = 4;

const HOPS: u8 = 64;
const DONT_FRAGMENT: u16 = 0x4000;
const TCP_ACK: u8 = 0x10;
const TCP_SYN: u8 = 0x02;
const VERIFICATION_TAG: [u8; 4] = *b"moor";
const SCTP_WHOLE_UNORDERED: u8 = 0b111;

#[cfg(test)]
mod tests;
