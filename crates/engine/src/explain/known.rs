//! Packets of sessions that live, and the other half of a hairpin.

use mooring_nat::HAIRPIN_INTERFACE;
use mooring_policy::{Hop, InterfaceId};
use mooring_session::{Direction, FlowKey, Session, SessionRef};

use super::{Outcome, Trail, end};
use crate::family::Family;
use crate::{DropReason, Engine};

impl Engine {
    /// A packet of a session that lives, come in by `ingress`.
    pub(super) fn known<A: Family>(
        &self,
        ingress: InterfaceId,
        found: SessionRef,
        trail: &mut Trail,
    ) -> Result<Outcome, DropReason> {
        let session = A::nat(&self.nats).sessions.session(found.index);
        let rule = self.rule_name(session.rule);
        trail.step("session", session_text(session, found.direction, &rule));
        if session.ingress(found.direction) != ingress.0 {
            let text = "the session's packets of this direction come in elsewhere";
            trail.step("arrival", text.to_owned());
            return Err(DropReason::SpoofedSource);
        }
        let outside = session.outside.into();
        if !self.policy.is_held(outside) {
            trail.step("address", format!("{outside} is not held: the session waits for it"));
            return Err(DropReason::AddressNotHeld);
        }
        if session.generation != self.generation.0 {
            trail.step("session", "admitted under an older policy: it is asked again first".into());
        }
        // What answers it comes in as the other direction does.
        let leaves = session.key(found.direction.opposite()).exchanged();
        if session.is_hairpin(found.direction) {
            return self.second_half_of(leaves, Some(leaves.source_port), trail);
        }
        let interface = InterfaceId(session.egress(found.direction));
        let to = leaves.destination.into();
        let next_hop = self.policy.route(to).map_or(to, |hop| hop.next_hop);
        trail.step("next hop", self.hop_text(&Hop { interface, next_hop }));
        Ok(Outcome::Forwarded {
            egress: self.name(interface),
            next_hop,
            rule,
            source: (leaves.source.into(), Some(leaves.source_port)),
            destination: (to, leaves.destination_port),
        })
    }

    /// The other half of a hairpin, for a packet that the first one has translated; `port` is its
    /// source port, if it is known.
    pub(super) fn second_half_of<A: Family>(
        &self,
        key: FlowKey<A>,
        port: Option<u16>,
        trail: &mut Trail,
    ) -> Result<Outcome, DropReason> {
        trail.step(
            "hairpin",
            format!(
                "the destination is ours: goes on as {} to {}, as if from outside",
                end(key.source, port, key.protocol),
                end(key.destination, Some(key.destination_port), key.protocol)
            ),
        );
        let sessions = &A::nat(&self.nats).sessions;
        let (address, target_port, rule, hop) = match sessions.find_key(&key) {
            Some(found) => {
                let session = sessions.session(found.index);
                let hop = self.policy.route(session.inside.into()).ok_or(DropReason::NoRoute)?;
                let rule = self.rule_name(session.rule);
                (session.inside, session.inside_port, rule, hop)
            }
            None => {
                self.explain_access(HAIRPIN_INTERFACE, &key, trail);
                let foreseen = self.foresee(HAIRPIN_INTERFACE, key)?;
                let rule = self.rule_name(foreseen.rule.0);
                let inside = &foreseen.forward;
                (inside.source, inside.source_port, rule, foreseen.back)
            }
        };
        trail.step("rule", format!("`{rule}` has the destination"));
        trail.step("next hop", self.hop_text(&hop));
        Ok(Outcome::Forwarded {
            egress: self.name(hop.interface),
            next_hop: hop.next_hop,
            rule,
            source: (key.source.into(), port),
            destination: (address.into(), target_port),
        })
    }
}

fn session_text<A: Family>(session: &Session<A>, direction: Direction, rule: &str) -> String {
    let way = match direction {
        Direction::Forward => "forward",
        Direction::Reverse => "reverse",
    };
    format!(
        "{way}, inside {}, outside {}, remote {}, state {}, rule `{rule}`",
        end(session.inside, Some(session.inside_port), session.protocol),
        end(session.outside, Some(session.outside_port), session.protocol),
        end(session.remote, Some(session.remote_port), session.protocol),
        session.state.name(),
    )
}
