//! What a policy owns, taken up at the start and followed through its changes. Everything else in
//! this module asks the caller whether an address is ours; this alone reads the policy.

use std::net::IpAddr;

use mooring_policy::{Given, InterfaceId, Policy};
use mooring_session::Tick;
use mooring_wire::ethernet::HEADER_LEN;
use mooring_wire::ipv4::Ipv4;
use mooring_wire::ipv6::Ipv6;

use super::Neighbours;
use crate::outbox::Outbox;

impl Neighbours {
    /// Takes up all that `policy` owns: announces addresses, listens for those of large pools too, and
    /// advertises us as a router where that is wanted.
    pub fn take_up(&mut self, policy: &Policy, now: Tick) {
        for (interface, address) in policy.announced() {
            self.announce(interface, address, now);
        }
        self.listen_for_all(policy, now);
        for (index, interface) in policy.interfaces.iter().enumerate() {
            if interface.router_advertisements && policy.holds_any() {
                self.advertise_router(InterfaceId(index as u8), now);
            }
        }
    }

    /// Follows a change of the policy, whose interfaces are the same: lets go of what it does not own
    /// any more, takes up what is new, and leaves the rest in peace. Gives the number of waiting packets
    /// that were dropped: those from addresses that are not held any more.
    pub fn change_policy(
        &mut self,
        (from, to): (&Policy, &Policy),
        now: Tick,
        outbox: &mut Outbox,
    ) -> u64 {
        let lost = |(id, address): &(InterfaceId, IpAddr)| !to.answers_for(*id, *address);
        for (interface, address) in from.announced().filter(lost) {
            self.withdraw(interface, address, now);
        }
        let gone = |given: Given<'_>| given.standing.is_held() && !to.is_held(given.address);
        let dropped = match from.given().any(gone) {
            true => self.drop_waiting(|source| !to.is_held(source), outbox),
            false => 0,
        };
        for (interface, address) in self.memberships.listened_for() {
            let is_made = self.links[usize::from(interface.0)].link_local() == address;
            if !is_made && !to.answers_for(interface, address.into()) {
                self.withdraw(interface, address.into(), now);
            }
        }
        let new = |(id, address): &(InterfaceId, IpAddr)| !from.answers_for(*id, *address);
        for (interface, address) in to.announced().filter(new) {
            self.announce(interface, address, now);
        }
        self.listen_for_all(to, now);
        for (index, interface) in to.interfaces.iter().enumerate() {
            let id = InterfaceId(index as u8);
            self.set_addresses(id, &interface.addresses);
            let before = from.interfaces[index].router_advertisements && from.holds_any();
            match (before, interface.router_advertisements && to.holds_any()) {
                (false, true) => self.advertise_router(id, now),
                (true, false) => self.retire_router(id, now, outbox),
                _ => {}
            }
        }
        dropped
    }

    /// Drops the packets that wait for a neighbour and have such a source: translated, they would leave
    /// up to three seconds later.
    fn drop_waiting(&mut self, unwanted: impl Fn(IpAddr) -> bool, outbox: &mut Outbox) -> u64 {
        let mut dropped = 0;
        for slot in 0..self.table.capacity() as u16 {
            let waiting = self.table.entry(slot).held.len();
            for _ in 0..waiting {
                let chain = &mut self.table.entry_mut(slot).held;
                let Some(packet) = self.waiting.pop(chain) else { break };
                let goes = source(packet.bytes()).is_none_or(&unwanted);
                let back = if goes { Err(packet) } else { self.waiting.push(chain, packet) };
                if let Err(packet) = back {
                    outbox.discard(packet);
                    dropped += 1;
                }
            }
            if waiting > 0 {
                self.table.refile(slot);
            }
        }
        dropped
    }

    fn listen_for_all(&mut self, policy: &Policy, now: Tick) {
        let v6 = policy.addresses().filter_map(|(interface, address)| match address {
            IpAddr::V6(address) => Some((interface, address)),
            IpAddr::V4(_) => None,
        });
        for (interface, address) in v6 {
            // A pool may have more addresses than anybody can listen for one by one.
            if !self.listen_for(interface, address, now) {
                return;
            }
        }
    }
}

/// The source of the IP packet in a frame.
fn source(frame: &[u8]) -> Option<IpAddr> {
    let packet = frame.get(HEADER_LEN..)?;
    match packet.first()? >> 4 {
        4 => Ipv4::parse(packet).map(|ip| ip.source().into()).ok(),
        _ => Ipv6::parse(packet).map(|ip| ip.source().into()).ok(),
    }
}
