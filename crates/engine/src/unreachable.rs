//! Packets that waited for a neighbour that does not answer: their senders inside are told.

use std::net::{Ipv4Addr, Ipv6Addr};

use mooring_nat::Place;
use mooring_packet::{OwnedPacket, Packet};
use mooring_policy::InterfaceId;
use mooring_session::{Direction, Tick};
use mooring_wire::ethernet::{Ethernet, HEADER_LEN};

use crate::Engine;
use crate::classify::{Class, Classified, Flow, classify};
use crate::family::Family;
use crate::hairpin::Halves;
use crate::originate::Complaint;
use crate::outbox::Outbox;

impl Engine {
    /// Tells the sender of a packet that waited in vain (RFC 1812 §5.2.7.1, RFC 4443 §3.1), if it is
    /// inside: who is outside does not hear which hosts there are. The packet has been translated and
    /// lies in `waited`; the sender sees its own quoted. The neighbour is on this link.
    pub(crate) fn unreachable(
        &mut self,
        now: Tick,
        (link, waited): (InterfaceId, &mut OwnedPacket),
        outbox: &mut Outbox,
    ) {
        let Ok(ethernet) = Ethernet::parse(waited.bytes()) else { return };
        // Its Ethernet header is still the one that it arrived with.
        let own = ethernet.destination();
        let mut classified = Classified::NOTHING;
        let packet = waited.as_packet();
        classify(&packet, own, &mut classified);
        let Classified { class, v4, v6, .. } = &classified;
        match class {
            Class::Flow => self.tell_sender::<Ipv4Addr>((now, link), v4, &packet, outbox),
            Class::FlowV6 => self.tell_sender::<Ipv6Addr>((now, link), v6, &packet, outbox),
            _ => None,
        };
    }

    /// The error is made as somebody behind our outside would send it, and takes the way of such
    /// errors, by another worker where that has the sender's half of a hairpin. `None` when there is
    /// nobody to tell.
    fn tell_sender<A: Family>(
        &mut self,
        (now, link): (Tick, InterfaceId),
        flow: &Flow<A>,
        packet: &Packet<'_>,
        outbox: &mut Outbox,
    ) -> Option<()> {
        let sessions = &A::nat(&self.nats).sessions;
        let first = sessions.find_key(&flow.key.exchanged())?;
        let session = sessions.session(first.index);
        let is_hairpin = session.is_hairpin(first.direction);
        if first.direction == Direction::Forward && !is_hairpin {
            return None;
        }
        let behind = is_hairpin.then(|| self.key_behind::<A>(first));
        let second = behind.and_then(|key| sessions.find_key(&key));
        let across = match (behind, second) {
            (Some(key), None) => Some(self.worker_across(&key)?),
            _ => None,
        };
        let halves = Halves { first, second };
        // The error shows the outside end in any case where it goes on in another half.
        let own = match across {
            Some(_) => session.outside,
            None => self.own_address(self.egress::<A>(second.unwrap_or(first)))?,
        };
        let quote = &packet.bytes()[HEADER_LEN..][..flow.ip_len as usize];
        let quote = &quote[..quote.len().min(A::MAX_QUOTE)];
        // The cut may have gone through extension headers: what is left then cannot be translated.
        A::key_of_quote(quote).ok()?.flow()?;
        if !self.may_complain(now, Complaint::HostUnreachable) {
            return None;
        }
        let mut error = outbox.compose(HEADER_LEN + A::ERROR_HEADERS + quote.len())?;
        let frame = error.bytes_mut();
        let ends = [own, flow.key.source];
        A::write_error(&mut frame[HEADER_LEN..], ends, Complaint::HostUnreachable, quote);
        let place = Place { l3: HEADER_LEN as u16, l4: (HEADER_LEN + A::IP_HEADER_LEN) as u16 };
        let hop = self.translate_error::<A>(halves, place, frame);
        A::give_hop_back(frame, place);
        self.counters.originated += 1;
        match across {
            Some(to) => self.hand_error_over::<A>((to, link), error, outbox),
            None => self.leave_owned(now, hop, error, outbox).ok()?,
        }
        Some(())
    }
}
