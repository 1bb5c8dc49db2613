//! Which addresses are given to this instance, by whom, and which of them are held.
//!
//! With the configuration as the only source everything that it claims is held, and nothing of this
//! is used. Another control plane says it address by address; the policy then claims what it says
//! and what the text says, and owns what is claimed *and* held.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::policy::{Generation, InterfaceId, Ownership, Policy};
use crate::side::InterfaceSet;

/// What a control plane says of addresses: all of it, every time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignments {
    /// Each address once; the order is that of precedence, where not all of them find room.
    pub addresses: Vec<Assignment>,
}

/// One address, and the route that says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The address.
    pub address: IpAddr,
    /// The name of the route.
    pub route: String,
    /// The route's labels: what pools select by.
    pub labels: BTreeMap<String, String>,
    /// The network that packets for the address come by.
    pub network: String,
    /// Whether it is ours.
    pub standing: Standing,
}

/// Whether an address is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It may become ours. Nobody is answered for it, and nothing leaves from it.
    Claimed,
    /// It is ours, and was not anybody else's since the policy of that generation: sessions that older
    /// ones admitted are of a time before somebody else had it, and end with their next packet.
    Held {
        /// Counts as [`Generation`] does.
        since: Generation,
    },
    /// It was ours and may come back before anybody else has it: nothing leaves from it, but sessions
    /// that the policies from that generation on admitted are kept.
    Kept {
        /// As of [`Standing::Held`].
        since: Generation,
    },
}

/// The devices of the networks that this instance is on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    /// Network and device, each at most once.
    pub devices: Vec<(String, String)>,
}

/// An address that was given to us and that we do not take up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotTaken {
    /// The address.
    pub address: IpAddr,
    /// The name of its route.
    pub route: String,
    /// Why, for people.
    pub reason: String,
}

/// The one name of a network: a Pod's first network has two, and may be left out.
#[must_use]
pub fn canonical_network(network: &str) -> &str {
    match network {
        "" | "pod-network" => "default",
        other => other,
    }
}

impl Networks {
    /// The device of a network.
    #[must_use]
    pub fn device(&self, network: &str) -> Option<&str> {
        self.devices.iter().find(|(name, _)| name == network).map(|(_, device)| device.as_str())
    }

    /// The network of a device.
    #[must_use]
    pub fn network(&self, device: &str) -> Option<&str> {
        self.devices.iter().find(|(_, name)| name == device).map(|(network, _)| network.as_str())
    }
}

/// What a policy knows of its addresses, where a control plane says which of them are held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holdings {
    pub(crate) addresses: BTreeMap<IpAddr, Holding>,
}

/// One address that was assigned and that the policy has a use for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holding {
    pub(crate) standing: Standing,
    /// The interfaces of its network.
    pub(crate) on: InterfaceSet,
    pub(crate) route: String,
    pub(crate) network: String,
}

impl Holdings {
    /// Whether anything at all is held.
    pub(crate) fn any(&self) -> bool {
        self.addresses.values().any(|holding| holding.standing.is_held())
    }
}

impl Standing {
    /// Whether it is ours now.
    #[must_use]
    pub const fn is_held(self) -> bool {
        matches!(self, Self::Held { .. })
    }
}

impl Policy {
    /// Holds what `given` says, and nothing else. An address that the policy has no use for is not held
    /// but told in `not_taken`, which has those already that found no place.
    pub(crate) fn hold(&mut self, given: &Assignments, not_taken: &mut Vec<NotTaken>) {
        let mut holdings = Holdings::default();
        for Assignment { address, route, network, standing, .. } in &given.addresses {
            let (address, standing, route) = (*address, *standing, route.clone());
            if not_taken.iter().any(|earlier| earlier.address == address) {
                continue;
            }
            match self.place_of(address, network) {
                Ok(on) => {
                    let holding = Holding { standing, on, route, network: network.clone() };
                    holdings.addresses.insert(address, holding);
                }
                Err(reason) => not_taken.push(NotTaken { address, route, reason }),
            }
        }
        for pool in &mut self.pools {
            let held = holdings.addresses.iter().filter(|(_, holding)| holding.standing.is_held());
            let mut held: Vec<u32> =
                held.filter_map(|(address, _)| pool.index_of(*address)).collect();
            held.sort_unstable();
            pool.held = Some(held);
        }
        self.holdings = Some(holdings);
    }

