//! Who may come in, and on which side: rules that claim addresses, services, sides.

use std::net::IpAddr;

use mooring_wire::Protocol;

use super::{address, question};
use crate::{
    Action, Filtering, InterfaceId, InterfaceSet, Ownership, Policy, PoolId, Question, RuleId,
    ServiceId, ServiceKind, load,
};

/// inside 0, outside 1, processes (a tap) 2.
const LINKS: &str = r#"
    [[interface]]
    name = "inside"
    device = "in0"
    addresses = ["10.0.0.1/24", "fd00:10::1/64"]
    gateway_addresses = ["10.0.0.254"]

    [[interface]]
    name = "outside"
    device = "out0"
    addresses = ["192.0.2.1/24", "2001:db8:1::1/64"]

    [[interface]]
    name = "processes"
    device = "tap0"
    backend = "tap"
    addresses = ["10.9.0.1/24"]

    [[route]]
    destination = "0.0.0.0/0"
    via = "192.0.2.2"

    [[pool]]
    name = "egress"
    addresses = ["203.0.113.10/32"]
    filtering = "endpoint-independent"
"#;

const EGRESS: &str = r#"
    [[rule]]
    name = "egress"
    kind = "source-nat"
    from = "inside"
    to = "outside"
    pool = "egress"
"#;

const WEB: &str = r#"
    [[rule]]
    name = "web"
    kind = "port-forward"
    address = "203.0.113.10"
    port = "8000-8009"
    target = "10.0.0.2:80"
"#;

const STATIC: &str = r#"
    [[rule]]
    name = "static"
    kind = "static"
    inside = "10.0.0.16/30"
    outside = "203.0.113.32/30"
"#;

const DELIVER: &str = r#"
    [[rule]]
    name = "deliver"
    kind = "deliver"
    address = "203.0.113.50"
    interface = "processes"
"#;

const INSIDE: InterfaceId = InterfaceId(0);
const OUTSIDE: InterfaceId = InterfaceId(1);
const PROCESSES: InterfaceId = InterfaceId(2);

fn policy(rules: &[&str]) -> Policy {
    let text = format!("{LINKS}{}", rules.concat());
    load(&text).unwrap_or_else(|problems| panic!("{}", problems.render("test"))).policy
}

/// From a remote behind the outside interface.
fn from_outside(destination: &str, protocol: Protocol, port: u16) -> Question {
    Question { ingress: OUTSIDE, ..question("198.51.100.1", destination, protocol, port) }
}

fn set(interfaces: &[InterfaceId]) -> InterfaceSet {
    let one = |set: InterfaceSet, id: &InterfaceId| set.union(InterfaceSet::only(*id));
    interfaces.iter().fold(InterfaceSet::EMPTY, one)
}

#[test]
fn a_port_forward_matches_what_comes_to_its_ports_only() {
    let policy = policy(&[EGRESS, WEB]);
    let asked = |destination, protocol, port| {
        policy.inbound(&from_outside(destination, protocol, port)).map(|id| id.0)
    };
    assert_eq!(asked("203.0.113.10", Protocol::TCP, 8000), Some(1));
    assert_eq!(asked("203.0.113.10", Protocol::TCP, 8009), Some(1));
    assert_eq!(asked("203.0.113.10", Protocol::TCP, 8010), None);
    assert_eq!(asked("203.0.113.10", Protocol::UDP, 8000), None);
    assert_eq!(asked("203.0.113.11", Protocol::TCP, 8000), None);
    let Action::PortForward(web) = &policy.rule(RuleId(1)).action else { panic!("web forwards") };
    assert_eq!(web.target(8009), Some((address("10.0.0.2"), 89)));
    assert_eq!(web.target(8010), None);
    let sender = question("10.0.0.3", "203.0.113.10", Protocol::TCP, 8000);
    assert_eq!(policy.decide(&sender), Some(RuleId(0)), "it says nothing of the sender's session");
}

#[test]
fn a_static_rule_matches_both_ways_and_keeps_host_bits() {
    let policy = policy(&[STATIC, EGRESS]);
    let out = |source| policy.decide(&question(source, "198.51.100.1", Protocol::ICMP, 0));
    assert_eq!(out("10.0.0.18"), Some(RuleId(0)));
    assert_eq!(out("10.0.0.20"), Some(RuleId(1)));
    let inbound = |to| policy.inbound(&from_outside(to, Protocol(47), 0));
    assert_eq!(inbound("203.0.113.34"), Some(RuleId(0)));
    assert_eq!(inbound("203.0.113.36"), None);
    let Action::Static(map) = policy.rule(RuleId(0)).action else { panic!("it is static") };
    assert_eq!(map.outward(address("10.0.0.18")), Some(address("203.0.113.34")));
    assert_eq!(map.inward(address("203.0.113.34")), Some(address("10.0.0.18")));
    assert_eq!(map.outward(address("10.0.0.20")), None);
    assert_eq!(map.outward(address("fd00::1")), None);
}

