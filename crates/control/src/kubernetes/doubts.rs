//! Addresses of ours that another host uses as well: nothing leaves from them until it is settled whose
//! they are.
//!
//! Who takes them out of use is not who asks the API server. Each doubt has a number, and what the
//! server's word comes to says which ones it has settled: however the two overtake each other, an
//! address that is given back to us has been out of use before, and is announced again.
//!
//! Whoever is on the link can speak for our addresses, as often as he likes. So doubts are rationed, address
//! by address: each costs one answer of the server, and when there were too many the address stays in
//! use meanwhile. What was not heeded then is heeded later.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::snapshot::Snapshot;
use super::tenure::Hold;

/// Doubts that may not be settled yet.
#[derive(Clone, Debug, Default)]
pub struct Doubts {
    last: u64,
    open: BTreeMap<IpAddr, u64>,
    /// Signs that were heeded.
    heeded: Signs,
    /// When the whole ration of an address is there again.
    rations: BTreeMap<IpAddr, Duration>,
}

/// Addresses of ours for which somebody else has spoken, and since when.
pub type Signs = BTreeMap<IpAddr, Duration>;

impl Doubts {
    /// Somebody else has spoken for these addresses. What is in doubt by that and was not is the answer:
    /// each address with the number of its doubt. `latest` is what is known to be settled.
    pub fn hear(
        &mut self,
        signs: &Signs,
        latest: Option<&Snapshot>,
        now: Duration,
    ) -> Vec<(IpAddr, u64)> {
        let settled = latest.map_or(0, |snapshot| snapshot.settled);
        self.open.retain(|_, number| *number > settled);
        self.heeded.retain(|address, _| signs.contains_key(address));
        self.rations.retain(|_, whole| *whole > now);
        let mut raised = Vec::new();
        for (address, since) in signs {
            if self.heeded.get(address) != Some(since) && self.may_raise(*address, now) {
                self.heeded.insert(*address, *since);
                self.last += 1;
                self.open.insert(*address, self.last);
                raised.push((*address, self.last));
            }
        }
        raised
    }

    /// Takes one of the address's ration, if there is one.
    fn may_raise(&mut self, address: IpAddr, now: Duration) -> bool {
        let whole = self.rations.get(&address).copied().unwrap_or(now);
        let may = whole <= now + DOUBT_EVERY * (DOUBTS - 1);
        if may {
            self.rations.insert(address, whole + DOUBT_EVERY);
        }
        may
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

/// Each address once, with the time since when the last of those speaks for it that do.
pub fn latest_signs<T: Copy + Ord>(
    all: impl IntoIterator<Item = (IpAddr, T)>,
) -> BTreeMap<IpAddr, T> {
    let mut signs = BTreeMap::new();
    for (address, since) in all {
        let last = signs.entry(address).or_insert(since);
        *last = since.max(*last);
    }
    signs
}

/// So many doubts about an address are heeded at once: more than moves make of which an agent hears late.
pub const DOUBTS: u32 = 8;

/// And one more in this time, which is that of a defence (RFC 5227 §1.1, DEFEND_INTERVAL).
pub const DOUBT_EVERY: Duration = Duration::from_secs(10);

const ASKED: &str = "another host uses it: the API server is asked whose it is";

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::Arc;
    use std::time::Duration;

    use super::{ASKED, DOUBT_EVERY, DOUBTS, Doubts, Hold, Signs, Snapshot};
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
        let hear = |doubts: &mut Doubts, address: IpAddr, since, settled| {
            let signs = Signs::from([(address, at(since))]);
            doubts.hear(&signs, Some(&held(settled)), at(since))
        };
        assert_eq!(doubts.apply(held(0)), held(0));
        assert_eq!(hear(&mut doubts, address, 0, 0), [(address, 1)]);
        assert_eq!(hear(&mut doubts, address, 0, 0), [], "it is the same");
        let usable = doubts.apply(held(0));
        assert_eq!(usable.given[0].hold, Some(Hold::Kept(TenureId(1))));
        assert_eq!(usable.given[0].reason.as_deref(), Some(ASKED));
        assert_eq!(doubts.apply(held(1)), held(1));
        // The answer to the first is none to the second.
        assert_eq!(hear(&mut doubts, address, 7, 0), [(address, 2)]);
        assert!(!doubts.apply(held(1)).holds_any());
        assert!(doubts.apply(held(2)).holds_any());
        let other = "203.0.113.11".parse().expect("an address");
        assert_eq!(hear(&mut doubts, other, 8, 2), [(other, 3)]);
        assert_eq!(doubts.open.len(), 1, "what is settled is forgotten");
    }

    /// The server answers within a second; every 5 ms there is another sign.
    #[test]
    fn a_flood_of_signs_takes_an_address_out_of_use_for_a_small_part_of_the_time() {
        let (mut doubts, address) = (Doubts::default(), held(0).given[0].address);
        let (mut settled, mut asked, mut out) = (0, None, 0);
        for now in (0..600_000).step_by(5) {
            let signs = Signs::from([(address, at(now))]);
            for (_, number) in doubts.hear(&signs, Some(&held(settled)), at(now)) {
                asked = Some((now + 1_000, number));
            }
            if let Some((_, number)) = asked.take_if(|asked| asked.0 <= now) {
                settled = number;
            }
            out += u64::from(!doubts.apply(held(settled)).holds_any()) * 5;
        }
        let most = u64::from(DOUBTS) + 600 / DOUBT_EVERY.as_secs() + 1;
        assert!((1_000..=most * 1_000).contains(&out), "{out} ms of 600,000");
    }

    #[test]
    fn a_sign_for_which_there_is_no_ration_is_heeded_when_there_is_one_again() {
        let (mut doubts, address) = (Doubts::default(), held(0).given[0].address);
        let mut hear =
            |since, now| doubts.hear(&Signs::from([(address, at(since))]), None, at(now)).len();
        for since in 0..u64::from(DOUBTS) {
            assert_eq!(hear(since, since), 1);
        }
        assert_eq!(hear(100, 100), 0);
        assert_eq!(hear(100, 9_999), 0);
        assert_eq!(hear(100, 10_000), 1);
        assert_eq!(hear(100, 20_000), 0, "it has been heeded");
        assert_eq!(hear(20_001, 20_001), 1);
    }

    const fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }
}
