//! What an interface answers for beside its own addresses: gateway addresses, router advertisements.

use std::net::IpAddr;

use toml::Spanned;

use super::interfaces::Links;
use super::{Placed, values};
use crate::model::{Element, Interface};
use crate::policy::InterfaceId;
use crate::report::Report;

/// The interface's gateway addresses: nobody else's.
pub(super) fn addresses(
    element: &Element<Interface>,
    links: &Links,
    report: &mut Report<'_>,
) -> Vec<Placed<IpAddr>> {
    let Some(list) = &element.keys.gateway_addresses else { return Vec::new() };
    let mut found: Vec<Placed<IpAddr>> = Vec::new();
    for value in list.get_ref() {
        let Some(address) = values::host_address(value, report) else { continue };
        let own = links.addresses.iter().find(|(_, own)| own.value.addr() == address);
        let own = own.map(|(_, own)| own.at.start);
        let gateway = links.gateways.iter().map(|(_, gateway)| gateway).chain(&found);
        let twice = own.or(gateway.filter(|g| g.value == address).map(|g| g.at.start).next());
        if let Some(first) = twice {
            let hint = format!("the first is on line {}", report.line(first));
            report.error(value.span(), format!("the address {address} is given twice"), hint);
            continue;
        }
        found.push(Placed { at: value.span(), value: address });
    }
    found
}

/// Whether the interface sends router advertisements; it needs an IPv6 address to be a router.
pub(super) fn advertises(
    element: &Element<Interface>,
    id: InterfaceId,
    links: &Links,
    known: bool,
    report: &mut Report<'_>,
) -> bool {
    let Some(on) = element.keys.router_advertisements.as_ref().filter(|on| *on.get_ref()) else {
        return false;
    };
    let own = links.addresses.iter().any(|(owner, own)| *owner == id && own.value.addr().is_ipv6());
    let gateway = links.gateways.iter().any(|(owner, own)| *owner == id && own.value.is_ipv6());
    if known && !own && !gateway {
        let message = "`router_advertisements` needs an IPv6 address on the interface";
        let hint = "add one to `addresses` or `gateway_addresses`, or remove the key";
        report.error(Spanned::span(on), message, hint);
    }
    true
}
