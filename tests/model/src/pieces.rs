//! Datagrams in pieces (RFC 4787 REQ-14, RFC 791 §3.2, RFC 8200 §4.5): whatever the order in which they
//! come, and to which workers, what leaves is the datagram as it would have left whole, in the same
//! pieces.

use std::net::IpAddr;

use crate::duel::{Duel, plain};
use crate::model::Seen;
use crate::packet::{ACK, Body, Key, Packet, UDP, ones_sum};
use crate::random::Random;
use crate::rig::frame;
use crate::spec::Side;
use crate::step::{Cut, Wrong};
use crate::tracking::Way;

/// Where a piece begins behind the IP header, where it ends, and whether more follow.
type Part = (usize, usize, bool);

impl Duel<'_> {
    /// The whole datagram of a step.
    pub(crate) fn in_pieces(
        &self,
        (session, way): (usize, Way),
        else_of: &Packet,
        cut: Cut,
    ) -> (Side, Packet) {
        let sessions = &self.model.sessions;
        let found = sessions.get(session % sessions.len().max(1)).filter(|session| {
            let open = [Way::Forward, Way::Reverse].map(|way| session.side(way) != Side::Hairpin);
            session.protocol == UDP && open == [true; 2]
        });
        let payload = (0..cut.len).map(|n| (n * 7 + self.steps) as u8).collect();
        let mut packet = else_of.clone();
        packet.body = match (cut.wrong, packet.key()) {
            (Wrong::Tiny, _) => {
                let (ports, seq, ack, window) = ((9, 9), 1, 1, 9);
                Body::Tcp { ports, seq, ack, flags: ACK, window, payload }
            }
            (_, key) => {
                let ports = key.map_or((1, 1), |key| (key.source.1, key.destination.1));
                Body::Udp { ports, payload }
            }
        };
        let found = found.filter(|_| cut.wrong != Wrong::Tiny);
        let side = found.map_or(Side::Inside, |session| session.side(way));
        if let Some(session) = found {
            packet = packet.with_key(session.key(way));
        }
        packet.whole = false;
        packet.identification = if packet.source.is_ipv4() { self.steps as u16 } else { 0 };
        (side, packet)
    }

    /// Its pieces, one after the other.
    pub(crate) fn pieces(
        &mut self,
        side: Side,
        packet: &Packet,
        (cut, worker): (Cut, usize),
    ) -> Result<(), String> {
        let number = self.steps as u32;
        let order = order(packet, cut);
        let before = self.rig.tally().drops;
        let (mut first, mut sent, mut held) = (Seen::default(), Vec::new(), 0);
        let mut dropped = Vec::new();
        for (nth, part) in order.iter().enumerate() {
            let at = (worker + nth * cut.spread) % self.rig.workers();
            let bytes = frame(side, &piece(packet, *part, number));
            let seen = self.rig.give_piece(self.clock(), side, &bytes, at)?;
            if part.0 == 0 && first.legs.is_empty() {
                first.legs = seen.legs.iter().map(|leg| (*leg, false)).collect();
                first.dropped = seen.dropped.first().copied();
            }
            sent.extend(seen.sent);
            held += seen.held;
            dropped.extend(seen.dropped);
        }
        if cut.wrong == Wrong::Headless {
            // Nobody says where they are to go.
            if !sent.is_empty() || held != order.len() || !dropped.is_empty() {
                return Err(format!("{sent:?} left, {held} wait, {dropped:?} without a first one"));
            }
            self.model.now += 2_100;
            self.poll()?;
            return self.check_drops(&before, vec!["fragment_untranslated"; held]);
        }
        self.judge_pieces((side, packet), &order, (first, sent), &before)
    }

    /// What must have come of them.
    fn judge_pieces(
        &mut self,
        (side, packet): (Side, &Packet),
        order: &[Part],
        (mut first, mut sent): (Seen, Vec<(Side, Vec<u8>)>),
        before: &[u64],
    ) -> Result<(), String> {
        let number = self.steps as u32;
        first.sent.extend(led(packet, &sent));
        let tiny = first.dropped == Some("fragment_tiny");
        let reason = first.dropped;
        let mut drops = Vec::new();
        let mut expected: Vec<(Side, Vec<u8>)> = Vec::new();
        let judged = match tiny {
            true => Vec::new(),
            false => {
                let judged = self.model.judge(packet, side, &first)?;
                if judged.dropped != reason {
                    return Err(format!("{packet:?} in pieces: {reason:?}, not {judged:?}"));
                }
                judged.sent
            }
        };
        let (fates, passed) = fates(packet, order, reason);
        drops.extend(fates);
        for (egress, whole) in &judged {
            match reason {
                None => expected
                    .extend(passed.iter().map(|part| (*egress, piece(whole, *part, number)))),
                Some(_) => {
                    let mut error = whole.clone();
                    if let Body::Error { quote, .. } = &mut error.body {
                        let first = order.iter().find(|part| part.0 == 0).ok_or("no first one")?;
                        *quote = piece(packet, *first, number);
                    }
                    expected.push((*egress, error.bytes()));
                }
            }
        }
        if reason.is_none() {
            let key = packet.key().ok_or("a datagram has ports")?;
            self.model.pass_pieces(&key, passed.len() - 1);
        }
        for one in &mut sent {
            if !is_piece(&one.1) {
                let error = plain((one.0, Packet::read(&one.1)?));
                one.1 = error.1.bytes();
            }
        }
        sent.sort_unstable();
        expected.sort_unstable();
        if sent != expected {
            return Err(format!(
                "{packet:?} by {side:?} in {order:?} came to {sent:02x?}\n not to {expected:02x?}"
            ));
        }
        self.check_drops(before, drops)
    }

    /// So many were dropped, for these reasons.
    fn check_drops(&self, before: &[u64], mut expected: Vec<&'static str>) -> Result<(), String> {
        let now = self.rig.tally().drops;
        let mut dropped = Vec::new();
        for (reason, (now, before)) in
            mooring_engine::DropReason::ALL.into_iter().zip(now.iter().zip(before))
        {
            dropped.extend((*before..*now).map(|_| reason.name()));
        }
        dropped.sort_unstable();
        expected.sort_unstable();
        match dropped == expected {
            true => Ok(()),
            false => Err(format!("pieces were dropped for {dropped:?}, not {expected:?}")),
        }
    }
}

