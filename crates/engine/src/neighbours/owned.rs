//! What a policy owns, taken up at the start and followed through its changes. Everything else in
//! this module asks the caller whether an address is ours; this alone reads the policy.

use std::net::IpAddr;

use mooring_policy::{InterfaceId, Policy};
use mooring_session::Tick;

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
            if interface.router_advertisements {
                self.advertise_router(InterfaceId(index as u8), now);
            }
        }
    }

    /// Follows a change of the policy, whose interfaces are the same: lets go of what it does not own
    /// any more, takes up what is new, and leaves the rest in peace.
    pub fn change_policy(
        &mut self,
        (from, to): (&Policy, &Policy),
        now: Tick,
        outbox: &mut Outbox,
    ) {
        let lost = |(id, address): &(InterfaceId, IpAddr)| !to.answers_for(*id, *address);
        for (interface, address) in from.announced().filter(lost) {
            self.withdraw(interface, address, now);
        }
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
            match (from.interfaces[index].router_advertisements, interface.router_advertisements) {
                (false, true) => self.advertise_router(id, now),
                (true, false) => self.retire_router(id, now, outbox),
                _ => {}
            }
        }
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
