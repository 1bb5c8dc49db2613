//! ICMP errors of others: about a packet that we have translated, found by its quote.

use mooring_nat::icmp_error::{QuoteRefusal, Quoted};
use mooring_nat::{HAIRPIN_INTERFACE, Place};
use mooring_packet::Packet;
use mooring_policy::{Hop, InterfaceId};
use mooring_session::{Direction, FlowKey, NextHopIndex, SessionRef};
use mooring_wire::ethernet::HEADER_LEN;

use crate::classify::Flow;
use crate::family::{Family, ICMP_HEADER_LEN};
use crate::fragments::Fragmented;
use crate::hairpin::Halves;
use crate::outbox::Outbox;
use crate::walk::{Scene, wire_len};
use crate::{DropReason, Engine, Verdict};

impl Engine {
    /// An ICMP error about a packet that we have translated.
    #[cold]
    pub(crate) fn error<A: Fragmented>(
        &mut self,
        scene: Scene,
        flow: &Flow<A>,
        packet: &mut Packet<'_>,
        outbox: &mut Outbox,
    ) -> Result<Verdict, DropReason> {
        let source = flow.key.source;
        // Behind the first half of a hairpin the source is that half's: its worker has asked whether it is
        // one that nobody has. Whether it comes from where the other host is, which that worker does not
        // know, is not asked.
        let is_half = scene.ingress == HAIRPIN_INTERFACE;
        if !is_half && (source.is_martian() || source.stays_on_link()) {
            return Err(DropReason::Martian);
        }
        packet.truncate(HEADER_LEN + flow.ip_len as usize);
        let message = &packet.bytes()[usize::from(flow.place.l4)..];
        // RFC 5508 REQ-3: an error whose checksum is wrong is dropped.
        if !A::icmp_checksum_is_valid(message, flow) {
            return Err(DropReason::BadChecksum);
        }
        let quoted = A::key_of_quote(&message[A::quote_in(message)])?;
        if A::forges_mtu(message) {
            return Err(DropReason::ForgedMtu);
        }
        let key = match quoted {
            Quoted::Flow(key) => key,
            Quoted::Piece(piece) => {
                let key = self.answer_to_piece(scene.now, &piece);
                key.ok_or(DropReason::QuoteUnknown)?
            }
        };
        let Some(found) = self.session_of(scene.now, &key) else {
            let owner = || self.owners.of_flow(&key);
            return match self.other_owner(scene, owner) {
                Some(other) => Ok(Verdict::HandOver(other)),
                None => Err(DropReason::QuoteUnknown),
            };
        };
        let session = A::nat(&self.nats).sessions.session(found.index);
        if session.ingress(found.direction) != scene.ingress.0 {
            return Err(DropReason::SpoofedSource);
        }
        if found.direction == Direction::Forward && A::has_extensions(message) {
            return Err(DropReason::UnsupportedProtocol);
        }
        if flow.ttl <= 1 {
            return Err(DropReason::TtlExpired);
        }
        // An error is for the host that its quote names as sender, nobody else.
        if flow.key.destination != key.destination {
            return Err(DropReason::QuoteUnknown);
        }
        let is_hairpin = session.is_hairpin(found.direction);
        let message = &mut packet.bytes_mut()[usize::from(flow.place.l4)..];
        self.give_identification_back::<A>(message);
        let second = match is_hairpin {
            true => {
                let key = self.key_behind::<A>(found);
                match self.second_half(scene, &key) {
                    Some(second) => Some(second),
                    None => return self.error_elsewhere::<A>(scene, (found, &key), flow, packet),
                }
            }
            false => None,
        };
        let egress = self.egress::<A>(second.unwrap_or(found));
        let mtu = self.mtu(egress).ok_or(DropReason::NoSession)?;
        if !is_half && self.is_forged(source, scene.ingress, egress) {
            return Err(DropReason::SpoofedSource);
        }
        if wire_len(packet, flow) > usize::from(mtu) {
            return Err(DropReason::TooBig);
        }
        let halves = Halves { first: found, second };
        let hop = self.translate_error::<A>(halves, flow.place, packet.bytes_mut());
        self.counters.translated += 1;
        self.leave(scene.now, hop, packet, outbox)
    }

    /// An ICMP error whose second half of a hairpin is another worker's, or nobody's.
    fn error_elsewhere<A: Family>(
        &mut self,
        scene: Scene,
        (first, key): (SessionRef, &FlowKey<A>),
        flow: &Flow<A>,
        packet: &mut Packet<'_>,
    ) -> Result<Verdict, DropReason> {
        let owner = || self.owners.of_ours(key);
        let scene = Scene { handed: false, ..scene };
        let other = self.other_owner(scene, owner).ok_or(DropReason::QuoteUnknown)?;
        let halves = Halves { first, second: None };
        self.translate_error::<A>(halves, flow.place, packet.bytes_mut());
        A::give_hop_back(packet.bytes_mut(), flow.place);
        Ok(Verdict::HandOverHalf(other))
    }

    /// Hop 4 for an ICMP error about a packet of one session or two.
    pub(crate) fn translate_error<A: Family>(
        &self,
        halves: Halves,
        place: Place,
        frame: &mut [u8],
    ) -> NextHopIndex {
        let sessions = &A::nat(&self.nats).sessions;
        let first = sessions.session(halves.first.index);
        A::rewrite_error(frame, place, first, halves.first.direction);
        let Some(found) = halves.second else { return first.next_hop(halves.first.direction) };
        let second = sessions.session(found.index);
        A::rewrite_error(frame, place, second, found.direction);
        A::give_hop_back(frame, place);
        second.next_hop(found.direction)
    }

    /// RFC 5508 REQ-4: the quote of a fragment has the identification that its sender knows, while its
    /// datagram is remembered here.
    fn give_identification_back<A: Fragmented>(&mut self, message: &mut [u8]) {
        let quoted = message.get(ICMP_HEADER_LEN..).and_then(A::datagram_of_quote);
        let Some(leaving) = quoted else { return };
        let known = A::memory(&mut self.fragments).arrived_as(&leaving);
        if let Some(own) = known.filter(|own| *own != leaving.identification) {
            A::identify_quote(message, own);
        }
    }

    /// Whether a packet claims to come from where it goes to. Any router on the way may send an
    /// error, so more than that cannot be asked of its source (RFC 3704 §2.3).
    fn is_forged<A: Family>(&self, source: A, ingress: InterfaceId, egress: InterfaceId) -> bool {
        let there = |hop: Hop| hop.interface == egress && egress != ingress;
        self.policy.route(source.into()).is_some_and(there)
    }
}

impl From<QuoteRefusal> for DropReason {
    fn from(refusal: QuoteRefusal) -> Self {
        match refusal {
            QuoteRefusal::Malformed => Self::Malformed,
            QuoteRefusal::AboutError => Self::ErrorAboutError,
            QuoteRefusal::Unknown => Self::QuoteUnknown,
        }
    }
}
