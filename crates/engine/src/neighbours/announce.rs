//! What we say unasked: that an address is ours now, and that it still is. With the first word goes
//! the question whether it is anybody else's.
//!
//! An announcement is repeated by a fixed schedule, in case the first is lost or a switch is still
//! learning. Every repetition waits equally long, so each stage of the schedule is a queue in order
//! of time. Bounded: no memory is taken after the start.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use mooring_policy::InterfaceId;
use mooring_session::Tick;

use super::conflicts::Conflicts;
use super::life::NEVER;
use super::{InterfaceLink, Neighbours, Role, arp, ndp};
use crate::outbox::Outbox;

/// Announcements under way, and the defences of the last seconds.
#[derive(Debug)]
pub(super) struct Announcer {
    /// Waiting for their first, second, third frame.
    stages: [VecDeque<Announcement>; SCHEDULE.len()],
    /// In order of time.
    defended: VecDeque<Announcement>,
    /// Nobody is there to listen: nothing is announced.
    silent: bool,
}

#[derive(Clone, Copy, Debug)]
struct Announcement {
    interface: InterfaceId,
    address: IpAddr,
    /// When the next frame leaves; of a defence: when the next one may.
    due: Tick,
}

impl Neighbours {
    /// Takes `address` up: tells the link that it is ours at the next poll, 100 ms and 1 s later, asks
    /// whether anybody else uses it, and listens to its solicited-node group. Without waiting for
    /// answers: one who contradicts is a [`Conflict`](super::Conflict). False when nothing is
    /// announced: [`ANNOUNCEMENTS`] are under way already, or [`Neighbours::go_offline`] was called.
    pub fn announce(&mut self, interface: InterfaceId, address: IpAddr, now: Tick) -> bool {
        if let IpAddr::V6(address) = address {
            self.listen_for(interface, address, now);
        }
        if self.role == Role::Listener {
            return true;
        }
        let under_way: usize = self.announcer.stages.iter().map(VecDeque::len).sum();
        let refused = under_way >= ANNOUNCEMENTS || usize::from(interface.0) >= self.links.len();
        if refused || self.announcer.silent {
            return false;
        }
        self.announcer.stages[0].push_back(Announcement { interface, address, due: now });
        self.timers.at(now);
        true
    }

    /// Lets go of an address that is no longer ours: what is still to be announced of it is forgotten,
    /// its group is left, and who contradicted is right.
    pub fn withdraw(&mut self, interface: InterfaceId, address: IpAddr, now: Tick) {
        for queue in &mut self.announcer.stages {
            queue.retain(|pending| (pending.interface, pending.address) != (interface, address));
        }
        self.conflicts.forget(interface, address);
        if let IpAddr::V6(address) = address {
            self.memberships.forget(interface, address, now);
            self.timers.at(self.memberships.next_due());
        }
    }

    /// Insists on an address of ours after [`Outcome::Conflict`](super::Outcome::Conflict), for a
    /// caller that does not want to yield it. At most once in [`DEFEND_INTERVAL`] for an address:
    /// two who both insist must not flood the link (RFC 5227 §2.4). True when a frame leaves.
    pub fn defend(
        &mut self,
        interface: InterfaceId,
        address: IpAddr,
        now: Tick,
        outbox: &mut Outbox,
    ) -> bool {
        let Some(link) = self.links.get(usize::from(interface.0)) else { return false };
        if self.role == Role::Listener {
            return false;
        }
        let defended = &mut self.announcer.defended;
        while defended.front().is_some_and(|oldest| oldest.due <= now) {
            defended.pop_front();
        }
        let lately = |past: &Announcement| (past.interface, past.address) == (interface, address);
        if defended.len() >= DEFENCES || defended.iter().any(lately) {
            return false;
        }
        defended.push_back(Announcement { interface, address, due: now + DEFEND_INTERVAL });
        send(link, interface, address, outbox)
    }
}

impl Announcer {
    pub(super) fn new() -> Self {
        Self {
            stages: SCHEDULE.map(|_| VecDeque::with_capacity(ANNOUNCEMENTS)),
            defended: VecDeque::with_capacity(DEFENCES),
            silent: false,
        }
    }

    /// Forgets what is still to be announced, and announces nothing from now on.
    pub(super) fn silence(&mut self) {
        self.stages.iter_mut().for_each(VecDeque::clear);
        self.silent = true;
    }

    /// Sends one announcement that is due. False when none is, or when no buffer is free: it stays
    /// due then. With the first goes the question whose the address is, and again with the last where
    /// somebody has contradicted.
    pub(super) fn step(
        &mut self,
        links: &[InterfaceLink],
        conflicts: &Conflicts,
        now: Tick,
        outbox: &mut Outbox,
    ) -> bool {
        let due =
            |stage: &VecDeque<Announcement>| stage.front().is_some_and(|next| next.due <= now);
        let Some(stage) = self.stages.iter().position(due) else { return false };
        let Some(mut next) = self.stages[stage].front().copied() else { return false };
        let link = &links[usize::from(next.interface.0)];
        if !send(link, next.interface, next.address, outbox) {
            return false;
        }
        let is_last = stage + 1 == SCHEDULE.len();
        if stage == 0 || is_last && conflicts.has_doubt(next.interface, next.address) {
            probe(link, next.interface, next.address, outbox);
        }
        self.stages[stage].pop_front();
        if let Some(wait) = SCHEDULE.get(stage + 1) {
            next.due = now + *wait;
            self.stages[stage + 1].push_back(next);
        }
        true
    }

    /// Whether `address` was taken up within the last second.
    pub(super) fn is_under_way(&self, interface: InterfaceId, address: IpAddr) -> bool {
        let mut under_way = self.stages.iter().flatten();
        under_way.any(|pending| (pending.interface, pending.address) == (interface, address))
    }

    /// When the next announcement is due.
    pub(super) fn next_due(&self) -> Tick {
        self.stages.iter().filter_map(VecDeque::front).map(|next| next.due).min().unwrap_or(NEVER)
    }
}

fn send(
    link: &InterfaceLink,
    interface: InterfaceId,
    address: IpAddr,
    outbox: &mut Outbox,
) -> bool {
    match address {
        IpAddr::V4(address) => arp::announce(link, interface, address, outbox),
        IpAddr::V6(address) => ndp::announce(link, interface, address, outbox),
    }
}

/// Asks whether anybody else has the address: in the probing form, which no cache learns from (RFC
/// 5227 §2.1.1, RFC 4862 §5.4.2). Behind the announcement, so that the loss of the last free buffer
/// costs the question.
fn probe(link: &InterfaceLink, interface: InterfaceId, address: IpAddr, outbox: &mut Outbox) {
    match address {
        IpAddr::V4(address) => arp::probe(link, interface, address, outbox),
        IpAddr::V6(address) => ndp::probe(link, interface, address, outbox),
    };
}

/// How long each frame of an announcement waits after the one before: at 0, 100 ms and 1 s.
const SCHEDULE: [Duration; 3] =
    [Duration::ZERO, Duration::from_millis(100), Duration::from_millis(900)];

/// Addresses that can be under announcement at one time.
pub const ANNOUNCEMENTS: usize = 4096;

/// Between two defences of one address: DEFEND_INTERVAL of RFC 5227 §1.1.
pub const DEFEND_INTERVAL: Duration = Duration::from_secs(10);

/// Addresses that are defended within one interval; attacks on more are not answered.
const DEFENCES: usize = 64;
