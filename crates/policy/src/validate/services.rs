//! `[[service]]`: ports of our addresses that the appliance answers itself.

use std::net::IpAddr;

use mooring_wire::Protocol;

use super::interfaces::Links;
use super::{at_most, required, unique_name, values};
use crate::model::Model;
use crate::pool::Pool;
use crate::report::Report;
use crate::rule::{Action, Rule};
use crate::service::{Service, ServiceKind};

/// The services that could be read, each with its place among those of the text.
pub(super) fn validate(
    model: &Model,
    links: &Links,
    pools: &[Pool],
    rules: &[Rule],
    report: &mut Report<'_>,
) -> Vec<(usize, Service)> {
    let elements = &model.services;
    at_most("service", u16::MAX.into(), elements, report);
    let mut services = Vec::new();
    for (index, element) in elements.iter().enumerate().take(u16::MAX.into()) {
        let keys = &element.keys;
        let name = unique_name("service", index, elements, report);
        required(element, keys.kind.as_ref(), "kind", "\"health\"", report);
        let address = keys.address.as_ref();
        let address = required(element, address, "address", "\"203.0.113.10\"", report);
        let written = required(element, keys.port.as_ref(), "port", "8080", report);
        let parsed = address.and_then(|address| values::host_address(address, report));
        let port = written.and_then(|port| values::integer("port", port, 1..=65_535, report));
        let (Some(place), Some(address), Some(port)) = (address, parsed, port) else { continue };
        if !is_ours(address, links, pools, rules) {
            let message = format!("{address} is not an address of ours");
            let hint = "use an address of a [[pool]], of an interface, or one with forwarded ports";
            report.error(place.span(), message, hint);
        }
        let kind = keys.kind.unwrap_or(ServiceKind::Health);
        let (protocol, port) = (Protocol::TCP, port as u16);
        services.push((index, Service { name, kind, address, protocol, port }));
    }
    services
}

/// Whether packets to the address come to us. A kernel's address is not ours.
fn is_ours(address: IpAddr, links: &Links, pools: &[Pool], rules: &[Rule]) -> bool {
    let of_link = links.interfaces.iter().any(|link| {
        let own = link.addresses.iter().any(|net| net.addr() == address);
        (own && !link.from_kernel) || link.gateway_addresses.contains(&address)
    });
    let of_rule = rules.iter().any(|rule| match &rule.action {
        Action::PortForward(forward) => forward.address == address,
        // Claimed whole: told apart by `claims`.
        Action::Static(map) => map.outside.contains(&address),
        Action::SourceNat(_) | Action::Bypass | Action::Drop => false,
    });
    of_link || of_rule || pools.iter().any(|pool| pool.contains(address))
}
