//! `[[interface]]`: devices, own addresses and the prefixes they connect.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnet::IpNet;
use toml::Spanned;

use super::routes::Placement;
use super::{Placed, assigned, at_most, gateways, required, unique_name, values};
use crate::Facts;
use crate::holding::Networks;
use crate::kernel::KernelFacts;
use crate::model::{self, Addresses, Element};
use crate::policy::{Backend, Interface, InterfaceId};
use crate::report::Report;
use crate::side::InterfaceSet;

/// The interfaces, and every address of theirs with its place.
pub(super) struct Links {
    /// Nothing was left to a kernel that nobody asked.
    pub(super) complete: bool,
    pub(super) interfaces: Vec<Interface>,
    pub(super) addresses: Vec<(InterfaceId, Placed<IpNet>)>,
    pub(super) gateways: Vec<(InterfaceId, Placed<IpAddr>)>,
}

impl Default for Links {
    fn default() -> Self {
        let (interfaces, addresses, gateways) = (Vec::new(), Vec::new(), Vec::new());
        Self { complete: true, interfaces, addresses, gateways }
    }
}

impl Links {
    /// Which link or router has an address of the prefix, in words, and the line that says so.
    pub(super) fn owner(
        &self,
        prefix: &IpNet,
        routes: &[Placement],
        report: &Report<'_>,
    ) -> Option<(String, usize)> {
        let own = self.addresses.iter().find(|(_, own)| prefix.contains(&own.value.addr()));
        if let Some((id, own)) = own {
            let (address, name) = (own.value.addr(), self.name(*id));
            let message = if self.interfaces[usize::from(id.0)].from_kernel {
                format!("{address} is the kernel's on `{name}`: its stack would answer with RST")
            } else {
                format!("{address} is the address of interface `{name}`")
            };
            return Some((message, report.line(own.at.start)));
        }
        let gateway = self.gateways.iter().find(|(_, own)| prefix.contains(&own.value));
        if let Some((id, own)) = gateway {
            let message = format!("{} is a gateway address of `{}`", own.value, self.name(*id));
            return Some((message, report.line(own.at.start)));
        }
        let mut routers = routes.iter().filter_map(|route| route.via.as_ref());
        let router = routers.find(|via| prefix.contains(&via.value))?;
        Some((format!("{} is a router's address", router.value), report.line(router.at.start)))
    }

    /// The interface to whose connected prefixes the address belongs; the longest one decides.
    pub(super) fn connected(&self, address: IpAddr) -> Option<InterfaceId> {
        self.addresses
            .iter()
            .filter(|(_, own)| own.value.contains(&address))
            .max_by_key(|(_, own)| own.value.prefix_len())
            .map(|(interface, _)| *interface)
    }

    /// Whether its addresses are the kernel's.
    pub(super) fn is_learned(&self, id: InterfaceId) -> bool {
        self.interfaces.get(usize::from(id.0)).is_some_and(|link| link.from_kernel)
    }

    pub(super) fn name(&self, id: InterfaceId) -> &str {
        &self.interfaces[usize::from(id.0)].name
    }
}

