//! `[[pool]]`: no address and port belongs to two pools, none of them to an interface or a router.

use std::ops::RangeInclusive;

use ipnet::IpNet;

use super::interfaces::Links;
use super::routes::Placement;
use super::{Placed, at_most, required, unique_name, values};
use crate::model::{self, Element};
use crate::pool::{Pool, address_count};
use crate::report::Report;

/// A prefix that a pool claims, to compare later ones with.
struct Claim {
    pool: usize,
    prefix: Placed<IpNet>,
    ports: RangeInclusive<u16>,
}

pub(super) fn validate(
    elements: &[Element<model::Pool>],
    links: &Links,
    routes: &[Placement],
    report: &mut Report<'_>,
) -> Vec<Pool> {
    at_most("pool", u16::MAX.into(), elements, report);
    let mut claims = Vec::new();
    let mut pools: Vec<Pool> = Vec::new();
    for (index, element) in elements.iter().enumerate().take(u16::MAX.into()) {
        let keys = &element.keys;
        let name = unique_name("pool", index, elements, report);
        let ports = keys.ports.as_ref().and_then(|ports| values::ports(ports, report));
        let ports = ports.unwrap_or(DEFAULT_PORTS);
        let addresses = addresses(element, report);
        for prefix in &addresses {
            check_neighbours(prefix, links, routes, report);
            let claim = Claim { pool: index, prefix: prefix.clone(), ports: ports.clone() };
            check_claim(&claim, &claims, &pools, report);
            claims.push(claim);
        }
        pools.push(Pool {
            name,
            addresses: addresses.into_iter().map(|prefix| prefix.value).collect(),
            ports,
            mapping: keys.mapping.unwrap_or_default(),
            filtering: keys
                .filtering
                .as_ref()
                .map(|filtering| *filtering.get_ref())
                .unwrap_or_default(),
            hairpin: keys.hairpin.unwrap_or(true),
            ping: keys.ping.unwrap_or(true),
        });
    }
    pools
}

fn addresses(element: &Element<model::Pool>, report: &mut Report<'_>) -> Vec<Placed<IpNet>> {
    let written = element.keys.addresses.as_ref();
    let Some(list) = required(element, written, "addresses", "[\"203.0.113.10/32\"]", report)
    else {
        return Vec::new();
    };
    if list.get_ref().is_empty() {
        let hint = "list the addresses to translate to: \"203.0.113.10/32\"";
        report.error(list.span(), "a pool needs an address", hint);
    }
    let mut addresses = Vec::new();
    for value in list.get_ref() {
        let Some(prefix) = values::prefix(value, report) else { continue };
        if values::usable(prefix, value, report) {
            addresses.push(Placed { at: value.span(), value: prefix });
        }
    }
    let counts = addresses.iter().map(|prefix| address_count(&prefix.value));
    let count = counts.fold(0_u128, u128::saturating_add);
    if count > Pool::MAX_ADDRESSES.into() {
        let message = format!("the pool has {count} addresses");
        report.error(list.span(), message, format!("at most {} are possible", Pool::MAX_ADDRESSES));
    }
    addresses
}

/// The addresses of a pool are ours alone: not an interface's, not a next hop's.
fn check_neighbours(
    prefix: &Placed<IpNet>,
    links: &Links,
    routes: &[Placement],
    report: &mut Report<'_>,
) {
    for (interface, own) in &links.addresses {
        let address = own.value.addr();
        if prefix.value.contains(&address) {
            let name = links.name(*interface);
            let message = format!("{address} is the address of interface `{name}`");
            let hint =
                format!("see line {}: give the pool other addresses", report.line(own.at.start));
            report.error(prefix.at.clone(), message, hint);
        }
    }
    for via in routes.iter().filter_map(|route| route.via.as_ref()) {
        if prefix.value.contains(&via.value) {
            let message = format!("{} is a router's address", via.value);
            let hint =
                format!("see line {}: give the pool other addresses", report.line(via.at.start));
            report.error(prefix.at.clone(), message, hint);
        }
    }
}

/// Two pools may share an address if their ports do not intersect.
fn check_claim(claim: &Claim, earlier: &[Claim], pools: &[Pool], report: &mut Report<'_>) {
    let prefix = &claim.prefix.value;
    for other in earlier {
        let shared = match &other.prefix.value {
            theirs if theirs.contains(prefix) => prefix,
            theirs if prefix.contains(theirs) => theirs,
            _ => continue,
        };
        let line = report.line(other.prefix.at.start);
        if other.pool == claim.pool {
            let message = format!("the pool has {shared} twice");
            report.error(claim.prefix.at.clone(), message, format!("the first is on line {line}"));
            return;
        }
        let first = *claim.ports.start().max(other.ports.start());
        let last = *claim.ports.end().min(other.ports.end());
        if first <= last {
            let name = &pools[other.pool].name;
            let message = format!("pool `{name}` has {shared} with ports {first}-{last} as well");
            let hint = format!("see line {line}: give one pool other addresses, or other `ports`");
            report.error(claim.prefix.at.clone(), message, hint);
            return;
        }
    }
}

/// RFC 4787 REQ-3: ports of 1024 and above map to such ports; the well-known ones stay free.
const DEFAULT_PORTS: RangeInclusive<u16> = 1024..=65535;
