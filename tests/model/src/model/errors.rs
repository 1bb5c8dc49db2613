//! ICMP errors of others (RFC 5508 §4, RFC 4787 REQ-12).

use super::{Expected, Judged, Model, Seen, is_martian};
use crate::packet::{Body, Packet, Sum, key_of_quote, requote};
use crate::spec::{Side, side_of};
use crate::tracking::Way;

impl Model {
    /// What must come of an ICMP error.
    pub(super) fn error(&mut self, packet: &Packet, from: Side, seen: &Seen) -> Judged<Expected> {
        let dropped = |reason| Ok(Expected::dropped(reason));
        let Body::Error { kind, code, word, quote } = &packet.body else {
            return Err("no error".to_owned());
        };
        if is_martian(packet.source) {
            return dropped("martian");
        }
        if packet.sum != Sum::Right {
            return dropped("bad_checksum");
        }
        let quoted = match key_of_quote(quote) {
            Ok(quoted) => quoted,
            Err(reason) => return dropped(reason),
        };
        // No link has such an MTU (RFC 791, RFC 8200 §5); 0 is said by routers from before RFC 1191.
        let forged = match (packet.source.is_ipv4(), kind, code) {
            (true, 3, 4) => (1..68).contains(word),
            (false, 2, _) => *word < 1280,
            _ => false,
        };
        if forged {
            return dropped("forged_mtu");
        }
        // It travels against the packet that it is about.
        let key = quoted.turned();
        let Some((at, way)) = self.lookup(&key) else { return dropped("quote_unknown") };
        if self.sessions[at].side(way) != from {
            return dropped("spoofed_source");
        }
        if packet.ttl <= 1 {
            return dropped("ttl_expired");
        }
        if packet.destination != key.destination.0 {
            return dropped("quote_unknown");
        }
        let mut translated = self.translate_error(at, way, packet);
        let mut egress = self.sessions[at].side(way.turned());
        if egress == Side::Hairpin {
            let behind = self.sessions[at].translated(way);
            let found = self.lookup(&behind);
            let second = found.filter(|(at, way)| self.sessions[*at].side(*way) == Side::Hairpin);
            let Some((second, back)) = second else { return dropped("quote_unknown") };
            translated = self.translate_error(second, back, &translated);
            egress = self.sessions[second].side(back.turned());
        }
        if self.sessions[at].worker != seen.first_half() {
            return Err(format!(
                "an error about {:?} is worker {}'s",
                self.sessions[at],
                seen.first_half()
            ));
        }
        if side_of(packet.source).is_some_and(|side| side == egress && egress != from) {
            return dropped("spoofed_source");
        }
        translated.ttl = packet.ttl - 1;
        Ok(Expected { dropped: None, sent: vec![(egress, translated)] })
    }

    /// The error and its quote, through one session.
    fn translate_error(&self, at: usize, way: Way, packet: &Packet) -> Packet {
        let session = &self.sessions[at];
        let mut translated = packet.clone();
        match way {
            Way::Reverse => translated.destination = session.inside.0,
            Way::Forward if session.inside == session.outside => {}
            // RFC 5508 REQ-5: the inside is not shown.
            Way::Forward => translated.source = session.outside.0,
        }
        if let Body::Error { quote, .. } = &mut translated.body {
            *quote = requote(quote, session.translated(way).turned());
        }
        translated
    }
}
