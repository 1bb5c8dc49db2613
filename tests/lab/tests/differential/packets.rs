//! Packets as bytes, written and read by means of the test's own: neither side's code is asked what
//! a right packet is.

use std::net::IpAddr;

/// An IP packet without its fragments, or one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Datagram {
    pub(crate) source: IpAddr,
    pub(crate) target: IpAddr,
    /// ICMP is 1 and ICMPv6 is 58.
    pub(crate) protocol: u8,
    pub(crate) ttl: u8,
    /// DSCP and ECN.
    pub(crate) class: u8,
    pub(crate) identification: u32,
    /// IPv4 only.
    pub(crate) dont_fragment: bool,
    /// Bytes before this part, and whether others follow.
    pub(crate) place: (usize, bool),
    /// From the transport header on.
    pub(crate) body: Vec<u8>,
}

/// What a transport header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message<'b> {
    Udp { ports: (u16, u16), has_sum: bool, payload: &'b [u8] },
    Tcp { ports: (u16, u16), flags: u8, numbers: (u32, u32), payload: &'b [u8] },
    Echo { is_reply: bool, identifier: u16, payload: &'b [u8] },
    Error { kind: (u8, u8), rest: [u8; 4], quote: &'b [u8] },
    Other,
}

impl Datagram {
    /// A whole one with a right checksum.
    pub(crate) fn new(ends: (IpAddr, IpAddr), protocol: u8, body: Vec<u8>) -> Self {
        let mut datagram = Self {
            source: ends.0,
            target: ends.1,
            protocol,
            ttl: 64,
            class: 0,
            identification: 0,
            dont_fragment: false,
            place: (0, false),
            body,
        };
        if let Some(at) = sum_at(protocol) {
            let sum = datagram.sum();
            let never_zero = if sum == [0, 0] && protocol == UDP { [0xff, 0xff] } else { sum };
            datagram.body[at..at + 2].copy_from_slice(&never_zero);
        }
        datagram
    }

    /// Whether the transport checksum is right, or left out as IPv4 allows.
    pub(crate) fn is_intact(&self) -> bool {
        let absent = self.protocol == UDP
            && self.source.is_ipv4()
            && self.body.get(6..8) == Some(&[0, 0][..]);
        absent || self.sum() == [0, 0]
    }

    /// In parts of `length` bytes, a multiple of eight.
    pub(crate) fn cut(&self, length: usize) -> Vec<Self> {
        let parts = self.body.chunks(length).enumerate();
        let part = |(at, part): (usize, &[u8])| Self {
            place: (at * length, (at + 1) * length < self.body.len()),
            body: part.to_vec(),
            ..self.clone()
        };
        parts.map(part).collect()
    }

    /// From the IP header on.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let ends = [octets(self.source), octets(self.target)].concat();
        let (offset, more) = self.place;
        if self.source.is_ipv4() {
            let length = (20 + self.body.len()) as u16;
            let flags = u16::from(self.dont_fragment) << 14 | u16::from(more) << 13;
            let words = [length, self.identification as u16, flags | (offset >> 3) as u16];
            let mut header = vec![0x45, self.class];
            header.extend(words.iter().flat_map(|word| word.to_be_bytes()));
            header.extend([self.ttl, self.protocol, 0, 0]);
            header.extend(ends);
            let sum = checksum(&header);
            header[10..12].copy_from_slice(&sum);
            return [header, self.body.clone()].concat();
        }
        let is_part = offset > 0 || more;
        let extension = if is_part {
            let place = (offset as u16 | u16::from(more)).to_be_bytes();
            [&[self.protocol, 0][..], &place, &self.identification.to_be_bytes()].concat()
        } else {
            Vec::new()
        };
        let length = ((extension.len() + self.body.len()) as u16).to_be_bytes();
        let next = if is_part { FRAGMENT } else { self.protocol };
        let header =
            [0x60 | self.class >> 4, self.class << 4, 0, 0, length[0], length[1], next, self.ttl];
        [&header[..], &ends, &extension, &self.body].concat()
    }

    /// Reads a packet from its IP header on; `None` when it is none, or not whole and `is_quote` does
    /// not allow that.
    pub(crate) fn read(bytes: &[u8], is_quote: bool) -> Option<Self> {
        match bytes.first()? >> 4 {
            4 => Self::read_v4(bytes, is_quote),
            6 => Self::read_v6(bytes, is_quote),
            _ => None,
        }
    }

    fn read_v4(bytes: &[u8], is_quote: bool) -> Option<Self> {
        let header = bytes.get(..20)?;
        let length = usize::from(word(header, 2));
        let body = bytes.get(20..length.min(bytes.len()))?;
        let whole = header[0] == 0x45 && checksum(header) == [0, 0] && length <= bytes.len();
        if !whole && !is_quote {
            return None;
        }
        let flags = word(header, 6);
        Some(Self {
            source: address(&header[12..16])?,
            target: address(&header[16..20])?,
            protocol: header[9],
            ttl: header[8],
            class: header[1],
            identification: u32::from(word(header, 4)),
            dont_fragment: flags & 0x4000 != 0,
            place: (usize::from(flags & 0x1fff) << 3, flags & 0x2000 != 0),
            body: body.to_vec(),
        })
    }

    fn read_v6(bytes: &[u8], is_quote: bool) -> Option<Self> {
        let header = bytes.get(..40)?;
        let length = 40 + usize::from(word(header, 4));
        if length > bytes.len() && !is_quote {
            return None;
        }
        let mut body = bytes.get(40..length.min(bytes.len()))?;
        let (mut protocol, mut place, mut identification) = (header[6], (0, false), 0);
        if protocol == FRAGMENT {
            let extension = body.get(..8)?;
            protocol = extension[0];
            let word = word(extension, 2);
            place = (usize::from(word & !7), word & 1 != 0);
            identification = u32::from_be_bytes(extension[4..8].try_into().ok()?);
            body = &body[8..];
        }
        Some(Self {
            source: address(&header[8..24])?,
            target: address(&header[24..40])?,
            protocol,
            ttl: header[7],
            class: header[0] << 4 | header[1] >> 4,
            identification,
            dont_fragment: false,
            place,
            body: body.to_vec(),
        })
    }

    /// What its transport header says.
    pub(crate) fn message(&self) -> Message<'_> {
        self.read_message().unwrap_or(Message::Other)
    }

    fn read_message(&self) -> Option<Message<'_>> {
        let body = &self.body[..];
        let header = body.get(..8)?;
        let (ports, rest) = ((word(header, 0), word(header, 2)), &body[8..]);
        let message = match (self.protocol, header[0]) {
            (UDP, _) => Message::Udp { ports, has_sum: word(header, 6) != 0, payload: rest },
            // A quote may end behind the first number.
            (TCP, _) => {
                let long = |at: usize| {
                    body.get(at..at + 4)
                        .map_or(0, |bytes| u32::from_be_bytes(bytes.try_into().expect("four")))
                };
                Message::Tcp {
                    ports,
                    flags: body.get(13).copied().unwrap_or(0),
                    numbers: (long(4), long(8)),
                    payload: body.get(20..).unwrap_or(&[]),
                }
            }
            (ICMP, kind @ (8 | 0)) | (ICMPV6, kind @ (128 | 129)) => Message::Echo {
                is_reply: matches!(kind, 0 | 129),
                identifier: word(header, 4),
                payload: rest,
            },
            (ICMP, 3 | 4 | 5 | 11 | 12) | (ICMPV6, 1..=4) => Message::Error {
                kind: (header[0], header[1]),
                rest: header[4..8].try_into().ok()?,
                quote: rest,
            },
            _ => return None,
        };
        Some(message)
    }

    fn sum(&self) -> [u8; 2] {
        let length = (self.body.len() as u32).to_be_bytes();
        let pseudo = match (self.source, self.protocol) {
            (IpAddr::V4(_), ICMP) => Vec::new(),
            _ => {
                [&octets(self.source)[..], &octets(self.target), &length, &[0, 0, 0, self.protocol]]
                    .concat()
            }
        };
        checksum(&[&pseudo[..], &self.body].concat())
    }
}

