use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use serde_json::json;

use super::{Context, Hold, Ledger, Listed, Snapshot, VERIFY_WITHIN};
use crate::kubernetes::tenure::TenureId;

const NOW: Duration = Duration::from_secs(100);

fn ledger() -> Ledger {
    let context = Context { pod: "a".to_owned(), networks: BTreeSet::from(["default".to_owned()]) };
    Ledger::new(context, Duration::from_secs(30))
}

/// A route with one address, that names these Pods.
fn route(name: &str, address: &str, pods: &[&str], version: u64) -> Listed {
    let route = json!({
        "metadata": {
            "name": name, "namespace": "nat", "uid": name, "generation": 1,
            "resourceVersion": version.to_string(), "creationTimestamp": "2026-01-01T00:00:00Z"
        },
        "spec": {
            "addresses": [{ "type": "gke.networking.io/cidr", "value": address }], "podSelector": {}
        },
        "status": { "pods": pods, "conditions": [{ "type": "Accepted", "status": "True" }] }
    });
    serde_json::from_value(route).expect("a route")
}

/// `203.0.113.10 held 1`, and what is refused.
fn told(ledger: &Ledger) -> Vec<String> {
    let Snapshot { given, refused, .. } = ledger.snapshot().expect("it was listed");
    let given = given.iter().map(|given| match given.hold {
        Some(Hold::Held(TenureId(id))) => format!("{} held {id}", given.address),
        Some(Hold::Kept(TenureId(id))) => format!("{} kept {id}", given.address),
        None => format!("{} claimed", given.address),
    });
    given.chain(refused.iter().map(|refused| format!("{} refused", refused.written))).collect()
}

const X: &str = "203.0.113.10";
const Y: &str = "203.0.113.11";

#[test]
fn before_the_first_list_there_is_nothing_to_tell() {
    let mut ledger = ledger();
    assert_eq!(ledger.snapshot(), None);
    ledger.configure(BTreeSet::new(), Duration::ZERO, NOW);
    assert_eq!(ledger.snapshot(), None);
    ledger.list(Vec::new(), ledger.doubts(), NOW);
    assert_eq!(ledger.snapshot(), Some(Snapshot::default()), "an empty list is one");
}

#[test]
fn a_list_is_all_that_there_is() {
    let mut ledger = ledger();
    ledger.list(vec![route("r", X, &["a"], 1), route("s", Y, &["a"], 2)], ledger.doubts(), NOW);
    assert_eq!(told(&ledger), ["203.0.113.10 held 1", "203.0.113.11 held 2"]);
    ledger.list(vec![route("s", Y, &["a"], 2)], ledger.doubts(), NOW);
    assert_eq!(told(&ledger), ["203.0.113.11 held 2"]);
}

#[test]
fn every_watched_change_counts_at_once_and_in_its_order() {
    let mut ledger = ledger();
    ledger.list(vec![route("r", X, &["a"], 1)], ledger.doubts(), NOW);
    ledger.change(route("r", X, &[], 2), NOW);
    assert_eq!(told(&ledger), ["203.0.113.10 kept 1"]);
    ledger.change(route("r", X, &["a"], 3), NOW);
    assert_eq!(told(&ledger), ["203.0.113.10 held 1"]);
    ledger.change(route("r", X, &["b"], 4), NOW);
    assert_eq!(told(&ledger), ["203.0.113.10 claimed"]);
    ledger.change(route("r", X, &["a"], 5), NOW);
    assert_eq!(told(&ledger), ["203.0.113.10 held 2"]);
}

#[test]
fn a_route_that_is_gone_leaves_its_addresses_kept_for_a_while() {
    let mut ledger = ledger();
    ledger.list(vec![route("r", X, &["a"], 1)], ledger.doubts(), NOW);
    ledger.remove(&route("r", X, &["a"], 2), NOW);
    assert_eq!(told(&ledger), ["203.0.113.10 kept 1"]);
    assert_eq!(ledger.snapshot().expect("listed").given[0].route.facts().name, "r");
    let end = ledger.deadline().expect("it is kept for a while");
    assert_eq!(end, NOW + Duration::from_secs(30));
    ledger.pass(end);
    assert_eq!(told(&ledger), [""; 0]);
    assert_eq!(ledger.deadline(), None);
}

#[test]
fn another_network_of_the_pod_counts_at_once() {
    let mut ledger = ledger();
    ledger.list(vec![route("r", X, &["a"], 1)], ledger.doubts(), NOW);
    ledger.configure(BTreeSet::from(["wan".to_owned()]), Duration::ZERO, NOW);
    assert_eq!(told(&ledger), ["203.0.113.10 refused"]);
    ledger.configure(BTreeSet::from(["default".to_owned()]), Duration::ZERO, NOW);
    assert_eq!(told(&ledger), ["203.0.113.10 held 2"]);
}

