//! `explain`: the question as words, the answer as JSON and as lines.
//!
//! A question names its interface; whoever has the policy resolves it. On the socket it is one line of
//! the same words, so what is read there is checked as what a user writes.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use mooring_engine::Engine;
use mooring_engine::explain::{Asked, Explanation, Outcome};
use mooring_policy::{InterfaceId, Policy};
use mooring_wire::Protocol;
use serde_json::{Map, Value, json};

/// What is to be explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Explain {
    /// What would happen to a packet.
    Packet {
        /// Name of the interface that it comes in by.
        interface: String,
        /// IP protocol.
        protocol: Protocol,
        /// Where it comes from; for ICMP the port is the identifier.
        source: SocketAddr,
        /// Where it goes to.
        destination: SocketAddr,
    },
    /// Who holds an outside address and port.
    Outside {
        /// IP protocol.
        protocol: Protocol,
        /// Address, and port or identifier.
        end: SocketAddr,
    },
}

/// An [`Explain`] whose names are resolved: what a worker understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// As [`Explain::Packet`].
    Packet(Asked),
    /// As [`Explain::Outside`].
    Outside(SocketAddr, Protocol),
}

impl Explain {
    /// A packet from its words: `PROTO SRC[:PORT] DST[:PORT]`, for ICMP `icmp SRC DST [ID]`.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn packet(interface: &str, words: &[impl AsRef<str>]) -> Result<Self, String> {
        let words: Vec<_> = words.iter().map(AsRef::as_ref).collect();
        let (name, source, destination, identifier) = match words[..] {
            [protocol, source, destination] => (protocol, source, destination, None),
            [protocol, source, destination, id] => (protocol, source, destination, Some(id)),
            _ => return Err("write PROTO SRC[:PORT] DST[:PORT], or icmp SRC DST [ID]".to_owned()),
        };
        let (mut source, destination) = (end(source)?, end(destination)?);
        if source.is_ipv4() != destination.is_ipv4() {
            return Err("source and destination must be of one family".to_owned());
        }
        let protocol = protocol(name, source.ip())?;
        if let Some(identifier) = identifier {
            if !is_icmp(protocol) {
                return Err(format!("`{identifier}`: only ICMP has an identifier"));
            }
            let number = identifier.parse();
            source.set_port(number.map_err(|_| format!("`{identifier}` is no identifier"))?);
        }
        Ok(Self::Packet { interface: interface.to_owned(), protocol, source, destination })
    }

    /// An outside end from its words: `ADDR:PORT [PROTO]`, by default of TCP.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn outside(outside: &str, words: &[impl AsRef<str>]) -> Result<Self, String> {
        let end = end(outside)?;
        let protocol = match words {
            [] => Protocol::TCP,
            [name] => protocol(name.as_ref(), end.ip())?,
            [_, more, ..] => return Err(format!("`{}` is one word too many", more.as_ref())),
        };
        Ok(Self::Outside { protocol, end })
    }

    /// The same for a worker of this policy.
    ///
    /// # Errors
    /// When no interface has the name.
    pub fn resolve(&self, policy: &Policy) -> Result<Resolved, String> {
        let (name, protocol, source, destination) = match self {
            Self::Outside { protocol, end } => return Ok(Resolved::Outside(*end, *protocol)),
            Self::Packet { interface, protocol, source, destination } => {
                (interface, *protocol, source, destination)
            }
        };
        let named = (0u8..).zip(&policy.interfaces).find(|(_, interface)| interface.name == *name);
        let (ingress, _) = named.ok_or_else(|| {
            let names: Vec<_> = policy.interfaces.iter().map(|one| one.name.as_str()).collect();
            format!("no interface is named `{name}`; there are: {}", names.join(", "))
        })?;
        Ok(Resolved::Packet(Asked {
            ingress: InterfaceId(ingress),
            protocol,
            source: source.ip(),
            source_port: source.port(),
            destination: destination.ip(),
            destination_port: destination.port(),
        }))
    }
}

impl Resolved {
    /// The engine's answer.
    #[must_use]
    pub fn answer(&self, engine: &Engine) -> Explanation {
        match self {
            Self::Packet(asked) => engine.explain(asked),
            Self::Outside(end, protocol) => engine.explain_outside(end.ip(), end.port(), *protocol),
        }
    }
}

/// Whether an answer speaks of something that lives in the worker that gave it, and not only of what
/// could be: with several workers it is the one that counts.
#[must_use]
pub fn is_of_the_owner(explanation: &Explanation) -> bool {
    let sessions = explanation.steps.iter().filter(|step| step.about == "session");
    let held = matches!(&explanation.outcome, Outcome::Local(text) if text.starts_with("held by"));
    held || sessions.into_iter().any(|step| step.found != "none yet")
}

