//! Super-packets, and packets that may be cut and have to be: what leaves is what the sender has sent, in
//! shorter segments of TCP, or as its datagrams, each in pieces that fit (RFC 791 §3.2).

use mooring_packet::Offload;
use mooring_packet::offload::GsoKind;

use crate::duel::{Duel, plain};
use crate::model::{Seen, mtu};
use crate::packet::{ACK, Body, Key, Packet, TCP, UDP};
use crate::pieces::{begins, is_piece, piece};
use crate::rig::frame;
use crate::spec::Side;
use crate::tracking::Way;

/// A packet that is longer than others: of a session, if there is one, or else this one.
#[derive(Clone, Debug)]
pub(crate) struct Large {
    pub(crate) session: usize,
    pub(crate) way: Way,
    pub(crate) else_of: Packet,
    /// Bytes of payload of a segment, and how many there are, about.
    pub(crate) size: usize,
    pub(crate) count: usize,
    /// Nobody may cut it.
    pub(crate) whole: bool,
    /// It is one packet.
    pub(crate) single: bool,
}

/// Something that left: where, its bytes, and what the device is still to do.
type Left = (Side, Vec<u8>, Offload);

impl Duel<'_> {
    pub(crate) fn large(&mut self, large: &Large, worker: usize) -> Result<(), String> {
        let (side, packet) = self.large_packet(large);
        let bytes = if large.single { packet.bytes() } else { packet.offloaded() };
        let (now, worker) = (self.clock(), worker % self.rig.workers());
        let way = (side, offload_of(&packet));
        let (mut seen, left) = self.rig.give_large(now, way, &frame(side, &bytes), worker)?;
        for (egress, bytes, offload) in &left {
            let shown = shown(&packet, bytes, *offload)?;
            seen.sent.extend(shown.map(|packet| (*egress, packet)));
        }
        self.learn(&packet, &mut seen);
        let expected = self.model.judge(&packet, side, &seen)?;
        let told = |why: &str| format!("{packet:?} by {side:?}: {why}");
        if expected.dropped != seen.dropped {
            return Err(told(&format!("{:?}, not {:?}", seen.dropped, expected.dropped)));
        }
        let mut all = Vec::new();
        for (egress, mut packet) in expected.sent {
            if let Body::Error { quote, .. } = &mut packet.body {
                let len = quote.len();
                quote.copy_from_slice(&bytes[..len]);
                all.push((egress, packet.bytes(), Offload::NONE));
            } else {
                all.extend(leaving(egress, &packet, &left)?);
            }
        }
        let left: Result<Vec<_>, String> = left.into_iter().map(plainly).collect();
        let left = left?;
        match left == all {
            true => Ok(()),
            false => Err(told(&format!("came to {left:02x?}\n not to {all:02x?}"))),
        }
    }

    fn large_packet(&self, large: &Large) -> (Side, Packet) {
        let sessions = &self.model.sessions;
        let found = sessions.get(large.session % sessions.len().max(1)).filter(|session| {
            let open = [Way::Forward, Way::Reverse].map(|way| session.side(way) != Side::Hairpin);
            matches!(session.protocol, TCP | UDP) && open == [true; 2]
        });
        let count = if large.single { 1 } else { large.count };
        let len = large.size * count - self.steps % 7;
        let payload = (0..len).map(|n| (n * 7 + self.steps) as u8).collect();
        let mut packet = large.else_of.clone();
        let ports = packet.key().map_or((1, 1), |key| (key.source.1, key.destination.1));
        packet.body = match found.map(|session| session.protocol) {
            Some(TCP) => {
                let (seq, ack, flags, window) = (self.steps as u32, 9, ACK, 500);
                Body::Tcp { ports, seq, ack, flags, window, payload }
            }
            _ => Body::Udp { ports, payload },
        };
        let side = found.map_or(Side::Inside, |session| session.side(large.way));
        if let Some(session) = found {
            packet = packet.with_key(session.key(large.way));
        }
        let v4 = packet.source.is_ipv4();
        packet.whole = large.whole && v4;
        packet.identification = if v4 { self.steps as u16 } else { 0 };
        packet.segments = (!large.single).then_some(large.size);
        (side, packet)
    }
}

