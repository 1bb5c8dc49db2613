use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use mooring_policy::NotTaken;
use serde_json::{Value, json};

use super::{Kept, Report, lease};
use crate::kubernetes::ownership::RouteFacts;
use crate::kubernetes::pod::Identity;
use crate::kubernetes::snapshot::{Given, RouteRef, Snapshot};
use crate::kubernetes::tenure::{Hold, TenureId};

fn identity() -> Identity {
    let [name, namespace, uid] = ["nat-0", "nat", "uid-of-nat-0"].map(str::to_owned);
    Identity { name, namespace, uid }
}

fn report(addresses: &[(&str, Option<Hold>)]) -> Report {
    let facts = RouteFacts {
        name: "r".to_owned(),
        network: "wan".to_owned(),
        generation: 3,
        ..RouteFacts::default()
    };
    let route = RouteRef::of(&Arc::new(facts));
    let given = addresses.iter().map(|(address, hold)| Given {
        address: address.parse().expect("an address"),
        route: route.clone(),
        hold: *hold,
        reason: None,
    });
    let snapshot = Snapshot { given: given.collect(), ..Snapshot::default() };
    Report { snapshot: Arc::new(snapshot), ..Report::default() }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time")
}

fn rows(report: &Report, kept: &mut Kept, second: i64) -> Value {
    let lease = lease(&identity(), report, kept, at(second));
    let annotations = lease.metadata.annotations.expect("one annotation");
    serde_json::from_str(&annotations["mooring.dev/addresses"]).expect("JSON")
}

const X: &str = "203.0.113.10";
const Y: &str = "203.0.113.11";

fn held(id: u64) -> Option<Hold> {
    Some(Hold::Held(TenureId(id)))
}

#[test]
fn the_lease_names_the_pod_and_the_hour() {
    let lease = lease(&identity(), &Report::default(), &mut Kept::default(), at(1_700_000_000));
    assert_eq!(
        serde_json::to_value(lease).expect("plain data"),
        json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": "mooring-nat-0",
                "namespace": "nat",
                "annotations": { "mooring.dev/addresses": "[]" },
                "ownerReferences": [
                    { "apiVersion": "v1", "kind": "Pod", "name": "nat-0", "uid": "uid-of-nat-0" }
                ]
            },
            "spec": {
                "holderIdentity": "uid-of-nat-0",
                "leaseDurationSeconds": 15,
                "renewTime": "2023-11-14T22:13:20.000000Z"
            }
        })
    );
}

#[test]
fn the_lease_has_what_is_held_and_nothing_else() {
    let mut report = report(&[
        (X, held(1)),
        (Y, None),
        ("203.0.113.12", Some(Hold::Kept(TenureId(2)))),
        ("203.0.113.13", held(3)),
        ("203.0.113.14", held(4)),
    ]);
    report.not_taken.push(NotTaken {
        address: "203.0.113.13".parse().expect("an address"),
        route: "r".to_owned(),
        reason: "no pool".to_owned(),
    });
    report.conflicts.push("203.0.113.14".parse().expect("an address"));
    let row = |address: &str, state: &str| {
        json!({
            "address": address, "network": "wan", "route": "r", "generation": 3,
            "since": "1970-01-01T00:00:05Z", "state": state
        })
    };
    let rows = rows(&report, &mut Kept::default(), 5);
    assert_eq!(rows, json!([row(X, "held"), row("203.0.113.14", "conflict")]));
}

#[test]
fn since_stays_while_the_tenure_does() {
    let mut kept = Kept::default();
    let since = |kept: &mut Kept, report: &Report, second| {
        rows(report, kept, second)[0]["since"].as_str().map(str::to_owned)
    };
    let first = since(&mut kept, &report(&[(X, held(1))]), 5);
    assert_eq!(since(&mut kept, &report(&[(X, held(1))]), 10), first);
    assert_ne!(since(&mut kept, &report(&[(X, held(2))]), 15), first);
    assert_eq!(since(&mut kept, &Report::default(), 20), None);
    let again = since(&mut kept, &report(&[(X, held(2))]), 25);
    assert_eq!(again.as_deref(), Some("1970-01-01T00:00:25Z"), "it was away");
}
