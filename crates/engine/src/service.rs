//! Services of our own: packets that go to them, and what they send. They live beside the engine; the
//! worker carries packets between the two.

use std::net::IpAddr;

use mooring_packet::{Offload, Packet};
use mooring_policy::ServiceId;
use mooring_session::Tick;
use mooring_wire::ethernet::HEADER_LEN;
use mooring_wire::ipv4::Ipv4;
use mooring_wire::ipv6::Ipv6;

use crate::classify::Flow;
use crate::family::Family;
use crate::outbox::Outbox;
use crate::walk::Scene;
use crate::{DropReason, Engine, Verdict};

impl Engine {
    /// A packet to the port of a service: to be given to it, from the IP header to its end.
    pub(crate) fn serve<A: Family>(
        &self,
        scene: Scene,
        service: ServiceId,
        flow: &Flow<A>,
        packet: &mut Packet<'_>,
    ) -> Verdict {
        if let Some(other) = self.other_owner(scene, || 0) {
            return Verdict::HandOver(other);
        }
        packet.truncate(HEADER_LEN + flow.ip_len as usize);
        Verdict::Service(service)
    }

    /// Sends an IP packet that a service of ours has written: puts it into the outbox, or lets it wait
    /// for its next hop. What `offload` says counts from the start of a frame, [`HEADER_LEN`] bytes in
    /// front of the packet.
    ///
    /// # Errors
    /// Why it is not sent: its source is not the address of a service, no route leads to its
    /// destination, it is longer than the link carries, or there is no room.
    pub fn send_ip(
        &mut self,
        now: Tick,
        packet: &[u8],
        offload: Offload,
        outbox: &mut Outbox,
    ) -> Result<(), DropReason> {
        let (source, destination): (IpAddr, IpAddr) =
            match packet.first().map(|first| first >> 4) {
                Some(4) => {
                    Ipv4::parse(packet).map(|ip| (ip.source().into(), ip.destination().into()))
                }
                _ => Ipv6::parse(packet).map(|ip| (ip.source().into(), ip.destination().into())),
            }
            .map_err(|_| DropReason::Malformed)?;
        if self.policy.services.iter().all(|service| service.address != source) {
            return Err(DropReason::SpoofedSource);
        }
        if !self.policy.is_held(source) {
            return Err(DropReason::AddressNotHeld);
        }
        if self.policy.ownership(destination).is_some() {
            return Err(DropReason::NoRoute);
        }
        let hop = self.policy.route(destination).ok_or(DropReason::NoRoute)?;
        let mtu = self.mtu(hop.interface).ok_or(DropReason::NoRoute)?;
        if !offload.is_gso() && packet.len() > usize::from(mtu) {
            return Err(DropReason::TooBig);
        }
        let mut owned =
            outbox.compose(HEADER_LEN + packet.len()).ok_or(DropReason::NeighborUnresolved)?;
        owned.bytes_mut()[HEADER_LEN..].copy_from_slice(packet);
        owned.offload = offload;
        let Some(next_hop) = self.neighbours.acquire(hop.interface, hop.next_hop, now) else {
            outbox.discard(owned);
            return Err(DropReason::NeighborTableFull);
        };
        let left = self.leave_owned(now, next_hop, owned, outbox);
        self.neighbours.release(next_hop);
        self.counters.originated += u64::from(left.is_ok());
        left
    }
}
