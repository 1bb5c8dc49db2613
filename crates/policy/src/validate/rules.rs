//! `[[rule]]`: keys that fit the kind, names that exist, conditions that can hold.

mod claiming;

use std::net::IpAddr;

use ipnet::IpNet;
use mooring_wire::Protocol;
use toml::Spanned;

use super::access::{access, lets_nobody_in};
use super::allocation::rule_limits;
use super::interfaces::Links;
use super::{at_most, required, resolve, unique_name, values};
use crate::lines::Lines;
use crate::model::{self, Element, Model, RuleKind};
use crate::policy::{Backend, InterfaceId};
use crate::pool::{Pool, PoolId};
use crate::report::{Report, quoted};
use crate::rule::{Action, Matcher, Rule, has_ports};

/// The rules, and the addresses that some of them deliver to the kernel's side of a tap.
pub(super) fn validate(
    model: &Model,
    links: &Links,
    pools: &[Pool],
    report: &mut Report<'_>,
) -> (Vec<Rule>, Vec<(InterfaceId, IpAddr)>) {
    let elements = &model.rules;
    at_most("rule", MAX_RULES, elements, report);
    let mut rules: Vec<Rule> = Vec::new();
    let mut delivered = Vec::new();
    for (index, element) in elements.iter().enumerate().take(MAX_RULES) {
        let keys = &element.keys;
        let name = unique_name("rule", index, elements, report);
        let kind = required(element, keys.kind.as_ref(), "kind", "\"source-nat\"", report);
        let kind = kind.map(|kind| *kind.get_ref());
        if let Some(kind) = kind {
            check_keys(element, kind, report);
        }
        let action = action(element, kind, model, report);
        if kind == Some(RuleKind::Deliver)
            && let (Action::Static(map), Some(tap)) = (&action, tap(element, model, links, report))
        {
            delivered.push((tap, map.inside.addr()));
        }
        let matcher = matcher(element, &action, model, pools, report);
        let drain = keys.drain.unwrap_or(false);
        let access = access(&keys.allow, &keys.deny, family(&action), report);
        let lines = Lines::new(element, &["allow", "deny"], report);
        let limits = rule_limits(keys.limits.as_ref(), report);
        let rule = Rule { name, action, drain, access, limits, lines, matcher };
        check_access(element, &rule, report);
        rules.push(rule);
    }
    (rules, delivered)
}

/// What the rule's own address is called in messages, and whether it is IPv4.
fn family(action: &Action) -> Option<(&'static str, bool)> {
    match action {
        Action::Static(map) => Some(("`outside`", map.outside.addr().is_ipv4())),
        Action::PortForward(forward) => Some(("`address`", forward.address.is_ipv4())),
        Action::SourceNat(_) | Action::Bypass | Action::Drop => None,
    }
}

/// A port forward begins from outside only; with `static` the hosts may still begin something.
fn check_access(element: &Element<model::Rule>, rule: &Rule, report: &mut Report<'_>) {
    let Action::PortForward(forward) = &rule.action else { return };
    if lets_nobody_in(&rule.access, forward.address.is_ipv4(), &rule.matcher.source) {
        let key = if element.keys.allow.is_some() { "allow" } else { "deny" };
        let at = element.place(key).unwrap_or_else(|| element.at.clone());
        let message = format!("`{key}` lets nobody in: the rule can forward nothing");
        let hint = "allow somebody who may send to it, or remove the rule";
        report.error(at, message, hint);
    }
}

fn check_keys(element: &Element<model::Rule>, kind: RuleKind, report: &mut Report<'_>) {
    for (key, at) in &element.written {
        let somewhere = RuleKind::ALL.iter().filter(|kind| kind.takes(key));
        let takers: Vec<&str> = somewhere.map(|kind| kind.text()).collect();
        // A key of no kind at all was reported when it was read.
        if takers.is_empty() || kind.takes(key) {
            continue;
        }
        let message = format!("`{key}` does not apply to kind = \"{}\"", kind.text());
        let hint = format!("remove it: it belongs to {}", quoted(&takers).replace('`', "\""));
        report.error(at.clone(), message, hint);
    }
}

fn action(
    element: &Element<model::Rule>,
    kind: Option<RuleKind>,
    model: &Model,
    report: &mut Report<'_>,
) -> Action {
    match kind {
        Some(RuleKind::SourceNat) => {
            let pool = element.keys.pool.as_ref();
            let pool =
                required(element, pool, "pool", "\"egress\", the name of a [[pool]]", report);
            let index = pool.and_then(|pool| resolve("pool", pool, &model.pools, report));
            Action::SourceNat(PoolId(index.unwrap_or_default() as u16))
        }
        Some(RuleKind::Bypass) => Action::Bypass,
        Some(RuleKind::Drop) | None => Action::Drop,
        Some(RuleKind::Static) => claiming::one_to_one(element, report).unwrap_or(Action::Drop),
        Some(RuleKind::PortForward) => claiming::forward(element, report).unwrap_or(Action::Drop),
        Some(RuleKind::Deliver) => claiming::deliver(element, report).unwrap_or(Action::Drop),
        // Refused by `unsupported`: takes its place only.
        Some(RuleKind::LoadBalance | RuleKind::Nat64 | RuleKind::Siit | RuleKind::Nptv6) => {
            Action::Drop
        }
    }
}

