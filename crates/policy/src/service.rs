//! Services: TCP and UDP ports of our addresses that the appliance itself answers.

use std::net::IpAddr;

use mooring_wire::Protocol;
use serde::Deserialize;

/// Which service of [`Policy::services`](crate::Policy::services), in the order of the
/// configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceId(pub u16);

/// A port on an address of ours that the appliance answers itself. No pool leases it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Unique among services.
    pub name: String,
    /// What answers.
    pub kind: ServiceKind,
    /// An address of a pool, a rule or an interface, or a gateway address.
    pub address: IpAddr,
    /// TCP for every kind there is.
    pub protocol: Protocol,
    /// Host byte order; never 0.
    pub port: u16,
}

/// What answers at a service's port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceKind {
    /// A small HTTP server that says whether the appliance works.
    Health,
}
