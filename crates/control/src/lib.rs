//! What this instance should do: a stream of complete desired states.
//!
//! Every state is whole, validated and numbered; a source that cannot give a good one gives an error
//! and no state, so that a bad update never replaces a good state. Today there is one source, a file.
//! Whatever the source, the state has the same type, and everything behind it is tested without a
//! cluster.
//!
//! This crate knows no packet and no worker.
#![forbid(unsafe_code)]

pub mod file;
pub mod kubernetes;

use std::sync::Arc;

use mooring_policy::{Generation, NotTaken, Policy, Problem, Settings};

pub use file::{FileSource, LoadError, usable_cores};

/// A complete desired state. With a file as its source every address that it claims is held.
#[derive(Clone, Debug)]
pub struct DesiredState {
    /// Counts the good states of a source, from 1.
    pub generation: Generation,
    /// What happens to packets.
    pub policy: Arc<Policy>,
    /// How the process runs.
    pub settings: Settings,
    /// Some of the policy is what the kernel says: to be compiled again when that changes.
    pub follows_kernel: bool,
    /// What is allowed but probably not meant.
    pub warnings: Vec<Problem>,
    /// Addresses that were given to this instance and that the policy has no use for.
    pub not_taken: Arc<[NotTaken]>,
}
