//! Neighbours: the machines on our links, and we as one of theirs. ARP (RFC 826, RFC 5227) and
//! neighbor discovery (RFC 4861): finds the MAC address of a next hop while its packets wait,
//! notices when it goes away, answers for the addresses that are ours, and announces them.
//!
//! Sans-I/O like the whole engine: frames and a [`Tick`] come in, frames for the [`Outbox`] go out.
//! A session holds a [`NextHopIndex`]; a neighbour that changes its MAC address changes it for all
//! of its sessions at once.
//!
//! Invariants: nothing is sent in the name of an address that is not ours, nothing is learned from
//! one who uses ours; an entry in use is never evicted; a held packet is released or dropped and
//! counted, once; no packet makes it allocate (taking up an address may).
//!
//! It knows no session, no rule and no route: which addresses are ours is asked of the caller, and
//! `owned` alone reads it from a policy.
//!
//! Where to read on: `life` has the states of an entry, `arp` and `ndp` the messages, `announce`
//! what we say unasked about addresses, `conflicts` who contradicts, `membership` the multicast groups
//! (MLDv2), `router` the router advertisements, `table` and `hold` the memory.

mod announce;
mod arp;
mod conflicts;
mod hold;
mod jitter;
mod life;
mod link;
mod membership;
mod ndp;
mod outcome;
mod owned;
mod queue;
mod router;
mod table;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use ipnet::IpNet;
use mooring_packet::Packet;
use mooring_policy::InterfaceId;
use mooring_session::{NextHopIndex, Tick};
use mooring_wire::Mac;

pub use self::announce::{ANNOUNCEMENTS, DEFEND_INTERVAL};
pub use self::conflicts::{CONFLICT_MEMORY, CONFLICTS, Conflict};
pub use self::hold::{HELD_IN_ALL, HELD_PER_NEIGHBOUR, HoldRefused};
pub use self::life::{FAILED_REST, MAX_SOLICITS, REACHABLE_TIME, RETRANSMIT, State};
pub use self::link::InterfaceLink;
pub use self::membership::ADDRESSES;
pub use self::ndp::is_neighbour_message;
pub use self::outcome::{EntryView, Ignored, Outcome, Role, Unreachable};
pub use self::table::L2;

use self::announce::Announcer;
use self::conflicts::Conflicts;
use self::hold::WaitingRoom;
use self::jitter::Jitter;
use self::life::{NEVER, Timers};
use self::membership::Memberships;
use self::router::Routers;
use self::table::{Key, Mark, Table};
use crate::outbox::Outbox;

/// The neighbours of one worker's interfaces.
#[derive(Debug)]
pub struct Neighbours {
    links: Box<[InterfaceLink]>,
    table: Table,
    timers: Timers,
    waiting: WaitingRoom,
    announcer: Announcer,
    conflicts: Conflicts,
    memberships: Memberships,
    routers: Routers,
    jitter: Jitter,
    role: Role,
    /// Who waited in vain since the last poll began.
    unreachable: Vec<Unreachable>,
}

impl Neighbours {
    /// An empty table of `capacity` entries for the interfaces `links`, in the order of their
    /// `InterfaceId`. Random delays come from `seed`. Takes all memory that it will ever need.
    ///
    /// # Panics
    /// If `capacity` is above 65,535: an index has 16 bits.
    #[must_use]
    pub fn new(links: &[InterfaceLink], capacity: usize, seed: [u8; 32]) -> Self {
        let capacity = u16::try_from(capacity).expect("an index of a neighbour has 16 bits");
        Self {
            links: links.into(),
            table: Table::new(capacity, jitter::table_hash(seed)),
            timers: Timers::new(capacity),
            waiting: WaitingRoom::new(),
            announcer: Announcer::new(),
            conflicts: Conflicts::new(),
            memberships: Memberships::new(links),
            routers: Routers::new(links),
            jitter: Jitter::new(seed),
            role: Role::Speaker,
            unreachable: Vec::with_capacity(usize::from(HELD_IN_ALL)),
        }
    }

    /// The same with another role than [`Role::Speaker`], before its first use.
    #[must_use]
    pub fn with_role(mut self, role: Role) -> Self {
        self.role = role;
        self
    }

    /// Takes the links off the wire, for a replay: from now on nothing is said unasked, and on a link
    /// with a peer every new neighbour has that MAC address and is never asked for it.
    pub fn go_offline(&mut self, peers: &[Option<Mac>]) {
        self.announcer.silence();
        self.memberships.silence();
        self.routers.silence();
        for (link, peer) in self.links.iter_mut().zip(peers) {
            link.fixed_peer = *peer;
        }
    }

    /// Packets on `interface` may have `mtu` bytes now: what the next router advertisement tells.
    pub fn set_mtu(&mut self, interface: InterfaceId, mtu: u16) {
        if let Some(link) = self.links.get_mut(usize::from(interface.0)) {
            link.mtu = mtu;
        }
    }

