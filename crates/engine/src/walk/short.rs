//! The short way of hops 3 to 5: a plain packet of a session that is where its index said, about which there
//! is nothing to decide. All of that is asked before anything is changed; what is left undone here goes the
//! long way (`Engine::pass`), which does the same to such packets
//! (`the_short_way_does_what_the_long_way_does`).

use mooring_packet::Packet;
use mooring_session::{Direction, Likely};
use mooring_wire::ethernet::HEADER_LEN;

use super::Scene;
use crate::classify::Flow;
use crate::family::Family;
use crate::{Engine, Verdict};

impl Engine {
    /// Sends a packet on its way, if its session is the one that is `likely`; `None`, and nothing has changed,
    /// where more has to be asked.
    #[inline(always)]
    pub(super) fn pass_shortly<A: Family>(
        &mut self,
        scene: Scene,
        likely: Likely,
        flow: &Flow<A>,
        packet: &mut Packet<'_>,
    ) -> Option<Verdict> {
        // Compiled for each direction apart: each has its fields at fixed places.
        match likely.direction() {
            way @ Direction::Forward => self.pass_one_way((likely, way), scene, flow, packet),
            way @ Direction::Reverse => self.pass_one_way((likely, way), scene, flow, packet),
        }
    }

    #[inline(always)]
    fn pass_one_way<A: Family>(
        &mut self,
        (likely, direction): (Likely, Direction),
        scene: Scene,
        flow: &Flow<A>,
        packet: &mut Packet<'_>,
    ) -> Option<Verdict> {
        let nat = A::nat_mut(&mut self.nats);
        if flow.ttl <= 1 || nat.watches_segments() && flow.flags.is_some() {
            return None;
        }
        let session = nat.sessions.known(likely, direction, &flow.key)?;
        if session.ingress(direction) != scene.ingress.0 || session.generation != self.generation.0
        {
            return None;
        }
        // No link has the number of a hairpin.
        let link = self.links.get(usize::from(session.egress(direction)))?;
        if flow.ip_len > link.mtu.into() {
            return None;
        }
        let l2 = self.neighbours.in_use(session.next_hop(direction))?;
        let len = HEADER_LEN as u32 + flow.ip_len;
        if !session.pass(direction, scene.now.stamp(), len, flow.flags) {
            return None;
        }
        // What follows the IP packet is padding of this link, or nobody's business on the next.
        packet.truncate(len as usize);
        let frame = packet.bytes_mut();
        A::rewrite_plain(frame, session, direction);
        frame[..HEADER_LEN].copy_from_slice(&l2.header);
        self.counters.translated += 1;
        Some(Verdict::Tx(l2.egress))
    }
}
