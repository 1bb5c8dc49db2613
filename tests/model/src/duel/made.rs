//! The packets that a step makes of a session: its own, answers, errors, forged ones.

use std::net::IpAddr;

use super::Duel;
use crate::model::Session;
use crate::packet::{Body, Key, Packet, Sum};
use crate::spec::Side;
use crate::step::{Twist, What, body_of};
use crate::tracking::Way;

impl Duel<'_> {
    /// The packet that a step makes of a session.
    pub(crate) fn of_session(&self, what: &What) -> Option<(Side, Packet)> {
        let sessions = &self.model.sessions;
        let nth = |number: usize| sessions.get(number % sessions.len().max(1));
        match *what {
            What::Along { session, way, twist, flags, ttl, sum, extra, .. } => {
                let session = nth(session)?;
                let key = twisted(session.key(way), twist);
                // A reply to the one who asked, or another question.
                let asks = session.began;
                let body = body_of(key.protocol, (way, asks), key.source.0, (flags, extra));
                let mut packet = Packet::new(key.source.0, key.destination.0, body).with_key(key);
                packet.ttl = ttl;
                packet.sum =
                    if matches!(packet.body, Body::Other { .. }) { Sum::Right } else { sum };
                let side = entry(session, way);
                Some((if twist == Twist::Side { other(side) } else { side }, packet))
            }
            What::Error { session, way, twist, from, source, kind, cut } => {
                let session = nth(session)?;
                let error = error_about(session, way, twist, (source, kind, cut))?;
                Some((if twist == Twist::Side { other(from) } else { from }, error))
            }
            What::Hairpin { host, port, session, flags } => {
                let session = nth(session)?;
                let (protocol, outside) = (session.protocol, session.outside);
                let host = like(host, outside.0)?;
                let key = Key { protocol, source: (host, port), destination: outside };
                let body = body_of(protocol, (Way::Forward, Way::Forward), host, (flags, 1));
                Some((Side::Inside, Packet::new(host, outside.0, body).with_key(key)))
            }
            _ => None,
        }
    }
}

/// Where a packet of a session comes in on a wire.
fn entry(session: &Session, way: Way) -> Side {
    match session.side(way) {
        Side::Hairpin => Side::Outside,
        side => side,
    }
}

const fn other(side: Side) -> Side {
    match side {
        Side::Inside => Side::Outside,
        _ => Side::Inside,
    }
}

fn twisted(key: Key, twist: Twist) -> Key {
    let Key { source, destination, .. } = key;
    match twist {
        Twist::SourcePort(port) if source.1 != 0 => Key { source: (source.0, port), ..key },
        Twist::Source(address) if address.is_ipv4() == source.0.is_ipv4() => {
            Key { source: (address, source.1), ..key }
        }
        Twist::DestinationPort(port) if destination.1 != 0 => {
            Key { destination: (destination.0, port), ..key }
        }
        Twist::Protocol(protocol) => Key { protocol, ..key },
        _ => key,
    }
}

/// An error about a packet that has travelled `way` and is seen behind its translation.
fn error_about(
    session: &Session,
    way: Way,
    twist: Twist,
    (source, kind, cut): (IpAddr, (u8, u8), bool),
) -> Option<Packet> {
    let mut key = session.key(way.turned()).turned();
    if let Twist::SourcePort(_) | Twist::Protocol(_) = twist {
        key = twisted(key, twist);
    }
    let v4 = key.source.0.is_ipv4();
    let body = body_of(key.protocol, (way, session.began), key.source.0, (16, 2));
    let quoted = Packet::new(key.source.0, key.destination.0, body).with_key(key);
    let mut quote = quoted.bytes();
    if cut {
        quote.truncate(if key.source.0.is_ipv4() { 28 } else { 48 });
    }
    let ip = if v4 { 20 } else { 40 };
    match twist {
        Twist::CutShort(len) => quote.truncate(ip + usize::from(len)),
        // In place of a transport header, one of ICMP.
        Twist::AboutError | Twist::AboutNothing => {
            let kind = if twist == Twist::AboutError { 3 } else { 200 };
            let body = Body::Error { kind, code: 0, word: 0, quote: vec![0; 28] };
            quote = Packet::new(key.source.0, key.destination.0, body).bytes();
        }
        _ => {}
    }
    let source = like(source, key.source.0)?;
    let too_big = if v4 { (3, 4) } else { (2, 0) };
    let kind = match (v4, kind, twist) {
        (_, _, Twist::Mtu(_)) => too_big,
        (true, kind, _) => kind,
        (false, (11, _), _) => (3, 0),
        (false, (12, _), _) => (4, 1),
        (false, (3, 4), _) => (2, 0),
        (false, ..) => (1, 4),
    };
    let word = match twist {
        Twist::Mtu(mtu) => mtu.into(),
        _ if kind == too_big => 1300,
        _ => 0,
    };
    let body = Body::Error { kind: kind.0, code: kind.1, word, quote };
    Some(Packet::new(source, key.source.0, body))
}

/// An address, if it is of the family of another.
fn like(address: IpAddr, other: IpAddr) -> Option<IpAddr> {
    (address.is_ipv4() == other.is_ipv4()).then_some(address)
}
