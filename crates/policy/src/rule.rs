//! Rules: which sessions are translated, routed as they are, or dropped.
//!
//! A rule is asked once per new session, never per packet. Asking does not allocate.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnet::IpNet;
use mooring_wire::Protocol;

use crate::access::Access;
use crate::lines::Lines;
use crate::policy::InterfaceId;
use crate::pool::{PoolId, PoolLimits};

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
    /// Of `static` and `port-forward`: which remote ends may begin something.
    pub access: Access,
    /// Of `static` and `port-forward`: how much there may be by it.
    pub limits: PoolLimits,
    /// Where it stands, `allow` and `deny`.
    pub lines: Lines,
    pub(crate) matcher: Matcher,
}

/// What happens to a session that a rule matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The source is translated to an address and port of the pool.
    SourceNat(PoolId),
    /// Addresses are translated one to one, in both directions. Delivered addresses are as well:
    /// to themselves.
    Static(StaticMap),
    /// Packets to a port of ours go to a host inside.
    PortForward(PortForward),
    /// Routed, not translated.
    Bypass,
    /// Discarded in silence.
    Drop,
}

/// Addresses translated one to one: the host bits are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaticMap {
    /// The addresses that hosts have; no host bits.
    pub inside: IpNet,
    /// The addresses that others see; no host bits, of the same family and prefix length.
    pub outside: IpNet,
}

/// A port, or a range of them, of an address of ours that a host inside answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortForward {
    /// The address that others send to.
    pub address: IpAddr,
    /// TCP, UDP or SCTP.
    pub protocol: Protocol,
    /// The ports that others send to, host byte order.
    pub ports: RangeInclusive<u16>,
    /// The host inside, of the same family.
    pub target: IpAddr,
    /// The host's port for the first of `ports`; the others keep their offset. Host byte order.
    pub target_port: u16,
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

/// The condition of a rule that a packet does not meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// The rule is for packets to addresses of ours, or for those to others; this is not one.
    Direction,
    /// `from`
    From,
    /// `to`
    To,
    /// `protocol`
    Protocol,
    /// `source`, or `inside` of a static rule.
    Source,
    /// `destination`, or the address that the rule claims.
    Destination,
    /// `source_ports`, `destination_ports` or `port`.
    Ports,
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
    /// Whether all that it translates is of one host, and so of one worker.
    #[must_use]
    pub fn has_one_host(&self) -> bool {
        match &self.action {
            Action::PortForward(_) => true,
            Action::Static(map) => map.inside.prefix_len() == map.inside.max_prefix_len(),
            Action::SourceNat(_) | Action::Bypass | Action::Drop => false,
        }
    }

    /// Whether the rule applies to a session that its sender begins: see
    /// [`Policy::decide`](crate::Policy::decide).
    #[must_use]
    pub fn matches(&self, question: &Question) -> bool {
        self.through().is_some_and(|matcher| matcher.matches(question))
    }

    /// Whether the rule applies to a packet to an address of ours from its outside: see
    /// [`Policy::inbound`](crate::Policy::inbound).
    #[must_use]
    pub fn matches_inbound(&self, question: &Question) -> bool {
        self.inbound().is_some_and(|matcher| matcher.matches(question))
    }

    /// The first condition of the rule that a packet does not meet; `inbound` as for
    /// [`Policy::inbound`](crate::Policy::inbound), else as for
    /// [`Policy::decide`](crate::Policy::decide). `None` if it meets all. For people: allocates.
    #[must_use]
    pub fn mismatch(&self, question: &Question, inbound: bool) -> Option<Mismatch> {
        let matcher = if inbound { self.inbound() } else { self.through() };
        let Some(matcher) = matcher else { return Some(Mismatch::Direction) };
        let conditions = [
            (matcher.from.is_none_or(|from| from == question.ingress), Mismatch::From),
            (matcher.to.is_none_or(|to| to == question.egress), Mismatch::To),
            (matcher.protocol.is_none_or(|p| p == question.protocol), Mismatch::Protocol),
            (holds(&matcher.source, question.source), Mismatch::Source),
            (holds(&matcher.destination, question.destination), Mismatch::Destination),
            (matcher.ports_match(question), Mismatch::Ports),
        ];
        conditions.into_iter().find(|(met, _)| !met).map(|(_, mismatch)| mismatch)
    }

    /// The host inside that a packet to an address of ours goes to.
    pub(crate) fn target(&self, question: &Question) -> Option<IpAddr> {
        match &self.action {
            Action::Static(map) => map.inward(question.destination),
            Action::PortForward(forward) => Some(forward.target),
            Action::SourceNat(_) | Action::Bypass | Action::Drop => None,
        }
    }

    /// The conditions on a session that its sender begins. `None`: the rule has no say in it.
    pub(crate) fn through(&self) -> Option<Matcher> {
        match &self.action {
            Action::SourceNat(_) | Action::Bypass | Action::Drop => Some(self.matcher.clone()),
            Action::Static(map) => {
                Some(Matcher { source: vec![map.inside], ..self.matcher.clone() })
            }
            Action::PortForward(_) => None,
        }
    }

    /// The conditions on a packet to an address of ours that comes from its outside. `None`: the
    /// rule has no say in it.
    pub(crate) fn inbound(&self) -> Option<Matcher> {
        match &self.action {
            Action::Drop => Some(self.matcher.clone()),
            // The other direction: it comes from where the rule leads to.
            Action::Static(map) => Some(Matcher {
                from: self.matcher.to,
                to: self.matcher.from,
                destination: vec![map.outside],
                ..Matcher::default()
            }),
            Action::PortForward(forward) => Some(Matcher {
                protocol: Some(forward.protocol),
                destination: vec![forward.address.into()],
                destination_ports: Some(forward.ports.clone()),
                ..self.matcher.clone()
            }),
            Action::SourceNat(_) | Action::Bypass => None,
        }
    }
}

