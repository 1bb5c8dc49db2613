//! Addresses that a control plane gives: what is held is claimed by the text and given to us.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::address;
use crate::{
    Assignment, Assignments, Facts, Generation, InterfaceId, KernelHold, Loaded, Networks,
    Standing, load, load_with,
};

const TEXT: &str = r#"
[control]
source = "kubernetes"

[[interface]]
name = "inside"
device = "in0"
network = "tenants"
addresses = ["10.0.0.1/24", "fd00:10::1/64"]
gateway_addresses = ["10.0.0.254"]
gateway_addresses_from = { routes = { role = "gateway" } }

[[interface]]
name = "outside"
device = "network:wan"
addresses = ["192.0.2.1/24", "2001:db8:1::1/64"]

[[pool]]
name = "egress"
addresses = ["203.0.113.10/31"]
addresses_from = { routes = ["edge-a", "edge-b"], network = "wan" }

[[pool]]
name = "egress-v6"
addresses_from = { routes = "all", family = "ipv6" }

[[rule]]
name = "one"
kind = "static"
from = "inside"
to = "outside"
inside = "10.0.0.5/32"
outside = "203.0.113.20/32"

[[rule]]
name = "egress"
kind = "source-nat"
from = "inside"
to = "outside"
source = ["10.0.0.0/8"]
pool = "egress"

[[rule]]
name = "egress-v6"
kind = "source-nat"
from = "inside"
to = "outside"
pool = "egress-v6"
"#;

const HELD: Standing = Standing::Held { since: Generation(3) };

fn given(route: &str, network: &str, at: &str, standing: Standing) -> Assignment {
    let role = if route == "gateway" { "gateway" } else { "edge" };
    Assignment {
        address: address(at),
        route: route.to_owned(),
        labels: BTreeMap::from([("role".to_owned(), role.to_owned())]),
        network: network.to_owned(),
        standing,
    }
}

fn with(addresses: Vec<Assignment>) -> Loaded {
    let networks = Networks { devices: vec![("wan".to_owned(), "eth1".to_owned())] };
    let assignments = Assignments { addresses };
    let facts =
        Facts { networks: Some(&networks), assignments: Some(&assignments), ..Facts::default() };
    load_with(TEXT, &facts).unwrap_or_else(|problems| panic!("{}", problems.render("text")))
}

const OUTSIDE: InterfaceId = InterfaceId(1);

fn held(loaded: &Loaded) -> Vec<IpAddr> {
    let outside = loaded.policy.addresses().filter(|(interface, _)| *interface == OUTSIDE);
    let own = |address: &IpAddr| {
        loaded.policy.interfaces[1].addresses.iter().all(|net| net.addr() != *address)
    };
    outside.map(|(_, address)| address).filter(own).collect()
}

#[test]
fn nothing_is_held_until_somebody_gives_it() {
    let loaded = load(TEXT).expect("the text alone is valid");
    assert_eq!(held(&loaded), Vec::<IpAddr>::new());
    let policy = &loaded.policy;
    assert!(!policy.holds_any() && !policy.is_held(address("203.0.113.10")));
    assert!(policy.ownership(address("203.0.113.10")).is_some(), "claimed it is");
    assert!(policy.is_held(address("192.0.2.1")), "that is not for routes to give");
    assert_eq!(policy.pools[0].held_count(), 0);
    assert!(!policy.answers_for(InterfaceId(0), address("10.0.0.254")), "gateways move along");
    assert_eq!(policy.interfaces[1].device, "network:wan", "nobody said which it is");
}

