use serde_json::{Value, json};

use super::{Context, Listed, Rulings, Verdict, rule};

/// A route `a` with one address that is ours. `change` says what is different: at the paths of its keys.
fn route(change: &Value) -> Value {
    let mut route = json!({
        "apiVersion": "networking.gke.io/v1",
        "kind": "GKEIPRoute",
        "metadata": {
            "name": "a", "namespace": "nat", "uid": "uid-a", "generation": 3, "resourceVersion": "7",
            "creationTimestamp": "2026-01-01T00:00:00Z"
        },
        "spec": {
            "addresses": [{ "type": "gke.networking.io/cidr", "value": "203.0.113.10/32" }],
            "network": "wan",
            "podSelector": { "matchLabels": { "app": "nat" } }
        },
        "status": {
            "pods": ["nat-0"],
            "conditions": [{ "type": "Accepted", "status": "True", "observedGeneration": 3 }]
        }
    });
    for (path, value) in change.as_object().into_iter().flatten() {
        let mut at = &mut route;
        for key in path.split('.') {
            at = match key.parse::<usize>() {
                Ok(index) => &mut at[index],
                Err(_) => &mut at[key],
            };
        }
        *at = value.clone();
    }
    route
}

/// Another route, `b`, which is younger.
fn other(change: &Value) -> Value {
    let mut all = json!({
        "metadata.name": "b", "metadata.uid": "uid-b",
        "metadata.creationTimestamp": "2026-02-01T00:00:00Z"
    });
    let own = change.as_object().cloned().unwrap_or_default();
    all.as_object_mut().expect("an object").extend(own);
    route(&all)
}

fn listed(routes: &[Value]) -> Vec<Listed> {
    let read = |route: &Value| serde_json::from_value(route.clone()).expect("a listed object");
    routes.iter().map(read).collect()
}

fn context() -> Context {
    let networks = ["default", "wan"].map(str::to_owned).into();
    Context { pod: "nat-0".to_owned(), networks }
}

fn ruled(routes: &[Value], before: &Rulings) -> Rulings {
    rule(&listed(routes), &context(), before)
}

/// `a 203.0.113.10/32 held`, `b 203.0.113.10/32 refused: ...`.
fn told(rulings: &Rulings) -> Vec<String> {
    let tell = |ruling: &super::Ruling| {
        let verdict = match &ruling.verdict {
            Verdict::Held => "held".to_owned(),
            Verdict::Claimed(reason) => format!("claimed: {reason}"),
            Verdict::Refused(reason) => format!("refused: {reason}"),
        };
        format!("{} {} {verdict}", ruling.route.name, ruling.written)
    };
    rulings.all.iter().map(tell).collect()
}

fn conditions(accepted: &Value) -> Value {
    json!({ "status.conditions": [accepted] })
}

fn addresses(list: &[(&str, &str)]) -> Value {
    let written = |(kind, value): &(&str, &str)| json!({ "type": kind, "value": value });
    json!({ "spec.addresses": list.iter().map(written).collect::<Vec<_>>() })
}

const CIDR: &str = "gke.networking.io/cidr";
const HELD: &str = "a 203.0.113.10/32 held";

/// A rule, the routes, and the beginning of what is said of every address.
type Row = (&'static str, Vec<Value>, Vec<&'static str>);