#[test]
fn an_earlier_drop_rule_wins_over_a_claim() {
    let drop = "[[rule]]\nname = \"d\"\nkind = \"drop\"\nsource = [\"198.51.100.0/24\"]\n";
    let inbound =
        |rules: &[&str]| policy(rules).inbound(&from_outside("203.0.113.10", Protocol::TCP, 8000));
    assert_eq!(inbound(&[drop, WEB]), Some(RuleId(0)));
    assert_eq!(inbound(&[WEB, drop]), Some(RuleId(0)));
    assert_eq!(inbound(&[EGRESS, WEB, drop]), Some(RuleId(1)));
}

#[test]
fn to_is_where_a_claim_leads() {
    let drop = |to: &str| format!("[[rule]]\nname = \"d\"\nkind = \"drop\"\nto = \"{to}\"\n");
    let inbound = |to: &str| {
        // The caller does not know where it would go.
        let asked =
            Question { egress: OUTSIDE, ..from_outside("203.0.113.10", Protocol::TCP, 8000) };
        policy(&[&drop(to), WEB]).inbound(&asked)
    };
    assert_eq!(inbound("inside"), Some(RuleId(0)));
    assert_eq!(inbound("outside"), Some(RuleId(1)));
    let only = |to: &str| policy(&[&format!("{WEB}\nto = \"{to}\"")]);
    let asked = from_outside("203.0.113.10", Protocol::TCP, 8000);
    assert_eq!(only("inside").inbound(&asked), Some(RuleId(0)));
    assert_eq!(only("processes").inbound(&asked), None);
}

#[test]
fn sides_are_those_of_the_rules() {
    let named = |rule: &str, more: &str| format!("{rule}\n{more}\n");
    let sides = |rules: &[&str], of: &str| policy(rules).outside_of(address(of));
    // A pool: `to`, or all but `from`.
    assert_eq!(sides(&[EGRESS], "203.0.113.10"), set(&[OUTSIDE]));
    let open = EGRESS.replace("to = \"outside\"", "");
    assert_eq!(sides(&[&open], "203.0.113.10"), set(&[OUTSIDE, PROCESSES]));
    // Without either: all but where `source` is, if that says anything.
    let bare = open.replace("from = \"inside\"", "");
    let of = |source: &str| named(&bare, &format!("source = [\"{source}\"]"));
    assert_eq!(sides(&[&of("10.0.0.0/25")], "203.0.113.10"), set(&[OUTSIDE, PROCESSES]));
    assert_eq!(sides(&[&of("10.0.0.0/8")], "203.0.113.10"), set(&[OUTSIDE]));
    assert_eq!(sides(&[&bare], "203.0.113.10"), set(&[INSIDE, OUTSIDE, PROCESSES]));
    assert_eq!(sides(&[&of("0.0.0.0/0")], "203.0.113.10"), set(&[INSIDE, OUTSIDE, PROCESSES]));
    // A port forward: `from`, else the pool's sides, else all but the target's.
    assert_eq!(sides(&[EGRESS, WEB], "203.0.113.10"), set(&[OUTSIDE]));
    let from = named(WEB, "from = \"processes\"");
    assert_eq!(sides(&[EGRESS, &from], "203.0.113.10"), set(&[OUTSIDE, PROCESSES]));
    let alone = WEB.replace("113.10", "113.60");
    assert_eq!(sides(&[&alone], "203.0.113.60"), set(&[OUTSIDE, PROCESSES]));
    // Static: `to`, else all but the inside's.
    assert_eq!(sides(&[STATIC], "203.0.113.33"), set(&[OUTSIDE, PROCESSES]));
    let to = named(STATIC, "to = \"outside\"");
    assert_eq!(sides(&[&to], "203.0.113.33"), set(&[OUTSIDE]));
    // Delivered: all but the tap.
    assert_eq!(sides(&[DELIVER], "203.0.113.50"), set(&[INSIDE, OUTSIDE]));
    assert_eq!(sides(&[DELIVER], "10.0.0.1"), InterfaceSet::EMPTY);
    assert_eq!(sides(&[DELIVER], "203.0.113.51"), InterfaceSet::EMPTY);
}

