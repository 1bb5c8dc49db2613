//! Properties: no text makes loading panic, and what was compiled from a valid configuration
//! answers as a naive reading of it does.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use mooring_policy::{
    Hop, InterfaceId, Ownership, Policy, PoolId, Problem, Question, RuleId, Severity, load,
};
use mooring_wire::Protocol;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::{Strategy, any, prop_assert_eq};
use proptest::proptest;
use proptest::sample::select;

/// An IPv4 prefix by plain arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Prefix {
    length: u32,
    bits: u32,
}

#[derive(Clone, Debug)]
struct RuleModel {
    from: Option<u8>,
    to: Option<u8>,
    source: Vec<Prefix>,
    destination: Vec<Prefix>,
    protocol: Option<u8>,
    destination_ports: Option<(u16, u16)>,
    pool: Option<u16>,
}

#[derive(Clone, Debug)]
struct Model {
    /// Lengths of the connected prefixes; interface n has 10.n.0.1.
    interfaces: Vec<u32>,
    /// Next hop: host 2 on the link of that interface.
    routes: Vec<(Prefix, u8)>,
    /// Lengths of the pools' prefixes; pool n begins at 203.0.n.0.
    pools: Vec<u32>,
    rules: Vec<RuleModel>,
}

impl Prefix {
    fn new(address: u32, length: u32) -> Self {
        let mask = if length == 0 { 0 } else { u32::MAX << (32 - length) };
        Self { length, bits: address & mask }
    }

    fn contains(self, address: u32) -> bool {
        Self::new(address, self.length) == self
    }

    fn text(self) -> String {
        format!("\"{}/{}\"", Ipv4Addr::from_bits(self.bits), self.length)
    }
}

impl RuleModel {
    fn matches(&self, question: &Question) -> bool {
        let (source, destination) = (bits(question.source), bits(question.destination));
        let holds = |list: &[Prefix], address| {
            list.is_empty() || list.iter().any(|prefix| prefix.contains(address))
        };
        let ports = self.destination_ports.is_none_or(|(first, last)| {
            [6, 17, 132].contains(&question.protocol.0)
                && (first..=last).contains(&question.destination_port)
        });
        self.from.is_none_or(|from| from == question.ingress.0)
            && self.to.is_none_or(|to| to == question.egress.0)
            && self.protocol.is_none_or(|protocol| protocol == question.protocol.0)
            && holds(&self.source, source)
            && holds(&self.destination, destination)
            && ports
    }
}

impl Model {
    fn connected(&self) -> impl Iterator<Item = (Prefix, u8)> {
        let lengths = self.interfaces.iter().enumerate();
        lengths.map(|(n, length)| (Prefix::new(own(n as u8), *length), n as u8))
    }

    fn route(&self, destination: u32) -> Option<Hop> {
        let hop = |interface, next_hop| Hop {
            interface: InterfaceId(interface),
            next_hop: Ipv4Addr::from_bits(next_hop).into(),
        };
        let connected = self.connected().map(|(prefix, n)| (prefix, hop(n, destination)));
        let routed = self.routes.iter().map(|(prefix, n)| (*prefix, hop(*n, own(*n) + 1)));
        let covering = connected.chain(routed).filter(|(prefix, _)| prefix.contains(destination));
        covering.max_by_key(|(prefix, _)| prefix.length).map(|(_, hop)| hop)
    }

    fn ownership(&self, address: u32) -> Option<Ownership> {
        let interfaces = 0..self.interfaces.len() as u8;
        let mut owned = interfaces.filter(|n| own(*n) == address);
        let interface = owned.next().map(|n| Ownership::Interface(InterfaceId(n)));
        let pool = self.pools.iter().enumerate().find(|(n, length)| {
            Prefix::new(0xcb00_0000 | (*n as u32) << 8, **length).contains(address)
        });
        interface.or(pool.map(|(n, _)| Ownership::Pool(PoolId(n as u16))))
    }

