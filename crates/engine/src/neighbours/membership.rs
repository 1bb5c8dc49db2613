//! The multicast groups that we listen to, and what we tell about them (MLDv2, RFC 3810).
//!
//! Neighbor solicitations for an address go to the group of its last three bytes. A network card
//! passes only the groups that were asked of it (see [`Neighbours::groups`]), and a switch that snoops
//! only those that were reported. We report joining and leaving twice, and answer who asks.
//!
//! Memory is taken when an address is taken up, never by a packet. It knows no rule and no pool.

use std::net::Ipv6Addr;
use std::time::Duration;

use arrayvec::ArrayVec;
use mooring_policy::InterfaceId;
use mooring_session::Tick;
use mooring_wire::Mac;
use mooring_wire::ethernet::{self, EtherType};
use mooring_wire::mld::{
    ALL_REPORT_ROUTERS, MAX_RECORDS, Record, RecordKind, emit_report, report_len,
};
use mooring_wire::ndp::solicited_node_group;
use mooring_wire::router::ALL_NODES;

use super::jitter::Jitter;
use super::life::NEVER;
use super::{InterfaceLink, Neighbours, Role};
use crate::outbox::Outbox;

/// The groups of all interfaces.
#[derive(Debug)]
pub(super) struct Memberships {
    links: Box<[Listening]>,
    /// The earliest of all deadlines.
    next: Tick,
    silent: bool,
}

/// What is listened to on one interface.
#[derive(Clone, Debug, Default)]
struct Listening {
    /// Whose solicitations we want to hear; in order.
    addresses: Vec<Ipv6Addr>,
    groups: Vec<Group>,
    /// There are more addresses than groups are kept for.
    too_many: bool,
}

#[derive(Clone, Copy, Debug)]
struct Group {
    address: Ipv6Addr,
    /// Reasons to listen; without one it stays until its end has been reported.
    users: u32,
    /// Reports of the last change that are still to be sent.
    changes_left: u8,
    change_due: Tick,
    /// When somebody who asked gets an answer; [`NEVER`] when nobody did.
    answer_due: Tick,
}

impl Neighbours {
    /// Listens to solicitations for `address` of ours (and for our link-local address) without
    /// announcing it: for the addresses of a large pool. [`Neighbours::announce`] does it unasked;
    /// [`Neighbours::withdraw`] ends both. False when [`ADDRESSES`] are listened for already.
    pub fn listen_for(&mut self, interface: InterfaceId, address: Ipv6Addr, now: Tick) -> bool {
        let Some(link) = self.links.get(usize::from(interface.0)) else { return false };
        if self.role == Role::Listener {
            return true;
        }
        let link_local = link.link_local();
        let joined = self.memberships.listen_for(interface, link_local, now)
            && self.memberships.listen_for(interface, address, now);
        self.timers.at(self.memberships.next);
        joined
    }

    /// The multicast MAC addresses that the ports have to receive, each with its interface; none for
    /// an interface without IPv6 addresses. It changes when an address is taken up or withdrawn.
    pub fn groups(&self) -> impl Iterator<Item = (InterfaceId, Mac)> {
        self.memberships.links.iter().enumerate().flat_map(|(index, listening)| {
            let all_nodes = (!listening.groups.is_empty()).then_some(ALL_NODES);
            let joined = listening.groups.iter().filter(|group| group.users > 0);
            let groups = all_nodes.into_iter().chain(joined.map(|group| group.address));
            groups.map(move |group| (InterfaceId(index as u8), Mac::multicast_v6(group)))
        })
    }

    /// Whether [`Neighbours::groups`] is not all of them, so that the port has to receive every
    /// multicast frame. Behind a switch that snoops, the rest is not heard even so.
    #[must_use]
    pub fn needs_all_groups(&self, interface: InterfaceId) -> bool {
        let listening = self.memberships.links.get(usize::from(interface.0));
        listening.is_some_and(|listening| listening.too_many)
    }
}

impl Memberships {
    pub(super) fn new(links: &[InterfaceLink]) -> Self {
        let links = vec![Listening::default(); links.len()].into();
        Self { links, next: NEVER, silent: false }
    }

    /// All addresses that are listened for.
    pub(super) fn listened_for(&self) -> Vec<(InterfaceId, Ipv6Addr)> {
        let links = self.links.iter().enumerate();
        links
            .flat_map(|(index, listening)| {
                let id = InterfaceId(index as u8);
                listening.addresses.iter().map(move |address| (id, *address))
            })
            .collect()
    }

    /// Reports nothing from now on.
    pub(super) fn silence(&mut self) {
        self.silent = true;
        self.next = NEVER;
    }

    /// Stops listening to solicitations for `address`.
    pub(super) fn forget(&mut self, interface: InterfaceId, address: Ipv6Addr, now: Tick) {
        let Some(listening) = self.links.get_mut(usize::from(interface.0)) else { return };
        let Ok(place) = listening.addresses.binary_search(&address) else { return };
        listening.addresses.remove(place);
        self.leave(interface, solicited_node_group(address), now);
    }

    /// Counts one reason more to listen to `group`. The first one is reported at once.
    pub(super) fn join(&mut self, interface: InterfaceId, group: Ipv6Addr, now: Tick) {
        let Some(listening) = self.links.get_mut(usize::from(interface.0)) else { return };
        match listening.groups.iter_mut().find(|known| known.address == group) {
            Some(known) => {
                known.users += 1;
                if known.users > 1 {
                    return;
                }
                known.report_change(now);
            }
            None => listening.groups.push(Group::joined(group, now)),
        }
        self.due_at(now);
    }