/// The whole datagram as it has left, by the ports in the piece that begins it.
fn led(packet: &Packet, sent: &[(Side, Vec<u8>)]) -> Option<(Side, Packet)> {
    let first = sent.iter().find(|(_, bytes)| is_piece(bytes) && begins(bytes));
    let (egress, bytes) = first?;
    let head = ip_len(packet) + usize::from(!packet.source.is_ipv4()) * 8;
    let port = |at: usize| u16::from_be_bytes([bytes[head + at], bytes[head + at + 1]]);
    let (from, to) = addresses(bytes);
    let protocol = packet.protocol();
    let key = Key { protocol, source: (from, port(0)), destination: (to, port(2)) };
    Some((*egress, packet.with_key(key)))
}

/// Why each is dropped, and which pass, if the first one is dropped for `reason`, or not.
fn fates(
    packet: &Packet,
    order: &[Part],
    reason: Option<&'static str>,
) -> (Vec<&'static str>, Vec<Part>) {
    let (mut drops, mut passed) = (Vec::new(), Vec::new());
    let mut come: Vec<Part> = Vec::new();
    let mut spoilt = false;
    for part in order {
        let overlaps = |other: &Part| other.0 < part.1 && part.0 < other.1;
        if spoilt {
            drops.push("fragment_overlap");
        } else if come.contains(part) {
            drops.push("fragment_duplicate");
        } else if come.iter().any(overlaps) {
            spoilt = true;
            drops.push("fragment_overlap");
        } else {
            come.push(*part);
            match reason {
                None => passed.push(*part),
                Some(reason) if part.0 == 0 => drops.push(reason),
                // RFC 1858 §3, of TCP.
                Some(_) if packet.protocol() != UDP && part.0 < 20 => drops.push("fragment_tiny"),
                Some(_) => drops.push("fragment_untranslated"),
            }
        }
    }
    (drops, passed)
}

