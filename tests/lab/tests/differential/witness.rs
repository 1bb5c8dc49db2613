//! What was seen of a step, in words that hold for both beds; and whose ports are whose.

use std::fmt;
use std::net::SocketAddr;

use super::bed::{Nat, Side, address};
use super::packets::{Datagram, Message};
use super::player::Player;
use super::sequence::{End, Protocol, Send, Sequence, Step, Target, flags_text};
use super::tracing::{name, payload};

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seen {
    pub(crate) side: Side,
    /// Of an ICMP error.
    pub(crate) error: Option<(u8, u8)>,
    /// Whether it is what the step sent, and not an answer of the gateway's.
    pub(crate) is_own: bool,
    pub(crate) source: String,
    pub(crate) class: u8,
    pub(crate) dont_fragment: bool,
    /// Bytes that an error quotes behind the IP header.
    pub(crate) quoted: usize,
    /// Everything else.
    pub(crate) words: String,
}

impl Player {
    pub(crate) fn read(
        &mut self,
        number: u16,
        sequence: &Sequence,
        at: usize,
        side: Side,
        datagram: Datagram,
    ) -> Seen {
        let v6 = sequence.v6;
        let mut seen = Seen {
            side,
            error: None,
            is_own: false,
            source: name(datagram.source, number, v6),
            class: datagram.class,
            dont_fragment: datagram.dont_fragment,
            quoted: 0,
            words: format!("to {}", name(datagram.target, number, v6)),
        };
        match datagram.message() {
            Message::Error { kind, rest, quote } => {
                let about = match sequence.steps[at] {
                    Step::Send(_) => at,
                    Step::Complain { about, .. } => about,
                };
                let (words, quoted) = self.quote(number, about, quote);
                (seen.error, seen.quoted) = (Some(kind), quoted);
                seen.words += &format!(": error {}/{}, {rest:?}, quotes {words}", kind.0, kind.1);
            }
            message => self.read_packet(&mut seen, (number, sequence, at), &datagram, &message),
        }
        seen.words += &format!(", TTL {}", datagram.ttl);
        if !datagram.is_intact() {
            seen.words += ", WRONG CHECKSUM";
        }
        if seen.is_own {
            let game = self.games.entry(number).or_default();
            game.arrived[at] = Some(datagram);
        }
        seen
    }

    fn read_packet(
        &mut self,
        seen: &mut Seen,
        (number, sequence, at): (u16, &Sequence, usize),
        datagram: &Datagram,
        message: &Message<'_>,
    ) {
        let (what, ports, tag) = match *message {
            Message::Udp { ports, has_sum, payload } => {
                (if has_sum { "UDP" } else { "UDP without a checksum" }.to_owned(), ports, payload)
            }
            Message::Tcp { ports, flags, numbers, payload } => {
                (format!("TCP {} {numbers:?}", flags_text(flags)), ports, payload)
            }
            Message::Echo { is_reply, identifier, payload } => {
                // As a port of the end that the identifier belongs to.
                let outward = seen.side == Side::Outside;
                let ports = if outward { (identifier, 0) } else { (0, identifier) };
                (echo_text(is_reply).to_owned(), ports, payload)
            }
            Message::Error { .. } | Message::Other => ("something".into(), (0, 0), &[][..]),
        };
        let is_tag = payload(number, at, tag.len()) == tag;
        // A gateway that answers a ping sends the same data back.
        let is_answer = matches!((sequence.steps[at], what.as_str()),
            (Step::Send(Send { protocol: Protocol::Echo { is_reply }, .. }), what)
                if what != echo_text(is_reply));
        seen.is_own = is_tag && !is_answer;
        let ends = [(datagram.source, ports.0), (datagram.target, ports.1)]
            .map(|(address, port)| SocketAddr::new(address, port));
        let target;
        [seen.source, target] = self.ends(number, sequence, at, ends);
        let data = if is_tag { format!("{} bytes of it", tag.len()) } else { "OTHER DATA".into() };
        seen.words = format!("to {target}: {what}, {data}");
    }

