//! Packets that are for us: pings of our addresses, what neighbours say, and what nothing of ours
//! wants.

use std::net::IpAddr;

use mooring_packet::Packet;
use mooring_policy::{Action, Ownership};

use crate::classify::{Class, Flow};
use crate::family::Family;
use crate::neighbours::Outcome;
use crate::outbox::Outbox;
use crate::walk::Scene;
use crate::{DropReason, Engine, Verdict};

impl Engine {
    /// A packet to an address of ours: `None` when it may still belong to a session or begin one.
    pub(crate) fn local<A: Family>(
        &mut self,
        scene: Scene,
        flow: &Flow<A>,
        packet: &mut Packet<'_>,
    ) -> Option<Result<Verdict, DropReason>> {
        let destination = flow.key.destination.into();
        let ping = match self.policy.ownership(destination)? {
            Ownership::Interface(_) | Ownership::Gateway(_) => true,
            // Where every protocol is translated, the host behind it answers.
            Ownership::Rule(id) => matches!(self.policy.rule(id).action, Action::PortForward(_)),
            Ownership::Pool(pool) => self.policy.pool(pool).ping,
        };
        let (protocol, port) = (flow.key.protocol, flow.key.destination_port);
        if let Some(service) = self.policy.service(destination, protocol, port) {
            if scene.in_pieces {
                return Some(Err(DropReason::FragmentUntranslated));
            }
            return Some(self.serve(scene, service, flow, packet));
        }
        // Every address answers on the link of its side: nobody outside learns those of the inside.
        let answers = ping && self.policy.answers_for(scene.ingress, destination);
        if flow.key.protocol == A::ICMP && flow.icmp_kind == A::ECHO_REQUEST && answers {
            if scene.in_pieces {
                return Some(Err(DropReason::FragmentUntranslated));
            }
            return Some(self.echo(scene, flow, packet));
        }
        // Not even a rule has a use for the address.
        self.policy.outside_of(destination).is_empty().then_some(Err(DropReason::NoService))
    }

    /// Turns a ping round, as often as the limit allows.
    fn echo<A: Family>(
        &mut self,
        scene: Scene,
        flow: &Flow<A>,
        packet: &mut Packet<'_>,
    ) -> Result<Verdict, DropReason> {
        if !self.echo_limit.allow(scene.now) {
            return Err(DropReason::RateLimited);
        }
        let own = self.links[usize::from(scene.ingress.0)].mac;
        A::reply(packet.bytes_mut(), flow.place, own)?;
        self.counters.originated += 1;
        Ok(Verdict::Tx(scene.ingress))
    }

    /// ARP or neighbor discovery.
    #[cold]
    pub(crate) fn neighbour(
        &mut self,
        scene: Scene,
        class: Class,
        packet: &Packet<'_>,
        outbox: &mut Outbox,
    ) -> Result<Verdict, DropReason> {
        let Scene { now, ingress, .. } = scene;
        let policy = &self.policy;
        let owned = |address: IpAddr| policy.answers_for(ingress, address);
        let outcome = match class {
            Class::Arp => self.neighbours.on_arp(ingress, packet.bytes(), now, owned, outbox),
            _ => self.neighbours.on_ndp(ingress, packet.bytes(), now, owned, outbox),
        };
        let read = match outcome {
            Outcome::Answered | Outcome::Learned => Ok(Verdict::Local),
            Outcome::Conflict(address) => {
                self.counters.conflicts += 1;
                self.neighbours.defend(ingress, address, now, outbox);
                Ok(Verdict::Local)
            }
            Outcome::Ignored(reason) => Err(reason.into()),
        };
        // What this worker has no use for may be for another one.
        match self.share.of() {
            1 => read,
            _ if scene.handed => Ok(Verdict::Local),
            _ => Ok(Verdict::ToAll),
        }
    }
}
