//! Packets in pieces (RFC 4787 REQ-14, RFC 6146 §3.4, RFC 8200 §4.5): forwarded piece by piece, in
//! whatever order they come, and never put together.
//!
//! The first piece has the ports, so it walks like any packet of its flow; its L4 checksum covers the
//! whole packet and stands in it alone, so the delta is right. The others have addresses and a TTL,
//! which change as the first one's session says. Those that come before it wait, as copies in buffers
//! of the outbox, and go out behind it. They all leave with one identification: their own, unless
//! another host's pieces carry it to the same destination just then (RFC 6864 §4.3, RFC 7857 §10).
//!
//! A piece that nobody but the receiver could read is dropped: of an ICMP error, whose quote would have
//! to be translated, and of what is for ourselves.

use std::net::{Ipv4Addr, Ipv6Addr};

use mooring_nat::{HAIRPIN_INTERFACE, Place, Share};
use mooring_packet::{OwnedPacket, Packet};
use mooring_policy::Limits;
use mooring_session::fragments::{
    Arrived, Datagram, DatagramIndex, Fate, FragmentRefusal, FragmentTable, Piece, Room,
};
use mooring_session::{FlowKey, INERT, KeyedHash, NextHopIndex, Purpose, SessionRef, Tick};
use mooring_wire::Protocol;
use mooring_wire::ethernet::HEADER_LEN;
use rand_chacha::rand_core::Rng;

pub(crate) use self::family::Fragmented;
use crate::cut::{may_leave_cut, payload_of};
use crate::hairpin::Halves;
use crate::outbox::{HandOver, Outbox, Stage};
use crate::walk::{Begun, Scene};
use crate::{DropReason, Engine, Verdict};

mod family;

/// What is remembered of packets that come in pieces.
pub(crate) struct Fragments {
    v4: FragmentTable<Ipv4Addr, OwnedPacket>,
    v6: FragmentTable<Ipv6Addr, OwnedPacket>,
}

/// One piece of a packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part<A> {
    datagram: Datagram<A>,
    piece: Piece,
    /// `l4` is what the IP header is followed by, in IPv6 the fragment header.
    place: Place,
    ttl: u8,
    dont_fragment: bool,
    /// Bytes of the IP packet; the frame may be longer.
    ip_len: u32,
}

impl Fragments {
    /// Room for pieces of as many packets of each family as the limits say: a worker's share, also of
    /// what one sender may take.
    pub(crate) fn new(limits: &Limits, share: Share, hash: &KeyedHash) -> Self {
        let room = Room {
            datagrams: share.part(limits.fragments),
            datagrams_per_source: per_source(limits, share),
            waiting: WAITING,
            waiting_per_source: WAITING_PER_SOURCE,
            source_prefix: limits.source_prefix_v4,
            left: LEFT,
        };
        let of_v6 = Room { source_prefix: limits.source_prefix_v6, ..room };
        Self {
            v4: FragmentTable::new(room, hash.derived(Purpose::Fragments)),
            v6: FragmentTable::new(of_v6, hash.derived(Purpose::Ipv6).derived(Purpose::Fragments)),
        }
    }

    /// Follows other limits: the tables keep their size.
    pub(crate) fn follow(&mut self, limits: &Limits, share: Share) {
        let per_source = per_source(limits, share);
        self.v4.set_datagrams_per_source(per_source);
        self.v6.set_datagrams_per_source(per_source);
    }

    /// The identification of a packet that is cut here, which leaves between `ends`.
    pub(crate) fn identify_cut(
        &mut self,
        ends: (Ipv4Addr, Ipv4Addr),
        protocol: Protocol,
        random: u32,
    ) -> Result<u16, DropReason> {
        let free = self.v4.identify_cut(ends, protocol, Ipv4Addr::IDENTIFICATIONS, random);
        free.map(|identification| identification as u16).ok_or(DropReason::FragmentLimit)
    }

    /// When the next packet is forgotten whose pieces do not come.
    pub(crate) fn next_deadline(&self) -> Option<Tick> {
        self.v4.next_deadline().into_iter().chain(self.v6.next_deadline()).min()
    }

