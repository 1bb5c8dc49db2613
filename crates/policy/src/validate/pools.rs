//! `[[pool]]`: no address and port belongs to two pools, none of them to an interface or a router.

use std::ops::{Range, RangeInclusive};

use ipnet::IpNet;
use toml::Spanned;

use super::access::access;
use super::interfaces::Links;
use super::routes::Placement;
use super::settings::Crew;
use super::words::counted;
use super::{Placed, at_most, overlap, required, unique_name, values};
use super::{allocation, assigned, fit};
use crate::lines::Lines;
use crate::model::{self, Element};
use crate::pool::{Filtering, Mapping, Pool, address_count};
use crate::report::Report;

/// Every prefix of every pool: the pool's name and the place.
pub(super) struct Prefixes(pub(super) Vec<(String, Placed<IpNet>)>);

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
    crew: Crew,
    report: &mut Report<'_>,
) -> (Vec<Pool>, Prefixes) {
    at_most("pool", u16::MAX.into(), elements, report);
    let mut claims = Vec::new();
    let mut pools: Vec<Pool> = Vec::new();
    let mut room = Room { used: 0, crew };
    for (index, element) in elements.iter().enumerate().take(u16::MAX.into()) {
        let keys = &element.keys;
        let name = unique_name("pool", index, elements, report);
        let ports = keys.ports.as_ref().and_then(|ports| values::ports(ports, report));
        let ports = ports.unwrap_or(DEFAULT_PORTS);
        let addresses = addresses(element, &mut room, report);
        check_family(&addresses, report);
        check_filtering(keys, report);
        for prefix in &addresses {
            check_neighbours(prefix, links, routes, report);
            let claim = Claim { pool: index, prefix: prefix.clone(), ports: ports.clone() };
            check_claim(&claim, &claims, &pools, report);
            claims.push(claim);
        }
        let family = assigned::is_v4(element, addresses.first().map(|first| &first.value));
        let family = family.map(|is_v4| ("the pool", is_v4));
        let pool = Pool {
            name,
            addresses: addresses.into_iter().map(|prefix| prefix.value).collect(),
            ports,
            mapping: keys.mapping.unwrap_or_default(),
            filtering: value(&keys.filtering),
            hairpin: keys.hairpin.unwrap_or(true),
            ping: keys.ping.unwrap_or(true),
            pooling: value(&keys.pooling),
            address_choice: value(&keys.address_choice),
            allocation: allocation::allocation(element, report),
            parity: value(&keys.parity),
            contiguity: value(&keys.contiguity),
            overflow_ports: allocation::overflow_ports(element, report),
            hold_down: allocation::hold_down(keys.hold_down.as_ref(), report),
            refresh: keys.refresh.unwrap_or_default(),
            limits: allocation::limits(keys.limits.as_ref(), report),
            access: access(&keys.allow, &keys.deny, family, report),
            lines: Lines::new(element, &LINES, report),
            held: None,
        };
        fit::check(element, &pool, crew, report);
        pools.push(pool);
    }
    let named = |claim: Claim| (pools[claim.pool].name.clone(), claim.prefix);
    let prefixes = Prefixes(claims.into_iter().map(named).collect());
    (pools, prefixes)
}

/// What is written, or the default.
fn value<T: Copy + Default>(written: &Option<Spanned<T>>) -> T {
    written.as_ref().map(|value| *value.get_ref()).unwrap_or_default()
}

fn addresses(
    element: &Element<model::Pool>,
    room: &mut Room,
    report: &mut Report<'_>,
) -> Vec<Placed<IpNet>> {
    let written = element.keys.addresses.as_ref();
    if written.is_none() && element.place("addresses_from").is_some() {
        return Vec::new();
    }
    let Some(list) = required(element, written, "addresses", "[\"203.0.113.10/32\"]", report)
    else {
        return Vec::new();
    };
    if list.get_ref().is_empty() && element.keys.addresses_from.is_none() {
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
    room.check(count, list.span(), report);
    addresses
}

/// The addresses of the pools so far. Who owns their ports is known in each worker, in memory that is
/// taken when the policy is adopted: too many would end the process then.
struct Room {
    used: u128,
    crew: Crew,
}

impl Room {
    fn check(&mut self, count: u128, at: Range<usize>, report: &mut Report<'_>) {
        let (before, most) = (self.used, u128::from(Pool::MAX_ADDRESSES));
        self.used = before.saturating_add(count);
        // Of many pools that are too much together, the first one says so.
        if count <= most && (self.used <= most || before > most) {
            return;
        }
        let all = self.used;
        let message = match before {
            0 => format!("the pool has {}", counted(count, "address", "addresses")),
            _ => format!(
                "the pool has {}, with those before it {all}",
                counted(count, "address", "addresses")
            ),
        };
        let bytes = all.saturating_mul(Pool::BYTES_PER_ADDRESS.into());
        let bytes = bytes.saturating_mul(self.crew.workers.into());
        let (gigabytes, tenths) = (bytes / 1_000_000_000, bytes / 100_000_000 % 10);
        let hint = format!(
            "all pools together may have {most}: {all} x {} KB are {gigabytes}.{tenths} GB for {}",
            Pool::BYTES_PER_ADDRESS / 1024,
            self.crew,
        );
        report.error(at, message, hint);
    }
}

/// All prefixes of one pool are of one family.
fn check_family(addresses: &[Placed<IpNet>], report: &mut Report<'_>) {
    let Some((first, rest)) = addresses.split_first() else { return };
    let is_v4 = first.value.addr().is_ipv4();
    if let Some(other) = rest.iter().find(|other| other.value.addr().is_ipv4() != is_v4) {
        let message = format!("a pool cannot have {} and {} both", first.value, other.value);
        let hint = "make two pools, one of IPv4 and one of IPv6, each with its rule";
        report.error(other.at.clone(), message, hint);
    }
}

/// RFC 4787 §5: who may send to a mapping is asked of mappings; ports that remotes share have none.
fn check_filtering(keys: &model::Pool, report: &mut Report<'_>) {
    let Some(filtering) = &keys.filtering else { return };
    if keys.mapping == Some(Mapping::EndpointDependent)
        && *filtering.get_ref() != Filtering::AddressAndPortDependent
    {
        let message = "this `filtering` cannot be had with mapping = \"endpoint-dependent\"";
        let hint = "ports are shared between remotes, each sees its own: remove `filtering`";
        report.error(filtering.span(), message, hint);
    }
}

/// The addresses of a pool are ours alone: not an interface's, not a next hop's.
fn check_neighbours(
    prefix: &Placed<IpNet>,
    links: &Links,
    routes: &[Placement],
    report: &mut Report<'_>,
) {
    if let Some((message, line)) = links.owner(&prefix.value, routes, report) {
        let hint = format!("see line {line}: give the pool other addresses");
        report.error(prefix.at.clone(), message, hint);
    }
}

/// Two pools may share an address if their ports do not intersect.
fn check_claim(claim: &Claim, earlier: &[Claim], pools: &[Pool], report: &mut Report<'_>) {
    let prefix = &claim.prefix.value;
    for other in earlier {
        let Some(shared) = overlap(&other.prefix.value, prefix) else { continue };
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

/// The keys that decide who gets in.
const LINES: [&str; 5] = ["allow", "deny", "filtering", "hairpin", "ping"];

/// RFC 4787 REQ-3: ports of 1024 and above map to such ports; the well-known ones stay free.
const DEFAULT_PORTS: RangeInclusive<u16> = 1024..=65535;
