//! Packets that are for us: pings of our addresses, what neighbours say, and what nothing of ours
//! wants.

use std::net::IpAddr;

use mooring_nat::HAIRPIN_INTERFACE;
use mooring_packet::Packet;
use mooring_policy::{Access, Action, Hop, InterfaceId, Ownership, ServiceId};
use mooring_session::FlowKey;

use crate::classify::{Class, Flow};
use crate::family::Family;
use crate::neighbours::Outcome;
use crate::outbox::Outbox;
use crate::walk::Scene;
use crate::{DropReason, Engine, Verdict};

/// What of ours a packet is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ours {
    /// The port of a service.
    Service(ServiceId),
    /// Whoever answers pings.
    Echo,
}

impl Engine {
    /// What the addresses of a packet without a session decide alone: what of ours it is for, or why
    /// nobody gets it; `Ok(None)` leaves it to the rules. The walk acts on it, and `explain` tells it.
    ///
    /// # Errors
    /// When no packet on a link may have such addresses, it is the kernel's, the address is one of the
    /// other side's, or the answer of a service would not go back where the packet came from.
    pub(crate) fn ours<A: Family>(
        &self,
        ingress: InterfaceId,
        key: &FlowKey<A>,
        is_echo: bool,
    ) -> Result<Option<Ours>, DropReason> {
        let (source, destination) = (key.source, key.destination);
        if source.is_martian() || destination.is_martian() {
            return Err(DropReason::Martian);
        }
        // Behind the first half of a hairpin nothing but rules is asked.
        let owner = A::nat(&self.nats).receiver(destination, &self.policy).ownership();
        if owner.is_some() && !self.policy.is_held(destination.into()) {
            return Err(DropReason::AddressNotHeld);
        }
        if let Some(owner) = owner.filter(|_| ingress != HAIRPIN_INTERFACE)
            && let Some(ours) = self.ours_at(ingress, owner, key, is_echo)?
        {
            return Ok(Some(ours));
        }
        if source.stays_on_link() || destination.stays_on_link() {
            return Err(DropReason::Martian);
        }
        if owner.is_none() && self.is_the_kernels(destination.into()) {
            return Err(DropReason::KernelAddress);
        }
        Ok(None)
    }

    /// As [`Engine::ours`], for a packet to an address that `owner` has.
    fn ours_at<A: Family>(
        &self,
        ingress: InterfaceId,
        owner: Ownership,
        key: &FlowKey<A>,
        is_echo: bool,
    ) -> Result<Option<Ours>, DropReason> {
        let (source, destination) = (key.source.into(), key.destination.into());
        let of_a_link = matches!(owner, Ownership::Interface(_) | Ownership::Gateway(_));
        // Every address answers on the link of its side: nobody outside learns those of the inside.
        let answers = || self.policy.answers_for(ingress, destination);
        if let Some(service) = self.policy.service(destination, key.protocol, key.destination_port)
        {
            if of_a_link && !answers() {
                return Err(DropReason::NoService);
            }
            // The answer is to go back where the packet came from (RFC 3704 §2.2).
            let back = self.policy.route(source).ok_or(DropReason::NoRoute)?;
            if back.interface != ingress || self.policy.ownership(source).is_some() {
                return Err(DropReason::SpoofedSource);
            }
            return Ok(Some(Ours::Service(service)));
        }
        if is_echo && self.pings(owner) && answers() {
            // A source that is not where the address is outside is forged (RFC 2827). Who has a session
            // of it says so; every worker has to.
            let elsewhere = |way: Hop| !self.policy.outside_of(destination).contains(way.interface);
            if !of_a_link && self.policy.route(source).is_some_and(elsewhere) {
                return Err(DropReason::SpoofedSource);
            }
            let list = self.list_of(owner);
            return match list.is_none_or(|list| list.of(source).allowed) {
                true => Ok(Some(Ours::Echo)),
                false => Err(DropReason::Denied),
            };
        }
        // Not even a rule has a use for the address.
        match self.policy.outside_of(destination).is_empty() {
            true => Err(DropReason::NoService),
            false => Ok(None),
        }
    }

    /// Whether it is us who answers a ping of an address of this owner.
    pub(crate) fn pings(&self, owner: Ownership) -> bool {
        match owner {
            Ownership::Interface(_) | Ownership::Gateway(_) => true,
            // Where every protocol is translated, the host behind it answers.
            Ownership::Rule(id) => matches!(self.policy.rule(id).action, Action::PortForward(_)),
            Ownership::Pool(pool) => self.policy.pool(pool).ping,
        }
    }

    /// The list of who may ping an address of this owner.
    pub(crate) fn list_of(&self, owner: Ownership) -> Option<&Access> {
        match owner {
            Ownership::Pool(pool) => Some(&self.policy.pool(pool).access),
            Ownership::Rule(rule) => Some(&self.policy.rule(rule).access),
            Ownership::Interface(_) | Ownership::Gateway(_) => None,
        }
    }

    /// A packet for us: answered, or given to its service.
    pub(crate) fn local<A: Family>(
        &mut self,
        scene: Scene,
        ours: Ours,
        flow: &Flow<A>,
        packet: &mut Packet<'_>,
    ) -> Result<Verdict, DropReason> {
        if scene.in_pieces {
            return Err(DropReason::FragmentUntranslated);
        }
        match ours {
            Ours::Service(service) => Ok(self.serve(scene, service, flow, packet)),
            Ours::Echo => self.echo(scene, flow, packet),
        }
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
                // Where others say whose the address is, they are asked before we insist.
                if !self.policy.is_given_addresses() {
                    self.neighbours.defend(ingress, address, now, outbox);
                }
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
