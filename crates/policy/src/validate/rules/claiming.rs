//! The rules that claim addresses: `static`, `port-forward`, `deliver`. `None` means reported.

use std::net::SocketAddr;

use ipnet::IpNet;
use mooring_wire::Protocol;
use toml::Spanned;

use super::has_ports;
use crate::model::{Element, Rule};
use crate::report::Report;
use crate::rule::{Action, PortForward, StaticMap};
use crate::validate::{required, values};

pub(super) fn one_to_one(element: &Element<Rule>, report: &mut Report<'_>) -> Option<Action> {
    let keys = &element.keys;
    let inside = required(element, keys.inside.as_ref(), "inside", "\"10.0.0.5/32\"", report);
    let example = "\"203.0.113.20/32\"";
    let outside = required(element, keys.outside.as_ref(), "outside", example, report);
    let mut prefix = |value: &Spanned<String>| {
        let prefix = values::prefix(value, report)?;
        values::usable(prefix, value, report).then_some(prefix)
    };
    let (inside, place) = (prefix(inside?), outside?);
    let (inside, outside) = (inside?, prefix(place)?);
    if inside.addr().is_ipv4() != outside.addr().is_ipv4() {
        let message = format!("{inside} cannot become {outside}");
        let hint = "`inside` and `outside` must both be IPv4 or both IPv6";
        report.error(place.span(), message, hint);
        return None;
    }
    if inside.prefix_len() != outside.prefix_len() {
        let message = format!("{inside} and {outside} differ in length");
        let hint =
            format!("one to one: write outside = \"{}/{}\"", outside.addr(), inside.prefix_len());
        report.error(place.span(), message, hint);
        return None;
    }
    Some(Action::Static(StaticMap { inside, outside }))
}

pub(super) fn forward(element: &Element<Rule>, report: &mut Report<'_>) -> Option<Action> {
    let keys = &element.keys;
    let address = required(element, keys.address.as_ref(), "address", "\"203.0.113.10\"", report);
    let port = required(element, keys.port.as_ref(), "port", "\"8080\"", report);
    let target = required(element, keys.target.as_ref(), "target", "\"10.0.0.2:80\"", report);
    let address = address.and_then(|address| values::host_address(address, report));
    let ports = port.and_then(|port| values::ports(port, report));
    let parsed = target.and_then(|target| self::target(target, report));
    let protocol = match &keys.protocol {
        Some(written) => {
            let protocol = values::protocol(written, report)?;
            if !has_ports(protocol) {
                let message = format!("\"{}\" has no ports to forward", written.get_ref().0);
                report.error(written.span(), message, "use \"tcp\", \"udp\" or \"sctp\"");
                return None;
            }
            protocol
        }
        None => Protocol::TCP,
    };
    let (address, ports, place, target) = (address?, ports?, target?, parsed?);
    if address.is_ipv4() != target.is_ipv4() {
        let message = format!("{address} cannot be forwarded to {} in this version", target.ip());
        let hint = "`address` and `target` must both be IPv4 or both IPv6";
        report.error(place.span(), message, hint);
        return None;
    }
    if target.port().checked_add(ports.end() - ports.start()).is_none() {
        let message = format!("the range does not fit behind port {}", target.port());
        let hint = "a range keeps its offset: the last port of the target would be above 65535";
        report.error(place.span(), message, hint);
        return None;
    }
    let (target, target_port) = (target.ip(), target.port());
    Some(Action::PortForward(PortForward { address, protocol, ports, target, target_port }))
}

/// An address delivered as it is: one to one with itself.
pub(super) fn deliver(element: &Element<Rule>, report: &mut Report<'_>) -> Option<Action> {
    let address = element.keys.address.as_ref();
    let address = required(element, address, "address", "\"203.0.113.10\"", report)?;
    let address = IpNet::from(values::host_address(address, report)?);
    Some(Action::Static(StaticMap { inside: address, outside: address }))
}

fn target(value: &Spanned<String>, report: &mut Report<'_>) -> Option<SocketAddr> {
    let target: SocketAddr = values::socket(value, "\"10.0.0.2:80\" or \"[fd00::2]:80\"", report)?;
    if target.port() == 0 {
        report.error(value.span(), "port 0 cannot be used", "the first port is 1");
        return None;
    }
    values::usable(IpNet::from(target.ip()), value, report).then_some(target)
}