fn matcher(
    element: &Element<model::Rule>,
    action: &Action,
    model: &Model,
    pools: &[Pool],
    report: &mut Report<'_>,
) -> Matcher {
    let keys = &element.keys;
    let mut interface = |name: &Option<Spanned<String>>| {
        let index = resolve("interface", name.as_ref()?, &model.interfaces, report)?;
        Some(InterfaceId(index as u8))
    };
    let (from, to) = (interface(&keys.from), interface(&keys.to));
    let source = prefixes("source", keys.source.as_ref(), report);
    let destination = prefixes("destination", keys.destination.as_ref(), report);
    let protocol = keys.protocol.as_ref().and_then(|protocol| values::protocol(protocol, report));
    let mut ports = |ports: &Option<Spanned<model::Word>>| values::ports(ports.as_ref()?, report);
    let source_ports = ports(&keys.source_ports);
    let destination_ports = ports(&keys.destination_ports);
    let own = match action {
        Action::SourceNat(pool) => pools.get(usize::from(pool.0)).and_then(Family::of_pool),
        Action::PortForward(forward) => Some(Family::of_address(forward.address)),
        Action::Static(_) | Action::Bypass | Action::Drop => None,
    };
    let own = (if matches!(action, Action::PortForward(_)) { "address" } else { "pool" }, own);
    check_families(element, own, protocol, report);
    check_ports(element, protocol, report);
    Matcher { from, to, protocol, source, destination, source_ports, destination_ports }
}

/// The tap interface that an address is delivered to.
fn tap(
    element: &Element<model::Rule>,
    model: &Model,
    links: &Links,
    report: &mut Report<'_>,
) -> Option<InterfaceId> {
    let name = element.keys.interface.as_ref();
    let name = required(element, name, "interface", "\"processes\", a tap interface", report)?;
    let index = resolve("interface", name, &model.interfaces, report)?;
    let link = links.interfaces.get(index)?;
    if !matches!(link.backend, Backend::Tap | Backend::TunTap) {
        let message = format!("`{}` is not a tap interface", link.name);
        let hint = "processes are behind an interface with backend = \"tap\"";
        report.error(name.span(), message, hint);
    }
    Some(InterfaceId(index as u8))
}

fn prefixes(
    key: &str,
    list: Option<&Spanned<Vec<Spanned<String>>>>,
    report: &mut Report<'_>,
) -> Vec<IpNet> {
    let Some(list) = list else { return Vec::new() };
    if list.get_ref().is_empty() {
        let hint = format!("remove `{key}` to match every address");
        report.error(list.span(), format!("`{key}` is empty: the rule can match nothing"), hint);
    }
    list.get_ref().iter().filter_map(|value| values::prefix(value, report)).collect()
}

/// Every condition of a rule must be able to hold for packets of one family.
fn check_families(
    element: &Element<model::Rule>,
    own: (&'static str, Option<Family>),
    protocol: Option<Protocol>,
    report: &mut Report<'_>,
) {
    let keys = &element.keys;
    let conditions = [
        own,
        ("protocol", protocol.and_then(Family::of_protocol)),
        ("source", Family::of_prefixes(keys.source.as_ref())),
        ("destination", Family::of_prefixes(keys.destination.as_ref())),
    ];
    let mut known = conditions.iter().filter_map(|(key, family)| Some((key, (*family)?)));
    let Some((first, family)) = known.next() else { return };
    if let Some((key, other)) = known.find(|(_, other)| *other != family) {
        let (family, other) = (family.text(), other.text());
        let at = element.place(key).unwrap_or_else(|| element.at.clone());
        let message =
            format!("the rule can never match: `{first}` is {family}, `{key}` is {other}");
        let hint = "all conditions of a rule hold for the same packet: use one family";
        report.error(at, message, hint);
    }
}

/// The one family that a condition lets through.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

impl Family {
    fn of_protocol(protocol: Protocol) -> Option<Self> {
        match protocol {
            Protocol::ICMP => Some(Self::V4),
            Protocol::ICMPV6 => Some(Self::V6),
            _ => None,
        }
    }

    fn of_pool(pool: &Pool) -> Option<Self> {
        pool.addresses.first().map(|first| Self::of_address(first.addr()))
    }

    fn of_address(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// `None` if the list lets both through, or nothing can be said.
    fn of_prefixes(list: Option<&Spanned<Vec<Spanned<String>>>>) -> Option<Self> {
        let parse = |value: &Spanned<String>| {
            let text = value.get_ref().split('/').next()?;
            text.parse().ok().map(|address: IpAddr| address.is_ipv4())
        };
        let mut families = list?.get_ref().iter().filter_map(parse);
        let is_v4 = families.next()?;
        families.all(|other| other == is_v4).then_some(if is_v4 { Self::V4 } else { Self::V6 })
    }

    fn text(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

fn check_ports(
    element: &Element<model::Rule>,
    protocol: Option<Protocol>,
    report: &mut Report<'_>,
) {
    let Some(protocol) = protocol.filter(|protocol| !has_ports(*protocol)) else { return };
    for key in ["source_ports", "destination_ports"] {
        let Some(at) = element.place(key) else { continue };
        let written = element.keys.protocol.as_ref().map(|word| word.get_ref().0.as_str());
        let written = written.map_or_else(|| protocol.0.to_string(), str::to_owned);
        let message = format!("`{key}` cannot match: protocol {written} has no ports");
        report.error(at, message, "ports are those of \"tcp\", \"udp\" and \"sctp\"");
    }
}

/// Comparing and compiling so many takes two seconds; the work grows with the square.
const MAX_RULES: usize = 10_000;
