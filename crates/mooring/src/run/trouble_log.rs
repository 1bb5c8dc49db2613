//! Says it when somebody else uses an address of ours and when a next hop does not answer: once for
//! each, and not too much at a time.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crossbeam::channel::{Receiver, TryRecvError, bounded};
use mooring_control::kubernetes::doubts::latest_signs;
use mooring_engine::SilentHop;
use mooring_engine::neighbours::Conflict;
use mooring_observe::query::{Answer, Query, Trouble};
use mooring_policy::{InterfaceId, Policy};
use mooring_session::Tick;
use mooring_wire::Mac;

use super::desk::WorkerLine;
use super::worker::Command;
use crate::say::say;

/// What has been told.
#[derive(Debug, Default)]
pub struct TroubleLog {
    /// Questions that are on their way, by worker. Nobody waits for their answers.
    asked: Vec<Receiver<Answer>>,
    conflicts: Vec<(InterfaceId, IpAddr, Mac)>,
    /// Addresses of ours for which somebody else has spoken, and since when the last of those does.
    signs: BTreeMap<IpAddr, Tick>,
    /// Each with the time when it was told.
    silent: Vec<(InterfaceId, IpAddr, Tick)>,
    due: Tick,
    asked_at: Tick,
}

impl TroubleLog {
    /// Asks the workers, or tells what they have answered.
    pub fn look(&mut self, workers: &[WorkerLine], policy: &Policy, now: Tick) {
        for answer in std::mem::take(&mut self.asked) {
            match answer.try_recv() {
                Ok(Answer::Trouble(trouble)) => self.tell(&trouble, policy, now),
                Ok(_) | Err(TryRecvError::Disconnected) => {}
                Err(TryRecvError::Empty) => self.asked.push(answer),
            }
        }
        if self.asked.is_empty() && now >= self.due {
            self.asked.extend(workers.iter().map(|worker| {
                let (reply, answer) = bounded(1);
                worker.tell(Command::Ask(Query::Trouble, reply));
                answer
            }));
            (self.due, self.asked_at) = (now + ASK_EVERY, now);
        }
    }

    /// A worker has seen something: it is asked soon, however often this is said.
    pub fn hurry(&mut self) {
        self.due = self.due.min(self.asked_at + AT_ONCE);
    }

    /// How long to wait before the next look.
    #[must_use]
    pub fn pause(&self, now: Tick) -> Duration {
        if self.asked.is_empty() { Duration::from_millis(self.due.since(now)) } else { AT_ONCE }
    }

    /// The addresses of ours that others use, as it was told, each once.
    #[must_use]
    pub fn contradicted(&self) -> Vec<IpAddr> {
        let mut addresses: Vec<IpAddr> = self.conflicts.iter().map(|told| told.1).collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }

    /// The addresses of ours for which somebody else has spoken, told or not: one that lasts is a conflict,
    /// but before that the API server may know better. With the time since when the last of them does: one
    /// that came back is another.
    #[must_use]
    pub const fn signs(&self) -> &BTreeMap<IpAddr, Tick> {
        &self.signs
    }

    fn tell(&mut self, trouble: &Trouble, policy: &Policy, now: Tick) {
        // Only the worker that speaks for all knows of conflicts.
        if trouble.speaks {
            self.signs = latest_signs(trouble.signs.iter().map(|sign| (sign.address, sign.since)));
            let lines = self.new_conflicts(&trouble.conflicts, policy, now);
            tell_some(&lines, "conflict: ", "`mooring show addresses` lists all");
        }
        let lines = self.new_silent(&trouble.silent, policy, now);
        tell_some(&lines, "", "`mooring show neighbors` lists all");
    }

    /// Those that are new; those that are over are forgotten.
    fn new_conflicts(&mut self, conflicts: &[Conflict], policy: &Policy, now: Tick) -> Vec<String> {
        let who = |conflict: &Conflict| (conflict.interface, conflict.address, conflict.mac);
        self.conflicts.retain(|told| conflicts.iter().any(|conflict| who(conflict) == *told));
        let lasting = conflicts.iter().filter(|conflict| now >= conflict.since + LETTING_GO);
        let new = lasting.map(who).filter(|conflict| !self.conflicts.contains(conflict));
        let new: Vec<_> = new.collect();
        self.conflicts.extend(&new);
        let line = |(interface, address, mac): (InterfaceId, IpAddr, Mac)| {
            let name = &policy.interface(interface).name;
            format!("{mac} on `{name}` uses our address {address} as well")
        };
        new.into_iter().map(line).collect()
    }

    /// Those that have been silent lately and were not told of for a while.
    fn new_silent(&mut self, hops: &[SilentHop], policy: &Policy, now: Tick) -> Vec<String> {
        self.silent.retain(|(.., told)| now < *told + TELL_AGAIN);
        let mut lines = Vec::new();
        for SilentHop { interface, address, last } in hops {
            let told = self.silent.iter().any(|(at, who, _)| (at, who) == (interface, address));
            if told || now >= *last + TELL_AGAIN {
                continue;
            }
            self.silent.push((*interface, *address, now));
            let name = &policy.interface(*interface).name;
            lines.push(format!("{address} on `{name}` does not answer; its packets are dropped"));
        }
        lines
    }
}

