//! SYN that nobody has asked for (RFC 5382 REQ-4, `docs/tcp-tracking.md`): six seconds later their senders
//! are told, each once, unless a host inside has opened the same connection meanwhile.

use super::plan::is_syn;
use super::{Bucket, Model, Reason, Seen};
use crate::packet::{Body, Packet};
use crate::spec::{Side, is_own, side_of};

pub(super) struct Unsolicited {
    worker: usize,
    packet: Packet,
    due: u64,
}

impl Model {
    /// A packet has been dropped: its sender may have to be told.
    pub(super) fn keep_unsolicited(
        &mut self,
        reason: Reason,
        packet: &Packet,
        from: Side,
        seen: &Seen,
    ) {
        let worker = seen.first_half();
        // What does not come from where its sender is, is forged (RFC 3704).
        let honest = side_of(packet.source) == Some(Side::Outside) && !is_own(packet.source);
        let known = |one: &Unsolicited| one.packet.key() == packet.key();
        let tells = self.spec.tcp.tells
            && from == Side::Outside
            && self.spec.is_outside_address(packet.destination)
            && matches!(reason, "no_session" | "filtered")
            && packet.flags().is_some_and(is_syn);
        if tells && honest && !self.unsolicited.iter().any(known) {
            let (packet, due) = (packet.clone(), self.now + 6_000);
            self.unsolicited.push(Unsolicited { worker, packet, due });
        }
    }

    /// What their senders hear now.
    pub(crate) fn tell_unsolicited(&mut self) -> Vec<(Side, Packet)> {
        let due = self.unsolicited.extract_if(.., |one| one.due <= self.now);
        let mut sent = Vec::new();
        for Unsolicited { worker, packet, .. } in due.collect::<Vec<_>>() {
            let opened = packet.key().is_some_and(|key| self.find(&key).is_some());
            if opened || !self.allow(worker, Bucket::Error) {
                continue;
            }
            let (kind, code) = if packet.source.is_ipv4() { (3, 3) } else { (1, 4) };
            let body = Body::Error { kind, code, word: 0, quote: packet.bytes() };
            sent.push((Side::Outside, Packet::new(packet.destination, packet.source, body)));
        }
        sent
    }
}