    /// Source and target in words; learns the mapping that the source shows.
    fn ends(
        &mut self,
        number: u16,
        sequence: &Sequence,
        at: usize,
        [from, to]: [SocketAddr; 2],
    ) -> [String; 2] {
        let v6 = sequence.v6;
        let Step::Send(send) = sequence.steps[at] else {
            return [from, to].map(|end| end.to_string());
        };
        if send.from.is_inside() && from.ip() == address(End::Pool(0), number, v6) {
            let peer = self.resolve(number, v6, send).unwrap_or(to);
            self.learn(number, send, from, peer);
        }
        let meant = match send.to {
            Target::MappingOf { inside, .. } => inside,
            Target::End(end) => end,
        };
        // One port may be known to two peers as two hosts': the step says which is meant.
        let known = &self.games[&number].outside;
        [(from, send.from), (to, meant)].map(|(end, meant)| {
            let mut of = known
                .iter()
                .filter(|((kind, ..), outside)| *kind == send.protocol.kind() && **outside == end)
                .map(|((_, inside, _), _)| *inside);
            match of.clone().find(|inside| *inside == meant).or_else(|| of.next()) {
                Some(inside) => format!("the mapping of {inside:?}"),
                None => format!("{}:{}", name(end.ip(), number, v6), end.port()),
            }
        })
    }

    fn learn(&mut self, number: u16, send: Send, outside: SocketAddr, peer: SocketAddr) {
        let (kind, owner) = (send.protocol.kind(), (number, send.from));
        if let Target::End(end) = send.to {
            let game = self.games.entry(number).or_default();
            game.outside.insert((kind, send.from, end), outside);
        }
        let mut clash = |what: &str, before: (u16, End)| {
            self.clashes.push(format!("{what} {outside} of {before:?} is {owner:?}'s as well"));
        };
        if let Some(before) = self.owners.insert((kind, outside, peer), owner)
            && before != owner
        {
            clash("to one peer:", before);
        }
        if self.nat != Nat::Mooring {
            return;
        }
        if let Some(before) = self.mappings.insert((kind, outside), owner)
            && before != owner
        {
            clash("the mapping", before);
        }
        let before = self.mapped.insert((kind, number, send.from), outside);
        if before.is_some_and(|before| before != outside) {
            self.clashes.push(format!("{owner:?} was {before:?} and is {outside}"));
        }
    }

    /// A quote in words: what it quotes should be what its receiver has sent.
    fn quote(&self, number: u16, about: usize, quote: &[u8]) -> (String, usize) {
        let Some(quoted) = Datagram::read(quote, true) else {
            return (format!("WHAT NOBODY CAN READ {quote:02x?}"), 0);
        };
        let sent = self.games.get(&number).and_then(|game| game.sent.get(about)?.as_ref());
        let Some(sent) = sent else { return ("NOTHING THAT WAS SENT".into(), 0) };
        let same_head = (quoted.source, quoted.target, quoted.protocol, quoted.class)
            == (sent.source, sent.target, sent.protocol, sent.class);
        let same_body = sent.body.starts_with(&quoted.body);
        let what = match (same_head, same_body) {
            (true, true) => "what was sent".to_owned(),
            (true, false) => format!("with OTHER BYTES {:02x?}", quoted.body),
            _ => format!("ANOTHER PACKET {quoted:?}"),
        };
        (format!("{what}, TTL {}", quoted.ttl), quoted.body.len())
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: from {} {}, class {:#x}", self.side, self.source, self.words, self.class)?;
        if self.error.is_some() {
            write!(f, ", {} bytes quoted", self.quoted)?;
        }
        f.write_str(if self.dont_fragment { ", DF" } else { "" })
    }
}

const fn echo_text(is_reply: bool) -> &'static str {
    if is_reply { "echo reply" } else { "echo request" }
}
