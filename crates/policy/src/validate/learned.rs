//! What was learned of the kernel must not conflict with the networks of other links: a host of the one
//! could not be told from a host of the other (RFC 4787 REQ-7).
//!
//! In the text a prefix may lie within that of another link, for whoever wrote it has seen both. What the
//! kernel says nobody has seen, and it changes while we run: then the policy of before stays.

use ipnet::IpNet;

use super::interfaces::Links;
use super::overlap;
use super::routes::Learned;
use crate::report::Report;

/// RFC 4787 REQ-7: "A NAT device whose external IP interface can be configured dynamically MUST either
/// (1) automatically ensure that its internal network uses IP addresses that do not conflict with its
/// external network, or (2) be able to translate and forward traffic" between them: the first, by refusal.
pub(super) fn check(links: &Links, routes: &[Learned], report: &mut Report<'_>) {
    for (at, (id, one)) in links.addresses.iter().enumerate() {
        for (earlier, other) in &links.addresses[..at] {
            let learned = links.is_learned(*id) || links.is_learned(*earlier);
            let networks = !is_one(&one.value) && !is_one(&other.value);
            if id == earlier || !learned || !networks || overlap(&one.value, &other.value).is_none()
            {
                continue;
            }
            let (one_net, other_net) = (one.value.trunc(), other.value.trunc());
            let (name, other_name) = (links.name(*id), links.name(*earlier));
            let message = format!(
                "{one_net}, connected to `{name}`, and {other_net}, connected to `{other_name}`, overlap"
            );
            let place = if links.is_learned(*id) { one } else { other };
            report.error(place.at.clone(), message, HINT);
            return;
        }
    }
    for Learned { at, destination, route } in routes {
        let within = |own: &IpNet| own.contains(destination);
        let mut others = links.addresses.iter().filter(|(id, _)| *id != route.interface);
        let Some((id, own)) = others.find(|(_, own)| within(&own.value.trunc())) else { continue };
        let (name, other, own) = (links.name(route.interface), links.name(*id), own.value.trunc());
        let message = format!(
            "the kernel's route to {destination} by `{name}` lies within {own}, connected to `{other}`"
        );
        report.error(at.clone(), message, HINT);
        return;
    }
}

/// An address alone, as a Pod has it, is no network: nobody else is there.
fn is_one(net: &IpNet) -> bool {
    net.prefix_len() == net.max_prefix_len()
}

const HINT: &str = "learned of the kernel: give one of the two networks other addresses";