    /// Our own addresses on `interface` are these now: what questions are asked from, and the prefixes
    /// that hosts are told.
    pub fn set_addresses(&mut self, interface: InterfaceId, addresses: &[IpNet]) {
        if let Some(link) = self.links.get_mut(usize::from(interface.0)) {
            link.addresses = addresses.to_vec();
        }
    }

    /// Finds or creates the entry of `address` on `interface` and counts one user; every user calls
    /// [`Self::release`] once. Asks nobody yet. `None` when the address names no single machine, or
    /// when all entries are in use (idle ones are evicted first, the longest idle first).
    #[inline]
    pub fn acquire(
        &mut self,
        interface: InterfaceId,
        address: IpAddr,
        now: Tick,
    ) -> Option<NextHopIndex> {
        let key = Key { interface, address };
        match self.table.join_latest(&key) {
            Some(slot) => Some(NextHopIndex(slot)),
            None => self.acquire_another(key, now),
        }
    }

    /// The same of any neighbour.
    #[inline(never)]
    fn acquire_another(&mut self, key: Key, now: Tick) -> Option<NextHopIndex> {
        let slot = self.find_or_insert(key, now)?;
        let entry = self.table.entry_mut(slot);
        entry.users += 1;
        if entry.users == 1 {
            self.table.refile(slot);
        }
        Some(NextHopIndex(slot))
    }

    /// As [`Self::acquire`], for what somebody outside begins. He brings nobody into use once three
    /// quarters of the entries are in use, by whomever: a flood of forged senders, or through a static
    /// prefix, leaves a quarter to what hosts inside need. More users of who is in use he may be.
    pub fn acquire_for_others(
        &mut self,
        interface: InterfaceId,
        address: IpAddr,
        now: Tick,
    ) -> Option<NextHopIndex> {
        let key = Key { interface, address };
        if let Some(slot) = self.table.join_latest(&key) {
            return Some(NextHopIndex(slot));
        }
        let known = self.table.find(&key);
        let used = known.is_some_and(|slot| self.table.is_in_use(slot));
        if !used && !self.table.has_room_for_others() {
            return None;
        }
        self.acquire_another(key, now)
    }

    /// Counts one user less. What an idle entry knows is kept until its room is needed.
    ///
    /// # Panics
    /// If `hop` is beyond the table: only [`Self::acquire`] makes one.
    pub fn release(&mut self, hop: NextHopIndex) {
        let entry = self.table.entry_mut(hop.0);
        if entry.state == State::Vacant {
            return;
        }
        entry.users = entry.users.saturating_sub(1);
        self.table.refile(hop.0);
        self.forget_if_worthless(hop.0);
    }

    /// The way to the neighbour, for a packet that is about to leave: `None` while its address is
    /// not known. Two loads and a compare; the first use in a while also stores.
    #[inline]
    pub fn resolved(&mut self, hop: NextHopIndex) -> Option<&L2> {
        let (l2, mark) = self.table.header_mut(hop.0)?;
        match *mark {
            Mark::Used => {}
            Mark::Unused => *mark = Mark::Used,
            Mark::Asleep => {
                *mark = Mark::Used;
                self.timers.wake(hop.0);
            }
            Mark::Unresolved => return None,
        }
        Some(l2)
    }

    /// As [`Self::resolved`], of a neighbour that is in use: `None` says nothing.
    #[inline(always)]
    pub(crate) fn in_use(&self, hop: NextHopIndex) -> Option<&L2> {
        self.table.header_in_use(hop.0)
    }

    /// Lets a packet wait that [`Self::resolved`] had no way for, and asks for the neighbour. The
    /// first 14 bytes of the packet are overwritten when it leaves.
    ///
    /// # Errors
    /// [`HoldRefused`] when the packet has to be dropped instead.
    ///
    /// # Panics
    /// If `hop` is beyond the table: only [`Self::acquire`] makes one.
    pub fn hold(
        &mut self,
        hop: NextHopIndex,
        packet: &Packet<'_>,
        now: Tick,
        outbox: &mut Outbox,
    ) -> Result<(), HoldRefused> {
        if !self.resolve(hop.0, now, outbox) {
            return Err(HoldRefused::Unreachable);
        }
        let held = &mut self.table.entry_mut(hop.0).held;
        if !self.waiting.has_room(*held) {
            return Err(HoldRefused::QueueFull);
        }
        let copy = outbox.copy(packet).ok_or(HoldRefused::NoBuffer)?;
        if let Err(copy) = self.waiting.push(held, copy) {
            outbox.discard(copy);
            return Err(HoldRefused::QueueFull);
        }
        if self.table.mac(hop.0).is_some() {
            self.release_held(hop.0, outbox);
        }
        Ok(())
    }