    /// Packets of which pieces have come, and pieces that wait for the first one.
    pub(crate) fn len(&self) -> (usize, usize) {
        let (v4, v6) = (self.v4.len(), self.v6.len());
        (v4.0 + v6.0, v4.1 + v6.1)
    }
}

impl Engine {
    /// A piece of a packet.
    #[cold]
    pub(crate) fn piece<A: Fragmented>(
        &mut self,
        scene: Scene,
        packet: &mut Packet<'_>,
        outbox: &mut Outbox,
    ) -> Result<Verdict, DropReason> {
        // Devices cut and complete whole packets only.
        if packet.offload.partial().is_some() || packet.offload.is_gso() {
            return Err(DropReason::UnsupportedOffload);
        }
        let part = A::read(packet.bytes(), scene.ingress.0)?;
        let Datagram { source, destination, .. } = part.datagram;
        if source.is_martian() || destination.is_martian() {
            return Err(DropReason::Martian);
        }
        let owner =
            || self.owners.of_pieces(&part.key_without_ports(), part.datagram.identification);
        if let Some(other) = self.other_owner(scene, owner) {
            return Ok(Verdict::HandOver(other));
        }
        packet.truncate(HEADER_LEN + part.ip_len as usize);
        let memory = A::memory(&mut self.fragments);
        match memory.arrive(&part.datagram, part.piece, scene.now)? {
            Arrived::First(at) => self.first_piece(scene, (at, &part), packet, outbox),
            Arrived::Decided(fate) => self.later_piece(scene, &part, fate, packet, outbox),
            Arrived::Early(at) => {
                let copy = outbox.copy_for_long(packet).ok_or(DropReason::FragmentLimit)?;
                let held = memory.hold(at, copy);
                held.map(|()| Verdict::Hold).map_err(|copy| {
                    outbox.discard(copy);
                    DropReason::FragmentLimit
                })
            }
        }
    }

    /// Forgets the packets whose pieces have not all come in time, and drops what waits of them.
    pub(crate) fn expire_pieces(&mut self, now: Tick, outbox: &mut Outbox) {
        let mut dropped = 0;
        let mut give_back = |waited| {
            outbox.discard(waited);
            dropped += 1;
        };
        self.fragments.v4.expire(now, RECORDS_PER_POLL, &mut give_back);
        self.fragments.v6.expire(now, RECORDS_PER_POLL, &mut give_back);
        self.counters.drops[DropReason::FragmentUntranslated as usize] += dropped;
    }

    /// The flow of an answer to a packet whose later piece is quoted as `piece`, as it left here; `None`
    /// once all of it has come, or its time is over.
    pub(crate) fn answer_to_piece<A: Fragmented>(
        &mut self,
        now: Tick,
        piece: &Datagram<A>,
    ) -> Option<FlowKey<A>> {
        let flow = A::memory(&mut self.fragments).flow_of_leaving(piece)?;
        let found = self.session_of(now, &flow)?;
        Some(self.key_behind::<A>(found).exchanged())
    }

    /// The first piece: it decides for all, and those that have waited follow it.
    fn first_piece<A: Fragmented>(
        &mut self,
        scene: Scene,
        (at, part): (DatagramIndex, &Part<A>),
        packet: &mut Packet<'_>,
        outbox: &mut Outbox,
    ) -> Result<Verdict, DropReason> {
        let passed = self.pass_first_piece(scene, (at, part), packet, outbox);
        let fate = passed.map_or(Fate::Refused, |(_, fate)| fate);
        A::memory(&mut self.fragments).decide(at, fate);
        while let Some(waited) = A::memory(&mut self.fragments).release(at) {
            self.release_piece::<A>(scene, fate, waited, outbox);
        }
        passed.map(|(verdict, _)| verdict)
    }