#[test]
fn what_is_claimed_and_given_is_held() {
    let loaded = with(vec![
        given("edge-a", "wan", "203.0.113.11", HELD),
        given("edge-b", "wan", "198.51.100.7", HELD),
        given("edge-c", "wan", "203.0.113.20", HELD),
        given("edge-c", "wan", "2001:db8::7", HELD),
        given("gateway", "tenants", "10.0.0.253", HELD),
        given("edge-a", "wan", "203.0.113.10", Standing::Kept { since: Generation(1) }),
        given("edge-a", "wan", "198.51.100.8", Standing::Claimed),
    ]);
    assert_eq!(loaded.not_taken, []);
    let mut all = held(&loaded);
    all.sort();
    let expected = ["198.51.100.7", "203.0.113.11", "203.0.113.20", "2001:db8::7"];
    assert_eq!(all, expected.map(address));
    let policy = &loaded.policy;
    assert_eq!(policy.interfaces[1].device, "eth1");
    assert_eq!(policy.standing(address("203.0.113.11")), HELD);
    assert!(
        !policy.is_held(address("203.0.113.10"))
            && policy.pools[0].contains(address("203.0.113.10"))
    );
    assert_eq!(
        policy.pools[0].held,
        Some(vec![1, 2]),
        "the second of the list, and the first given"
    );
    for gateway in ["10.0.0.253", "10.0.0.254"] {
        assert!(policy.answers_for(InterfaceId(0), address(gateway)), "{gateway}");
    }
    assert_eq!(policy.given().count(), 7);
}

/// A mistake of one route is told, and changes nothing for the others.
#[test]
fn what_the_policy_has_no_use_for_is_told_with_a_reason() {
    let loaded = with(vec![
        given("edge-a", "wan", "203.0.113.10", HELD),
        given("edge-x", "wan", "203.0.113.99", HELD),
        given("edge-a", "wan", "203.0.113.20", HELD),
        given("edge-a", "wan", "192.0.2.1", HELD),
        given("edge-b", "lan", "203.0.113.11", HELD),
        given("edge-d", "tenants", "2001:db8::9", HELD),
        given("gateway", "tenants", "203.0.113.11", HELD),
    ]);
    assert_eq!(held(&loaded), [address("203.0.113.10")]);
    let told = |at: &str| {
        let found = loaded.not_taken.iter().find(|told| told.address == address(at));
        found.map_or("", |told| told.reason.as_str())
    };
    assert_eq!(told("203.0.113.99"), "no pool, rule or gateway has a use for it");
    assert_eq!(told("203.0.113.20"), "rule `one` claims all of 203.0.113.20");
    assert_eq!(told("192.0.2.1"), "192.0.2.1 is the address of interface `outside`");
    assert!(told("203.0.113.11").starts_with("pool `egress` has 203.0.113.11 as well"));
    let reason = "network `tenants` is interface `inside`, but the address is used on `outside`";
    assert_eq!(told("2001:db8::9"), reason);
    let unknown = with(vec![given("edge-c", "lan", "203.0.113.20", HELD)]);
    assert!(unknown.not_taken[0].reason.starts_with("no interface is on network `lan`"));
}

/// What the kernel answers for itself is left to it, and all others have their addresses.
#[test]
fn what_the_kernel_holds_itself_is_left_to_it_with_a_reason() {
    let networks = Networks { devices: vec![("wan".to_owned(), "eth1".to_owned())] };
    let addresses = vec![
        given("edge-a", "wan", "198.51.100.7", HELD),
        given("edge-b", "wan", "198.51.100.8", HELD),
        given("edge-c", "wan", "2001:db8::7", HELD),
    ];
    let hold = |prefix: &str, device: Option<&str>| KernelHold {
        prefix: prefix.parse().expect("a prefix"),
        device: device.map(str::to_owned),
    };
    let holds = [hold("198.51.100.7/32", Some("lo")), hold("2001:db8::/64", None)];
    let facts = Facts {
        networks: Some(&networks),
        assignments: Some(&Assignments { addresses }),
        kernel_holds: &holds,
        ..Facts::default()
    };
    let loaded = load_with(TEXT, &facts).unwrap_or_else(|told| panic!("{}", told.render("t")));
    assert_eq!(held(&loaded), [address("198.51.100.8")]);
    assert_eq!(loaded.policy.ownership(address("198.51.100.7")), None, "not even claimed");
    let told: Vec<_> = loaded.not_taken.iter().map(|told| told.reason.as_str()).collect();
    assert_eq!(told.len(), 2);
    assert!(told[0].starts_with("the kernel holds 198.51.100.7/32 itself, on device `lo`: take"));
    assert!(told[1].starts_with("the kernel holds 2001:db8::/64 itself: take"), "{told:?}");
}