pub(super) fn validate(
    elements: &[Element<model::Interface>],
    facts: &Facts<'_>,
    report: &mut Report<'_>,
) -> Links {
    let kernel = facts.kernel;
    let mut links = Links::default();
    if elements.is_empty() {
        let hint = "add an [[interface]] with `name`, `device` and `addresses`";
        report.error(0..0, "there is no interface", hint);
    }
    at_most("interface", MAX_INTERFACES, elements, report);
    for (index, element) in elements.iter().enumerate().take(MAX_INTERFACES) {
        let name = interface_name(index, elements, report);
        let device = device(index, elements, facts.networks, report);
        let written = element.keys.device.as_ref().map_or("", |device| device.get_ref());
        let from_kernel = from_kernel(element, report);
        let id = InterfaceId(index as u8);
        for address in addresses(element, report) {
            place(&mut links, id, &name, address, report);
        }
        if let Some(kernel) = kernel.filter(|_| from_kernel) {
            for address in kernel_addresses(element, kernel, &device, report) {
                place(&mut links, id, &name, address, report);
            }
        }
        let gateways = gateways::addresses(element, &links, report);
        links.gateways.extend(gateways.iter().cloned().map(|address| (id, address)));
        let known = !from_kernel || kernel.is_some();
        links.complete &= known;
        let own = links.addresses.iter().filter(|(owner, _)| *owner == id);
        let keys = &element.keys;
        let mtu = keys.mtu.as_ref();
        let mtu = mtu.and_then(|mtu| values::integer("mtu", mtu, MTUS, report));
        let interface = Interface {
            name,
            device,
            backend: keys.backend.as_ref().map(|backend| *backend.get_ref()).unwrap_or_default(),
            addresses: own.map(|(_, address)| address.value).collect(),
            from_kernel,
            gateway_addresses: gateways.into_iter().map(|address| address.value).collect(),
            router_advertisements: gateways::advertises(element, id, &links, known, report),
            tx_coalescing: coalesces(element, report),
            network: assigned::network(element, written, facts.networks),
            mtu: mtu.map(|mtu| mtu as u16),
        };
        links.interfaces.push(interface);
    }
    links
}

/// Whether addresses are learned. A tap device is made by us: there is nothing to learn of it.
fn from_kernel(element: &Element<model::Interface>, report: &mut Report<'_>) -> bool {
    let Some(addresses) = &element.keys.addresses else { return false };
    let learned = matches!(addresses.get_ref(), Addresses::Kernel);
    let backend = element.keys.backend.as_ref().map(Spanned::get_ref);
    if learned && matches!(backend, Some(Backend::Tap | Backend::TunTap)) {
        let message = "a tap interface cannot learn its addresses from the kernel";
        let hint = "the device is made by us: list them, addresses = [\"10.0.0.1/24\"]";
        report.error(addresses.span(), message, hint);
    }
    learned
}

/// Whether packets are joined on their way out, which needs a port that can send super-packets.
fn coalesces(element: &Element<model::Interface>, report: &mut Report<'_>) -> bool {
    let Some(on) = element.keys.tx_coalescing.as_ref().filter(|on| *on.get_ref()) else {
        return false;
    };
    let backend = element.keys.backend.as_ref().map(Spanned::get_ref);
    if let Some(backend @ (Backend::AfXdp | Backend::TunTap)) = backend {
        let name = if *backend == Backend::AfXdp { "af_xdp" } else { "tun-tap" };
        let message = format!("the backend \"{name}\" cannot send super-packets");
        let hint = "use \"af_packet\" or \"tap\", or remove `tx_coalescing`";
        report.error(Spanned::span(on), &message, hint);
    }
    true
}

/// The addresses of the device, at the place where the text leaves them to the kernel. Without those
/// that hold on one link only: every link has `fe80::/64`.
fn kernel_addresses(
    element: &Element<model::Interface>,
    kernel: &KernelFacts,
    device: &str,
    report: &mut Report<'_>,
) -> Vec<Placed<IpNet>> {
    let at = element.place("addresses").unwrap_or_else(|| element.at.clone());
    let Some(facts) = kernel.device(device) else {
        let message = format!("the kernel has no device \"{device}\"");
        report.error(at, message, "`ip link` lists the devices: addresses are learned from it");
        return Vec::new();
    };
    let addresses = facts.addresses.iter().filter(|net| values::is_routed(net));
    addresses.map(|net| Placed { at: at.clone(), value: *net }).collect()
}