/// An explanation as JSON.
#[must_use]
pub fn json(explanation: &Explanation) -> Value {
    let end = |address: IpAddr, port: Option<u16>| json!({ "address": address, "port": port });
    let steps: Vec<_> = explanation
        .steps
        .iter()
        .map(|step| json!({ "about": step.about, "found": step.found }))
        .collect();
    let mut row = Map::new();
    match &explanation.outcome {
        Outcome::Forwarded { egress, next_hop, rule, source, destination } => {
            row.insert("verdict".to_owned(), "forwarded".into());
            row.insert("egress".to_owned(), egress.as_str().into());
            row.insert("next_hop".to_owned(), next_hop.to_string().into());
            row.insert("rule".to_owned(), rule.as_str().into());
            row.insert("source".to_owned(), end(source.0, source.1));
            row.insert("destination".to_owned(), end(destination.0, Some(destination.1)));
        }
        Outcome::Local(_) => drop(row.insert("verdict".to_owned(), "local".into())),
        Outcome::Dropped(reason) => {
            row.insert("verdict".to_owned(), "dropped".into());
            row.insert("reason".to_owned(), reason.name().into());
        }
    }
    row.insert("summary".to_owned(), explanation.outcome.to_string().into());
    row.insert("steps".to_owned(), steps.into());
    Value::Object(row)
}

/// The lines for people, from the JSON of an explanation.
#[must_use]
pub fn lines(explanation: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut lines = String::new();
    for step in explanation["steps"].as_array().into_iter().flatten() {
        lines += &format!("{:<WIDTH$}{}\n", text(&step["about"]), text(&step["found"]));
    }
    lines + &format!("{:<WIDTH$}{}\n", "=>", text(&explanation["summary"]))
}

impl fmt::Display for Explain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Packet { interface, protocol, source, destination } => {
                write!(f, "packet {interface} {} {source} {destination}", protocol.0)
            }
            Self::Outside { protocol, end } => write!(f, "outside {end} {}", protocol.0),
        }
    }
}

impl FromStr for Explain {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let words: Vec<_> = text.split_whitespace().collect();
        match &words[..] {
            ["packet", interface, words @ ..] => Self::packet(interface, words),
            ["outside", end, words @ ..] => Self::outside(end, words),
            _ => Err("there is nothing to explain".to_owned()),
        }
    }
}

/// An address with or without a port; `[v6]:port`.
fn end(word: &str) -> Result<SocketAddr, String> {
    let bare = || word.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, 0));
    let end = word.parse().ok().or_else(bare);
    end.ok_or_else(|| format!("`{word}` is no address; write 10.0.0.2:80 or [2001:db8::2]:80"))
}

/// A protocol by name or number; `icmp` is that of the address's family.
fn protocol(name: &str, address: IpAddr) -> Result<Protocol, String> {
    match name {
        "tcp" => Ok(Protocol::TCP),
        "udp" => Ok(Protocol::UDP),
        "sctp" => Ok(Protocol::SCTP),
        "icmp" if address.is_ipv4() => Ok(Protocol::ICMP),
        "icmp" | "icmpv6" => Ok(Protocol::ICMPV6),
        number => number.parse().map(Protocol).map_err(|_| {
            format!("`{name}` is no protocol; write tcp, udp, icmp, icmpv6, sctp or a number")
        }),
    }
}

fn is_icmp(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::ICMP | Protocol::ICMPV6)
}

const WIDTH: usize = 13;

#[cfg(test)]
mod tests {
    use super::Explain;

    fn packet(text: &str) -> Result<Explain, String> {
        Explain::packet("inside", &text.split(' ').collect::<Vec<_>>())
    }

    #[test]
    fn a_question_is_the_same_after_the_socket() {
        for text in [
            "tcp 10.0.0.2:5000 192.0.2.2:80",
            "udp [fd00::2]:5000 [2001:db8::1]:53",
            "icmp 10.0.0.2 192.0.2.2 7",
            "icmp fd00::2 2001:db8::1",
            "47 10.0.0.2 192.0.2.2",
        ] {
            let question = packet(text).expect("valid");
            assert_eq!(question.to_string().parse(), Ok(question));
        }
        let outside = Explain::outside("203.0.113.10:2000", &["udp"]).expect("valid");
        assert_eq!(outside.to_string().parse(), Ok(outside));
    }

    #[test]
    fn what_is_wrong_with_a_question_is_told() {
        for (text, what) in [
            ("tcp 10.0.0.2:5000", "write PROTO"),
            ("tcp 10.0.0.2:5000 2001:db8::1", "one family"),
            ("tpc 10.0.0.2 192.0.2.2", "`tpc` is no protocol"),
            ("tcp 10.0.0.2:99999 192.0.2.2", "`10.0.0.2:99999` is no address"),
            ("tcp 10.0.0.2 192.0.2.2 7", "only ICMP"),
            ("icmp 10.0.0.2 192.0.2.2 x", "`x` is no identifier"),
        ] {
            let told = packet(text).expect_err(text);
            assert!(told.contains(what), "{told}");
        }
    }
}