#[test]
fn a_delivered_address_is_routed_to_its_tap_as_it_is() {
    let policy = policy(&[DELIVER]);
    let ours = address("203.0.113.50");
    assert_eq!(policy.delivered().collect::<Vec<_>>(), [(PROCESSES, ours)]);
    let hop = policy.route(ours).expect("a host route");
    assert_eq!((hop.interface, hop.next_hop), (PROCESSES, ours));
    let Action::Static(map) = policy.rule(RuleId(0)).action else { panic!("it is static") };
    assert_eq!((map.outward(ours), map.inward(ours)), (Some(ours), Some(ours)));
    let inbound = from_outside("203.0.113.50", Protocol::TCP, 80);
    assert_eq!(policy.inbound(&inbound), Some(RuleId(0)));
    assert_eq!(policy.ownership(ours), Some(Ownership::Rule(RuleId(0))));
}

#[test]
fn who_owns_an_address_is_answered_by_kind() {
    let web = WEB.replace("113.10", "113.60");
    let policy = policy(&[EGRESS, WEB, &web.replace("\"web\"", "\"alone\""), STATIC]);
    let owner = |of| policy.ownership(address(of));
    assert_eq!(owner("10.0.0.1"), Some(Ownership::Interface(INSIDE)));
    assert_eq!(owner("10.0.0.254"), Some(Ownership::Gateway(INSIDE)));
    assert_eq!(owner("203.0.113.10"), Some(Ownership::Pool(PoolId(0))));
    assert_eq!(owner("203.0.113.60"), Some(Ownership::Rule(RuleId(2))));
    assert_eq!(owner("203.0.113.35"), Some(Ownership::Rule(RuleId(3))));
    assert_eq!(owner("203.0.113.36"), None);
    assert!(policy.answers_for(INSIDE, address("10.0.0.254")));
    assert!(!policy.answers_for(OUTSIDE, address("10.0.0.254")));
    assert!(policy.answers_for(OUTSIDE, address("203.0.113.35")));
    assert!(!policy.answers_for(INSIDE, address("203.0.113.35")));
}

#[test]
fn every_claimed_address_is_announced_on_its_sides() {
    let to = "to = \"outside\"\n";
    let policy = policy(&[EGRESS, STATIC, to, DELIVER, to, WEB]);
    let mut announced: Vec<(InterfaceId, IpAddr)> = policy.announced().collect();
    announced.retain(|(_, address)| address.to_string().starts_with("203."));
    let expected = [10, 32, 33, 34, 35, 50].map(|n| (OUTSIDE, IpAddr::from([203, 0, 113, n])));
    assert_eq!(announced, expected);
    assert!(policy.announced().any(|one| one == (INSIDE, address("10.0.0.254"))));
}

#[test]
fn ports_of_rules_and_services_are_taken_out_of_pools() {
    let health = |address: &str| {
        format!(
            "[[service]]\nname = \"{address}\"\nkind = \"health\"\naddress = \"{address}\"\nport = 8080\n"
        )
    };
    let next = WEB.replace("\"web\"", "\"next\"").replace("8000-8009", "8010");
    let policy = policy(&[EGRESS, &next, WEB, &health("203.0.113.10"), &health("10.0.0.254")]);
    let claimed = |of, port| policy.claimed_until(address(of), Protocol::TCP, port);
    let ports = [7999, 8000, 8009, 8010, 8011, 8079, 8080, 8081];
    let until = [None, Some(8010), Some(8010), Some(8010), None, None, Some(8080), None];
    assert_eq!(ports.map(|port| claimed("203.0.113.10", port)), until);
    assert_eq!((claimed("203.0.113.11", 8080), claimed("203.0.113.9", 8080)), (None, None));
    assert_eq!(policy.claimed_until(address("203.0.113.10"), Protocol::UDP, 8000), None);
    let service = |of, protocol, port| policy.service(address(of), protocol, port);
    assert_eq!(service("203.0.113.10", Protocol::TCP, 8080), Some(ServiceId(0)));
    assert_eq!(service("10.0.0.254", Protocol::TCP, 8080), Some(ServiceId(1)));
    assert_eq!(service("203.0.113.10", Protocol::UDP, 8080), None);
    assert_eq!(service("203.0.113.10", Protocol::TCP, 8000), None);
    assert_eq!(policy.services[1].kind, ServiceKind::Health);
    assert_eq!(policy.pools[0].filtering, Filtering::EndpointIndependent);
}
