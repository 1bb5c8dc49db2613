//! Whether an address is ours: the one function that decides, from the routes and from nothing else.
//!
//! An address is held when a route of our namespace has it in its spec, its condition `Accepted` is
//! True, its status names our Pod and no other, and it is no load-balancing route. The other
//! conditions are shown and decide nothing: our own controller sets `Ready` after our report. While
//! what was accepted is an older spec than there is, no address comes to what the route gives.
//!
//! Whatever a route says that cannot be, it says of nothing: its addresses are not taken up, and the
//! reason is told.

mod reason;
mod written;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use kube::core::{DeserializeGuard, Resource};
use mooring_policy::canonical_network;

use super::route::GKEIPRoute;

pub use self::reason::Reason;
use self::written::read;

/// A route as it was listed: it may be one that cannot be read.
pub type Listed = DeserializeGuard<GKEIPRoute>;

/// What is ruled by beside the routes.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// The name of our Pod.
    pub pod: String,
    /// The networks that we are on.
    pub networks: BTreeSet<String>,
}

/// All that the routes say.
#[derive(Clone, Debug, Default)]
pub struct Rulings {
    /// Every address of every route, in the order of precedence.
    pub all: Vec<Ruling>,
    /// Addresses for which a route names a Pod that is not ours.
    pub elsewhere: BTreeSet<IpAddr>,
}

/// What becomes of one address of one route.
#[derive(Clone, Debug)]
pub struct Ruling {
    /// The route.
    pub route: Arc<RouteFacts>,
    /// The address as it is written there.
    pub written: String,
    /// The address, if it is one.
    pub address: Option<IpAddr>,
    /// What becomes of it.
    pub verdict: Verdict,
}

/// What becomes of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is ours.
    Held,
    /// It may become ours.
    Claimed(Reason),
    /// It is not taken up.
    Refused(Reason),
}

/// What of a route is told with its addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteFacts {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Tells it from others of its name.
    pub uid: String,
    /// Changes with everything in it.
    pub resource_version: String,
    /// Changes with its spec.
    pub generation: i64,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The network that packets come by.
    pub network: String,
    /// What its status says of the way of its addresses, where it says something.
    pub ways: Vec<(&'static str, String)>,
}

/// Rules over all addresses of all routes. `before` is what was ruled last: what it gave to us may stay
/// where nothing may come to it.
#[must_use]
pub fn rule<'a>(
    routes: impl IntoIterator<Item = &'a Listed>,
    context: &Context,
    before: &Rulings,
) -> Rulings {
    let mut routes: Vec<&Listed> = routes.into_iter().collect();
    routes.sort_by(|one, other| precedence(one, other));
    let (rulings, taken) = (Rulings::default(), BTreeMap::new());
    let mut judge = Judge { context, before, rulings, taken };
    for listed in routes {
        let facts = Arc::new(RouteFacts::of(listed));
        match &listed.0 {
            Ok(route) => judge.judge(route, &facts),
            Err(invalid) => {
                let reason = Reason::Unreadable(invalid.error.clone());
                judge.rulings.refuse(&facts, String::new(), reason);
            }
        }
    }
    judge.rulings
}

/// Between two routes, in the order of precedence.
struct Judge<'a> {
    context: &'a Context,
    before: &'a Rulings,
    rulings: Rulings,
    /// Which ruling has the address, and whether a Pod, or a load balancer, has it by that route.
    taken: BTreeMap<IpAddr, (usize, bool)>,
}

impl Judge<'_> {
    fn judge(&mut self, route: &GKEIPRoute, facts: &Arc<RouteFacts>) {
        let general = of_route(route, facts, self.context);
        // A load balancer has its addresses whether or not there is a Pod behind it.
        let has_them = !route.pods().is_empty() || route.spec.load_balancing.is_some();
        let in_use = accepted(route).is_ok() && has_them;
        let elsewhere = route.pods().iter().any(|pod| *pod != self.context.pod);
        let mut seen = BTreeSet::new();
        for written in &route.spec.addresses {
            let address = match read(written) {
                Ok(address) => address,
                Err(reason) => {
                    self.rulings.refuse(facts, written.value.clone(), reason);
                    continue;
                }
            };
            if !seen.insert(address) {
                continue;
            }
            if elsewhere {
                self.rulings.elsewhere.insert(address);
            }
            let verdict = shrink(&general, route, (address, facts), self.before);
            let claims = in_use || !matches!(verdict, Verdict::Refused(_));
            self.rulings.all.push(Ruling {
                route: Arc::clone(facts),
                written: written.value.clone(),
                address: Some(address),
                verdict,
            });
            if claims {
                self.contest(address, in_use);
            }
        }
    }

    /// The last ruling wants the address, which another may have.
    fn contest(&mut self, address: IpAddr, in_use: bool) {
        let last = self.rulings.all.len() - 1;
        match self.taken.get(&address) {
            Some(&(first, used)) if used || !in_use => self.rulings.yields(last, first),
            // One that no Pod has makes room for one that a Pod has.
            Some(&(first, _)) => {
                self.rulings.yields(first, last);
                self.taken.insert(address, (last, true));
            }
            None => {
                self.taken.insert(address, (last, in_use));
            }
        }
    }
}