    /// As a person would write it.
    fn text(&self) -> String {
        let mut text = String::new();
        for (n, length) in self.interfaces.iter().enumerate() {
            let address = Ipv4Addr::from_bits(own(n as u8));
            let _ = writeln!(text, "[[interface]]\nname = \"i{n}\"\ndevice = \"eth{n}\"");
            let _ = writeln!(text, "addresses = [\"{address}/{length}\"]");
        }
        for (prefix, n) in &self.routes {
            let via = Ipv4Addr::from_bits(own(*n) + 1);
            let _ = writeln!(text, "[[route]]\ndestination = {}\nvia = \"{via}\"", prefix.text());
        }
        for (n, length) in self.pools.iter().enumerate() {
            let prefix = Prefix::new(0xcb00_0000 | (n as u32) << 8, *length).text();
            let _ = writeln!(text, "[[pool]]\nname = \"p{n}\"\naddresses = [{prefix}]");
        }
        for (n, rule) in self.rules.iter().enumerate() {
            let _ = writeln!(text, "[[rule]]\nname = \"r{n}\"");
            rule.write(&mut text);
        }
        text
    }
}

impl RuleModel {
    fn write(&self, text: &mut String) {
        let _ = match self.pool {
            Some(pool) => writeln!(text, "kind = \"source-nat\"\npool = \"p{pool}\""),
            None => writeln!(text, "kind = \"drop\""),
        };
        for (key, interface) in [("from", self.from), ("to", self.to)] {
            let _ = interface.map(|n| writeln!(text, "{key} = \"i{n}\""));
        }
        for (key, list) in [("source", &self.source), ("destination", &self.destination)] {
            let list: Vec<String> = list.iter().map(|prefix| prefix.text()).collect();
            if !list.is_empty() {
                let _ = writeln!(text, "{key} = [{}]", list.join(", "));
            }
        }
        let _ = self.protocol.map(|protocol| writeln!(text, "protocol = {protocol}"));
        let ports = self.destination_ports;
        let _ = ports.map(|(a, b)| writeln!(text, "destination_ports = \"{a}-{b}\""));
    }
}

/// The own address of interface n.
fn own(n: u8) -> u32 {
    0x0a00_0001 | u32::from(n) << 16
}

fn bits(address: IpAddr) -> u32 {
    let IpAddr::V4(address) = address else { panic!("this model is IPv4 only") };
    address.to_bits()
}

/// Addresses near the borders of what the model configures, so that they hit often.
fn address() -> impl Strategy<Value = u32> {
    let base = [0x0a00_0000, 0x0a01_0000, 0x0a02_0000, 0xac10_0000, 0xcb00_0000, 0xcb00_0100];
    (select(base.to_vec()), 0..4_u32, 0..8_u32).prop_map(|(base, high, low)| base + high * 64 + low)
}

fn prefix() -> impl Strategy<Value = Prefix> {
    let lengths = vec![0, 8, 15, 16, 24, 26, 29, 30, 31, 32];
    (address(), select(lengths)).prop_map(|(address, length)| Prefix::new(address, length))
}

fn rule(interfaces: u8, pools: u16) -> impl Strategy<Value = RuleModel> {
    let ends = (option::of(0..interfaces), option::of(0..interfaces), option::of(0..pools));
    let lists = (vec(prefix(), 0..3), vec(prefix(), 0..3));
    let ports = option::of((1..20_u16, 0..20_u16).prop_map(|(a, n)| (a, a + n)));
    let protocol = option::of(select(vec![6, 17, 132]));
    (ends, lists, protocol, ports).prop_map(|((from, to, pool), lists, protocol, ports)| {
        let (source, destination) = lists;
        let destination_ports = ports;
        RuleModel { from, to, source, destination, protocol, destination_ports, pool }
    })
}

fn model() -> impl Strategy<Value = Model> {
    let sizes = (vec(17..=30_u32, 1..4), vec(24..=32_u32, 1..3));
    sizes.prop_flat_map(|(interfaces, pools)| {
        let (links, count) = (interfaces.len() as u8, pools.len() as u16);
        let routes = btree_map(prefix(), 0..links, 0..6);
        let rules = vec(rule(links, count), 0..80);
        (routes, rules).prop_map(move |(routes, rules)| {
            let (interfaces, pools) = (interfaces.clone(), pools.clone());
            let mut model = Model { interfaces, routes: Vec::new(), pools, rules };
            // A route to a connected prefix is an error.
            let connected: Vec<Prefix> = model.connected().map(|(prefix, _)| prefix).collect();
            let allowed = |(prefix, _): &(Prefix, u8)| !connected.contains(prefix);
            model.routes = routes.into_iter().filter(allowed).collect();
            without_contradictions(model)
        })
    })
}

