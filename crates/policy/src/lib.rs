//! The configuration of the appliance: read, validated and compiled into what admission asks.
//!
//! [`load`] turns a text into a [`Policy`] (rules, pools, routes, limits) and [`Settings`] (how the
//! process runs). It reports *every* problem of the text with line, column, reason and hint, and a
//! policy exists only if there was no error: whoever holds one may rely on all of it.
//!
//! This crate must not know packets, files, sockets, clocks or Kubernetes. A control plane that is
//! not a file produces the same text model.
//!
//! The way of a configuration: `read` (shape: keys and types) -> `unsupported` (what this version
//! cannot do yet) -> `validate` (values, names, overlaps) -> [`Policy`] (compiled lookups).

#![forbid(unsafe_code)]

mod access;
mod claims;
mod classifier;
mod deterministic;
mod forwarded;
mod holding;
mod kernel;
mod keys;
mod lines;
mod model;
mod party;
mod policy;
mod pool;
mod problem;
mod read;
mod report;
mod rule;
mod schema;
mod service;
mod settings;
mod side;
mod spans;
mod unsupported;
mod validate;

pub use access::{Access, AccessEntry, Admittance};
pub use holding::{
    Assignment, Assignments, Given, Networks, NotTaken, Standing, canonical_network,
};
pub use kernel::{DeviceFacts, KernelFacts, KernelHold};
pub use keys::MAX_WORKERS;
pub use lines::Lines;
pub use party::{Party, PartyId};
pub use policy::{
    Backend, Generation, Hop, Interface, InterfaceId, Limits, OnFull, Ownership, Policy, Tcp,
    Timeouts, UnsolicitedSyn,
};
pub use pool::{
    AddressChoice, Allocation, Deterministic, Filtering, HoldDown, Mapping, Pool, PoolId,
    PoolLimits, Pooling, PortBlocks, Refresh,
};
pub use problem::{Problem, Problems, Severity};
pub use rule::{Action, Mismatch, PortForward, Question, Rule, RuleId, StaticMap};
pub use schema::schema;
pub use service::{Service, ServiceId, ServiceKind};
pub use settings::{Settings, Source};
pub use side::InterfaceSet;

use std::num::NonZeroU8;

use model::Model;
use report::Report;

/// A configuration that holds: everything in it was checked.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What happens to packets.
    pub policy: Policy,
    /// How the process runs.
    pub settings: Settings,
    /// Some of the policy is what the kernel says: addresses or routes are learned from it.
    pub follows_kernel: bool,
    /// What is allowed but probably not meant, in the order of the text.
    pub warnings: Vec<Problem>,
    /// Addresses that were assigned and that the policy has no use for.
    pub not_taken: Vec<NotTaken>,
}

/// What a configuration leaves to others. What is not known is `None`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
    /// What the kernel says of its devices: their addresses and routes, where the text asks for them.
    /// Without it an interface with `addresses = "kernel"` has none.
    pub kernel: Option<&'a KernelFacts>,
    /// How many workers `workers = 0` stands for here: what ports must go round. Where it is not known
    /// they are reckoned as one, and a warning says so.
    pub cores: Option<NonZeroU8>,
    /// Which network each device is on.
    pub networks: Option<&'a Networks>,
    /// Which addresses are held, where the text leaves that to somebody else. Without it none.
    pub assignments: Option<&'a Assignments>,
    /// What of the assignments is left to the kernel, which holds it itself.
    pub kernel_holds: &'a [KernelHold],
}

/// Reads, validates and compiles a configuration in TOML, without knowing what the kernel says: an
/// interface with `addresses = "kernel"` has none.
///
/// # Errors
/// Every problem of the text at once, in its order, warnings among them. If the text is not TOML,
/// the syntax errors alone: what stands between them cannot be trusted.
pub fn load(text: &str) -> Result<Loaded, Problems> {
    load_with(text, &Facts::default())
}

/// The same as [`load`] with what others say.
///
/// # Errors
/// As [`load`]; also where the facts of the kernel or the Pod do not fit the text. Assignments never
/// make an error: what does not fit is in [`Loaded::not_taken`].
pub fn load_with(text: &str, facts: &Facts<'_>) -> Result<Loaded, Problems> {
    let mut report = Report::new(text);
    let model = read::read(text, &mut report);
    let follows_kernel = model.as_ref().is_some_and(Model::follows_kernel);
    let compiled = model.and_then(|model| validate::validate(&model, facts, &mut report));
    let problems = report.finish();
    match compiled {
        Some((policy, settings, not_taken)) => {
            Ok(Loaded { policy, settings, follows_kernel, warnings: problems, not_taken })
        }
        None => Err(Problems(problems)),
    }
}

#[cfg(test)]
mod tests;