fn rows() -> Vec<Row> {
    let one = |change: Value| vec![route(&change)];
    let stale = json!({ "metadata.generation": 4 });
    vec![
        ("a route that names this Pod gives it its addresses", one(json!({})), vec![HELD]),
        ("without a route nothing is held", vec![], vec![]),
        (
            "every address of the spec, once",
            one(addresses(&[
                (CIDR, "203.0.113.10/32"),
                (CIDR, "203.0.113.11"),
                (CIDR, "203.0.113.10"),
                (CIDR, "2001:db8::a/128"),
            ])),
            vec![HELD, "a 203.0.113.11 held", "a 2001:db8::a/128 held"],
        ),
        (
            "the type of the schema's default is an address without a prefix length",
            one(addresses(&[("IPAddress", "203.0.113.10")])),
            vec!["a 203.0.113.10 held"],
        ),
        (
            "a status that names no Pod",
            one(json!({ "status.pods": [] })),
            vec!["a 203.0.113.10/32 claimed: the route's status names no Pod"],
        ),
        (
            "a status without the list of Pods",
            one(json!({ "status.pods": null })),
            vec!["a 203.0.113.10/32 claimed: the route's status names no Pod"],
        ),
        (
            "a status that names another Pod",
            one(json!({ "status.pods": ["nat-1"] })),
            vec!["a 203.0.113.10/32 claimed: the route's status names the Pod `nat-1`"],
        ),
        (
            "a status that names a Pod that nobody knows",
            one(json!({ "status.pods": ["nat-00"] })),
            vec!["a 203.0.113.10/32 claimed: the route's status names the Pod `nat-00`"],
        ),
        (
            "a status that names two Pods, one of them this",
            one(json!({ "status.pods": ["nat-0", "nat-1"] })),
            vec!["a 203.0.113.10/32 refused: the route's status names 2 Pods"],
        ),
        (
            "a status that names this Pod twice",
            one(json!({ "status.pods": ["nat-0", "nat-0"] })),
            vec!["a 203.0.113.10/32 refused: the route's status names 2 Pods"],
        ),
        (
            "a load-balancing route",
            one(json!({ "spec.loadBalancing": { "healthCheckName": "check" } })),
            vec!["a 203.0.113.10/32 refused: the route has `loadBalancing`"],
        ),
        (
            "Accepted is False",
            one(conditions(&json!({
                "type": "Accepted", "status": "False", "reason": "InvalidAddresses", "message": "no"
            }))),
            vec!["a 203.0.113.10/32 refused: the route is not accepted (InvalidAddresses): no"],
        ),
        (
            "Accepted is Unknown",
            one(conditions(&json!({ "type": "Accepted", "status": "Unknown" }))),
            vec!["a 203.0.113.10/32 refused: the route is not accepted"],
        ),
        (
            "there is no Accepted",
            one(json!({ "status.conditions": [] })),
            vec!["a 203.0.113.10/32 refused: the route has no condition `Accepted` yet"],
        ),
        (
            "a type of a condition in other letters",
            one(conditions(&json!({ "type": "accepted", "status": "True" }))),
            vec![HELD],
        ),
        (
            "of two conditions of one type both count",
            one(json!({ "status.conditions": [
                { "type": "Accepted", "status": "True" }, { "type": "ACCEPTED", "status": "False" }
            ] })),
            vec!["a 203.0.113.10/32 refused: the route is not accepted"],
        ),
        (
            "the other conditions decide nothing",
            one(json!({ "status.conditions": [
                { "type": "Accepted", "status": "True" },
                { "type": "Ready", "status": "False" },
                { "type": "IPRouteGCPReady", "status": "False" },
                { "type": "DPv2Ready", "status": "Unknown" },
                { "type": "DPv2Removed", "status": "True" }
            ] })),
            vec![HELD],
        ),
        (
            "Accepted without observedGeneration is of the spec there is",
            one(conditions(&json!({ "type": "Accepted", "status": "True" }))),
            vec![HELD],
        ),
        (
            "Accepted of an older spec gives nothing new",
            one(stale),
            vec!["a 203.0.113.10/32 refused: the route's spec was changed"],
        ),
        (
            "a route that is being deleted gives what it gives until its status says otherwise",
            one(json!({ "metadata.deletionTimestamp": "2026-03-01T00:00:00Z" })),
            vec![HELD],
        ),
        (
            "what is no address, beside one that is",
            one(addresses(&[
                (CIDR, "203.0.113.300/32"),
                (CIDR, "203.0.113.010"),
                (CIDR, ""),
                (CIDR, "nat.example"),
                (CIDR, "203.0.113.10/33"),
                (CIDR, "203.0.113.10/32"),
            ])),
            vec![
                "a 203.0.113.300/32 refused: `203.0.113.300/32` is no address",
                "a 203.0.113.010 refused: `203.0.113.010` is no address",
                "a  refused: `` is no address",
                "a nat.example refused: `nat.example` is no address",
                "a 203.0.113.10/33 refused: `203.0.113.10/33` is no address",
                HELD,
            ],
        ),
        (
            "what is an address of no host",
            one(addresses(&[
                (CIDR, "0.0.0.0/32"),
                (CIDR, "127.0.0.1/32"),
                (CIDR, "224.0.0.1"),
                (CIDR, "255.255.255.255"),
                (CIDR, "169.254.1.1"),
                (CIDR, "fe80::1"),
                (CIDR, "::ffff:203.0.113.10"),
                (CIDR, "ff02::1"),
            ])),
            vec![
                "a 0.0.0.0/32 refused: `0.0.0.0/32` is no address that a Pod can have",
                "a 127.0.0.1/32 refused: `127.0.0.1/32` is no address that a Pod can have",
                "a 224.0.0.1 refused: `224.0.0.1` is no address that a Pod can have",
                "a 255.255.255.255 refused: `255.255.255.255` is no address that a Pod can have",
                "a 169.254.1.1 refused: `169.254.1.1` is no address that a Pod can have",
                "a fe80::1 refused: `fe80::1` is no address that a Pod can have",
                "a ::ffff:203.0.113.10 refused: `::ffff:203.0.113.10` is no address that a Pod can have",
                "a ff02::1 refused: `ff02::1` is no address that a Pod can have",
            ],
        ),
        (
            "a prefix of more than one address",
            one(addresses(&[(CIDR, "203.0.113.8/31"), (CIDR, "2001:db8::/64")])),
            vec![
                "a 203.0.113.8/31 refused: `203.0.113.8/31` is more than one address; hint:",
                "a 2001:db8::/64 refused: `2001:db8::/64` is more than one address; hint:",
            ],
        ),
        (
            "the type with its labels in the order of the API group",
            one(addresses(&[("networking.gke.io/cidr", "203.0.113.10/32")])),
            vec![
                "a 203.0.113.10/32 refused: `networking.gke.io/cidr` is no type of address; hint: it is \
                 spelled gke.networking.io/cidr",
            ],
        ),
        (
            "a type that is not read here",
            one(addresses(&[
                ("Hostname", "203.0.113.10"),
                ("GKE.networking.io/cidr", "203.0.113.10"),
            ])),
            vec![
                "a 203.0.113.10 refused: `Hostname` is no type of address that is read here; hint:",
                "a 203.0.113.10 refused: `GKE.networking.io/cidr` is no type of address that is read here",
            ],
        ),
        (
            "a network that this Pod is not on",
            one(json!({ "spec.network": "blue" })),
            vec!["a 203.0.113.10/32 refused: this Pod is not on the network `blue`; hint:"],
        ),
        (
            "the old name of the first network, and no name",
            vec![
                route(&json!({ "spec.network": "pod-network" })),
                other(&json!({ "spec.network": "", "spec.addresses.0.value": "203.0.113.11" })),
            ],
            vec![HELD, "b 203.0.113.11 held"],
        ),
        (
            "of two routes with one address the older one has it",
            vec![other(&json!({})), route(&json!({}))],
            vec![HELD, "b 203.0.113.10/32 refused: the route `a` has the address, too"],
        ),
        (
            "also when the older one gives it to another Pod",
            vec![route(&json!({ "status.pods": ["nat-1"] })), other(&json!({}))],
            vec![
                "a 203.0.113.10/32 claimed: the route's status names the Pod `nat-1`",
                "b 203.0.113.10/32 refused: the route `a` has the address, too",
            ],
        ),
        (
            "also when the older one is one of many Pods",
            vec![
                route(&json!({ "spec.loadBalancing": { "healthCheckName": "check" } })),
                other(&json!({})),
            ],
            vec![
                "a 203.0.113.10/32 refused: the route has `loadBalancing`",
                "b 203.0.113.10/32 refused: the route `a` has the address, too",
            ],
        ),
        (
            "also when there is no Pod behind that one yet",
            vec![
                route(&json!({
                    "spec.loadBalancing": { "healthCheckName": "check" }, "status.pods": []
                })),
                other(&json!({})),
            ],
            vec![
                "a 203.0.113.10/32 refused: the route has `loadBalancing`",
                "b 203.0.113.10/32 refused: the route `a` has the address, too",
            ],
        ),
        (
            "a load-balancing one that is not accepted is in nobody's way either",
            vec![
                route(&json!({
                    "spec.loadBalancing": { "healthCheckName": "check" }, "status.conditions": []
                })),
                other(&json!({})),
            ],
            vec![
                "a 203.0.113.10/32 refused: the route has `loadBalancing`",
                "b 203.0.113.10/32 held",
            ],
        ),
        (
            "an older one that is not accepted is in nobody's way",
            vec![route(&json!({ "status.conditions": [] })), other(&json!({}))],
            vec![
                "a 203.0.113.10/32 refused: the route has no condition `Accepted` yet",
                "b 203.0.113.10/32 held",
            ],
        ),
        (
            "an older one that no Pod has makes room",
            vec![route(&json!({ "status.pods": [] })), other(&json!({}))],
            vec![
                "a 203.0.113.10/32 refused: the route `b` has the address, too",
                "b 203.0.113.10/32 held",
            ],
        ),
        (
            "of two routes of one second the first by name has it",
            vec![
                other(&json!({ "metadata.creationTimestamp": "2026-01-01T00:00:00Z" })),
                route(&json!({})),
            ],
            vec![HELD, "b 203.0.113.10/32 refused: the route `a` has the address, too"],
        ),
        (
            "a route without a time is the youngest",
            vec![route(&json!({ "metadata.creationTimestamp": null })), other(&json!({}))],
            vec![
                "b 203.0.113.10/32 held",
                "a 203.0.113.10/32 refused: the route `b` has the address, too",
            ],
        ),
        (
            "a route that cannot be read, beside one that can",
            vec![route(&json!({})), other(&json!({ "spec.addresses": "203.0.113.11" }))],
            vec![HELD, "b  refused: the route cannot be read:"],
        ),
    ]
}

