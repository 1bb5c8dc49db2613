//! Whether an address that comes back was somebody else's meanwhile.
//!
//! A tenure is the time in which an address was ours and, where it was not ours, nobody else's. It
//! outlasts a loss of less than the retention; sessions of it may go on. Nobody tells us what happened
//! while we did not look, so what is not known counts as if another Pod had had the address.
//!
//! Pure: what is ruled and the time go in, numbers of tenures come out.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::ownership::{RouteFacts, Rulings};

/// All tenures that have not ended.
#[derive(Clone, Debug, Default)]
pub struct Tenures {
    running: BTreeMap<IpAddr, Tenure>,
    /// The number of the last one that began.
    last: u64,
    /// How long one outlasts a loss.
    retention: Duration,
}

/// A number that no other tenure has, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenureId(pub u64);

/// Whether the address is ours now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// It is.
    Held(TenureId),
    /// It was, and may come back.
    Kept(TenureId),
}

/// Whether everything that happened since the last rulings was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Each change of a route, in its order.
    Whole,
    /// The routes were listed anew: what happened between the lists is not known.
    Gap,
}

#[derive(Clone, Debug)]
struct Tenure {
    id: TenureId,
    /// Which route gave the address last, as it was then.
    route: Arc<RouteFacts>,
    /// Since when it is not ours.
    lost: Option<Duration>,
}

impl Tenures {
    /// None yet; they outlast a loss for as long as `retention`.
    #[must_use]
    pub fn new(retention: Duration) -> Self {
        Self { retention, ..Self::default() }
    }

    /// From now on they outlast a loss for as long as this.
    pub fn set_retention(&mut self, retention: Duration) {
        self.retention = retention;
    }

    /// Follows what is ruled now. `now` is a time since any moment, always the same.
    pub fn follow(&mut self, rulings: &Rulings, sight: Sight, now: Duration) {
        self.expire(now);
        let held: BTreeMap<IpAddr, &Arc<RouteFacts>> =
            rulings.held().map(|(address, ruling)| (address, &ruling.route)).collect();
        self.running.retain(|address, tenure| match held.get(address) {
            Some(route) => sight == Sight::Whole || tenure.saw_all_until(route),
            // Where it was lost while nobody looked, others may have had it since.
            None => sight == Sight::Whole && !rulings.elsewhere.contains(address),
        });
        for (address, tenure) in &mut self.running {
            if !held.contains_key(address) {
                tenure.lost.get_or_insert(now);
            }
        }
        for (address, route) in held {
            let last = &mut self.last;
            let tenure = self.running.entry(address).or_insert_with(|| {
                *last += 1;
                Tenure { id: TenureId(*last), route: Arc::clone(route), lost: None }
            });
            tenure.lost = None;
            tenure.route = Arc::clone(route);
        }
        // A retention of nothing ends them with the loss.
        self.expire(now);
    }

    /// Ends the tenures of addresses that were lost too long ago.
    pub fn expire(&mut self, now: Duration) {
        let retention = self.retention;
        self.running.retain(|_, tenure| tenure.lost.is_none_or(|lost| now < lost + retention));
    }

    /// Somebody else has the address: when it comes back, it is another tenure.
    pub fn end(&mut self, address: IpAddr) {
        self.running.remove(&address);
    }

    /// Whether the address is ours, or was.
    #[must_use]
    pub fn of(&self, address: IpAddr) -> Option<Hold> {
        self.running.get(&address).map(Tenure::hold)
    }

    /// Addresses that were ours and may come back, with the route that gave them last.
    pub fn kept(&self) -> impl Iterator<Item = (IpAddr, TenureId, &Arc<RouteFacts>)> {
        let lost = self.running.iter().filter(|(_, tenure)| tenure.lost.is_some());
        lost.map(|(address, tenure)| (*address, tenure.id, &tenure.route))
    }

    /// When the next one ends by itself.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.running.values().filter_map(|tenure| Some(tenure.lost? + self.retention)).min()
    }
}

impl Tenure {
    const fn hold(&self) -> Hold {
        match self.lost {
            None => Hold::Held(self.id),
            Some(_) => Hold::Kept(self.id),
        }
    }

    /// Whether nothing can have happened while nobody looked: the address was ours, and its route is
    /// as it was.
    fn saw_all_until(&self, route: &RouteFacts) -> bool {
        let identity = |route: &RouteFacts| (route.uid.clone(), route.resource_version.clone());
        self.lost.is_none() && identity(&self.route) == identity(route)
    }
}

#[cfg(test)]
mod tests;
