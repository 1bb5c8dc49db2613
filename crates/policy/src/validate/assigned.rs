//! Addresses that a control plane gives: which of them pools and interfaces want, and which find a
//! place.
//!
//! Nothing here is an error of the text: what does not fit is left out with a reason, so that another
//! route never keeps a policy from being compiled.

use ipnet::IpNet;
use toml::Spanned;

use super::interfaces::Links;
use super::overlap;
use super::routes::Placement;
use crate::holding::{Assignment, Assignments, Networks, NotTaken, canonical_network};
use crate::kernel::KernelHold;
use crate::model::{AddressesFrom, Element, Family, Model, RouteChoice, Source};
use crate::pool::{Allocation, Pool, address_count};
use crate::report::Report;
use crate::rule::{Action, Rule};

/// What the keys `addresses_from` and `gateway_addresses_from` ask for, checked as far as the text goes.
pub(super) fn check(model: &Model, pools: &[Pool], report: &mut Report<'_>) {
    let is_given = model.source() == Source::Kubernetes;
    let of_pools = model.pools.iter().map(|pool| (&pool.keys.addresses_from, "addresses_from"));
    let of_links = model.interfaces.iter();
    let of_links =
        of_links.map(|link| (&link.keys.gateway_addresses_from, "gateway_addresses_from"));
    for (wanted, key) in of_pools.chain(of_links) {
        let Some(wanted) = wanted else { continue };
        if !is_given {
            let message = format!("`{key}` needs somebody who gives addresses");
            let hint = "add [control] source = \"kubernetes\", or list the addresses";
            report.error(wanted.span(), message, hint);
        }
        if wanted.get_ref().routes.is_none() {
            let hint =
                "add routes = \"all\", routes = [\"name\"] or routes = { label = \"value\" }";
            report.error(wanted.span(), format!("`{key}` does not say of which routes"), hint);
        }
    }
    for (element, pool) in model.pools.iter().zip(pools) {
        let Some(wanted) = &element.keys.addresses_from else { continue };
        if matches!(pool.allocation, Allocation::Deterministic(_)) {
            let message = "a deterministic pool cannot take addresses as they are given";
            let hint = "hosts are reckoned from the list of addresses (RFC 7422 §2): write it";
            report.error(wanted.span(), message, hint);
        }
        let family = wanted.get_ref().family;
        if let (Some(family), Some(first)) = (family, pool.addresses.first())
            && (family == Family::Ipv4) != first.addr().is_ipv4()
        {
            let message = "`family` is not that of the pool's `addresses`";
            report.error(wanted.span(), message, "a pool is of one family: remove `family`");
        }
    }
    for element in &model.interfaces {
        let device = element.keys.device.as_ref();
        let by_network = device.filter(|device| device.get_ref().starts_with(NETWORK));
        if let Some(device) = by_network.filter(|_| !is_given) {
            let message = format!("device \"{}\" needs a Pod's annotations", device.get_ref());
            let hint = "add [control] source = \"kubernetes\", or name the device";
            report.error(device.span(), message, hint);
        }
    }
}

/// Takes out what the kernel holds itself, and says so: beside it nothing of a policy could be put to work.
pub(super) fn leave_to_kernel(given: &mut Assignments, holds: &[KernelHold]) -> Vec<NotTaken> {
    let mut not_taken = Vec::new();
    given.addresses.retain(|assignment| {
        let hold = holds.iter().find(|hold| hold.prefix.contains(&assignment.address));
        not_taken.extend(hold.map(|hold| NotTaken {
            address: assignment.address,
            route: assignment.route.clone(),
            reason: hold.to_string(),
        }));
        hold.is_none()
    });
    not_taken
}

/// Gives pools and interfaces the addresses that they ask for, in the order of the assignments, and
/// says which found no place.
pub(super) fn distribute(
    model: &Model,
    given: &Assignments,
    pools: &mut [Pool],
    links: &mut Links,
    around: (&[Placement], &[Rule]),
    report: &Report<'_>,
) -> Vec<NotTaken> {
    let mut not_taken = Vec::new();
    let written: Vec<Pool> = pools.to_vec();
    let mut room = pools.iter().flat_map(|pool| &pool.addresses).map(address_count).sum();
    for assignment in &given.addresses {
        let wanted = |wanted: &Option<Spanned<AddressesFrom>>, network: Option<&str>, is_v4| {
            let wanted = wanted.as_ref().map(Spanned::get_ref);
            wanted.is_some_and(|wanted| wants(wanted, network, is_v4, assignment))
        };
        let pool = model.pools.iter().zip(&written).position(|(element, pool)| {
            wanted(&element.keys.addresses_from, None, is_v4(element, pool.addresses.first()))
        });
        let link = model.interfaces.iter().zip(&links.interfaces).position(|(element, link)| {
            wanted(&element.keys.gateway_addresses_from, link.network.as_deref(), None)
        });
        let refused = match (link, pool) {
            (Some(link), _) => place_gateway(assignment, link, links, &written, around, report),
            (None, Some(pool)) => {
                place(assignment, pool, pools, (links, &mut room), around, report)
            }
            (None, None) => Ok(()),
        };
        if let Err(reason) = refused {
            let (address, route) = (assignment.address, assignment.route.clone());
            not_taken.push(NotTaken { address, route, reason });
        }
    }
    not_taken
}