#[test]
fn each_rule_of_ownership_has_a_row() {
    for (name, routes, expected) in rows() {
        let told = told(&ruled(&routes, &Rulings::default()));
        assert_eq!(told.len(), expected.len(), "{name}: {told:#?}");
        for (told, expected) in told.iter().zip(expected) {
            assert!(told.starts_with(expected), "{name}: {told} is not {expected}");
        }
    }
}

/// The first state is of generation 3, the second of 4 with what was accepted being 3.
#[test]
fn while_an_older_spec_is_accepted_addresses_only_go() {
    let two = addresses(&[(CIDR, "203.0.113.10/32"), (CIDR, "203.0.113.11/32")]);
    let before = ruled(&[route(&two)], &Rulings::default());
    let mut next = addresses(&[(CIDR, "203.0.113.11/32"), (CIDR, "203.0.113.12/32")]);
    next["metadata.generation"] = json!(4);
    let stale = ruled(&[route(&next)], &before);
    let outdated = "refused: the route's spec was changed, and what is accepted is the one before";
    assert_eq!(told(&stale), ["a 203.0.113.11/32 held", &format!("a 203.0.113.12/32 {outdated}")]);
    // What went does not come back, and what another route gave is nothing to stay.
    next["spec.addresses"] = two["spec.addresses"].clone();
    let again = ruled(&[route(&next)], &stale);
    assert_eq!(told(&again), [&format!("a 203.0.113.10/32 {outdated}"), "a 203.0.113.11/32 held"]);
    next["metadata.uid"] = json!("uid-of-a-new-route");
    assert!(ruled(&[route(&next)], &again).held().next().is_none());
    next["status.conditions.0.observedGeneration"] = json!(4);
    assert_eq!(ruled(&[route(&next)], &again).held().count(), 2);
}

