//! Route and rules, one line for each rule up to the one that decides.

use std::net::IpAddr;

use mooring_nat::{HAIRPIN_INTERFACE, Listed, question};
use mooring_policy::{Access, Action, InterfaceId, RuleId};
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
            if decided == Some(RuleId(at as u16)) {
                trail.step("rule", format!("`{}` matches", rule.name));
                if let Action::SourceNat(pool) = rule.action
                    && let Some(text) = allocation::text(self.policy.pool(pool), key.source.into())
                {
                    trail.step("allocation", text);
                }
                return;
            }
            let why = rule.mismatch(&question, inbound);
            let why = why.map_or_else(|| "is for another side".to_owned(), |why| why.to_string());
            trail.step("rule", format!("`{}` does not match: {why}", rule.name));
        }
        trail.step("rule", "none matches".to_owned());
    }

    /// What the list says that a packet to an address of ours meets, and which line of it.
    pub(super) fn explain_list<A: Family>(
        &self,
        ingress: InterfaceId,
        key: &FlowKey<A>,
        trail: &mut Trail,
    ) {
        let outside = self.policy.outside_of(key.destination.into());
        let ingress = match ingress {
            HAIRPIN_INTERFACE => outside.lowest(),
            other => Some(other).filter(|ingress| outside.contains(*ingress)),
        };
        let Some(ingress) = ingress else { return };
        let (name, list) = match A::nat(&self.nats).listed(key, ingress, &self.policy) {
            Some(Listed::Rule(id)) => {
                let rule = self.policy.rule(id);
                (format!("rule `{}`", rule.name), &rule.access)
            }
            Some(Listed::Pool(id)) => {
                let pool = self.policy.pool(id);
                (format!("pool `{}`", pool.name), &pool.access)
            }
            None => return,
        };
        trail.list(&name, list, key.source.into());
    }
}

impl Trail {
    /// What the list of `whose` says of a source; nothing when it is empty.
    pub(super) fn list(&mut self, whose: &str, list: &Access, source: IpAddr) {
        if list.is_empty() {
            return;
        }
        let said = list.of(source);
        let found = match (said.by, said.allowed) {
            (Some(by), true) => format!("line {}: `allow` {} has {source}", by.line, by.prefix),
            (Some(by), false) => format!("line {}: `deny` {} has {source}", by.line, by.prefix),
            (None, true) => format!("no `deny` has {source}"),
            (None, false) => format!("no `allow` has {source}"),
        };
        self.step("access", format!("of {whose}: {found}"));
    }
}
