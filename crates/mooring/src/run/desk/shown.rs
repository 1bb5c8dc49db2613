//! What is told without asking a worker: replaced as a whole when another state is at work.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use mooring_observe::report::Report;
use mooring_policy::{InterfaceId, NotTaken, Policy};

/// What is known of the running state.
pub struct Shown {
    /// Interfaces and generation.
    pub report: Report,
    /// What the workers work by.
    pub policy: Arc<Policy>,
    /// What was given to this instance and is of no use to it.
    pub not_taken: Arc<[NotTaken]>,
    /// Since when its addresses are held.
    pub since: Arc<Since>,
}

/// Since when each address is held, on the interface that it is announced by.
pub struct Since(HashMap<(InterfaceId, IpAddr), SystemTime>);

impl Since {
    /// All addresses of `policy` are held from now on.
    #[must_use]
    pub fn now(policy: &Policy, now: SystemTime) -> Self {
        Self(policy.addresses().map(|address| (address, now)).collect())
    }

    /// The same for the addresses of another policy: those that both have are held on.
    #[must_use]
    pub fn follow(&self, policy: &Policy, now: SystemTime) -> Self {
        let since = |address| (address, self.0.get(&address).copied().unwrap_or(now));
        Self(policy.addresses().map(since).collect())
    }

    /// Of an address that is held.
    #[must_use]
    pub fn of(&self, interface: InterfaceId, address: IpAddr) -> Option<SystemTime> {
        self.0.get(&(interface, address)).copied()
    }
}
