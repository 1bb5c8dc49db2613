//! Says it when somebody else uses an address of ours: once for each, and not too much at a time.

use std::net::IpAddr;
use std::time::Duration;

use crossbeam::channel::{Receiver, TryRecvError, bounded};
use mooring_engine::neighbours::Conflict;
use mooring_observe::query::{Answer, Query};
use mooring_policy::{InterfaceId, Policy};
use mooring_session::Tick;
use mooring_wire::Mac;

use super::desk::WorkerLine;
use super::worker::Command;
use crate::say::say;

/// The conflicts that have been told.
#[derive(Debug, Default)]
pub struct ConflictLog {
    /// A question that is on its way. Nobody waits for its answer.
    asked: Option<Receiver<Answer>>,
    told: Vec<(InterfaceId, IpAddr, Mac)>,
    due: Tick,
}

impl ConflictLog {
    /// Asks the worker that speaks for all, or tells what it has answered.
    pub fn look(&mut self, speaker: &WorkerLine, policy: &Policy, now: Tick) {
        if let Some(answer) = self.asked.take() {
            match answer.try_recv() {
                Ok(Answer::Conflicts(conflicts)) => self.tell(&conflicts, policy),
                Ok(_) | Err(TryRecvError::Disconnected) => {}
                Err(TryRecvError::Empty) => self.asked = Some(answer),
            }
        }
        if self.asked.is_none() && now >= self.due {
            let (reply, answer) = bounded(1);
            speaker.tell(Command::Ask(Query::Conflicts, reply));
            self.asked = Some(answer);
            self.due = now + ASK_EVERY;
        }
    }

    /// Tells those that are new, and forgets those that are over.
    fn tell(&mut self, conflicts: &[Conflict], policy: &Policy) {
        let who = |conflict: &Conflict| (conflict.interface, conflict.address, conflict.mac);
        self.told.retain(|told| conflicts.iter().any(|conflict| who(conflict) == *told));
        let new: Vec<_> =
            conflicts.iter().map(who).filter(|conflict| !self.told.contains(conflict)).collect();
        for (interface, address, mac) in new.iter().take(LINES) {
            let name = &policy.interface(*interface).name;
            say(&format!(
                "mooring: conflict: {mac} on `{name}` uses our address {address} as well"
            ));
        }
        if new.len() > LINES {
            let more = new.len() - LINES;
            say(&format!("mooring: conflict: {more} more; `mooring show addresses` lists all"));
        }
        self.told.extend(new);
    }
}

/// Conflicts are told within about this time.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// Lines for one answer: another appliance with the same pool makes hundreds of conflicts at once.
const LINES: usize = 8;