/// A UDP datagram without its checksum.
pub(crate) fn udp(ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let words = [ports.0, ports.1, (payload.len() + 8) as u16, 0];
    [&words.map(u16::to_be_bytes).concat()[..], payload].concat()
}

/// A TCP segment without its checksum.
pub(crate) fn tcp(ports: (u16, u16), flags: u8, numbers: (u32, u32), payload: &[u8]) -> Vec<u8> {
    let mut segment = [ports.0, ports.1].map(u16::to_be_bytes).concat();
    segment.extend([numbers.0, numbers.1].map(u32::to_be_bytes).concat());
    segment.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    [&segment[..], payload].concat()
}

/// An ICMP message without its checksum.
pub(crate) fn icmp(kind: (u8, u8), rest: [u8; 4], payload: &[u8]) -> Vec<u8> {
    [&[kind.0, kind.1, 0, 0][..], &rest, payload].concat()
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

/// Where the checksum stands in a transport header.
const fn sum_at(protocol: u8) -> Option<usize> {
    match protocol {
        UDP => Some(6),
        TCP => Some(16),
        ICMP | ICMPV6 => Some(2),
        _ => None,
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(four.into());
    }
    Some(<[u8; 16]>::try_from(bytes).ok()?.into())
}

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

pub(crate) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const ICMPV6: u8 = 58;
const FRAGMENT: u8 = 44;