fn tell_some(lines: &[String], kind: &str, where_more: &str) {
    for line in lines.iter().take(LINES) {
        say(&format!("mooring: {kind}{line}"));
    }
    if lines.len() > LINES {
        say(&format!("mooring: {kind}{} more; {where_more}", lines.len() - LINES));
    }
}

/// An address that moves is announced by its next holder before we know of it: only what lasts longer
/// than letting go of it may take, twice 100 ms, is a conflict.
const LETTING_GO: Duration = Duration::from_millis(200);

/// Trouble is told within about this time.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// Where a worker has said that there is some; also longer than one takes to answer.
const AT_ONCE: Duration = Duration::from_millis(5);

/// A next hop that stays silent is told of this often.
const TELL_AGAIN: Duration = Duration::from_secs(60);

/// Lines for one answer: another appliance with the same pool makes hundreds of conflicts at once.
const LINES: usize = 8;

#[cfg(test)]
mod tests {
    use mooring_engine::SilentHop;
    use mooring_engine::neighbours::Conflict;
    use mooring_observe::query::Trouble;
    use mooring_policy::{InterfaceId, Policy};
    use mooring_session::Tick;
    use mooring_wire::Mac;

    use super::{ASK_EVERY, AT_ONCE, LETTING_GO, TELL_AGAIN, TroubleLog};

    fn policy() -> Policy {
        let text = include_str!("../../../../configs/minimal.toml");
        mooring_policy::load(text).expect("the example is valid").policy
    }

    #[test]
    fn a_conflict_is_told_once_until_it_is_over() {
        let (mut log, policy) = (TroubleLog::default(), policy());
        let conflict = Conflict {
            interface: InterfaceId(1),
            address: "203.0.113.10".parse().expect("an address"),
            mac: Mac([2, 0, 0, 0, 0, 9]),
            since: Tick::ZERO,
            seen: Tick::ZERO,
        };
        let line = "02:00:00:00:00:09 on `outside` uses our address 203.0.113.10 as well";
        let now = Tick::ZERO + LETTING_GO;
        assert_eq!(log.new_conflicts(&[conflict], &policy, now), [line]);
        assert!(log.new_conflicts(&[conflict], &policy, now).is_empty());
        assert_eq!(log.contradicted(), [conflict.address]);
        assert!(log.new_conflicts(&[], &policy, now).is_empty());
        assert!(log.contradicted().is_empty());
        // While it may be that we have not yet heard of a move, nothing is told.
        assert!(log.new_conflicts(&[conflict], &policy, Tick::from_millis(199)).is_empty());
        assert!(log.contradicted().is_empty());
        assert_eq!(log.new_conflicts(&[conflict], &policy, now), [line]);
    }

    #[test]
    fn a_sign_is_heard_before_it_is_told_and_one_that_came_back_is_another() {
        let (mut log, policy) = (TroubleLog::default(), policy());
        let address = "203.0.113.10".parse().expect("an address");
        for since in [Tick::ZERO, Tick::from_millis(7)] {
            let mac = Mac([2, 0, 0, 0, 0, 9]);
            let sign = Conflict { interface: InterfaceId(1), address, mac, since, seen: since };
            let signs = vec![sign];
            let trouble = Trouble { speaks: true, conflicts: vec![], signs, silent: vec![] };
            log.tell(&trouble, &policy, since);
            assert_eq!(*log.signs(), [(address, since)].into());
            assert!(log.contradicted().is_empty());
        }
    }

    #[test]
    fn a_worker_that_calls_is_asked_at_once_but_not_again_and_again() {
        let mut log = TroubleLog::default();
        let at = Tick::from_millis;
        log.look(&[], &policy(), at(1_000));
        assert_eq!(log.pause(at(1_000)), ASK_EVERY);
        log.hurry();
        assert_eq!(log.pause(at(1_000)), AT_ONCE);
        log.look(&[], &policy(), at(1_005));
        assert_eq!(log.pause(at(1_005)), ASK_EVERY);
    }

    #[test]
    fn a_silent_hop_is_told_of_once_a_minute_while_it_is_wanted() {
        let (mut log, policy) = (TroubleLog::default(), policy());
        let at = |last| SilentHop {
            interface: InterfaceId(1),
            address: "192.0.2.2".parse().expect("an address"),
            last,
        };
        let line = "192.0.2.2 on `outside` does not answer; its packets are dropped";
        assert_eq!(log.new_silent(&[at(Tick::ZERO)], &policy, Tick::ZERO), [line]);
        assert!(log.new_silent(&[at(Tick::ZERO)], &policy, Tick::ZERO).is_empty());
        let later = Tick::ZERO + TELL_AGAIN;
        assert!(log.new_silent(&[at(Tick::ZERO)], &policy, later).is_empty(), "not wanted since");
        assert_eq!(log.new_silent(&[at(later)], &policy, later), [line]);
    }
}
