//! TCP segments that are looked at before they pass. Where windows are followed, what no end of a
//! connection has sent is dropped before it changes anything, and what may be forged passes without a
//! change (`mooring_session::window`). Where connections that are not open are limited, so is the SYN
//! that opens one again after its end.

use mooring_packet::Packet;
use mooring_session::{INERT, Judged, Segment, SessionIndex, SessionRef, Tick};
use mooring_wire::ethernet::HEADER_LEN;
use mooring_wire::tcp::{Flags, Tcp};

use crate::classify::Flow;
use crate::family::Family;
use crate::outbox::Outbox;
use crate::walk::Scene;
use crate::{DropReason, Engine, Verdict};

impl Engine {
    /// The state of a session has changed, which is rare: what counts sessions by it wants to know.
    #[cold]
    #[inline(never)]
    pub(crate) fn turned<A: Family>(&mut self, now: Tick, index: SessionIndex) {
        let ended = self.ask::<A, _>(now, |nat, admission| nat.state_changed(index, admission));
        self.counters.sessions_ended += ended;
        self.counters.transitory_ended += ended;
    }

    /// Hop 4 for a TCP segment, where they are looked at.
    #[inline(never)]
    pub(crate) fn watched<A: Family>(
        &mut self,
        scene: Scene,
        found: SessionRef,
        flow: &Flow<A>,
        packet: &mut Packet<'_>,
        outbox: &mut Outbox,
    ) -> Result<Verdict, DropReason> {
        let flow = self
            .judged(scene, found, flow, packet)
            .map_err(|reason| self.refused(scene, reason, flow, packet, outbox))?;
        self.pass_on(scene, found, &flow, packet, outbox)
    }

    /// The flow of a packet as it is to be accounted for: of a segment that is not proven to be real,
    /// with flags that change nothing.
    pub(crate) fn judged<A: Family>(
        &mut self,
        scene: Scene,
        found: SessionRef,
        flow: &Flow<A>,
        packet: &Packet<'_>,
    ) -> Result<Flow<A>, DropReason> {
        let Some(flags) = flow.flags else { return Ok(*flow) };
        if flags.contains(Flags::SYN) {
            self.ask::<A, _>(scene.now, |nat, admission| nat.may_turn(found, flags, admission))?;
        }
        let sessions = &mut A::nat_mut(&mut self.nats).sessions;
        if !sessions.follows_windows() {
            return Ok(*flow);
        }
        let l4 = packet.bytes().get(usize::from(flow.place.l4)..).unwrap_or_default();
        let tcp = Tcp::parse(l4).map_err(|_| DropReason::Malformed)?;
        // Of a super-packet all of it; what follows the packet in its frame is not of it.
        let payload = (HEADER_LEN as u32 + flow.ip_len).saturating_sub(flow.headers_len.into());
        let segment = Segment::read(&tcp, payload, scene.in_pieces);
        match sessions.judge(found, &segment) {
            Judged::Real => Ok(*flow),
            // Both have sent SYN, as if this were the one that was lost.
            Judged::Opens => Ok(Flow { flags: Some(flags | Flags::SYN), ..*flow }),
            Judged::Unproven => Ok(Flow { flags: Some(INERT), ..*flow }),
            Judged::Outside => Err(DropReason::OutOfWindow),
        }
    }
}
