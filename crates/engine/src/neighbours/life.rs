//! The life of an entry: unreachability detection of RFC 4861 §7.3 in its simple form, one for ARP
//! and ND.
//!
//! What becomes of an entry, by its state (rows) and by what happens to it:
//!
//! | state      | a packet for it  | an answer to us  | an unasked word: new address / same | its timer                         |
//! |------------|------------------|------------------|-------------------------------------|-----------------------------------|
//! | incomplete | held; asks all   | reachable (frees)| stale (frees) / -                   | 1 s: asks all; after 3: failed    |
//! | reachable  | leaves           | reachable        | stale / stays                       | 30 s: used: probe; unused: stale  |
//! | stale      | leaves; probe    | reachable        | stale / stays                       | none                              |
//! | probe      | leaves           | reachable        | stale / stays                       | 1 s: asks it; after 3: failed     |
//! | failed     | incomplete \*    | reachable (frees)| stale (frees) / -                   | none                              |
//! | permanent  | leaves           | stays            | stays                               | none                              |
//!
//! \* A neighbour that was never heard is not asked again for a second: the packet is dropped. One that
//! was there and went may have a new address: all are asked at once.
//!
//! "Frees": the packets that were held leave. "Failed" drops them, and their senders may be told
//! ([`Neighbours::next_unreachable`]). An unasked word without the override flag of neighbor discovery
//! never changes a known address; it makes a reachable entry stale (RFC 4861 §7.2.5). Any state but
//! permanent becomes vacant when nobody uses the entry and its room is needed, or at once when it knows
//! no address.
//!
//! Packets flow in reachable, stale and probe. There is no DELAY state: it waits for a hint of the
//! upper layer, and an appliance in the middle never gets one.
//!
//! Who waits, waits equally long with all others of its queue, so a queue is a timer list and a
//! poll looks at nothing but its first slot.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use mooring_session::{NextHopIndex, Tick};
use mooring_wire::Mac;

use super::queue::SlotQueue;
use super::table::{Key, Mark};
use super::{Neighbours, Unreachable, arp, ndp};
use crate::outbox::Outbox;

/// Where an entry stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No entry. Never seen from outside.
    Vacant,
    /// The address is not known; asked for once a packet waits.
    Incomplete,
    /// The neighbour has answered lately.
    Reachable,
    /// The address is known, but the neighbour has not answered for it lately.
    Stale,
    /// In use, and being asked whether it is still there.
    Probe,
    /// It did not answer.
    Failed,
    /// Known by configuration; never asked.
    Permanent,
}

impl State {
    /// The state's name in `show neighbors`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vacant => "vacant",
            Self::Incomplete => "incomplete",
            Self::Reachable => "reachable",
            Self::Stale => "stale",
            Self::Probe => "probe",
            Self::Failed => "failed",
            Self::Permanent => "permanent",
        }
    }
}

/// What one message says about its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word {
    /// The sender's address, where the message names it.
    pub(super) mac: Option<Mac>,
    /// The message answers us: the neighbour hears what we send.
    pub(super) solicited: bool,
    /// A different address replaces the known one.
    pub(super) overrides: bool,
}

/// The timers of all entries.
#[derive(Debug)]
pub(super) struct Timers {
    /// Asked and not answered: [`RETRANSMIT`].
    asked: SlotQueue,
    /// Answered: [`REACHABLE_TIME`].
    answered: SlotQueue,
    /// Stale and used since.
    woken: SlotQueue,
    /// Nothing is due before this moment.
    pub(super) alarm: Tick,
}

impl Timers {
    pub(super) fn new(capacity: u16) -> Self {
        Self {
            asked: SlotQueue::new(capacity),
            answered: SlotQueue::new(capacity),
            woken: SlotQueue::new(capacity),
            alarm: NEVER,
        }
    }

    /// Ends whatever runs for `slot`.
    pub(super) fn stop(&mut self, slot: u16) {
        self.asked.remove(slot);
        self.answered.remove(slot);
        self.woken.remove(slot);
    }

    /// Asks for a visit of the entry at the next poll.
    pub(super) fn wake(&mut self, slot: u16) {
        self.woken.push(slot);
        self.alarm = Tick::ZERO;
    }

