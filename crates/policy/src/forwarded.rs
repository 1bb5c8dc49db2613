//! By what an inside end leaves that a port is forwarded to: an inside end has one outside end, whoever
//! speaks first (RFC 4787 REQ-1).

use std::collections::BTreeMap;
use std::net::IpAddr;

use mooring_wire::Protocol;

use crate::policy::{InterfaceId, Policy};
use crate::rule::{Action, PortForward};
use crate::spans::Spans;

/// The forwarded ends of inside ends, by the interface that they leave by.
#[derive(Clone, Debug, Default)]
pub(crate) struct Forwarded {
    /// By the first inside port; they do not overlap.
    ranges: BTreeMap<Start, Range>,
}

/// The interface outside, the target, its protocol and first port.
type Start = (InterfaceId, IpAddr, Protocol, u16);

/// Ports of a target that one range of forwarded ports leads to.
#[derive(Clone, Copy, Debug)]
struct Range {
    last: u16,
    address: IpAddr,
    /// The forwarded port that leads to the first of them.
    port: u16,
}

impl Forwarded {
    /// From a policy whose claims are in place. Where several rules lead to one inside end, the first
    /// of them names its outside end.
    pub(crate) fn new(policy: &Policy) -> Self {
        let mut forwarded = Self::default();
        for rule in &policy.rules {
            let Action::PortForward(forward) = &rule.action else { continue };
            let sides = policy.outside_of(forward.address);
            let from = rule.matcher.from;
            for interface in sides.iter().filter(|side| from.is_none_or(|from| from == *side)) {
                forwarded.add(interface, forward);
            }
        }
        forwarded
    }

    /// The hosts that some port is forwarded to.
    pub(crate) fn targets(&self) -> Spans<()> {
        Spans::new(&self.ranges.keys().map(|(_, target, ..)| ((*target).into(), ())).collect())
    }

    /// The outside end of an inside one that leaves by `egress`, if a port is forwarded to it there.
    pub(crate) fn end(
        &self,
        egress: InterfaceId,
        inside: IpAddr,
        protocol: Protocol,
        port: u16,
    ) -> Option<(IpAddr, u16)> {
        let key = (egress, inside, protocol, port);
        let (start, range) = self.ranges.range(..=key).next_back()?;
        let its = (start.0, start.1, start.2) == (egress, inside, protocol) && port <= range.last;
        its.then(|| (range.address, range.port + (port - start.3)))
    }

    /// Adds those of the inside ports of a rule that no earlier one leads to.
    fn add(&mut self, interface: InterfaceId, forward: &PortForward) {
        let PortForward { address, protocol, target, target_port, .. } = *forward;
        let start = |port| (interface, target, protocol, port);
        let first = *forward.ports.start();
        let most = target_port.saturating_add(forward.ports.end() - first);
        let mut at = u32::from(target_port);
        while let Some(port) = u16::try_from(at).ok().filter(|port| *port <= most) {
            let before = self.ranges.range(..=start(port)).next_back();
            let covers = before.filter(|(key, range)| **key >= start(0) && range.last >= port);
            if let Some((_, range)) = covers {
                at = u32::from(range.last) + 1;
                continue;
            }
            let next = self.ranges.range(start(port)..=start(most)).next();
            let last = next.map_or(most, |(key, _)| key.3 - 1);
            let range = Range { last, address, port: first + (port - target_port) };
            self.ranges.insert(start(port), range);
            at = u32::from(last) + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use mooring_wire::Protocol;

    use crate::{InterfaceId, load};

    const CONFIG: &str = r#"
        [[interface]]
        name = "inside"
        device = "in0"
        addresses = ["10.0.0.1/24", "fd00:10::1/64"]

        [[interface]]
        name = "outside"
        device = "out0"
        addresses = ["192.0.2.1/24", "2001:db8:1::1/64"]

        [[interface]]
        name = "second"
        device = "out1"
        addresses = ["198.51.100.1/24"]

        [[rule]]
        name = "middle"
        kind = "port-forward"
        from = "outside"
        address = "203.0.113.10"
        port = "2010-2019"
        target = "10.0.0.2:110"

        [[rule]]
        name = "around"
        kind = "port-forward"
        from = "outside"
        address = "203.0.113.11"
        port = "3000-3029"
        target = "10.0.0.2:100"

        [[rule]]
        name = "other side"
        kind = "port-forward"
        from = "second"
        address = "203.0.113.12"
        port = 4000
        target = "10.0.0.2:110"

        [[rule]]
        name = "v6"
        kind = "port-forward"
        from = "outside"
        address = "2001:db8:7::10"
        protocol = "udp"
        port = "65500-65535"
        target = "[fd00:10::2]:65500"
    "#;

    #[test]
    fn the_first_rule_that_leads_to_an_inside_end_names_its_outside_end() {
        let policy = load(CONFIG).expect("the configuration is valid").policy;
        let end = |egress, host: &str, protocol, port| {
            let host: IpAddr = host.parse().expect("an address");
            let end = policy.forwarded_end(InterfaceId(egress), host, protocol, port);
            end.map(|(address, port)| format!("{address} {port}"))
        };
        let tcp = |egress, port| end(egress, "10.0.0.2", Protocol::TCP, port);
        let told = |text: &str| Some(text.to_owned());
        for (port, expected) in [
            (99, None),
            (100, told("203.0.113.11 3000")),
            (109, told("203.0.113.11 3009")),
            (110, told("203.0.113.10 2010")),
            (119, told("203.0.113.10 2019")),
            (120, told("203.0.113.11 3020")),
            (129, told("203.0.113.11 3029")),
            (130, None),
        ] {
            assert_eq!(tcp(1, port), expected, "{port}");
        }
        assert_eq!(tcp(2, 110), told("203.0.113.12 4000"), "where it leaves decides");
        assert_eq!([tcp(2, 111), tcp(0, 110)], [None, None]);
        assert_eq!(end(1, "10.0.0.3", Protocol::TCP, 110), None);
        assert_eq!(end(1, "10.0.0.2", Protocol::UDP, 110), None);
        let last = end(1, "fd00:10::2", Protocol::UDP, 65_535);
        assert_eq!(last, told("2001:db8:7::10 65535"));
    }
}
