use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};

use super::{Hold, Sight, TenureId, Tenures};
use crate::kubernetes::ownership::{RouteFacts, Ruling, Rulings, Verdict};

const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10));
const RETENTION: Duration = Duration::from_secs(30);

/// Who has the address by its one route, which is written for the `version`th time.
fn by(pods: &[&str], version: u64) -> Rulings {
    let facts = RouteFacts {
        uid: "uid".to_owned(),
        resource_version: version.to_string(),
        ..RouteFacts::default()
    };
    let ruling = Ruling {
        route: Arc::new(facts),
        written: ADDRESS.to_string(),
        address: Some(ADDRESS),
        verdict: Verdict::Held,
    };
    let all = if pods == ["a"] { vec![ruling] } else { Vec::new() };
    let elsewhere = pods.iter().any(|pod| *pod != "a").then_some(ADDRESS);
    Rulings { all, elsewhere: BTreeSet::from_iter(elsewhere) }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A tenure that is running, since time 0.
fn held() -> Tenures {
    let mut tenures = Tenures::new(RETENTION);
    tenures.follow(&by(&["a"], 1), Sight::Gap, seconds(0));
    assert_eq!(tenures.of(ADDRESS), Some(Hold::Held(TenureId(1))));
    tenures
}

#[test]
fn an_address_that_comes_back_from_nobody_is_of_the_same_tenure() {
    let mut tenures = held();
    tenures.follow(&by(&[], 2), Sight::Whole, seconds(1));
    assert_eq!(tenures.of(ADDRESS), Some(Hold::Kept(TenureId(1))));
    let kept: Vec<_> = tenures.kept().map(|(address, id, _)| (address, id)).collect();
    assert_eq!(kept, [(ADDRESS, TenureId(1))]);
    assert_eq!(tenures.deadline(), Some(seconds(31)));
    tenures.follow(&by(&["a"], 3), Sight::Whole, seconds(30));
    assert_eq!(tenures.of(ADDRESS), Some(Hold::Held(TenureId(1))));
    assert_eq!(tenures.deadline(), None);
}

#[test]
fn an_address_that_comes_back_from_another_pod_is_of_another_tenure() {
    let mut tenures = held();
    tenures.follow(&by(&[], 2), Sight::Whole, seconds(1));
    tenures.follow(&by(&["b"], 3), Sight::Whole, seconds(1));
    assert_eq!(tenures.of(ADDRESS), None);
    tenures.follow(&by(&[], 4), Sight::Whole, seconds(2));
    tenures.follow(&by(&["a"], 5), Sight::Whole, seconds(2));
    assert_eq!(tenures.of(ADDRESS), Some(Hold::Held(TenureId(2))));
}

#[test]
fn a_status_that_names_two_pods_ends_a_tenure() {
    let mut tenures = held();
    tenures.follow(&by(&["a", "b"], 2), Sight::Whole, seconds(1));
    assert_eq!(tenures.of(ADDRESS), None);
}

#[test]
fn retention_ends_a_tenure_at_its_end_and_not_before() {
    let mut tenures = held();
    tenures.follow(&by(&[], 2), Sight::Whole, seconds(1));
    tenures.expire(Duration::from_millis(30_999));
    assert!(tenures.of(ADDRESS).is_some());
    let mut late = tenures.clone();
    tenures.expire(seconds(31));
    assert_eq!(tenures.of(ADDRESS), None);
    late.follow(&by(&["a"], 3), Sight::Whole, seconds(31));
    assert_eq!(late.of(ADDRESS), Some(Hold::Held(TenureId(2))), "nobody looked in between");
}

#[test]
fn without_retention_a_loss_ends_a_tenure() {
    let mut tenures = held();
    tenures.set_retention(Duration::ZERO);
    tenures.follow(&by(&[], 2), Sight::Whole, seconds(1));
    assert_eq!(tenures.of(ADDRESS), None);
    assert_eq!(tenures.deadline(), None);
}

#[test]
fn a_list_that_shows_the_same_route_hides_nothing() {
    let mut tenures = held();
    tenures.follow(&by(&["a"], 1), Sight::Gap, seconds(60));
    assert_eq!(tenures.of(ADDRESS), Some(Hold::Held(TenureId(1))));
    // Written again meanwhile, and be it twice: to another Pod and back.
    tenures.follow(&by(&["a"], 3), Sight::Gap, seconds(120));
    assert_eq!(tenures.of(ADDRESS), Some(Hold::Held(TenureId(2))));
}

#[test]
fn a_list_that_shows_another_route_of_the_same_name_is_a_loss() {
    let mut tenures = held();
    let mut rulings = by(&["a"], 1);
    let uid = "of another one".to_owned();
    rulings.all[0].route = Arc::new(RouteFacts { uid, ..(*rulings.all[0].route).clone() });
    tenures.follow(&rulings, Sight::Gap, seconds(60));
    assert_eq!(tenures.of(ADDRESS), Some(Hold::Held(TenureId(2))));
}

#[test]
fn what_was_lost_before_a_gap_or_in_it_may_have_been_anybodys() {
    let mut tenures = held();
    tenures.follow(&by(&[], 2), Sight::Whole, seconds(1));
    tenures.follow(&by(&[], 2), Sight::Gap, seconds(2));
    assert_eq!(tenures.of(ADDRESS), None, "lost before");
    let mut tenures = held();
    tenures.follow(&by(&[], 2), Sight::Gap, seconds(2));
    assert_eq!(tenures.of(ADDRESS), None, "lost in it");
}

#[test]
fn a_tenure_that_is_ended_begins_anew() {
    let mut tenures = held();
    tenures.end(ADDRESS);
    assert_eq!(tenures.of(ADDRESS), None);
    tenures.follow(&by(&["a"], 1), Sight::Gap, seconds(1));
    assert_eq!(tenures.of(ADDRESS), Some(Hold::Held(TenureId(2))));
}

/// What is written into the status, after how many seconds, and whether we see it at once.
type Step = (&'static [&'static str], u64, bool);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let pods = prop_oneof![
        Just(&["a"] as &[&str]),
        Just(&[] as &[&str]),
        Just(&["b"] as &[&str]),
        Just(&["a", "b"] as &[&str]),
    ];
    // Most is seen: gaps are rare.
    let seen = any::<u8>().prop_map(|random| random > 50);
    vec((pods, 0_u64..20, seen), 1..40)
}

