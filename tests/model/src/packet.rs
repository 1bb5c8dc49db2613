//! Packets, written and read by hand from the RFCs (791, 8200, 768, 9293, 792, 4443). Checksums are
//! summed in full each time.

use std::net::IpAddr;

/// An IP packet, with or without right checksums.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    /// TTL or hop limit.
    pub(crate) ttl: u8,
    /// Identification; 0 in IPv6.
    pub(crate) identification: u16,
    /// Don't Fragment; false in IPv6.
    pub(crate) whole: bool,
    pub(crate) sum: Sum,
    /// Of a super-packet: bytes of payload of each segment.
    pub(crate) segments: Option<usize>,
    pub(crate) body: Body,
}

/// The checksum of the transport header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sum {
    /// Right, or the protocol has none.
    Right,
    /// Wrong by this much.
    Wrong(u16),
    /// A datagram without one (RFC 768).
    Absent,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    Tcp {
        ports: (u16, u16),
        seq: u32,
        ack: u32,
        flags: u8,
        window: u16,
        payload: Vec<u8>,
    },
    Udp {
        ports: (u16, u16),
        payload: Vec<u8>,
    },
    /// An ICMP echo request or reply, by family.
    Echo {
        reply: bool,
        identifier: u16,
        payload: Vec<u8>,
    },
    /// An ICMP error: type, code, the word behind the checksum, the quoted packet.
    Error {
        kind: u8,
        code: u8,
        word: u32,
        quote: Vec<u8>,
    },
    /// Any other protocol.
    Other {
        protocol: u8,
        payload: Vec<u8>,
    },
}

/// What identifies a flow: protocol, source, destination. The identifier of an ICMP query stands with its
/// source, that of a reply with its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) protocol: u8,
    pub(crate) source: End,
    pub(crate) destination: End,
}

/// An address and a port.
pub(crate) type End = (IpAddr, u16);

impl Key {
    pub(crate) fn turned(self) -> Self {
        Self { source: self.destination, destination: self.source, ..self }
    }
}

impl Packet {
    pub(crate) fn new(source: IpAddr, destination: IpAddr, body: Body) -> Self {
        let (identification, whole) = (0, source.is_ipv4());
        let (ttl, sum, segments) = (64, Sum::Right, None);
        Self { source, destination, ttl, identification, whole, sum, segments, body }
    }

    pub(crate) fn protocol(&self) -> u8 {
        match self.body {
            Body::Tcp { .. } => TCP,
            Body::Udp { .. } => UDP,
            Body::Echo { .. } | Body::Error { .. } => icmp_of(self.source),
            Body::Other { protocol, .. } => protocol,
        }
    }

    /// The flow that it belongs to; an ICMP error belongs to none.
    pub(crate) fn key(&self) -> Option<Key> {
        let (from, to) = match self.body {
            Body::Tcp { ports, .. } | Body::Udp { ports, .. } => ports,
            Body::Echo { reply: false, identifier, .. } => (identifier, 0),
            Body::Echo { reply: true, identifier, .. } => (0, identifier),
            Body::Error { .. } => return None,
            Body::Other { .. } => (0, 0),
        };
        let (source, destination) = ((self.source, from), (self.destination, to));
        Some(Key { protocol: self.protocol(), source, destination })
    }

    /// The same packet of another flow.
    pub(crate) fn with_key(&self, key: Key) -> Self {
        let mut packet = self.clone();
        (packet.source, packet.destination) = (key.source.0, key.destination.0);
        match &mut packet.body {
            Body::Tcp { ports, .. } | Body::Udp { ports, .. } => {
                *ports = (key.source.1, key.destination.1);
            }
            Body::Echo { reply: false, identifier, .. } => *identifier = key.source.1,
            Body::Echo { reply: true, identifier, .. } => *identifier = key.destination.1,
            Body::Error { .. } | Body::Other { .. } => {}
        }
        packet
    }

    /// Flags of a TCP segment.
    pub(crate) fn flags(&self) -> Option<u8> {
        match self.body {
            Body::Tcp { flags, .. } => Some(flags),
            _ => None,
        }
    }