    /// The walk of a first piece, and what the others are to do.
    fn pass_first_piece<A: Fragmented>(
        &mut self,
        scene: Scene,
        (at, part): (DatagramIndex, &Part<A>),
        packet: &mut Packet<'_>,
        outbox: &mut Outbox,
    ) -> Result<(Verdict, Fate<A>), DropReason> {
        let scene = Scene { in_pieces: true, ..with_owner_open(scene) };
        let mut flow = A::first_flow(packet, part)?;
        flow.hash = A::nat(&self.nats).sessions.hash(&flow.key);
        let mut fate =
            Fate::Follow { flow: flow.key, identification: part.datagram.identification };
        let found = match self.session_of(scene.now, &flow.key) {
            Some(found) => found,
            // As for a whole packet of such a session: it waits for its address, and nobody hears of it.
            None if A::nat(&self.nats).sessions.find(flow.hash, &flow.key).is_some() => {
                return Err(DropReason::AddressNotHeld);
            }
            None => match self.begin(scene, &flow, packet, outbox)? {
                Begun::Session(found) => found,
                Begun::Done(verdict) => return Ok((verdict, fate)),
            },
        };
        // An error of ours quotes the identification that the sender knows.
        if flow.ttl > 1 {
            let behind = self.key_behind::<A>(found);
            let (ends, random) = ((behind.source, behind.destination), self.random.next_u32());
            let memory = A::memory(&mut self.fragments);
            let identification = memory
                .identify(at, ends.0, ends.1, A::IDENTIFICATIONS, random)
                .ok_or(DropReason::FragmentLimit)?;
            self.write_identification(part, identification, packet);
            fate = Fate::Follow { flow: flow.key, identification };
        }
        Ok((self.forward(scene, found, &flow, packet, outbox)?, fate))
    }

    /// A piece behind the first one.
    fn later_piece<A: Fragmented>(
        &mut self,
        scene: Scene,
        part: &Part<A>,
        fate: Fate<A>,
        packet: &mut Packet<'_>,
        outbox: &mut Outbox,
    ) -> Result<Verdict, DropReason> {
        let Fate::Follow { flow: key, identification } = fate else {
            return Err(DropReason::FragmentUntranslated);
        };
        let scene = with_owner_open(scene);
        // It may have ended since the piece before.
        let Some(first) = self.session_of(scene.now, &key) else {
            let other = self.other_owner(scene, || self.owners.of_flow(&key));
            return other.map(Verdict::HandOver).ok_or(DropReason::NoSession);
        };
        let session = A::nat(&self.nats).sessions.session(first.index);
        if session.ingress(first.direction) != scene.ingress.0 {
            return Err(DropReason::SpoofedSource);
        }
        // RFC 792: no Time Exceeded for a piece that is not the first one.
        if part.ttl <= 1 {
            return Err(DropReason::TtlExpired);
        }
        self.write_identification(part, identification, packet);
        let mut halves = Halves { first, second: None };
        if session.is_hairpin(first.direction) {
            let key = self.key_behind::<A>(first);
            halves.second = self.second_half(scene, &key);
            if halves.second.is_none() {
                let other = self.other_owner(scene, || self.owners.of_ours(&key));
                let other = other.ok_or(DropReason::NoSession)?;
                self.translate_piece(scene, halves, part, packet);
                A::give_hop_back(packet.bytes_mut(), part.place);
                return Ok(Verdict::HandOverHalf(other));
            }
        }
        self.leave_as_piece(scene, halves, part, packet, outbox)
    }

    /// Hops 4 and 5 of a piece behind the first one, which may be cut again (RFC 791 §3.2).
    fn leave_as_piece<A: Fragmented>(
        &mut self,
        scene: Scene,
        halves: Halves,
        part: &Part<A>,
        packet: &mut Packet<'_>,
        outbox: &mut Outbox,
    ) -> Result<Verdict, DropReason> {
        let egress = self.egress::<A>(halves.second.unwrap_or(halves.first));
        let mtu = self.mtu(egress).ok_or(DropReason::NoSession)?;
        let fits = part.ip_len <= u32::from(mtu);
        // RFC 1122 §3.2.2: no error about it either; the first piece will have been as long.
        if !fits && part.dont_fragment {
            return Err(DropReason::TooBig);
        }
        if !fits {
            may_leave_cut(mtu, part.place, [payload_of(part.place, part.ip_len)], outbox)?;
        }
        let hop = self.translate_piece(scene, halves, part, packet);
        match fits {
            true => self.leave(scene.now, hop, packet, outbox),
            false => self.leave_in_pieces(scene.now, (hop, mtu), packet, outbox),
        }
    }