    /// The interfaces on which an address of a network is answered for.
    fn place_of(&self, address: IpAddr, network: &str) -> Result<InterfaceSet, String> {
        let mut on = InterfaceSet::EMPTY;
        for (index, interface) in self.interfaces.iter().enumerate() {
            if interface.network.as_deref() == Some(network) {
                on.insert(InterfaceId(index as u8));
            }
        }
        if on.is_empty() {
            return Err(format!(
                "no interface is on network `{network}`: the Pod's annotation \
                 networking.gke.io/interfaces or the key `network` of an interface says which one is"
            ));
        }
        let sides = match self.ownership(address) {
            None => return Err("no pool, rule or gateway has a use for it".to_owned()),
            Some(Ownership::Interface(id)) => {
                return Err(format!(
                    "it is the address of interface `{}`",
                    self.interface(id).name
                ));
            }
            Some(Ownership::Gateway(id)) => InterfaceSet::only(id),
            Some(Ownership::Pool(_) | Ownership::Rule(_)) => self.outside_of(address),
        };
        let names = |set: InterfaceSet| {
            let names: Vec<&str> = set.iter().map(|id| self.interface(id).name.as_str()).collect();
            names.join("`, `")
        };
        if sides.is_empty() {
            return Err("no rule uses its pool".to_owned());
        }
        match sides.intersection(on) {
            InterfaceSet::EMPTY => Err(format!(
                "network `{network}` is interface `{}`, but the address is used on `{}`",
                names(on),
                names(sides)
            )),
            both => Ok(both),
        }
    }

    /// Whether an address is held, and since when; one that is not ours to hold is always.
    #[must_use]
    pub fn standing(&self, address: IpAddr) -> Standing {
        let always = Standing::Held { since: Generation(0) };
        let Some(holdings) = &self.holdings else { return always };
        if let Some(holding) = holdings.addresses.get(&address) {
            return holding.standing;
        }
        match self.ownership(address) {
            // What is written is a next hop for as long as there is something to go on from.
            Some(Ownership::Gateway(_)) if holdings.any() => always,
            Some(Ownership::Gateway(_) | Ownership::Pool(_) | Ownership::Rule(_)) => {
                Standing::Claimed
            }
            Some(Ownership::Interface(_)) | None => always,
        }
    }

    /// Whether somebody else than the text says which addresses are held.
    #[must_use]
    pub const fn is_given_addresses(&self) -> bool {
        self.holdings.is_some()
    }

    /// Whether an address is held; one that is not ours to hold is.
    #[must_use]
    pub fn is_held(&self, address: IpAddr) -> bool {
        self.holdings.is_none() || self.standing(address).is_held()
    }

    /// Whether anything is held at all.
    #[must_use]
    pub fn holds_any(&self) -> bool {
        self.holdings.as_ref().is_none_or(Holdings::any)
    }

    /// Whether an interface is one of those that an address of ours, if it is given to us, was given
    /// for.
    pub(crate) fn is_given_on(&self, address: IpAddr, interface: InterfaceId) -> bool {
        let holding = self.holdings.as_ref().and_then(|held| held.addresses.get(&address));
        holding.is_none_or(|holding| holding.on.contains(interface))
    }

    /// The addresses that were given to us and that the policy has a use for, held or not.
    pub fn given(&self) -> impl Iterator<Item = Given<'_>> {
        let holdings = self.holdings.iter().flat_map(|holdings| &holdings.addresses);
        holdings.map(|(address, holding)| Given {
            address: *address,
            on: holding.on,
            standing: holding.standing,
            route: &holding.route,
            network: &holding.network,
        })
    }
}

/// An address that was given to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Given<'a> {
    /// The address.
    pub address: IpAddr,
    /// Where it is answered for while it is held.
    pub on: InterfaceSet,
    /// Whether it is held.
    pub standing: Standing,
    /// The name of the route that gives it.
    pub route: &'a str,
    /// The network that its packets come by.
    pub network: &'a str,
}