impl StaticMap {
    /// What others see of an inside address. `None` if it is not one of `inside`.
    #[must_use]
    pub fn outward(&self, address: IpAddr) -> Option<IpAddr> {
        move_host(address, &self.inside, &self.outside)
    }

    /// The inside address that others see as this one. `None` if it is not one of `outside`.
    #[must_use]
    pub fn inward(&self, address: IpAddr) -> Option<IpAddr> {
        move_host(address, &self.outside, &self.inside)
    }
}

impl PortForward {
    /// Where a packet to `port` goes. `None` if it is not one of `ports`.
    #[must_use]
    pub fn target(&self, port: u16) -> Option<(IpAddr, u16)> {
        if !self.ports.contains(&port) {
            return None;
        }
        let target_port = self.target_port.checked_add(port - self.ports.start())?;
        Some((self.target, target_port))
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

    /// Whether it has a condition on ports.
    pub(crate) const fn names_ports(&self) -> bool {
        self.source_ports.is_some() || self.destination_ports.is_some()
    }

    /// A condition on ports is one on the protocol as well: what has no ports does not match.
    pub(crate) fn ports_match(&self, question: &Question) -> bool {
        if !self.names_ports() {
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

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direction => "it is not for packets of this direction",
            Self::From => "the packet comes in elsewhere",
            Self::To => "the packet would leave elsewhere",
            Self::Protocol => "another protocol",
            Self::Source => "another source address",
            Self::Destination => "another destination address",
            Self::Ports => "other ports",
        })
    }
}

/// The address with the same host bits in another prefix of the same length.
fn move_host(address: IpAddr, from: &IpNet, to: &IpNet) -> Option<IpAddr> {
    if !from.contains(&address) {
        return None;
    }
    match (address, from.hostmask(), to.network()) {
        (IpAddr::V4(address), IpAddr::V4(mask), IpAddr::V4(network)) => {
            Some(IpAddr::V4(network | (address & mask)))
        }
        (IpAddr::V6(address), IpAddr::V6(mask), IpAddr::V6(network)) => {
            Some(IpAddr::V6(network | (address & mask)))
        }
        _ => None,
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