    /// A piece that has waited, now that the first one has passed, or has not.
    fn release_piece<A: Fragmented>(
        &mut self,
        scene: Scene,
        fate: Fate<A>,
        mut waited: OwnedPacket,
        outbox: &mut Outbox,
    ) {
        let part = A::read(waited.bytes(), scene.ingress.0);
        let mut packet = waited.as_packet();
        let verdict = part
            .and_then(|part| self.later_piece(scene, &part, fate, &mut packet, outbox))
            .unwrap_or_else(Verdict::Drop);
        match verdict {
            Verdict::Tx(egress) => return outbox.release(egress, waited),
            Verdict::HandOver(to) | Verdict::HandOverHalf(to) => {
                let half = matches!(verdict, Verdict::HandOverHalf(_));
                let stage = if half { Stage::Half } else { Stage::Arrived };
                return outbox.hand_over(HandOver { to, ingress: scene.ingress, stage }, waited);
            }
            Verdict::Drop(_) => self.counters.count(verdict),
            // Held as another copy, or cut; that it waited is counted already.
            _ => {}
        }
        outbox.discard(waited);
    }

    /// Hop 4 itself, for a piece without an L4 header.
    fn translate_piece<A: Fragmented>(
        &mut self,
        scene: Scene,
        halves: Halves,
        part: &Part<A>,
        packet: &mut Packet<'_>,
    ) -> NextHopIndex {
        let hop = self.translate_half::<A>(scene, halves.first, packet);
        let Some(second) = halves.second else { return hop };
        let hop = self.translate_half::<A>(scene, second, packet);
        A::give_hop_back(packet.bytes_mut(), part.place);
        hop
    }

    fn translate_half<A: Fragmented>(
        &mut self,
        scene: Scene,
        found: SessionRef,
        packet: &mut Packet<'_>,
    ) -> NextHopIndex {
        let nat = A::nat_mut(&mut self.nats);
        let session = nat.sessions.session(found.index);
        let hop = session.next_hop(found.direction);
        // What does not show the flags of its segment, nor its numbers, neither opens, ends nor keeps
        // a connection: the first piece has done so, if it was believed (RFC 5961 §3 and §4).
        let flags = (session.protocol == Protocol::TCP).then_some(INERT);
        A::rewrite_piece(packet.bytes_mut(), session, found.direction);
        if nat.sessions.touch(found, scene.now, packet.len(), flags) {
            self.turned::<A>(scene.now, found.index);
        }
        self.counters.translated += 1;
        hop
    }

    fn write_identification<A: Fragmented>(
        &self,
        part: &Part<A>,
        identification: u32,
        packet: &mut Packet<'_>,
    ) {
        if identification != part.datagram.identification {
            A::identify(packet.bytes_mut(), part.place, identification);
        }
    }
}

/// Packets of one sender.
fn per_source(limits: &Limits, share: Share) -> u32 {
    share.part(limits.fragments_per_source.unwrap_or(limits.fragments)) as u32
}

/// Whoever remembers the pieces learns by the first one who its owner is, so they may be handed over
/// once more. The second half of a hairpin has found its owner by its ports.
fn with_owner_open(scene: Scene) -> Scene {
    Scene { handed: scene.handed && scene.ingress == HAIRPIN_INTERFACE, ..scene }
}

impl From<FragmentRefusal> for DropReason {
    fn from(refusal: FragmentRefusal) -> Self {
        match refusal {
            FragmentRefusal::Malformed => Self::Malformed,
            FragmentRefusal::Overlap => Self::FragmentOverlap,
            FragmentRefusal::Duplicate => Self::FragmentDuplicate,
            FragmentRefusal::Tiny => Self::FragmentTiny,
            FragmentRefusal::Full => Self::FragmentLimit,
        }
    }
}

/// Pieces that may wait for the first one, of each family.
const WAITING: usize = 1_024;

/// Those of one sender. A datagram of 64 KB has 47 pieces.
const WAITING_PER_SOURCE: u32 = 256;

/// Packets that were cut here or have passed in pieces, whose identifications are not used again: with 2,000 a
/// second each is told apart for two seconds.
const LEFT: usize = 4_096;

/// Packets forgotten per [`Engine::poll`], of each family.
const RECORDS_PER_POLL: u32 = 64;

#[cfg(test)]
mod tests;
