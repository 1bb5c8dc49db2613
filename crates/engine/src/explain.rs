//! What would happen to a packet, and why, step by step; and who holds an outside end.
//!
//! Nothing changes: no session begins, no port is taken, no neighbour is asked. The answers come from
//! the same sessions and the same plan that the walk uses ([`mooring_nat::Nat::foresee`]), so they
//! cannot tell another story. Slow and allocating: for people, never for packets.

mod access;
mod allocation;
mod holder;
mod known;
mod rules;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use mooring_nat::Arrival;
use mooring_nat::foresee::{Foreseen, OutsideEnd};
use mooring_policy::{Hop, InterfaceId, Ownership};
use mooring_session::{Direction, FlowKey};
use mooring_wire::Protocol;
use mooring_wire::tcp::Flags;

use crate::family::Family;
use crate::local::Ours;
use crate::{DropReason, Engine};

/// The first packet of a flow, or one more of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Where it comes in.
    pub ingress: InterfaceId,
    /// IP protocol number.
    pub protocol: Protocol,
    /// Source address.
    pub source: IpAddr,
    /// Source port, or the identifier of an ICMP echo request; 0 without one.
    pub source_port: u16,
    /// Destination address, of the same family.
    pub destination: IpAddr,
    /// Destination port; 0 for ICMP.
    pub destination_port: u16,
}

/// What would happen, and every step that leads there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// In the order of the walk.
    pub steps: Vec<Step>,
    /// How it ends.
    pub outcome: Outcome,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What is looked at: "session", "destination", "route", "rule", "access", "mapping", "next hop" ...
    pub about: &'static str,
    /// What is found there.
    pub found: String,
}

/// How the walk of a packet would end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It leaves.
    Forwarded {
        /// Name of the interface.
        egress: String,
        /// Whom it is sent to on that link.
        next_hop: IpAddr,
        /// Name of the rule; empty for a session whose rule is gone.
        rule: String,
        /// Source that it leaves with; without a port where that is drawn when the session begins.
        source: (IpAddr, Option<u16>),
        /// Destination that it leaves with.
        destination: (IpAddr, u16),
    },
    /// It is for us and answered, or given to a service of ours.
    Local(String),
    /// It is dropped.
    Dropped(DropReason),
}

impl Engine {
    /// What would happen to a packet. The two addresses are of one family, or it is dropped as
    /// malformed.
    #[must_use]
    pub fn explain(&self, asked: &Asked) -> Explanation {
        match (asked.source, asked.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                self.explain_in::<Ipv4Addr>(asked, source, destination)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                self.explain_in::<Ipv6Addr>(asked, source, destination)
            }
            _ => Trail::default().ends(Outcome::Dropped(DropReason::Malformed)),
        }
    }

    fn explain_in<A: Family>(&self, asked: &Asked, source: A, destination: A) -> Explanation {
        let key = FlowKey {
            source,
            destination,
            source_port: asked.source_port,
            destination_port: asked.destination_port,
            vrf: 0,
            protocol: asked.protocol,
            tag: 0,
        };
        let mut trail = Trail::default();
        trail.step("arrival", format!("on `{}`", self.name(asked.ingress)));
        let sessions = &A::nat(&self.nats).sessions;
        let outcome = match sessions.find_key(&key) {
            Some(found) => self.known::<A>(asked.ingress, found, &mut trail),
            None => {
                trail.step("session", "none yet".to_owned());
                self.new_flow(asked.ingress, key, &mut trail)
            }
        };
        trail.ends(outcome.unwrap_or_else(Outcome::Dropped))
    }

    /// The first packet of a flow.
    fn new_flow<A: Family>(
        &self,
        ingress: InterfaceId,
        key: FlowKey<A>,
        trail: &mut Trail,
    ) -> Result<Outcome, DropReason> {
        trail.step("destination", self.owner_text(key.destination.into()));
        // An identifier of an echo reply stands with its destination.
        let is_echo = key.protocol == A::ICMP && key.destination_port == 0;
        let ours = self.ours(ingress, &key, is_echo);
        // Of others nobody came to ask.
        let may_ping = matches!(ours, Ok(_) | Err(DropReason::Denied | DropReason::NoService));
        if is_echo && may_ping {
            self.explain_ping(ingress, &key, trail);
        }
        match ours {
            Ok(None) => {}
            Ok(Some(Ours::Echo)) => return Ok(Outcome::Local("ping is answered".to_owned())),
            Ok(Some(Ours::Service(id))) => {
                let name = &self.policy.services[usize::from(id.0)].name;
                return Ok(Outcome::Local(format!("service `{name}`")));
            }
            Err(reason) => {
                trail.step("address", refusal_text(reason).to_owned());
                return Err(reason);
            }
        }
        self.explain_rules(ingress, &key, trail);
        self.explain_access(ingress, &key, trail);
        let foreseen = self.foresee(ingress, key).inspect_err(|reason| {
            trail.step("verdict", format!("dropped: {}", reason.name()));
        })?;
        self.foreseen(&foreseen, trail)
    }

    fn foresee<A: Family>(
        &self,
        ingress: InterfaceId,
        key: FlowKey<A>,
    ) -> Result<Foreseen<A>, DropReason> {
        let nat = A::nat(&self.nats);
        let flags = (key.protocol == Protocol::TCP).then_some(Flags::SYN);
        let hash = nat.sessions.hash(&key);
        let arrival = Arrival {
            ingress,
            key,
            hash,
            flags,
            ttl: u8::MAX,
            looked_up: false,
            number: 0,
            drawn: None,
        };
        Ok(nat.foresee(&arrival, &self.policy)?)
    }

    /// What is said of a session that would begin.
    fn foreseen<A: Family>(
        &self,
        foreseen: &Foreseen<A>,
        trail: &mut Trail,
    ) -> Result<Outcome, DropReason> {
        let forward = &foreseen.forward;
        let (address, port) = (foreseen.outside.address(), foreseen.outside.port());
        trail.step("mapping", mapping_text(foreseen));
        let (source, destination, hop) = match foreseen.began {
            Direction::Forward => {
                ((address, port), (forward.destination, forward.destination_port), foreseen.out)
            }
            Direction::Reverse => (
                (forward.destination, Some(forward.destination_port)),
                (forward.source, forward.source_port),
                Some(foreseen.back),
            ),
        };
        let Some(hop) = hop else {
            let (destination, destination_port) = destination;
            // Where the port is drawn, any stands for it: only rules of the target look at it.
            let source_port = port.unwrap_or(u16::MAX);
            let key =
                FlowKey { source: address, destination, source_port, destination_port, ..*forward };
            return self.second_half_of(key, port, trail);
        };
        trail.step("next hop", self.hop_text(&hop));
        Ok(Outcome::Forwarded {
            egress: self.name(hop.interface),
            next_hop: hop.next_hop,
            rule: self.rule_name(foreseen.rule.0),
            source: (source.0.into(), source.1),
            destination: (destination.0.into(), destination.1),
        })
    }

    /// Whose an address is.
    fn owner_text(&self, address: IpAddr) -> String {
        let owner = match self.policy.ownership(address) {
            None => return format!("{address} is not ours"),
            Some(Ownership::Interface(id)) => format!("of interface `{}`", self.name(id)),
            Some(Ownership::Gateway(id)) => format!("gateway of `{}`", self.name(id)),
            Some(Ownership::Pool(id)) => format!("of pool `{}`", self.policy.pool(id).name),
            Some(Ownership::Rule(id)) => format!("of rule `{}`", self.rule_name(id.0)),
        };
        if !self.policy.is_held(address) {
            return format!("{address} is claimed but not held: {owner}");
        }
        format!("{address} is ours: {owner}")
    }

    fn hop_text(&self, hop: &Hop) -> String {
        format!("{} on `{}`", hop.next_hop, self.name(hop.interface))
    }

    fn name(&self, interface: InterfaceId) -> String {
        let interface = self.policy.interfaces.get(usize::from(interface.0));
        interface.map_or_else(|| "hairpin".to_owned(), |interface| interface.name.clone())
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forwarded { egress, next_hop, source, destination, .. } => {
                let (address, port) = *source;
                write!(f, "forwarded by `{egress}` to {next_hop} as {address}")?;
                match port {
                    Some(0) => {}
                    Some(port) => write!(f, " port {port}")?,
                    None => f.write_str(" (port drawn when the session begins)")?,
                }
                write!(f, " -> {}", destination.0)?;
                match destination.1 {
                    // As of ICMP, where the identifier stands with the source.
                    0 => Ok(()),
                    port => write!(f, " port {port}"),
                }
            }
            Self::Local(what) => f.write_str(what),
            Self::Dropped(reason) => write!(f, "dropped: {}", reason.name()),
        }
    }
}

