//! What must be so of every session and of every port, whoever asks: it is found by both of its keys,
//! and what is leased is somebody's.

use mooring_engine::explain::{Asked, Outcome};
use mooring_nat::HAIRPIN_INTERFACE;
use mooring_policy::InterfaceId;
use mooring_wire::Protocol;

use super::Duel;
use crate::model::Session;
use crate::packet::Key;
use crate::spec::Side;
use crate::tracking::Way;

impl Duel<'_> {
    /// Every session is found by both of its keys, in its worker and in no other: halves of hairpins, and
    /// those that are older than the policy, too.
    pub(super) fn reach(&self) -> Result<(), String> {
        for session in &self.model.sessions {
            // An older one is asked first, and may have to go for it.
            if self.model.is_current(session) && !self.model.is_at_home(session) {
                return Err(format!("packets of it come to another worker: {session:?}"));
            }
            for way in [Way::Forward, Way::Reverse] {
                self.reach_by(session, way)?;
            }
        }
        Ok(())
    }

    fn reach_by(&self, session: &Session, way: Way) -> Result<(), String> {
        let key = session.key(way);
        let asked = Asked {
            ingress: ingress(session.side(way)),
            protocol: Protocol(key.protocol),
            source: key.source.0,
            source_port: key.source.1,
            destination: key.destination.0,
            destination_port: key.destination.1,
        };
        let leaves = self.leaves(session, way);
        for worker in 0..self.rig.workers() {
            let explained = self.rig.explain(worker, &asked);
            let known = !explained.steps.iter().any(|step| step.found == "none yet");
            let there = match (&explained.outcome, leaves) {
                (Outcome::Forwarded { source, destination, .. }, Some(leaves)) => {
                    (source.0, source.1.unwrap_or(0)) == leaves.source
                        && *destination == leaves.destination
                }
                (_, leaves) => leaves.is_none(),
            };
            if known != (worker == session.worker) || known && !there {
                return Err(format!("{way:?} in worker {worker}: {explained:?}, {session:?}"));
            }
        }
        Ok(())
    }

    /// The flow of a session's packets as they leave; `None` for those of half of a hairpin whose other
    /// half is not there, or another worker's.
    fn leaves(&self, session: &Session, way: Way) -> Option<Key> {
        let behind = session.key(way.turned()).turned();
        if session.side(way.turned()) != Side::Hairpin {
            return Some(behind);
        }
        let (at, back) = self.model.find(&behind)?;
        let second = &self.model.sessions[at];
        let together = second.worker == session.worker && second.side(back) == Side::Hairpin;
        together.then(|| second.key(back.turned()).turned())
    }

    /// Every port that a pool has leased is a mapping's, every one that rests was one lately, and every
    /// block is of somebody who has a session in it.
    pub(super) fn account(&self) -> Result<(), String> {
        for (pool, usage) in self.model.spec.pools.iter().zip(self.rig.pools()) {
            let leased = self.model.mappings.iter().filter(|m| m.pool == pool.name).count() as u64;
            let rest = self.model.resting(pool.name);
            let blocks = self.model.blocks_held(pool);
            if usage.leased != leased
                || !rest.contains(&usage.resting)
                || usage.blocks_held != blocks
            {
                return Err(format!(
                    "{}: {usage:?}, not {leased} leased, {rest:?} resting, {blocks} blocks",
                    pool.name
                ));
            }
        }
        Ok(())
    }
}

fn ingress(side: Side) -> InterfaceId {
    match side {
        Side::Hairpin => HAIRPIN_INTERFACE,
        side => InterfaceId(side as u8),
    }
}