/// Takes out what is refused: rules that an earlier one of another kind matches all of.
fn without_contradictions(mut model: Model) -> Model {
    let Err(problems) = load(&model.text()) else { return model };
    let mut number = 0;
    model.rules.retain(|_| {
        let start = format!("rule `r{number}` is never reached");
        number += 1;
        let is_it = |problem: &Problem| {
            problem.severity == Severity::Error && problem.message.starts_with(&start)
        };
        !problems.0.iter().any(is_it)
    });
    model
}

fn question() -> impl Strategy<Value = Question> {
    let addresses = (address(), address());
    let protocol = select(vec![1, 6, 17, 47, 132]);
    ((0..3_u8, 0..3_u8), addresses, protocol, 0..40_u16).prop_map(
        |((ingress, egress), (source, destination), protocol, port)| Question {
            ingress: InterfaceId(ingress),
            egress: InterfaceId(egress),
            source: Ipv4Addr::from_bits(source).into(),
            destination: Ipv4Addr::from_bits(destination).into(),
            protocol: Protocol(protocol),
            source_port: port ^ 1,
            destination_port: port,
        },
    )
}

fn compiled(model: &Model) -> Policy {
    let text = model.text();
    load(&text).unwrap_or_else(|problems| panic!("{}{text}", problems.render("model"))).policy
}

/// Replaces, doubles or removes one line of a text, by another line of it.
fn mutate(text: &str, at: usize, from: usize, how: u8) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    let (at, from) = (at % lines.len(), from % lines.len());
    match how % 3 {
        0 => lines[at] = lines[from],
        1 => lines.insert(at, lines[from]),
        _ => drop(lines.remove(at)),
    }
    lines.join("\n")
}

proptest! {
    #[test]
    fn lookups_agree_with_a_naive_reading(
        model in model(),
        questions in vec(question(), 1..40),
    ) {
        let policy = compiled(&model);
        for question in &questions {
            let destination = bits(question.destination);
            prop_assert_eq!(policy.route(question.destination), model.route(destination));
            prop_assert_eq!(policy.ownership(question.destination), model.ownership(destination));
            let asked = policy.rules.iter().position(|rule| rule.matches(question));
            let first = model.rules.iter().position(|rule| rule.matches(question));
            prop_assert_eq!(asked, first);
            prop_assert_eq!(policy.decide(question), first.map(|index| RuleId(index as u16)));
        }
    }

    #[test]
    fn pool_addresses_are_counted_once_each(length in 24..=32_u32, more in 24..=32_u32) {
        let (one, two) = (Prefix::new(0xcb00_0000, length), Prefix::new(0xcb00_0100, more));
        let addresses = format!("addresses = [{}, {}]", one.text(), two.text());
        let model = Model { interfaces: vec![24], routes: vec![], pools: vec![], rules: vec![] };
        let text = model.text() + "[[pool]]\nname = \"p\"\n" + &addresses;
        let policy = load(&text).expect("the two prefixes are disjoint").policy;
        let pool = policy.pool(PoolId(0));
        let listed: Vec<u32> = (0..).map_while(|n| pool.nth_address(n)).map(bits).collect();
        let expected = (0..1 << (32 - length)).map(|n| one.bits + n);
        let expected: Vec<u32> = expected.chain((0..1 << (32 - more)).map(|n| two.bits + n)).collect();
        prop_assert_eq!(pool.address_count() as usize, listed.len());
        prop_assert_eq!(listed, expected);
    }

    #[test]
    fn damaged_configurations_do_not_panic(
        edits in vec((any::<usize>(), any::<usize>(), any::<u8>()), 1..12),
    ) {
        let mut text = include_str!("bad/unsupported.toml").to_owned();
        let example = if edits.len() % 2 == 0 {
            include_str!("../../../configs/egress.toml")
        } else {
            text.clear();
            include_str!("../../../configs/everything.toml")
        };
        text.push_str(example);
        for (at, from, how) in edits {
            text = mutate(&text, at, from, how);
            let _ = load(&text);
        }
    }

    #[test]
    fn arbitrary_values_do_not_panic(
        key in select(vec!["addresses", "ports", "via", "destination", "kind", "allocation", "mtu"]),
        value in "\\PC{0,24}|\"[0-9a-f:./-]{0,20}\"|\\[\"[0-9a-f:./-]{0,20}\"\\]|-?[0-9]{1,25}",
    ) {
        for section in ["interface", "route", "pool", "rule"] {
            let _ = load(&format!("[[{section}]]\nname = \"x\"\n{key} = {value}\n"));
        }
    }
}