    /// Counts one reason less to listen to `group`. The last one is reported at once.
    pub(super) fn leave(&mut self, interface: InterfaceId, group: Ipv6Addr, now: Tick) {
        let Some(listening) = self.links.get_mut(usize::from(interface.0)) else { return };
        let mut groups = listening.groups.iter_mut();
        let Some(known) = groups.find(|known| known.address == group && known.users > 0) else {
            return;
        };
        known.users -= 1;
        if known.users == 0 {
            known.report_change(now);
            self.due_at(now);
        }
    }

    /// Somebody asks who listens to `group`, or to any, and is to be told at `due` (RFC 3810 §6.2).
    /// True when it concerns a group of ours. A query for certain sources is answered as one for the
    /// group: we listen to all of them.
    pub(super) fn asked(
        &mut self,
        interface: InterfaceId,
        group: Option<Ipv6Addr>,
        due: Tick,
    ) -> bool {
        let Some(listening) = self.links.get_mut(usize::from(interface.0)) else { return false };
        if self.silent {
            return false;
        }
        let asked = |known: &&mut Group| {
            known.users > 0 && group.is_none_or(|group| group == known.address)
        };
        let mut concerns_us = false;
        for known in listening.groups.iter_mut().filter(asked) {
            known.answer_due = known.answer_due.min(due);
            concerns_us = true;
        }
        if concerns_us {
            self.due_at(due);
        }
        concerns_us
    }

    /// Sends one report that is due. False when none is, or when no buffer is free: it stays due
    /// then.
    pub(super) fn step(
        &mut self,
        links: &[InterfaceLink],
        jitter: &mut Jitter,
        now: Tick,
        outbox: &mut Outbox,
    ) -> bool {
        if now < self.next {
            return false;
        }
        let is_due = |listening: &Listening| listening.next() <= now;
        let Some(index) = self.links.iter().position(is_due) else {
            self.next = self.links.iter().map(Listening::next).min().unwrap_or(NEVER);
            return false;
        };
        let groups = &mut self.links[index].groups;
        let records: ArrayVec<Record, MAX_RECORDS> =
            groups.iter().filter_map(|group| group.record(now)).take(MAX_RECORDS).collect();
        if !report(&links[index], InterfaceId(index as u8), &records, outbox) {
            return false;
        }
        // All of a report are repeated together.
        let again = now + jitter.between(Duration::ZERO, UNSOLICITED_REPORT_INTERVAL);
        let told = groups.iter_mut().filter(|group| group.record(now).is_some());
        told.take(MAX_RECORDS).for_each(|group| group.told(now, again));
        groups.retain(|group| group.users > 0 || group.changes_left > 0);
        true
    }

    /// The earliest of all deadlines.
    pub(super) fn next_due(&self) -> Tick {
        self.next
    }

    fn listen_for(&mut self, interface: InterfaceId, address: Ipv6Addr, now: Tick) -> bool {
        let listening = &mut self.links[usize::from(interface.0)];
        let Err(place) = listening.addresses.binary_search(&address) else { return true };
        if listening.addresses.len() >= ADDRESSES {
            listening.too_many = true;
            return false;
        }
        listening.addresses.insert(place, address);
        self.join(interface, solicited_node_group(address), now);
        true
    }

    fn due_at(&mut self, due: Tick) {
        if !self.silent {
            self.next = self.next.min(due);
        }
    }
}

impl Listening {
    fn next(&self) -> Tick {
        self.groups.iter().map(Group::next).min().unwrap_or(NEVER)
    }
}

impl Group {
    fn joined(address: Ipv6Addr, now: Tick) -> Self {
        let changes_left = ROBUSTNESS;
        Self { address, users: 1, changes_left, change_due: now, answer_due: NEVER }
    }

    fn report_change(&mut self, now: Tick) {
        self.changes_left = ROBUSTNESS;
        self.change_due = now;
        self.answer_due = NEVER;
    }

    /// What is to be said of the group now.
    fn record(&self, now: Tick) -> Option<Record> {
        let changed = self.changes_left > 0 && self.change_due <= now;
        let kind = match (changed, self.users > 0) {
            (true, true) => RecordKind::ToExclude,
            (true, false) => RecordKind::ToInclude,
            (false, _) if self.answer_due <= now => RecordKind::IsExclude,
            (false, _) => return None,
        };
        Some(Record { kind, group: self.address })
    }

    /// It was said; a change is said again at `again`.
    fn told(&mut self, now: Tick, again: Tick) {
        if self.changes_left > 0 && self.change_due <= now {
            self.changes_left -= 1;
            self.change_due = again;
        }
        // That we listen is what an answer would say.
        if self.answer_due <= now {
            self.answer_due = NEVER;
        }
    }

    fn next(&self) -> Tick {
        let change = if self.changes_left > 0 { self.change_due } else { NEVER };
        change.min(self.answer_due)
    }
}

fn report(
    link: &InterfaceLink,
    interface: InterfaceId,
    records: &[Record],
    outbox: &mut Outbox,
) -> bool {
    let len = ethernet::HEADER_LEN + report_len(records.len());
    outbox.originate(interface, len, |frame| {
        let (header, packet) = frame.split_at_mut(ethernet::HEADER_LEN);
        let to = Mac::multicast_v6(ALL_REPORT_ROUTERS);
        ethernet::emit(header, to, link.mac, EtherType::IPV6);
        emit_report(packet, link.link_local(), records);
    })
}

/// Addresses of one interface that are listened for one by one.
pub const ADDRESSES: usize = 4_096;

/// How often a change is reported: Robustness Variable of RFC 3810 §9.1.
pub(super) const ROBUSTNESS: u8 = 2;

/// Within which a change is repeated: RFC 3810 §9.11.
pub(super) const UNSOLICITED_REPORT_INTERVAL: Duration = Duration::from_secs(1);
