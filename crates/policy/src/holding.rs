//! Which addresses are given to this instance, by whom, and which of them are held.
//!
//! With the configuration as the only source everything that it claims is held, and nothing of this
//! is used. Another control plane says it address by address; the policy then claims what it says
//! and what the text says, and owns what is claimed *and* held.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::policy::Generation;

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

impl Standing {
    /// Whether it is ours now.
    #[must_use]
    pub const fn is_held(self) -> bool {
        matches!(self, Self::Held { .. })
    }
}
