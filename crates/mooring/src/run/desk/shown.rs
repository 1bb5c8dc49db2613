//! What is told without asking a worker: replaced as a whole when another state is at work.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use mooring_control::kubernetes::Snapshot;
use mooring_observe::report::Report;
use mooring_policy::{InterfaceId, NotTaken, Policy};
use serde_json::{Value, json};

/// What is known of the running state.
pub struct Shown {
    /// Interfaces and generation.
    pub report: Report,
    /// What the workers work by.
    pub policy: Arc<Policy>,
    /// What was given to this instance and is of no use to it.
    pub not_taken: Arc<[NotTaken]>,
    /// What a control plane says of its addresses.
    pub given: Arc<Snapshot>,
    /// Since when its addresses are held.
    pub since: Arc<Since>,
}

impl Shown {
    /// A row of an address with the reason of the control plane, if there is no other.
    #[must_use]
    pub fn with_reason(&self, mut row: Value) -> Value {
        let is_claimed = row["state"] == "claimed" && row["reason"].is_null();
        let given =
            self.given.given.iter().find(|given| row["address"] == given.address.to_string());
        if let Some(reason) = given.filter(|_| is_claimed).and_then(|given| given.reason.as_ref()) {
            row["reason"] = reason.as_str().into();
        }
        row
    }

    /// What the control plane gives and this instance does not take up, address by address.
    pub fn refused(&self) -> impl Iterator<Item = Value> + '_ {
        self.given.refused.iter().map(|refused| {
            let route = refused.route.facts();
            let address = refused.address.map(|address| address.to_string());
            let written = Some(&refused.written).filter(|written| !written.is_empty());
            json!({
                "address": address.or_else(|| written.cloned()),
                "interface": null,
                "network": route.network,
                "state": "claimed",
                "since": null,
                "route": route.name,
                "reason": refused.reason,
            })
        })
    }
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