impl Rulings {
    /// The ruling that gives the address to us, or may.
    #[must_use]
    pub fn of(&self, address: IpAddr) -> Option<&Ruling> {
        self.all.iter().find(|ruling| {
            ruling.address == Some(address) && !matches!(ruling.verdict, Verdict::Refused(_))
        })
    }

    /// What is ours.
    pub fn held(&self) -> impl Iterator<Item = (IpAddr, &Ruling)> {
        self.all.iter().filter_map(|ruling| {
            (ruling.verdict == Verdict::Held).then(|| ruling.address.map(|it| (it, ruling)))?
        })
    }

    fn refuse(&mut self, route: &Arc<RouteFacts>, written: String, reason: Reason) {
        let (route, verdict) = (Arc::clone(route), Verdict::Refused(reason));
        self.all.push(Ruling { route, written, address: None, verdict });
    }

    /// The address of one ruling belongs to the route of another.
    fn yields(&mut self, loser: usize, winner: usize) {
        let winner = self.all[winner].route.name.clone();
        let verdict = &mut self.all[loser].verdict;
        // What it is refused for by itself says more.
        if !matches!(verdict, Verdict::Refused(_)) {
            *verdict = Verdict::Refused(Reason::Contested { winner });
        }
    }
}

impl RouteFacts {
    fn of(listed: &Listed) -> Self {
        let meta = listed.meta();
        let network =
            listed.0.as_ref().map(|route| canonical_network(&route.spec.network).to_owned());
        Self {
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            uid: meta.uid.clone().unwrap_or_default(),
            resource_version: meta.resource_version.clone().unwrap_or_default(),
            generation: meta.generation.unwrap_or_default(),
            labels: meta.labels.clone().unwrap_or_default(),
            network: network.unwrap_or_default(),
            ways: listed.0.as_ref().map(ways).unwrap_or_default(),
        }
    }
}

/// What holds for all addresses of a route.
fn of_route(route: &GKEIPRoute, facts: &RouteFacts, context: &Context) -> Verdict {
    if route.spec.load_balancing.is_some() {
        return Verdict::Refused(Reason::LoadBalancing);
    }
    if let Err(reason) = accepted(route) {
        return Verdict::Refused(reason);
    }
    if !context.networks.contains(&facts.network) {
        return Verdict::Refused(Reason::UnknownNetwork(facts.network.clone()));
    }
    match route.pods() {
        [] => Verdict::Claimed(Reason::NamesNobody),
        [pod] if *pod == context.pod => Verdict::Held,
        [pod] => Verdict::Claimed(Reason::NamesAnother(pod.clone())),
        pods => Verdict::Refused(Reason::NamesMany(pods.to_vec())),
    }
}

/// Whether somebody who may has accepted the route. There should be one such condition; were there
/// more, all of them would have to say so.
fn accepted(route: &GKEIPRoute) -> Result<(), Reason> {
    let mut known = false;
    for condition in route.conditions("Accepted") {
        if condition.status != "True" {
            let (reason, message) = (condition.reason.clone(), condition.message.clone());
            return Err(Reason::NotAccepted { reason, message });
        }
        known = true;
    }
    if known { Ok(()) } else { Err(Reason::NotJudged) }
}

/// The verdict on one address: while an older spec is what was accepted, it is no better than it was.
fn shrink(
    general: &Verdict,
    route: &GKEIPRoute,
    (address, facts): (IpAddr, &RouteFacts),
    before: &Rulings,
) -> Verdict {
    let generation = route.metadata.generation.unwrap_or_default();
    let stale = route
        .conditions("Accepted")
        .filter_map(|condition| condition.observed_generation)
        .any(|observed| observed < generation);
    if !stale || matches!(general, Verdict::Refused(_)) {
        return general.clone();
    }
    let was = before.of(address).filter(|ruling| ruling.route.uid == facts.uid);
    match (general, was.map(|ruling| &ruling.verdict)) {
        (_, None) => Verdict::Refused(Reason::Outdated),
        (Verdict::Held, Some(Verdict::Held)) => Verdict::Held,
        (Verdict::Held, Some(_)) => Verdict::Claimed(Reason::Outdated),
        (other, Some(_)) => other.clone(),
    }
}

/// Gateway API's order of precedence: the oldest route, then by namespace and name.
fn precedence(one: &Listed, other: &Listed) -> Ordering {
    let key = |listed: &Listed| {
        let meta = listed.meta();
        // The API server says it of every object. One without cannot claim to be old.
        let created = meta.creation_timestamp.as_ref().map_or(Timestamp::MAX, |time| time.0);
        (created, meta.namespace.clone(), meta.name.clone())
    };
    key(one).cmp(&key(other))
}

/// What the platform says of the way to the Pod.
fn ways(route: &GKEIPRoute) -> Vec<(&'static str, String)> {
    let said = |kind| {
        let condition = route.conditions(kind).next()?;
        Some((kind, condition.status.clone()))
    };
    ["GCPReady", "DPV2Ready", "Ready"].into_iter().filter_map(said).collect()
}

#[cfg(test)]
mod tests;
