//! What the rules make of a new flow: who is inside, what stands for it, where its packets go.

use super::{Model, Reason};
use crate::packet::{ACK, End, FIN, GRE, ICMP, ICMPV6, Key, RST, SYN, TCP};
use crate::spec::{Action, Filtering, Side, Spec, is_own, may_begin as may_list, side_of};
use crate::tracking::Way;

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The flow of the packet that it was made for.
    pub(crate) key: Key,
    pub(crate) began: Way,
    pub(crate) inside: End,
    pub(crate) remote: End,
    pub(crate) stands: Stands,
    pub(crate) rule: &'static str,
    pub(crate) drains: bool,
    /// Where forward and reverse packets come in.
    pub(crate) sides: [Side; 2],
}

/// What stands for the inside host outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stands {
    /// An end of this pool.
    Pool(&'static str),
    Fixed(End),
    Mapping(u64),
}

impl Model {
    /// # Errors
    /// Why the rules make nothing of it.
    pub(crate) fn plan(&self, key: &Key, from: Side) -> Result<Plan, Reason> {
        let ours = self.spec.is_outside_address(key.destination.0);
        match (ours, from) {
            (true, Side::Inside) => self.begun(key, from, Side::Hairpin),
            (true, _) => {
                let plan = self.inbound(key, from)?;
                if from == Side::Outside {
                    self.way_back(key, from)?;
                }
                Ok(plan)
            }
            (false, _) => {
                let to = side_of(key.destination.0).ok_or("no_route")?;
                self.begun(key, from, to)
            }
        }
    }

    /// A flow that its sender begins.
    fn begun(&self, key: &Key, from: Side, to: Side) -> Result<Plan, Reason> {
        let asked = if to == Side::Hairpin { Side::Outside } else { to };
        let rule = self.spec.through(key, from, asked).ok_or("no_rule")?;
        let stands = match rule.action {
            Action::SourceNat(pool) => {
                let pool = self.spec.pool(pool).ok_or("no_rule")?;
                if to == Side::Hairpin && !pool.hairpin {
                    return Err("no_rule");
                }
                // RFC 4787 REQ-1: an inside end has one outside end.
                let forwarded = forwarded(&self.spec, key.protocol, key.source);
                forwarded.map_or(Stands::Pool(pool.name), Stands::Fixed)
            }
            Action::Static(_, outside) => Stands::Fixed((outside, key.source.1)),
            Action::Bypass if to == Side::Hairpin => return Err("no_rule"),
            Action::Bypass => Stands::Fixed(key.source),
            Action::Drop => return Err("rule_drop"),
            Action::PortForward(..) => return Err("no_rule"),
        };
        self.way_back(key, from)?;
        Ok(Plan {
            key: *key,
            began: Way::Forward,
            inside: key.source,
            remote: key.destination,
            stands,
            rule: rule.name,
            drains: rule.drain,
            sides: [from, to],
        })
    }

    /// A packet to an address of ours from outside of it.
    fn inbound(&self, key: &Key, from: Side) -> Result<Plan, Reason> {
        let (inside, stands, rule, drains) = match self.spec.inbound(key) {
            Some((rule, _)) if !may_list(&rule.allow, &rule.deny, key.source.0) => {
                return Err("denied");
            }
            Some((rule, target)) => (target, Stands::Fixed(key.destination), rule.name, rule.drain),
            None => self.to_mapping(key)?,
        };
        Ok(Plan {
            key: *key,
            began: Way::Reverse,
            inside,
            remote: key.source,
            stands,
            rule,
            drains,
            sides: [Side::Inside, from],
        })
    }

    /// Whom a mapping lets in (RFC 4787 §5).
    fn to_mapping(&self, key: &Key) -> Result<(End, Stands, &'static str, bool), Reason> {
        let mapped =
            |m: &&super::Mapping| (m.protocol, m.outside) == (key.protocol, key.destination);
        let mapping = self.mappings.iter().find(mapped).ok_or("no_session")?;
        let pool = self.spec.pool(mapping.pool).ok_or("filtered")?;
        let listed = may_list(&pool.allow, &pool.deny, key.source.0);
        let talks_to = |session: &super::Session| {
            session.mapping == Some(mapping.id)
                && session.remote.0 == key.source.0
                && self.contacts_since.is_some_and(|since| session.generation >= since)
        };
        let passes = match pool.filtering {
            Filtering::Endpoint => true,
            Filtering::Address => self.sessions.iter().any(talks_to),
            Filtering::AddressAndPort => false,
        };
        let leased = !pool.endpoint_dependent
            && self.spec.has_end(pool.name, key.protocol, key.destination)
            && pool.slice_has(mapping.inside.0, key.destination);
        if !passes || !leased {
            return Err("filtered");
        }
        if !listed {
            return Err("denied");
        }
        // Only while a rule would translate what the inside end sends there.
        let Key { protocol, source: remote, .. } = *key;
        let forward = Key { protocol, source: mapping.inside, destination: remote };
        let rule = self.spec.through(&forward, Side::Inside, Side::Outside).ok_or("filtered")?;
        if rule.action != Action::SourceNat(pool.name) {
            return Err("filtered");
        }
        Ok((mapping.inside, Stands::Mapping(mapping.id), rule.name, rule.drain))
    }

    /// Whether the pool of a session says that only packets from inside keep it (RFC 4787 REQ-6).
    pub(super) fn refreshes_outbound(&self, plan: &Plan) -> bool {
        self.pool_of(plan).is_some_and(|pool| pool.outbound)
    }

    /// The way back must lead to where a packet came from, and its source must not be ours (RFC 3704).
    fn way_back(&self, key: &Key, from: Side) -> Result<(), Reason> {
        let source = key.source.0;
        let back =
            side_of(source).or(self.spec.is_outside_address(source).then_some(Side::Outside));
        let forged = is_own(source) || self.spec.is_outside_address(source);
        match side_of(source) {
            None => Err("no_route"),
            Some(_) if forged || back != Some(from) => Err("spoofed_source"),
            Some(_) => Ok(()),
        }
    }
}

/// The forwarded end of an inside one, of the first rule that leads to it.
fn forwarded(spec: &Spec, protocol: u8, (host, port): End) -> Option<End> {
    spec.rules.iter().find_map(|rule| match rule.action {
        Action::PortForward(address, of, (first, last), target)
            if (of, target.0) == (protocol, host)
                && (target.1..=target.1 + (last - first)).contains(&port) =>
        {
            Some((address, first + (port - target.1)))
        }
        _ => None,
    })
}

/// TCP begins with SYN alone, ICMP with a query, everything else with anything.
pub(crate) fn may_begin(plan: &Plan, flags: Option<u8>, spec: &Spec) -> bool {
    let key = &plan.key;
    match (key.protocol, flags) {
        (ICMP | ICMPV6, _) => key.destination.1 == 0,
        (TCP, Some(flags)) => {
            // Of a connection that is older than we are, only a host inside goes on.
            let older = flags & (SYN | ACK | RST) == ACK && plan.began == Way::Forward;
            is_syn(flags) || spec.tcp.pick_up && older
        }
        (GRE, _) | (_, _) => true,
    }
}

/// Whether a segment begins a connection.
pub(super) const fn is_syn(flags: u8) -> bool {
    flags & (SYN | ACK | RST | FIN) == SYN
}