#[test]
fn addresses_that_nobody_can_give_are_an_error_of_the_text() {
    let problems = |text: &str| load(text).expect_err("an error").render("t");
    let as_file = TEXT.replace("source = \"kubernetes\"", "source = \"file\"");
    let said = problems(&as_file);
    assert!(said.contains("`addresses_from` needs somebody who gives addresses"), "{said}");
    assert!(said.contains("device \"network:wan\" needs a Pod's annotations"), "{said}");
    let said = problems(&TEXT.replace("{ routes = \"all\", family", "{ family"));
    assert!(said.contains("`addresses_from` does not say of which routes"), "{said}");
    let said = problems(&TEXT.replace(
        "\"egress-v6\"\naddresses_from",
        "\"egress-v6\"\naddresses = [\"203.0.113.77\"]\naddresses_from",
    ));
    assert!(said.contains("`family` is not that of the pool's `addresses`"), "{said}");
    let slices = "ports = \"1024-65535\"\nallocation = { kind = \"deterministic\", source = \"10.0.0.0/28\", ports_per_host = 512 }";
    let said =
        problems(&TEXT.replace("network = \"wan\" }", &format!("network = \"wan\" }}\n{slices}")));
    assert!(
        said.contains("a deterministic pool cannot take addresses as they are given"),
        "{said}"
    );
}

/// GKE knows a Pod's first network by an old name, too: the text may use either, as routes and annotations may.
#[test]
fn the_old_name_of_the_first_network_is_that_network() {
    let networks = Networks { devices: vec![("default".to_owned(), "eth0".to_owned())] };
    let addresses = vec![given("edge-a", "default", "203.0.113.11", HELD)];
    let assignments = Assignments { addresses };
    let facts =
        Facts { networks: Some(&networks), assignments: Some(&assignments), ..Facts::default() };
    for name in ["pod-network", "default"] {
        for at in ["device = \"network:wan\"", "device = \"eth7\"\nnetwork = \"wan\""] {
            let text =
                TEXT.replace("device = \"network:wan\"", at).replace("wan\"", &format!("{name}\""));
            let loaded =
                load_with(&text, &facts).unwrap_or_else(|told| panic!("{}", told.render(name)));
            assert_eq!(loaded.not_taken, [], "{name}");
            assert_eq!(held(&loaded), [address("203.0.113.11")]);
            assert_eq!(loaded.policy.interfaces[1].network.as_deref(), Some("default"));
            let device = if at.contains("eth7") { "eth7" } else { "eth0" };
            assert_eq!(loaded.policy.interfaces[1].device, device);
        }
    }
}

/// What is written beats what the Pod is told, for a device that both name.
#[test]
fn the_network_that_the_text_names_beats_the_one_of_the_annotation() {
    let annotated =
        |device: &str| Networks { devices: vec![("blue".to_owned(), device.to_owned())] };
    let networks = annotated("eth7");
    let text = TEXT.replace("device = \"network:wan\"", "device = \"eth7\"");
    let network = |text: &str| {
        let facts = Facts { networks: Some(&networks), ..Facts::default() };
        let loaded = load_with(text, &facts).unwrap_or_else(|told| panic!("{}", told.render("t")));
        loaded.policy.interfaces[1].network.clone()
    };
    assert_eq!(network(&text).as_deref(), Some("blue"), "nothing is written");
    let written = text.replace("\"eth7\"", "\"eth7\"\nnetwork = \"wan\"");
    assert_eq!(network(&written).as_deref(), Some("wan"));
}

#[test]
fn a_device_of_a_network_that_the_pod_is_not_on_is_an_error() {
    let networks = Networks { devices: vec![("lan".to_owned(), "eth1".to_owned())] };
    let facts = Facts { networks: Some(&networks), ..Facts::default() };
    let said = load_with(TEXT, &facts).expect_err("no such network").render("t");
    assert!(said.contains("the Pod has no interface on network `wan`"), "{said}");
    assert!(said.contains("the Pod's annotations name lan"), "{said}");
}
