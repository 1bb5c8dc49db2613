//! All that a policy says of one address alone, found with one search.
//!
//! The first packet of a session asks for both of its ends: whose they are, where they are, which rules
//! name them. Each question would be a search of its own among prefixes; here all prefixes are cut to
//! spans together, and a span has all the answers.

use std::net::IpAddr;

use crate::classifier::Classifier;
use crate::forwarded::Forwarded;
use crate::policy::{Hop, Ownership, Policy, Route};
use crate::spans::Spans;

/// One end of a flow, as far as its address tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Party {
    route: Option<Route>,
    owner: Option<Ownership>,
    is_target: bool,
    /// Its row among the conditions of rules for sessions that their sender begins: on senders, and on
    /// those that they send to.
    pub(crate) rows: [u32; 2],
}

/// Names a party of one policy: all addresses of which it says the same, side by side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartyId(pub(crate) u32);

impl PartyId {
    /// Of the parties of a policy, in the order of their addresses.
    #[inline]
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }
}

impl Party {
    /// Nothing is said of it, but what rules say that name no address.
    pub(crate) const NOBODY: Self =
        Self { route: None, owner: None, is_target: false, rows: [0; 2] };

    /// As [`Policy::route`] says of the party's `address`.
    #[inline]
    #[must_use]
    pub fn route(&self, address: IpAddr) -> Option<Hop> {
        self.route.map(|route| route.hop(address))
    }

    /// As [`Policy::ownership`] says.
    #[inline]
    #[must_use]
    pub const fn ownership(&self) -> Option<Ownership> {
        self.owner
    }

    /// Whether some port is forwarded to it: if not, [`Policy::forwarded_end`] has nothing to say.
    #[inline]
    #[must_use]
    pub const fn is_target(&self) -> bool {
        self.is_target
    }
}

/// What each address is, of a policy that has all the rest.
pub(crate) fn parties(
    policy: &Policy,
    through: &Classifier,
    forwarded: &Forwarded,
) -> Spans<Party> {
    let (routes, owners, targets) = (&policy.ways, policy.claims.owners(), forwarded.targets());
    let [senders, receivers] = through.addresses();
    let edges = routes.edges().chain(owners.edges()).chain(targets.edges());
    let edges = edges.chain(senders.edges()).chain(receivers.edges());
    let row = |rows: &Spans<u32>, address| rows.at(address).unwrap_or_default();
    Spans::between(edges, |address| {
        Some(Party {
            route: routes.at(address),
            owner: owners.at(address).map(|(owner, _)| owner),
            is_target: targets.at(address).is_some(),
            rows: [row(senders, address), row(receivers, address)],
        })
    })
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use mooring_wire::Protocol;

    use crate::{InterfaceId, Question, load};

    const CONFIG: &str = r#"
        interface = [
            { name = "inside", device = "in0", addresses = ["10.0.0.1/16", "fd00:10::1/64"] },
            { name = "outside", device = "out0", addresses = ["192.0.2.1/24", "2001:db8:1::1/64"] },
        ]
        route = [
            { destination = "0.0.0.0/0", via = "192.0.2.254" },
            { destination = "::/0", via = "2001:db8:1::fe" },
        ]
        pool = [
            { name = "egress", addresses = ["203.0.113.0/28"] },
            { name = "egress-v6", addresses = ["2001:db8:7::/126"] },
        ]

        [[rule]]
        name = "not there"
        kind = "drop"
        source = ["10.0.3.0/24", "fd00:10::3:0/112"]
        destination = ["198.51.100.0/25", "2001:db8:9::/64"]

        [[rule]]
        name = "web"
        kind = "port-forward"
        from = "outside"
        address = "203.0.113.1"
        port = 80
        target = "10.0.3.7:8080"

        [[rule]]
        name = "one"
        kind = "static"
        inside = "10.0.4.4"
        outside = "203.0.113.99"
        to = "outside"

        [[rule]]
        name = "egress"
        kind = "source-nat"
        source = ["10.0.0.0/16"]
        from = "inside"
        to = "outside"
        pool = "egress"

        [[rule]]
        name = "egress-v6"
        kind = "source-nat"
        from = "inside"
        to = "outside"
        pool = "egress-v6"
    "#;

    #[test]
    fn a_party_is_what_each_question_alone_says() {
        let policy = load(CONFIG).expect("the configuration is valid").policy;
        let addresses = [
            "0.0.0.0",
            "10.0.0.0",
            "10.0.0.1",
            "10.0.0.2",
            "10.0.2.255",
            "10.0.3.0",
            "10.0.3.6",
            "10.0.3.7",
            "10.0.3.8",
            "10.0.4.4",
            "10.0.4.5",
            "10.0.255.255",
            "10.1.0.0",
            "192.0.2.1",
            "192.0.2.7",
            "198.51.100.0",
            "198.51.100.127",
            "198.51.100.128",
            "203.0.112.255",
            "203.0.113.0",
            "203.0.113.1",
            "203.0.113.15",
            "203.0.113.16",
            "203.0.113.99",
            "255.255.255.255",
            "::",
            "fd00:10::1",
            "fd00:10::2",
            "fd00:10::3:1",
            "fd00:10::4:0",
            "2001:db8:7::3",
            "2001:db8:7::4",
            "2001:db8:9::1",
            "2001:db8:a::",
            "ffff::",
        ];
        let addresses = addresses.map(|text| text.parse::<IpAddr>().expect("an address"));
        let [inside, outside] = [0, 1].map(InterfaceId);
        let mut found = std::collections::HashSet::new();
        for source in addresses {
            let party = policy.party(source);
            assert_eq!(party.ownership(), policy.ownership(source), "{source}");
            assert_eq!(party.route(source), policy.route(source), "{source}");
            let ends = [Protocol::TCP, Protocol::UDP].map(|protocol| {
                (0..u16::MAX).find_map(|port| policy.forwarded_end(outside, source, protocol, port))
            });
            assert_eq!(party.is_target(), ends.iter().any(Option::is_some), "{source}");
            let others = addresses.iter().filter(|other| other.is_ipv4() == source.is_ipv4());
            for destination in others.copied() {
                let question = Question {
                    ingress: inside,
                    egress: outside,
                    source,
                    destination,
                    protocol: Protocol::UDP,
                    source_port: 4000,
                    destination_port: 53,
                };
                let parties = [party, policy.party(destination)];
                let decided = policy.decide_between(&question, parties);
                let one_by_one = policy.rules.iter().position(|rule| rule.matches(&question));
                assert_eq!(decided.map(|rule| rule.0.into()), one_by_one, "{question:?}");
                assert_eq!(decided, policy.decide(&question), "{question:?}");
                found.insert(decided);
            }
        }
        assert_eq!(found.len(), 4, "dropped, of a static address, of a pool each: {found:?}");
    }
}