    /// Its bytes, from the IP header on.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut l4 = self.l4();
        if let Some(at) = self.sum_at() {
            let right = !ones_sum(&[&self.pseudo(l4.len()), &l4]);
            let field = match self.sum {
                // RFC 768: "If the computed checksum is zero, it is transmitted as all ones".
                Sum::Right if right == 0 && self.protocol() == UDP => 0xffff,
                Sum::Right => right,
                Sum::Wrong(by) => match ones_sum(&[&right.to_be_bytes(), &by.to_be_bytes()]) {
                    0 => 0xffff,
                    field => field,
                },
                Sum::Absent => 0,
            };
            l4[at..at + 2].copy_from_slice(&field.to_be_bytes());
        }
        let mut bytes = self.header(l4.len());
        bytes.append(&mut l4);
        bytes
    }

    /// Bytes in all.
    pub(crate) fn len(&self) -> usize {
        let header = if self.source.is_ipv4() { 20 } else { 40 };
        header + self.l4().len()
    }

    /// The transport header and payload, the checksum 0.
    fn l4(&self) -> Vec<u8> {
        let mut l4 = Vec::new();
        let payload = match &self.body {
            Body::Tcp { ports, seq, ack, flags, window, payload } => {
                l4.extend(ports.0.to_be_bytes());
                l4.extend(ports.1.to_be_bytes());
                l4.extend(seq.to_be_bytes());
                l4.extend(ack.to_be_bytes());
                l4.extend([5 << 4, *flags]);
                l4.extend(window.to_be_bytes());
                l4.extend([0; 4]);
                payload
            }
            Body::Udp { ports, payload } => {
                l4.extend(ports.0.to_be_bytes());
                l4.extend(ports.1.to_be_bytes());
                l4.extend((8 + payload.len() as u16).to_be_bytes());
                l4.extend([0; 2]);
                payload
            }
            Body::Echo { reply, identifier, payload } => {
                let kinds = if self.source.is_ipv4() { [8, 0] } else { [128, 129] };
                l4.extend([kinds[usize::from(*reply)], 0, 0, 0]);
                l4.extend(identifier.to_be_bytes());
                l4.extend([0, 1]);
                payload
            }
            Body::Error { kind, code, word, quote } => {
                l4.extend([*kind, *code, 0, 0]);
                l4.extend(word.to_be_bytes());
                quote
            }
            Body::Other { payload, .. } => payload,
        };
        l4.extend(payload);
        l4
    }

    /// Where the checksum is in the transport header.
    pub(crate) fn sum_at(&self) -> Option<usize> {
        match self.body {
            Body::Tcp { .. } => Some(16),
            Body::Udp { .. } => Some(6),
            Body::Echo { .. } | Body::Error { .. } => Some(2),
            Body::Other { .. } => None,
        }
    }

    /// The pseudo-header that the transport checksum covers, too.
    pub(crate) fn pseudo(&self, len: usize) -> Vec<u8> {
        match (self.source, self.destination) {
            (IpAddr::V4(_), _) if self.protocol() == ICMP => Vec::new(),
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let mut pseudo = [source.octets(), destination.octets()].concat();
                pseudo.extend([0, self.protocol()]);
                pseudo.extend((len as u16).to_be_bytes());
                pseudo
            }
            (source, destination) => {
                let mut pseudo = [octets(source), octets(destination)].concat();
                pseudo.extend((len as u32).to_be_bytes());
                pseudo.extend([0, 0, 0, self.protocol()]);
                pseudo
            }
        }
    }

    fn header(&self, len: usize) -> Vec<u8> {
        let mut header = Vec::with_capacity(40 + len);
        if self.source.is_ipv4() {
            header.extend([0x45, 0]);
            header.extend((20 + len as u16).to_be_bytes());
            header.extend(self.identification.to_be_bytes());
            header.extend([if self.whole { 0x40 } else { 0 }, 0, self.ttl, self.protocol(), 0, 0]);
            header.extend(octets(self.source));
            header.extend(octets(self.destination));
            let sum = !ones_sum(&[&header]);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
        } else {
            header.extend([0x60, 0, 0, 0]);
            header.extend((len as u16).to_be_bytes());
            header.extend([self.protocol(), self.ttl]);
            header.extend(octets(self.source));
            header.extend(octets(self.destination));
        }
        header
    }

    /// Reads a whole packet.
    ///
    /// # Errors
    /// What is wrong about it.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, String> {
        let head = Head::read(bytes)?;
        let l4 = &bytes[head.len..];
        if head.total != bytes.len() {
            return Err(format!("{} bytes, but its header says {}", bytes.len(), head.total));
        }
        let body = read_body(head.protocol, head.source.is_ipv4(), l4)?;
        let mut packet = Self {
            source: head.source,
            destination: head.destination,
            ttl: head.ttl,
            identification: head.identification,
            whole: head.whole,
            sum: Sum::Right,
            segments: None,
            body,
        };
        if let Some(at) = packet.sum_at() {
            let total = ones_sum(&[&packet.pseudo(l4.len()), l4]);
            packet.sum = match (total, packet.protocol()) {
                (_, UDP) if l4[at..at + 2] == [0, 0] && packet.source.is_ipv4() => Sum::Absent,
                (0xffff, _) => Sum::Right,
                // Right is all ones; what is more is by how much it is wrong.
                (total, _) => Sum::Wrong(total),
            };
        }
        Ok(packet)
    }
}

