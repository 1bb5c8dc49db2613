//! What the routes come to, event by event: the routes as they are, what is ruled, whose tenure it is.
//!
//! Pure: what the server tells and the time go in, complete snapshots come out. Only a whole list or a
//! watched change alters what is held.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use kube::core::Resource;

use super::ownership::{Context, Listed, Reason, Ruling, Rulings, Verdict, rule};
use super::snapshot::{Given, Refused, RouteRef, Snapshot};
use super::tenure::{Hold, Sight, Tenures};

/// All that is known of the routes.
#[derive(Debug)]
pub(super) struct Ledger {
    context: Context,
    routes: BTreeMap<String, Listed>,
    /// Whether all of them were listed once.
    listed: bool,
    rulings: Rulings,
    tenures: Tenures,
    /// Left to another host until the routes have been read anew, since the doubt of this number.
    yielded: BTreeMap<IpAddr, u64>,
    /// Another host uses them as well.
    doubted: BTreeMap<IpAddr, Doubt>,
    /// The number of the last doubt, and of the last one that is settled.
    doubts: u64,
    settled: u64,
}

/// If the server has not said by then whose the address is, it is the other's.
#[derive(Clone, Copy, Debug)]
struct Doubt {
    number: u64,
    until: Duration,
}

impl Ledger {
    /// Of a Pod that knows of no route yet.
    pub(super) fn new(context: Context, retention: Duration) -> Self {
        Self {
            context,
            routes: BTreeMap::new(),
            listed: false,
            rulings: Rulings::default(),
            tenures: Tenures::new(retention),
            yielded: BTreeMap::new(),
            doubted: BTreeMap::new(),
            doubts: 0,
            settled: 0,
        }
    }

    /// The Pod is on these networks, and sessions outlast a loss for so long.
    pub(super) fn configure(
        &mut self,
        networks: BTreeSet<String>,
        retention: Duration,
        now: Duration,
    ) {
        self.context.networks = networks;
        self.tenures.set_retention(retention);
        self.follow(Sight::Whole, now);
    }

    /// These are all routes. What happened to them since they were last seen is not known. They were asked
    /// for when [`Self::doubts`] was `asked_at`: what was doubted later they may be too old for. Says
    /// whether another list is due for that.
    pub(super) fn list(&mut self, routes: Vec<Listed>, asked_at: u64, now: Duration) -> bool {
        self.routes = routes.into_iter().map(|route| (name(&route), route)).collect();
        self.listed = true;
        self.yielded.retain(|_, number| *number > asked_at);
        self.doubted.retain(|_, doubt| doubt.number > asked_at);
        self.settle();
        self.follow(Sight::Gap, now);
        !(self.yielded.is_empty() && self.doubted.is_empty())
    }

    /// A route is new, or has changed.
    pub(super) fn change(&mut self, route: Listed, now: Duration) {
        self.routes.insert(name(&route), route);
        self.follow(Sight::Whole, now);
    }

    /// A route is gone.
    pub(super) fn remove(&mut self, route: &Listed, now: Duration) {
        self.routes.remove(&name(route));
        self.follow(Sight::Whole, now);
    }

    /// Another host uses the address, which is the doubt of this number. It is settled by a whole list that
    /// is asked for from now on, or is in the other's favour when none comes in time, or the server says
    /// nothing as it is. Says whether a list is due: the address is ours up to now.
    pub(super) fn doubt(
        &mut self,
        address: IpAddr,
        number: u64,
        in_contact: bool,
        now: Duration,
    ) -> bool {
        self.doubts = number;
        let ours = matches!(self.tenures.of(address), Some(Hold::Held(_)));
        if ours {
            // Each has its own time: what others say of other addresses takes nothing of it.
            let until = if in_contact { now + VERIFY_WITHIN } else { now };
            self.doubted.insert(address, Doubt { number, until });
        }
        self.settle();
        self.pass(now);
        ours
    }

    /// The number of the last doubt.
    pub(super) const fn doubts(&self) -> u64 {
        self.doubts
    }

    /// The server says nothing: nobody says then that what others use is ours.
    pub(super) fn lose_contact(&mut self, now: Duration) {
        for doubt in self.doubted.values_mut() {
            doubt.until = doubt.until.min(now);
        }
        self.pass(now);
    }

    /// Time has passed.
    pub(super) fn pass(&mut self, now: Duration) {
        self.tenures.expire(now);
        let over: Vec<_> = self.doubted.extract_if(.., |_, doubt| doubt.until <= now).collect();
        if over.is_empty() {
            return;
        }
        for (address, doubt) in over {
            self.tenures.end(address);
            self.yielded.insert(address, doubt.number);
        }
        self.settle();
        self.follow(Sight::Whole, now);
    }

    /// When time alone changes something.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let doubts = self.doubted.values().map(|doubt| doubt.until);
        self.tenures.deadline().into_iter().chain(doubts).min()
    }

    /// All doubts are settled that came before the first that is not.
    fn settle(&mut self) {
        let first = self.doubted.values().map(|doubt| doubt.number).min();
        self.settled = first.map_or(self.doubts, |first| first - 1);
    }

    /// All of it, as soon as the routes were listed once.
    pub(super) fn snapshot(&self) -> Option<Snapshot> {
        if !self.listed {
            return None;
        }
        let mut snapshot = Snapshot { settled: self.settled, ..Snapshot::default() };
        for ruling in &self.rulings.all {
            let reason = match (&ruling.verdict, ruling.address) {
                (Verdict::Refused(reason), _) => {
                    snapshot.refused.push(refused(ruling, reason));
                    continue;
                }
                (Verdict::Claimed(reason), _) => Some(reason.to_string()),
                (Verdict::Held, _) => None,
            };
            let Some(address) = ruling.address else { continue };
            let (route, hold) = (RouteRef::of(&ruling.route), self.tenures.of(address));
            snapshot.given.push(Given { address, route, hold, reason });
        }
        let told: BTreeSet<IpAddr> = snapshot.given.iter().map(|given| given.address).collect();
        // What no route gives any more: sessions may wait for it, though.
        for (address, id, route) in self.tenures.kept().filter(|kept| !told.contains(&kept.0)) {
            let hold = Some(Hold::Kept(id));
            let reason = Some("no route gives it now".to_owned());
            snapshot.given.push(Given { address, route: RouteRef::of(route), hold, reason });
        }
        Some(snapshot)
    }

    fn follow(&mut self, sight: Sight, now: Duration) {
        let mut rulings = rule(self.routes.values(), &self.context, &self.rulings);
        for ruling in &mut rulings.all {
            let yielded = ruling.address.is_some_and(|address| self.yielded.contains_key(&address));
            if yielded && ruling.verdict == Verdict::Held {
                ruling.verdict = Verdict::Refused(Reason::Yielded);
            }
        }
        self.tenures.follow(&rulings, sight, now);
        self.rulings = rulings;
    }
}

fn refused(ruling: &Ruling, reason: &Reason) -> Refused {
    Refused {
        written: ruling.written.clone(),
        address: ruling.address,
        route: RouteRef::of(&ruling.route),
        reason: reason.to_string(),
    }
}

/// A route's name: all of them are of one namespace.
fn name(route: &Listed) -> String {
    route.meta().name.clone().unwrap_or_default()
}

/// How long the server may take to say that an address is ours that another host uses.
const VERIFY_WITHIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
