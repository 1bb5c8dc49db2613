//! Route and rules, one line for each rule up to the one that decides.

use mooring_nat::question;
use mooring_policy::{Action, InterfaceId, RuleId};
use mooring_session::FlowKey;

use super::{Trail, allocation};
use crate::Engine;
use crate::family::Family;

impl Engine {
    /// The route of a packet, and what each rule says to it.
    pub(super) fn explain_rules<A: Family>(
        &self,
        ingress: InterfaceId,
        key: &FlowKey<A>,
        trail: &mut Trail,
    ) {
        let destination = key.destination.into();
        let owned = self.policy.ownership(destination).is_some();
        let outside = self.policy.outside_of(destination);
        let inbound = owned && outside.contains(ingress);
        let egress = if owned {
            outside.lowest()
        } else {
            let hop = self.policy.route(destination);
            trail.step("route", hop.map_or_else(|| "none".to_owned(), |hop| self.hop_text(&hop)));
            hop.map(|hop| hop.interface)
        };
        let Some(egress) = egress else { return };
        let question = question(key, ingress, if inbound { ingress } else { egress });
        let decided =
            if inbound { self.policy.inbound(&question) } else { self.policy.decide(&question) };
        for (at, rule) in self.policy.rules.iter().enumerate() {
            let name = format!("line {}: `{}`", rule.lines.head(), rule.name);
            if decided == Some(RuleId(at as u16)) {
                trail.step("rule", format!("{name} matches"));
                if let Action::SourceNat(pool) = rule.action
                    && let Some(text) = allocation::text(self.policy.pool(pool), key.source.into())
                {
                    trail.step("allocation", text);
                }
                return;
            }
            let why = rule.mismatch(&question, inbound);
            let why = why.map_or_else(|| "is for another side".to_owned(), |why| why.to_string());
            trail.step("rule", format!("{name} does not match: {why}"));
        }
        trail.step("rule", "none matches".to_owned());
    }
}