fn place(
    assignment: &Assignment,
    into: usize,
    pools: &mut [Pool],
    (links, room): (&Links, &mut u128),
    (routes, rules): (&[Placement], &[Rule]),
    report: &Report<'_>,
) -> Result<(), String> {
    let address = assignment.address;
    let prefix = IpNet::from(address);
    if pools[into].contains(address) {
        return Ok(());
    }
    if let Some((reason, _)) = links.owner(&prefix, routes, report) {
        return Err(reason);
    }
    let whole = rules.iter().find(|rule| match &rule.action {
        Action::Static(map) => overlap(&map.outside, &prefix).is_some(),
        _ => false,
    });
    if let Some(rule) = whole {
        return Err(format!("rule `{}` claims all of {address}", rule.name));
    }
    let ports = pools[into].ports.clone();
    let shares = |pool: &&Pool| {
        pool.contains(address)
            && pool.ports.start() <= ports.end()
            && ports.start() <= pool.ports.end()
    };
    if let Some(other) = pools.iter().find(shares) {
        return Err(format!("pool `{}` has {address} with some of the ports", other.name));
    }
    if *room >= Pool::MAX_ADDRESSES.into() {
        return Err(format!("all pools together have {room} addresses, the most they may"));
    }
    *room += 1;
    pools[into].addresses.push(prefix);
    Ok(())
}

fn place_gateway(
    assignment: &Assignment,
    at: usize,
    links: &mut Links,
    pools: &[Pool],
    (routes, rules): (&[Placement], &[Rule]),
    report: &Report<'_>,
) -> Result<(), String> {
    let address = assignment.address;
    let interface = &links.interfaces[at];
    if interface.gateway_addresses.contains(&address) {
        return Ok(());
    }
    if let Some((reason, _)) = links.owner(&IpNet::from(address), routes, report) {
        return Err(reason);
    }
    if let Some(pool) = pools.iter().find(|pool| pool.contains(address)) {
        return Err(format!("pool `{}` has {address} as well", pool.name));
    }
    let claimed = rules.iter().find(|rule| match &rule.action {
        Action::Static(map) => map.outside.contains(&address),
        Action::PortForward(forward) => forward.address == address,
        _ => false,
    });
    if let Some(rule) = claimed {
        return Err(format!("rule `{}` claims {address} as well", rule.name));
    }
    links.interfaces[at].gateway_addresses.push(address);
    Ok(())
}

/// Whether an assignment is one of those asked for. `network` is what counts where the text names none,
/// `is_v4` where it names no family.
fn wants(
    wanted: &AddressesFrom,
    network: Option<&str>,
    is_v4: Option<bool>,
    assignment: &Assignment,
) -> bool {
    let written = wanted.network.as_ref().map(|network| canonical_network(network.get_ref()));
    let network = written.or(network);
    let family = wanted.family.map(|family| family == Family::Ipv4).or(is_v4);
    let route = wanted.routes.as_ref().is_some_and(|routes| match routes {
        RouteChoice::All => true,
        RouteChoice::Names(names) => names.contains(&assignment.route),
        RouteChoice::Labels(labels) => {
            labels.iter().all(|(key, value)| assignment.labels.get(key) == Some(value))
        }
    });
    route
        && network.is_none_or(|network| network == assignment.network)
        && family.is_none_or(|is_v4| is_v4 == assignment.address.is_ipv4())
}

/// The family of a pool: as its addresses are, else as it says.
pub(super) fn is_v4(element: &Element<crate::model::Pool>, first: Option<&IpNet>) -> Option<bool> {
    let asked = element.keys.addresses_from.as_ref();
    let asked = asked.map(|from| from.get_ref().family.unwrap_or_default() == Family::Ipv4);
    first.map(|first| first.addr().is_ipv4()).or(asked)
}

/// The network that an interface is on: the text says so, or the Pod's annotations do.
pub(super) fn network(
    element: &Element<crate::model::Interface>,
    device: &str,
    networks: Option<&Networks>,
) -> Option<String> {
    let named = device.strip_prefix(NETWORK);
    let written = element.keys.network.as_ref().map(|network| network.get_ref().as_str());
    let annotated = || networks?.network(device);
    written.or(named).or_else(annotated).map(|network| canonical_network(network).to_owned())
}

/// The device that the text names, or the one of the network that it names.
pub(super) fn device(
    written: &Spanned<String>,
    networks: Option<&Networks>,
    report: &mut Report<'_>,
) -> String {
    let text = written.get_ref();
    let (Some(network), Some(networks)) = (text.strip_prefix(NETWORK), networks) else {
        return text.clone();
    };
    if let Some(device) = networks.device(canonical_network(network)) {
        return device.to_owned();
    }
    let known: Vec<&str> = networks.devices.iter().map(|(name, _)| name.as_str()).collect();
    let hint = match known.is_empty() {
        true => {
            "the Pod's annotations name no network: set networking.gke.io/interfaces".to_owned()
        }
        false => format!("the Pod's annotations name {}", known.join(", ")),
    };
    report.error(written.span(), format!("the Pod has no interface on network `{network}`"), hint);
    text.clone()
}

/// Before the name of a network, in the place of a device.
pub(super) const NETWORK: &str = "network:";