    /// Does what is due: asks again, gives up, probes, announces. At most [`WORK_PER_POLL`] timers
    /// and as many announcements a call; one compare when nothing is due. Returns how many packets were
    /// dropped because their neighbour did not answer.
    #[inline]
    pub fn poll(&mut self, now: Tick, outbox: &mut Outbox) -> u64 {
        if now < self.timers.alarm {
            return 0;
        }
        self.poll_due(now, outbox)
    }

    /// A packet that the last poll gave up because its neighbour does not answer: its sender may be
    /// told (RFC 1812 §5.2.7.1). The next poll discards those that are left.
    pub fn next_unreachable(&mut self) -> Option<Unreachable> {
        self.unreachable.pop()
    }

    /// The interface by which packets for `hop` leave.
    ///
    /// # Panics
    /// If `hop` is beyond the table: only [`Self::acquire`] makes one.
    #[inline]
    #[must_use]
    pub fn egress(&self, hop: NextHopIndex) -> InterfaceId {
        self.table.egress(hop.0)
    }

    /// When [`Self::poll`] has something to do next, at the earliest.
    #[inline]
    #[must_use]
    pub fn next_deadline(&self) -> Option<Tick> {
        (self.timers.alarm != NEVER).then_some(self.timers.alarm)
    }

    /// All entries.
    pub fn entries(&self) -> impl Iterator<Item = EntryView> {
        self.page(0, u32::MAX).0
    }

    /// The entries among at most `slots` slots from number `start` on, and the number to go on
    /// from; `None` after the last. For `show neighbors`.
    pub fn page(&self, start: u32, slots: u32) -> (impl Iterator<Item = EntryView>, Option<u32>) {
        let capacity = self.table.capacity();
        let end = start.saturating_add(slots).min(capacity);
        let views = self.table.occupied(start.min(end)..end).map(|slot| {
            let entry = self.table.entry(slot);
            EntryView {
                interface: entry.key.interface,
                address: entry.key.address,
                mac: self.table.mac(slot),
                state: entry.state,
                held: entry.held.len(),
                users: entry.users,
                since: entry.since,
            }
        });
        (views, (end < capacity).then_some(end))
    }

    /// The slot of `key`, made if need be and if there is room. A new one is idle.
    fn find_or_insert(&mut self, key: Key, now: Tick) -> Option<u16> {
        if let Some(slot) = self.table.find_again(&key) {
            return Some(slot);
        }
        let link = self.links.get(usize::from(key.interface.0))?;
        if !names_one_machine(key.address) {
            return None;
        }
        let (source, peer) = (link.mac, link.fixed_peer);
        if self.table.is_full() {
            let evicted = self.table.longest_idle()?;
            self.forget(evicted);
        }
        let slot = self.table.insert(key, source, now)?;
        if let Some(mac) = peer {
            self.table.set_mac(slot, mac);
            self.table.set_mark(slot, Mark::Used);
            self.table.entry_mut(slot).state = State::Permanent;
        }
        Some(slot)
    }

    #[cold]
    fn poll_due(&mut self, now: Tick, outbox: &mut Outbox) -> u64 {
        self.unreachable.drain(..).for_each(|waited| outbox.discard(waited.packet));
        self.speak(now, outbox);
        let mut dropped = 0;
        for _ in 0..WORK_PER_POLL {
            let Some(now_dropped) = self.step(now, outbox) else { break };
            dropped += now_dropped;
        }
        let spoken = self.announcer.next_due().min(self.memberships.next_due());
        self.timers.alarm = self.first_timer().min(spoken).min(self.routers.next_due());
        if !self.unreachable.is_empty() {
            self.timers.alarm = Tick::ZERO;
        }
        dropped
    }

    /// Says what is due unasked. Groups are joined before an address in them is probed for (RFC 4862
    /// §5.4.2).
    fn speak(&mut self, now: Tick, outbox: &mut Outbox) {
        let mut budget = 0..WORK_PER_POLL;
        while budget.next().is_some()
            && self.memberships.step(&self.links, &mut self.jitter, now, outbox)
        {}
        let mut budget = 0..WORK_PER_POLL;
        while budget.next().is_some()
            && self.announcer.step(&self.links, &self.conflicts, now, outbox)
        {}
        let mut budget = 0..WORK_PER_POLL;
        while budget.next().is_some()
            && self.routers.step(&self.links, &mut self.jitter, now, outbox)
        {}
    }
}

/// True unless the address is a group's, everybody's, nobody's or the host's own.
fn names_one_machine(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            !(address.is_unspecified()
                || address.is_multicast()
                || address.is_broadcast()
                || address.is_loopback())
        }
        IpAddr::V6(address) => {
            !(address.is_unspecified() || address.is_multicast() || address.is_loopback())
        }
    }
}

/// The most timers (and the most announcements) that one poll works off; the rest is due at the
/// next one.
pub const WORK_PER_POLL: usize = 64;
