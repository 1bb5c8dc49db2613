use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use mooring_policy::NotTaken;
use tokio::time::Instant;

use super::{
    Allowance, BURST, Kind, LONGEST, LONGEST_NAME, News, ONE_EVERY, Report, name_of, news,
    shortened,
};
use crate::kubernetes::ownership::RouteFacts;
use crate::kubernetes::snapshot::{Given, Refused, RouteRef, Snapshot};
use crate::kubernetes::tenure::{Hold, TenureId};

fn route(name: &str) -> RouteRef {
    let facts = RouteFacts { name: name.to_owned(), uid: name.to_owned(), ..RouteFacts::default() };
    RouteRef::of(&Arc::new(facts))
}

fn given(address: &str, by: &str, hold: Option<Hold>) -> Given {
    let address = address.parse().expect("an address");
    Given { address, route: route(by), hold, reason: None }
}

fn report(given: Vec<Given>, refused: &[(&str, &str)]) -> Report {
    let refused = refused.iter().map(|(written, reason)| Refused {
        written: (*written).to_owned(),
        address: None,
        route: route("r"),
        reason: (*reason).to_owned(),
    });
    let snapshot = Snapshot { given, refused: refused.collect(), ..Snapshot::default() };
    Report { snapshot: Arc::new(snapshot), ..Report::default() }
}

fn told(news: &[News]) -> Vec<String> {
    let tell = |news: &News| format!("{:?} {} {}", news.kind, news.route.facts().name, news.note);
    news.iter().map(tell).collect()
}

const X: &str = "203.0.113.10";
const Y: &str = "203.0.113.11";
const HELD: Option<Hold> = Some(Hold::Held(TenureId(1)));

#[test]
fn each_address_is_told_when_it_comes_and_when_it_goes_and_not_between() {
    let none = Report::default();
    let one = report(vec![given(X, "r", HELD), given(Y, "r", None)], &[]);
    assert_eq!(told(&news(&none, &one)), ["TakenUp r 203.0.113.10"]);
    assert_eq!(news(&one, &one), []);
    let moved = report(vec![given(X, "s", HELD), given(Y, "r", HELD)], &[]);
    assert_eq!(
        told(&news(&one, &moved)),
        ["Released r 203.0.113.10", "TakenUp s 203.0.113.10", "TakenUp r 203.0.113.11"]
    );
    let kept = report(vec![given(X, "r", Some(Hold::Kept(TenureId(1))))], &[]);
    assert_eq!(told(&news(&one, &kept)), ["Released r 203.0.113.10"]);
}

#[test]
fn a_refusal_is_told_once_with_its_reason() {
    let none = Report::default();
    let refused = report(Vec::new(), &[("300.0.0.1", "no address"), ("", "cannot be read")]);
    let all = news(&none, &refused);
    assert_eq!(told(&all), ["Refused r 300.0.0.1: no address", "Refused r cannot be read"]);
    assert_eq!(news(&refused, &refused), []);
    assert_eq!(news(&refused, &none), [], "that it is right now shows by being taken up");
}

#[test]
fn what_the_policy_has_no_use_for_is_refused_and_not_taken_up() {
    let mut report = report(vec![given(X, "r", HELD), given(Y, "r", None)], &[]);
    let not_taken = |address: &str| NotTaken {
        address: address.parse().expect("an address"),
        route: "r".to_owned(),
        reason: "no pool".to_owned(),
    };
    report.not_taken = vec![not_taken(X), not_taken(Y)];
    let all = news(&Report::default(), &report);
    assert_eq!(
        told(&all),
        ["Refused r 203.0.113.10: no pool"],
        "and of what is not given, nothing"
    );
    assert!(all.iter().all(|news| news.kind == Kind::Refused));
}

#[test]
fn a_burst_may_be_told_at_once_and_the_rest_at_a_pace() {
    let start = Instant::now();
    let mut allowance = Allowance { left: BURST, since: start };
    assert!((0..BURST).all(|_| allowance.take(start).is_none()));
    assert_eq!(allowance.take(start), Some(ONE_EVERY));
    assert_eq!(allowance.take(start + ONE_EVERY), Some(ONE_EVERY));
    let later = start + Duration::from_secs(3_600);
    assert!((0..BURST).all(|_| allowance.take(later).is_none()));
    assert!(allowance.take(later).is_some());
}

#[test]
fn a_note_is_no_longer_than_the_api_takes() {
    let long = "é".repeat(LONGEST);
    assert_eq!(shortened(&long).len(), LONGEST);
    assert_eq!(shortened("short"), "short");
}

/// The API takes names of up to 253 bytes, and routes have such.
#[test]
fn the_event_of_a_route_with_a_long_name_has_a_name_that_the_api_takes() {
    let at = |nanoseconds| Timestamp::from_nanosecond(nanoseconds).expect("a time");
    let (now, next) = (at(1_796_000_000_000_000_000), at(1_796_000_000_000_000_001));
    assert_eq!(name_of("edge", now), "edge.18ecac7c009a0000");
    let long = "r".repeat(LONGEST_NAME);
    assert_eq!(name_of(&long, now).len(), LONGEST_NAME);
    assert_ne!(name_of(&long, now), name_of(&long, next));
    let parts = format!("{}.-.{}", "r".repeat(233), "s".repeat(17));
    let name = name_of(&parts, now);
    assert!(name.split('.').all(|part| !part.is_empty() && !part.ends_with('-')), "{name}");
}
