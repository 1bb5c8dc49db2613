//! What this Pod holds by the word of the Kubernetes API: GKEIPRoutes and who their status names.
//!
//! [`ownership`] decides from routes alone what is ours, [`tenure`] whether what comes back was anybody
//! else's meanwhile; both are pure. [`source`] is a thread that follows the routes and reports what is
//! at work. tokio and kube stay below this module: what it gives out are types of its own.

mod access;
pub mod doubts;
mod ledger;
pub mod ownership;
pub mod pod;
mod report;
pub mod route;
pub mod snapshot;
pub mod source;
pub mod tenure;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod together;
mod watch;

pub use self::pod::Identity;
pub use self::report::Report;
pub use self::snapshot::{Given, Refused, Since, Snapshot};
pub use self::source::{KubernetesSource, StartError, Terms};
pub use self::watch::Contact;
