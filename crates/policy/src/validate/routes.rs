//! `[[route]]`: every route leaves by a link on which its next hop can be resolved.

use std::net::IpAddr;
use std::ops::Range;

use ipnet::IpNet;

use super::interfaces::Links;
use super::{Placed, required, resolve, values};
use crate::kernel::KernelFacts;
use crate::model::{self, Element, Model};
use crate::policy::{InterfaceId, Route};
use crate::report::Report;

/// A route and the place of its next hop.
pub(super) struct Placement {
    pub(super) destination: IpNet,
    pub(super) route: Route,
    pub(super) via: Option<Placed<IpAddr>>,
}

/// The routes of the text, and those that it leaves to the kernel.
pub(super) struct Routes {
    pub(super) listed: Vec<Placement>,
    pub(super) learned: Vec<Learned>,
}

/// A route of the kernel, and where the text leaves it to the kernel.
pub(super) struct Learned {
    pub(super) at: Range<usize>,
    pub(super) destination: IpNet,
    pub(super) route: Route,
}

impl Routes {
    /// Those of the text win over the kernel's.
    pub(super) fn compiled(self) -> Vec<(IpNet, Route)> {
        let listed = self.listed.into_iter().map(|route| (route.destination, route.route));
        let learned = self.learned.into_iter().map(|route| (route.destination, route.route));
        learned.chain(listed).collect()
    }
}

pub(super) fn validate(
    model: &Model,
    links: &Links,
    kernel: Option<&KernelFacts>,
    report: &mut Report<'_>,
) -> Routes {
    let mut seen: Vec<Placed<IpNet>> = Vec::new();
    let mut routes = Routes { listed: Vec::new(), learned: of_interfaces(model, links, kernel) };
    for element in &model.routes {
        if element.keys.via.as_ref().is_some_and(|via| via.get_ref() == "kernel") {
            routes.learned.extend(followed(element, model, links, kernel, report));
            continue;
        }
        let destination = destination(element, links, &mut seen, report);
        let via = element.keys.via.as_ref().and_then(|via| {
            let value = values::host_address(via, report)?;
            Some(Placed { at: via.span(), value })
        });
        let interface = egress(element, via.as_ref(), model, links, report);
        let (Some(destination), Some(interface)) = (destination, interface) else { continue };
        check_via(destination, via.as_ref(), links, report);
        let route = Route { interface, via: via.as_ref().map(|via| via.value) };
        routes.listed.push(Placement { destination, route, via });
    }
    routes
}

/// The kernel's routes by the devices of interfaces whose addresses are the kernel's.
fn of_interfaces(model: &Model, links: &Links, kernel: Option<&KernelFacts>) -> Vec<Learned> {
    let from_kernel = links.interfaces.iter().enumerate().filter(|(_, link)| link.from_kernel);
    let by = |(index, _): (usize, _)| {
        let element = &model.interfaces[index];
        let at = element.place("addresses").unwrap_or_else(|| element.at.clone());
        routes_by(index, &at, links, kernel)
    };
    from_kernel.rev().flat_map(by).collect()
}

/// What the kernel says of the routes by one interface.
fn routes_by(
    index: usize,
    at: &Range<usize>,
    links: &Links,
    kernel: Option<&KernelFacts>,
) -> Vec<Learned> {
    let facts = kernel.and_then(|kernel| kernel.device(&links.interfaces[index].device));
    let interface = InterfaceId(index as u8);
    let route = |(net, via): &(IpNet, Option<IpAddr>)| Learned {
        at: at.clone(),
        destination: *net,
        route: Route { interface, via: *via },
    };
    let routed = |(net, _): &&(IpNet, Option<IpAddr>)| values::is_routed(net);
    facts.map(|facts| facts.routes.iter().filter(routed).map(route).collect()).unwrap_or_default()
}