    /// Makes sure that a poll at `due` looks.
    pub(super) fn at(&mut self, due: Tick) {
        self.alarm = self.alarm.min(due);
    }
}

impl Neighbours {
    /// Takes in what a message says about the entry in `slot` (RFC 4861 §7.2.5; ARP merges by the
    /// same rules, RFC 826). True when it taught us something.
    pub(super) fn hear(&mut self, slot: u16, word: Word, now: Tick, outbox: &mut Outbox) -> bool {
        let known = self.table.mac(slot);
        // "If the link layer has addresses and no Target Link-Layer Address option is included, the
        // receiving node SHOULD silently discard": nothing is known, and nothing is said.
        let Some(mac) = word.mac.or(known) else { return false };
        let moved = known.is_some_and(|known| known != mac);
        let next = match self.table.entry(slot).state {
            State::Vacant | State::Permanent => return false,
            State::Reachable if moved && !word.overrides => {
                self.rest(slot, now);
                return true;
            }
            State::Stale | State::Probe if moved && !word.overrides => return false,
            _ if word.solicited => State::Reachable,
            State::Incomplete | State::Failed => State::Stale,
            _ if moved => State::Stale,
            State::Reachable | State::Stale | State::Probe => return false,
        };
        self.table.set_mac(slot, mac);
        match next {
            State::Reachable => self.confirm(slot, now),
            _ => self.rest(slot, now),
        }
        self.release_held(slot, outbox);
        true
    }

    /// Asks for the neighbour's address, unless it has just been asked in vain. True when a
    /// question is out.
    pub(super) fn resolve(&mut self, slot: u16, now: Tick, outbox: &mut Outbox) -> bool {
        let entry = self.table.entry(slot);
        match entry.state {
            State::Vacant => return false,
            State::Failed if now < entry.due => return false,
            State::Failed => self.begin(slot, State::Incomplete, now),
            State::Incomplete if entry.attempts == 0 => {}
            _ => return true,
        }
        self.ask(slot, now, outbox);
        true
    }

    /// Sends the packets that wait, now that the address is known.
    pub(super) fn release_held(&mut self, slot: u16, outbox: &mut Outbox) {
        while let Some(mut packet) = self.waiting.pop(&mut self.table.entry_mut(slot).held) {
            match (packet.bytes_mut().first_chunk_mut(), self.resolved(NextHopIndex(slot))) {
                (Some(header), Some(l2)) => {
                    *header = l2.header;
                    let egress = l2.egress;
                    outbox.release(egress, packet);
                }
                _ => outbox.discard(packet),
            }
        }
        self.table.refile(slot);
    }

    /// Does one thing that is due among the timers. `None` when nothing is; else how many packets
    /// were dropped.
    pub(super) fn step(&mut self, now: Tick, outbox: &mut Outbox) -> Option<u64> {
        if let Some(slot) = self.timers.woken.pop() {
            self.probe(slot, now, outbox);
            return Some(0);
        }
        if let Some(slot) = self.due(&self.timers.asked, now) {
            if self.table.entry(slot).attempts >= MAX_SOLICITS {
                return Some(self.fail(slot, now));
            }
            self.ask(slot, now, outbox);
            return Some(0);
        }
        let slot = self.due(&self.timers.answered, now)?;
        match self.table.mark(slot) {
            Mark::Used => self.probe(slot, now, outbox),
            _ => self.rest(slot, now),
        }
        Some(0)
    }

    /// The moment of the first timer.
    pub(super) fn first_timer(&self) -> Tick {
        let due = |queue: &SlotQueue| queue.first().map(|slot| self.table.entry(slot).due);
        let woken = self.timers.woken.first().map(|_| Tick::ZERO);
        let first = [woken, due(&self.timers.asked), due(&self.timers.answered)];
        first.into_iter().flatten().min().unwrap_or(NEVER)
    }

    fn due(&self, queue: &SlotQueue, now: Tick) -> Option<u16> {
        queue.first().filter(|slot| self.table.entry(*slot).due <= now)
    }

    /// Enters `state` with no timer running.
    fn begin(&mut self, slot: u16, state: State, now: Tick) {
        self.timers.stop(slot);
        let entry = self.table.entry_mut(slot);
        entry.state = state;
        entry.attempts = 0;
        entry.since = now;
    }

