//! A configuration of the model as the engine reads it.

use std::fmt::Write;

use super::{Action, Filtering, Kind, Limits, Net, Pool, Rule, Spec, Tcp};
use crate::packet::{ICMP, ICMPV6, TCP, UDP};

impl Pool {
    fn toml(&self, text: &mut String) {
        let Self { name, addresses, ports, .. } = self;
        let mapping = ["endpoint-independent", "endpoint-dependent"];
        let _ = writeln!(
            text,
            "[[pool]]\nname = \"{name}\"\naddresses = {:?}\nports = \"{}-{}\"\nmapping = \"{}\"\n\
             filtering = \"{}\"\nhairpin = {}\nping = {}\npooling = \"{}\"",
            addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ports.0,
            ports.1,
            mapping[usize::from(self.endpoint_dependent)],
            self.filtering.name(),
            self.hairpin,
            self.ping,
            if self.arbitrary { "arbitrary" } else { "paired" },
        );
        let (seconds, strict) = self.hold_down;
        self.limits.toml(text);
        let _ = match self.kind {
            Kind::Random => writeln!(text, "allocation = {{ kind = \"random\" }}"),
            Kind::Preserve => writeln!(text, "allocation = {{ kind = \"preserve\" }}"),
            Kind::Blocks(size, most, rest) => writeln!(
                text,
                "allocation = {{ kind = \"port-block\", size = {size}, max_blocks = {most}, \
                 quarantine = {rest} }}"
            ),
            Kind::Slices(Net(source, len), size) => writeln!(
                text,
                "allocation = {{ kind = \"deterministic\", source = \"{source}/{len}\", \
                 ports_per_host = {size} }}"
            ),
        };
        let choice = if self.least_used { "least-used" } else { "hash" };
        let _ = writeln!(text, "address_choice = \"{choice}\"");
        let _ = writeln!(text, "parity = {}\ncontiguity = {}", self.parity, self.contiguity);
        if let Some((first, last)) = self.overflow {
            let _ = writeln!(text, "overflow_ports = \"{first}-{last}\"");
        }
        let refresh = if self.outbound { "outbound" } else { "both" };
        let _ = writeln!(text, "refresh = \"{refresh}\"");
        if !matches!(self.kind, Kind::Blocks(..) | Kind::Slices(..)) {
            let _ = writeln!(text, "hold_down = {{ seconds = {seconds}, strict = {strict} }}");
        }
        lists(text, &self.allow, &self.deny);
        let _ = writeln!(text, "{}", self.more);
    }
}

impl Limits {
    /// Of a pool or a rule.
    fn toml(&self, text: &mut String) {
        let Self { sessions, mappings, half_open, transitory, rate } = *self;
        let limits = [
            ("sessions", sessions),
            ("mappings", mappings),
            ("half_open", half_open),
            ("transitory", transitory),
            ("session_rate", rate.map(|rate| rate as usize)),
        ];
        for (key, limit) in limits {
            if let Some(limit) = limit {
                let _ = writeln!(text, "limits.{key} = {limit}");
            }
        }
    }
}

impl Tcp {
    fn toml(self, text: &mut String) {
        let Self { pick_up, tells, probes, windows } = self;
        let syn = if tells { "icmp" } else { "drop" };
        if pick_up || tells || probes || windows {
            let _ = writeln!(
                text,
                "[tcp]\npick_up = {pick_up}\nunsolicited_syn = \"{syn}\"\nprobe = {probes}\n\
                 window_tracking = {windows}"
            );
        }
    }
}

impl Filtering {
    const fn name(self) -> &'static str {
        match self {
            Self::AddressAndPort => "address-and-port-dependent",
            Self::Address => "address-dependent",
            Self::Endpoint => "endpoint-independent",
        }
    }
}

