//! What this Pod holds by the word of the Kubernetes API: GKEIPRoutes and who their status names.
//!
//! [`ownership`] decides from routes alone what is ours, [`tenure`] whether what comes back was anybody
//! else's meanwhile; both are pure, and so is [`snapshot`], which puts them together for the policy.
//! tokio and kube stay below this module: what it gives out are types of its own.

pub mod ownership;
pub mod pod;
pub mod route;
pub mod snapshot;
pub mod tenure;

pub use self::pod::Identity;
pub use self::snapshot::{Given, Refused, Since, Snapshot};