    fn confirm(&mut self, slot: u16, now: Tick) {
        self.begin(slot, State::Reachable, now);
        self.table.set_mark(slot, Mark::Unused);
        let due = now + REACHABLE_TIME;
        self.table.entry_mut(slot).due = due;
        self.timers.answered.push(slot);
        self.timers.at(due);
    }

    /// Goes stale: packets flow, and the first one wakes us to ask.
    fn rest(&mut self, slot: u16, now: Tick) {
        self.begin(slot, State::Stale, now);
        self.table.set_mark(slot, Mark::Asleep);
    }

    fn probe(&mut self, slot: u16, now: Tick, outbox: &mut Outbox) {
        self.begin(slot, State::Probe, now);
        self.table.set_mark(slot, Mark::Used);
        self.ask(slot, now, outbox);
    }

    /// Sends one question: to the neighbour alone while it is being probed, else to everybody.
    fn ask(&mut self, slot: u16, now: Tick, outbox: &mut Outbox) {
        let to = self.table.mac(slot);
        let entry = self.table.entry_mut(slot);
        entry.due = now + RETRANSMIT;
        self.timers.asked.push(slot);
        self.timers.at(now + RETRANSMIT);
        let interface = entry.key.interface;
        let link = &self.links[usize::from(interface.0)];
        let sent = match entry.key.address {
            IpAddr::V4(target) => arp::ask(link, interface, target, to, outbox),
            IpAddr::V6(target) => ndp::ask(link, interface, target, to, outbox),
        };
        // Nobody can answer what was not asked: without a free buffer it is asked again later.
        self.table.entry_mut(slot).attempts += u8::from(sent);
    }

    /// Gives the neighbour up: its packets are dropped (and counted), and an entry that nobody
    /// uses is forgotten. Sessions keep their index; their next packet asks again.
    fn fail(&mut self, slot: u16, now: Tick) -> u64 {
        let unheard = self.table.entry(slot).state == State::Incomplete;
        self.begin(slot, State::Failed, now);
        self.table.set_mark(slot, Mark::Unresolved);
        // A neighbour that was there and went may have a new address: ask everybody at once. One
        // that nobody answered for gets a rest, so that we ask for it at most once a second
        // (RFC 1122 §2.3.2.1).
        self.table.entry_mut(slot).due = if unheard { now + FAILED_REST } else { now };
        let mut dropped = 0;
        let Key { interface, address } = self.table.entry(slot).key;
        while let Some(packet) = self.waiting.pop(&mut self.table.entry_mut(slot).held) {
            self.unreachable.push(Unreachable { interface, address, packet });
            dropped += 1;
        }
        self.table.refile(slot);
        self.forget_if_worthless(slot);
        dropped
    }

    /// Frees the slot of an entry that is idle and knows no address.
    pub(super) fn forget_if_worthless(&mut self, slot: u16) {
        let entry = self.table.entry(slot);
        let idle = entry.users == 0 && entry.held.len() == 0;
        if idle && self.table.mark(slot) == Mark::Unresolved {
            self.forget(slot);
        }
    }

    /// Frees the slot of an idle entry.
    pub(super) fn forget(&mut self, slot: u16) {
        self.timers.stop(slot);
        self.table.remove(slot);
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Between two questions: RETRANS_TIMER of RFC 4861 §10.
pub const RETRANSMIT: Duration = Duration::from_secs(1);

/// Questions before a neighbour counts as gone: MAX_MULTICAST_SOLICIT and MAX_UNICAST_SOLICIT of
/// RFC 4861 §10.
pub const MAX_SOLICITS: u8 = 3;

/// How long an answer is trusted: REACHABLE_TIME of RFC 4861 §10, without its random factor (there
/// is one of us on a link, so nothing synchronises).
pub const REACHABLE_TIME: Duration = Duration::from_secs(30);

/// How long a neighbour that nobody answered for is not asked again.
pub const FAILED_REST: Duration = Duration::from_secs(1);

/// Later than any deadline.
pub(super) const NEVER: Tick = Tick::from_millis(u64::MAX);