/// What must leave of a translated packet; identifications of what is cut are the appliance's to choose,
/// another one for each datagram.
fn leaving(egress: Side, packet: &Packet, left: &[Left]) -> Result<Vec<Left>, String> {
    let (mtu, offload) = (mtu(egress), offload_of(packet));
    if packet.wire_len() <= mtu {
        let bytes = if packet.segments.is_some() { packet.offloaded() } else { packet.bytes() };
        return Ok(vec![(egress, bytes, offload)]);
    }
    let headers = packet.len() - packet.payload().len();
    let datagrams = match (packet.segments, packet.protocol()) {
        (Some(_), TCP) => {
            let shorter = offload.with_segments_of((mtu - headers) as u16);
            return Ok(vec![(egress, packet.offloaded(), shorter)]);
        }
        (Some(size), _) => {
            let one = |part: &[u8]| packet.with_payload(part.to_vec());
            packet.payload().chunks(size).map(one).collect()
        }
        (None, _) => vec![packet.clone()],
    };
    let room = (mtu - 20) & !7;
    let (mut all, mut taken): (Vec<Left>, Vec<u16>) = (Vec::new(), Vec::new());
    for mut datagram in datagrams {
        let Some((_, seen, _)) = left.get(all.len()) else { return Err("too little".to_owned()) };
        datagram.segments = None;
        datagram.identification = u16::from_be_bytes([seen[4], seen[5]]);
        if taken.contains(&datagram.identification) {
            return Err(format!("two datagrams are {}", datagram.identification));
        }
        taken.push(datagram.identification);
        let len = datagram.len() - 20;
        if datagram.len() <= mtu {
            all.push((egress, datagram.bytes(), Offload::NONE));
            continue;
        }
        for at in (0..len).step_by(room) {
            let part = (at, (at + room).min(len), at + room < len);
            all.push((egress, piece(&datagram, part, 0), Offload::NONE));
        }
    }
    Ok(all)
}

/// The whole packet as something that left shows it: an error, or what has the ports of it.
fn shown(packet: &Packet, bytes: &[u8], offload: Offload) -> Result<Option<Packet>, String> {
    if is_piece(bytes) {
        let head = if packet.source.is_ipv4() { 20 } else { 48 };
        let port = |at: usize| u16::from_be_bytes([bytes[head + at], bytes[head + at + 1]]);
        let (from, to) = crate::pieces::addresses(bytes);
        let protocol = packet.protocol();
        let key = || Key { protocol, source: (from, port(0)), destination: (to, port(2)) };
        return Ok(begins(bytes).then(|| packet.with_key(key())));
    }
    let read = Packet::read(bytes)?;
    match (&read.body, read.key()) {
        (Body::Error { .. }, _) => Ok(Some(read)),
        (_, Some(key)) if offload == Offload::NONE || packet.segments.is_some() => {
            Ok(Some(packet.with_key(key)))
        }
        _ => Err(format!("nobody has sent {read:?}")),
    }
}

/// Of what the appliance says itself the identification is its own affair.
fn plainly((egress, bytes, offload): Left) -> Result<Left, String> {
    if is_piece(&bytes) || offload != Offload::NONE {
        return Ok((egress, bytes, offload));
    }
    let read = Packet::read(&bytes)?;
    Ok(match read.body {
        Body::Error { .. } => (egress, plain((egress, read)).1.bytes(), offload),
        _ => (egress, bytes, offload),
    })
}

/// What a device would still have to do for a super-packet.
fn offload_of(packet: &Packet) -> Offload {
    let Some(size) = packet.segments else { return Offload::NONE };
    let l4 = 14 + if packet.source.is_ipv4() { 20 } else { 40 };
    let (kind, len, at) = match (packet.protocol(), packet.source.is_ipv4()) {
        (TCP, true) => (GsoKind::TcpV4, 20, 16),
        (TCP, false) => (GsoKind::TcpV6, 20, 16),
        _ => (GsoKind::UdpL4, 8, 6),
    };
    Offload::partial_checksum(l4, at).with_gso(kind, size as u16, l4 + len)
}

impl Packet {
    /// Its bytes, where a device is still to complete the checksum: the field has the sum of the
    /// pseudo-header.
    fn offloaded(&self) -> Vec<u8> {
        let mut bytes = self.bytes();
        let (ip, at) = (if self.source.is_ipv4() { 20 } else { 40 }, self.sum_at().unwrap_or(0));
        let sum = crate::packet::ones_sum(&[&self.pseudo(bytes.len() - ip)]);
        bytes[ip + at..ip + at + 2].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    fn payload(&self) -> &[u8] {
        match &self.body {
            Body::Tcp { payload, .. } | Body::Udp { payload, .. } => payload,
            _ => &[],
        }
    }

    fn with_payload(&self, part: Vec<u8>) -> Self {
        let mut packet = self.clone();
        if let Body::Tcp { payload, .. } | Body::Udp { payload, .. } = &mut packet.body {
            *payload = part;
        }
        packet
    }

    /// Bytes of the longest packet that it is on a wire.
    pub(crate) fn wire_len(&self) -> usize {
        let headers = self.len() - self.payload().len();
        self.segments.map_or(self.len(), |size| size + headers)
    }
}

/// A Seen without anything but where it came by.
pub(crate) type Given = (Seen, Vec<Left>);