#[test]
fn while_an_older_spec_is_accepted_a_pod_that_is_named_takes_nothing_up() {
    let named_other = json!({ "status.pods": ["nat-1"] });
    let before = ruled(&[route(&named_other)], &Rulings::default());
    let stale = ruled(&[route(&json!({ "metadata.generation": 4 }))], &before);
    assert!(told(&stale)[0].starts_with("a 203.0.113.10/32 claimed: the route's spec was changed"));
    let gone = json!({ "metadata.generation": 4, "status.pods": [] });
    assert!(told(&ruled(&[route(&gone)], &before))[0].ends_with("names no Pod"));
}

#[test]
fn what_is_named_elsewhere_is_known_whatever_else_is_said_of_it() {
    let wide = addresses(&[(CIDR, "203.0.113.8/30"), (CIDR, "203.0.113.10/32")]);
    let mut route_of_two = wide;
    route_of_two["status"] = json!({ "pods": ["nat-0", "nat-1"] });
    let rulings = ruled(&[route(&route_of_two)], &Rulings::default());
    let elsewhere: Vec<_> = rulings.elsewhere.iter().map(ToString::to_string).collect();
    assert_eq!(elsewhere, ["203.0.113.10"]);
    assert!(ruled(&[route(&json!({}))], &Rulings::default()).elsewhere.is_empty());
}

#[test]
fn the_ways_are_told_under_one_name_each() {
    let change = json!({ "status.conditions": [
        { "type": "Ready", "status": "False" },
        { "type": "IPRouteGCPReady", "status": "True" },
        { "type": "DPv2Ready", "status": "Unknown" }
    ] });
    let rulings = ruled(&[route(&change)], &Rulings::default());
    let ways = rulings.all[0].route.ways.clone();
    let expected = [("GCPReady", "True"), ("DPV2Ready", "Unknown"), ("Ready", "False")];
    assert_eq!(ways, expected.map(|(kind, status)| (kind, status.to_owned())));
}