/// A route `via = "kernel"`: the kernel's routes within its destination.
fn followed(
    element: &Element<model::Route>,
    model: &Model,
    links: &Links,
    kernel: Option<&KernelFacts>,
    report: &mut Report<'_>,
) -> Vec<Learned> {
    let written = element.keys.destination.as_ref();
    let written = required(element, written, "destination", "\"0.0.0.0/0\"", report);
    let destination = written.and_then(|written| values::prefix(written, report));
    let all = 0..links.interfaces.len();
    let within = match &element.keys.interface {
        Some(name) => resolve("interface", name, &model.interfaces, report).map(|at| at..at + 1),
        None => Some(all),
    };
    let (Some(destination), Some(within)) = (destination, within) else { return Vec::new() };
    let at = element.place("via").unwrap_or_else(|| element.at.clone());
    // Where two devices have a route to the same place, that of the first interface stands.
    let learned = within.rev().flat_map(|index| routes_by(index, &at, links, kernel));
    learned.filter(|route| destination.contains(&route.destination)).collect()
}

fn destination(
    element: &Element<model::Route>,
    links: &Links,
    seen: &mut Vec<Placed<IpNet>>,
    report: &mut Report<'_>,
) -> Option<IpNet> {
    let written = element.keys.destination.as_ref();
    let written = required(element, written, "destination", "\"0.0.0.0/0\"", report)?;
    let destination = values::prefix(written, report)?;
    let same = seen.iter().find(|earlier| earlier.value == destination);
    let connected = links.addresses.iter().find(|(_, own)| own.value.trunc() == destination);
    if let Some(earlier) = same {
        let hint = format!("the first is on line {}", report.line(earlier.at.start));
        report.error(written.span(), format!("there are two routes to {destination}"), hint);
    } else if let Some((interface, _)) = connected {
        let message = format!("{destination} is connected to `{}` already", links.name(*interface));
        report.error(written.span(), message, "remove the route: connected prefixes are implied");
    }
    seen.push(Placed { at: written.span(), value: destination });
    Some(destination)
}

/// The interface that is named or, without a name, the one that `via` is connected to.
fn egress(
    element: &Element<model::Route>,
    via: Option<&Placed<IpAddr>>,
    model: &Model,
    links: &Links,
    report: &mut Report<'_>,
) -> Option<InterfaceId> {
    let connected = via.and_then(|via| links.connected(via.value));
    if let Some(name) = &element.keys.interface {
        let index = resolve("interface", name, &model.interfaces, report)?;
        let named = InterfaceId(u8::try_from(index).ok()?);
        if let (Some(via), Some(connected)) = (via, connected)
            && connected != named
        {
            let (other, name) = (links.name(connected), name.get_ref());
            let message = format!("{} is connected to `{other}`, not to `{name}`", via.value);
            report.error(
                via.at.clone(),
                message,
                format!("write interface = \"{other}\", or remove it"),
            );
        }
        return Some(named);
    }
    if element.place("interface").is_some() {
        return None;
    }
    match via {
        None if element.place("via").is_none() => {
            let message = "this [[route]] has neither `via` nor `interface`";
            let hint = "add via = \"192.0.2.2\", the router's address";
            report.error(element.at.clone(), message, hint);
        }
        // Where it is connected may be what the kernel was not asked.
        Some(via) if connected.is_none() && links.complete => report.error(
            via.at.clone(),
            format!("{} is on no connected prefix", via.value),
            "name the link it is on: interface = \"outside\"",
        ),
        _ => {}
    }
    connected
}

fn check_via(
    destination: IpNet,
    via: Option<&Placed<IpAddr>>,
    links: &Links,
    report: &mut Report<'_>,
) {
    let Some(via) = via else { return };
    let own = links.addresses.iter().find(|(_, own)| own.value.addr() == via.value);
    if let Some((interface, _)) = own {
        let message = format!("{} is `{}`'s own address", via.value, links.name(*interface));
        report.error(via.at.clone(), message, "give the address of the router on that link");
    } else if via.value.is_ipv4() != destination.addr().is_ipv4() {
        let message = format!("{destination} cannot be routed via {}", via.value);
        let hint = "destination and `via` must both be IPv4 or both IPv6";
        report.error(via.at.clone(), message, hint);
    }
}