#[test]
fn what_was_left_to_another_host_comes_back_with_a_whole_list_alone() {
    let mut ledger = ledger();
    let x: IpAddr = X.parse().expect("an address");
    ledger.list(vec![route("r", X, &["a"], 1)], ledger.doubts(), NOW);
    assert!(ledger.doubt(x, 1, true, NOW), "a list is due");
    assert_eq!(ledger.deadline(), Some(NOW + VERIFY_WITHIN));
    ledger.pass(NOW + VERIFY_WITHIN);
    assert!(!ledger.doubt(x, 2, true, NOW), "it is not ours any more");
    assert_eq!(told(&ledger), ["203.0.113.10 refused"]);
    ledger.change(route("r", X, &["a"], 2), NOW);
    assert_eq!(told(&ledger), ["203.0.113.10 refused"]);
    ledger.list(vec![route("r", X, &["a"], 2)], ledger.doubts(), NOW);
    assert_eq!(told(&ledger), ["203.0.113.10 held 2"], "another tenure");
}

#[test]
fn a_doubt_is_settled_by_a_whole_list_or_by_time_and_not_by_a_change() {
    let mut ledger = ledger();
    let x: IpAddr = X.parse().expect("an address");
    let settled = |ledger: &Ledger| ledger.snapshot().expect("listed").settled;
    ledger.list(vec![route("r", X, &["a"], 1)], ledger.doubts(), NOW);
    ledger.doubt(x, 1, true, NOW);
    ledger.change(route("r", X, &["a"], 2), NOW);
    assert_eq!(settled(&ledger), 0);
    assert!(!ledger.list(vec![route("r", X, &["a"], 2)], ledger.doubts(), NOW), "none is due");
    assert_eq!((settled(&ledger), told(&ledger)), (1, vec!["203.0.113.10 held 1".to_owned()]));
    assert_eq!(ledger.deadline(), None);
    ledger.doubt(x, 2, true, NOW);
    ledger.lose_contact(NOW);
    assert_eq!((settled(&ledger), told(&ledger)), (2, vec!["203.0.113.10 refused".to_owned()]));
    ledger.doubt(x, 3, true, NOW);
    assert_eq!(settled(&ledger), 3, "what is not ours needs no list");
}

/// Whoever speaks for one address of ours takes no time from another, and what was asked before he spoke is
/// no answer.
#[test]
fn each_doubt_has_its_own_time_and_needs_a_list_of_its_own() {
    let mut ledger = ledger();
    let [x, y]: [IpAddr; 2] = [X, Y].map(|text| text.parse().expect("an address"));
    let routes = || vec![route("r", X, &["a"], 1), route("s", Y, &["a"], 2)];
    let settled = |ledger: &Ledger| ledger.snapshot().expect("listed").settled;
    ledger.list(routes(), 0, NOW);
    let later = NOW + VERIFY_WITHIN * 9 / 10;
    ledger.doubt(x, 1, true, NOW);
    ledger.doubt(y, 2, true, later);
    ledger.pass(NOW + VERIFY_WITHIN);
    assert_eq!(told(&ledger), ["203.0.113.11 held 2", "203.0.113.10 refused"]);
    assert_eq!(settled(&ledger), 1);
    assert!(ledger.list(routes(), 1, later), "it was asked for before the second");
    assert_eq!(told(&ledger), ["203.0.113.10 held 3", "203.0.113.11 held 2"]);
    assert_eq!((settled(&ledger), ledger.deadline()), (1, Some(later + VERIFY_WITHIN)));
    // It is said of the same address once more: the answer to the sign before is none to this.
    ledger.doubt(y, 3, true, later);
    assert!(ledger.list(routes(), 2, later));
    assert_eq!(settled(&ledger), 2);
    assert!(!ledger.list(routes(), 3, later));
    assert_eq!(settled(&ledger), 3);
    assert_eq!(told(&ledger), ["203.0.113.10 held 3", "203.0.113.11 held 2"]);
}

#[test]
fn a_change_that_says_nothing_of_addresses_is_no_news() {
    let mut ledger = ledger();
    ledger.list(vec![route("r", X, &["a"], 1)], ledger.doubts(), NOW);
    let before = ledger.snapshot();
    ledger.change(route("r", X, &["a"], 2), NOW);
    assert_eq!(ledger.snapshot(), before);
}
