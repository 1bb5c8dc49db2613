//! Who gets in: pings, filtering, lists, and what becomes of those whom nobody has asked for. Each step
//! names the line of the configuration that decides, or says that it is the default.

use std::net::IpAddr;

use mooring_nat::{HAIRPIN_INTERFACE, Listed};
use mooring_policy::{Action, Filtering, InterfaceId, Lines, Ownership, PoolId, UnsolicitedSyn};
use mooring_session::FlowKey;
use mooring_wire::Protocol;

use super::{Trail, end};
use crate::family::Family;
use crate::{DropReason, Engine};

impl Engine {
    /// What an address of ours says to a ping, and to whom.
    pub(super) fn explain_ping<A: Family>(
        &self,
        ingress: InterfaceId,
        key: &FlowKey<A>,
        trail: &mut Trail,
    ) {
        let destination = key.destination.into();
        let Some(owner) = self.policy.ownership(destination) else { return };
        let answers = self.pings(owner);
        let why = match owner {
            Ownership::Interface(_) | Ownership::Gateway(_) => {
                "addresses of links are answered".to_owned()
            }
            Ownership::Pool(id) => {
                let pool = self.policy.pool(id);
                let set = setting(&pool.lines, "ping", &pool.ping.to_string());
                format!("{set} of pool `{}`", pool.name)
            }
            Ownership::Rule(id) => {
                let rule = self.policy.rule(id);
                let what = if answers { "forwards ports only" } else { "has all protocols" };
                format!("line {}: `{}` {what}", rule.lines.head(), rule.name)
            }
        };
        let on_its_side = self.policy.answers_for(ingress, destination);
        let told = match (answers, on_its_side) {
            (false, _) if matches!(owner, Ownership::Rule(_)) => "its host answers",
            (false, _) => "it does not answer",
            (true, false) => "it answers, but on its own side only",
            (true, true) => "it answers",
        };
        trail.step("ping", format!("{why}: {told}"));
        if answers && on_its_side {
            self.explain_list(owner, key.source.into(), trail);
        }
    }

    /// What the list of an owner says of a source, and which line of it; links have none.
    fn explain_list(&self, owner: Ownership, source: IpAddr, trail: &mut Trail) {
        let (whose, list, lines) = match owner {
            Ownership::Pool(id) => {
                let pool = self.policy.pool(id);
                (format!("pool `{}`", pool.name), &pool.access, &pool.lines)
            }
            Ownership::Rule(id) => {
                let rule = self.policy.rule(id);
                (format!("rule `{}`", rule.name), &rule.access, &rule.lines)
            }
            Ownership::Interface(_) | Ownership::Gateway(_) => return,
        };
        let said = list.of(source);
        let no = |key: &str| match lines.of(key) {
            Some(line) => format!("line {line}: no `{key}` has {source}"),
            None => format!("it has no `{key}`"),
        };
        let found = match (said.by, said.allowed) {
            (Some(by), true) => format!("line {}: `allow` {} has {source}", by.line, by.prefix),
            (Some(by), false) => format!("line {}: `deny` {} has {source}", by.line, by.prefix),
            (None, _) if list.is_empty() => "neither `allow` nor `deny`: everybody may".to_owned(),
            (None, true) => no("deny"),
            (None, false) => no("allow"),
        };
        trail.step("access", format!("of {whose}: {found}"));
    }

    /// What a packet to an address of ours meets behind the rules, come from outside of it or from the
    /// first half of a hairpin: the list of its rule; or the filtering of the pool that has the
    /// mapping, and its list; or nobody.
    pub(super) fn explain_access<A: Family>(
        &self,
        ingress: InterfaceId,
        key: &FlowKey<A>,
        trail: &mut Trail,
    ) {
        let destination = key.destination.into();
        let outside = self.policy.outside_of(destination);
        let from = match ingress {
            HAIRPIN_INTERFACE => outside.lowest(),
            other => Some(other).filter(|ingress| outside.contains(*ingress)),
        };
        let Some(from) = from else { return };
        match A::nat(&self.nats).listed(key, from, &self.policy) {
            Some(Listed::Rule(id)) => {
                if self.policy.rule(id).action != Action::Drop {
                    self.explain_list(Ownership::Rule(id), key.source.into(), trail);
                }
                return;
            }
            Some(Listed::Pool { pool, inside, passes }) => {
                self.explain_filtering(key, (pool, inside, passes), trail);
                if passes {
                    self.explain_list(Ownership::Pool(pool), key.source.into(), trail);
                }
                if passes && self.foresee(ingress, *key) == Err(DropReason::Filtered) {
                    let inside = end(inside.0, Some(inside.1), key.protocol);
                    let text = format!("none translates what {inside} would send there");
                    trail.step("rule", text);
                }
                if passes {
                    return;
                }
            }
            None => {
                let text = end(destination, Some(key.destination_port), key.protocol);
                trail.step("mapping", format!("nobody has {text}"));
            }
        }
        if ingress != HAIRPIN_INTERFACE {
            self.explain_unasked(key.protocol, trail);
        }
    }

    fn explain_filtering<A: Family>(
        &self,
        key: &FlowKey<A>,
        (pool, inside, passes): (PoolId, (A, u16), bool),
        trail: &mut Trail,
    ) {
        let pool = self.policy.pool(pool);
        let remote: IpAddr = key.source.into();
        let inside = end(inside.0, Some(inside.1), key.protocol);
        let (value, why) = match (pool.filtering, passes) {
            (Filtering::EndpointIndependent, _) => {
                ("endpoint-independent", format!("everybody may send to {inside}"))
            }
            (Filtering::AddressDependent, true) => {
                ("address-dependent", format!("{inside} has a session with {remote}"))
            }
            (Filtering::AddressDependent, false) => {
                ("address-dependent", format!("{inside} has no session with {remote}"))
            }
            (Filtering::AddressAndPortDependent, _) => {
                let remote = end(remote, Some(key.source_port), key.protocol);
                ("address-and-port-dependent", format!("{inside} has no session with {remote}"))
            }
        };
        let set = setting(&pool.lines, "filtering", &format!("\"{value}\""));
        trail.step("filtering", format!("{set} of pool `{}`: {why}", pool.name));
    }

    /// What nobody has asked for meets.
    fn explain_unasked(&self, protocol: Protocol, trail: &mut Trail) {
        if protocol != Protocol::TCP {
            trail.step("unsolicited", "silence".to_owned());
            return;
        }
        let (value, told) = match self.policy.tcp.unsolicited_syn {
            UnsolicitedSyn::Drop => ("\"drop\"", "silence"),
            UnsolicitedSyn::Icmp => ("\"icmp\"", "Port Unreachable after 6 s"),
        };
        let set = setting(&self.policy.tcp_lines, "unsolicited_syn", value);
        trail.step("unsolicited", format!("{set}: {told}"));
    }
}

/// A key, its value, and where that comes from.
fn setting(lines: &Lines, key: &str, value: &str) -> String {
    match lines.of(key) {
        Some(line) => format!("line {line}: `{key} = {value}`"),
        None => format!("default `{key} = {value}`"),
    }
}
