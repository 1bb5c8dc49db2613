//! The API server of the simulation: routes, and the order in which they changed.

use serde_json::json;

use crate::kubernetes::ownership::Listed;

/// What there is, and how it came to that.
#[derive(Default)]
pub(super) struct Server {
    pub(super) routes: Vec<Route>,
    /// Every change, with its time.
    pub(super) log: Vec<(u64, Change)>,
    uids: u64,
}

/// A route, as the API has it.
#[derive(Clone, Debug)]
pub(super) struct Route {
    pub(super) name: &'static str,
    uid: u64,
    version: usize,
    generation: i64,
    accepted: Option<i64>,
    /// `None` while the spec has none.
    pub(super) address: Option<&'static str>,
    pub(super) pods: Vec<&'static str>,
}

#[derive(Clone, Debug)]
pub(super) enum Change {
    Written(Route),
    Deleted(Route),
}

/// Who may send for an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Right {
    Nobody,
    /// This Pod, and it should.
    Pod(&'static str),
    /// At most this Pod: what was accepted is an older spec.
    AtMost(&'static str),
}

impl Server {
    /// Who may send for the address. The oracle: of the accepted routes that have it and name anybody,
    /// the oldest counts, and gives it to the one Pod that it names, if it names one.
    pub(super) fn right(&self, address: &str) -> Right {
        let in_use = |route: &&Route| {
            route.address == Some(address) && route.accepted.is_some() && !route.pods.is_empty()
        };
        let Some(route) = self.routes.iter().find(in_use) else { return Right::Nobody };
        match (&route.pods[..], route.accepted == Some(route.generation)) {
            ([pod], true) => Right::Pod(pod),
            ([pod], false) => Right::AtMost(pod),
            _ => Right::Nobody,
        }
    }

    /// Makes a route that is accepted and names nobody. The oldest stand first.
    pub(super) fn create(&mut self, name: &'static str, address: &'static str, now: u64) {
        if self.routes.iter().any(|route| route.name == name) {
            return;
        }
        self.uids += 1;
        let (address, pods) = (Some(address), Vec::new());
        let (uid, generation, accepted) = (self.uids, 1, Some(1));
        self.routes.push(Route { name, uid, version: 0, generation, accepted, address, pods });
        self.write(name, now, |_| {});
    }

    pub(super) fn delete(&mut self, name: &str, now: u64) {
        if let Some(at) = self.routes.iter().position(|route| route.name == name) {
            let mut route = self.routes.remove(at);
            route.version = self.log.len() + 1;
            self.log.push((now, Change::Deleted(route)));
        }
    }

    /// The controller names Pods, or accepts or refuses the route as it is now.
    pub(super) fn name(&mut self, name: &str, pods: &[&'static str], now: u64) {
        self.write(name, now, |route| route.pods = pods.to_vec());
    }

    pub(super) fn judge(&mut self, name: &str, accepts: bool, now: u64) {
        self.write(name, now, |route| route.accepted = accepts.then_some(route.generation));
    }

    /// Somebody changes the spec.
    pub(super) fn specify(&mut self, name: &str, address: Option<&'static str>, now: u64) {
        self.write(name, now, |route| {
            route.generation += 1;
            route.address = address;
        });
    }

    fn write(&mut self, name: &str, now: u64, change: impl FnOnce(&mut Route)) {
        let version = self.log.len() + 1;
        let Some(route) = self.routes.iter_mut().find(|route| route.name == name) else { return };
        change(route);
        route.version = version;
        let written = route.clone();
        self.log.push((now, Change::Written(written)));
    }
}

impl Route {
    /// As it comes over the wire.
    pub(super) fn listed(&self) -> Listed {
        let addresses = self.address.iter();
        let addresses: Vec<_> = addresses
            .map(|address| json!({ "type": "gke.networking.io/cidr", "value": address }))
            .collect();
        let accepted = json!({
            "type": "Accepted", "status": if self.accepted.is_some() { "True" } else { "False" },
            "observedGeneration": self.accepted.unwrap_or(self.generation)
        });
        let route = json!({
            "metadata": {
                "name": self.name, "namespace": "nat", "uid": self.uid.to_string(),
                "generation": self.generation, "resourceVersion": self.version.to_string(),
                "creationTimestamp": format!("2026-01-01T00:{:02}:{:02}Z", self.uid / 60, self.uid % 60)
            },
            "spec": { "addresses": addresses, "podSelector": {}, "network": "wan" },
            "status": { "pods": self.pods, "conditions": [accepted] }
        });
        serde_json::from_value(route).expect("a route")
    }
}

impl Change {
    pub(super) const fn route(&self) -> &Route {
        match self {
            Self::Written(route) | Self::Deleted(route) => route,
        }
    }
}