/// An IP header.
struct Head {
    source: IpAddr,
    destination: IpAddr,
    ttl: u8,
    protocol: u8,
    identification: u16,
    whole: bool,
    len: usize,
    total: usize,
}

impl Head {
    fn read(bytes: &[u8]) -> Result<Self, String> {
        match bytes.first().map(|byte| byte >> 4) {
            Some(4) if bytes.len() >= 20 => {
                if bytes[0] != 0x45 || ones_sum(&[&bytes[..20]]) != 0xffff {
                    return Err("options or a wrong header checksum".to_owned());
                }
                Ok(Self {
                    source: address(&bytes[12..16]),
                    destination: address(&bytes[16..20]),
                    ttl: bytes[8],
                    protocol: bytes[9],
                    identification: word(bytes, 4),
                    whole: bytes[6] & 0x40 != 0,
                    len: 20,
                    total: word(bytes, 2).into(),
                })
            }
            Some(6) if bytes.len() >= 40 => Ok(Self {
                source: address(&bytes[8..24]),
                destination: address(&bytes[24..40]),
                ttl: bytes[7],
                protocol: bytes[6],
                identification: 0,
                whole: false,
                len: 40,
                total: 40 + usize::from(word(bytes, 4)),
            }),
            _ => Err("not an IP packet".to_owned()),
        }
    }
}

fn read_body(protocol: u8, v4: bool, l4: &[u8]) -> Result<Body, String> {
    let least = match protocol {
        TCP => 20,
        UDP | ICMP | ICMPV6 => 8,
        _ => 0,
    };
    if l4.len() < least {
        return Err("a cut transport header".to_owned());
    }
    let ports = || (word(l4, 0), word(l4, 2));
    let long = |at: usize| u32::from(word(l4, at)) << 16 | u32::from(word(l4, at + 2));
    let echo = if v4 { [8, 0] } else { [128, 129] };
    Ok(match protocol {
        TCP => Body::Tcp {
            ports: ports(),
            seq: long(4),
            ack: long(8),
            flags: l4[13],
            window: word(l4, 14),
            payload: l4[20..].to_vec(),
        },
        UDP => Body::Udp { ports: ports(), payload: l4[8..].to_vec() },
        ICMP | ICMPV6 if echo.contains(&l4[0]) => Body::Echo {
            reply: l4[0] == echo[1],
            identifier: word(l4, 4),
            payload: l4[8..].to_vec(),
        },
        ICMP | ICMPV6 => {
            Body::Error { kind: l4[0], code: l4[1], word: long(4), quote: l4[8..].to_vec() }
        }
        _ => Body::Other { protocol, payload: l4.to_vec() },
    })
}