/// Interface names are also parts of file names and of `--in NAME=FILE`.
fn interface_name(
    index: usize,
    elements: &[Element<model::Interface>],
    report: &mut Report<'_>,
) -> String {
    let name = unique_name("interface", index, elements, report);
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if let Some(written) = &elements[index].keys.name
        && !written.get_ref().is_empty()
        && (!name.chars().all(allowed) || name.starts_with('.'))
    {
        let hint = "use letters, digits, `-`, `_` and `.`: the name becomes part of file names";
        report.error(written.span(), format!("`{name}` cannot name an interface"), hint);
    }
    name
}

fn device(
    index: usize,
    elements: &[Element<model::Interface>],
    networks: Option<&Networks>,
    report: &mut Report<'_>,
) -> String {
    let element = &elements[index];
    let device = required(element, element.keys.device.as_ref(), "device", "\"eth0\"", report);
    let Some(device) = device else { return String::new() };
    let text = device.get_ref().as_str();
    let same = |earlier: &Element<model::Interface>| {
        earlier.keys.device.as_ref().filter(|device| device.get_ref() == text).map(Spanned::span)
    };
    // The rule of the kernel's dev_valid_name; "network:" is not a device but a reference to one.
    let invalid = text.is_empty()
        || text == "."
        || text == ".."
        || text.len() > 15
        || text.contains(|c: char| c == '/' || c == ':' || c.is_whitespace());
    if invalid && !text.starts_with(assigned::NETWORK) {
        let hint = "name the device as `ip link` shows it: at most 15 bytes";
        report.error(device.span(), format!("\"{text}\" cannot be a device"), hint);
    } else if let Some(first) = elements[..index].iter().find_map(same) {
        let hint = format!(
            "the first is on line {}: one interface takes a device whole",
            report.line(first.start)
        );
        report.error(device.span(), format!("two interfaces use the device \"{text}\""), hint);
    }
    assigned::device(device, networks, report)
}

fn addresses(element: &Element<model::Interface>, report: &mut Report<'_>) -> Vec<Placed<IpNet>> {
    let written = element.keys.addresses.as_ref();
    let Some(written) = required(element, written, "addresses", "[\"192.0.2.1/24\"]", report)
    else {
        return Vec::new();
    };
    let Addresses::Listed(listed) = written.get_ref() else { return Vec::new() };
    if listed.is_empty() {
        let hint = "it answers and resolves neighbours by them: \"192.0.2.1/24\"";
        report.error(written.span(), "an interface needs an address", hint);
    }
    let place = |value: &Spanned<String>| {
        let net = values::interface_address(value, report)?;
        Some(Placed { at: value.span(), value: net })
    };
    listed.iter().filter_map(place).collect()
}

/// Adds an address unless it, or its connected prefix on another interface, was seen before.
fn place(
    links: &mut Links,
    id: InterfaceId,
    name: &str,
    address: Placed<IpNet>,
    report: &mut Report<'_>,
) {
    let net = address.value;
    for (other, earlier) in &links.addresses {
        if earlier.value.addr() == net.addr() {
            let message = match *other == id {
                true => format!("the address {} is given twice", net.addr()),
                false => {
                    let other = links.name(*other);
                    format!(
                        "the address {} is given twice, to `{other}` and to `{name}`",
                        net.addr()
                    )
                }
            };
            let hint = format!("the first is on line {}", report.line(earlier.at.start));
            report.error(address.at, message, hint);
            return;
        }
        if *other != id && earlier.value.trunc() == net.trunc() {
            let line = report.line(earlier.at.start);
            let other = links.name(*other);
            let message =
                format!("{} is connected to `{other}` already, now to `{name}`", net.trunc());
            let hint = format!("see line {line}: a prefix can be on one link only");
            report.error(address.at, message, hint);
            return;
        }
    }
    links.addresses.push((id, address));
}

/// An [`InterfaceSet`] has one bit for each.
const MAX_INTERFACES: usize = InterfaceSet::CAPACITY;

/// RFC 791 §3.2: "Every internet module must be able to forward a datagram of 68 octets".
const MTUS: RangeInclusive<u32> = 68..=65_535;
