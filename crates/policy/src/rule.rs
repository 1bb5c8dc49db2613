//! Rules: which sessions are translated, routed as they are, or dropped.
//!
//! A rule is asked once per new session, never per packet. Asking does not allocate.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnet::IpNet;
use mooring_wire::Protocol;

use crate::policy::InterfaceId;
use crate::pool::PoolId;

/// Which rule of [`Policy::rules`](crate::Policy::rules), in the order of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(pub u16);

/// What is to happen to new sessions of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Unique among rules.
    pub name: String,
    /// What happens to the sessions it matches.
    pub action: Action,
    /// Sessions outlive the rule when a reload removes it, up to their timeout.
    pub drain: bool,
    pub(crate) matcher: Matcher,
}

/// What happens to a session that a rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The source is translated to an address and port of the pool.
    SourceNat(PoolId),
    /// Routed, not translated.
    Bypass,
    /// Discarded in silence.
    Drop,
}

/// The first packet of a session, as a rule sees it: before translation, egress already routed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// Where the packet came in.
    pub ingress: InterfaceId,
    /// Where the route to its destination leaves.
    pub egress: InterfaceId,
    /// Source address of the packet.
    pub source: IpAddr,
    /// Destination address of the packet.
    pub destination: IpAddr,
    /// Protocol number of the IP header (the last next header in IPv6).
    pub protocol: Protocol,
    /// Host byte order. Rules look at it for TCP, UDP and SCTP only.
    pub source_port: u16,
    /// Host byte order. Rules look at it for TCP, UDP and SCTP only.
    pub destination_port: u16,
}

/// The conditions of a rule; all must hold, and one that is absent holds for everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Matcher {
    pub(crate) from: Option<InterfaceId>,
    pub(crate) to: Option<InterfaceId>,
    pub(crate) protocol: Option<Protocol>,
    /// Empty stands for any address.
    pub(crate) source: Vec<IpNet>,
    /// Empty stands for any address.
    pub(crate) destination: Vec<IpNet>,
    pub(crate) source_ports: Option<RangeInclusive<u16>>,
    pub(crate) destination_ports: Option<RangeInclusive<u16>>,
}

impl Rule {
    /// Whether the rule applies to this session.
    #[must_use]
    pub fn matches(&self, question: &Question) -> bool {
        self.matcher.matches(question)
    }
}

impl Matcher {
    /// The cheap conditions come first: most rules fail by interface or protocol.
    pub(crate) fn matches(&self, question: &Question) -> bool {
        self.from.is_none_or(|from| from == question.ingress)
            && self.to.is_none_or(|to| to == question.egress)
            && self.protocol.is_none_or(|protocol| protocol == question.protocol)
            && self.ports_match(question)
            && holds(&self.source, question.source)
            && holds(&self.destination, question.destination)
    }

    /// Whether every session that `later` matches is matched by this one too. May miss a case where
    /// only several prefixes together cover another; never claims one.
    pub(crate) fn covers(&self, later: &Self) -> bool {
        covers_one(self.from, later.from)
            && covers_one(self.to, later.to)
            && covers_one(self.protocol, later.protocol)
            && covers_ports(&self.source_ports, &later.source_ports)
            && covers_ports(&self.destination_ports, &later.destination_ports)
            && covers_prefixes(&self.source, &later.source)
            && covers_prefixes(&self.destination, &later.destination)
    }

    /// A condition on ports is one on the protocol as well: what has no ports does not match.
    pub(crate) fn ports_match(&self, question: &Question) -> bool {
        if self.source_ports.is_none() && self.destination_ports.is_none() {
            return true;
        }
        let within = |ports: &Option<RangeInclusive<u16>>, port| {
            ports.as_ref().is_none_or(|ports| ports.contains(&port))
        };
        has_ports(question.protocol)
            && within(&self.source_ports, question.source_port)
            && within(&self.destination_ports, question.destination_port)
    }
}

/// Whether rules may ask for ports of this protocol.
pub(crate) fn has_ports(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::TCP | Protocol::UDP | Protocol::SCTP)
}

fn holds(prefixes: &[IpNet], address: IpAddr) -> bool {
    prefixes.is_empty() || prefixes.iter().any(|prefix| prefix.contains(&address))
}

fn covers_one<T: PartialEq + Copy>(earlier: Option<T>, later: Option<T>) -> bool {
    earlier.is_none() || earlier == later
}

fn covers_ports(
    earlier: &Option<RangeInclusive<u16>>,
    later: &Option<RangeInclusive<u16>>,
) -> bool {
    match (earlier, later) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(earlier), Some(later)) => {
            earlier.start() <= later.start() && later.end() <= earlier.end()
        }
    }
}

fn covers_prefixes(earlier: &[IpNet], later: &[IpNet]) -> bool {
    let covered = |prefix: &IpNet| earlier.iter().any(|earlier| earlier.contains(prefix));
    earlier.is_empty() || (!later.is_empty() && later.iter().all(covered))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::{Strategy, prop_assert};
    use proptest::proptest;
    use proptest::sample::select;

    use super::{InterfaceId, IpNet, Matcher, Protocol, Question};

    fn nets() -> impl Strategy<Value = Vec<IpNet>> {
        let texts = vec!["0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/31", "10.0.0.1/32", "::/0"];
        vec(select(texts).prop_map(|text| text.parse().expect("a prefix")), 0..3)
    }

    fn matcher() -> impl Strategy<Value = Matcher> {
        let interface = || option::of((0..2_u8).prop_map(InterfaceId));
        let protocol = option::of(select(vec![Protocol::TCP, Protocol::UDP]));
        let ports = || option::of((0..3_u16, 0..3_u16).prop_map(|(a, n)| a..=a + n));
        (interface(), interface(), protocol, nets(), nets(), ports(), ports()).prop_map(
            |(from, to, protocol, source, destination, source_ports, destination_ports)| Matcher {
                from,
                to,
                protocol,
                source,
                destination,
                source_ports,
                destination_ports,
            },
        )
    }

    fn question() -> impl Strategy<Value = Question> {
        let address = || select(vec!["10.0.0.0", "10.0.0.1", "10.0.0.2", "11.0.0.0", "::1"]);
        let protocol = select(vec![Protocol::TCP, Protocol::UDP, Protocol::ICMP]);
        (0..2_u8, 0..2_u8, address(), address(), protocol, 0..5_u16, 0..5_u16).prop_map(
            |(ingress, egress, source, destination, protocol, source_port, destination_port)| {
                Question {
                    ingress: InterfaceId(ingress),
                    egress: InterfaceId(egress),
                    source: source.parse().expect("an address"),
                    destination: destination.parse().expect("an address"),
                    protocol,
                    source_port,
                    destination_port,
                }
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_covered_is_matched(
            earlier in matcher(),
            later in matcher(),
            questions in vec(question(), 64),
        ) {
            if earlier.covers(&later) {
                for question in questions.iter().filter(|question| later.matches(question)) {
                    prop_assert!(earlier.matches(question), "{question:?}");
                }
            }
        }

        #[test]
        fn a_matcher_covers_itself_and_the_empty_one_covers_all(matcher in matcher()) {
            prop_assert!(matcher.covers(&matcher));
            prop_assert!(Matcher::default().covers(&matcher));
        }
    }
}