proptest! {
    /// What no sequence may do: two times in which we held the address are of one tenure although
    /// another Pod had it between them, or more than the retention was between them.
    #[test]
    fn no_tenure_spans_a_time_in_which_another_pod_had_the_address(steps in steps()) {
        let mut tenures = Tenures::new(RETENTION);
        let (mut now, mut unseen) = (0, false);
        // Of the last time that it was ours: its tenure, and when it was lost.
        let mut ours: Option<(TenureId, Option<u64>)> = None;
        let mut others_since = false;
        for (version, (pods, wait, seen)) in steps.into_iter().enumerate() {
            now += wait;
            others_since |= pods.contains(&"b");
            if !seen {
                unseen = true;
                continue;
            }
            let sight = if unseen { Sight::Gap } else { Sight::Whole };
            unseen = false;
            tenures.follow(&by(pods, version as u64), sight, seconds(now));
            match tenures.of(ADDRESS) {
                Some(Hold::Held(id)) => {
                    assert_eq!(pods, ["a"]);
                    if let Some((before, lost)) = ours {
                        let long = lost.is_some_and(|lost| now >= lost + RETENTION.as_secs());
                        assert!(id > before || !others_since && !long, "{id:?} after {before:?}");
                    }
                    ours = Some((id, None));
                    others_since = false;
                }
                hold => {
                    assert_ne!(pods, ["a"]);
                    if let Some((id, lost)) = &mut ours {
                        lost.get_or_insert(now);
                        assert!(hold.is_none_or(|hold| hold == Hold::Kept(*id) && !others_since));
                    }
                }
            }
        }
    }
}
