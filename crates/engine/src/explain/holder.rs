//! Who holds an outside end.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use mooring_policy::{Action, Ownership};
use mooring_wire::Protocol;

use super::{Explanation, Outcome, Trail, end};
use crate::family::Family;
use crate::{DropReason, Engine};

impl Engine {
    /// Who holds an outside address and port, as far as it can be told without looking at every
    /// session: the claim, the pool, the mapping. Sessions of endpoint-dependent pools and of `static`
    /// rules are in `show sessions`.
    #[must_use]
    pub fn explain_outside(&self, address: IpAddr, port: u16, protocol: Protocol) -> Explanation {
        let mut trail = Trail::default();
        let held = |holder: String| Outcome::Local(format!("held by {holder}"));
        let outcome = match self.policy.ownership(address) {
            None => {
                trail.step("address", format!("{address} is not ours"));
                // It was, and sessions drain.
                let mapped = self.mapped(address, port, protocol, &mut trail);
                mapped.map_or(Outcome::Dropped(DropReason::NotForUs), held)
            }
            Some(owner) => {
                let claimed = self.claims(address, port, protocol, owner, &mut trail);
                let mapped = self.mapped(address, port, protocol, &mut trail);
                let blocked = match address {
                    IpAddr::V4(v4) => self.block_of::<Ipv4Addr>(v4, port, &mut trail),
                    IpAddr::V6(v6) => self.block_of::<Ipv6Addr>(v6, port, &mut trail),
                };
                match claimed.or(mapped).or(blocked) {
                    Some(holder) => held(holder),
                    None => self
                        .calculated(address, port, protocol, &mut trail)
                        .map_or(Outcome::Dropped(DropReason::NoSession), Outcome::Local),
                }
            }
        };
        trail.ends(outcome)
    }

    /// Who has the address by its owner, a service or a rule: the last two hold the port as well, and
    /// are returned.
    fn claims(
        &self,
        address: IpAddr,
        port: u16,
        protocol: Protocol,
        owner: Ownership,
        trail: &mut Trail,
    ) -> Option<String> {
        let text = match owner {
            Ownership::Interface(id) => format!("interface `{}`", self.name(id)),
            Ownership::Gateway(id) => format!("gateway of `{}`", self.name(id)),
            Ownership::Pool(id) => format!("pool `{}`", self.policy.pool(id).name),
            Ownership::Rule(id) => format!("rule `{}`", self.rule_name(id.0)),
        };
        trail.step("address", format!("{address} is ours: {text}"));
        if let Some(service) = self.policy.service(address, protocol, port) {
            let name = &self.policy.services[usize::from(service.0)].name;
            trail.step("service", format!("`{name}` answers here"));
            return Some(format!("service `{name}`"));
        }
        for rule in &self.policy.rules {
            let found = match &rule.action {
                Action::Static(map) => map.inward(address).map(|inside| (inside, port)),
                Action::PortForward(forward)
                    if forward.address == address && forward.protocol == protocol =>
                {
                    forward.target(port)
                }
                _ => None,
            };
            if let Some((inside, port)) = found {
                let inside = end(inside, Some(port), protocol);
                trail.step(
                    "rule",
                    format!("line {}: `{}` gives it to {inside}", rule.lines.head(), rule.name),
                );
                return Some(inside);
            }
        }
        None
    }

    fn mapped(
        &self,
        address: IpAddr,
        port: u16,
        protocol: Protocol,
        trail: &mut Trail,
    ) -> Option<String> {
        match address {
            IpAddr::V4(v4) => self.mapping_of::<Ipv4Addr>(v4, port, protocol, trail),
            IpAddr::V6(v6) => self.mapping_of::<Ipv6Addr>(v6, port, protocol, trail),
        }
    }

    fn mapping_of<A: Family>(
        &self,
        address: A,
        port: u16,
        protocol: Protocol,
        trail: &mut Trail,
    ) -> Option<String> {
        let nat = A::nat(&self.nats);
        let mappings = &nat.mappings;
        let Some(index) = mappings.find_outside(address, port, protocol) else {
            trail.step("mapping", "no endpoint-independent mapping has it".to_owned());
            return None;
        };
        let mapping = mappings.mapping(index);
        let inside = end(mapping.inside, Some(mapping.inside_port), protocol);
        let pool = self.pool_name(nat.pool_of(mapping));
        trail.step("mapping", format!("held by {inside}, pool `{pool}`"));
        Some(inside)
    }
}
