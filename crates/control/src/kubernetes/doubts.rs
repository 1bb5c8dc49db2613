//! Addresses of ours that another host uses as well: nothing leaves from them until it is settled whose
//! they are.
//!
//! Who takes them out of use is not who asks the API server. Each doubt has a number, and what the
//! server's word comes to says which ones it has settled: however the two overtake each other, an
//! address that is given back to us has been out of use before, and is announced again.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::snapshot::Snapshot;
use super::tenure::Hold;

/// Doubts that may not be settled yet.
#[derive(Clone, Debug, Default)]
pub struct Doubts {
    last: u64,
    open: BTreeMap<IpAddr, u64>,
}

impl Doubts {
    /// There is doubt about an address; the answer is its number. `latest` is what is known to be
    /// settled.
    pub fn raise(&mut self, address: IpAddr, latest: Option<&Snapshot>) -> u64 {
        let settled = latest.map_or(0, |snapshot| snapshot.settled);
        self.open.retain(|_, number| *number > settled);
        self.last += 1;
        self.open.insert(address, self.last);
        self.last
    }

    /// What of a snapshot may be used: addresses in doubt wait as if they were lost.
    #[must_use]
    pub fn apply(&self, snapshot: Arc<Snapshot>) -> Arc<Snapshot> {
        let open = |address| self.open.get(&address).is_some_and(|it| *it > snapshot.settled);
        if !snapshot.given.iter().any(|given| open(given.address)) {
            return snapshot;
        }
        let mut usable = Snapshot::clone(&snapshot);
        for given in usable.given.iter_mut().filter(|given| open(given.address)) {
            if let Some(Hold::Held(id)) = given.hold {
                given.hold = Some(Hold::Kept(id));
                given.reason = Some(ASKED.to_owned());
            }
        }
        Arc::new(usable)
    }
}

const ASKED: &str = "another host uses it: the API server is asked whose it is";

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{ASKED, Doubts, Hold, Snapshot};
    use crate::kubernetes::ownership::RouteFacts;
    use crate::kubernetes::snapshot::{Given, RouteRef};
    use crate::kubernetes::tenure::TenureId;

    fn held(settled: u64) -> Arc<Snapshot> {
        let address = "203.0.113.10".parse().expect("an address");
        let route = RouteRef::of(&Arc::new(RouteFacts::default()));
        let hold = Some(Hold::Held(TenureId(1)));
        let given = vec![Given { address, route, hold, reason: None }];
        Arc::new(Snapshot { given, settled, ..Snapshot::default() })
    }

    #[test]
    fn what_is_in_doubt_waits_until_that_very_doubt_is_settled() {
        let mut doubts = Doubts::default();
        let address = held(0).given[0].address;
        assert_eq!(doubts.apply(held(0)), held(0));
        assert_eq!(doubts.raise(address, Some(&held(0))), 1);
        let usable = doubts.apply(held(0));
        assert_eq!(usable.given[0].hold, Some(Hold::Kept(TenureId(1))));
        assert_eq!(usable.given[0].reason.as_deref(), Some(ASKED));
        assert_eq!(doubts.apply(held(1)), held(1));
        // The answer to the first is none to the second.
        assert_eq!(doubts.raise(address, Some(&held(0))), 2);
        assert!(!doubts.apply(held(1)).holds_any());
        assert!(doubts.apply(held(2)).holds_any());
        doubts.raise("203.0.113.11".parse().expect("an address"), Some(&held(2)));
        assert_eq!(doubts.open.len(), 1, "what is settled is forgotten");
    }
}