/// The pieces in the order in which they come.
fn order(packet: &Packet, cut: Cut) -> Vec<Part> {
    let len = packet.bytes().len() - ip_len(packet);
    let step = match cut.wrong {
        Wrong::Tiny => 8,
        Wrong::Overlap => 16,
        _ => cut.units * 8,
    };
    let mut parts: Vec<Part> =
        (0..len).step_by(step).map(|at| (at, (at + step).min(len), at + step < len)).collect();
    let mut random = Random::new(cut.order);
    match cut.wrong {
        Wrong::Tiny => parts.truncate(1),
        Wrong::Overlap => {
            let (from, to, _) = parts[1];
            parts.insert(2, (from + 8, to, true));
        }
        _ if cut.order > 0 => {
            for at in (1..parts.len()).rev() {
                parts.swap(at, random.below(at + 1));
            }
        }
        _ => {}
    }
    match cut.wrong {
        Wrong::Twice => {
            let at = random.below(parts.len() - 1);
            parts.insert(at + 1, parts[at]);
        }
        Wrong::Headless => parts.retain(|part| part.0 > 0),
        _ => {}
    }
    parts
}

/// A piece of a packet, as somebody on the way has cut it. `number` identifies those of IPv6.
pub(crate) fn piece(packet: &Packet, (from, to, more): Part, number: u32) -> Vec<u8> {
    let whole = packet.bytes();
    let ip = ip_len(packet);
    let mut bytes = whole[..ip].to_vec();
    let (from, to) = (from, to.min(whole.len() - ip));
    let place = (from as u16, u16::from(more));
    if packet.source.is_ipv4() {
        bytes[2..4].copy_from_slice(&((ip + to - from) as u16).to_be_bytes());
        bytes[6..8].copy_from_slice(&((place.0 / 8) | (place.1 << 13)).to_be_bytes());
        bytes[10..12].fill(0);
        let sum = !ones_sum(&[&bytes]);
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    } else {
        bytes[4..6].copy_from_slice(&((8 + to - from) as u16).to_be_bytes());
        bytes[6] = 44;
        bytes.extend([packet.protocol(), 0]);
        bytes.extend((place.0 | place.1).to_be_bytes());
        bytes.extend(number.to_be_bytes());
    }
    bytes.extend(&whole[ip + from..ip + to]);
    bytes
}

fn ip_len(packet: &Packet) -> usize {
    if packet.source.is_ipv4() { 20 } else { 40 }
}

pub(crate) fn is_piece(bytes: &[u8]) -> bool {
    match bytes[0] >> 4 {
        4 => bytes[6] & 0x3f != 0 || bytes[7] != 0,
        _ => bytes[6] == 44,
    }
}

/// Whether a piece is the first one.
pub(crate) fn begins(bytes: &[u8]) -> bool {
    match bytes[0] >> 4 {
        4 => bytes[6] & 0x1f == 0 && bytes[7] == 0,
        _ => bytes[42] == 0 && bytes[43] & 0xf8 == 0,
    }
}

pub(crate) fn addresses(bytes: &[u8]) -> (IpAddr, IpAddr) {
    let v4 = |at: usize| <[u8; 4]>::try_from(&bytes[at..at + 4]).map(IpAddr::from);
    let v6 = |at: usize| <[u8; 16]>::try_from(&bytes[at..at + 16]).map(IpAddr::from);
    match bytes[0] >> 4 {
        4 => (v4(12).expect("four bytes"), v4(16).expect("four bytes")),
        _ => (v6(8).expect("sixteen bytes"), v6(24).expect("sixteen bytes")),
    }
}
