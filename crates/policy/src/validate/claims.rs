//! Whose address and port it is: no two rules or services claim the same, none claims what belongs
//! to a link, and an address that is translated whole belongs to nobody else.

use std::ops::{Range, RangeInclusive};

use ipnet::IpNet;
use mooring_wire::Protocol;
use toml::Spanned;

use super::interfaces::Links;
use super::pools::Prefixes;
use super::routes::Placement;
use super::{Placed, overlap};
use crate::model::Model;
use crate::report::Report;
use crate::rule::{Action, Rule};
use crate::service::Service;

/// What is placed already when the claims are compared with it.
pub(super) struct Surroundings<'a> {
    pub(super) links: &'a Links,
    pub(super) routes: &'a [Placement],
    pub(super) pools: &'a Prefixes,
}

/// What one rule or service has for itself.
struct Claim<'a> {
    /// "rule `web`"
    who: String,
    at: Range<usize>,
    prefix: IpNet,
    /// `None`: every protocol and port.
    ports: Option<(Protocol, &'a RangeInclusive<u16>)>,
}

pub(super) fn check(
    model: &Model,
    rules: &[Rule],
    services: &[(usize, Service)],
    around: &Surroundings<'_>,
    report: &mut Report<'_>,
) {
    let mut claims: Vec<Claim<'_>> = Vec::new();
    for (rule, element) in rules.iter().zip(&model.rules) {
        let keys = &element.keys;
        let place = |value: &Option<Spanned<String>>| {
            value.as_ref().map_or_else(|| element.at.clone(), Spanned::span)
        };
        let who = format!("rule `{}`", rule.name);
        let claim = match &rule.action {
            Action::Static(map) => {
                let written = if keys.outside.is_some() { &keys.outside } else { &keys.address };
                Claim { who, at: place(written), prefix: map.outside, ports: None }
            }
            Action::PortForward(forward) => {
                let target = Placed { at: place(&keys.target), value: forward.target.into() };
                check_target(&target, around.links, report);
                let ports = Some((forward.protocol, &forward.ports));
                let prefix = forward.address.into();
                Claim { who, at: place(&keys.address), prefix, ports }
            }
            Action::SourceNat(_) | Action::Bypass | Action::Drop => continue,
        };
        let prefix = Placed { at: claim.at.clone(), value: claim.prefix };
        check_links(&prefix, around, report);
        check_pools(&claim, around.pools, report);
        check_claims(&claim, &claims, report);
        claims.push(claim);
    }
    let ports: Vec<_> = services.iter().map(|(_, service)| service.port..=service.port).collect();
    for ((index, service), ports) in services.iter().zip(&ports) {
        let element = &model.services[*index];
        let claim = Claim {
            who: format!("service `{}`", service.name),
            at: element.keys.port.as_ref().map_or_else(|| element.at.clone(), Spanned::span),
            prefix: service.address.into(),
            ports: Some((service.protocol, ports)),
        };
        check_claims(&claim, &claims, report);
        claims.push(claim);
    }
}

/// The addresses of links and routers are not to be translated.
fn check_links(prefix: &Placed<IpNet>, around: &Surroundings<'_>, report: &mut Report<'_>) {
    if let Some((message, line)) = around.links.owner(&prefix.value, around.routes, report) {
        let hint = format!("see line {line}: a rule cannot claim it, use another address");
        report.error(prefix.at.clone(), message, hint);
    }
}

/// The target is a host, not the appliance.
fn check_target(target: &Placed<IpNet>, links: &Links, report: &mut Report<'_>) {
    if let Some((message, line)) = links.owner(&target.value, &[], report) {
        let hint = format!("see line {line}: the target is a host behind an interface");
        report.error(target.at.clone(), message, hint);
    }
}

/// Of a pool's address only ports can be claimed: the pool keeps the rest.
fn check_pools(claim: &Claim<'_>, pools: &Prefixes, report: &mut Report<'_>) {
    let mut prefixes = pools.0.iter();
    let shared = prefixes.find(|(_, theirs)| overlap(&theirs.value, &claim.prefix).is_some());
    if claim.ports.is_none()
        && let Some((name, theirs)) = shared
    {
        let message = format!("{} is of pool `{name}` as well", in_words(&claim.prefix));
        let line = report.line(theirs.at.start);
        let hint =
            format!("see line {line}: the rule takes the whole address, the pool needs others");
        report.error(claim.at.clone(), message, hint);
    }
}

fn check_claims(claim: &Claim<'_>, earlier: &[Claim<'_>], report: &mut Report<'_>) {
    let found = earlier.iter().find_map(|other| Some((other, claim.shared_with(other)?)));
    let Some((other, shared)) = found else { return };
    let line = report.line(other.at.start);
    let message = format!("{} claims {shared} as well", other.who);
    report.error(
        claim.at.clone(),
        message,
        format!("see line {line}: only one of the two can have it"),
    );
}

impl Claim<'_> {
    /// What both claim, in words.
    fn shared_with(&self, other: &Self) -> Option<String> {
        let prefix = overlap(&self.prefix, &other.prefix)?;
        let what = in_words(prefix);
        let (Some(own), Some(theirs)) = (&self.ports, &other.ports) else { return Some(what) };
        let first = *own.1.start().max(theirs.1.start());
        let last = *own.1.end().min(theirs.1.end());
        if own.0 != theirs.0 || last < first {
            return None;
        }
        let protocol = match own.0 {
            Protocol::TCP => "tcp",
            Protocol::UDP => "udp",
            _ => "sctp",
        };
        let ports = if first == last { first.to_string() } else { format!("{first}-{last}") };
        Some(format!("{what} {protocol} {ports}"))
    }
}

/// One address is written without a length.
fn in_words(prefix: &IpNet) -> String {
    match prefix.prefix_len() == prefix.max_prefix_len() {
        true => prefix.addr().to_string(),
        false => prefix.to_string(),
    }
}