/// The flow of a quoted packet.
///
/// # Errors
/// Why it tells none: it is too short, an ICMP error (RFC 1122 §3.2.2), or nothing that a host asks.
pub(crate) fn key_of_quote(quote: &[u8]) -> Result<Key, &'static str> {
    let head = Head::read(quote).map_err(|_| "malformed")?;
    let l4 = &quote[head.len..];
    let v4 = head.source.is_ipv4();
    let least = match head.protocol {
        TCP | UDP => 4,
        ICMP | ICMPV6 => 6,
        _ => 0,
    };
    if l4.len() < least {
        return Err("malformed");
    }
    let ports = match (head.protocol, l4.first().copied().unwrap_or(0)) {
        (TCP | UDP, _) => (word(l4, 0), word(l4, 2)),
        (ICMP, 8) | (ICMPV6, 128) => (word(l4, 4), 0),
        (ICMP, 0) | (ICMPV6, 129) => (0, word(l4, 4)),
        (ICMP, 3..=5 | 11..=12) | (ICMPV6, 0..128) => return Err("error_about_error"),
        (ICMP | ICMPV6, _) => return Err("quote_unknown"),
        _ => (0, 0),
    };
    if head.protocol == if v4 { ICMPV6 } else { ICMP } {
        return Err("quote_unknown");
    }
    let (source, destination) = ((head.source, ports.0), (head.destination, ports.1));
    Ok(Key { protocol: head.protocol, source, destination })
}

/// A quote as it would be of another flow: addresses, ports and all checksums that are there follow.
pub(crate) fn requote(quote: &[u8], key: Key) -> Vec<u8> {
    let Ok(head) = Head::read(quote) else { return quote.to_vec() };
    let mut bytes = quote.to_vec();
    let before = key_of_quote(quote).ok().map(|key| [key.source, key.destination]);
    let (at, len) = if head.source.is_ipv4() { (12, 4) } else { (8, 16) };
    bytes[at..at + len].copy_from_slice(&octets(key.source.0));
    bytes[at + len..at + 2 * len].copy_from_slice(&octets(key.destination.0));
    if head.source.is_ipv4() {
        bytes[10..12].fill(0);
        let sum = !ones_sum(&[&bytes[..20]]);
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    let l4 = &mut bytes[head.len..];
    let (ports_at, sum_at): (&[(usize, u16)], _) =
        match (head.protocol, l4.first().copied().unwrap_or(0)) {
            (TCP, _) => (&[(0, key.source.1), (2, key.destination.1)], 16),
            (UDP, _) => (&[(0, key.source.1), (2, key.destination.1)], 6),
            (ICMP, 8) | (ICMPV6, 128) => (&[(4, key.source.1)], 2),
            (ICMP | ICMPV6, _) => (&[(4, key.destination.1)], 2),
            _ => return bytes,
        };
    for (at, port) in ports_at {
        l4[*at..at + 2].copy_from_slice(&port.to_be_bytes());
    }
    let absent = head.protocol == UDP && l4.get(6..8) == Some(&[0, 0]);
    let (Some(before), Some(field), false) = (before, l4.get_mut(sum_at..sum_at + 2), absent)
    else {
        return bytes;
    };
    // RFC 1624: what the checksum covers has changed from these bytes to those.
    let covered = |ends: [End; 2]| {
        let addresses =
            if head.protocol == ICMP { Vec::new() } else { ends.map(|e| octets(e.0)).concat() };
        [addresses, ends.map(|e| e.1.to_be_bytes()).concat()].concat()
    };
    let (was, is) = (covered(before), covered([key.source, key.destination]));
    let inverted: Vec<u8> = was.iter().map(|byte| !byte).collect();
    let old = [!field[0], !field[1]];
    let mut new = !ones_sum(&[&old, &inverted, &is]);
    // RFC 768; and of ICMP, where only this form is right for a message that is all zero.
    if new == 0 && matches!(head.protocol, UDP | ICMP) {
        new = 0xffff;
    }
    field.copy_from_slice(&new.to_be_bytes());
    bytes
}

/// The sum of RFC 1071 over some parts, each of an even length but the last.
pub(crate) fn ones_sum(parts: &[&[u8]]) -> u16 {
    let mut sum: u64 = 0;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

pub(crate) fn icmp_of(address: IpAddr) -> u8 {
    if address.is_ipv4() { ICMP } else { ICMPV6 }
}

pub(crate) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn address(bytes: &[u8]) -> IpAddr {
    match <[u8; 4]>::try_from(bytes) {
        Ok(v4) => IpAddr::from(v4),
        Err(_) => IpAddr::from(<[u8; 16]>::try_from(bytes).expect("4 bytes or 16")),
    }
}

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

pub(crate) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const ICMPV6: u8 = 58;
pub(crate) const GRE: u8 = 47;

pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const ACK: u8 = 16;
