//! What the API says of our addresses at one time: all of it, in types of our own.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use mooring_policy::{Assignment, Assignments, Generation, Standing};

use super::ownership::RouteFacts;
use super::tenure::{Hold, TenureId};

/// What the API says at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Each address that is ours, or may be; once, in the order of precedence.
    pub given: Vec<Given>,
    /// What is not taken up.
    pub refused: Vec<Refused>,
    /// Doubts up to this number have been heard and settled: see [`Doubts`](super::doubts::Doubts).
    pub settled: u64,
}

/// An address that a route gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// The address.
    pub address: IpAddr,
    /// The route.
    pub route: RouteRef,
    /// Whether it is ours, or was; `None`: it may become ours.
    pub hold: Option<Hold>,
    /// Why it is not ours, for people.
    pub reason: Option<String>,
}

/// What a route says that is not taken up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What is written there as an address; empty if the whole route is meant.
    pub written: String,
    /// The address, if it is one.
    pub address: Option<IpAddr>,
    /// The route.
    pub route: RouteRef,
    /// Why, for people.
    pub reason: String,
}

/// The route of an address.
#[derive(Clone, Debug)]
pub struct RouteRef(Arc<RouteFacts>);

/// In which generation of the desired state each tenure began.
#[derive(Clone, Debug, Default)]
pub struct Since(BTreeMap<TenureId, Generation>);

impl RouteRef {
    /// The route of which this is known.
    #[must_use]
    pub fn of(facts: &Arc<RouteFacts>) -> Self {
        Self(Arc::clone(facts))
    }

    /// What is known of it.
    #[must_use]
    pub fn facts(&self) -> &RouteFacts {
        &self.0
    }
}

impl Snapshot {
    /// What the policy is compiled with as the state of generation `next`: a tenure that is new begins
    /// with that.
    #[must_use]
    pub fn assignments(&self, since: &Since, next: Generation) -> Assignments {
        let began = |id: TenureId| since.0.get(&id).copied().unwrap_or(next);
        let addresses = self.given.iter().map(|given| Assignment {
            address: given.address,
            route: given.route.0.name.clone(),
            labels: given.route.0.labels.clone(),
            network: given.route.0.network.clone(),
            standing: match given.hold {
                Some(Hold::Held(id)) => Standing::Held { since: began(id) },
                Some(Hold::Kept(id)) => Standing::Kept { since: began(id) },
                None => Standing::Claimed,
            },
        });
        Assignments { addresses: addresses.collect() }
    }

    /// What of an earlier one is left by this one: nothing has come to it.
    #[must_use]
    pub fn left_of(&self, before: &Self) -> Self {
        let left = self.given.iter().filter_map(|given| {
            let was = before.given.iter().find(|was| was.address == given.address)?;
            let held = |given: &Given| matches!(given.hold, Some(Hold::Held(_)));
            let mut left = given.clone();
            if held(given) && !held(was) || was.hold.is_none() {
                left.hold = None;
            }
            Some(left)
        });
        Self { given: left.collect(), refused: self.refused.clone(), settled: self.settled }
    }

    /// Whether anything is ours.
    #[must_use]
    pub fn holds_any(&self) -> bool {
        self.given.iter().any(|given| matches!(given.hold, Some(Hold::Held(_))))
    }
}

impl Since {
    /// The state of this generation, which was made of the snapshot, is at work.
    pub fn accepted(&mut self, snapshot: &Snapshot, generation: Generation) {
        let running = snapshot.given.iter().filter_map(|given| match given.hold? {
            Hold::Held(id) | Hold::Kept(id) => Some(id),
        });
        let began = |id| (id, self.0.get(&id).copied().unwrap_or(generation));
        self.0 = running.map(began).collect();
    }
}

/// Two are equal where what is told of them is: the same route may have been written anew without that.
impl PartialEq for RouteRef {
    fn eq(&self, other: &Self) -> bool {
        let told = |route: &Self| {
            let RouteFacts { uid, name, labels, network, generation, ways, .. } = &*route.0;
            (uid.clone(), name.clone(), labels.clone(), network.clone(), *generation, ways.clone())
        };
        told(self) == told(other)
    }
}

impl Eq for RouteRef {}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mooring_policy::{Generation, Standing};

    use super::{Given, Hold, RouteFacts, RouteRef, Since, Snapshot, TenureId};

    fn snapshot(hold: Option<Hold>) -> Snapshot {
        let address = "203.0.113.10".parse().expect("an address");
        let route = RouteRef(Arc::new(RouteFacts::default()));
        let given = vec![Given { address, route, hold, reason: None }];
        Snapshot { given, ..Snapshot::default() }
    }

    fn standing(hold: Option<Hold>, since: &Since, next: u32) -> Standing {
        snapshot(hold).assignments(since, Generation(next)).addresses[0].standing
    }

    #[test]
    fn a_tenure_begins_with_the_first_state_that_is_accepted_with_it() {
        let (one, two) = (TenureId(1), TenureId(2));
        let mut since = Since::default();
        let at = |generation| Generation(generation);
        assert_eq!(standing(Some(Hold::Held(one)), &since, 5), Standing::Held { since: at(5) });
        // Refused: the next state is of the same generation, or of a later one.
        assert_eq!(standing(Some(Hold::Held(one)), &since, 6), Standing::Held { since: at(6) });
        since.accepted(&snapshot(Some(Hold::Held(one))), at(6));
        assert_eq!(standing(Some(Hold::Held(one)), &since, 7), Standing::Held { since: at(6) });
        since.accepted(&snapshot(Some(Hold::Kept(one))), at(7));
        assert_eq!(standing(Some(Hold::Kept(one)), &since, 8), Standing::Kept { since: at(6) });
        assert_eq!(standing(Some(Hold::Held(one)), &since, 8), Standing::Held { since: at(6) });
        assert_eq!(standing(Some(Hold::Held(two)), &since, 8), Standing::Held { since: at(8) });
        since.accepted(&snapshot(None), at(8));
        assert_eq!(standing(None, &since, 9), Standing::Claimed);
        assert!(since.0.is_empty(), "what has ended is forgotten");
    }

    #[test]
    fn what_is_left_of_a_snapshot_is_never_more_than_it() {
        let given = |address: &str, hold| Given {
            address: address.parse().expect("an address"),
            ..snapshot(hold).given[0].clone()
        };
        let (held, kept) = (Some(Hold::Held(TenureId(1))), Some(Hold::Kept(TenureId(1))));
        let all = |rows: &[(&str, Option<Hold>)]| Snapshot {
            given: rows.iter().map(|(address, hold)| given(address, *hold)).collect(),
            ..Snapshot::default()
        };
        let before = all(&[("192.0.2.1", held), ("192.0.2.2", held), ("192.0.2.3", None)]);
        let again = Some(Hold::Held(TenureId(7)));
        let now = all(&[
            ("192.0.2.1", again),
            ("192.0.2.2", kept),
            ("192.0.2.3", held),
            ("192.0.2.4", held),
        ]);
        let left = all(&[("192.0.2.1", again), ("192.0.2.2", kept), ("192.0.2.3", None)]);
        assert_eq!(now.left_of(&before), left);
        assert!(left.holds_any() && !all(&[("192.0.2.2", kept)]).holds_any());
    }
}