/// The steps so far.
#[derive(Default)]
struct Trail(Vec<Step>);

impl Trail {
    fn step(&mut self, about: &'static str, found: String) {
        self.0.push(Step { about, found });
    }

    fn ends(self, outcome: Outcome) -> Explanation {
        Explanation { steps: self.0, outcome }
    }
}

/// Why the addresses of a packet alone have it dropped.
fn refusal_text(reason: DropReason) -> &'static str {
    match reason {
        DropReason::Martian => {
            "no packet on a link, or none that passes us, may have such an address"
        }
        DropReason::KernelAddress => "one of the kernel beside us: it answers itself",
        DropReason::NoService => "nothing of ours answers here",
        DropReason::NoRoute => "no route leads back to the source",
        DropReason::SpoofedSource => "the way back to the source is another one",
        DropReason::Denied => "not everybody may ping it",
        _ => reason.name(),
    }
}

fn mapping_text<A: Family>(foreseen: &Foreseen<A>) -> String {
    let forward = &foreseen.forward;
    let inside = end(forward.source, Some(forward.source_port), forward.protocol);
    match &foreseen.outside {
        OutsideEnd::Mapping(address, port) => {
            format!("{inside} has the mapping {}", end(*address, Some(*port), forward.protocol))
        }
        OutsideEnd::OneOf(address, ports) => {
            let (first, last) = (ports.start(), ports.end());
            let address: IpAddr = (*address).into();
            format!("{inside} gets {address}, a free port of {first}-{last}")
        }
        OutsideEnd::Fixed(address, port)
            if (*address, *port) == (forward.source, forward.source_port) =>
        {
            format!("{inside} stays as it is")
        }
        OutsideEnd::Fixed(address, port) => {
            format!("{inside} is {} outside", end(*address, Some(*port), forward.protocol))
        }
    }
}

/// An end of a flow as people write it.
fn end<A: Into<IpAddr>>(address: A, port: Option<u16>, protocol: Protocol) -> String {
    let address: IpAddr = address.into();
    let has_ports = matches!(protocol, Protocol::TCP | Protocol::UDP | Protocol::SCTP);
    match (address, port) {
        (_, None) => format!("{address} (a port yet to be drawn)"),
        (IpAddr::V4(v4), Some(port)) if has_ports => format!("{v4}:{port}"),
        (IpAddr::V6(v6), Some(port)) if has_ports => format!("[{v6}]:{port}"),
        (_, Some(0)) => address.to_string(),
        (_, Some(id)) => format!("{address} (identifier {id})"),
    }
}

#[cfg(test)]
mod tests;