impl Rule {
    fn toml(&self, text: &mut String) {
        let _ = writeln!(text, "[[rule]]\nname = \"{}\"", self.name);
        let sides = "from = \"inside\"\nto = \"outside\"";
        let _ = match &self.action {
            Action::SourceNat(pool) => {
                writeln!(text, "kind = \"source-nat\"\npool = \"{pool}\"\n{sides}")
            }
            Action::Bypass => writeln!(text, "kind = \"bypass\"\nfrom = \"inside\""),
            Action::Drop => writeln!(text, "kind = \"drop\"\nfrom = \"inside\""),
            Action::Static(inside, outside) => {
                let len = if inside.is_ipv4() { 32 } else { 128 };
                let ends = format!("inside = \"{inside}/{len}\"\noutside = \"{outside}/{len}\"");
                writeln!(text, "kind = \"static\"\n{ends}\n{sides}")
            }
            Action::PortForward(address, protocol, (first, last), target) => writeln!(
                text,
                "kind = \"port-forward\"\naddress = \"{address}\"\nprotocol = \"{}\"\n\
                 port = \"{first}-{last}\"\ntarget = \"{}\"\nfrom = \"outside\"",
                name_of(*protocol),
                std::net::SocketAddr::from(*target),
            ),
        };
        for (key, net) in [("source", self.source), ("destination", self.destination)] {
            if let Some(Net(address, len)) = net {
                let _ = writeln!(text, "{key} = [\"{address}/{len}\"]");
            }
        }
        if let (Some(protocol), false) =
            (self.protocol, matches!(self.action, Action::PortForward(..)))
        {
            let _ = writeln!(text, "protocol = \"{}\"", name_of(protocol));
        }
        if let Some(port) = self.destination_port {
            let _ = writeln!(text, "destination_ports = {port}");
        }
        if self.drain {
            text.push_str("drain = true\n");
        }
        self.limits.toml(text);
        lists(text, &self.allow, &self.deny);
    }
}

impl Spec {
    /// The configuration file.
    pub(crate) fn toml(&self) -> String {
        let mut text = TOPOLOGY.to_owned();
        self.pools.iter().for_each(|pool| pool.toml(&mut text));
        self.rules.iter().for_each(|rule| rule.toml(&mut text));
        let [udp, established, transitory, half_open, icmp] = self.timeouts;
        let Self { sessions, per_source, more, .. } = self;
        let full = if self.evict { "evict-transitory" } else { "refuse" };
        let _ = writeln!(
            text,
            "[timeouts]\nudp = {udp}\ntcp_established = {established}\n\
             tcp_transitory = {transitory}\ntcp_half_open = {half_open}\nicmp = {icmp}\n\
             [limits]\nsessions = {sessions}\nsessions_per_source = {per_source}\n\
             on_full = \"{full}\"\n{more}"
        );
        let Limits { mappings, half_open, transitory, rate, .. } = self.of_source;
        let limits = [
            ("mappings_per_source", mappings),
            ("half_open_per_source", half_open),
            ("transitory_per_source", transitory),
            ("session_rate_per_source", rate.map(|rate| rate as usize)),
        ];
        for (key, limit) in limits {
            if let Some(limit) = limit {
                let _ = writeln!(text, "{key} = {limit}");
            }
        }
        self.tcp.toml(&mut text);
        text
    }
}

fn lists(text: &mut String, allow: &[Net], deny: &[Net]) {
    for (key, list) in [("allow", allow), ("deny", deny)] {
        if !list.is_empty() {
            let nets: Vec<_> = list.iter().map(|Net(at, len)| format!("{at}/{len}")).collect();
            let _ = writeln!(text, "{key} = {nets:?}");
        }
    }
}

const fn name_of(protocol: u8) -> &'static str {
    match protocol {
        TCP => "tcp",
        UDP => "udp",
        ICMP => "icmp",
        ICMPV6 => "icmpv6",
        _ => "47",
    }
}

const TOPOLOGY: &str = r#"
[[interface]]
name = "inside"
device = "in0"
addresses = ["10.0.0.1/24", "fd00:10::1/64"]

[[interface]]
name = "outside"
device = "out0"
addresses = ["192.0.2.1/24", "2001:db8:1::1/64"]

[[route]]
destination = "198.51.100.0/24"
via = "192.0.2.2"

[[route]]
destination = "2001:db8:2::/64"
via = "2001:db8:1::2"
"#;
